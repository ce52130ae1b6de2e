"""Recording episodes of the random policy or of a trained agent."""

import os
import sys

import numpy as np

from world_models import env
from world_models.config import UserError
from world_models.env.policies import exploration, extraction_policy, play
from world_models.env.record import episode_path, save_episode
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import Progress, controller_stage
from world_models.job.seeds import RECORD, episode_seeds
from world_models.job.workers import ROWS


def record(game, args, keywords, stage, pool):
    """Record the missing episodes of the opened `stage`, on all workers. args: extract.py's. keywords: the environment's."""
    if args.curiosity is not None:
        agent = pool.together(lambda: _Agent(game, args, keywords))  # loads TensorFlow as it should be
        from world_models.controller.curiosity import record_curiously

        return record_curiously(game, args, stage, pool, agent)
    missing = [i for i in range(game.record_episodes) if not os.path.exists(episode_path(stage.dir, i))]
    recorder = _Agent if args.agent else _Blind
    play_some = pool.together(lambda: recorder(game, args, keywords))  # all ranks have listed the folder, none has written yet
    share = missing[pool.rank :: pool.size]
    progress = Progress(len(missing), f"{pool.size} workers: episodes") if pool.rank == 0 else None
    lengths = []
    for start in range(0, len(share), play_some.rows):
        done = play_some(stage.dir, share[start : start + play_some.rows])
        lengths += done
        if progress:  # assumes that the other ranks are about as far
            progress.add(min(len(done) * pool.size, len(missing) - progress.done))
    lengths = [length for part in pool.gather(lengths) for length in part]
    if pool.rank == 0:
        progress.close()
        if lengths:
            mean, deviation = float(np.mean(lengths)), float(np.std(lengths))
            stage.log(episodes=len(lengths), frames=sum(lengths), mean_frames=mean, std_frames=deviation, workers=pool.size)
            print(f"recorded {len(lengths)} episodes of {mean:.1f} +- {deviation:.1f} frames", file=sys.stderr)
        print(f"{stage.dir} has {game.record_episodes} episodes", file=sys.stderr)


class _Blind:
    """Records episodes of the published random policy, or of --blind, one at a time."""

    rows = 1

    def __init__(self, game, args, keywords):
        self.game, self.seed, self.world = game, args.seed, env.make(game, **keywords)
        self.player, self.explore = args.blind, args.explore

    def __call__(self, folder, indices):
        (index,), game = indices, self.game
        for attempt in range(1000):
            (seed,) = episode_seeds(1, self.seed, RECORD, index, attempt)
            act = self._policy(np.random.default_rng((seed, 1)))
            episode = play(self.world, act, seed, game.record_max_steps, game.record_full)
            if len(episode[0]) > game.record_min_frames:
                save_episode(episode_path(folder, index), *episode)
                return [len(episode[0])]
        raise UserError(f"1000 episodes in a row had {game.record_min_frames} frames or fewer: give a smaller --min-frames")

    def _policy(self, rng):
        if not self.player:
            return extraction_policy(self.game, rng)
        act, force = self.game.blind_players(self.game, rng)[self.player], exploration(self.game, rng, self.explore or 0)

        def explore(t):
            forced = force(t)
            return np.where(np.isnan(forced), act(t), forced)

        return explore


class _Agent:
    """Records episodes of a trained agent, several at a time. Short episodes are kept."""

    rows = 64  # more than are played at once: when one ends the next begins, so rows are idle only at the end

    def __init__(self, game, args, keywords):
        load_tensorflow(1)  # only here: the random policy does not need it
        from world_models.controller.agent import load_controller
        from world_models.controller.rollout import open_world

        self.game, self.seed, self.explore = game, args.seed, args.explore
        mode, self.params = load_controller(args.agent, game, controller_stage(args.agent, args.name))
        self.world = open_world("real", args.agent, game, ROWS, mode, **keywords)

    def __call__(self, folder, indices, params=None):
        """Record the episodes `indices`. params (P,): a controller to play instead of the agent's."""
        episodes, max_steps, full = {}, self.game.record_max_steps, self.game.record_full

        def watch(playing, frames, z, actions, rewards, dones):
            for row in np.flatnonzero(playing >= 0):
                number = playing[row]
                steps = episodes.setdefault(number, [])
                steps.append((frames[row].copy(), actions[row], rewards[row], dones[row]))
                if len(steps) == max_steps or dones[row] and not full:
                    save_episode(episode_path(folder, indices[number]), *zip(*episodes.pop(number), strict=True))

        seeds = [episode_seeds(1, self.seed, RECORD, index)[0] for index in indices]
        force = None
        if self.explore:
            rngs = [np.random.default_rng((seed, 2)) for seed in seeds]  # (seed, 1) is for the noise that samples z
            explorers = [exploration(self.game, rng, self.explore) for rng in rngs]

            def force(episode, t):
                return explorers[episode](t)

        _, steps = self.world.rollout(self.params if params is None else params, seeds, max_steps, full, watch, force)
        return steps.tolist()
