"""The original's weight files: JSON lists of integers.

Formats are those of `load_json` and `save_json` in its vae/vae.py, rnn/rnn.py and doomrnn.py: the arrays in
TensorFlow's creation order, each value times 10,000 and rounded.
"""

import numpy as np

from world_models.config import UserError
from world_models.job.reading import short
from world_models.job.rundir import read_json, write_json

UNITS = 10_000  # integers per 1.0


def read_arrays(path, names):
    """The arrays of int64 in `path`, one for each of `names`.

    Raises UserError, naming the file and the array, where the file is missing, truncated or has another number of arrays, and
    where an array is ragged or contains anything but integers, such as NaN.
    """
    value = read_json(path, texts=False)  # NumPy would make each number a text of the longest one's length
    if not isinstance(value, list) or len(value) != len(names):
        found = f"{len(value)} arrays" if isinstance(value, list) else short(value)
        raise UserError(f"{path} has {found}, not the {len(names)} of the original ({names[0]}, ...): give another file")
    return [_integers(path, name, part) for name, part in zip(names, value, strict=True)]


def _integers(path, name, value):
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise UserError(f"{path} has an array {name} whose rows differ in length: restore the file") from None
    if array.dtype.kind == "f" and array.size:
        wrong = array[array != np.floor(array)]  # NaN too
        example = wrong[0] if wrong.size else array.flat[0]
        raise UserError(f"{path} has {example} in {name}, where the original has integers (a value times {UNITS}): convert it")
    if array.dtype.kind != "i" or not array.ndim or not array.size:
        raise UserError(f"{path} has an array {name} that is not made of integers: restore the file")
    return array


def check_shapes(path, names, arrays, shapes):
    """Raises UserError, naming the file and the array, where one of `arrays` does not have its expected shape."""
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        if array.shape != tuple(shape):
            raise UserError(f"{path} has {name} of shape {array.shape}, not {tuple(shape)}: it belongs to another model")


def write_arrays(path, arrays):
    """Write float `arrays` to `path`, as integers."""
    write_json(path, [np.round(np.asarray(array, np.float64) * UNITS).astype(np.int64).tolist() for array in arrays])
