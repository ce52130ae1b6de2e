"""Reading and writing the original's files: weights against its equations in NumPy, cloned folders, and broken files."""

import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import LEGACY, make_run, needs_released, run_script

import config
import evaluate
import train
from config import UserError
from controller.agent import load_controller
from controller.controller import Controller, mode_of
from dream.dream import Dream
from job.rundir import digest
from original import arrays as legacy
from original import convert, export
from original.folder import find
from rnn.batches import Series
from rnn.rnn import MDNRNN
from rnn.world_model import load_world_model
from vae.frames import recorded
from vae.vae import ConvVAE

RELEASED = LEGACY / "carracing"
needs_weights = needs_released("carracing", "github.com/hardmaru/WorldModelsExperiments, carracing/rnn, initial_z and log")
GAMES = pytest.mark.parametrize("name", ["carracing", "doom"])
ENCODER = [(4, 4, 3, 32), (4, 4, 32, 64), (4, 4, 64, 128), (4, 4, 128, 256)]
DECODER = [(5, 5, 128, 1024), (5, 5, 64, 128), (6, 6, 32, 64), (6, 6, 3, 32)]  # (h,w,out,in)


@functools.cache
def _vae_integers(z_size=32):
    """Kernels of a size that keeps the layers' outputs near 1, and biases."""
    rng, parts = np.random.default_rng(0), []
    dense = [(1024, z_size), (1024, z_size), (z_size, 1024)]
    for shape, inputs, outputs in (
        *((shape, np.prod(shape[:3]), shape[3]) for shape in ENCODER),
        *((shape, *shape) for shape in dense),
        *((shape, shape[3] * 4, shape[2]) for shape in DECODER),
    ):
        parts.append(rng.normal(0, 10_000 / np.sqrt(inputs), shape).round().astype(int).tolist())
        parts.append(rng.integers(-3000, 3000, outputs).tolist())
    return parts


@functools.cache
def _rnn_integers(name):
    """In each game's own order: the car's file has the output layer first, Doom's the LSTM."""
    shapes = {"carracing": [(256, 480), (480,), (291, 1024), (1024,)], "doom": [(578, 2048), (2048,), (512, 961), (961,)]}
    rng = np.random.default_rng(1)
    return [rng.integers(-2000, 2000, shape).tolist() for shape in shapes[name]]


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


# ---- V


def _conv(x, kernel, bias):
    """A convolution of stride 2 without padding: each output the sum over the patch that it sees."""
    size = kernel.shape[0]
    height = (x.shape[0] - size) // 2 + 1
    out = np.empty((height, height, kernel.shape[3]))
    for i in range(height):
        for j in range(height):
            out[i, j] = np.tensordot(x[2 * i : 2 * i + size, 2 * j : 2 * j + size], kernel, 3) + bias
    return out


def _deconv(x, kernel, bias):
    """Its transpose, kernel (h,w,out,in): each input pixel adds its own patch to the output."""
    size = kernel.shape[0]
    out = np.zeros((2 * (x.shape[0] - 1) + size,) * 2 + (kernel.shape[2],)) + bias
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[2 * i : 2 * i + size, 2 * j : 2 * j + size] += kernel @ x[i, j]
    return out


