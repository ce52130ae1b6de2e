"""The dream: its noise, its rules, and the same episode in all its implementations."""

import json
import re
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

import config
import doomrnn  # noqa: F401  registers the dreams
from config import UserError
from controller.controller import Controller
from controller.rollout import open_world
from dream.dream import Dream, load_dream
from dream.kernel import sample
from dream.noise import _uniform, threefry, uniform_and_normal
from dream.population import Population
from dream.probing import dreamed
from env.policies import constant_policy
from job.rundir import as_trained
from rnn.rnn import MDNRNN

IDS = [game.dream_id for game in config.GAMES.values()]


def _uint32(*values):
    return tuple(tf.constant([value], tf.uint32) for value in values)


@pytest.mark.parametrize(
    "key, counter, expected",  # the known-answer tests of Random123
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, expected):
    assert tuple(int(word[0]) for word in threefry(_uint32(*key), _uint32(*counter))) == expected


def test_noise_is_uniform_and_normal_and_independent():
    seeds = tf.cast(tf.range(2000), tf.uint32)
    uniform, noise = (part.numpy().ravel() for part in uniform_and_normal(seeds, tf.constant(3, tf.uint32), 64))
    count = len(noise)
    assert abs(uniform.mean() - 0.5) < 4 * 12**-0.5 / count**0.5 and 0 < uniform.min() and uniform.max() < 1
    assert abs(noise.mean()) < 4 / count**0.5 and abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs(np.corrcoef(uniform, noise)[0, 1]) < 4 / count**0.5
    assert abs((noise**4).mean() - 3) < 0.15


def test_all_noise_is_finite():
    """That of the largest bits too, which comes once in 2^24 numbers."""
    uniform = _uniform(tf.constant([0, 2**31, 2**32 - 1], tf.uint32))
    assert 0 < uniform[0] < uniform[1] < uniform[2] < 1 and np.isfinite(tf.math.ndtri(uniform)).all()


def test_noise_depends_on_episode_and_step_alone():
    seeds = tf.constant([5, 6, 7], tf.uint32)
    together = uniform_and_normal(seeds, tf.constant([1, 2, 3], tf.uint32), 8)[1].numpy()
    alone = uniform_and_normal(seeds[1:2], tf.constant(2, tf.uint32), 8)[1].numpy()
    np.testing.assert_array_equal(together[1], alone[0])
    assert len(np.unique(together)) == together.size


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_dream_samples_as_the_mixture_says(temperature):
    """10^5 samples: weights, means and variances are those of logits / t and sigma * sqrt(t)."""
    count, logits = 100_000, np.array([0.3, -0.5, 1.0, 0.0, -1.5], np.float32)
    mean, log_std = np.array([-40, -20, 0, 20, 40], np.float32), np.array([0.1, -0.3, 0.0, 0.4, -0.2], np.float32)
    planes = [tf.fill((count, 1), value) for value in (*logits, *mean, *log_std)]
    uniform, noise = uniform_and_normal(tf.cast(tf.range(count), tf.uint32), tf.constant(1, tf.uint32), 1)
    z = sample(planes, uniform, noise, temperature).numpy().ravel()
    component = np.round(z / 20).astype(int) + 2  # the Gaussians are 20 apart and about 1 wide
    weights = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    for k in range(5):
        chosen, expected = z[component == k], weights[k]
        assert abs(len(chosen) / count - expected) < 4 * (expected * (1 - expected) / count) ** 0.5
        variance = np.exp(2 * log_std[k]) * temperature
        assert abs(chosen.var() - variance) < 4 * variance * (2 / len(chosen)) ** 0.5
        assert abs(chosen.mean() - mean[k]) < 4 * (variance / len(chosen)) ** 0.5


def _environment(game, run, **keywords):
    return gymnasium.make(config.GAMES[game].dream_id, run_dir=str(run), **keywords).unwrapped


