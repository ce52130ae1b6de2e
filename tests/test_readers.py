"""Damaged and hostile files, made by hypothesis from good ones: each reader reads one, or says in a sentence what is wrong.

As a part of the tests each reader gets a few. For 10,000 each, with counts of what was read and refused (hours):

    python -m pytest tests/test_readers.py --hypothesis-profile=long -rP
"""

import argparse
import io
import json
import resource
import zipfile
from typing import NamedTuple

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import GAMES, UserError, stage_settings
from controller.controller import read_params
from controller.evolution import Evolution
from controller.state import load_state, save_state
from env.record import load_episode, save_episode
from history import read_history
from job.npz import pack
from job.rundir import Stage, read_log, read_rounds, settings_in, world_keywords
from job.training import Adam, Checkpoints
from rnn.batches import Series
from rnn.encoding import _Partial
from rnn.rnn import MDNRNN, load_rnn
from rnn.world_model import load_beginnings, load_initial_z
from vae.frames import episode_length
from vae.vae import ConvVAE, load_vae

GAME = GAMES["pendulum"]
COLUMNS = {"mu": ("float16", (3,)), "reward": ("float32", ())}
RANDOM = np.random.default_rng(0)


class Reader(NamedTuple):
    path: str  # of the file, in a run directory
    write: object  # write(path), a good one
    read: object  # read(run directory, path)


def _episode(path):
    save_episode(path, RANDOM.integers(0, 256, (3, 64, 64, 3)), np.ones((3, 1)), np.zeros(3), [False, False, True])


def _series(path):
    numbers = {
        name: RANDOM.normal(size=(7, width)).astype(np.float16) for name, width in (("mu", 3), ("logvar", 3), ("action", 1))
    }
    lengths = {"length": np.array([3, 4], np.int32), "ended": np.array([True, False])}
    pack(path, {**numbers, "reward": np.zeros(7, np.float32), **lengths, "episode": ["a", "b"], "vae": "0" * 64})


def _stacked(path):
    z, action = (RANDOM.normal(size=(2, 4, width)).astype(np.float16) for width in (3, 1))
    np.savez_compressed(path, mu=z, logvar=z, action=action)


def _pickled(path):
    def parts(*width):
        whole = np.empty(2, object)
        whole[:] = [RANDOM.normal(size=(length, *width)).astype(np.float16) for length in (3, 4)]
        return whole

    np.savez_compressed(path, mu=parts(3), logvar=parts(3), action=parts())


def _json(value):
    return lambda path: path.write_text(json.dumps(value))


def _rows(*rows):
    return lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _config(folder, path):
    world_keywords(GAME, argparse.Namespace(**dict.fromkeys(GAME.options)), folder)
    with Stage(folder, "controller", stage_settings(GAME, "controller"), 0):
        pass
    assert settings_in(path.parent)


def _partial(folder, path):
    with Stage(folder, "series", {}, 0) as stage:
        for file in _Partial(stage, COLUMNS, "v").files.values():
            file.close()


def _search():
    return Evolution(np.zeros(3), 4, 0.1, 0)


def _search_state(path):
    search = _search()
    for _ in range(2):
        candidates = search.ask()
        search.tell(candidates, -np.square(candidates).sum(1))
    save_state(str(path), search, {"history": []})


def _memory():
    keras.utils.set_random_seed(0)
    return MDNRNN(3, 1, 4, 2, predict_reward=True)