def test_v_computes_what_the_original_does_with_its_file(tmp_path):
    integers = _vae_integers()
    vae = ConvVAE.from_json(_write(tmp_path / "vae.json", integers))
    weights = [np.array(part) / 10_000 for part in integers]
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    rng = np.random.default_rng(2)
    frame, z = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8), rng.standard_normal(32)

    x = frame / 255
    for kernel, bias in layers[:4]:
        x = np.maximum(_conv(x, kernel, bias), 0)
    for array, (kernel, bias) in zip(vae.encode(frame[None]), layers[4:6], strict=True):
        np.testing.assert_allclose(array[0], x.reshape(-1) @ kernel + bias, atol=1e-4)

    x = (z @ layers[6][0] + layers[6][1]).reshape(1, 1, 1024)
    for kernel, bias in layers[7:]:
        x = _deconv(np.maximum(x, 0) if x.shape[0] > 1 else x, kernel, bias)
    picture = vae.decode(z[None].astype(np.float32))[0].numpy()
    np.testing.assert_allclose(picture, 1 / (1 + np.exp(-x)), atol=1e-4)
    assert picture.std() > 0.05

    vae.save_json(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == integers


def test_v_takes_its_size_from_the_file(tmp_path):
    path = _write(tmp_path / "vae.json", _vae_integers(64))
    assert ConvVAE.from_json(path).z_size == 64
    with pytest.raises(UserError, match=r"vae.json has enc_fc_mu kernel of shape \(1024, 64\), not \(1024, 32\)"):
        ConvVAE(32).load_json(path)


# ---- M


def _lstm(kernel, bias, x, h, c):
    """TensorFlow 1's BasicLSTMCell: gates input, new, forget, output, and 1 added to forget's."""
    i, j, f, o = np.split(np.concatenate([x, h]) @ kernel + bias, 4)

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    return np.tanh(c) * sigmoid(o), c


def _compare(rnn, kernel, bias, steps=200):
    """M's state, and that of the NumPy equations, after random steps."""
    rng = np.random.default_rng(3)
    h, c = np.zeros(rnn.rnn_size), np.zeros(rnn.rnn_size)
    state = rnn.initial_state(1)
    for t in range(steps):
        z, action = rng.standard_normal(rnn.z_size), rng.uniform(-1, 1, rnn.action_size)
        restart = float(t in (0, 120))  # the original zeroes the state where an episode begins
        if rnn.predict_restart and restart:
            h, c = 0 * h, 0 * c
        h, c = _lstm(kernel, bias, np.concatenate([z, action, [restart][: rnn.predict_restart]]), h, c)
        inputs = (tf.constant(part[None], tf.float32) for part in (z, action))
        state = rnn.advance(*inputs, state, tf.constant([restart]))
    np.testing.assert_allclose(state[0][0], h, atol=1e-4)
    np.testing.assert_allclose(state[1][0], c, atol=1e-4)
    return h


@needs_weights
def test_released_m_computes_what_the_original_does(tmp_path):
    integers = json.loads((RELEASED / "rnn.json").read_text())
    output_w, output_b, kernel, bias = (np.array(part) / 10_000 for part in integers)
    rnn = MDNRNN.from_json(RELEASED / "rnn.json")
    assert (rnn.z_size, rnn.action_size, rnn.rnn_size, rnn.predict_restart) == (32, 3, 256, False)
    h = _compare(rnn, kernel, bias)
    params = rnn.head(tf.constant(h[None], tf.float32))
    numbers = (h @ output_w + output_b).reshape(32, 15)
    for ours, theirs in zip(params[:3], np.split(numbers, 3, axis=1), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-4)
    rnn.save_json(tmp_path / "rnn.json")
    assert json.loads((tmp_path / "rnn.json").read_text()) == integers


def test_m_of_doom_has_its_own_order(tmp_path):
    integers = _rnn_integers("doom")
    path = _write(tmp_path / "rnn.json", integers)
    rnn = MDNRNN.from_json(path)
    assert (rnn.z_size, rnn.action_size, rnn.rnn_size, rnn.predict_restart) == (64, 1, 512, True)
    kernel, bias, output_w, output_b = (np.array(part) / 10_000 for part in integers)
    h = _compare(rnn, kernel, bias)
    logit = rnn.head(tf.constant(h[None], tf.float32)).restart_logit[0]
    np.testing.assert_allclose(logit, (h @ output_w + output_b)[0], atol=1e-4)
    rnn.save_json(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == integers
    with pytest.raises(UserError, match=r"rnn.json has output_w of shape \(578, 2048\), not \(256, 480\)"):
        MDNRNN(32, 3, 256).load_json(path)


# ---- C, and all of them together


@needs_weights
def test_released_car_dreams_at_the_published_size_of_z():
    rnn, controller = MDNRNN.from_json(RELEASED / "rnn.json"), Controller("carracing")
    assert controller.load_json(RELEASED / "carracing.cma.16.64.best.json") == pytest.approx(900.460571875)
    mu, logvar = (array / 10_000 for array in legacy.read_arrays(str(RELEASED / "initial_z.json"), ("mu", "logvar")))
    dream = Dream(rnn, (np.float32(mu), np.float32(logvar)), 0.7, 1000, 0.0)
    seeds, params = tf.constant(np.arange(16), tf.uint32), tf.constant(np.tile(controller.params, (16, 1)), tf.float32)
    z, state = dream.start(seeds)
    seen, driven = [], []
    for t in range(500):
        actions = controller.act(z, state, params)
        z, state, *_ = dream.step(z, actions, state, seeds, tf.fill([16], t))
        seen.append(z.numpy()), driven.append(actions.numpy())
    seen, driven = np.array(seen), np.array(driven)
    assert np.isfinite(seen).all()
    # The one encoding that was published, as often as there are dreamed ones: no z is longer, none has a larger number.
    published = np.random.default_rng(0).standard_normal((8_000, 32)) * np.exp(logvar / 2) + mu
    norms, published_norms = np.linalg.norm(seen, axis=2), np.linalg.norm(published, axis=1)
    assert norms.max() < published_norms.max() and np.abs(seen).max() < np.abs(published).max()
    assert 0.5 < norms[250:].mean() / published_norms.mean() < 1.5  # neither does it fade
    assert (driven.std(axis=(0, 1)) > 0.05).all() and seen.std(axis=1).mean() > 0.3  # it drives, and each dream differs


@needs_weights
def test_controllers_are_written_as_they_were_read(tmp_path):
    source, controller = RELEASED / "carracing.cma.16.64.best.json", Controller("carracing")
    controller.save_json(tmp_path / "best.json", controller.load_json(source))
    assert json.loads((tmp_path / "best.json").read_text()) == json.loads(source.read_text())
    controller.save_json(tmp_path / "mean.json")  # the original's log/NAME.json
    assert Controller("carracing").load_json(tmp_path / "mean.json") is None


def test_the_number_of_parameters_tells_the_mode():
    sizes = {"carracing": {867: "zh", 99: "z", 1443: "z_hidden", 1635: "zch"}, "doom": {1088: "zch", 576: "zh", 64: "z"}}
    for name, modes in sizes.items():
        assert {count: mode_of(config.GAMES[name], count) for count in modes} == modes
    with pytest.raises(UserError, match="1088 parameters are those of no controller of carracing"):
        mode_of(config.GAMES["carracing"], 1088)


def _together(parts):
    """As np.array(parts) did for the original: an array of arrays where they differ in length."""
    if len({len(part) for part in parts}) == 1:
        return np.array(parts)
    array = np.empty(len(parts), object)
    array[:] = parts
    return array


def _clone(folder, name):
    """A folder as after cloning the original and running its scripts, with random weights."""
    inside = {what: where[0] for what, where in config.GAMES[name].original.places.items()}
    rng = np.random.default_rng(4)
    game = config.GAMES[name]
    _write(folder / inside["vae"], _vae_integers(game.z_size))
    _write(folder / inside["rnn"], _rnn_integers(name))
    first = [rng.integers(-20_000, 20_000, (5, game.z_size)), rng.integers(-40_000, -30_000, (5, game.z_size))]
    _write(folder / inside["initial_z"], [part.tolist() for part in first])
    params = rng.normal(0, 0.5, Controller(game).num_params).round(4)
    log = config.GAMES[name].original.log + ".cma.16.64"
    _write(folder / f"{log}.best.json", [params.tolist(), 12.5])
    row = [1.0, 0.5, 2.0, 0.4]
    _write(folder / f"{log}.hist.json", [[1, 57, *row, 0.0983, 30.0, 31], [2, 99, *row, 0.07, 30.0, 31]])
    lengths = [30, 30] if name == "carracing" else [20, 35]
    for stage in ("record", "series"):
        (folder / stage).mkdir()
    series = {"action": [], "mu": [], "logvar": []}
    for e, length in enumerate(lengths):
        # Doom's actions have no axis of their own.
        action = rng.uniform(-1, 1, (length, 3) if game.action_size == 3 else (length,)).astype(np.float16)
        obs = rng.integers(0, 256, (length, 64, 64, 3), dtype=np.uint8)
        np.savez_compressed(folder / "record" / f"{900 + e}.npz", obs=obs, action=action)
        series["action"].append(action)
        for what in ("mu", "logvar"):
            series[what].append(rng.standard_normal((length, game.z_size)).astype(np.float16))
    np.savez_compressed(folder / "series" / "series.npz", **{what: _together(parts) for what, parts in series.items()})
    return SimpleNamespace(folder=folder, params=params, log=folder / log, places=inside)


@pytest.fixture(scope="module", params=["carracing", "doom"])
def clone(request, tmp_path_factory):
    """A clone of the original, converted to a run."""
    clone = _clone(tmp_path_factory.mktemp("clone"), request.param)
    clone.game, clone.run = config.GAMES[request.param], tmp_path_factory.mktemp("runs") / "legacy"
    convert.main([clone.game.name, "--legacy", str(clone.folder), "--run-dir", str(clone.run)])
    return clone


def test_a_folder_becomes_a_run_and_is_the_same_when_it_comes_back(clone, tmp_path, capsys):
    game = clone.game
    vae, rnn = load_world_model(str(clone.run), game)
    assert (vae.z_size, rnn.rnn_size) == (game.z_size, game.rnn_size)
    mode, params = load_controller(str(clone.run), game)
    assert mode == game.controller_mode and (params == clone.params).all()
    convert.main([game.name, "--run-dir", str(clone.run), "--export", str(tmp_path / "back")])
    report = capsys.readouterr().out
    files = [path.relative_to(clone.folder) for path in clone.folder.rglob("*.json")]
    assert len(files) == 5
    for file in files:
        assert json.loads((tmp_path / "back" / file).read_text()) == json.loads((clone.folder / file).read_text()), file
        assert str(tmp_path / "back" / file) in report
    assert "not found" in report and "hist_best" in report
    with pytest.raises(UserError, match="exists and is not overwritten"):
        export.export_run(game, str(clone.run), str(tmp_path / "back"))


def _with(stages, run, folder):
    """A run directory with only these stages of `run`: reading and writing V and M as JSON takes seconds."""
    folder.mkdir()
    for stage in stages:
        shutil.copytree(run / stage, folder / stage)
    return str(folder)


def test_recordings_and_series_come_along_and_back(clone, tmp_path):
    game = clone.game
    paths, lengths = recorded(str(clone.run), game)
    series = Series(str(clone.run / "series" / "series.npz"))
    assert [Path(path).name for path in paths] == ["900.npz", "901.npz"] and lengths == series.length.tolist()
    assert series.vae == digest(clone.run / "vae" / "vae.keras")  # the V of the same folder
    export.export_run(game, _with(("record", "series"), clone.run, tmp_path / "run"), str(tmp_path / "back"))
    for file in ("record/900.npz", "record/901.npz", "series/series.npz"):
        theirs, ours = (np.load(folder / file, allow_pickle=True) for folder in (clone.folder, tmp_path / "back"))
        with theirs, ours:
            for name in theirs.files:
                assert ours[name].dtype == theirs[name].dtype and ours[name].shape == theirs[name].shape
                for mine, other in zip(ours[name], theirs[name], strict=True):
                    np.testing.assert_array_equal(mine, other)
    assert sorted(path.name for path in (tmp_path / "back" / "record").iterdir()) == ["900.npz", "901.npz"]


def test_the_real_world_is_seen_as_the_original_saw_it(clone, tmp_path):
    report = tmp_path / "scores.json"
    options = ("--run-dir", clone.run, "--episodes", 2, "--max-steps", 30, "--json", report)  # it is converted already
    evaluate.main([*map(str, (clone.game.name, "--legacy", clone.folder, *options)), "-n", "1"])
    result = json.loads(report.read_text())
    assert result["preprocess"] == "legacy" and result.get("look", "v0") == "v0" and len(result["scores"]) == 2


def test_evolution_goes_on_from_the_released_controller(clone, tmp_path):
    run = Path(_with(("vae", "rnn"), clone.run, tmp_path / "run"))  # train.py converts C and its history
    train.main([clone.game.name, "--scale", "smoke", "--legacy", str(clone.folder), "--run-dir", str(run), "-n", "1"])
    settings = json.loads((run / "controller" / "config.json").read_text())["settings"]
    assert settings["controller_sigma_init"] == 0.07  # the last of its history
    best = np.array(json.loads((run / "controller" / "best.json").read_text())[0])
    moved = np.abs(best - clone.params)
    assert 0 < moved.mean() < 0.1 < np.abs(clone.params).mean()
    assert (load_controller(str(run), clone.game)[1] == best).all()  # from now on the run's own
    assert (load_controller(str(run), clone.game, "legacy")[1] == clone.params).all()


def test_a_run_of_something_else_is_left_alone(clone, tmp_path):
    other = make_run(tmp_path / "other", clone.game.name)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="vae was not made of the files that .* choose another --run-dir"):
        convert.import_folder(clone.game, str(clone.folder), str(other))
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_several_controllers_are_told_apart(clone, tmp_path):
    folder, run = tmp_path / "clone", _with(("rnn",), clone.run, tmp_path / "run")
    shutil.copytree(clone.folder / "log", folder / "log")
    second = folder / "log" / "second.best.json"
    _write(second, [(clone.params + 1).round(4).tolist(), 3.0])
    with pytest.raises(UserError, match="several controllers: give one of .*second.best.json"):
        convert.import_folder(clone.game, str(folder), run)
    convert.main([clone.game.name, "--legacy", str(folder), "--run-dir", run, "--controller", str(second)])
    np.testing.assert_allclose(load_controller(run, clone.game)[1], clone.params + 1)


# ---- files that are broken


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda parts: parts[:3], "has 3 arrays, not the 4 of the original"),
        (lambda parts: {"a": 1}, "cannot be read as JSON .it has text"),
        (lambda parts: [parts[0], [0.5, *parts[1][1:]], *parts[2:]], "has 0.5 in array 2, where the original has integers"),
        (lambda parts: [parts[0], [float("nan"), *parts[1][1:]], *parts[2:]], "has nan in array 2"),
        (lambda parts: [parts[0], ["a", *parts[1][1:]], *parts[2:]], "cannot be read as JSON .it has text"),
        (lambda parts: [parts[0], [None, *parts[1][1:]], *parts[2:]], "has an array array 2 that is not made of integers"),
        (lambda parts: None, "has null, not the 4"),
        (lambda parts: [parts[0][:-1] + [[1]], *parts[1:]], "has an array array 1 whose rows differ in length"),
        (lambda parts: [*parts[:3], parts[3][:-4]], r"has lstm bias of shape \(1020,\), not \(1024,\)"),
        (lambda parts: [parts[0], parts[1], [row[:-4] for row in parts[2]], parts[3]], r"has lstm kernel of shape"),
        (lambda parts: [parts[0], parts[1], parts[2][:200], parts[3]], "has arrays that make no LSTM"),
    ],
)
def test_broken_weights_are_named(tmp_path, change, sentence):
    path = _write(tmp_path / "rnn.json", change(_rnn_integers("carracing")))
    with pytest.raises(UserError, match="rnn.json " + sentence):
        MDNRNN.from_json(path)


