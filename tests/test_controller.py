"""C against plain NumPy, and CMA-ES."""

import pickle
import weakref

import cma
import numpy as np
import pytest
from conftest import PRECISIONS

from config import GAMES, UserError, scaled
from controller.controller import Controller
from controller.evolution import Evolution
from controller.report import bootstrap_interval, summary, table
from controller.rollout import open_world
from controller.state import load_state, save_state
from controller.state import main as convert
from controller.training import Training


@pytest.mark.parametrize(
    "game, mode, count",
    [("carracing", "zh", 867), ("carracing", "z", 99), ("carracing", "z_hidden", 1443), ("doom", "zch", 1088)],
)
def test_number_of_parameters_is_the_published_one(game, mode, count):
    assert Controller(GAMES[game], mode=mode).num_params == count


def test_published_modes_are_the_default():
    assert Controller(GAMES["carracing"]).mode == "zh"
    assert Controller(GAMES["doom"]).mode == "zch"


def test_car_actions_are_those_of_the_original():
    controller, rng = Controller(GAMES["carracing"]), np.random.default_rng(0)
    params, x = rng.normal(size=867), rng.normal(size=(5, 288)).astype(np.float32)
    controller.set_params(params)
    bias, weight = params[:3], params[3:].reshape(288, 3)
    steer, gas, brake = np.tanh(x @ weight + bias).T
    expected = np.stack([steer, (gas + 1) / 2, np.clip(brake, 0, 1)], axis=1)
    np.testing.assert_allclose(controller.actions(x).numpy(), expected, atol=1e-5)


def test_doom_actions_have_no_bias():
    controller, rng = Controller(GAMES["doom"]), np.random.default_rng(0)
    params, x = rng.normal(size=1088) / 30, rng.normal(size=(5, 1088)).astype(np.float32)
    controller.set_params(params)
    np.testing.assert_allclose(controller.actions(x).numpy(), np.tanh(x @ params.reshape(1088, 1)), atol=1e-5)


def test_hidden_layer_is_packed_as_in_the_original():
    controller, rng = Controller(GAMES["carracing"], "z_hidden"), np.random.default_rng(0)
    params, z = rng.normal(size=1443), rng.normal(size=(4, 32)).astype(np.float32)
    controller.set_params(params)
    first, second = params[: 33 * 40], params[33 * 40 :]
    hidden = np.tanh(z @ first[40:].reshape(32, 40) + first[:40])
    steer, gas, brake = np.tanh(hidden @ second[3:].reshape(40, 3) + second[:3]).T
    expected = np.stack([steer, (gas + 1) / 2, np.clip(brake, 0, 1)], axis=1)
    np.testing.assert_allclose(controller.actions(z).numpy(), expected, atol=1e-5)


def test_features_are_in_the_original_order():
    z, h, c = (np.full((2, size), value, np.float32) for value, size in ((1, 64), (2, 512), (3, 512)))
    seen = Controller(GAMES["doom"]).features(z, (h, c)).numpy()
    assert [seen[0, 0], seen[0, 64], seen[0, 64 + 512]] == [1, 3, 2]
    assert Controller(GAMES["carracing"]).features(z[:, :32], (h[:, :256], c)).shape == (2, 288)


def test_many_controllers_at_once_equal_each_alone():
    controller, rng = Controller(GAMES["carracing"]), np.random.default_rng(1)
    params = rng.normal(size=(3, 867)).astype(np.float32)
    x = rng.normal(size=(3, 4, 288)).astype(np.float32)
    together = controller.actions(x, params).numpy()
    for k in range(3):
        controller.set_params(params[k])
        np.testing.assert_allclose(together[k], controller.actions(x[k]).numpy(), atol=1e-6)


@pytest.mark.parametrize("vector, word", [(np.zeros(10), "shape"), (np.full(867, np.nan), "NaN"), (["a"] * 867, "numbers")])
def test_wrong_parameters_are_refused(vector, word):
    with pytest.raises(UserError, match=word):
        Controller(GAMES["carracing"]).set_params(vector)


