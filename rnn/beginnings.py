"""Where dreams begin: at recorded first frames, as published, or with --anywhere also in the midst of recorded episodes."""

import numpy as np
import tensorflow as tf

from world_models.job.npz import pack
from world_models.job.rundir import write_json
from world_models.original.arrays import UNITS

COUNT = 1000  # the most beginnings


def save_initial_z(path, series, episodes):
    """Write initial_z.json: [mu, logvar] of the first frames of up to 1000 `episodes`, as integers: value * 10000, cut."""
    frames = series.start[episodes[:COUNT]]
    write_json(path, [(array[frames].astype(float) * UNITS).astype(int).tolist() for array in (series.mu, series.logvar)])


def save_beginnings(path, model, series, episodes, rng):
    """Write beginnings.npz: mu, logvar (N,Z) of N = 1000 frames, and h, c (N,H), M's state after what was recorded before each.

    About half of them are first frames, the others lie anywhere in `episodes`. rng: a NumPy generator.
    """
    chosen = rng.choice(episodes, COUNT)
    ages = rng.integers(2, size=COUNT) * rng.integers(series.length[chosen] - 1)
    frames = series.start[chosen] + ages
    h, c = states(model, series, frames, ages)
    pack(path, {"mu": np.float32(series.mu[frames]), "logvar": np.float32(series.logvar[frames]), "h": h, "c": c})


def states(model, series, frames, ages):
    """M's state (h, c), each (N,H) float32, at `frames` (N,) of `series`, from zeros `ages` (N,) frames before. z is mu."""
    h, c = model.initial_state(len(frames))
    for t in range(max(ages)):
        going = t < ages
        at = np.where(going, frames - ages + t, frames)
        z, action = (tf.constant(array[at], tf.float32) for array in (series.mu, series.action))
        after = model.advance(z, action, (h, c))
        h, c = (tf.where(going[:, None], new, old) for new, old in zip(after, (h, c), strict=True))
    return h.numpy(), c.numpy()
