"""Noise in dreams: a counter-based generator, so that a number depends only on (episode, step, dimension).

An episode is then the same in any batch and on any worker. TensorFlow's stateless generators take one seed for a whole tensor;
here each row has its own. The generator is Threefry-2x32 with 20 rounds: Salmon et al., "Parallel Random Numbers: As Easy as 1,
2, 3" (2011).
"""

import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _rotate(x, bits):
    left = tf.bitwise.left_shift(x, tf.constant(bits, tf.uint32))
    return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(x, tf.constant(32 - bits, tf.uint32)))


def threefry(key, counter):
    """Two uint32 tensors of random bits; key and counter are pairs of uint32 tensors that broadcast together."""
    keys = (*key, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(*key), tf.constant(_PARITY, tf.uint32)))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for block in range(5):
        for bits in _ROTATIONS[block % 2]:
            x = x + y
            y = tf.bitwise.bitwise_xor(_rotate(y, bits), x)
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + tf.constant(block + 1, tf.uint32)
    return x, y


def _uniform(bits):
    """float32 in the open interval (0, 1), on a grid of 2^-24."""
    numbers = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) + 0.5
    return tf.minimum(numbers, 2.0**24 - 1) * 2.0**-24  # the largest would be rounded to 1, whose normal number is infinite


def uniform_and_normal(seeds, step, size):
    """(u, n), each (B, size) float32: uniform in (0, 1) and standard normal, for each of B episodes at its step.

    seeds: (B,) uint32, one for each episode. step: uint32, a scalar or (B,).
    """
    rows = tf.broadcast_to(step, tf.shape(seeds))[:, None]  # (B, 1)
    columns = tf.cast(tf.range(size), tf.uint32)[None]  # (1, size)
    x, y = threefry((seeds[:, None], tf.zeros_like(seeds)[:, None]), (rows, columns))
    return _uniform(x), tf.math.ndtri(_uniform(y))
