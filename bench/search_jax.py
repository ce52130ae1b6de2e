"""Doom's search for C as one would write it in JAX, at several temperatures at once: for those who have a GPU, and JAX.

    python -m bench.search_jax --run-dir runs/doom --out runs/doom/temperatures --temperatures 0.1 0.5 1.0 1.15 1.3

CMA-ES, the population, the pairs that share seeds and the evaluations of the mean are train.py's; the noise is JAX's, and the
products are in TF32 where the GPU has it. Writes tT.json, the CMA mean for the temperature T in the format of best.json
(`evaluate.py --controller`), and search.json: {T: {population_mean: [...], cma_mean: [[generation, score], ...]}}.
"""

import importlib.util
import multiprocessing
import os
import time

import numpy as np
from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import write_json

CHUNK = 50  # steps between looks at whether anybody still lives


def main(argv=None):
    command = CommandLine(__doc__, "controller")
    command.add("--temperatures", type=float, nargs="+", default=[1.15], help="of the dreams (default: 1.15)")
    command.add("--out", required=True, help="the folder for what is found")
    command.parser.set_defaults(game="doom")
    game, args = command.parse(argv)
    if game.name != "doom" or min(args.temperatures) <= 0:
        raise UserError(
            "this searches in Doom's dreams, at temperatures above 0: leave out the game, and give such temperatures"
        )
    if os.path.exists(os.path.join(args.out, "search.json")):
        raise UserError(f"{args.out} has a search already: give another --out, or remove it")
    if not importlib.util.find_spec("jax"):
        raise UserError(
            "jax is not installed: `pip install jax`, or train.py, which searches without it, one temperature at a time"
        )
    load_tensorflow(1)
    from world_models.rnn.world_model import load_initial_z, load_memory

    rnn = load_memory(args.run_dir, game)
    os.makedirs(args.out, exist_ok=True)
    evolve, test = rollouts(game, rnn, load_initial_z(args.run_dir, game, rnn.z_size), args.temperatures)
    searches = [_Search(game, args.seed + i) for i in range(len(args.temperatures))]
    history = {f"{t:.2f}": {"population_mean": [], "cma_mean": []} for t in args.temperatures}
    begin = time.time()
    for generation in range(1, game.controller_generations + 1):
        candidates = np.array([search.latest()[0] for search in searches])
        fitness = evolve(candidates, args.seed, generation)
        for search, part, row in zip(searches, fitness, history.values(), strict=True):
            search.tell(part)
            row["population_mean"].append(round(float(part.mean()), 2))
        if generation % game.controller_eval_steps and generation != game.controller_generations:
            continue
        means = np.array([search.latest()[1] for search in searches])
        scores = test(means, args.seed, generation)
        for (name, row), mean, score in zip(history.items(), means, scores, strict=True):
            row["cma_mean"].append([generation, round(float(score), 2)])
            write_json(os.path.join(args.out, f"t{name}.json"), [mean.tolist(), round(float(score), 2)])
        write_json(os.path.join(args.out, "search.json"), history)
        print(
            f"generation {generation} {time.time() - begin:.0f}s CMA means", np.round(scores).astype(int).tolist(), flush=True
        )


def rollouts(game, rnn, initial_z, temperatures):
    """(evolve, test): fitness (S,K) of candidates (S,K,P), and scores (S,) of means (S,P), at S temperatures."""
    import jax
    import jax.numpy as jnp
    from jax import lax
    from world_models.bench.dreams_jax import begin, stepper

    population, episodes, longest = game.controller_population, game.controller_episodes, game.dream_max_steps
    temperatures = jnp.array(temperatures, jnp.float32)

    def lengths(params, temperature, key, rows, sharing):
        step = stepper(rnn, params[..., None], temperature, sharing)

        def some(carry):
            state, t = carry
            return lax.scan(step, state, t + jnp.arange(CHUNK))[0], t + CHUNK

        def lives(carry):
            return carry[0][3].any() & (carry[1] < longest)

        state, _ = lax.while_loop(lives, some, (begin(rnn, initial_z, rows, key, sharing), 0))
        return jnp.minimum(state[4], longest).reshape(len(params), -1)

    def over_temperatures(rows, sharing):
        def rollout(params, key):
            return jax.vmap(lambda p, t: lengths(p, t, key, rows, sharing))(params, temperatures)

        return jax.jit(rollout)

    candidates = over_temperatures(population * episodes, 2 if game.controller_seeds == "pairs" else 1)
    means = over_temperatures(game.controller_eval_episodes, 1)

    def key(seed, *number):
        return jax.random.key(int(np.random.SeedSequence((seed, *number)).generate_state(1)[0]))

    def evolve(params, seed, generation):
        return np.asarray(candidates(jnp.array(params, jnp.float32), key(seed, 0, generation))).mean(axis=2)

    def test(params, seed, generation):
        return np.asarray(means(jnp.array(params[:, None], jnp.float32), key(seed, 1, generation))).mean(axis=(1, 2))

    return evolve, test


class _Search:
    """An Evolution in a process of its own: CMA-ES takes longer for a thousand parameters than a GPU's dreams do."""

    def __init__(self, game, seed):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        context.Process(target=_work, args=(other, game, seed), daemon=True).start()
        self._latest = None

    def latest(self):
        """(the next candidates (K,P), the mean of the search distribution (P,)), after all that was told."""
        if self._latest is None:
            self._latest = self._pipe.recv()
        return self._latest

    def tell(self, fitness):
        self._pipe.send(fitness)
        self._latest = None


def _work(pipe, game, seed):
    from world_models.controller.controller import Controller
    from world_models.controller.evolution import Evolution

    how = game.controller_population, game.controller_sigma_init, seed, game.controller_step_size
    search = Evolution(Controller(game).params, *how)
    try:
        while True:
            candidates = search.ask()
            pipe.send((candidates, search.mean))
            search.tell(candidates, pipe.recv())
    except EOFError:  # all is done
        return


if __name__ == "__main__":
    run_script(main)
