"""Recorded frames as a stream of shuffled batches, in constant memory for any number of episodes."""

import hashlib
import json
import math
import os
import sys
import zipfile

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.env.record import BadEpisode, checksums, in_a_pass, list_episodes, load_episode, reading_episode
from world_models.job.npz import npy_header
from world_models.job.rundir import need
from world_models.job.training import generated

FRAME_SHAPE = (64, 64, 3)
BUFFER_FRAMES = 8192  # 100 MB: mixes eight episodes of 1000 frames
SHARD_EPISODES = 100  # a checkpoint is written after each; 100,000 frames take a few minutes
HELD_OUT_EPISODES, HELD_OUT_FRAMES = 40, 2000


def recorded(run_dir, game, skip_bad=False):
    """(paths, lengths in frames) of the episodes in `run_dir`/record, checked quickly, by their headers alone.

    Raises UserError where there are none, and BadEpisode for a file that is no episode, which `skip_bad` prints and skips.
    """
    folder = f"{run_dir}/record"
    paths = list_episodes(folder) or [need(run_dir, "record", "000000.npz", game.name)]
    good = {}
    for path in paths:
        try:
            good[path] = episode_length(path, game.action_size)
        except BadEpisode as error:
            _skip(error, skip_bad)
    if not good:
        raise UserError(f"{folder} has no good episode: remove its files and run `python extract.py {game.name}` again")
    return list(good), list(good.values())


def episode_length(path, action_size):
    """T of the episode in `path`, from its zip directory and array headers. Raises BadEpisode."""
    with reading_episode(path), zipfile.ZipFile(path) as archive:
        (obs, obs_type), (action, _) = (_header(archive, name) for name in ("obs", "action"))
    if len(action) == action_size == 1:  # as the original records one number
        action = (*action, 1)
    if len(action) != 2 or action[1] != action_size or action[0] == 0:
        raise BadEpisode(path, f"has actions of shape {action}, not (T, {action_size})")
    if obs_type != np.uint8 or obs != (action[0], *FRAME_SHAPE):
        raise BadEpisode(path, f"has obs of {obs_type} {obs}, not uint8 {(action[0], *FRAME_SHAPE)}")
    return action[0]


def _header(archive, name):
    """(shape, dtype) of an array in an open npz."""
    with archive.open(name + ".npy") as file:
        shape, _, dtype = npy_header(file)
    return shape, dtype


def fingerprints(paths, lengths):
    """{setting: a short text} that identify a set of episodes by their names and lengths, and by their contents."""
    names = [path.rpartition("/")[2] for path in paths]
    contents = [checksums(path) for path in paths]
    return {"episodes": f"{len(paths)} ({_short([names, lengths])})", "contents": _short(contents)}


def _short(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


def shards(paths, seed, epoch, half_new=False):
    """Indices of those of the episodes `paths` that this epoch takes, in its random order, in arrays of nearly equal size."""
    order = in_a_pass([os.path.basename(path) for path in paths], half_new, np.random.default_rng([seed, epoch]))
    return np.array_split(order, math.ceil(len(order) / SHARD_EPISODES))


class FrameStream:
    """`updates` batches (B,64,64,3) uint8 of the frames of the episodes `paths`, in this order but mixed by a shuffle buffer.

    Each new batch replaces random frames of the buffer, which are the next output. With updates = frames // batch each frame
    comes once, except for a last incomplete batch; frames of a skipped episode are replaced by repeating others. With `mirror`,
    `rng` turns half of the frames into mirror images. The output depends only on `rng`, a NumPy Generator, and the files.

    A BadEpisode that is not skipped is also stored in `error`, because `dataset` raises TensorFlow's own exception.
    """

    def __init__(self, paths, action_size, batch, updates, rng, skip_bad=False, mirror=False, buffer_frames=BUFFER_FRAMES):
        self.paths, self.action_size, self.batch, self.updates = paths, action_size, batch, updates
        self.rng, self.skip_bad, self.mirror = rng, skip_bad, mirror
        self.capacity = max(buffer_frames // batch, 1) * batch
        self.error = None

    def dataset(self):
        """The stream as a tf.data.Dataset, which runs it in its own thread."""
        signature = tf.TensorSpec((self.batch, *FRAME_SHAPE), tf.uint8)
        return generated(lambda: iter(self), signature, ahead=4)

    def __iter__(self):
        for frames in self._shuffled():
            if self.mirror:
                turned = self.rng.random(len(frames)) < 0.5
                frames[turned] = frames[turned, :, ::-1]
            yield frames

    def _shuffled(self):
        """Batches, which the caller may modify."""
        buffer = np.empty((self.capacity, *FRAME_SHAPE), np.uint8)
        held = left = 0
        try:
            for frames in self._in_order():
                if held < self.capacity:
                    buffer[held : held + self.batch] = frames
                    held += self.batch
                else:
                    slots = self.rng.choice(held, self.batch, replace=False)
                    out = buffer[slots]
                    buffer[slots] = frames
                    left += 1
                    yield out
            if not held:
                raise UserError("the recorded episodes cannot be read: record them again")
        except UserError as error:
            self.error = error
            raise
        while left < self.updates:
            for slots in self.rng.permutation(held).reshape(-1, self.batch)[: self.updates - left]:
                left += 1
                yield buffer[slots]

    def _in_order(self):
        rest = np.empty((0, *FRAME_SHAPE), np.uint8)
        for path in self.paths:
            try:
                obs = load_episode(path, self.action_size).obs
            except BadEpisode as error:
                _skip(error, self.skip_bad)
                continue
            rest = np.concatenate([rest, obs])
            whole = len(rest) - len(rest) % self.batch
            yield from rest[:whole].reshape(-1, self.batch, *FRAME_SHAPE)
            rest = rest[whole:]


def evenly(count, most):
    """Up to `most` of the indices 0 to count - 1, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, count - 1, most).astype(int)) if count else np.empty(0, int)


def held_out_frames(paths, action_size, batch, skip_bad=False):
    """At most 2000 frames (N,64,64,3) uint8, evenly spaced in at most 40 episodes of `paths`; N % batch == 0 if N > batch."""
    paths = [paths[i] for i in evenly(len(paths), HELD_OUT_EPISODES)]
    frames = [np.empty((0, *FRAME_SHAPE), np.uint8)]
    for path in paths:
        try:
            obs = load_episode(path, action_size).obs
        except BadEpisode as error:
            _skip(error, skip_bad)
            continue
        frames.append(obs[evenly(len(obs), HELD_OUT_FRAMES // len(paths))])
    frames = np.concatenate(frames)
    return frames[: len(frames) // batch * batch] if len(frames) > batch else frames


def _skip(error, skip_bad):
    if not skip_bad:
        raise error
    print(f"skipped: {error}", file=sys.stderr)
