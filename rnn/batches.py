"""Sequences for M from series.npz: whole episodes, or streams through all episodes.

A plan yields (index (B,L+1), mask (B,L)): frames in the series' flat arrays, L transitions between neighbours, and 1 where a
transition counts: 0 where a row is padded, and after an episode that was cut off, which is not a death. All batches of a
training have the same shape.
"""

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.job.npz import memory_maps
from world_models.job.training import generated
from world_models.original.series import made_here, read_series


class Series:
    """series.npz: mu, logvar (F,Z), action (F,A), length and start (E,) in frames, episode (E,) names, vae, its V's digest.

    reward (F,) is NaN where a recording has none. cut (F,) is true at the last frame of an episode that was cut.
    Where rnn.series wrote it, it is read through memory maps. Else it is held in memory (original.series), names are numbers,
    vae is "", and all episodes have an end.
    """

    def __init__(self, path):
        """Raises UserError, naming the file, where it cannot be read or its arrays do not fit together."""
        if made_here(path):
            arrays = memory_maps(path)
        else:
            arrays = {**read_series(path), "vae": ""}
            arrays["episode"] = np.array([f"{e:06d}" for e in range(len(arrays["length"]))])
        try:
            self.mu, self.logvar, self.action = (arrays[name] for name in ("mu", "logvar", "action"))
            self.length, self.episode, self.vae = np.array(arrays["length"]), arrays["episode"].tolist(), str(arrays["vae"])
        except KeyError as error:
            raise UserError(f"{path} has no array {error}: remove it and make it again") from None
        self.reward = arrays.get("reward", np.full(len(self.mu), np.nan, np.float32))
        self.start = np.concatenate([[0], np.cumsum(self.length)[:-1]]).astype(np.int64)
        frames = {len(array) for array in (self.mu, self.logvar, self.action, self.reward)} | {int(self.length.sum())}
        if len(frames) != 1 or len(self.length) != len(self.episode) or self.mu.shape != self.logvar.shape:
            raise UserError(f"{path} has arrays of lengths that do not fit together: remove it and make it again")
        self.first = np.zeros(len(self.mu), np.float32)  # 1 at each episode's first frame
        self.first[self.start] = 1
        self.cut = np.zeros(len(self.mu), bool)
        self.cut[self.start + self.length - 1] = ~np.array(arrays.get("ended", np.ones(len(self.length), bool)))

    def frames(self, episode):
        """Indices of the frames of episode number `episode`."""
        return np.arange(self.start[episode], self.start[episode] + self.length[episode])

    def batch(self, index, mask):
        """What M is trained on: mu, logvar (B,L+1,Z), action (B,L+1,A), float16; restart (B,L+1), reward, mask (B,L), float32.

        The reward of t came with the frame of t + 1.
        """
        return {
            "mu": self.mu[index],
            "logvar": self.logvar[index],
            "action": self.action[index],
            "restart": self.first[index],
            "reward": self.reward[index[:, :-1]],
            "mask": mask,
        }

    def dataset(self, plan, batch, length):
        """The batches of `plan`, a list or a generator made by one of the functions below, as a tf.data.Dataset."""
        z, a = self.mu.shape[1], self.action.shape[1]
        signature = {
            "mu": tf.TensorSpec((batch, length + 1, z), tf.float16),
            "logvar": tf.TensorSpec((batch, length + 1, z), tf.float16),
            "action": tf.TensorSpec((batch, length + 1, a), tf.float16),
            "restart": tf.TensorSpec((batch, length + 1), tf.float32),
            "reward": tf.TensorSpec((batch, length), tf.float32),
            "mask": tf.TensorSpec((batch, length), tf.float32),
        }
        batches = (self.batch(index, mask) for index, mask in plan)
        return generated(lambda: batches, signature, ahead=2)


def whole_episodes(series, episodes, batch, length):
    """One row for each of `episodes`, in this order: its first `length` transitions, padded where it has fewer."""
    for at in range(0, len(episodes), batch):
        rows = [series.frames(episode)[: length + 1] for episode in episodes[at : at + batch]]
        yield _padded(rows, batch, length)


def streams(series, episodes, batch, length):
    """The episodes one after another, cut into `batch` streams; batch k holds the k-th `length` transitions of each.

    The last frame of a chunk is the first of the next one, so that each transition is seen. The transition from an episode's
    last frame leads to the next episode's first, where restart is 1. Transitions at the end that fill no chunk are left out.
    """
    order = np.concatenate([series.frames(episode) for episode in episodes])
    chunks = (len(order) - 1) // (batch * length)
    begin = np.arange(batch)[:, None] * chunks * length + np.arange(length + 1)
    for chunk in range(chunks):
        index = order[begin + chunk * length]
        yield index, np.float32(~series.cut[index[:, :-1]])


def episode_streams(series, episodes, batch, length):
    """Each episode in a row of its own, from its first frame to the next episode's first, in as many chunks as it takes.

    This measures all transitions of `episodes` as `streams` would see them, and none in the middle of an episode of which the
    beginning was not seen.
    """
    nearest = sorted(range(len(episodes)), key=lambda i: series.length[episodes[i]])  # together: less padding
    for at in range(0, len(nearest), batch):
        rows = []
        for i in nearest[at : at + batch]:
            following = series.start[episodes[(i + 1) % len(episodes)]]
            rows.append(np.append(series.frames(episodes[i]), following))
        longest = max(len(row) for row in rows) - 1
        chunks = -(-longest // length)
        index, mask = _padded(rows, batch, chunks * length)
        for chunk in range(chunks):
            here = slice(chunk * length, (chunk + 1) * length)
            yield index[:, here.start : here.stop + 1], mask[:, here] * ~series.cut[index[:, here]]


def _padded(rows, batch, length):
    index, mask = np.zeros((batch, length + 1), np.int64), np.zeros((batch, length), np.float32)
    for b, row in enumerate(rows):
        index[b, : len(row)], index[b, len(row) :] = row, row[-1]
        mask[b, : len(row) - 1] = 1
    return index, mask
