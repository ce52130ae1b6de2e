"""Record episodes of a policy in the real world: runs/GAME/record/, one compressed .npz each.

The policy is the published random one, or with --agent a trained agent, or with --explore both by turns. Run again, it records
what is missing.

A second round of learning, the article's iterative procedure, begins with what the first one's agent meets:

    python extract.py GAME --agent runs/GAME --with runs/GAME --run-dir runs/GAME-2 --episodes 400
"""

import os
import sys

import numpy as np

from config import UserError, stage_settings
from env.record import episode_path, link_episodes, list_episodes, save_episode
from job import workers
from job.command import CommandLine
from job.machine import load_tensorflow, set_threads
from job.rundir import Progress, Stage, add_name_option, digest, need, settings_in, world_keywords
from job.seeds import RECORD, episode_seeds


def main(argv=None):
    command_line = CommandLine(__doc__, "record")
    workers.add_option(command_line)
    command_line.add("--agent", metavar="RUN_DIR", help="play the trained agent of this run instead of the random policy")
    add_name_option(command_line)
    command_line.add(
        "--explore",
        metavar="SHARE",
        type=float,
        default=0,
        help="of the agent's steps, the share that the random policy takes over",
    )
    command_line.add(
        "--with", metavar="RUN_DIR", dest="others", nargs="+", default=[], help="also have the episodes of these runs"
    )
    command_line.add_world_options()
    game, args = command_line.parse(argv)
    if not 0 <= args.explore <= 1:
        raise UserError(f"--explore is {args.explore}: give a share between 0 and 1")
    for name in ("explore", "name"):
        if getattr(args, name) and not args.agent:
            raise UserError(f"--{name} is for agents, and without --agent all is random: give --agent RUN_DIR too")
    set_threads(1)
    pool = workers.start(args.num_worker, game.record_episodes, "episodes")
    keywords = world_keywords(game, args, args.agent)
    settings = {**stage_settings(game, "record"), **keywords, "agent": args.agent}
    settings |= {"with": args.others} if args.others else {}
    settings |= {"explore": args.explore} if args.explore else {}
    settings |= {"played_by": pool.together(lambda: _digests(game, args))} if args.agent else {}
    others = pool.together(lambda: _others(game, args, keywords))
    with pool.stage(Stage(args.run_dir, "record", settings, args.seed)) as stage:
        for prefix, paths in others.items() if pool.rank == 0 else ():
            link_episodes(paths, stage.dir, prefix)
        _record(game, args, keywords, stage, pool)


def _digests(game, args):
    """{stage: the digest of its file} of the V, M and C that play."""
    from controller.agent import controller_stage

    stage = controller_stage(args.agent, args.name)
    files = {"vae": "vae.keras", "rnn": "rnn.keras", stage: "best.json"}
    return {stage: digest(need(args.agent, stage, file, game.name)) for stage, file in files.items()}


def _others(game, args, keywords):
    """{what their names shall begin with: paths} of the episodes of --with's runs."""
    episodes = {}
    for run_dir in args.others:
        prefix, folder = os.path.basename(os.path.abspath(run_dir)) + "-", os.path.join(run_dir, "record")
        need(run_dir, "record", "config.json", game.name)
        if not (paths := list_episodes(folder)):
            raise UserError(f"{folder} has no episodes: leave it out of --with")
        if prefix in episodes or os.path.abspath(run_dir) == os.path.abspath(args.run_dir):
            raise UserError(f"{run_dir} is given twice, or has the name of another: give each run once, by a name of its own")
        settings = settings_in(folder)
        if any(settings.get(name) != value for name, value in keywords.items()):
            raise UserError(f"{folder} was not recorded with {keywords}: frames of two kinds cannot be mixed")
        episodes[prefix] = paths
    return episodes


def _record(game, args, keywords, stage, pool):
    missing = [i for i in range(game.record_episodes) if not os.path.exists(episode_path(stage.dir, i))]
    record = pool.together(
        lambda: (_Agent if args.agent else _Random)(game, args, keywords)
    )  # all have looked, none has written
    share = missing[pool.rank :: pool.size]
    progress = Progress(len(missing), f"{pool.size} workers: episodes") if pool.rank == 0 else None
    lengths = []
    for start in range(0, len(share), record.rows):
        done = record(stage.dir, share[start : start + record.rows])
        lengths += done
        if progress:  # the others are about as far
            progress.add(min(len(done) * pool.size, len(missing) - progress.done))
    lengths = [length for part in pool.gather(lengths) for length in part]
    if pool.rank == 0:
        progress.close()
        if lengths:
            mean, deviation = float(np.mean(lengths)), float(np.std(lengths))
            stage.log(episodes=len(lengths), frames=sum(lengths), mean_frames=mean, std_frames=deviation, workers=pool.size)
            print(f"recorded {len(lengths)} episodes of {mean:.1f} +- {deviation:.1f} frames", file=sys.stderr)
        print(f"{stage.dir} has {game.record_episodes} episodes", file=sys.stderr)


class _Random:
    """Records episodes of the published random policy, one at a time."""

    rows = 1

    def __init__(self, game, args, keywords):
        import env

        self.game, self.seed, self.world = game, args.seed, env.make(game, **keywords)

    def __call__(self, folder, indices):
        from env.policies import extraction_policy, play

        (index,), game = indices, self.game
        for attempt in range(1000):
            (seed,) = episode_seeds(1, self.seed, RECORD, index, attempt)
            act = extraction_policy(game, np.random.default_rng((seed, 1)))
            episode = play(self.world, act, seed, game.record_max_steps, game.record_full)
            if len(episode[0]) > game.record_min_frames:
                save_episode(episode_path(folder, index), *episode)
                return [len(episode[0])]
        raise RuntimeError(f"1000 episodes in a row had {game.record_min_frames} frames or fewer")


class _Agent:
    """Records episodes of a trained agent, several at a time. None is thrown away for being short."""

    rows = 64  # more than are played at once: the next one begins where one is over, and only the last leave rows idle

    def __init__(self, game, args, keywords):
        load_tensorflow(1)
        from controller.agent import controller_stage, load_controller
        from controller.rollout import ROWS, open_world

        self.game, self.seed, self.explore = game, args.seed, args.explore
        mode, params = load_controller(args.agent, game, controller_stage(args.agent, args.name))
        self.world = open_world("real", args.agent, game, ROWS, mode, **keywords)
        self.world.controller.set_params(params)

    def __call__(self, folder, indices):
        from env.policies import exploration

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
            rngs = [np.random.default_rng((seed, 2)) for seed in seeds]  # with 1 the noise is drawn that samples z
            explorers = [exploration(self.game, rng, self.explore) for rng in rngs]

            def force(episode, t):
                return explorers[episode](t)

        _, steps = self.world.rollout(self.world.controller.params, seeds, max_steps, full, watch, force)
        return steps.tolist()


if __name__ == "__main__":
    workers.run_script(main)
