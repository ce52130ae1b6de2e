"""The dream: M in the place of the world (article, "Learning Inside of a Dream").

A dream starts from a sample of a recorded episode's first frame, with M's state at zero and restart = 1. At each step M is
given z and the action, the next z is sampled from its mixture at a temperature t (logits / t, sigma * sqrt(t)), and the dream
is over when M finds death more likely than not: the restart logit is above 0. It is not sampled, which the article found more
stable. The step that ends a dream earns its reward too.
"""

import tensorflow as tf

from config import UserError
from doomrnn.noise import uniform_and_normal
from doomrnn.world_model import load_initial_z, load_memory


def features(mode, z, state):
    """What C sees of z (B,Z) and M's state, the pair (h, c): (B, F), in the original's order."""
    h, c = state
    return tf.concat({"zh": [z, h], "zch": [z, c, h]}.get(mode, [z]), axis=-1)


class Dream:
    """M's dream, for any number of episodes at once; each row is told its seed and its step, and has its own chance from them.

    initial_z: (mu, logvar), each (N, Z): the first frames that dreams start from.
    Raises UserError for a temperature of 0 or less.
    """

    def __init__(self, rnn, initial_z, temperature, max_steps, reward):
        if not 0 < temperature < float("inf"):
            raise UserError(f"the temperature is {temperature}: give a number above 0")
        self.rnn, self.temperature, self.max_steps, self.reward = rnn, float(temperature), max_steps, reward
        self._mu, self._logvar = (tf.constant(part, tf.float32) for part in initial_z)

    @tf.function(reduce_retracing=True)
    def start(self, seeds):
        """(z (B,Z), state (h, c)) of the first moment; seeds (B,) uint32."""
        chance, noise = uniform_and_normal(seeds, tf.constant(0, tf.uint32), self.rnn.z_size)
        count = self._mu.shape[0]
        which = tf.minimum(tf.cast(chance[:, 0] * count, tf.int32), count - 1)  # (B,)
        mu, logvar = tf.gather(self._mu, which), tf.gather(self._logvar, which)
        return mu + tf.exp(logvar / 2) * noise, self.rnn.initial_state(tf.shape(seeds)[0])

    @tf.function(reduce_retracing=True)
    def step(self, z, actions, state, seeds, steps):
        """(z (B,Z), state, died (B,) bool) after `actions` (B,A); steps (B,) int32: how many this dream has behind it."""
        restart = tf.cast(steps == 0, tf.float32) if self.rnn.predict_restart else None
        params, state = self.rnn.step(z, actions, state, restart)
        chance, noise = uniform_and_normal(seeds, tf.cast(steps + 1, tf.uint32), self.rnn.z_size)
        z = sample(params, chance, noise, self.temperature)
        died = params.restart_logit > 0 if self.rnn.predict_restart else tf.zeros_like(steps, tf.bool)
        return z, state, died


def sample(params, chance, noise, temperature):
    """z (B,Z) from M's mixture at `temperature`; chance (B,Z) uniform in (0, 1) picks the Gaussian, noise (B,Z) is normal.

    The same distribution as `MDNRNN.mixture(params, temperature)`, with the chance from outside.
    """
    cumulative = tf.cumsum(tf.nn.softmax(params.logits / temperature, axis=-1), axis=-1)  # (B, Z, K)
    chosen = tf.reduce_sum(tf.cast(chance[..., None] > cumulative[..., :-1], tf.int32), axis=-1)  # (B, Z)
    mean = tf.gather(params.mean, chosen, batch_dims=2)
    log_std = tf.gather(params.log_std, chosen, batch_dims=2)
    return mean + tf.exp(log_std) * noise * temperature**0.5


def load_dream(run_dir, game, temperature=None, max_steps=None):
    """(game with M's sizes, Dream) of a run; temperature and max_steps are the game's where they are None."""
    game, rnn = load_memory(run_dir, game)
    temperature = game.dream_temperature if temperature is None else temperature
    max_steps = game.dream_max_steps if max_steps is None else max_steps
    return game, Dream(rnn, load_initial_z(run_dir, game), temperature, max_steps, game.dream_reward)


class Rollouts:
    """Whole dreams of given controllers in one graph call.

    act(features (K,E,F), params (K,P)) -> actions (K,E,A); mode: what the controllers see.
    """

    def __init__(self, dream, act, mode):
        self.dream, self.act, self.mode = dream, act, mode

    # XLA fuses the many small operations between the matrix products: at 16 rows it doubles the speed.
    @tf.function(jit_compile=True)
    def __call__(self, params, seeds, max_steps):
        """(rewards (K,E) float32, steps (K,E) int32) of K controllers, params (K,P), in E dreams each, seeds (K,E) uint32.

        max_steps, int32: where dreams are cut. The batch keeps its shape until the last dream is over.
        """
        rows = tf.reshape(seeds, [-1])  # (B,) with B = K * E
        z, state = self.dream.start(rows)
        steps = tf.zeros_like(rows, tf.int32)
        alive = tf.ones_like(rows, tf.bool)

        def going(z, h, c, steps, alive):
            return tf.reduce_any(alive)

        def step(z, h, c, steps, alive):
            seen = features(self.mode, z, (h, c))
            seen = tf.reshape(seen, (*seeds.shape, seen.shape[-1]))  # (K, E, F)
            actions = self.act(seen, params)
            actions = tf.reshape(actions, (-1, actions.shape[-1]))
            z, (h, c), died = self.dream.step(z, actions, (h, c), rows, steps)
            steps += tf.cast(alive, tf.int32)
            alive &= ~died & (steps < max_steps)
            return z, h, c, steps, alive

        *_, steps, _ = tf.while_loop(going, step, (z, *state, steps, alive))
        steps = tf.reshape(steps, tf.shape(seeds))
        return tf.cast(steps, tf.float32) * self.dream.reward, steps
