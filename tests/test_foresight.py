"""The probe's measures of recorded games, against V and M applied frame by frame and step by step."""

import numpy as np
import pytest
import tensorflow as tf

from config import GAMES, UserError
from dream.dream import Dream
from dream.foresight import BEFORE_THE_END, LATE, ROWS, Foresight
from env.record import save_episode
from rnn.rnn import MDNRNN
from vae.vae import ConvVAE

LENGTHS = [5, 31, 12, 7, 24] + [9] * ROWS  # more than one batch of M


@pytest.fixture
def recording(tmp_path):
    """V, M, the paths of episodes, and their arrays (obs, action, whether the player died)."""
    tf.keras.utils.set_random_seed(3)
    vae, rnn = ConvVAE(8), MDNRNN(8, 1, 16, 2, predict_restart=True)
    rng = np.random.default_rng(3)
    paths, episodes = [], []
    for i, length in enumerate(LENGTHS):
        obs = rng.integers(0, 256, (length, 64, 64, 3), np.uint8)
        action = rng.uniform(-1, 1, (length, 1)).astype(np.float16)
        done = np.arange(length) == length - 1 if i % 3 else np.zeros(length, bool)  # each third was cut
        paths.append(str(tmp_path / f"{i}.npz"))
        save_episode(paths[-1], obs, action, rng.normal(size=length), done)
        episodes.append((obs, action.astype(np.float32), bool(done[-1])))
    return vae, rnn, paths, episodes


def _foresight(game, vae, rnn, **how):
    """The Foresight of V, and M in a dream at temperature 1."""
    z = np.zeros((1, rnn.z_size), np.float32)
    return Foresight(GAMES[game], vae, Dream(rnn, (z, z), 1.0, 100, 1.0, **how))


def _alarms(step, state, z, action):
    """Whether M predicts an end after each step of one episode, by `step` from `state`."""
    alarms = []
    for t in range(len(z)):
        params, state = step(z[t : t + 1], action[t : t + 1], state, tf.constant([float(t == 0)]))
        alarms.append(bool(params.restart_logit[0] > 0))
    return alarms


def test_foresight_is_what_steps_one_by_one_show(recording):
    vae, rnn, paths, episodes = recording
    rng, step = np.random.default_rng(5), tf.function(rnn.step)
    errors, before, deaths, foreseen, others, false = [], [], 0, 0, 0, 0
    for obs, action, died in episodes:
        mu, logvar = (part.numpy() for part in vae.encode(obs))
        error = ((obs / 255 - vae.decode(mu).numpy()) ** 2).sum((1, 2, 3))
        errors.extend(error)
        before.extend(error[-BEFORE_THE_END:])
        z = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32)
        *rest, last = _alarms(step, rnn.initial_state(1), z, action)
        deaths, foreseen, others, false = deaths + died, foreseen + (died and last), others + len(rest), false + sum(rest)
    assert 0 < foreseen < deaths and 0 < false < others  # else this would show nothing
    seen = _foresight("doom", vae, rnn)(paths, seed=5)
    assert (seen["episodes"], seen["frames"]) == (len(LENGTHS), sum(LENGTHS))
    np.testing.assert_allclose([seen["error"], seen["error_before_end"]], [np.mean(errors), np.mean(before)], rtol=1e-4)
    assert (seen["recall"], seen["false_alarms"]) == (foreseen / deaths, false / others)


def test_what_the_car_does_not_have_is_none(recording):
    vae, _, paths, _ = recording
    seen = _foresight("doom", vae, MDNRNN(8, 1, 16, 2))(paths)
    names = ("recall", "false_alarms", "ahead", "elsewhere", "reward_r2", "action_r2")
    assert {seen[name] for name in names} == {None} and seen["error"] > 0


def test_r2_of_rewards_and_actions_is_what_steps_one_by_one_show(recording):
    vae, _, paths, episodes = recording
    rnn, rng = MDNRNN(8, 1, 16, 2, predict_reward=True, predict_action=True), np.random.default_rng(5)
    step, game = tf.function(rnn.step), GAMES["pendulum"]
    predicted, true = {"reward_r2": [], "action_r2": []}, {"reward_r2": [], "action_r2": []}
    for (obs, action, _), path in zip(episodes, paths, strict=True):
        mu, logvar = (part.numpy() for part in vae.encode(obs))
        z, state = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32), rnn.initial_state(1)
        with np.load(path) as file:
            rewards = file["reward"]
        for t in range(len(obs) - 1):
            params, state = step(z[t : t + 1], action[t : t + 1], state, tf.constant([float(t == 0)]))
            predicted["reward_r2"].append(float(params.reward[0]) * game.reward_scale)
            predicted["action_r2"].append(float(params.action[0, 0]))
            true["reward_r2"].append(rewards[t])
            true["action_r2"].append(action[t + 1, 0])
    seen = _foresight("pendulum", vae, rnn)(paths, seed=5)
    for name in true:
        error = np.mean(np.square(np.subtract(predicted[name], true[name])))
        np.testing.assert_allclose(seen[name], 1 - error / np.var(true[name]), rtol=1e-4)


def _counter():
    """An M of one unit: death where it has seen more actions of 1 than of -1 since the episode's first frame."""
    rnn = MDNRNN(8, 1, 1, 2, predict_restart=True)
    kernel, recurrent, bias, out, out_bias = (np.zeros(weight.shape, np.float32) for weight in rnn.get_weights())
    kernel[8, 2], bias[:] = 20, (20, 20, 0, 20)  # the gates: what is new is the action, and nothing is forgotten
    restart = rnn.layout.slices["restart"]
    out[:, restart], out_bias[restart] = 100, -20
    rnn.set_weights([kernel, recurrent, bias, out, out_bias])
    return rnn


@pytest.mark.parametrize(("late", "ahead"), [(0, 1), (LATE, 1), (LATE + 1, 0)])
def test_dreams_go_on_from_before_the_end_with_the_recorded_actions(recording, tmp_path, late, ahead):
    """M expects death `late` steps after the recorded one. Elsewhere the dreams begin where nothing ends in time."""
    vae, *_ = recording
    action = np.float16([-1] * 30 + [1] * (31 - late))[:, None]
    frames, rewards = np.zeros((len(action), 64, 64, 3), np.uint8), np.ones(len(action))
    paths = [str(tmp_path / name) for name in ("dies.npz", "cut.npz")]
    save_episode(paths[0], frames, action, rewards, np.arange(len(action)) == len(action) - 1)
    save_episode(paths[1], frames[:25], action[:25], rewards[:25], np.zeros(25, bool))
    seen = _foresight("doom", vae, _counter())(paths)
    assert seen["ahead"] == ahead
    assert seen["elsewhere"] == 0
    if late == 0:  # drawn from a logit that is far above or below 0, it is the same
        seen = _foresight("doom", vae, _counter(), log_odds=0.0)(paths)
        assert (seen["ahead"], seen["elsewhere"]) == (1, 0)


def test_a_broken_episode_is_named(recording, tmp_path):
    vae, rnn, paths, _ = recording
    (tmp_path / "0.npz").write_bytes(b"no episode")
    with pytest.raises(UserError, match="0.npz"):
        _foresight("doom", vae, rnn)(paths)
