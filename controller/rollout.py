"""Rollouts: a candidate's episodes, stepped together as one batch of fixed shape, in the real world or in the dream."""

import numpy as np
import tensorflow as tf

import env
from controller.agent import Agent
from controller.controller import Controller
from doomrnn.dream import load_dream
from doomrnn.population import Population, features
from doomrnn.world_model import load_world_model


def open_world(which, run_dir, game, rows, mode=None, temperature=None, lanes=1, **keywords):
    """The RealWorld ("real") or the DreamWorld ("dream") of a run's V and M; keywords are those of the real world.

    rows: the most episodes in a unit of work. lanes: threads that dream side by side in this process.
    Raises UserError where V or M is missing or not usable.
    """
    if which == "real":
        return RealWorld(Agent(*load_world_model(run_dir, game), mode), rows, **keywords)
    game, dream = load_dream(run_dir, game, temperature)
    return DreamWorld(Controller(game, mode), dream, rows, lanes)


def run_episodes(pool, world, params, seeds, max_steps):
    """(scores (N,), steps (N,)) of one controller over N seeds, `world.rows` of them a unit of work."""
    units = [(params, seeds[i : i + world.rows]) for i in range(0, len(seeds), world.rows)]
    results = pool.map_shares(lambda share: world.rollouts(share, max_steps), units)
    scores, steps = zip(*results, strict=True)
    return np.concatenate(scores), np.concatenate(steps)


class DreamWorld:
    """Dreams, those of all units of work together."""

    def __init__(self, controller, dream, rows, lanes=1):
        self.controller, self.dream, self.rows = controller, dream, rows
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
    """`rows` copies of a game, kept open, with an agent's V and M for all of them in one graph call a step."""

    def __init__(self, agent, rows, **keywords):
        self.agent, self.rows, self.keywords = agent, rows, keywords
        self.controller = agent.controller
        self.worlds = []

    def rollouts(self, units, max_steps):
        """[(scores (E,) float64, steps (E,) int)] of units, each (params (P,) of a controller, E <= rows seeds), in turn."""
        return [self.rollout(params, seeds, max_steps) for params, seeds in units]

    def rollout(self, params, seeds, max_steps, full=False, watch=None):
        """(scores (E,) float64, steps (E,) int) of one controller, params (P,), in E <= rows episodes.

        Each episode's track or game, and the noise with which z is sampled, come from its own seed. The batch always has
        `rows` rows, and those whose episode is over stay in it, so an episode is the same whatever the others do.
        full: go on after the game says it is over, up to max_steps.
        watch(t, frames, z, actions, rewards, dones, alive): called after each step with that step's arrays, (rows, ...).
        """
        game, count = self.agent.game, len(seeds)
        while len(self.worlds) < count:
            self.worlds.append(env.make(game, **self.keywords))
        noise = np.zeros((max_steps, self.rows, game.z_size), np.float32)
        frames = np.zeros((self.rows, 64, 64, 3), np.uint8)
        for i, seed in enumerate(seeds):
            noise[:, i] = np.random.default_rng((seed, 1)).standard_normal((max_steps, game.z_size), np.float32)
            frames[i] = self.worlds[i].reset(seed=seed)[0]
        params = tf.constant(params, tf.float32)
        state = self.agent.initial_state(self.rows)
        begins, goes_on = tf.ones(self.rows), tf.zeros(self.rows)  # the restart flags
        scores, steps = np.zeros(count), np.zeros(count, int)
        alive = np.arange(self.rows) < count
        rewards, dones = np.zeros(self.rows), np.zeros(self.rows, bool)
        for t in range(max_steps):
            z, actions, state = self.agent.step(params, frames, noise[t], state, begins if t == 0 else goes_on)
            actions = actions.numpy()
            seen, frames = frames, frames.copy()
            rewards[:] = 0
            for i in np.flatnonzero(alive):
                frames[i], rewards[i], terminated, truncated, _ = self.worlds[i].step(actions[i])
                dones[i] = terminated or truncated
                steps[i] += 1
            scores += rewards[:count]
            if watch is not None:
                watch(t, seen, z.numpy(), actions, rewards, dones, alive.copy())
            alive &= full | ~dones
            if not alive.any():
                break
        return scores, steps

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
        pictures.append(np.uint8(np.round(vae.decode(z)[0] * 255.0)))
        actions = act(features(world.controller.mode, z, state), params)
        z, state, died = world.dream.step(z, actions, state, seeds, tf.constant([t]))
        if died[0]:
            break
    return pictures
