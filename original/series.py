"""Reading a series.npz that rnn.series did not write: the original's, or flat arrays with an array `length`.

The original's carracing/series.py writes mu, logvar (N,T,Z) and action (N,T,A) float16, compressed. Its doomrnn/series.py,
whose episodes differ in length, writes arrays of N objects, which are pickled: mu and logvar (T,Z), action (T,).
"""

import pickle
import zipfile
import zlib

import numpy as np

from world_models.config import UserError
from world_models.job.npz import npy_header, read_array
from world_models.job.reading import cut, reading, reason

ARRAYS = ("mu", "logvar", "action")
AGAIN = "remove it and copy or make it again"
MOST_COMPRESSED = 100  # latent vectors and actions are mostly noise: more than this is made to fill the memory
NUMBERS = {order + kind for order in "<>|=" for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}
CONVERT = (
    "if you trust it, load it with np.load(..., allow_pickle=True) and write np.savez(new, mu=np.concatenate(mu), ..., "
    "length=[len(part) for part in mu])"
)


class _Unfit(Exception):
    """Says what is wrong with a file, in words that follow its name."""


def made_here(path):
    """Whether rnn.series wrote the npz `path`: only it has an array `vae`. Raises UserError for another file."""
    with reading(path, AGAIN), zipfile.ZipFile(path) as archive:
        return "vae.npy" in archive.namelist()


