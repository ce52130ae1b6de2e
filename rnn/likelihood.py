"""The likelihood of the next z under M, and its gradient, each compiled into one pass over the head's outputs.

TFP's mixture (`MDNRNN.mixture`) with automatic differentiation gives the same numbers and takes five times as long.
"""

import math

import tensorflow as tf


def negative_log_likelihood(numbers, bias, target, weight, mixtures):
    """(sum of weight * -log p(target), M's E other outputs (N,E)).

    numbers: (N,3KZ + E), the head's outputs without bias, and bias: (3KZ + E,), both in the order of `rnn.head.Head.planes`,
    with K = `mixtures`. target: (N,Z). weight: (N,), factor on each row's sum over Z. Only numbers and bias have gradients.
    """

    @tf.custom_gradient
    def run(numbers, bias):
        def gradient(d_sum, d_others):
            d_numbers = _gradient(numbers, bias, target, weight, mixtures, d_sum, d_others)
            ones = tf.ones((1, tf.shape(numbers)[0]), numbers.dtype)
            return d_numbers, tf.cast(ones @ d_numbers, tf.float32)[0]

        return _values(numbers, bias, target, weight, mixtures), gradient

    return run(numbers, bias)


def _likelihood(numbers, bias, target, weight, mixtures):
    numbers = tf.cast(numbers, tf.float32) + bias
    count = 3 * mixtures  # of planes
    # Not by slicing: the gradients of slices are padded and added, and XLA would compute everything once for each slice.
    numbers, others = tf.split(numbers, [count * target.shape[1], -1], axis=1)
    logits, mean, log_std = tf.split(tf.reshape(numbers, (-1, count, target.shape[1])), 3, axis=1)  # (N,K,Z)
    joint = logits - log_std - 0.5 * tf.square((target[:, None] - mean) * tf.exp(-log_std))
    log_prob = tf.reduce_logsumexp(joint, axis=1) - tf.reduce_logsumexp(logits, axis=1) - 0.5 * math.log(2 * math.pi)
    return -tf.reduce_sum(tf.reduce_sum(log_prob, axis=1) * weight), others


_values = tf.function(_likelihood, jit_compile=True, autograph=False)


@tf.function(jit_compile=True, autograph=False)
def _gradient(numbers, bias, target, weight, mixtures, d_sum, d_others):
    with tf.GradientTape() as tape:
        tape.watch(numbers)
        values = _likelihood(numbers, bias, target, weight, mixtures)
    return tape.gradient(values, numbers, output_gradients=[d_sum, d_others])
