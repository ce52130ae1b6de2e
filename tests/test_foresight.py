"""The probe's measures of recorded games, against V and M applied frame by frame and step by step."""

import numpy as np
import pytest
import tensorflow as tf

from config import GAMES, UserError
from dream.foresight import BEFORE_THE_END, ROWS, Foresight
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
    seen = Foresight(GAMES["doom"], vae, rnn)(paths, seed=5)
    assert (seen["episodes"], seen["frames"]) == (len(LENGTHS), sum(LENGTHS))
    np.testing.assert_allclose([seen["error"], seen["error_before_end"]], [np.mean(errors), np.mean(before)], rtol=1e-4)
    assert (seen["recall"], seen["false_alarms"]) == (foreseen / deaths, false / others)


def test_what_the_car_does_not_have_is_none(recording):
    vae, _, paths, _ = recording
    seen = Foresight(GAMES["doom"], vae, MDNRNN(8, 1, 16, 2))(paths)
    assert {seen[name] for name in ("recall", "false_alarms", "reward_r2", "action_r2")} == {None} and seen["error"] > 0


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
    seen = Foresight(game, vae, rnn)(paths, seed=5)
    for name in true:
        error = np.mean(np.square(np.subtract(predicted[name], true[name])))
        np.testing.assert_allclose(seen[name], 1 - error / np.var(true[name]), rtol=1e-4)


def test_a_broken_episode_is_named(recording, tmp_path):
    vae, rnn, paths, _ = recording
    (tmp_path / "0.npz").write_bytes(b"no episode")
    with pytest.raises(UserError, match="0.npz"):
        Foresight(GAMES["doom"], vae, rnn)(paths)
