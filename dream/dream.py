"""The dream: M as a simulator of the game (article, "Learning Inside of a Dream").

A dream starts from a z that is sampled for a recorded episode's first frame, with M's state at zero and restart = 1. At each
step M gets z and the action, and the next z is sampled from its mixture at temperature t (logits / t, sigma * sqrt(t)). The
dream ends when M predicts that death is more likely than not: the restart logit is above 0. Death is not sampled; the article
found this more stable (`--death drawn` samples it). The last step of a dream is rewarded too.
"""

import math
import numbers

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.dream.kernel import Kernel
from world_models.dream.rows import filled
from world_models.job.machine import check_precision
from world_models.rnn.world_model import load_beginnings, load_initial_z, load_memory, step_reward

LONGEST = 2**31 - 1  # steps of a dream, which are counted in int32


class Dream:
    """M's dream, for any number of episodes at once. Each row's noise is made from its episode's seed and its step.

    It uses the weights that M has when the Dream is constructed.
    initial_z: (mu, logvar), each (N, Z), of the frames from which dreams start. reward, precision and all that `how` has: those
    of `Kernel`.
    Raises UserError for a temperature that is not finite and above 0, for max_steps below 1, and as `check_precision` does.
    """

    def __init__(self, rnn, initial_z, temperature, max_steps, reward, precision="float32", **how):
        if not isinstance(temperature, numbers.Real) or not 0 < temperature < float("inf"):
            raise UserError(f"the temperature is {temperature!r}: give a number above 0")
        if not isinstance(max_steps, numbers.Integral) or max_steps < 1:
            raise UserError(f"max_steps is {max_steps!r}: give a whole number of 1 or more")
        max_steps = min(max_steps, LONGEST)
        check_precision(precision)
        self.rnn, self.temperature, self.max_steps, self.reward = rnn, float(temperature), max_steps, float(reward)
        self.initial_z, self.precision, self._how = initial_z, precision, how
        self._kernel = self.kernel()

    def kernel(self):
        """A new Kernel, for use in a separate thread."""
        return Kernel(self.rnn, self.initial_z, self.temperature, self.reward, self.precision, **self._how)

    def start(self, seeds):
        """The initial (z (B,Z), state (h, c)) of dreams with `seeds` (B,) uint32."""
        z, h, c = self._kernel.start(seeds)
        return z, (h, c)

    @tf.function(autograph=False)
    def step(self, z, actions, state, seeds, steps):
        """(z (B,Z), state, reward (B,), died (B,) bool) after `actions` (B,A). steps: (B,) int32, steps done before.

        A row's values are the same in any batch, also alone (B = 1).
        """
        count, largest = z.shape[0], self._kernel.sizes[-1]
        parts = []
        for start in range(0, count, largest):
            rows = [part[start : start + largest] for part in (z, actions, *state, seeds, steps)]
            size = min(size for size in self._kernel.sizes if size >= rows[0].shape[0])
            parts.append(self._kernel.step(*[filled(part, size) for part in rows]))
        z, h, c, reward, died = (tf.concat(part, axis=0)[:count] for part in zip(*parts, strict=True))
        return z, (h, c), reward, died

    def watch(self, act, seeds, max_steps):
        """Yields (z (B,Z), alive (B,) bool, reward (B,)) of each step of dreams with `seeds` (B,), until all have ended.

        act(t, z, state) -> actions (B,A) chooses the actions. Dreams are cut at max_steps. Rows that have ended are still
        computed, with rewards of 0.
        """
        seeds = tf.constant(seeds, tf.uint32)
        z, state = self.start(seeds)
        alive = np.ones(len(seeds), bool)
        for t in range(max_steps):
            actions = tf.constant(act(t, z, state), tf.float32)
            following, state, reward, died = self.step(z, actions, state, seeds, tf.fill(seeds.shape, t))
            yield z.numpy(), alive, reward.numpy() * alive
            z, alive = following, alive & ~died.numpy()
            if not alive.any():
                return


def load_dream(run_dir, game, temperature=None, max_steps=None, precision="float32", learning=False):
    """The Dream of a run. temperature, max_steps: None for the game's.

    learning: whether C is to learn in it. It then begins where M learned to begin (`rnn.world_model.load_beginnings`).
    """
    rnn = load_memory(run_dir, game)
    temperature = game.dream_temperature if temperature is None else temperature
    max_steps = game.dream_max_steps if max_steps is None else max_steps
    initial_z, state = load_beginnings(run_dir, game, rnn) if learning else (load_initial_z(run_dir, game, rnn.z_size), None)
    log_odds = math.log(game.rnn_restart_weight) if game.dream_death == "drawn" else None  # the weight raised M's logit by it
    how = {"initial_state": state, "log_odds": log_odds, "dropout": game.dream_dropout}
    return Dream(rnn, initial_z, temperature, max_steps, step_reward(game, rnn), precision, **how)