@pytest.mark.parametrize("game", ["doom", "carracing", "pendulum"])
def test_gymnasium_accepts_the_dream(game, request):
    run = request.getfixturevalue({"doom": "doom_run", "carracing": "car_run", "pendulum": "pendulum_run"}[game])
    environment = _environment(game, run, render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(environment)
    unbounded = "observation space (min|max)imum value is -?infinity"  # and so it is: z is normally distributed
    told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    assert [message for message in told if not re.search(unbounded, message)] == []


@pytest.mark.parametrize("game", ["doom", "carracing"])
def test_stable_baselines_accepts_the_dream(game, request):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    run = request.getfixturevalue({"doom": "doom_run", "carracing": "car_run"}[game])
    checker.check_env(_environment(game, run))


def test_vector_begins_again_after_the_end(doom_run):
    vector = gymnasium.make_vec(IDS[1], num_envs=2, run_dir=str(doom_run), max_steps=3)
    first, _ = vector.reset(seed=1)
    for _ in range(3):
        _, rewards, died, cut, _ = vector.step(np.zeros((2, 1), np.float32))
    assert (died | cut).all() and (rewards == 1).all()
    again, rewards, died, cut, _ = vector.step(np.zeros((2, 1), np.float32))
    assert (rewards == 0).all() and not (died | cut).any()
    assert (again[:, 64:] == 0).all() and not np.array_equal(again, first)  # M's state is zero again, the noise is new


def test_rollout_of_an_episode_does_not_depend_on_its_neighbours(doom_run):
    world = open_world("dream", doom_run, config.scaled("doom"), 8)
    params = np.random.default_rng(0).normal(0, 0.1, world.controller.num_params)
    _, steps = world.rollout(params, list(range(8)), 200)
    _, fewer = world.rollout(params, [3, 0], 200)
    assert fewer.tolist() == [steps[3], steps[0]]


def test_timed_players_live_as_long_as_in_the_environment(doom_run):
    environment = _environment("doom", doom_run, max_steps=300)
    scores, lengths, z = dreamed(environment._dreams.dream, [lambda t: [(-1.0) ** (t // 5)]] * 2, [3, 4], 300)
    assert scores.tolist() == lengths.tolist()
    for row, seed in enumerate((3, 4)):
        observation, t, over = environment.reset(seed=seed)[0], 0, False
        while not over:
            np.testing.assert_array_equal(z[t, row], observation[:64])
            observation, _, died, cut, _ = environment.step(np.array([(-1.0) ** (t // 5)]))
            over, t = died or cut, t + 1
        assert t == lengths[row]
    assert lengths.max() < 300


def test_dream_is_over_when_death_is_likelier_than_not(doom_run):
    environment = _environment("doom", doom_run, max_steps=300)
    (observation, _), died = environment.reset(seed=4), False
    while not died:
        observation, _, died, cut, _ = environment.step(np.zeros(1, np.float32))
        rnn = environment._dreams.dream.rnn
        h = observation[None, 64 + 16 :]
        assert (float(rnn.head(h).restart_logit[0]) > 0) == died
        assert not cut


def test_restart_zeroes_the_state_at_the_first_step_alone():
    rnn = MDNRNN(4, 1, 8, 5, predict_restart=True)
    z, action, state = np.ones((1, 4), np.float32), np.ones((1, 1), np.float32), (np.ones((1, 8)), np.ones((1, 8)))
    state = tuple(part.astype(np.float32) for part in state)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    restarted = rnn.advance(z, action, state, one)[0].numpy()
    np.testing.assert_array_equal(restarted, rnn.advance(z, action, rnn.initial_state(1), one)[0].numpy())
    assert not np.allclose(restarted, rnn.advance(z, action, state, zero)[0].numpy())


def test_picture_of_a_dream_is_what_the_decoder_makes(car_run):
    environment = _environment("carracing", car_run, render_mode="rgb_array")
    observation, _ = environment.reset(seed=0)
    expected = environment._dreams.vae.decode(observation[None, :32]).numpy()[0]
    np.testing.assert_allclose(environment.render(), expected * 255, atol=0.51)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), "hot"])
def test_temperature_must_be_above_zero(doom_run, temperature):
    with pytest.raises(UserError, match="temperature"):
        _environment("doom", doom_run, temperature=temperature)


@pytest.mark.parametrize("max_steps", [0, -5, 1.5])
def test_a_dream_has_a_step(doom_run, max_steps):
    with pytest.raises(UserError, match="max_steps is"):
        _environment("doom", doom_run, max_steps=max_steps)


def test_a_dream_can_be_longer_than_it_will_ever_be(doom_run):
    environment = _environment("doom", doom_run, max_steps=3 * 10**9)
    environment.reset(seed=0)
    assert environment.step(np.zeros(1, np.float32))[3] is False


@pytest.mark.parametrize("game, run", [("carracing", "car_run"), ("doom", "doom_run"), ("pendulum", "pendulum_run")])
def test_a_dream_has_the_games_speed(game, run, request):
    environment = _environment(game, request.getfixturevalue(run))
    assert (
        environment.metadata["render_fps"]
        == config.GAMES[game].frames_per_second
        == {"carracing": 50, "doom": 35}.get(game, 20)
    )


def test_wrong_action_is_refused(doom_run):
    environment = _environment("doom", doom_run)
    environment.reset(seed=0)
    for action in (np.zeros(2, np.float32), np.array([np.nan], np.float32)):
        with pytest.raises(UserError, match="action"):
            environment.step(action)


def _doom_dream(run, **settings):
    return load_dream(str(run), replace(config.GAMES["doom"], **settings), max_steps=300)


def test_drawn_deaths_come_as_often_as_m_holds_them_to_be_likely(doom_run):
    """With a logit that is the same in all steps; the weight of deaths in M's loss, 10, is taken out of it again."""
    dream, hazard = _doom_dream(doom_run, dream_death="drawn"), 0.02
    kernel, bias = (weight.numpy() for weight in dream.rnn.output_layer.weights)
    at = dream.rnn.layout.slices["restart"].start
    before = [kernel.copy(), bias.copy()]
    kernel[:, at], bias[at] = 0, np.log(hazard / (1 - hazard)) + np.log(10)
    dream.rnn.output_layer.set_weights([kernel, bias])
    dream = Dream(dream.rnn, dream.initial_z, 1.0, 300, 1.0, log_odds=np.log(10))
    _, lengths, _ = dreamed(dream, [constant_policy(0)] * 2000, np.arange(2000), 300)
    dream.rnn.output_layer.set_weights(before)
    died = lengths[lengths < 300]
    assert abs(len(died) / lengths.sum() - hazard) < 4 * hazard / len(died) ** 0.5
    assert np.std(died) > 30  # by chance, not all at once


@pytest.mark.parametrize("log_odds", [None, np.log(10)])
def test_a_dream_that_diverges_is_over(doom_run, log_odds):
    """With an M that sees no danger, but whose Gaussians have infinite deviations."""
    dream = _doom_dream(doom_run)
    kernel, bias = (weight.numpy() for weight in dream.rnn.output_layer.weights)
    before = [kernel.copy(), bias.copy()]
    at = dream.rnn.layout.slices["restart"].start
    kernel[:, at], bias[at] = 0, -1000
    safe = [kernel.copy(), bias.copy()]
    bias[dream.rnn.layout.slices["mixture"]] = 1000
    lengths = []
    for weights in (safe, [kernel, bias]):
        dream.rnn.output_layer.set_weights(weights)
        changed = Dream(dream.rnn, dream.initial_z, 1.0, 30, 1.0, log_odds=log_odds)
        lengths.append(dreamed(changed, [constant_policy(0)] * 4, np.arange(4), 30)[1].tolist())
    dream.rnn.output_layer.set_weights(before)
    assert lengths == [[30] * 4, [1] * 4]


def test_a_dream_knows_how_its_m_was_trained(tmp_path):
    (tmp_path / "rnn").mkdir()
    (tmp_path / "rnn" / "config.json").write_text(json.dumps({"settings": {"rnn_restart_weight": 3.0}}))
    assert as_trained(config.GAMES["doom"], str(tmp_path)).rnn_restart_weight == 3 != config.GAMES["doom"].rnn_restart_weight


@pytest.mark.parametrize("settings", [{"dream_death": "drawn"}, {"dream_dropout": 0.3}])
def test_population_plays_the_dreams_of_the_environment_in_other_rules_too(doom_run, settings):
    dream = _doom_dream(doom_run, **settings)
    controller = Controller("doom", rnn=dream.rnn)
    params = np.random.default_rng(0).normal(0, 0.3, controller.num_params).astype(np.float32)
    _, steps = Population(dream, controller.act)(params[None], np.zeros(20, int), np.arange(20))

    def act(t, z, state):
        return controller.act(z, state, tf.constant(np.tile(params, (20, 1))))

    lived = np.sum([alive for _, alive, _ in dream.watch(act, np.arange(20), 300)], axis=0)
    np.testing.assert_array_equal(steps, lived)
    plain = Population(_doom_dream(doom_run), controller.act)(params[None], np.zeros(20, int), np.arange(20))[1]
    assert (steps != plain).any()


def test_the_environment_knows_the_other_rules_too(doom_run):
    plain, changed = (_environment("doom", doom_run, **how) for how in ({}, {"death": "drawn", "dropout": 0.3}))
    observations = []
    for environment in (plain, changed):
        environment.reset(seed=0)
        observations.append(environment.step(np.zeros(1, np.float32))[0])
    assert (observations[0] != observations[1]).any()
    kernels = [environment._dreams.dream.kernel() for environment in (plain, changed)]
    assert [(kernel.dropout, kernel.log_odds is not None) for kernel in kernels] == [(0, False), (0.3, True)]
    with pytest.raises(UserError, match="dream_death is 'never'"):
        _environment("doom", doom_run, death="never")
    with pytest.raises(UserError, match="the dropout is 1.0"):
        _environment("doom", doom_run, dropout=1.0)


def test_dropout_leaves_out_the_same_inputs_in_a_whole_dream(doom_run):
    dream = _doom_dream(doom_run, dream_dropout=0.25)
    kernel, seeds = dream.kernel(), tf.cast(tf.range(48), tf.uint32)
    factors = kernel.join(tf.ones((48, 64)), tf.ones((48, 16)), seeds).numpy()
    assert set(np.unique(factors)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((factors == 0).mean() - 0.25) < 0.03 and (factors[0] != factors[1]).any()
    z, state, actions = *dream.start(seeds), tf.ones((48, 1))
    for t in range(3):  # M's own step, with these inputs left out
        (h, c), seen = state, z * factors[:, :64]
        z, state, *_ = dream.step(z, actions, state, seeds, tf.fill(48, t))
        expected = dream.rnn.advance(seen, actions, (h * factors[:, 64:], c), tf.fill(48, float(t == 0)))
        np.testing.assert_allclose(state[0], expected[0], atol=1e-5)
        np.testing.assert_allclose(state[1], expected[1], atol=1e-5)
