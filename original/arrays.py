"""The original's files: weights as JSON lists of integers, and where its folders carracing/ and doomrnn/ have them.

Formats are those of `load_json` and `save_json` in its vae/vae.py, rnn/rnn.py and doomrnn.py: the arrays in the order in
which TensorFlow made them, each value times 10,000 and rounded.
"""

import glob
import os

import numpy as np

from config import UserError
from job.rundir import read_json, write_json

UNITS = 10_000  # of the integers, in 1

# Where each file can be, the first that exists being the one that the original's own scripts read.
PLACES = {
    "vae": ("vae/vae.json", "tf_models/vae.json", "tf_vae/vae.json", "vae.json"),
    "rnn": ("rnn/rnn.json", "tf_models/rnn.json", "tf_rnn/rnn.json", "rnn.json"),
    "initial_z": ("initial_z/initial_z.json", "tf_models/initial_z.json", "tf_initial_z/initial_z.json", "initial_z.json"),
    "series": ("series/series.npz", "series.npz"),
    "record": ("record",),
}
LOGS = ("log", "")


def read_arrays(path, names):
    """The arrays of int64 in `path`, one for each of `names`.

    Raises UserError, naming the file and the array, where the file is missing, truncated, or of another number of arrays, and
    where an array is ragged or has anything but integers in it, such as NaN.
    """
    value = read_json(path)
    if not isinstance(value, list) or len(value) != len(names):
        found = f"{len(value)} arrays" if isinstance(value, list) else f"a {type(value).__name__}"
        raise UserError(f"{path} has {found}, not the {len(names)} of the original ({', '.join(names)}): give another file")
    return [_integers(path, name, part) for name, part in zip(names, value, strict=True)]


def _integers(path, name, value):
    try:
        array = np.array(value)
    except ValueError:
        raise UserError(f"{path} has an array {name} whose rows differ in length: restore the file") from None
    if array.dtype.kind == "f":
        wrong = array[array != np.floor(array)]  # NaN too
        example = wrong[0] if wrong.size else array.flat[0]
        raise UserError(f"{path} has {example} in {name}, where the original has integers (a value times {UNITS}): convert it")
    if array.dtype.kind != "i" or not array.ndim or not array.size:
        raise UserError(f"{path} has an array {name} that is not made of integers: restore the file")
    return array


def check_shapes(path, names, arrays, shapes):
    """Raises UserError, naming the file and the array, where one of `arrays` has another shape than is due."""
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        if array.shape != tuple(shape):
            raise UserError(f"{path} has {name} of shape {array.shape}, not {tuple(shape)}: it belongs to another model")


def write_arrays(path, arrays):
    """Write float `arrays` to `path`, as integers."""
    write_json(path, [np.round(np.asarray(array, np.float64) * UNITS).astype(np.int64).tolist() for array in arrays])


def find(folder, controller=None):
    """{what: path} of the files of the original in `folder`, its carracing/ or doomrnn/ as cloned; what it lacks is left out.

    What can be found: vae, rnn, initial_z, series, record (a folder), and of its logs controller, hist, hist_best.
    controller: the path of its best.json, where there are several.
    Raises UserError where `folder` is not one, or has the logs of several controllers.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is not a folder: give the original's carracing/ or doomrnn/")
    found = {}
    for what, places in PLACES.items():
        paths = [path for path in (os.path.join(folder, place) for place in places) if os.path.exists(path)]
        if paths:
            found[what] = paths[0]
    return found | _find_logs(folder, controller)


def _find_logs(folder, controller):
    best = [controller] if controller else _in_logs(folder, ".best.json")
    stems = [path.removesuffix(".json").removesuffix(".best") for path in best]
    stems = stems or [path.removesuffix(".hist.json") for path in _in_logs(folder, ".hist.json")]
    if len(stems) > 1:
        raise UserError(f"{folder} has the logs of several controllers: give one of {', '.join(best)} with --controller")
    logs = {what: f"{stem}.{what}.json" for stem in stems for what in ("hist", "hist_best")}
    return {what: path for what, path in logs.items() if os.path.exists(path)} | ({"controller": best[0]} if best else {})


def _in_logs(folder, ending):
    """The paths of a folder's logs with this ending."""
    return [path for log in LOGS for path in sorted(glob.glob(os.path.join(glob.escape(folder), log, "*" + ending)))]
