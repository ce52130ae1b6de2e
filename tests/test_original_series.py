"""The original's recordings and series.npz are read, no pickle is executed, and its code reads our recordings."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from conftest import make_run

import config
import extract
import rnn.series
import rnn.train
import vae.train
from config import UserError
from original.series import made_here, read_series

GAMES = ["carracing", "doom"]
SIZES = {"carracing": (32, 3), "doom": (64, 1)}  # Z, A
LENGTHS = {"carracing": [30] * 5, "doom": [40, 35, 60, 30, 20]}


def as_objects(parts):
    """What np.array(parts) was before NumPy 1.24 for arrays of different lengths."""
    array = np.empty(len(parts), object)
    array[:] = parts
    return array


def episodes(game):
    """{array: one float16 array for each episode} as the original's series.py has them: Doom's action is (T,)."""
    rng, (z, a) = np.random.default_rng(0), SIZES[game]
    width = {"mu": (z,), "logvar": (z,), "action": (a,) if game == "carracing" else ()}
    return {name: [rng.normal(size=(t, *w)).astype(np.float16) for t in LENGTHS[game]] for name, w in width.items()}


def write(path, game="doom", **other):
    """The series.npz that the original's series.py of `game` writes, with `other` replacing its arrays."""
    made = {name: np.array(p) if game == "carracing" else as_objects(p) for name, p in episodes(game).items()}
    arrays = {**made, **other}
    os.makedirs(path.parent, exist_ok=True)
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def write_pickle(path, name, stream):
    """Like `write` for Doom, with the pickle `stream` (bytes) as the data of the array `name`."""
    write(path, **{name: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{name}.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (5,)})
        file.write(stream)
    return str(path)


def check(series, game):
    z, a = SIZES[game]
    assert series["length"].dtype == np.int32 and series["length"].tolist() == LENGTHS[game]
    for name, width in (("mu", z), ("logvar", z), ("action", a)):
        assert series[name].dtype == np.float16 and series[name].flags.c_contiguous
        expected = np.concatenate(episodes(game)[name]).reshape(-1, width)
        np.testing.assert_array_equal(series[name], expected)


@pytest.mark.parametrize("game", GAMES)
def test_the_originals_series_is_read(tmp_path, game):
    path = write(tmp_path / "series.npz", game)
    assert not made_here(path)
    check(read_series(path), game)


class Python2(pickle._Pickler):
    """Pickles bytes as Python 2 pickled its str."""

    def save_bytes(self, value):
        self.write(b"T" + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}


@pytest.mark.parametrize("pickler, protocol", [(Python2, 2), (pickle._Pickler, 2), (pickle._Pickler, 3), (pickle._Pickler, 4)])
def test_pickles_of_old_and_new_numpy_are_read(tmp_path, pickler, protocol):
    class Old(pickler):
        def save_global(self, value, name=None):
            module = getattr(value, "__module__", "")
            if protocol < 4 and module == "numpy._core.multiarray":
                self.write(b"cnumpy.core.multiarray\n" + value.__name__.encode() + b"\n")
                self.memoize(value)
            else:
                super().save_global(value, name)

        dispatch = {**pickler.dispatch, type(np.array): save_global}

    path = tmp_path / "stream"
    with open(path, "wb") as file:
        Old(file, protocol).dump(as_objects(episodes("doom")["mu"]))
    check(read_series(write_pickle(tmp_path / "series.npz", "mu", path.read_bytes())), "doom")


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_conversion_that_is_advised_is_read(tmp_path, game, save):
    parts = episodes(game)
    length = [len(part) for part in parts["mu"]]
    save(tmp_path / "flat.npz", **{name: np.concatenate(part) for name, part in parts.items()}, length=length)
    check(read_series(str(tmp_path / "flat.npz")), game)


