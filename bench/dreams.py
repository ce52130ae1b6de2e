"""The speed of dreams: agent-steps per second of Doom's dream, as a share of this machine's rate of matrix products.

    python -m bench.dreams [--json FILE] [--threads N]

The population rollout, 1024 dreams on N threads, is compared with a loop over the single Gymnasium environment and, where jax
is installed, with the same step in `lax.scan`. The alternatives run interleaved. The machine's peak is the rate of float32
matrix products in TensorFlow, N at a time. M's weights are random, which affects speed only through the lengths of dreams.
Everything is float32 unless its name says otherwise, except for the generation: it uses train.py's default, bfloat16 where that
is faster.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time

import numpy as np

from world_models.bench.measure import products, rates, ratio, report, table
from world_models.config import GAMES
from world_models.job.command import run_script
from world_models.job.machine import cores, fast_precision, load_tensorflow
from world_models.job.outputs import check_output

GAME = GAMES["doom"]
STEPS = 60  # of one measured call
CANDIDATES, EPISODES = 64, 16
DREAMS = CANDIDATES * EPISODES
MEAN_LENGTH = 900
# Multiplications and additions of an agent-step: M's two products.
FLOPS = 2 * ((GAME.z_size + GAME.rnn_size) * 4 * GAME.rnn_size + GAME.rnn_size * (3 * GAME.num_mixture * GAME.z_size + 1))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    parser.add_argument("--threads", type=int, default=cores(), help="threads (default: one a core)")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    load_tensorflow(args.threads, lanes=True)
    rnn, initial_z = _memory()
    alternatives = {
        "population": _population(rnn, initial_z, args.threads),
        "matrix products, in agent-steps": products(args.threads, FLOPS),
        "single environment": _single(rnn, initial_z),
    }
    if fast_precision() == "bfloat16":
        alternatives["population, bfloat16"] = _population(rnn, initial_z, args.threads, precision="bfloat16")
    if importlib.util.find_spec("jax"):
        from world_models.bench.dreams_jax import scan

        alternatives["jax, lax.scan"] = scan(rnn, initial_z, DREAMS, STEPS)
    measured = rates(alternatives)
    print(table(f"Doom's dream, {DREAMS} at once, {args.threads} threads", measured, "agent-steps/s", "single environment"))
    steps, seconds, spread = _generation(rnn, initial_z, args.threads)
    print(
        f"a generation of {CANDIDATES} x {EPISODES} dreams of {steps / CANDIDATES / EPISODES:.0f} steps on average, "
        f"from {spread[0]} to {spread[1]}, in {fast_precision()}: {seconds:.1f} s, {steps / seconds:,.0f} agent-steps/s"
    )
    numbers = {
        "agent_steps_per_s": statistics.median(measured["population"]),
        "share_of_peak": ratio(measured, "population", "matrix products, in agent-steps"),
        "vs_single_env": ratio(measured, "population", "single environment"),
        "vs_jax": ratio(measured, "population", "jax, lax.scan") if "jax, lax.scan" in measured else None,
        "bfloat16_vs_float32": (
            ratio(measured, "population, bfloat16", "population") if "population, bfloat16" in measured else None
        ),
        "peak_gflops": statistics.median(measured["matrix products, in agent-steps"]) * FLOPS / 1e9,
        "generation_s": seconds,
        "generation_mean_steps": steps / CANDIDATES / EPISODES,
        "generation_precision": fast_precision(),
        "threads": args.threads,
    }
    for name in ("share_of_peak", "vs_single_env", "vs_jax", "bfloat16_vs_float32"):
        print(f"{name}: {numbers[name] if numbers[name] is None else format(numbers[name], '.3f')}")
    report(args.json, numbers)


def _memory():
    """(an untrained M that never predicts death, first frames)."""
    from world_models.job.deep import keras
    from world_models.rnn.rnn import MDNRNN

    keras.utils.set_random_seed(0)
    rnn = MDNRNN(GAME.z_size, GAME.action_size, GAME.rnn_size, GAME.num_mixture, predict_restart=True)
    rng = np.random.default_rng(0)
    _set_death(rnn, rng.normal(0, 1, GAME.rnn_size), -1000.0)
    return rnn, (rng.normal(0, 1, (100, GAME.z_size)), np.full((100, GAME.z_size), -2.0))


def _set_death(rnn, weights, bias):
    kernel, biases = (weight.numpy() for weight in rnn.output_layer.weights)
    kernel[:, 0], biases[0] = weights, bias
    rnn.output_layer.set_weights([kernel, biases])


def _dreamers(rnn, initial_z, threads, precision):
    """(population, its candidates' params, owners, seeds)."""
    from world_models.controller.controller import Controller
    from world_models.dream.dream import Dream
    from world_models.dream.population import Population

    controller = Controller(GAME)
    dream = Dream(rnn, initial_z, GAME.dream_temperature, GAME.dream_max_steps, GAME.survival_reward, precision)
    params = np.random.default_rng(1).normal(0, 0.1, (CANDIDATES, controller.num_params))
    population = Population(dream, controller.act, lanes=threads)
    return population, params, np.repeat(np.arange(CANDIDATES), EPISODES), np.arange(CANDIDATES * EPISODES)


def _population(rnn, initial_z, threads, precision="float32"):
    population, *what = _dreamers(rnn, initial_z, threads, precision)
    return lambda: population(*what, STEPS)[1].sum()


def _single(rnn, initial_z):
    """One step at a time in the Gymnasium environment, with the controller in NumPy."""
    import json

    import gymnasium

    from world_models import doomrnn  # noqa: F401  registers the dream

    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "rnn"))
        rnn.save(os.path.join(folder, "rnn", "rnn.keras"))
        with open(os.path.join(folder, "rnn", "initial_z.json"), "w") as file:
            json.dump([np.int64(part * 10_000).tolist() for part in initial_z], file)
        world = gymnasium.make(GAME.dream_id, run_dir=folder)
    size = world.observation_space.shape[0]
    weights = np.random.default_rng(1).normal(0, 0.1, (size, GAME.action_size)).astype(np.float32)

    def loop():
        observation, _ = world.reset(seed=0)
        for _ in range(10 * STEPS):
            observation, *_ = world.step(np.tanh(observation @ weights))
        return 10 * STEPS

    return loop