def test_truncated_and_missing_files_are_named(tmp_path):
    path = tmp_path / "rnn" / "rnn.json"
    with pytest.raises(UserError, match="rnn.json does not exist"):
        MDNRNN.from_json(path)
    path = _write(path, _rnn_integers("carracing"))
    Path(path).write_text(Path(path).read_text()[:-100])
    with pytest.raises(UserError, match="rnn.json cannot be read as JSON"):
        MDNRNN.from_json(path)
    for arguments, word in [
        (("carracing", "--legacy", tmp_path), "rnn.json cannot be read as JSON"),
        (("carracing", "--legacy", tmp_path / "nowhere"), "nowhere is not a folder"),
        (("carracing", "--export", tmp_path / "out"), "has nothing to export"),
        (("carracing",), "give --legacy DIR"),
        (("carracing", "--controller", "x"), "give that too"),
    ]:
        with pytest.raises(UserError, match=word):
            convert.main([*map(str, arguments), "--run-dir", str(tmp_path / "run")])
    done = run_script("-m", "original.convert", "carracing", "--legacy", tmp_path, "--run-dir", tmp_path / "run", check=False)
    assert done.returncode == 2 and "rnn.json cannot be read" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [[], [[1.0, "a"]], [[1.0, float("nan")], 3], {"params": [1.0]}, [[[1.0]], 2]])
