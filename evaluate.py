"""Score a trained agent over fixed seeds, in the real game or in a dream, beside the published figures.

Writes runs/GAME/evaluate/WORLD-SPLIT.json and .png (a histogram). The name also says which agent it is, if not the run's best
one, and what is not as the agent learned it. A result that another agent or setting made is renamed, not overwritten.

Use --split validation to choose between agents. The default split, test, is for final scores only.
"""

import argparse
import os
from dataclasses import replace

from world_models import config
from world_models.config import UserError
from world_models.job import workers
from world_models.job.command import CommandLine
from world_models.job.machine import load_tensorflow
from world_models.job.outputs import VIDEOS, check_output
from world_models.job.rundir import (
    DREAM,
    add_name_option,
    as_learned,
    as_trained,
    pretrained,
    search_folder,
    settle_precision,
    world_keywords,
)
from world_models.original.convert import add_legacy_options, import_folder


def main(argv=None):
    game, args = _parse(argv)
    pool = workers.start(args.num_worker, -(-args.episodes // workers.ROWS), f"batches of {workers.ROWS} episodes")
    load_tensorflow(args.threads, lanes=args.world == "dream")
    settle_precision(args)
    args.precision = pool.broadcast(args.precision)  # hosts may have different processors
    if args.legacy:
        pool.together(lambda: pool.rank or import_folder(game, args.legacy, args.run_dir, args.controller, args.world))
    from world_models.controller.evaluation import evaluate

    evaluate(game, args, pool)


def _parse(argv):
    command_line = CommandLine(__doc__, "dream")
    workers.add_option(command_line)
    add = command_line.add
    add("--episodes", type=int, default=100, help="episodes to play (default: 100)")
    add("--world", choices=("real", "dream"), default="real", help="where to play: the real game, or M's dream (default: real)")
    add("--split", choices=("test", "validation"), default="test", help="which seeds to play (default: test)")
    add("--pretrained", action="store_true", help="the agent that comes with this repository, instead of --run-dir's")
    add("--baseline", action="store_true", help="also play the random policies on the same seeds (real game only)")
    add(
        "--decoys",
        metavar="RUN_DIR",
        help="show V the frames of this run's recorded games instead of those of the game it plays",
    )
    add("--max-steps", type=int, help="real steps after which an episode is cut (default: the game's)")
    add_name_option(command_line)
    add(
        "--video",
        metavar="FILE",
        help="film an episode, to .mp4 or .webp: the frame and V's reconstruction, or the decoded dream",
    )
    add("--json", metavar="FILE", help="also write the results here")
    add("--threads", type=int, default=1, help="TensorFlow's threads in each worker (default: 1)")
    command_line.add_world_options()
    command_line.add_precision_option("arithmetic of V's encoder and M's dreams")
    add_legacy_options(command_line, "the controller to play, in the format of best.json, instead of the best one")
    game, args = command_line.parse(argv)
    if args.legacy and args.pretrained:
        raise UserError("--legacy and --pretrained are two agents: give one of them")
    if args.name and (args.legacy or args.controller):
        raise UserError("--name, --legacy and --controller choose different controllers: leave out --name")
    if args.episodes < 1:
        raise UserError(f"--episodes is {args.episodes}: give 1 or more")
    if args.max_steps is not None and args.max_steps < 1:
        raise UserError(f"--max-steps is {args.max_steps}: give 1 or more")
    if args.decoys and args.world == "dream":
        raise UserError("--decoys are frames of the real world: leave out --world dream")
    if args.baseline and args.world == "dream":
        raise UserError("--baseline plays in the real world: leave out --world dream")
    args.output = args.run_dir
    if args.pretrained:
        args.run_dir = pretrained(game.name)
    game = as_trained(game, args.run_dir)
    learned = as_learned(config.GAMES[game.name], os.path.join(args.run_dir, search_folder(args.name)))
    args.changes = ["decoys"] if args.decoys else []  # what is not as the agent knows it
    for name in DREAM:
        if getattr(args, name) is None:
            game = replace(game, **{name: getattr(learned, name)})
        elif args.world == "dream" and getattr(game, name) != getattr(learned, name):
            args.changes.append(f"{name.removeprefix('dream_')}-{getattr(game, name)}")
    if args.world == "real":
        recorded = world_keywords(game, argparse.Namespace(**dict.fromkeys(game.options)), args.run_dir, args.name)
        given = {name: getattr(args, name) or value for name, value in recorded.items()}
        args.changes += [f"{name}-{value}" for name, value in given.items() if value != recorded[name]]
    longest = game.max_steps if args.world == "real" else game.dream_max_steps
    args.max_steps = args.max_steps or longest
    if args.max_steps != longest:
        args.changes.append(f"max-steps-{args.max_steps}")
    if game.dreams_are_judged(args.world):
        if game.judge is None:
            raise UserError(f"the dream of {game.name} has no reward, and nobody judges it: leave out --world dream")
        if args.max_steps < game.judge.least_steps:
            least = game.judge.least_steps
            raise UserError(f"--max-steps is {args.max_steps}: a dream of {game.name} needs {least} to be judged, give as many")
    check_output("--json", args.json)
    check_output("--video", args.video, VIDEOS)
    return game, args


if __name__ == "__main__":
    workers.run_script(main)