def _generation(rnn, initial_z, threads):
    """(agent-steps, seconds, (shortest, longest)) of a generation whose dreams last about MEAN_LENGTH on average."""
    _set_death(rnn, rnn.output_layer.get_weights()[0][:, 0], _bias_for(rnn, initial_z, threads))
    population, *what = _dreamers(rnn, initial_z, threads, fast_precision())
    population(*what, 2)
    for size in (2, 70, 200):  # each batch size is compiled at its first use
        population(what[0], what[1][:size], what[2][:size], 40)
    start = time.perf_counter()
    _, steps = population(*what)
    return steps.sum(), time.perf_counter() - start, (steps.min(), steps.max())


def _bias_for(rnn, initial_z, threads):
    """The bias of the death logit with which dreams last MEAN_LENGTH steps on average, from dreams without deaths."""
    import tensorflow as tf

    population, params, owners, seeds = _dreamers(rnn, initial_z, threads, fast_precision())
    some = slice(None, None, 4)
    _, _, actions = population(params, owners[some], seeds[some], with_actions=True)
    dream = population.dream
    seeds = tf.constant(seeds[some], tf.uint32)
    z, state = dream.start(seeds)
    weights, logits = rnn.output_layer.get_weights()[0][:, 0], []
    for t in range(dream.max_steps):
        taken = tf.constant(np.array([part[t] for part in actions]))
        z, state, *_ = dream.step(z, taken, state, seeds, tf.fill(seeds.shape, t))
        logits.append(state[0].numpy() @ weights)
    highest = np.maximum.accumulate(logits)  # (T, N): a dream is over at the first step at which this is above -bias

    def mean_length(bias):
        return np.minimum((highest + bias <= 0).sum(0) + 1, dream.max_steps).mean()

    low, high = -highest.max() - 1, -highest.min() + 1
    for _ in range(40):
        bias = (low + high) / 2
        low, high = (bias, high) if mean_length(bias) > MEAN_LENGTH else (low, bias)
    return bias


if __name__ == "__main__":
    run_script(main)
