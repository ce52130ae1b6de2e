"""Rollouts: a candidate's episodes, stepped together as one batch of fixed shape, in the real world or in the dream."""

import numpy as np
import tensorflow as tf

import env
from controller.agent import Agent
from controller.controller import Controller
from doomrnn.dream import load_dream
from doomrnn.population import Population, features
from doomrnn.world_model import load_world_model

ROWS = 16  # rows that a batch in the real world has, or a few less, where a candidate has fewer episodes


def open_world(which, run_dir, game, episodes, mode=None, temperature=None, lanes=1, precision="float32", **keywords):
    """The RealWorld ("real") or the DreamWorld ("dream") of a run's V and M, for units of work of at most `episodes` episodes.

    lanes: threads that dream side by side in this process. precision: "float32" or "bfloat16", what V encodes the real world
    in, and what M dreams in; keywords are those of the real world's environment.

    Raises UserError where V or M is missing or not usable.
    """
    if which == "real":
        game, vae, rnn = load_world_model(run_dir, game)
        return RealWorld(Agent(game, vae.in_precision(precision), rnn, mode), episodes, **keywords)
    game, dream = load_dream(run_dir, game, temperature, precision=precision)
    return DreamWorld(Controller(game, mode), dream, episodes, lanes)


def run_units(pool, world, units, max_steps):
    """[(scores (E,), steps (E,))] of units (params (P,), E seeds), computed by all workers.

    Blocks of `world.at_once` units stay together, so that what is in a batch does not depend on how many workers there are.
    """
    blocks = _blocks(units, world.at_once)
    results = pool.map_shares(lambda share: _blocks(world.rollouts(sum(share, []), max_steps), world.at_once), blocks)
    return sum(results, [])


def _blocks(units, size):
    return [units[i : i + size] for i in range(0, len(units), size)]


def run_episodes(pool, world, params, seeds, max_steps):
    """(scores (N,), steps (N,)) of one controller over N seeds, `world.episodes` of them a unit of work."""
    units = [(params, part) for part in _blocks(seeds, world.episodes)]
    scores, steps = zip(*run_units(pool, world, units, max_steps), strict=True)
    return np.concatenate(scores), np.concatenate(steps)


class DreamWorld:
    """Dreams, those of all units of work together."""

    at_once = 1  # whoever dreams beside it, a dream is the same

    def __init__(self, controller, dream, episodes, lanes=1):
        self.controller, self.dream, self.episodes = controller, dream, episodes
        self.population = Population(dream, controller.row_actions, controller.mode, lanes=lanes)

    def rollouts(self, units, max_steps):
        """[(scores (E,) float64, steps (E,) int)] of units, each (params (P,) of a controller, E seeds)."""
        if not units:
            return []
        params, seeds = zip(*units, strict=True)
        counts = [len(part) for part in seeds]
        owners = np.repeat(np.arange(len(units)), counts)
        results = self.population(np.array(params), owners, np.concatenate(seeds), max_steps)
        scores, steps = (np.split(part, np.cumsum(counts)[:-1]) for part in results)
        return list(zip(scores, steps, strict=True))

    def rollout(self, params, seeds, max_steps):
        """(scores (E,), steps (E,)) of one controller in E dreams."""
        return self.rollouts([(params, seeds)], max_steps)[0]


class RealWorld:
    """Games that are kept open, with an agent's V and M for all of them in one graph call a step.

    episodes: of a candidate. The batch has rows for `at_once` candidates with all their episodes, always: V costs a good part
    of its time by the call, whatever the number of frames.
    """

    def __init__(self, agent, episodes, **keywords):
        self.agent, self.episodes, self.keywords = agent, episodes, keywords
        self.controller = agent.controller
        self.at_once = max(1, ROWS // episodes)
        self.worlds = []

    def rollouts(self, units, max_steps):
        """[(scores (E,) float64, steps (E,) int)] of units, each (params (P,) of a controller, E <= `episodes` seeds)."""
        return sum((self._together(block, max_steps) for block in _blocks(units, self.at_once)), [])

    def rollout(self, params, seeds, max_steps, full=False, watch=None):
        """(scores (E,) float64, steps (E,) int) of one controller, params (P,), in E <= `episodes` episodes.

        full: go on after the game says it is over, up to max_steps.
        watch(t, frames, z, actions, rewards, dones, alive): called after each step with that step's arrays; the first
        E rows are the episodes'.
        """
        return self._together([(params, seeds)], max_steps, full, watch)[0]

    def _together(self, units, max_steps, full=False, watch=None):
        """The results of at most `at_once` units.

        Each episode's track or game, and the noise with which z is sampled, come from its own seed. The batch always has the
        same rows, and those whose episode is over stay in it, so an episode is the same whatever the others do.
        """
        game, rows = self.agent.game, self.at_once * self.episodes
        params = np.zeros((self.at_once, self.controller.num_params), np.float32)
        alive = np.zeros(rows, bool)
        noise = np.zeros((max_steps, rows, game.z_size), np.float32)
        frames = np.zeros((rows, 64, 64, 3), np.uint8)
        for k, (candidate, seeds) in enumerate(units):
            params[k] = candidate
            for i, seed in enumerate(seeds, k * self.episodes):
                alive[i] = True
                noise[:, i] = np.random.default_rng((seed, 1)).standard_normal((max_steps, game.z_size), np.float32)
                frames[i] = self._world(i).reset(seed=seed)[0]
        params = tf.constant(params)
        state = self.agent.initial_state(rows)
        begins, goes_on = tf.ones(rows), tf.zeros(rows)  # the restart flags
        scores, steps, rewards, dones = np.zeros(rows), np.zeros(rows, int), np.zeros(rows), np.zeros(rows, bool)
        for t in range(max_steps):
            z, actions, state = self.agent.step(params, frames, noise[t], state, begins if t == 0 else goes_on)
            actions, seen = actions.numpy(), frames if watch is None else frames.copy()
            rewards[:] = 0
            for i in np.flatnonzero(alive):
                frames[i], rewards[i], terminated, truncated, _ = self.worlds[i].step(actions[i])
                dones[i] = terminated or truncated
            scores += rewards
            steps += alive
            if watch is not None:
                watch(t, seen, z.numpy(), actions, rewards, dones, alive.copy())
            alive &= full | ~dones
            if not alive.any():
                break
        own = [slice(k * self.episodes, k * self.episodes + len(seeds)) for k, (_, seeds) in enumerate(units)]
        return [(scores[part], steps[part]) for part in own]

    def _world(self, row):
        while len(self.worlds) <= row:
            self.worlds.append(env.make(self.agent.game, **self.keywords))
        return self.worlds[row]

    def close(self):
        for world in self.worlds:
            world.close()
        self.worlds = []


def film_dream(world, vae, seed, max_steps):
    """The decoded frames, each (64,64,3) uint8, of one dream of a DreamWorld's controller."""
    seeds = tf.constant([seed], tf.uint32)
    params = tf.constant(world.controller.params[None], tf.float32)
    act = tf.function(world.controller.row_actions, jit_compile=True)
    z, state = world.dream.start(seeds)
    pictures = []
    for t in range(max_steps):
        pictures.append(vae.pictures(z)[0])
        actions = act(features(world.controller.mode, z, state), params)
        z, state, died = world.dream.step(z, actions, state, seeds, tf.constant([t]))
        if died[0]:
            break
    return pictures
