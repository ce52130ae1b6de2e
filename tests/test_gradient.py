"""C by gradient: dreams with a gradient, and the search that climbs it."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import run_script

import train
from config import GAMES, UserError
from controller.ascent import Ascent
from controller.controller import Controller
from controller.state import load_state, save_state
from dream.dream import load_dream
from dream.imagination import Imagination
from dream.kernel import sample
from dream.population import Population

SEEDS = np.arange(4, dtype=np.uint32)


@pytest.fixture(scope="module")
def pendulum(pendulum_run):
    """(dream, controller with parameters) of an untrained M."""
    dream = load_dream(pendulum_run, GAMES["pendulum"])
    controller = Controller("pendulum", rnn=dream.rnn)
    controller.set_params(np.random.default_rng(0).normal(0, 0.1, controller.num_params))
    return dream, controller


def test_imagined_returns_are_the_populations(pendulum):
    dream, controller = pendulum
    returns, _ = Imagination(dream, controller.act, 50).gradient(controller.params, SEEDS, 0, 30)
    scores, _ = Population(dream, controller.act)(controller.params[None], np.zeros(4, int), SEEDS, 30)
    np.testing.assert_allclose(returns, scores, rtol=1e-4)


def test_the_gradient_is_that_of_the_returns(pendulum):
    """By differences, along random directions. A horizon beyond the end leaves nothing out; one of a step does."""
    dream, controller = pendulum
    whole = Imagination(dream, controller.act, 1000)
    _, gradient = whole.gradient(controller.params, SEEDS, 0, 6)
    rng = np.random.default_rng(1)
    for _ in range(3):
        step = 0.03 * rng.normal(size=controller.num_params) / controller.num_params**0.5
        above, below = (whole.gradient(controller.params + sign * step, SEEDS, 0, 6)[0].mean(dtype=float) for sign in (1, -1))
        assert (above - below) / 2 == pytest.approx(gradient @ step, rel=0.05, abs=2e-5)
    _, short = Imagination(dream, controller.act, 1).gradient(controller.params, SEEDS, 0, 6)
    assert np.abs(short - gradient).max() > 0.01 * np.abs(gradient).max()


def test_a_deadly_dream_counts_what_is_probably_reached(doom_run):
    dream = load_dream(doom_run, GAMES["doom"])
    controller = Controller("doom", rnn=dream.rnn)
    imagination = Imagination(dream, controller.act, 10)
    params, steps = np.random.default_rng(0).normal(0, 1, controller.num_params), 8
    returns, gradient = imagination.gradient(params, SEEDS, 0, steps)
    kernel, seeds, expected, alive = dream.kernel(), tf.constant(SEEDS), 0.0, 1.0
    z, h, c = kernel.start(seeds)
    for t in range(steps):
        actions = controller.act(z, (h, c), tf.constant(np.tile(params, (4, 1)), tf.float32))
        z, h, c, reward, death = kernel.imagine(z, actions, h, c, seeds, tf.fill(4, t))
        logit = dream.rnn.head(h).restart_logit
        np.testing.assert_allclose(death, tf.sigmoid(logit), rtol=1e-3, atol=1e-6)
        expected, alive = expected + alive * reward, alive * (1 - death)
    np.testing.assert_allclose(returns, expected, rtol=1e-5)
    assert (returns < steps).all() and np.isfinite(gradient).all() and (gradient != 0).any()


def implicit_gradient(mixture, z, parameters):
    """-dF/p of each of `parameters`: how a mixture's sample z at a fixed place of its distribution follows them."""
    with tf.GradientTape() as tape:
        cumulative = mixture(*parameters).cdf(z)
    density = mixture(*parameters).prob(z)
    return [-(gradient / density).numpy() for gradient in tape.gradient(cumulative, parameters)]


