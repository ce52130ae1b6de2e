"""Rollouts of controllers in the real world or in the dream, with many episodes stepped as one batch."""

import gc
import os
import sys

import numpy as np
import tensorflow as tf

from world_models import env
from world_models.config import UserError
from world_models.controller.agent import Agent
from world_models.controller.controller import Controller
from world_models.dream.dream import load_dream
from world_models.dream.population import Population
from world_models.dream.rows import uniform
from world_models.job.workers import ROWS
from world_models.rnn.world_model import load_world_model

NOISE_STEPS = 128  # steps for which an episode's noise is drawn at once


def open_world(
    which, run_dir, game, episodes, mode=None, temperature=None, lanes=1, precision="float32", learning=False, **keywords
):
    """The RealWorld (`which` is "real") or DreamWorld ("dream") of a run's V and M, for candidates of `episodes` episodes.

    lanes: threads that compute dreams in parallel in this process. precision: "float32" or "bfloat16", of V's encoder in the
    real world and of M's dreams. learning: that of `load_dream`. keywords: those of the real world's environment.

    Raises UserError where V or M is missing or not usable.
    """
    if which == "real":
        vae, rnn = load_world_model(run_dir, game)
        return RealWorld(Agent(game, vae.in_precision(precision), rnn, mode), episodes, **keywords)
    dream = load_dream(run_dir, game, temperature, precision=precision, learning=learning)
    return DreamWorld(Controller(game, mode, dream.rnn), dream, episodes, lanes)


def run_units(pool, world, units, max_steps):
    """[(scores (E,), steps (E,))] of units (params (P,), E seeds), computed by all workers.

    Blocks of `world.at_once` units stay together, so that the contents of a batch do not depend on the number of workers.
    """
    blocks = _blocks(units, world.at_once)
    results = pool.map_shares(lambda share: _blocks(world.rollouts(sum(share, []), max_steps), world.at_once), blocks)
    return sum(results, [])


def _blocks(units, size):
    return [units[i : i + size] for i in range(0, len(units), size)]


def run_episodes(pool, world, params, seeds, max_steps):
    """(scores (N,), steps (N,)) of one controller over N seeds, computed by all workers."""
    count = min(len(seeds), pool.size * world.at_once)  # as many units as fill the rows of all workers
    units = [(params, seeds[k::count]) for k in range(count)]
    scores, steps = np.zeros(len(seeds)), np.zeros(len(seeds), int)
    for k, result in enumerate(run_units(pool, world, units, max_steps)):
        scores[k::count], steps[k::count] = result
    return finite(pool, scores, "episodes"), steps


def finite(pool, scores, what):
    """scores (N,), with the lowest one in place of those that are not finite. `what` is scored.

    M's mixture can make a z that is far from all that M has seen. Such a dream may then diverge, and its rewards with it.
    Raises UserError where no score is finite.
    """
    good = np.isfinite(scores)
    if good.all():
        return scores
    if not good.any():
        raise UserError(f"the scores of all {len(scores)} {what} are infinite or no numbers: train M again, this one diverges")
    if pool.rank == 0:
        lost = np.sum(~good)
        print(f"{lost} of {len(scores)} {what} diverged, and count as the worst of the others", file=sys.stderr, flush=True)
    return np.where(good, scores, np.min(scores[good]))