def _trained():
    model = _memory()
    model.compile(optimizer=Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model


def _vision():
    keras.utils.set_random_seed(0)
    return ConvVAE(2, channels=1)


def _beginnings(path):
    pack(path, {name: np.zeros((4, size), np.float32) for name, size in (("mu", 3), ("logvar", 3), ("h", 4), ("c", 4))})


ROUND = dict.fromkeys(("real_frames", "dream", "real", "real_low", "real_high", "validation", "hours"), 1.5)
READERS = {
    "episode": Reader("record/000000.npz", _episode, lambda _, path: load_episode(path, 1, 200)),
    "episode's length": Reader("record/000000.npz", _episode, lambda _, path: episode_length(path, 1)),
    "series": Reader("series/series.npz", _series, lambda _, path: Series(path)),
    "original's series": Reader("series/series.npz", _stacked, lambda _, path: Series(path)),
    "original's pickled series": Reader("series/series.npz", _pickled, lambda _, path: Series(path)),
    "partial series": Reader(
        "series/partial.json",
        _json({"vae": "v", "columns": list(COLUMNS), "read": 1, "length": [2], "ended": [True], "episode": ["a"]}),
        _partial,
    ),
    "settings": Reader(
        "controller/config.json", _json({"settings": stage_settings(GAME, "controller") | {"seed": 0}}), _config
    ),
    "controller": Reader("controller/best.json", _json([[0.5, -1.0, 2.0], 3.5]), lambda _, path: read_params(path)),
    "history": Reader("controller/hist.json", _json([[1, 2, 3.5, 1, 2, 3, 0.1, 5, 6]] * 2), lambda _, path: read_history(path)),
    "evaluations": Reader(
        "controller/hist_best.json",
        _json([[25, 9, "improvement", 1.5, "curr", 2, "prev", 0.5, "best", 2]]),
        lambda _, path: read_history(path),
    ),
    "search": Reader("controller/checkpoint.npz", _search_state, lambda _, path: load_state(str(path), _search())),
    "log": Reader(
        "vae/log.jsonl", _rows({"epoch": 1, "val_loss": 2.5}, {"time": 1}), lambda _, path: read_log(path.parent, "epoch")
    ),
    "rounds": Reader("rounds/rounds.jsonl", _rows(ROUND | {"round": 1}, ROUND | {"round": 2}), lambda run, _: read_rounds(run)),
    "first frames": Reader(
        "rnn/initial_z.json", _json([[[1, 2, 3], [4, 5, 6]]] * 2), lambda run, _: load_initial_z(run, GAME, 3)
    ),
    "beginnings": Reader("rnn/beginnings.npz", _beginnings, lambda run, _: load_beginnings(run, GAME, _memory())),
    "V": Reader("vae/vae.keras", lambda path: _vision().save(path), lambda _, path: load_vae(str(path))),
    "M": Reader("rnn/rnn.keras", lambda path: _memory().save(path), lambda _, path: load_rnn(str(path))),
    "checkpoint of M": Reader(
        "rnn/checkpoint-000003.weights.h5",
        lambda path: _trained().save_weights(path),
        lambda _, path: Checkpoints(path.parent).restore(_trained()),
    ),
    "original's V": Reader("vae.json", lambda path: _vision().save_json(path), lambda _, path: ConvVAE.from_json(path)),
    "original's M": Reader(
        "rnn.json", lambda path: MDNRNN(3, 1, 4, 2).save_json(path), lambda _, path: MDNRNN.from_json(path, num_mixture=2)
    ),
}
ODD = ("null", "{}", "[]", "[[]]", "[[1],[1,2]]", '"x"', '"1"', "NaN", "-Infinity", "-1", "0", "1.5", "1e400", "9" * 400)
ODD += ("9" * 5000, "true", "[" * 5000 + "]" * 5000, '{"settings": null}', '"' + "x" * 5000 + '"', "123456789")
ARRAYS = (
    *(np.zeros((), kind) for kind in ("f4", "i8", "U3", "?", "M8[s]")),
    *(
        np.zeros(shape, kind)
        for shape in ((0,), (2,), (3, 1), (2, 3), (7,), (2, 4, 3))
        for kind in ("f2", "f4", "i8", "?", "U2", "c16")
    ),
    np.full((7, 3), np.nan, np.float16),
    np.full((7, 3), np.inf, np.float32),
    np.zeros((40, 2000, 3), np.float32),  # zip makes little of it
    np.array([None, {}], object),
    np.zeros(3, [("a", "f4"), ("b", "i2")]),
)


@st.composite
def damaged(draw, content):
    """`content` (bytes) with a few spans cut, doubled, or overwritten."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from((1, 1, 4, 64, len(content))))
        new = draw(st.sampled_from((b"", b"\0", b"\xff", b"\x80\0\0\0\x7f", content[at : at + length] * 2, None)))
        if new is None:
            new = bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) if content else b"?"
            length = 1
        content = content[:at] + new + content[at + length :]
    return content


@st.composite
def odd_json(draw, content):
    """JSON `content` with a part that is of another kind, or is missing."""
    value = json.loads(content)
    places = [(None, None)]
    waiting = [value]
    while waiting and len(places) < 300:
        part = waiting.pop(0)
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, below in inner:
            places.append((part, key))
            waiting.append(below)
    part, key = draw(st.sampled_from(places))
    odd = draw(st.sampled_from((None, *ODD)))
    if part is None:
        return (odd or "").encode()
    if odd is None:
        del part[key]
        return json.dumps(value).encode()
    part[key] = "@odd@"
    return json.dumps(value).replace('"@odd@"', odd).encode()


@st.composite
def odd_zip(draw, content):
    """A zip with the members of `content`, of which one is missing, damaged, another array, odd JSON, or promises too much."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    how = draw(st.sampled_from(("missing", "damaged", "other", "more", "same")))
    if how == "missing":
        del members[name]
    elif how == "damaged":
        members[name] = draw(damaged(members[name]))
    elif how == "other" and name.endswith(".json"):
        members[name] = draw(odd_json(members[name]))
    elif how == "other":
        buffer = io.BytesIO()
        np.save(buffer, draw(st.sampled_from(ARRAYS)), allow_pickle=True)
        members[name] = buffer.getvalue()
    elif how == "more":
        members[name] = members[name].replace(
            b"'shape': (", b"'shape': (%d, " % draw(st.sampled_from((-1, 0, 2, 10**6, 10**12)))
        )
    methods = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", draw(st.sampled_from(methods))) as archive:
        for member, inside in members.items():
            archive.writestr(member, inside)
    return made.getvalue()


def _ways(path, content):
    ways = [damaged(content)]
    if path.endswith((".npz", ".keras")):
        ways.append(odd_zip(content))
    if path.endswith(".json"):
        ways.append(odd_json(content))
    if path.endswith(".jsonl"):
        ways.append(odd_json(content.splitlines()[0]).map(lambda line: line + b"\n"))
    return st.one_of(*ways)


@pytest.mark.parametrize("name", READERS)
def test_a_bad_file_is_one_sentence(name, tmp_path):
    reader = READERS[name]
    path = tmp_path / reader.path
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.write(path)
    reader.read(tmp_path, path)  # the good one
    reader.write(path)
    counts = {"read": 0, "refused": 0}

    @given(_ways(reader.path, path.read_bytes()))
    def each(content):
        path.write_bytes(content)
        before = _most_memory()
        try:
            reader.read(tmp_path, path)
        except UserError as error:
            counts["refused"] += 1
            message = str(error).replace(str(tmp_path), "RUN")
            assert reader.path.split("/")[0] in message and "\n" not in message and len(message) < 300, message
        else:
            counts["read"] += 1
        assert _most_memory() - before < 2**20, "it took more than 1 GiB"

    each()
    print(f"{name}: {counts['read']} read, {counts['refused']} refused")


def _most_memory():
    """The most KiB that this process has had. Of each model that Keras loads it keeps some."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", ["mu", "length"])
def test_a_series_with_a_number_in_place_of_an_array_is_refused(name, tmp_path):
    path = str(tmp_path / "series.npz")
    _series(path)
    with np.load(path) as file:
        pack(path, {**file, name: np.float32(0)})
    with pytest.raises(UserError, match="series.npz has"):
        Series(path)
