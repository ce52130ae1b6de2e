"""Record episodes of a policy in the real world: runs/GAME/record/, one compressed .npz each.

The policy is the published random one, with --agent a trained agent, or with --blind a player that does not look. Random
actions interrupt these with --explore. Run it again to record missing episodes.

A second round of the article's iterative procedure starts with episodes of the first round's agent:

    python extract.py GAME --agent runs/GAME --with runs/GAME --run-dir runs/GAME-2 --episodes 400
"""

import math
import os

import numpy as np

from world_models.config import UserError, stage_settings
from world_models.env.record import MIRRORED, link_episodes, list_episodes
from world_models.job import workers
from world_models.job.command import CommandLine
from world_models.job.machine import set_threads
from world_models.job.rundir import Stage, add_name_option, controller_stage, digest, need, settings_in, world_keywords


def main(argv=None):
    command_line = CommandLine(__doc__, "record")
    workers.add_option(command_line)
    command_line.add("--agent", metavar="RUN_DIR", help="play the trained agent of this run instead of the random policy")
    add_name_option(command_line)
    command_line.add("--blind", metavar="NAME", help="play this one of the blind players that probe.py lists")
    command_line.add(
        "--explore",
        metavar="SHARE",
        type=float,
        help="share of the agent's or blind player's steps that the random policy takes over",
    )
    command_line.add(
        "--curiosity",
        metavar="BETA",
        type=float,
        help="search near the agent, in the recorded episodes, for return + BETA x M's surprise in nats per latent dimension",
    )
    command_line.add(
        "--gained-on",
        metavar="RUN_DIR",
        help="with --curiosity: surprise is what M has gained on the M of this run, not its loss",
    )
    command_line.add(
        "--with", metavar="RUN_DIR", dest="others", nargs="+", default=[], help="also include the episodes of these runs"
    )
    command_line.add_world_options()
    game, args = command_line.parse(argv)
    if args.explore is not None and not 0 <= args.explore <= 1:
        raise UserError(f"--explore is {args.explore}: give a share between 0 and 1")
    if not args.agent and game.record_min_frames >= game.record_max_steps:
        least, most = game.record_min_frames, game.record_max_steps
        raise UserError(f"--min-frames is {least}, but episodes are cut after {most}: give a smaller number")
    for name in ("explore", "name", "curiosity"):
        if getattr(args, name) is not None and not args.agent and not (name == "explore" and args.blind):
            raise UserError(f"--{name} is for agents, and without --agent all is random: give --agent RUN_DIR too")
    if args.blind and args.agent:
        raise UserError("--blind and --agent are two players: give one of them")
    players = game.blind_players(game, np.random.default_rng())
    if args.blind and args.blind not in players:
        raise UserError(f"there is no blind player {args.blind!r}: choose one of {', '.join(players)}")
    if args.curiosity is not None and not math.isfinite(args.curiosity):
        raise UserError(f"--curiosity is {args.curiosity}: give a finite number")
    if args.gained_on and args.curiosity is None:
        raise UserError("--gained-on says what is surprising, and without --curiosity nothing asks: give --curiosity BETA too")
    set_threads(1)
    pool = workers.start(args.num_worker, game.record_episodes, "episodes")
    keywords = world_keywords(game, args, args.agent, args.name)
    settings = {**stage_settings(game, "record"), **keywords, "agent": args.agent}
    settings |= {"with": args.others} if args.others else {}
    settings |= {"blind": args.blind} if args.blind else {}
    settings |= {"explore": args.explore} if args.explore else {}
    settings |= {"curiosity": args.curiosity} if args.curiosity is not None else {}
    settings |= {"gained_on": pool.together(lambda: _digests(game, args.gained_on))} if args.gained_on else {}
    settings |= {"played_by": pool.together(lambda: _digests(game, args.agent, args.name))} if args.agent else {}
    others = pool.together(lambda: _others(game, args, keywords))
    with pool.stage(Stage(args.run_dir, "record", settings, args.seed)) as stage:
        pool.together(lambda: pool.rank or [link_episodes(paths, stage.dir, name) for name, paths in others.items()])
        from world_models.controller.recording import record

        record(game, args, keywords, stage, pool)


def _digests(game, run_dir, name=None):
    """{stage: digest of its file} of a run's V, M and C."""
    files = {"vae": "vae.keras", "rnn": "rnn.keras", controller_stage(run_dir, name): "best.json"}
    return {stage: digest(need(run_dir, stage, file, game.name)) for stage, file in files.items()}


def _others(game, args, keywords):
    """{run's name: paths} of the episodes in the runs of --with."""
    episodes = {}
    for run_dir in args.others:
        name, folder = os.path.basename(os.path.abspath(run_dir)), os.path.join(run_dir, "record")
        need(run_dir, "record", "config.json", game.name)
        if f"{name}-".startswith(MIRRORED):
            raise UserError(f"{run_dir} has a name that begins like those of mirrored episodes: rename it")
        if not (paths := list_episodes(folder)):
            raise UserError(f"{folder} has no episodes: leave it out of --with")
        if name in episodes or os.path.abspath(run_dir) == os.path.abspath(args.run_dir):
            raise UserError(f"{run_dir} is given twice, or has the name of another: give each run once, by a name of its own")
        settings = settings_in(folder)
        if any(settings.get(name) != value for name, value in keywords.items()):
            raise UserError(f"{folder} was not recorded with {keywords}: frames of two kinds cannot be mixed")
        episodes[name] = paths
    return episodes


if __name__ == "__main__":
    workers.run_script(main)
