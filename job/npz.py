"""Arrays in .npz files: compressed quickly, or uncompressed, and then read and written without holding it all in memory.

A file is not believed: an array of more bytes than the file can hold is refused before it is allocated, and the checksum of
each array that is read is compared.
"""

import math
import shutil
import struct
import zipfile

import numpy as np

from world_models.job.reading import reading
from world_models.job.rundir import Atomic

MOST = 1 << 28  # bytes of a compressed array, which zip's deflate can make of a thousandth; 20,000 frames


def save_npz(path, arrays, level=1):
    """Write {name: array} as a compressed npz, atomically.

    np.savez_compressed has only zlib's level 6, which takes several times as long here and saves a tenth of the space.
    """
    with Atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, array in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def pack(path, arrays):
    """Write {name: array, list, text, or (raw file, dtype, shape)} as an uncompressed npz, atomically. np.load reads it too."""
    with Atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as file:
                if isinstance(value, tuple):
                    raw, dtype, shape = value
                    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    with open(raw, "rb") as source:
                        shutil.copyfileobj(source, file, 1 << 22)
                else:
                    np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)


def read_npz(path, names=None):
    """{name: array} of those arrays of the npz `path` that are among `names`, or all. To be called within `reading`.

    Raises ValueError and other exceptions where an array cannot be read, holds objects, or has more than MOST bytes.
    """
    with zipfile.ZipFile(path) as archive:
        there = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {name: read_array(archive, info) for name, info in there.items() if names is None or name in names}


def read_array(archive, info, most=MOST):
    """The array in the member `info` of the open zip `archive`, of at most `most` bytes. Raises as `read_npz`."""
    with archive.open(info) as file:
        shape, _, dtype = npy_header(file)
        size = _size(shape, dtype, info, file)
    if size > most:
        raise ValueError(f"{info.filename} has {size} bytes, more than {most}")
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # to the end, where the checksum is compared
            raise ValueError(f"{info.filename} goes on after its end")
    return array


def memory_maps(path):
    """{name: read-only array} of the uncompressed npz `path`. Data stay on the disk; they are read once, for the checksums.

    Raises UserError, naming the file, where it cannot be read, or has an array that is compressed or holds objects.
    """
    with reading(path, "remove it and make it again"), zipfile.ZipFile(path) as archive:
        return {info.filename.removesuffix(".npy"): _memory_map(path, archive, info) for info in archive.infolist()}


def _memory_map(path, archive, info):
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    with archive.open(info) as file:
        shape, fortran, dtype = npy_header(file)
        size, header = _size(shape, dtype, info, file), file.tell()
        while file.read(1 << 22):  # to the end, where the checksum is compared
            pass
    if fortran:
        raise ValueError(f"{info.filename} is in Fortran's order")
    with open(path, "rb") as file:  # the data follow the member's header: 30 bytes, its name, its extra field
        file.seek(info.header_offset + 26)
        offset = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    return np.memmap(path, dtype, "r", offset, shape) if size else np.empty(shape, dtype)


def _size(shape, dtype, info, file):
    """The bytes of an array whose header has just been read from `file`. Raises ValueError where `info` has other ones."""
    size = dtype.itemsize * math.prod(shape)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} is not a plain array")
    if file.tell() + size != info.file_size:
        raise ValueError(f"{info.filename} has {info.file_size} bytes, not {file.tell() + size} as it says")
    return size


def npy_header(file):
    """(shape, Fortran's order, dtype) of the .npy that starts where `file` is. Afterwards `file` is at the data."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
