"""One step of M in a dream: the same function as `rnn.MDNRNN.step`, arranged for speed.

z and h share one matrix product. The contributions of the action, the restart flag and the bias are added afterwards, at almost
no cost. The head's outputs are ordered in planes, one for each Gaussian's weight, mean or standard deviation, so that sampling
is arithmetic on whole planes.

A row's values must not depend on its batch, or an episode would depend on which rows share its batch. This decides how each
part is computed. The two matrix products are ordinary TensorFlow operations: on a CPU their rows are bit-identical in batches
of all sizes in dream.rows, while those of XLA's products change with the batch. The arithmetic between them is compiled by XLA,
which fuses it into a few passes; it has no sum whose order could change. Tests check both. Each kernel also checks its products
once, because the processor may be one on which no test has run.
"""

import functools
import sys

import numpy as np
import tensorflow as tf

from world_models.dream import rows
from world_models.dream.noise import uniform_and_normal

NO_STEP = 2**32 - 1  # the counter of noise that belongs to a whole dream


class Kernel:
    """A copy of M's current weights, and functions that start and step dreams with them.

    initial_z: (mu, logvar), each (N, Z). initial_state: M's (h, c) there, each (N, H), or None for zeros.
    reward: that of each step, or if M predicts rewards a factor on them.
    log_odds: None where death comes with a restart logit above 0, else what is taken from this logit for the probability with
    which death is drawn.
    dropout: share of the products' inputs z and h that are zero, the same in all steps of a dream.
    precision: "float32" or "bfloat16", of the two matrix products' inputs and outputs. All else is float32.
    Each thread needs a separate kernel, with separate operations, because TensorFlow's matrix products on a CPU hold a lock
    while they run.

    sizes: the allowed numbers of rows, in increasing order. Only the largest is left where this processor's products depend on
    the batch; stderr says so once.
    """

    def __init__(
        self, rnn, initial_z, temperature, reward, precision="float32", initial_state=None, log_odds=None, dropout=0.0
    ):
        self.z_size, self.rnn_size, self.temperature, self.reward = rnn.z_size, rnn.rnn_size, temperature, reward
        self.dtype, self.log_odds, self.dropout = tf.as_dtype(precision), log_odds, dropout
        self.mu, self.logvar = (tf.constant(part, tf.float32) for part in initial_z)
        self.state = initial_state and [tf.constant(part, tf.float32) for part in initial_state]
        kernel, recurrent, bias = (tf.convert_to_tensor(weight) for weight in rnn.cell.weights)
        z_rows, self._actions, self._restart = tf.split(kernel, [rnn.z_size, rnn.action_size, int(rnn.predict_restart)])
        self._driven, self._gate_bias = tf.cast(tf.concat([z_rows, recurrent], axis=0), self.dtype), bias  # (Z+H, 4H), (4H,)
        head, self._head_bias = rnn.planes()
        self._head = tf.cast(head, self.dtype)
        self._layout = rnn.layout
        self.start = tf.function(self._start, jit_compile=True, autograph=False)
        self._gates = tf.function(self._fused_gates, jit_compile=True, autograph=False)
        self._sample = tf.function(self._fused_sample, jit_compile=True, autograph=False)
        self._join = tf.function(self.join, jit_compile=True, autograph=False)
        self.sizes = rows.GPU_SIZES if tf.config.list_physical_devices("GPU") else rows.SIZES
        if not self._alike(self.sizes):
            self.sizes = self.sizes[-1:]
            _warn(self.sizes[0], self._alike(self.sizes))

    def _alike(self, sizes):
        """Whether a row's products have the same bits in every position of batches of `sizes` rows."""
        rng = np.random.default_rng(0)
        for weights in (self._driven, self._head):
            row = tf.cast(rng.normal(size=(1, weights.shape[0])), self.dtype)
            products = tf.concat([tf.matmul(tf.repeat(row, size, axis=0), weights) for size in sizes], axis=0)
            if tf.reduce_any(products != products[:1]):
                return False
        return True

    def _start(self, seeds):
        """The initial (z (B,Z), h (B,H), c (B,H)) of dreams with `seeds` (B,) uint32."""
        uniform, noise = uniform_and_normal(seeds, tf.zeros_like(seeds), self.z_size)
        count = self.mu.shape[0]
        which = tf.minimum(tf.cast(uniform[:, 0] * count, tf.int32), count - 1)  # (B,)
        z = tf.gather(self.mu, which) + tf.exp(tf.gather(self.logvar, which) / 2) * noise
        if self.state:
            return z, *[tf.gather(part, which) for part in self.state]
        zeros = tf.zeros((tf.shape(seeds)[0], self.rnn_size))
        return z, zeros, zeros

    def join(self, z, h, seeds):
        """[z, h] (B,Z+H), the input of the first product. Not compiled, so that a caller can fuse it with other operations."""
        inputs = tf.concat([z, h], axis=1)
        if self.dropout:
            uniform, _ = uniform_and_normal(seeds, tf.fill(tf.shape(seeds), tf.constant(NO_STEP, tf.uint32)), inputs.shape[1])
            inputs *= tf.cast(uniform >= self.dropout, tf.float32) / (1 - self.dropout)
        return tf.cast(inputs, self.dtype)

    def step(self, z, actions, h, c, seeds, steps):
        """(z (B,Z), h, c, reward (B,), died (B,) bool) after actions (B,A). steps: (B,) int32, steps done before.

        B is one of `sizes`.
        """
        return self.step_joined(self._join(z, h, seeds), actions, c, seeds, steps)

    def step_joined(self, z_and_h, actions, c, seeds, steps):
        """`step`, with the result of `join` in place of z and h."""
        h, c, seen = self._gates(tf.matmul(z_and_h, self._driven), actions, c, steps)
        z, reward, died = self._sample(tf.matmul(seen, self._head), seeds, steps)
        return z, h, c, reward, died

    def imagine(self, z, actions, h, c, seeds, steps):
        """`step` with gradients, and instead of `died` the probability of death (B,), from the restart logit."""
        h, c, seen = self._gates(tf.matmul(self._join(z, h, seeds), self._driven), actions, c, steps)
        head = tf.matmul(seen, self._head)
        z, reward, _ = self._sample(head, seeds, steps)
        others = self._layout.by_name(
            tf.cast(head, tf.float32)[:, self._layout.mixture :] + self._head_bias[self._layout.mixture :]
        )
        death = tf.sigmoid(others["restart"][:, 0] - (self.log_odds or 0)) if "restart" in others else tf.zeros_like(reward)
        return z, h, c, reward, death

    def _fused_gates(self, gates, actions, c, steps):
        """(h, c, h in the head's dtype) of the LSTM, from the product `gates` (B,4H).

        The state is not reset at step 0, because `start` has already made it zero.
        """
        gates = tf.cast(gates, tf.float32) + self._gate_bias
        for i in range(self._actions.shape[0]):
            gates += actions[:, i : i + 1] * self._actions[i]
        if self._restart.shape[0]:
            gates += tf.cast(steps == 0, tf.float32)[:, None] * self._restart[0]
        i, f, g, o = tf.split(gates, 4, axis=1)  # Keras's order
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return h, c, tf.cast(h, self.dtype)

    def _fused_sample(self, head, seeds, steps):
        head = tf.cast(head, tf.float32) + self._head_bias
        uniform, noise = uniform_and_normal(seeds, tf.cast(steps + 1, tf.uint32), self.z_size + (self.log_odds is not None))
        planes = [head[:, i : i + self.z_size] for i in range(0, self._layout.mixture, self.z_size)]
        others = self._layout.by_name(head[:, self._layout.mixture :])
        z = sample(planes, uniform[:, : self.z_size], noise[:, : self.z_size], self.temperature)
        died = tf.zeros_like(steps, tf.bool)
        if "restart" in others:
            logit = others["restart"][:, 0]
            died = logit > 0 if self.log_odds is None else uniform[:, -1] < tf.sigmoid(logit - self.log_odds)
            # Else nothing would end a dream that diverges, and C would learn to make dreams diverge.
            died |= ~tf.reduce_all(tf.math.is_finite(z), axis=1)
        reward = tf.fill(tf.shape(steps), self.reward)
        if "reward" in others:
            reward *= others["reward"][:, 0]
        return z, reward, died


