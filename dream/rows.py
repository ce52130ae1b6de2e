"""How many rows a batch must have for each of them to be computed identically, bit for bit, in any position.

oneDNN's product for AVX2 takes six rows at a time, and adds in another order where one, two or three are left. (AVX-512's does
so for a batch of one row alone; those for SSE4.1 and AVX never do.) Above 48 rows some of its threads may be left with so few.
"""

import tensorflow as tf

SIZES = (4, 16, 24, 48)  # batches of different sizes in which a row is the same, on any number of threads
GPU_SIZES = (16, 64, 256, 1024)  # it is slow with fewer; whether it multiplies these alike, only a trial can tell


def uniform(count):
    """The smallest number of rows, `count` or more, of which each is the same wherever it stands.

    Four products for each row, as V's last layer makes of its four pixels, are then alike too.
    """
    return next(size for size in range(max(count, 4), count + 6) if size % 6 in (0, 4))


def filled(part, count, axis=0):
    """`part` with zeros at the end of `axis`, so that it has `count` rows there."""
    missing = count - part.shape[axis]
    return tf.pad(part, [[0, missing * (i == axis)] for i in range(len(part.shape))]) if missing else part
