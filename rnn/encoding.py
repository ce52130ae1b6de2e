"""Encoding a run's recorded frames with V."""

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from world_models.config import UserError, stage_settings
from world_models.env.record import MIRRORED, BadEpisode, linked_name, load_episode
from world_models.job.npz import memory_maps, pack, read_npz
from world_models.job.reading import reading
from world_models.job.rundir import Progress, Stage, digest, read_json, settings_in, write_json
from world_models.vae.frames import fingerprints, recorded
from world_models.vae.vae import load_vae

ENCODE_FRAMES = 250  # of an episode that V is given at once, so that memory stays small
SAVE_EVERY = 20  # episodes between updates of partial.json


def other_v(series_path, vae_path, game_name):
    """The error message for a series that another V made."""
    folder = os.path.dirname(series_path)
    return f"{series_path} was not made by {vae_path}: remove {folder} and run `python -m rnn.series {game_name}`"


def by_parts(function, frames):
    """function(frames), a tuple of arrays, for a few of an episode's frames at a time."""
    parts = [function(frames[i : i + ENCODE_FRAMES]) for i in range(0, len(frames), ENCODE_FRAMES)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def encode(game, args, vae_path, series_path):
    """record/*.npz -> series/series.npz in the run `args.run_dir`. args: those of rnn.series."""
    paths, lengths = recorded(args.run_dir, game, args.skip_bad)
    made_by = digest(vae_path)
    settings = {**fingerprints(paths, lengths), "precision": args.precision, **stage_settings(game, "mirror")}
    with Stage(args.run_dir, "series", settings, args.seed) as stage:
        if os.path.exists(series_path):
            with reading(series_path, "remove it and make it again"):
                before = str(read_npz(series_path, ("vae",))["vae"])
            if before != made_by:
                raise UserError(other_v(series_path, vae_path, game.name))
            print(f"{series_path} is finished")
            return
        _encode_all(game, args, stage, paths, vae_path, made_by)


def _encode_all(game, args, stage, paths, vae_path, made_by):
    """Encode the episodes `paths` and write series.npz. Resumes where a stopped encoding by the same V ended."""
    model = load_vae(vae_path).in_precision(args.precision)
    signature = [tf.TensorSpec((None, 64, 64, 3), tf.uint8)]
    encoder = tf.function(model.encode, input_signature=signature, autograph=False)

    known = _known(args.known, made_by, args.precision, game.mirror) if args.known else {}

    def load(path):
        if os.path.basename(path) in known:
            return None
        try:
            return load_episode(path, game.action_size, game.max_steps)
        except BadEpisode as error:
            if not args.skip_bad:
                raise
            print(f"skipped: {error}", file=sys.stderr)

    def coded(episode):
        mu, logvar = (part.astype(np.float16) for part in by_parts(encoder, episode.obs))
        if not (np.isfinite(mu).all() and np.isfinite(logvar).all()):
            raise UserError(f"{vae_path} makes values that float16 cannot hold: train V again")
        return {"mu": mu, "logvar": logvar, "action": episode.action.astype(np.float16), "reward": episode.reward}

    columns = {
        "mu": ("float16", (model.z_size,)),
        "logvar": ("float16", (model.z_size,)),
        "action": ("float16", (game.action_size,)),
        "reward": ("float32", ()),
    }
    partial = _Partial(stage, columns, made_by)
    progress = Progress(len(paths), "episodes encoded", initial=partial.read)
    left = paths[partial.read :]
    with ThreadPoolExecutor(1) as pool:  # reads the next episode while this one is encoded
        following = pool.submit(load, left[0]) if left else None
        for path, next_path in zip(left, [*left[1:], None], strict=True):
            episode = following.result()
            following = pool.submit(load, next_path) if next_path else None
            name = os.path.basename(path)
            for other in (name, MIRRORED + name):
                if other in known:
                    partial.append(other, *known[other])
            if episode is not None:
                partial.append(name, coded(episode), episode.ended)
                if game.mirror:
                    partial.append(MIRRORED + name, coded(episode.mirrored(game.mirrored_action)), episode.ended)
            partial.note_read()
            progress.add()
    progress.close()
    partial.finish(stage.path("series.npz"))
    stage.log(episodes=len(partial.length), frames=sum(partial.length))
    print(f"{stage.path('series.npz')}: {sum(partial.length)} frames of {len(partial.length)} episodes")


def _known(run_dir, made_by, precision, mirror):
    """{name: ({array name: (T, ...)}, ended)} of the series in `run_dir`. The names are those of linked episodes.

    Empty if the series was made by another V, in another precision, or with other --mirror.
    """
    path = os.path.join(run_dir, "series", "series.npz")
    before = settings_in(os.path.dirname(path))
    if (before.get("precision"), before.get("mirror", False)) != (precision, mirror):
        return {}
    arrays = memory_maps(path)
    if str(arrays["vae"]) != made_by:
        return {}
    ends, run = np.cumsum(arrays["length"]), os.path.basename(os.path.abspath(run_dir))
    flat = {key: arrays[key] for key in ("mu", "logvar", "action", "reward")}
    return {
        linked_name(name, run): ({key: array[end - length : end] for key, array in flat.items()}, bool(ended))
        for name, end, length, ended in zip(arrays["episode"].tolist(), ends, arrays["length"], arrays["ended"], strict=True)
    }


class _Partial:
    """The series so far: raw files to which episodes are appended, and a note (partial.json) of how much of them is valid."""

    def __init__(self, stage, columns, made_by):
        """columns: {array name: (dtype, a frame's shape)}. A note of another V, of other columns or of more is ignored."""
        self.note, self.columns, self.made_by = stage.path("partial.json"), columns, made_by
        form = {"vae": str, "columns": list, "read": int, "length": [int], "ended": [bool], "episode": [str]}
        before = read_json(self.note, form) if os.path.exists(self.note) else {}
        self.files = {name: open(stage.path(f"{name}.partial"), "ab") for name in columns}
        frames = sum(before.get("length", []))
        sizes = {name: np.dtype(dtype).itemsize * math.prod(shape) * frames for name, (dtype, shape) in columns.items()}
        whole = before.get("read", 0) >= 0 and min(before.get("length", ()), default=1) > 0
        whole = whole and all(os.path.getsize(file.name) >= sizes[name] for name, file in self.files.items())
        if before.get("vae") != made_by or before.get("columns") != list(columns) or not whole:
            before, sizes = {"read": 0, "length": [], "ended": [], "episode": []}, dict.fromkeys(columns, 0)
        self.read, self.length, self.ended, self.episode = (before[key] for key in ("read", "length", "ended", "episode"))
        for name, file in self.files.items():
            file.truncate(sizes[name])

    def append(self, name, arrays, ended):
        """Append an episode. arrays: {array name: (T, ...)}; ended: whether the game ended it."""
        for key in self.columns:
            self.files[key].write(arrays[key].tobytes())
        self.length.append(len(arrays["mu"]))
        self.ended.append(ended)
        self.episode.append(name)

    def note_read(self):
        """Count one more recorded file as done. Every SAVE_EVERY files this updates the note."""
        self.read += 1
        if self.read % SAVE_EVERY == 0:
            for file in self.files.values():
                file.flush()
            told = {"length": self.length, "ended": self.ended, "episode": self.episode}
            write_json(self.note, {"vae": self.made_by, "columns": list(self.columns), "read": self.read, **told})

    def finish(self, path):
        """Pack everything into `path` and remove the raw files."""
        if not self.length:
            raise UserError("none of the recorded episodes can be read: record them again")
        for file in self.files.values():
            file.close()
        frames = sum(self.length)
        arrays = {key: (self.files[key].name, dtype, (frames, *shape)) for key, (dtype, shape) in self.columns.items()}
        told = {"length": np.array(self.length, np.int32), "ended": np.array(self.ended, bool), "episode": self.episode}
        pack(path, {**arrays, **told, "vae": self.made_by})
        for leftover in (self.note, *(file.name for file in self.files.values())):
            if os.path.exists(leftover):
                os.remove(leftover)
