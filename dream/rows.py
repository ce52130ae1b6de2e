"""Batch sizes with which a row's matrix product is computed identically in any position, bit for bit.

oneDNN's matrix product for AVX2 takes six rows at a time. If one, two or three are left, it adds in another order for them.
(That for AVX-512 does so only for a batch of one row; those for SSE4.1 and AVX never do.) With more than 48 rows, some threads
may be left with so few.
"""

import tensorflow as tf

SIZES = (4, 16, 24, 48)  # a row is the same in batches of all these sizes, with any number of threads
GPU_SIZES = (16, 64, 256, 1024)  # a GPU is slow with fewer; whether a row is the same in all, only a check can tell


def uniform(count):
    """The smallest number of rows, at least `count`, with which a row is the same in any position.

    This also holds for four products per row, as V's last layer has for its four pixels.
    """
    return next(size for size in range(max(count, 4), count + 6) if size % 6 in (0, 4))


def filled(part, count, axis=0):
    """`part`, padded with zeros at the end of `axis` to `count` rows."""
    missing = count - part.shape[axis]
    return tf.pad(part, [[0, missing * (i == axis)] for i in range(len(part.shape))]) if missing else part
