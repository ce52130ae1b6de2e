"""Arrays in .npz files: compressed quickly, or uncompressed, and then read and written without holding it all in memory."""

import os
import shutil
import struct
import zipfile

import numpy as np

from world_models.config import UserError
from world_models.job.rundir import Atomic


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


def memory_maps(path):
    """{name: read-only array} of the uncompressed npz `path`. Data are read from disk only when used.

    Raises UserError, naming the file, where it cannot be read, or has an array that is compressed or holds objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _memory_map(path, archive, info) for info in archive.infolist()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}): remove it and make it again") from None


def _memory_map(path, archive, info):
    with archive.open(info) as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        header = file.tell()
    if info.compress_type != zipfile.ZIP_STORED or fortran or dtype.hasobject:
        raise ValueError(f"{info.filename} is not a plain, uncompressed array")
    with open(path, "rb") as file:  # the data follow the member's header: 30 bytes, its name, its extra field
        file.seek(info.header_offset + 26)
        offset = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    size = dtype.itemsize * int(np.prod(shape))
    if offset + size > os.path.getsize(path):
        raise ValueError(f"{info.filename} is cut short")
    return np.memmap(path, dtype, "r", offset, shape) if size else np.empty(shape, dtype)


def npy_header(file):
    """(shape, dtype) of the .npy that starts where `file` is. Afterwards `file` is at the first byte of the data."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