@functools.cache
def _warn(size, places_alike):
    """Print, once per process, what the check of the products found."""
    result = "the same dreams, more slowly" if places_alike else "dreams that still depend on their place, in the last digits"
    print(f"this processor's matrix products depend on their number of rows: all have {size}, for {result}", file=sys.stderr)


def sample(planes, uniform, noise, temperature):
    """z (B,Z) from M's mixture of K Gaussians at `temperature`; uniform (B,Z) in (0, 1) selects one, noise (B,Z) is normal.

    planes: K log weights, K means and K log standard deviations, each (B,Z). With temperature t the weights are w^(1/t) and the
    deviations sigma * sqrt(t): the same distribution as `MDNRNN.mixture(params, temperature)`, but with the noise as an
    argument.
    """
    count = len(planes) // 3
    logits, means, log_stds = planes[:count], planes[count : 2 * count], planes[2 * count :]
    greatest = logits[0]
    for logit in logits[1:]:
        greatest = tf.maximum(greatest, logit)
    cumulative = [tf.exp((logits[0] - greatest) / temperature)]
    for logit in logits[1:]:
        cumulative.append(cumulative[-1] + tf.exp((logit - greatest) / temperature))
    threshold = uniform * cumulative[-1]
    mean, log_std = means[0], log_stds[0]
    for k in range(1, count):
        later = threshold > cumulative[k - 1]
        mean, log_std = tf.where(later, means[k], mean), tf.where(later, log_stds[k], log_std)
    return mean + tf.exp(log_std) * noise * temperature**0.5


def total(x):
    """The sum over axis 1 of x (B,N,A), in an order that no compiler may change: halves are added until one element is left."""
    while x.shape[1] > 1:
        half = x.shape[1] // 2
        pairs = x[:, :half] + x[:, half : 2 * half]
        x = tf.concat([pairs, x[:, 2 * half :]], axis=1) if x.shape[1] % 2 else pairs
    return x[:, 0]
