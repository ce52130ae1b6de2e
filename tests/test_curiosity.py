"""Curiosity: surprise as M's loss, and recordings that search for it."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_run, run_script

import extract
from config import GAMES, UserError
from controller.curiosity import POPULATION, Surprise
from env.record import Episode, episode_path, load_episode
from rnn.world_model import load_world_model

GAME = GAMES["pendulum"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """A run with an untrained V and M and a random C."""
    folder = make_run(tmp_path_factory.mktemp("agent"), "pendulum")
    (folder / "controller").mkdir()
    params = np.random.default_rng(0).normal(size=GAME.z_size + 16 + 1)
    (folder / "controller" / "best.json").write_text(json.dumps([params.tolist(), 0]))
    (folder / "controller" / "config.json").write_text(json.dumps({"settings": {"controller_mode": "zh"}}))
    return folder


def _episode(steps=30):
    rng = np.random.default_rng(1)
    return Episode(rng.integers(0, 256, (steps, 64, 64, 3), np.uint8), rng.uniform(-1, 1, (steps, 1)), np.zeros(steps), False)


@pytest.mark.parametrize("name", ["pendulum", "doom"])
def test_surprise_is_the_loss_of_m_step_by_step(name, request):
    game, folder = GAMES[name], str(request.getfixturevalue(f"{name}_run"))
    vae, rnn = load_world_model(folder, game)
    episode = _episode()
    mu, action = vae.encode(episode.obs)[0], tf.constant(episode.action, tf.float32)
    state, expected = rnn.initial_state(1), []
    for t in range(len(mu) - 1):
        params, state = rnn.step(mu[t : t + 1], action[t : t + 1], state, tf.constant([float(t == 0)]))
        expected.append(-np.mean(rnn.mixture(params).log_prob(mu[t + 1 : t + 2])))
    np.testing.assert_allclose(Surprise(folder, game)(episode), expected, rtol=1e-4, atol=1e-4)


def _record(agent, folder, *options, workers=1):
    words = ["pendulum", *"--curiosity 3 --episodes 6 --max-steps 20".split(), "--agent", str(agent), "--run-dir", str(folder)]
    words += [*map(str, options), "-n", str(workers)]
    extract.main(words) if workers == 1 else run_script("extract.py", *words)
    return [load_episode(episode_path(folder / "record", i), 1) for i in range(6)]


def _same(some, others):
    return all(np.array_equal(a, b) for one, other in zip(some, others, strict=True) for a, b in zip(one, other, strict=True))


def test_curious_recordings_go_on_where_they_were_stopped_on_any_number_of_workers(agent, tmp_path):
    whole = _record(agent, tmp_path / "whole", workers=2)
    assert len({episode.action.tobytes() for episode in whole}) == 6  # each candidate plays
    _record(agent, tmp_path / "stopped")
    for i in range(3, 6):
        (tmp_path / "stopped" / "record" / f"{i:06d}.npz").unlink()
    assert _same(_record(agent, tmp_path / "stopped"), whole)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "record" / "log.jsonl").read_text().splitlines()]
    first = rows[0]
    surprise = Surprise(str(agent), GAME)
    assert first["returns"] == pytest.approx([float(episode.reward.sum()) for episode in whole[:POPULATION]])
    assert first["surprises"] == pytest.approx([float(surprise(episode).sum()) for episode in whole[:POPULATION]], rel=1e-4)


def test_an_m_that_has_gained_nothing_does_not_surprise(agent, tmp_path):
    _record(agent, tmp_path, "--gained-on", agent)
    rows = [json.loads(line) for line in (tmp_path / "record" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["surprises"] == [0] * POPULATION


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--curiosity", "1"], "--curiosity is for agents"),
        (["--agent", "x", "--curiosity", "nan"], "--curiosity is nan"),
        (["--gained-on", "x"], "without --curiosity nothing asks"),
    ],
)
def test_impossible_curiosity_is_refused(options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        extract.main(["pendulum", "--run-dir", str(tmp_path), *options])