def test_unknown_mode_is_refused():
    with pytest.raises(UserError, match="zzz"):
        Controller(GAMES["carracing"], mode="zzz")


def _sphere(search, generations):
    for _ in range(generations):
        candidates = search.ask()
        search.tell(candidates, -((candidates - 0.5) ** 2).sum(axis=1))
    return search.mean


def test_search_climbs():
    assert np.abs(_sphere(Evolution(np.zeros(4), 16, 0.1, seed=0), 60) - 0.5).max() < 1e-3


def test_search_depends_on_its_seed_alone():
    np.random.seed(1)
    first = _sphere(Evolution(np.zeros(4), 8, 0.1, seed=0), 3)
    np.random.seed(2)
    np.testing.assert_array_equal(_sphere(Evolution(np.zeros(4), 8, 0.1, seed=0), 3), first)
    assert not np.array_equal(_sphere(Evolution(np.zeros(4), 8, 0.1, seed=1), 3), first)


@pytest.mark.parametrize("step_size", ["csa", "tpa"])
@pytest.mark.parametrize("generations", [0, 1, 2, 30])
def test_saved_search_goes_on_as_if_nothing_had_happened(step_size, generations, tmp_path):
    def made():
        return Evolution(np.zeros(20), 8, 0.1, 0, step_size)

    search, again, path = made(), made(), str(tmp_path / "checkpoint.npz")
    _sphere(search, generations)
    save_state(path, search, {"seconds": 0.1 + 0.2})
    assert load_state(path, again) == {"seconds": 0.1 + 0.2}
    for _ in range(3):
        np.testing.assert_array_equal(_sphere(search, 5), _sphere(again, 5))
    assert again.rms_stdev == search.rms_stdev


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    """Neither in the file itself, nor in an array of objects, nor in one of an older version."""

    class Evil:
        def __reduce__(self):
            return (tmp_path / "executed").mkdir, ()

    training, evil = Training(Evolution(np.zeros(3), 4, 0.1, seed=0)), pickle.dumps(Evil())
    (tmp_path / "checkpoint.npz").write_bytes(evil)
    with pytest.raises(UserError, match="checkpoint.npz cannot be read"):
        Training.resumed(tmp_path, training.search)
    np.savez(tmp_path / "checkpoint.npz", told=np.array([Evil()], object))
    with pytest.raises(UserError, match="checkpoint.npz cannot be read"):
        Training.resumed(tmp_path, training.search)
    (tmp_path / "checkpoint.npz").unlink()
    (tmp_path / "checkpoint.pkl").write_bytes(evil)
    with pytest.raises(UserError, match=f"convert it with `python -m controller.state {tmp_path}`"):
        Training.resumed(tmp_path, training.search)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(UserError, match="cannot be read"):
        convert([str(tmp_path)])  # an explicit command, which warns
    assert (tmp_path / "executed").exists()


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path):
    training = Training(Evolution(np.zeros(3), 4, 0.1, seed=0))
    training.save(tmp_path)
    path, rng = tmp_path / "checkpoint.npz", np.random.default_rng(0)
    whole, following, noticed = path.read_bytes(), training.search.ask(), 0
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        search = Evolution(np.zeros(3), 4, 0.1, seed=0)
        try:
            Training.resumed(tmp_path, search)
        except UserError as error:
            assert "checkpoint.npz" in str(error) and len(str(error)) < 400
            noticed += 1
        else:  # a date or a flag of the zip file, which changes no value
            np.testing.assert_array_equal(search.ask(), following)
    assert noticed > 100


def test_an_old_checkpoint_is_converted(tmp_path):
    training = Training(Evolution(np.zeros(5), 4, 0.1, seed=0))
    for _ in range(3):
        _sphere(training.search, 1)
        training.add_generation(np.arange(4.0), np.ones(4))
    (tmp_path / "checkpoint.pkl").write_bytes(pickle.dumps(training))
    convert([str(tmp_path)])
    again = Training.resumed(tmp_path, Evolution(np.zeros(5), 4, 0.1, seed=0))
    assert again.history == training.history
    np.testing.assert_array_equal(_sphere(again.search, 4), _sphere(training.search, 4))


