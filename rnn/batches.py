"""Sequences for M from series.npz: whole episodes, or streams through all episodes.

A plan yields (index (B,L+1), mask (B,L)). index: frames in the series' flat arrays, with L transitions between neighbours.
mask: 1 where a transition counts. It is 0 where a row is padded, and after an episode that was cut off, which is not a death.
All batches of a training have the same shape.
"""

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.job.npz import memory_maps
from world_models.job.training import generated
from world_models.original.series import made_here, read_series


class Series:
    """series.npz: mu, logvar (F,Z), action (F,A), length and start (E,) in frames, episode (E,) names, vae, its V's digest.

    reward: (F,), NaN where a recording has none. first: (F,), 1 at each episode's first frame. cut: (F,), true at the last
    frame of an episode that was cut off. A file that rnn.series wrote is read through memory maps. Any other is held in memory
    (original.series): its episodes are named by numbers, vae is "", and no episode counts as cut off.
    """

    def __init__(self, path):
        """Raises UserError, naming the file, where it cannot be read or its arrays do not fit together."""
        if made_here(path):
            arrays = memory_maps(path)
        else:
            arrays = {**read_series(path), "vae": ""}
            arrays["episode"] = np.array([f"{e:06d}" for e in range(len(arrays["length"]))])
        missing = [name for name in ("mu", "logvar", "action", "length", "episode", "vae") if name not in arrays]
        if missing:
            raise UserError(f"{path} has no array {missing[0]!r}: remove it and make it again")
        self.mu, self.logvar, self.action = (arrays[name] for name in ("mu", "logvar", "action"))
        self.length, self.episode, self.vae = np.array(arrays["length"]), arrays["episode"].tolist(), str(arrays["vae"])
        self.reward = arrays.get("reward", np.full(self.mu.shape[:1], np.nan, np.float32))
        ended = np.array(arrays.get("ended", np.ones(self.length.shape, bool)))
        self._check(path, ended)
        self.start = np.concatenate([[0], np.cumsum(self.length)[:-1]]).astype(np.int64)
        self.first = np.zeros(len(self.mu), np.float32)  # 1 at each episode's first frame
        self.first[self.start] = 1
        self.cut = np.zeros(len(self.mu), bool)
        self.cut[self.start + self.length - 1] = ~ended

    def _check(self, path, ended):
        """Raises UserError, naming the file, where its arrays do not fit together or hold other than finite numbers."""
        rows = {"mu": self.mu, "logvar": self.logvar, "action": self.action}
        for name, array in rows.items():
            if array.dtype != np.float16 or array.ndim != 2 or not array.size:
                raise UserError(f"{path} has {name} of {array.dtype} {array.shape}: remove it and make it again")
            if not np.isfinite([array.min(), array.max()]).all():  # NaN propagates to both
                raise UserError(f"{path} has values in {name} that are not finite: remove it and make it again")
        flat = self.reward.ndim == self.length.ndim == ended.ndim == 1 and isinstance(self.episode, list)
        kinds = self.reward.dtype.kind, self.length.dtype.kind, ended.dtype.kind
        fit = flat and kinds == ("f", "i", "b") and self.length.min(initial=1) > 0
        fit = fit and {len(array) for array in [*rows.values(), self.reward]} == {int(self.length.sum())}
        if not fit or not len(self.length) == len(self.episode) == len(ended) or self.mu.shape != self.logvar.shape:
            raise UserError(f"{path} has arrays of lengths that do not fit together: remove it and make it again")

    def frames(self, episode):
        """Indices of the frames of episode number `episode`."""
        return np.arange(self.start[episode], self.start[episode] + self.length[episode])

    def batch(self, index, mask):
        """What M is trained on: mu, logvar (B,L+1,Z), action (B,L+1,A), float16; restart (B,L+1), reward, mask (B,L), float32.

        The reward at t is the one that came with the frame at t + 1.
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
        """The batches of `plan` as a tf.data.Dataset. plan: a list, or a generator made by one of the functions below."""
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


def whole_episodes(series, episodes, batch, length, rng=None):
    """One row for each of `episodes`, in this order: its first `length` transitions, padded if it has fewer.

    rng: NumPy generator; with it every other row, by chance, begins at a random frame of its episode.
    """
    for at in range(0, len(episodes), batch):
        rows = [series.frames(episode) for episode in episodes[at : at + batch]]
        if rng is not None:
            rows = [row[rng.integers(len(row) - 1) :] if rng.integers(2) else row for row in rows]
        yield _padded([row[: length + 1] for row in rows], batch, length)


def streams(series, episodes, batch, length):
    """The episodes one after another, cut into `batch` streams. Batch k has each stream's k-th chunk of `length` transitions.

    The last frame of a chunk is also the first of the next, so that no transition is lost between them. The transition from an
    episode's last frame leads to the first frame of the next, where restart is 1. Transitions at the end that fill no chunk are
    left out.
    """
    order = np.concatenate([series.frames(episode) for episode in episodes])
    chunks = (len(order) - 1) // (batch * length)
    begin = np.arange(batch)[:, None] * chunks * length + np.arange(length + 1)
    for chunk in range(chunks):
        index = order[begin + chunk * length]
        yield index, np.float32(~series.cut[index[:, :-1]])


def episode_streams(series, episodes, batch, length):
    """Each episode in a separate row, from its first frame to the next episode's first, in as many chunks as necessary.

    This is for evaluation. It has all transitions that `streams` makes of `episodes`, and each episode is seen from its
    beginning.
    """
    nearest = sorted(range(len(episodes)), key=lambda i: series.length[episodes[i]])  # similar lengths together: less padding
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
