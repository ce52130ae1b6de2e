"""Dreams of a fixed length with a gradient: how a controller's dreamed return changes with its parameters.

The article's discussion names it: M is differentiable, and so is a dream. A step is the kernel's own, with the same noise: z
comes from the Gaussian that the mixture's weights chose, and the gradient goes through that Gaussian's mean and deviation. The
choice itself has none. Where M predicts deaths, no row ends; each reward counts as much as it is probable that it is reached.
"""

import tensorflow as tf


class Imagination:
    """Gradients of dreamed returns. act(z, state, params): as `dream.population.Population` takes it.

    horizon: steps that a gradient goes back; there the state is taken as given. Long chains have large and nearly random ones.
    """

    def __init__(self, dream, act, horizon):
        self.dream, self.act, self.horizon, self.kernel = dream, act, horizon, dream.kernel()
        self._compiled = tf.function(self._gradient)

    def gradient(self, params, seeds, offset, steps=None):
        """(return (B,) of each dream, gradient (P,) of their mean) for params (P,) and seeds (B,) uint32.

        B is one of the kernel's sizes. offset: in [0, horizon), the first step before which a gradient ends. steps: of each
        dream, by default the dream's own.
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
        """The returns (B,), for who takes gradients himself; all arguments are tensors."""
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
