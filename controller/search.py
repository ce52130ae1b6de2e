"""The search for a controller: generation after generation, on all workers."""

import sys
import time

import numpy as np

from world_models.controller.ascent import Ascent
from world_models.controller.evolution import Evolution
from world_models.controller.report import summary
from world_models.controller.rollout import finite, open_world, run_episodes, run_units
from world_models.controller.training import Training
from world_models.dream.imagination import Imagination
from world_models.job.rundir import told
from world_models.job.seeds import EVALUATE_MEAN, TRAIN, episode_seeds


def evolve(game, args, keywords, stage, pool):
    """Evolve C in the opened `stage`, resuming a stopped search. args: those of train.py. keywords: those of `open_world`."""
    models = args.world, args.run_dir, game, game.controller_episodes
    how = game.controller_mode, game.dream_temperature, args.threads
    world = pool.together(lambda: open_world(*models, *how, learning=True, **keywords))
    training = pool.together(lambda: _training(game, args, world, stage) if pool.rank == 0 else None)
    longest = game.controller_max_steps if args.world == "real" else game.dream_max_steps
    generation, mean_steps = pool.broadcast(training and (training.generation, training.mean_steps))
    if pool.rank == 0:
        print(f"{stage.dir}: {generation} of {game.controller_generations} generations are done", file=sys.stderr)

    def evaluate():
        """Score the CMA mean. Returns what the log says of it."""
        start = time.time()
        mean = pool.broadcast(training and training.search.mean)
        tests = episode_seeds(game.controller_eval_episodes, args.seed, EVALUATE_MEAN, generation)
        played = run_episodes(pool, world, mean, tests, longest)
        if not training:
            return {}
        training.seconds += time.time() - start
        tested = summary(*played)
        training.add_evaluation(tested["mean"])
        training.save_mean(stage.dir)
        low, high = tested["interval"]
        return {"cma_mean": tested["mean"], "cma_mean_low": low, "cma_mean_high": high, "best": training.best_score}

    # It may have been stopped there, with more generations to do then.
    if generation >= game.controller_generations and not pool.broadcast(training and training.evaluated):
        evaluated = evaluate()
        if training:
            training.save(stage.dir)
            _report(training, stage, evaluated)
    while generation < game.controller_generations:
        start = time.time()
        candidates = pool.broadcast(training and training.search.ask())
        max_steps = min(longest, 2 * int(mean_steps)) if args.cap_time and generation else longest
        seeds = [
            episode_seeds(game.controller_episodes, args.seed, TRAIN, generation, shared)
            for shared in shared_seeds(game.controller_seeds, game.controller_population)
        ]
        units = list(zip(candidates, seeds, strict=True))
        results = run_units(pool, world, units, max_steps)
        scores, steps = (np.array([np.mean(part) for part in parts]) for parts in zip(*results, strict=True))
        scores = finite(pool, scores, "candidates")
        generation, mean_steps, evaluated = generation + 1, np.mean(steps), {}
        if training:
            training.search.tell(candidates, scores)
            training.seconds += time.time() - start
            training.add_generation(scores, steps)
        if generation % game.controller_eval_steps == 0 or generation == game.controller_generations:
            evaluated = evaluate()
        if training:
            training.save(stage.dir)
            _report(training, stage, evaluated)


def _training(game, args, world, stage):
    controller = world.controller
    if args.start:
        controller.load_json(args.start)
    how = game.controller_population, game.controller_sigma_init, args.seed, game.controller_step_size
    if args.search == "cma":
        return Training.resumed(stage.dir, Evolution(controller.params, *how))
    start = controller.params, game.controller_population, game.controller_sigma_init, args.seed, args.horizon
    training = Training.resumed(stage.dir, Ascent(*start))
    training.search.imagine = Imagination(world.dream, controller.act, args.horizon).gradient
    return training


def shared_seeds(how, population):
    """For each candidate the number of its set of seeds. "pairs" gives each set to two candidates, as the original does."""
    different = {"pairs": (population + 1) // 2, "one": 1, "own": population}[how]
    return [k % different for k in range(population)]


def _report(training, stage, evaluated):
    """Write the last generation's row, and its CMA mean's score if evaluated, to the log, the terminal and TensorBoard."""
    names = ("generation", "seconds", "mean", "min", "max", "std", "rms_stdev", "mean_steps", "max_steps")
    row = dict(zip(names, training.history[-1], strict=True)) | evaluated
    stage.log(**row)
    print(told(row), file=sys.stderr, flush=True)
    stage.summary(training.generation, row)
