"""Population rollouts: the same episode in any batch, and the same survival as in a plain NumPy dream."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from conftest import PRECISIONS, compiled_in, needs_bfloat16, run_script

import config
import doomrnn  # noqa: F401  registers the dreams
from controller.controller import Controller
from controller.rollout import open_world
from dream.dream import Dream, load_dream
from dream.kernel import total
from dream.population import Population
from job import machine
from rnn.rnn import MDNRNN

GAME = config.scaled("doom")


def _small(temperature=1.0, max_steps=300, z_size=4, precision="float32"):
    """(Controller, Dream) of a small M whose dreams end early or late, depending also on the controller."""
    rng = np.random.default_rng(3)
    rnn = MDNRNN(z_size, 1, 16, 5, predict_restart=True)
    rnn.cell.set_weights([rng.normal(0, 0.4, weight.shape) for weight in rnn.cell.get_weights()])
    kernel, bias = (rng.normal(0, 0.4, weight.shape) for weight in rnn.output_layer.get_weights())
    kernel[:, 0], bias[0] = rng.normal(0, 6, 16), -16
    rnn.output_layer.set_weights([kernel, bias])
    dream = Dream(rnn, (rng.normal(0, 1, (30, z_size)), np.full((30, z_size), -2.0)), temperature, max_steps, 1.0, precision)
    game = config.replace(GAME, z_size=z_size, rnn_size=16)
    return Controller(game), dream


def _params(controller, count):
    return np.random.default_rng(5).normal(0, 0.3, (count, controller.num_params))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_episode_does_not_depend_on_its_company(precision):
    """In batches of other sizes, alone, on two threads, in another order: actions and lengths are the same, bit for bit."""
    controller, dream = _small(max_steps=100, precision=precision)
    params, owners, seeds = _params(controller, 5), np.arange(60) % 5, np.arange(60) + 1000

    def rollout(which, **keywords):
        results = Population(dream, controller.act, **keywords)(params, owners[which], seeds[which], with_actions=True)
        return dict(zip(which, zip(*results, strict=True), strict=True))

    everyone = list(range(60))
    expected = rollout(everyone, rows=64)
    lengths = [steps for _, steps, _ in expected.values()]
    assert len(set(lengths)) > 20 and min(lengths) < 30 and max(lengths) == 100
    assert all(len(actions) == steps == score for score, steps, actions in expected.values())
    same = Population(dream, controller.act, rows=4)
    others = [
        rollout(everyone, rows=8),
        rollout(everyone, rows=40, lanes=2),
        rollout(everyone[::-1], rows=20),
        {i: [part[0] for part in same(params, owners[i : i + 1], seeds[i : i + 1], with_actions=True)] for i in range(8)},
    ]
    for other in others:
        for episode, (score, steps, actions) in other.items():
            assert (score, steps) == expected[episode][:2]
            np.testing.assert_array_equal(actions, expected[episode][2])


FLAGS = Path("/proc/cpuinfo").read_text().split()
# Instruction sets: oneDNN's name, XLA's name, and whether this processor has more than that.
OLDER = {"SSE41": ("SSE4_2", "avx" in FLAGS), "AVX": ("AVX", "avx2" in FLAGS), "AVX2": ("AVX2", "avx512f" in FLAGS)}


def _as_older(instruction_set, folder):
    """Environment variables with which a process computes as on a processor without anything newer, compiled into `folder`."""
    older = {"ONEDNN_MAX_CPU_ISA": instruction_set, "XLA_FLAGS": f"--xla_cpu_max_isa={OLDER[instruction_set][0]}"}
    return older | compiled_in(folder)


def _four_ways(*arguments, environment=None):
    """The distinct lines about matrix products that tests/four_ways.py prints on stderr, on two ranks."""
    done = run_script("tests/four_ways.py", *arguments, ranks=2, environment=environment)
    lengths = json.loads(done.stdout)
    assert len(set(lengths)) > 8 and min(lengths) < 110 and max(lengths) == 120
    return {line for line in done.stderr.splitlines() if "depend" in line}


@pytest.mark.parametrize("instruction_set", [name for name, (_, older) in OLDER.items() if older])
def test_one_episode_four_ways_on_an_older_processor(instruction_set, tmp_path):
    """The Gymnasium environment, vector environments, a population, and one shared by two workers, in 1 to 128 rows."""
    assert not _four_ways("float32", environment=_as_older(instruction_set, tmp_path))


@pytest.mark.parametrize("precision", sorted({"float32", machine.fast_precision()}))
def test_one_episode_four_ways(precision):
    """The same with this processor's full instruction set."""
    assert not _four_ways(precision)


