"""Evolve C with CMA-ES, in the real world or in M's dream: runs/GAME/controller/. Run it again to resume.

    mpirun -n 2 python train.py GAME --world real|dream

Scores in the dream can mislead; evaluate.py's in the real game count.

Each MPI rank evaluates its share of a generation's candidates. Rank 0 evaluates a share too, and holds the search. The options
of the original's train.py are also accepted.
"""

import os
from dataclasses import replace

from world_models.config import UserError, stage_settings
from world_models.job import workers
from world_models.job.command import CommandLine
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import (
    Stage,
    add_name_option,
    as_trained,
    digest,
    need,
    read_json,
    search_folder,
    settle_precision,
    start_settings,
    world_keywords,
)
from world_models.original.convert import add_legacy_options, check_legacy_options, import_folder


def main(argv=None):
    game, args = _parse(argv)
    pool = workers.start(args.num_worker, game.controller_population, "candidates in a generation")
    load_tensorflow(args.threads, lanes=args.world == "dream")
    if args.legacy:
        game = _with_legacy(game, args, pool)
    keywords = world_keywords(game, args, args.run_dir, args.name) if args.world == "real" else {}
    settle_precision(args, search_folder(args.name))
    keywords["precision"] = pool.broadcast(args.precision)  # hosts may have different processors
    settings = {**stage_settings(game, "controller", "dream"), "world": args.world, "cap_time": bool(args.cap_time), **keywords}
    settings["models"] = pool.together(lambda: _digests(args, game))
    if args.legacy:
        args.start = need(args.run_dir, "legacy", "best.json", game.name)
    settings |= pool.together(lambda: start_settings(args))
    settings |= {"search": args.search, "horizon": args.horizon} if args.search != "cma" else {}
    with pool.stage(Stage(args.run_dir, search_folder(args.name), settings, args.seed)) as stage:
        from world_models.controller.search import evolve

        evolve(game, args, keywords, stage, pool)


def _parse(argv):
    command_line = CommandLine(__doc__, "controller", "dream", original_names=True)
    workers.add_option(command_line)
    add = command_line.add
    add("--start", metavar="FILE", help="start from this controller, in the format of best.json, instead of from zeros")
    add("--search", choices=("cma", "gradient"), default="cma", help="CMA-ES, or gradient ascent from --start in the dream")
    add("--horizon", type=int, help="steps through which a gradient is backpropagated (default: 50)")
    add("--world", choices=("real", "dream"), help="where C learns (default: as published)")
    add_name_option(command_line)
    command_line.add_world_options()
    command_line.add_precision_option("arithmetic of V's encoder and M's dreams")
    add("--threads", type=int, default=1, help="TensorFlow's threads in each worker (default: 1)")
    add(
        "-t", "--num_worker_trial", type=int, help="candidates for each worker; the population is this times -n (64 without -n)"
    )
    add("-o", "--optimizer", choices=("cma",), default="cma", help="cma only, as in the published runs")
    add("-e", "--num_episode", type=int, dest="controller_episodes", help="the original's name for --episodes")
    add("-s", "--seed_start", type=int, dest="seed", help="the original's name for --seed")
    add(
        "--antithetic",
        type=int,
        choices=(0, 1),
        help="1: two candidates share each seed (--seeds pairs), 0: none (--seeds own)",
    )
    add("--cap_time", type=int, choices=(0, 1), default=0, help="1: cut episodes at twice the last generation's mean length")
    add_legacy_options(command_line)
    add("--sigma_decay", type=float, help="accepted for old command lines, and ignored: CMA-ES adapts its step size")
    game, args = command_line.parse(argv)
    check_legacy_options(args)
    if args.start and args.legacy:
        raise UserError("--start and --legacy are two beginnings: give one of them")
    if args.num_worker_trial is not None:
        game = replace(game, controller_population=(args.num_worker or 64) * args.num_worker_trial)
    if args.antithetic is not None:
        game = replace(game, controller_seeds="pairs" if args.antithetic else "own")
    game = as_trained(game, args.run_dir)
    args.world = args.world or args.original_world or game.train_world
    if args.world == "dream" and not game.dream_rewards:
        remedy = "use --world real, or an M made with `rnn.train --predict-reward`"
        raise UserError(f"the dream of {game.name} has no reward to learn from: {remedy}")
    if args.horizon is not None and args.search != "gradient":
        raise UserError("--horizon is of gradients: give --search gradient too")
    args.horizon = 50 if args.horizon is None else args.horizon
    if args.search == "gradient":
        if args.world != "dream" or not args.start:
            raise UserError("--search gradient refines a controller in the dream: give --start FILE, and --world dream")
        if args.horizon < 1:
            raise UserError(f"--horizon is {args.horizon}: give 1 or more")
        game = replace(game, controller_seeds="one")  # so that candidates are compared in the same dreams
    if game.controller_population < 4:
        raise UserError(f"a population of {game.controller_population} is too small for CMA-ES: give 4 or more")
    return game, args


def _with_legacy(game, args, pool):
    """Convert --legacy's files. Returns the Game with the mode of their C and, without --sigma-init, their last step size."""
    from world_models.controller.agent import load_controller
    from world_models.history import read_history

    pool.together(lambda: pool.rank or import_folder(game, args.legacy, args.run_dir, args.controller, args.world))
    mode, _ = pool.together(lambda: load_controller(args.run_dir, game, "legacy"))
    if args.controller_mode not in (None, mode):
        raise UserError(f"--mode is {args.controller_mode}, and the controller of {args.legacy} is {mode}: leave out --mode")
    history = os.path.join(args.run_dir, "legacy", "hist.json")
    sigma = game.controller_sigma_init
    if args.controller_sigma_init is None and os.path.exists(history):
        read_history(history)  # says what is wrong with it
        sigma = read_json(history)[-1][6]  # rms_stdev
    return replace(game, controller_mode=mode, controller_sigma_init=sigma)


def _digests(args, game):
    """What identifies V and M. A search can be resumed only with the same ones."""
    needed = [("rnn", "rnn.keras")] + ([("vae", "vae.keras")] if args.world == "real" else [("rnn", "initial_z.json")])
    paths = [need(args.run_dir, stage, file, game.name) for stage, file in needed]
    beginnings = os.path.join(args.run_dir, "rnn", "beginnings.npz")
    return [digest(path) for path in [*paths, *([beginnings] if args.world == "dream" and os.path.exists(beginnings) else [])]]


if __name__ == "__main__":
    workers.run_script(main)
