"""Differentiable dreams of a fixed length: the gradient of the return in the dream with respect to C's parameters.

M is differentiable, and so is a dream (article, "Discussion"). The steps are those of dream.kernel, with the same noise. z is
sampled from the Gaussian that the mixture's weights select. The gradient flows through this Gaussian's mean and standard
deviation, not through the selection. Where M predicts deaths, no row ends. Instead each reward is weighted with the probability
of being alive.
"""

import tensorflow as tf


class Imagination:
    """Gradients of returns in the dream. act(z, state, params): as for `dream.population.Population`.

    horizon: steps through which a gradient is backpropagated (truncated backpropagation). Over many steps gradients become
    large and nearly random.
    """

    def __init__(self, dream, act, horizon):
        self.dream, self.act, self.horizon, self.kernel = dream, act, horizon, dream.kernel()
        self._compiled = tf.function(self._gradient, autograph=False)

    def gradient(self, params, seeds, offset, steps=None):
        """(return (B,) of each dream, gradient (P,) of their mean) for params (P,) and seeds (B,) uint32.

        B is one of the kernel's sizes. offset: in [0, horizon), the first step before which backpropagation is cut. steps:
        length of each dream, by default the Dream's max_steps.
        """
        steps = self.dream.max_steps if steps is None else steps
        parts = tf.constant(params, tf.float32), tf.constant(seeds, tf.uint32), tf.constant(offset), tf.constant(steps)
        returns, gradient = self._compiled(*parts)
        return returns.numpy(), gradient.numpy()

    def _gradient(self, params, seeds, offset, steps):
        with tf.GradientTape() as tape:
            tape.watch(params)
            returns = self.returns(params, seeds, offset, steps)
            mean = tf.reduce_mean(returns)
        return returns, tape.gradient(mean, params)

    def returns(self, params, seeds, offset, steps):
        """The returns (B,), to be called inside a GradientTape. All arguments are tensors."""
        rows = tf.tile(params[None], (tf.shape(seeds)[0], 1))
        start = self.kernel.start(seeds)

        def body(t, z, h, c, alive, total):
            ends = tf.equal((t - offset) % self.horizon, 0)
            z, h, c = (tf.where(ends, tf.stop_gradient(part), part) for part in (z, h, c))
            actions = self.act(z, (h, c), rows)
            z, h, c, reward, death = self.kernel.imagine(z, actions, h, c, seeds, tf.fill(tf.shape(seeds), t))
            return t + 1, z, h, c, alive * (1 - death), total + alive * reward

        zeros = tf.zeros(tf.shape(seeds))
        state = tf.constant(0), *start, zeros + 1, zeros
        return tf.while_loop(lambda t, *_: t < steps, body, state)[-1]