@pytest.mark.parametrize("distance, alike", [(8.0, True), (0.5, False)])
def test_through_the_chosen_gaussian_as_through_the_whole_mixture(distance, alike):
    """The two agree where the Gaussians lie apart. Where they overlap the chosen one's gradient is another, and noisier."""
    logits = tf.Variable([0.3, -0.2])
    mean, log_std = tf.Variable([0.0, distance]), tf.Variable([-0.5, -0.3])
    uniform, noise = tf.constant([[0.2]]), tf.constant([[0.4]])
    with tf.GradientTape() as tape:
        planes = [part[k : k + 1][None] for part in (logits, mean, log_std) for k in range(2)]
        z = sample(planes, uniform, noise, 1.0)[0, 0]
    chosen = [part.numpy() for part in tape.gradient(z, [mean, log_std])]

    def mixture(mean, log_std):
        gaussians = tfp.distributions.Normal(mean, tf.exp(log_std))
        return tfp.distributions.MixtureSameFamily(tfp.distributions.Categorical(logits=logits), gaussians)

    implicit = implicit_gradient(mixture, z.numpy(), [mean, log_std])
    assert chosen[0].tolist() == [1, 0]
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(chosen, implicit, strict=True)) == alike


def uphill(params, seeds, offset):
    """The gradient of -|x - 1|^2, with noise from `seeds`."""
    return None, 2 * (1 - params) + np.random.default_rng(int(seeds[0])).normal(0, 0.1, len(params))


def test_ascent_climbs_and_never_falls(tmp_path):
    search = Ascent(np.zeros(5), 8, 0.1, seed=0, horizon=50)
    search.imagine = uphill
    before = -np.inf
    for generation in range(40):
        candidates = search.ask()
        assert candidates.shape == (8, 5) and (candidates[0] == search.mean).all()
        fitness = -((candidates - 1) ** 2).sum(axis=1)
        search.tell(candidates, fitness)
        assert fitness[0] >= before
        before = fitness[0]
        if generation == 20:  # as a search that was stopped
            save_state(tmp_path / "checkpoint.npz", search, None)
            search = Ascent(np.zeros(5), 8, 0.1, seed=1, horizon=50)
            load_state(tmp_path / "checkpoint.npz", search)
            assert search.imagine is None
            search.imagine = uphill
    assert np.abs(search.mean - 1).max() < 0.05


def test_ascent_goes_nowhere_without_a_gradient():
    search = Ascent(np.ones(3), 4, 0.1, seed=0, horizon=50)
    search.imagine = lambda params, seeds, offset: (None, np.array([1.0, np.nan, np.inf]))
    candidates = search.ask()
    assert (candidates == 1).all()
    search.tell(candidates, np.zeros(4))
    assert (search.mean == 1).all() and search.length == 0.05


def test_train_by_gradient_on_any_number_of_workers(pendulum_run, tmp_path):
    """In one process, stopped after the first generation, and in two."""
    start = tmp_path / "start.json"
    size = Controller("pendulum", rnn=load_dream(pendulum_run, GAMES["pendulum"]).rnn).num_params
    start.write_text(json.dumps([np.random.default_rng(0).normal(0, 0.1, size).tolist()]))
    histories = []
    for name, lengths in (("stopped", (1, 3)), ("two", (3,))):
        folder = tmp_path / name
        folder.mkdir()
        for stage in ("vae", "rnn"):
            (folder / stage).symlink_to(pendulum_run / stage)
        command = ["pendulum", "--scale", "smoke", "--run-dir", str(folder), "--search", "gradient", "--start", str(start)]
        for length in lengths:
            words = [*command, "--generations", str(length)]
            run_script("train.py", *words, ranks=2) if name == "two" else train.main([*words, "-n", "1"])
        rows = json.loads((folder / "controller" / "hist.json").read_text())
        histories.append([[value for i, value in enumerate(row) if i != 1] for row in rows])
    assert histories[0] == histories[1] and len(histories[0]) == 3
    first, *_, last = histories[0]
    assert last[3] >= first[2] or last != first  # it has moved


@pytest.mark.parametrize(
    "options, sentence",
    [
        ([], "give --start FILE"),
        (["--start", "none.json"], "none.json, which is no file"),
        (["--start", __file__, "--world", "real"], "--world dream"),
        (["--start", __file__, "--horizon", "0"], "--horizon is 0"),
        (["--search", "cma", "--horizon", "9"], "--horizon is of gradients"),
    ],
)
def test_impossible_gradients_are_refused(pendulum_run, options, sentence):
    with pytest.raises(UserError, match=sentence):
        train.main(["pendulum", "--run-dir", str(pendulum_run), "-n", "1", "--search", "gradient", *options])
