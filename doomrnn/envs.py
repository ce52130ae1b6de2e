"""The dream as a Gymnasium environment, single and vectorized.

An observation is z and M's state in the order of the game's controller: [z, h] or, as in the authors' doomrnn.py, [z, c, h].
"""

import os
from dataclasses import replace

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from world_models.config import UserError, scaled
from world_models.dream.dream import load_dream
from world_models.job.rundir import as_trained
from world_models.rnn.features import features
from world_models.rnn.world_model import load_vision


class _Dreams:
    """`count` dreams in one batch, each with its own seed and its own generator of further seeds."""

    def __init__(
        self,
        count,
        game,
        run_dir=None,
        temperature=None,
        max_steps=None,
        render_mode=None,
        precision="float32",
        death=None,
        dropout=None,
    ):
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"there is no render mode {render_mode!r}: use rgb_array or none")
        given = {"dream_death": death, "dream_dropout": dropout}
        game = replace(scaled(game), **{name: value for name, value in given.items() if value is not None})
        run_dir = run_dir or os.path.join("runs", game.name)
        game = as_trained(game, run_dir)
        self.game, self.dream = game, load_dream(run_dir, game, temperature, max_steps, precision)
        self.render_mode, self.vae = render_mode, load_vision(run_dir, game) if render_mode else None
        self.generators = [None] * count
        self.seeds = np.zeros(count, np.uint32)
        self.steps = np.zeros(count, np.int32)
        self.z, self.state = self.dream.start(tf.constant(self.seeds))

    @property
    def observation_space(self):
        size = self._observe().shape[1]
        return spaces.Box(-np.inf, np.inf, (size,), np.float32)

    @property
    def action_space(self):
        return spaces.Box(np.array(self.game.lowest_action, np.float32), np.ones(self.game.action_size, np.float32))

    def _observe(self):
        return features(self.game.controller_mode, self.z, self.state).numpy()

    def begin(self, rows, seeds):
        """Start new dreams in the rows where `rows` (count,) is True; a seed of None is drawn from the row's generator."""
        for i in np.flatnonzero(rows):
            if seeds[i] is not None:
                self.generators[i] = np.random.default_rng(seeds[i])
                self.seeds[i] = seeds[i] % 2**32
            else:
                self.generators[i] = self.generators[i] or np.random.default_rng()
                self.seeds[i] = self.generators[i].integers(2**32)
        z, state = self.dream.start(tf.constant(self.seeds))
        keep = tf.constant(~rows)[:, None]
        self.z = tf.where(keep, self.z, z)
        self.state = tuple(tf.where(keep, old, new) for old, new in zip(self.state, state, strict=True))
        self.steps[rows] = 0
        return self._observe()

    def step(self, actions):
        """(observations, rewards (B,), died (B,), cut (B,)) after actions (B,A)."""
        actions = np.asarray(actions, np.float32)
        expected = (len(self.steps), self.game.action_size)
        if actions.shape != expected or not np.isfinite(actions).all():
            raise UserError(f"actions have shape {actions.shape}: give finite numbers of shape {expected}")
        if self.generators[0] is None:
            raise UserError("the dream has not begun: call reset() first")
        self.z, self.state, reward, died = self.dream.step(
            self.z, tf.constant(actions), self.state, tf.constant(self.seeds), tf.constant(self.steps)
        )
        self.steps += 1
        died = died.numpy()
        return self._observe(), reward.numpy(), died, ~died & (self.steps >= self.dream.max_steps)

    def pictures(self):
        """(B,64,64,3) uint8: z decoded by V."""
        return self.vae.pictures(self.z)


class DreamEnv(gymnasium.Env):
    """One dream. Observation (F,) float32, action (A,). The reward is M's prediction, or `Game.survival_reward` for each step.

    game: a game's name; run_dir: where V and M are (default runs/GAME); temperature and max_steps: the game's published values
    by default; precision: "float32", or "bfloat16", which `train.py` uses where it is faster; death ("cut" or "drawn") and
    dropout: those of train.py's options --death and --dream-dropout.
    An episode is terminated when M predicts death, and truncated after max_steps.

    Raises UserError for a temperature of 0 or less, an unknown precision or death, a dropout that is no share, a run without M,
    and an action of the wrong shape.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, *arguments, **keywords):
        self._dreams = _Dreams(1, *arguments, **keywords)
        self.render_mode = self._dreams.render_mode
        self.metadata = {**self.metadata, "render_fps": self._dreams.game.frames_per_second}
        self.observation_space, self.action_space = self._dreams.observation_space, self._dreams.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._dreams.begin(np.array([True]), [seed])[0], {}

    def step(self, action):
        observation, reward, died, cut = self._dreams.step(np.asarray(action)[None])
        return observation[0], float(reward[0]), bool(died[0]), bool(cut[0]), {}

    def render(self):
        return self._dreams.pictures()[0] if self.render_mode else None


class DreamVectorEnv(VectorEnv):
    """`num_envs` dreams in one batch: `gymnasium.make_vec(Game.dream_id, num_envs=16)`.

    A finished dream restarts at the next step, whose action is ignored (AutoresetMode.NEXT_STEP). reset(seed=s) starts row i
    with seed s + i. Keywords and errors are those of DreamEnv.
    """

    metadata = {**DreamEnv.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs=1, **keywords):
        self._dreams = _Dreams(num_envs, **keywords)
        self.num_envs, self.render_mode = num_envs, self._dreams.render_mode
        self.metadata = {**self.metadata, "render_fps": self._dreams.game.frames_per_second}
        self.single_observation_space, self.single_action_space = self._dreams.observation_space, self._dreams.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        self._over[:] = False
        return self._dreams.begin(np.ones(self.num_envs, bool), seeds), {}

    def step(self, actions):
        over = self._over
        observations, rewards, died, cut = self._dreams.step(actions)
        if over.any():
            observations = self._dreams.begin(over, [None] * self.num_envs)
        rewards = np.where(over, 0.0, rewards)
        died, cut = died & ~over, cut & ~over
        self._over = died | cut
        return observations, rewards, died, cut, {}

    def render(self):
        return tuple(self._dreams.pictures()) if self.render_mode else None