class DreamWorld:
    """The dream. The episodes of all units are computed together."""

    at_once = 1  # a dream does not depend on which rows share its batch

    def __init__(self, controller, dream, episodes, lanes=1):
        self.controller, self.dream, self.episodes = controller, dream, episodes
        self.population = Population(dream, controller.act, lanes=lanes)

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
    """Games that are kept open, with one graph call of the agent's V and M for all of them at each step.

    episodes: those of a candidate, of which up to ROWS are played at once. The batch always has rows for `at_once` candidates:
    a good part of V's time is spent per call, whatever the number of frames.
    decoys: None, or a list of arrays (T,64,64,3), frames of other games that V is shown instead of those of the game that is
    played. An episode's seed chooses the array, and it is repeated from its beginning.
    """

    def __init__(self, agent, episodes, **keywords):
        self.agent, self.episodes, self.keywords = agent, min(episodes, ROWS), keywords
        self.controller, self.decoys = agent.controller, None
        self.at_once = ROWS // self.episodes
        self.worlds = []
        self.rows = rows = self.at_once * self.episodes  # of the batch
        # AVX2's products take six rows at a time. V's convolutions with few filters may need whole sixes.
        sizes = uniform(rows), rows + -rows % 6
        self.computed = next((size for size in sizes if self._rows_alike(size)), None)
        if self.computed is None:
            remedy = "" if os.environ.get("TF_NUM_INTRAOP_THREADS") == "1" else ": pass --threads 1"
            print(
                "a row's last digits depend on its place in the batch here, and so scores on the number of workers" + remedy,
                file=sys.stderr,
            )
        # Else Python's garbage collector goes through TensorFlow's quarter of a million objects whenever new tracks trigger it.
        gc.unfreeze()  # an earlier world's V and M, which are cycles of references
        gc.collect()
        gc.freeze()

    def _rows_alike(self, computed):
        """Whether the agent computes the same, bit for bit, in any row of the batch, with `computed` rows in V and M."""
        rnn, rows = self.agent.rnn, self.rows
        rng = np.random.default_rng(0)
        params, frame = np.zeros((self.at_once, self.controller.num_params)), rng.integers(0, 256, (1, 64, 64, 3), np.uint8)
        params[:] = rng.normal(0, 0.1, params.shape[1])
        noise = rng.standard_normal((1, rnn.z_size), np.float32)
        state = [tf.repeat(tf.constant(rng.standard_normal((1, rnn.rnn_size), np.float32)), rows, axis=0) for _ in "hc"]
        z, actions, state = self.agent.step(
            tf.constant(params, tf.float32),
            frame.repeat(rows, 0),
            noise.repeat(rows, 0),
            tuple(state),
            tf.zeros(rows),
            None,
            computed,
        )
        return all(bool(tf.reduce_all(part == part[:1])) for part in (z, actions, *state))

    def rollouts(self, units, max_steps):
        """[(scores (E,) float64, steps (E,) int)] of units, each (params (P,) of a controller, E seeds)."""
        return sum((self._together(block, max_steps) for block in _blocks(units, self.at_once)), [])

    def rollout(self, params, seeds, max_steps, full=False, watch=None, force=None):
        """(scores (E,) float64, steps (E,) int) of one controller, params (P,), in E episodes.

        full: continue after the game has ended, up to max_steps.
        force(episode, t): the action (A,) that replaces C's in step t of that episode, NaN where C decides.
        watch(episode, frames, z, actions, rewards, dones): called after each step with that step's arrays, which have one row
        per game. episode (B,): the number of the episode that is played in each row, -1 where none is.
        """
        return self._together([(params, seeds)], max_steps, full, watch, force)[0]

    def _together(self, units, max_steps, full=False, watch=None, force=None):
        """The results of at most `at_once` units. Each has `episodes` rows; when an episode ends, its unit's next begins there.

        An episode's seed determines its track or game, and the noise that samples z. The batch always has all its rows, even if
        nothing is left to play in some. So an episode is the same in any row, whatever the other rows do.
        """
        game, rows = self.agent.game, self.rows
        params = np.zeros((self.at_once, self.controller.num_params), np.float32)
        params[: len(units)] = [candidate for candidate, _ in units]
        params = tf.constant(params)
        waiting = [list(enumerate(seeds))[::-1] for _, seeds in units]
        scores = [np.zeros(len(seeds)) for _, seeds in units]
        steps = [np.zeros(len(seeds), int) for _, seeds in units]
        noise, sources = np.zeros((rows, NOISE_STEPS, self.agent.rnn.z_size), np.float32), [None] * rows
        frames = np.zeros((rows, 64, 64, 3), np.uint8)
        episode, played, begins = np.full(rows, -1), np.zeros(rows, int), np.zeros(rows, np.float32)
        decoys = [None] * rows
        rewards, dones, totals = np.zeros(rows), np.zeros(rows, bool), np.zeros(rows)
        forced = None if force is None else np.full((rows, game.action_size), np.nan, np.float32)

        def seat(row):
            """Begin the next episode of the row's unit; without one the row is computed but ignored."""
            unit = row // self.episodes
            if episode[row] >= 0:
                scores[unit][episode[row]], steps[unit][episode[row]] = totals[row], played[row]
            episode[row], seed = waiting[unit].pop() if unit < len(units) and waiting[unit] else (-1, None)
            played[row], totals[row] = 0, 0.0
            if seed is not None:
                sources[row] = np.random.default_rng((seed, 1))
                frames[row] = self._world(row).reset(seed=seed)[0]
                begins[row] = 1
                decoys[row] = self.decoys and self.decoys[seed % len(self.decoys)]

        for row in range(rows):
            seat(row)
        state, row_numbers, no_restart = self.agent.initial_state(rows), np.arange(rows), tf.zeros(rows)
        # Else TensorFlow looks at all arguments at each call, for half a millisecond, to find the graph that fits them.
        step = self.agent.step.get_concrete_function(params, frames, noise[:, 0], state, no_restart, forced, self.computed)
        while (episode >= 0).any():
            restart = no_restart
            if begins.any():
                restart = tf.constant(begins)
                state = tuple(part * (1 - begins)[:, None] for part in state)
            playing = np.flatnonzero(episode >= 0)
            for row in playing[played[playing] % NOISE_STEPS == 0]:
                noise[row] = sources[row].standard_normal(noise.shape[1:], np.float32)
            for row in playing if force else ():
                forced[row] = force(episode[row], played[row])
            seen = frames if watch is None and not self.decoys else frames.copy()
            for row in playing if self.decoys else ():
                seen[row] = decoys[row][played[row] % len(decoys[row])]
            arrays = tf.constant(seen), tf.constant(noise[row_numbers, played % NOISE_STEPS])
            forcing = None if force is None else tf.constant(forced)
            z, actions, state = step(params, *arrays, state, restart, forcing, self.computed)
            actions = actions.numpy()
            begins[:] = 0
            for row in playing.tolist():
                frames[row], rewards[row], terminated, truncated, _ = self.worlds[row].step(actions[row])
                dones[row] = terminated or truncated
            if watch is not None:
                watch(episode.copy(), seen, z.numpy(), actions, rewards, dones)
            totals[playing] += rewards[playing]
            played[playing] += 1
            over = played == max_steps if full else (played == max_steps) | dones
            for row in playing[over[playing]]:
                seat(row)
        return list(zip(scores, steps, strict=True))

    def _world(self, row):
        while len(self.worlds) <= row:
            self.worlds.append(env.make(self.agent.game, **self.keywords))
        return self.worlds[row]

    def close(self):
        for world in self.worlds:
            world.close()
        self.worlds = []


def watch_dreams(world, seeds, max_steps):
    """Yields z (B,Z) before each step of a DreamWorld's controller in B dreams, until all have ended."""
    params = tf.constant(np.tile(world.controller.params, (len(seeds), 1)), tf.float32)
    act = tf.function(world.controller.act, jit_compile=True, autograph=False)
    for z, *_ in world.dream.watch(lambda t, z, state: act(z, state, params), seeds, max_steps):
        yield z