def read_series(path):
    """{"mu", "logvar": (F,Z), "action": (F,A), float16, flat over the frames of all episodes; "length": (E,) int32}.

    The file is read into memory, and nothing in it is executed. Raises UserError, naming the file, where it cannot be read,
    lacks an array, or has one that is empty, has values that are not finite in float16, or does not fit the others.
    """
    with reading(path, AGAIN), zipfile.ZipFile(path) as archive:
        try:
            missing = [name for name in ARRAYS if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise _Unfit(f"has no array {missing[0]}")
            length = _length(archive) if "length.npy" in archive.namelist() else None
            arrays, lengths = zip(*(_flat(archive, name, length) for name in ARRAYS), strict=True)
            series = dict(zip(ARRAYS, arrays, strict=True))
            if lengths[0] != lengths[1] or lengths[0] != lengths[2] or series["mu"].shape != series["logvar"].shape:
                raise _Unfit("has arrays mu, logvar and action of shapes that do not fit together")
        except _Unfit as error:
            raise UserError(f"{path} {error}") from None
    return {**series, "length": np.array(lengths[0], np.int32)}


def _length(archive):
    length = read_array(archive, archive.getinfo("length.npy"))
    if length.dtype.kind not in "iu" or length.ndim != 1 or length.size == 0 or length.min() < 1:
        raise _Unfit(f"has an array length of {length.dtype} {length.shape}, not the frames of each episode, 1 or more")
    return length.tolist()


def _flat(archive, name, length):
    """(array (F,W) float16, frames of each episode) of the array `name`; `length` is the file's array, or None."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > (1 << 20) + MOST_COMPRESSED * info.compress_size:
        raise _Unfit(f"has an array {name} of {info.file_size} bytes in {info.compress_size}, which no latent vectors are")
    with archive.open(info) as file:
        *_, dtype = npy_header(file)
        if dtype.kind == "O":
            parts = _unpickled(file, name)
            if sum(part.nbytes for part in parts) > info.file_size:  # a pickle can name one array a million times
                raise _Unfit(f"has an array {name} of more numbers than it holds")
            array, length = _joined(parts, name)
        elif dtype.kind in "fiu":
            array, length = _stacked(archive, name, length)
        else:
            raise _Unfit(f"has an array {name} of {dtype}, not of numbers")
    if sum(length) != len(array):
        raise _Unfit(f"has an array {name} of {len(array)} frames, and a length of {sum(length)}")
    if not np.isfinite([array.min(), array.max()]).all():  # NaN propagates to both
        raise _Unfit(f"has an array {name} with values that are not finite, or that float16 cannot hold")
    return array, length


def _stacked(archive, name, length):
    """(array (F,W) float16, frames of each episode) of a plain array: (F,W) where `length` is given, else (N,T,W)."""
    info = archive.getinfo(f"{name}.npy")
    array = read_array(archive, info, info.file_size)
    shape, counted = array.shape, 2 if length is None else 1  # axes before the last one
    if name == "action" and array.ndim == counted:
        array = array[..., None]
    if array.size == 0 or array.ndim != counted + 1:
        wanted = "(episodes,frames,numbers), or flat with an array length" if length is None else "(frames,numbers)"
        raise _Unfit(f"has an array {name} of shape {shape}, not {wanted}")
    length = length or [shape[1]] * shape[0]
    with np.errstate(over="ignore"):
        return array.reshape(-1, array.shape[-1]).astype(np.float16, copy=False), length


def _joined(parts, name):
    """(array (F,W) float16, frames of each) of the arrays `parts`, which are freed one by one."""
    if name == "action":
        parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    if not parts:
        raise _Unfit(f"has an array {name} of no episodes")
    for e, part in enumerate(parts):
        if part.ndim != 2 or part.size == 0 or part.shape[1] != parts[0].shape[1]:
            raise _Unfit(f"has an array {name} with an episode, number {e}, that is empty or unlike the first: {part.shape}")
    length = [len(part) for part in parts]
    array, at = np.empty((sum(length), parts[0].shape[1]), np.float16), 0
    with np.errstate(over="ignore"):
        for i, count in enumerate(length):
            array[at : at + count], parts[i] = parts[i], None
            at += count
    return array, length


def _unpickled(file, name):
    """The arrays in NumPy's pickle of an array of arrays. Raises _Unfit for any other pickle."""
    try:
        whole = _Unpickler(file, encoding="latin1").load()
        if file.read(1):  # reading to the end also compares the file's checksum
            raise ValueError("more follows it")
        if not isinstance(whole, _Array) or not isinstance(whole.data, list) or whole.shape != (len(whole.data),):
            raise ValueError(f"it is {getattr(whole, 'shape', whole)!r}, not N episodes")
        for i, part in enumerate(whole.data):
            if not isinstance(part, _Array):
                raise ValueError(f"it has {part!r}")
            whole.data[i] = part.numbers()
        return whole.data
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # a pickle can raise anything
        raise _Unfit(
            f"has a pickled array {name} that is not of plain arrays of numbers ({cut(reason(error))}): {CONVERT}"
        ) from None


class _Unpickler(pickle._Unpickler):
    """Reads NumPy's pickles of arrays into objects of this module. No function of NumPy or of any other module is called.

    Allowing NumPy's own classes would not be safe: its dtypes and arrays trust the pickle, which could have numbers used as
    addresses of objects. The base class is the one in Python: that in C allocates whatever size a pickle names.
    """

    def find_class(self, module, name):
        def encoded(text, encoding):  # Python 3 writes bytes as text in pickles of protocol 2
            if encoding != "latin1":
                raise pickle.UnpicklingError(f"it has text as {encoding}")
            return text

        # New functions for each call, since a pickle can set their attributes.
        known = {
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): _Type,
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("_codecs", "encode"): encoded,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]


class _Type:
    """A dtype in a pickle."""

    def __init__(self, kind, align=False, copy=False):
        self.kind, self.order = kind, "|"

    def __setstate__(self, state):
        self.order = state[1]


class _Array:
    """An array in a pickle: `data` is a list of objects, or else bytes, or text that encodes bytes."""

    def __setstate__(self, state):
        _, self.shape, self.type, self.fortran, self.data = state

    def numbers(self):
        """The array. Raises ValueError or another exception where it is not an array of numbers."""
        kind = f"{self.type.order}{self.type.kind}"
        if kind not in NUMBERS:
            raise ValueError(f"it has an array of {kind}")
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        return np.frombuffer(data, kind).reshape(self.shape, order="F" if self.fortran else "C")