class Call:
    """Pickles as the call function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "series.npz"
    calls = [Call(open, str(marker), "w"), Call(os.system, f"touch {marker}"), Call(eval, f"open({str(marker)!r}, 'w')")]
    good = episodes("doom")["mu"][1:]
    for call in calls:
        for value in (call, as_objects([call, *good]), as_objects([as_objects([call]), *good]), [*good, {"a": (call,)}]):
            for protocol in (0, 2, 4):
                stream = pickle.dumps(value, protocol)
                write_pickle(path, "mu", stream)
                with pytest.raises(UserError, match=r"series.npz has a pickled array mu .*it names \w+\.\w+.*np.savez\(new"):
                    read_series(str(path))
                assert not marker.exists()
        pickle.loads(stream)  # it would have worked
        assert marker.exists()
        marker.unlink()


def test_a_pickle_with_forged_pointers_is_refused(tmp_path):
    """Uses only NumPy's own names: its dtype claims that its field is not of objects, so bytes would become pointers."""
    forged = Call(np.dtype, "V8", False, True).call
    dtype = type("", (), {"__reduce__": lambda self: (*forged, (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))})()
    start = np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b")
    array = type("", (), {"__reduce__": lambda self: (*start, (1, (1,), dtype, False, b"A" * 8))})()
    trusting = pickle.loads(pickle.dumps(array))
    assert trusting.dtype["a"].hasobject and not trusting.dtype.hasobject  # reading trusting["a"][0] would crash
    path = write_pickle(tmp_path / "series.npz", "mu", pickle.dumps(as_objects([array] * 5)))
    with pytest.raises(UserError, match=r"series.npz has a pickled array mu .*it has an array of \|V8"):
        read_series(path)


def _changed(name, change):
    parts = episodes("doom")[name]
    return {name: as_objects([change(parts[0]), *parts[1:]])}


BROKEN = {
    "missing": ({"logvar": None}, "has no array logvar"),
    "empty": ({"mu": np.array([])}, r"mu of shape \(0,\)"),
    "no episodes": ({"mu": as_objects([])}, "mu of no episodes"),
    "empty episode": (_changed("mu", lambda part: part[:0]), r"mu .*number 0, that is empty .*\(0, 64\)"),
    "shorter episode": (_changed("action", lambda part: part[1:]), "do not fit together"),
    "other width": (_changed("logvar", lambda part: part[:, 1:]), r"logvar .*number 1, .*unlike the first: \(35, 64\)"),
    "other widths": ({"logvar": as_objects([p[:, 1:] for p in episodes("doom")["logvar"]])}, "do not fit together"),
    "one axis": (_changed("mu", lambda part: part[:, 0]), r"mu .*number 0, .*\(40,\)"),
    "nan": (_changed("mu", lambda part: part * np.nan), "mu with values that are not finite"),
    "infinite": (_changed("logvar", lambda part: part - np.inf), "logvar with values that are not finite"),
    "too large": (_changed("mu", lambda part: part.astype(float) + 1e6), "mu with values .*float16 cannot hold"),
    "strings": ({"mu": np.array([["a", "b"]])}, "mu of <U1, not of numbers"),
    "strings in pickles": (_changed("mu", lambda part: part.astype(str)), r"pickled array mu .*an array of <U\d"),
    "objects": (_changed("mu", lambda part: part.astype(object)), r"pickled array mu .*an array of \|O"),
    "text": ({"mu": as_objects(["hello", *episodes("doom")["mu"][1:]])}, "pickled array mu .*it has 'hello'"),
    "flat": ({name: np.concatenate(p) for name, p in episodes("doom").items()}, r"\(185, 64\), not .* with an array length"),
    "length": ({"length": np.array([185]), "mu": np.concatenate(episodes("doom")["mu"])}, "do not fit together"),
    "no length": ({"length": np.array([200, -15])}, r"length of int64 \(2,\)"),
    "wrong length": ({"length": np.array([9]), "mu": np.concatenate(episodes("doom")["mu"])}, "mu of 185 frames.* length of 9"),
}


@pytest.mark.parametrize("arrays, sentence", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, arrays, sentence):
    path = write(tmp_path / "series.npz", **arrays)
    with pytest.raises(UserError, match=f"series.npz .*{sentence}") as raised:
        read_series(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["truncated", "in the middle", "pickle cut short"])