def test_a_checkpoint_of_another_search_or_version_is_refused(tmp_path, monkeypatch):
    Training(Evolution(np.zeros(3), 4, 0.1, seed=0)).save(tmp_path)
    with pytest.raises(UserError, match="CMAAdaptSigmaCSA where this search has a .*CMAAdaptSigmaTPA"):
        Training.resumed(tmp_path, Evolution(np.zeros(3), 4, 0.1, 0, "tpa"))
    monkeypatch.setattr(cma, "__version__", "0.1")
    with pytest.raises(UserError, match="was written with cma .*, and here is cma 0.1"):
        Training.resumed(tmp_path, Evolution(np.zeros(3), 4, 0.1, seed=0))


def test_a_search_without_its_checkpoint_is_not_written_over(tmp_path):
    (tmp_path / "hist.json").write_text("[]")
    with pytest.raises(UserError, match="has a search without its checkpoint.npz"):
        Training.resumed(tmp_path, Evolution(np.zeros(3), 4, 0.1, seed=0))


def test_logs_have_the_original_columns(tmp_path):
    search = Evolution(np.zeros(3), 4, 0.1, seed=0)
    training = Training(search)
    training.seconds = 57.9
    training.add_generation(np.array([-54.609, 1, 2, 3]), np.array([999, 1000, 1000, 1000.5]))
    assert training.history == [[1, 57, -12.15, -54.6, 3.0, 24.52, 0.1, 999.87, 1000]]
    assert training.add_evaluation(10.0) and not training.add_evaluation(5.0)
    assert training.evaluations[0][2:] == ["improvement", 10.0 + 12.15, "curr", 10.0, "prev", -12.15, "best", 10.0]
    assert training.evaluations[1][2:] == ["improvement", -5.0, "curr", 5.0, "prev", 10.0, "best", 10.0]
    training.save(tmp_path)
    again = Training.resumed(tmp_path, Evolution(np.zeros(3), 4, 0.1, seed=0))
    assert (again.history, again.evaluations, again.best_score) == (training.history, training.evaluations, 10.0)
    np.testing.assert_array_equal(again.best_params, training.best_params)


def test_bootstrap_interval_is_that_of_the_mean():
    scores = np.random.default_rng(0).normal(100, 20, 400)
    low, high = bootstrap_interval(scores)
    error = 1.96 * scores.std() / 20
    np.testing.assert_allclose([low, high], [scores.mean() - error, scores.mean() + error], atol=0.3)


def test_table_shows_measured_and_published():
    text = table(GAMES["carracing"], "real", {"this agent": summary([10.0, 20.0], [5, 6])})
    assert "15.0" in text and "906" in text


@pytest.mark.parametrize("precision", PRECISIONS)
def test_candidates_that_are_stepped_together_score_as_each_alone(car_run, precision):
    """Three candidates in a batch with rows for five, and then five more: they do not affect each other."""
    world = open_world("real", car_run, scaled("carracing"), 3, precision=precision)
    candidates = np.random.default_rng(0).normal(0, 0.3, (8, world.controller.num_params))
    units = [(params, [10 + k % 2, 20, 30][: 3 - k % 2]) for k, params in enumerate(candidates)]
    assert world.at_once == 5
    together = world.rollouts(units, 25)
    for k in (0, 3, 5, 7):
        (scores, steps), (alone_scores, alone_steps) = together[k], world.rollout(*units[k], 25)
        assert len(scores) == len(alone_scores)
        np.testing.assert_array_equal(scores, alone_scores)
        np.testing.assert_array_equal(steps, alone_steps)
    assert len({tuple(scores) for scores, _ in together}) > 4
    world.close()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_episode_is_the_same_in_whichever_row_it_is_played(doom_run, precision):
    """Six games in two rows: a row whose game is over starts the next one, and `watch` gets the right episode."""
    world = open_world("real", doom_run, scaled("doom"), 2, precision=precision)
    seeds = [5, 19, 11, 12, 20, 0]  # this player dies early in most of these games
    params = np.random.default_rng(0).normal(0, 0.3, world.controller.num_params)
    seen = {}

    def watch(episode, frames, z, actions, rewards, dones):
        for row in np.flatnonzero(episode >= 0):
            seen.setdefault(int(episode[row]), []).append((frames[row].copy(), z[row], actions[row], dones[row]))

    scores, steps = world.rollout(params, seeds, 120, watch=watch)
    assert len(set(steps)) > 3 and [len(seen[e]) for e in range(6)] == steps.tolist()
    for e in (1, 4):
        watched, seen = seen, {}
        alone = world.rollout(params, [seeds[e]], 120, watch=watch)
        assert [part[0] for part in alone] == [scores[e], steps[e]]
        for ours, own in zip(watched[e], seen[0], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, own, strict=True))
        seen = watched
    world.close()