def test_broken_controllers_are_named(tmp_path, value):
    with pytest.raises(UserError, match=r"best.json is not \[parameters, score\]"):
        Controller("carracing").load_json(_write(tmp_path / "best.json", value))


def test_a_controller_of_another_size_is_named(tmp_path):
    with pytest.raises(UserError, match=r"best.json: the controller's parameters have shape \(1088,\), not \(867,\)"):
        Controller("carracing").load_json(_write(tmp_path / "best.json", [[0.5] * 1088, 1.0]))


def test_the_other_game_is_named(tmp_path):
    _write(tmp_path / "clone" / "rnn.json", _rnn_integers("doom"))
    with pytest.raises(UserError, match="rnn.json is not of carracing: .* try doom"):
        convert.import_folder(config.GAMES["carracing"], str(tmp_path / "clone"), str(tmp_path / "run"))


@needs_weights
def test_step_size_is_that_of_the_authors_log():
    """For 25 generations it depends on the adaptation rule, and hardly on the fitness."""
    from controller.evolution import Evolution

    published = np.array(json.loads((RELEASED / "carracing.cma.16.64.hist.json").read_text()))[:25, 6]
    search, rng, values = Evolution(np.zeros(867), 64, 0.1, seed=0), np.random.default_rng(0), []
    for _ in published:
        search.tell(search.ask(), rng.normal(size=64))
        values.append(search.rms_stdev)
    np.testing.assert_allclose(values, published, rtol=5e-3)


def test_a_controller_that_is_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match="none.best.json, which is no file"):
        find(config.GAMES["carracing"], str(tmp_path), str(tmp_path / "none.best.json"))