def test_damaged_files_are_named(tmp_path, damage):
    path = write(tmp_path / "series.npz")
    if damage == "truncated":
        os.truncate(path, os.path.getsize(path) // 2)
    elif damage == "in the middle":
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(b"\xff" * 200)
    else:
        write_pickle(tmp_path / "series.npz", "mu", pickle.dumps(as_objects(episodes("doom")["mu"]))[:-9])
    with pytest.raises(UserError, match="series.npz (cannot be read|has a pickled array mu .*truncated)"):
        read_series(path)


def record_as_the_original(folder, game):
    """record/ with five files named as extract.py names them, by random integers."""
    os.makedirs(folder / "record")
    rng = np.random.default_rng(1)
    for length, action in zip(LENGTHS[game], episodes(game)["action"], strict=True):
        frames = [np.full((64, 64, 3), rng.integers(0, 256), np.uint8) for _ in range(length)]
        name = f"{rng.integers(2**31 - 1)}.npz"
        actions = np.array(list(np.clip(action, -1, 1)), dtype=np.float16)
        np.savez_compressed(folder / "record" / name, obs=np.array(frames, dtype=np.uint8), action=actions)


@pytest.mark.parametrize("game", GAMES)
def test_v_is_trained_on_the_originals_recordings_and_encodes_them(tmp_path, game):
    record_as_the_original(tmp_path, game)
    options = [game, "--scale", "smoke", "--run-dir", str(tmp_path), "--threads", "1"]
    vae.train.main([*options, "--batch-size", "50", "--epochs", "1"])
    rnn.series.main(options)
    with np.load(tmp_path / "series" / "series.npz") as series:
        names = sorted(os.listdir(tmp_path / "record"))
        assert series["episode"].tolist() == names
        actions = [np.load(tmp_path / "record" / name)["action"].reshape(-1, SIZES[game][1]) for name in names]
        np.testing.assert_array_equal(series["action"], np.concatenate(actions))
        assert series["mu"].shape == (sum(LENGTHS[game]), SIZES[game][0])


@pytest.mark.parametrize("game", GAMES)
def test_m_is_trained_on_the_originals_series_without_v(tmp_path, game, capsys):
    path = write(tmp_path / "series" / "series.npz", game)
    options = [game, "--scale", "smoke", "--run-dir", str(tmp_path), "--threads", "1"]
    rnn.train.main([*options, "--rnn-size", "16", "--seq-len", "25", "--epochs", "1"])
    said = capsys.readouterr().out.splitlines()
    assert sum(path in line and "does not say which V made it" in line for line in said) == 1
    rows = [json.loads(line) for line in (tmp_path / "rnn" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["val_nll"]) for row in rows if "loss" in row)  # the fifth episode is held out
    first, _ = json.loads((tmp_path / "rnn" / "initial_z.json").read_text())
    expected = [np.trunc(part[0].astype(float) * 10_000) for part in episodes(game)["mu"][:4]]
    np.testing.assert_array_equal(first, expected)

    mu = [part + np.float16(1) for part in episodes(game)["mu"]]
    write(tmp_path / "series" / "series.npz", game, mu=np.array(mu) if game == "carracing" else as_objects(mu))
    with pytest.raises(UserError, match="was made with vae=unknown, of mu .*, not unknown"):
        rnn.train.main([*options, "--rnn-size", "16", "--seq-len", "25", "--epochs", "1"])


@pytest.mark.parametrize("game", GAMES)
def test_the_originals_series_is_never_overwritten(tmp_path, game):
    make_run(tmp_path, game)
    record_as_the_original(tmp_path, game)
    path = write(tmp_path / "series" / "series.npz", game)
    before = open(path, "rb").read()
    with pytest.raises(UserError, match=f"was not made by this command: `python -m rnn.train {game}` reads it"):
        rnn.series.main([game, "--run-dir", str(tmp_path)])
    assert open(path, "rb").read() == before and os.listdir(tmp_path / "series") == ["series.npz"]


@pytest.mark.parametrize("game", GAMES)
def test_our_recordings_are_read_by_the_originals_code(tmp_path, game):
    """Loading as in its vae_train.py and series.py, and the use of an action in Doom's rnn_train.py."""
    extract.main([game, "--scale", "smoke", "--episodes", "1", "--run-dir", str(tmp_path), "-n", "1"])
    (name,) = [name for name in os.listdir(tmp_path / "record") if name.endswith(".npz")]
    raw = np.load(tmp_path / "record" / name)
    obs, action = raw["obs"], raw["action"]
    assert obs.dtype == np.uint8 and obs.shape[1:] == (64, 64, 3) and obs.std() > 1
    assert action.dtype == np.float16 and action.shape == (len(obs), config.GAMES[game].action_size)
    data = np.zeros((len(obs) + 5, 64, 64, 3), np.uint8)
    data[: len(obs)] = obs
    np.testing.assert_array_equal(data[: len(obs)].astype(float) / 255.0, obs / 255)
    if game == "doom":
        flat = np.zeros(len(action), np.float16)
        flat[:] = action.reshape(len(action))
        assert 0 < np.abs(flat).max() <= 1