@pytest.mark.skipif("avx2" not in FLAGS, reason="the processor has no AVX2, whose products do")
def test_products_that_depend_on_their_rows_are_noticed(tmp_path):
    """With AVX2 results differ between these sizes. All products then have 64 rows, and dreams stay the same."""
    assert _four_ways("float32", 2, 8, 20, 64, environment=_as_older("AVX2", tmp_path)) == {
        "this processor's matrix products depend on their number of rows: all have 64, for the same dreams, more slowly"
    }


def _numpy_survival(dream, controller, params, count):
    """Lengths of `count` dreams by the article's rules, in float64 with NumPy's random numbers."""
    rng, rnn, t = np.random.default_rng(11), dream.rnn, dream.temperature
    kernel, recurrent, bias, head, head_bias = (
        np.float64(weight) for weight in [*rnn.cell.get_weights(), *rnn.output_layer.get_weights()]
    )
    mu, logvar = dream.initial_z
    which, size = rng.integers(0, len(mu), count), rnn.z_size
    z = mu[which] + np.exp(logvar[which] / 2) * rng.normal(size=(count, size))
    h, c = np.zeros((count, rnn.rnn_size)), np.zeros((count, rnn.rnn_size))
    steps, alive, restart = np.zeros(count, int), np.ones(count, bool), np.ones((count, 1))
    while alive.any():
        action = np.tanh(np.concatenate([z, c, h], 1) @ params[:, None])
        i, f, g, o = np.split(np.concatenate([z, action, restart], 1) @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        out = h @ head + head_bias
        logits, mean, log_std = np.split(out[:, 1:].reshape(count, size, 15), 3, axis=2)
        weights = np.exp(logits / t)
        weights /= weights.sum(2, keepdims=True)
        chosen = (rng.uniform(size=(count, size, 1)) > weights.cumsum(2)[..., :-1]).sum(2)[..., None]
        mean, log_std = (np.take_along_axis(part, chosen, 2)[..., 0] for part in (mean, log_std))
        z = mean + np.exp(log_std) * np.sqrt(t) * rng.normal(size=(count, size))
        restart[:] = 0
        steps += alive
        alive &= (out[:, 0] <= 0) & (steps < dream.max_steps)
    return steps


@pytest.mark.parametrize(
    "temperature, precision",
    [(0.5, "float32"), (1.0, "float32"), pytest.param(1.0, "bfloat16", marks=needs_bfloat16), (1.3, "float32")],
)
def test_survival_is_that_of_a_plain_account_of_the_dream(temperature, precision):
    """Mean survival over 2,000 dreams each: the 99% intervals overlap."""
    count = 2000
    controller, dream = _small(temperature, precision=precision)
    params = _params(controller, 1)
    population = Population(dream, controller.act)
    _, steps = population(params, np.zeros(count, int), np.arange(count))
    plain = _numpy_survival(dream, controller, params[0], count)
    half = [2.576 * lengths.std() / count**0.5 for lengths in (steps, plain)]
    assert 10 < plain.mean() < 250 and max(half) < plain.mean() / 5
    assert abs(steps.mean() - plain.mean()) < sum(half)


@pytest.mark.parametrize("name", ["doom", "carracing", "pendulum"])
def test_kernel_says_what_m_says(name, request):
    """One step of the kernel against MDNRNN.step: state, reward, death, and a z that is distributed as M's mixture."""
    run = request.getfixturevalue({"doom": "doom_run", "carracing": "car_run", "pendulum": "pendulum_run"}[name])
    game = config.scaled(name)
    dream = load_dream(str(run), game)
    rng, rnn = np.random.default_rng(0), dream.rnn
    seeds, steps = tf.constant(np.arange(400), tf.uint32), tf.constant(np.arange(400) % 2, tf.int32)
    z, (h, c) = dream.start(seeds)
    action = tf.constant(rng.uniform(-1, 1, (400, game.action_size)), tf.float32)
    old = tuple(part + np.float32(rng.normal(0, 0.5, part.shape)) * tf.cast(steps, tf.float32)[:, None] for part in (h, c))
    params, expected = rnn.step(z, action, old, tf.cast(steps == 0, tf.float32))
    z, state, reward, died = dream.step(z, action, old, seeds, steps)
    for ours, theirs in zip(state, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    survived = {"doom": 1, "carracing": 0, "pendulum": None}[name]
    told = np.full(400, survived) if survived is not None else 8 * params.reward
    np.testing.assert_allclose(reward, told, atol=1e-5)
    assert survived is not None or np.std(reward) > 0.1
    if rnn.predict_restart:
        clear = np.abs(params.restart_logit) > 1e-4
        np.testing.assert_array_equal(died.numpy()[clear], (params.restart_logit > 0).numpy()[clear])
    uniform = rnn.mixture(params, dream.temperature).cdf(z).numpy().ravel()  # uniform where z has that distribution
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / len(uniform)) ** 0.5
    assert abs(np.sort(uniform) - (np.arange(len(uniform)) + 0.5) / len(uniform)).max() < 1.95 / len(uniform) ** 0.5


@pytest.mark.parametrize("precision", PRECISIONS)
def test_row_has_the_same_bits_in_any_batch(precision):
    """At Doom's size, through Dream.step: a row's result does not depend on its place, the other rows or their number."""
    rng, rnn = np.random.default_rng(0), MDNRNN(64, 1, 512, 5, predict_restart=True)
    dream = Dream(rnn, (rng.normal(0, 1, (30, 64)), np.full((30, 64), -2.0)), 1.15, 2100, 1.0, precision)
    controller = Controller("doom")
    rows = 1024
    sizes = ((rows, 64), (rows, 1), (rows, 512), (rows, 512), (rows, controller.num_params))
    z, action, h, c, params = (tf.constant(rng.normal(0, 1, size), tf.float32) for size in sizes)
    seeds, steps = tf.constant(np.arange(rows), tf.uint32), tf.constant(np.arange(rows) % 3, tf.int32)
    act = tf.function(controller.act, jit_compile=True, autograph=False)

    def numbers(which):
        part = [tf.gather(x, which) for x in (z, action, h, c, seeds, steps, params)]
        taken = act(part[0], part[2:4], part[6])
        new_z, state, *_ = dream.step(part[0], part[1], part[2:4], part[4], part[5])
        return np.concatenate([new_z, *state, taken], axis=1)

    everyone = numbers(np.arange(rows))
    for size in (1, 2, 3, 16, 33, 64, 500):
        which = rng.permutation(rows)[:size]
        np.testing.assert_array_equal(numbers(which), everyone[which], err_msg=f"{size} rows")


@pytest.mark.parametrize("size", [1, 2, 17, 34, 288])
def test_total_is_the_sum(size):
    x = np.random.default_rng(0).normal(size=(3, size, 2))
    np.testing.assert_allclose(total(tf.constant(x)), x.sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["zh", "zch", "z", "z_hidden"])
def test_row_actions_are_the_controllers_actions(mode):
    controller = Controller(config.GAMES["carracing"], mode)
    rng = np.random.default_rng(1)
    features, params = rng.normal(size=(6, controller.feature_size)), rng.normal(0, 0.1, (6, controller.num_params))
    features, params = tf.constant(features, tf.float32), tf.constant(params, tf.float32)
    expected = controller.actions(features[:, None], params)[:, 0]
    np.testing.assert_allclose(controller.row_actions(features, params), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


def test_dream_of_the_car_lasts_to_its_end(car_run):
    game = config.scaled("carracing")
    dream = load_dream(str(car_run), game)
    assert dream.max_steps == 1200
    controller = Controller(game, rnn=dream.rnn)
    population = Population(dream, controller.act)
    scores, steps, actions = population(_params(controller, 2), [0, 1, 1], [7, 7, 8], 50, with_actions=True)
    assert steps.tolist() == [50, 50, 50] and scores.tolist() == [0, 0, 0]
    assert all(taken.shape == (50, 3) for taken in actions) and not np.array_equal(actions[0], actions[1])
    assert actions[0][:, 0].min() < 0 and min(taken[:, 1:].min() for taken in actions) >= 0


def test_a_population_sums_the_rewards_that_m_predicts(pendulum_run):
    """As the environment returns them, step by step."""
    game = config.scaled("pendulum")
    dream = load_dream(str(pendulum_run), game, max_steps=30)
    controller = Controller(game, rnn=dream.rnn)
    params, seeds = _params(controller, 20), np.arange(20) + 5
    scores, steps, actions = Population(dream, controller.act, rows=4)(params, np.arange(20), seeds, with_actions=True)
    assert steps.tolist() == [30] * 20 and np.std(scores) > 0.1
    environment = gymnasium.make(game.dream_id, run_dir=str(pendulum_run), max_steps=30).unwrapped
    for i in (0, 7, 19):
        environment.reset(seed=int(seeds[i]))
        rewards = [environment.step(action)[1] for action in actions[i]]
        assert scores[i] == pytest.approx(sum(rewards), rel=1e-5)


def test_a_limit_that_no_dream_reaches_is_none():
    controller, dream = _small()
    population, params = Population(dream, controller.act), _params(controller, 1)
    steps = [population(params, np.zeros(4, int), np.arange(4), limit)[1] for limit in (10**6, 3 * 10**9)]
    assert np.array_equal(*steps) and steps[0].max() > 1


def test_no_units_are_no_work(doom_run):
    assert open_world("dream", str(doom_run), GAME, 4).rollouts([], 10) == []