def test_forced_actions_are_played_and_remembered(doom_run):
    """In one of two games C's actions are forced for five steps: before that, and in the other game, nothing changes."""
    world = open_world("real", doom_run, scaled("doom"), 2)
    params = np.random.default_rng(0).normal(0, 0.3, world.controller.num_params)

    def force(episode, t):
        return [-0.9 if t % 2 else 0.9] if episode == 1 and 10 <= t < 15 else [np.nan]

    def played(force):
        actions = {0: [], 1: []}

        def watch(episode, frames, z, acted, rewards, dones):
            for row in np.flatnonzero(episode >= 0):
                actions[episode[row]].append(float(acted[row, 0]))

        world.rollout(params, [0, 1], 60, watch=watch, force=force)
        return actions

    free, forced = played(None), played(force)
    assert forced[0] == free[0] and forced[1][:10] == free[1][:10]
    np.testing.assert_allclose(forced[1][10:15], [0.9, -0.9, 0.9, -0.9, 0.9], rtol=1e-6)
    assert forced[1][15] != free[1][15]
    world.close()


def test_memory_advances_by_the_forced_action(doom_run):
    world = open_world("real", doom_run, scaled("doom"), 2)
    agent, rng = world.agent, np.random.default_rng(0)
    frames, noise = rng.integers(0, 256, (2, 64, 64, 3), np.uint8), rng.normal(size=(2, 64)).astype(np.float32)
    params = rng.normal(0, 0.3, (1, world.controller.num_params)).astype(np.float32)
    begins, forced = np.ones(2, np.float32), np.array([[0.5], [np.nan]], np.float32)
    z, actions, (h, _) = agent.step(params, frames, noise, agent.initial_state(2), begins, forced)
    _, free, (free_h, _) = agent.step(params, frames, noise, agent.initial_state(2), begins)
    assert actions[0, 0] == 0.5 != free[0, 0] and actions[1, 0] == free[1, 0]
    expected, _ = agent.rnn.advance(z, actions, agent.initial_state(2), begins)
    np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(h[0], free_h[0])


def test_memory_is_idle_where_nobody_sees_it(doom_run):
    frames, noise = np.zeros((2, 64, 64, 3), np.uint8), np.ones((2, 64), np.float32)
    moves = {}
    for mode in ("z", "z_hidden", "zh", "zch"):
        world = open_world("real", doom_run, scaled("doom"), 2, mode)
        agent, begins = world.agent, np.ones(2, np.float32)
        params = np.ones((1, world.controller.num_params), np.float32)
        _, _, (h, _) = agent.step(params, frames, noise, agent.initial_state(2), begins)
        moves[mode] = bool(np.any(h))
    assert moves == {"z": False, "z_hidden": False, "zh": True, "zch": True}


def test_an_earlier_worlds_v_and_m_are_freed(doom_run):
    world = open_world("real", str(doom_run), scaled("doom"), 16)
    models = [weakref.ref(model) for model in (world.agent.vae, world.agent.rnn)]
    del world
    open_world("real", str(doom_run), scaled("doom"), 16)
    assert [model() for model in models] == [None, None]
