"""The outputs of M's last layer, by name. Their order is defined only here."""

from typing import NamedTuple

import tensorflow as tf


class Prediction(NamedTuple):
    """M's prediction of the next step: a mixture of K Gaussians for each of Z dimensions, and other values or None."""

    logits: tf.Tensor  # (...,Z,K), log weights, not normalized
    mean: tf.Tensor  # (...,Z,K)
    log_std: tf.Tensor  # (...,Z,K)
    restart_logit: tf.Tensor | None = None  # (...,), above 0: it is more likely than not that the episode ends here
    reward: tf.Tensor | None = None  # (...,), the reward that comes with the next z, divided by the game's reward_scale
    action: tf.Tensor | None = None  # (...,A), the recorded policy's next action


class Head:
    """The order of the layer's outputs. What M does not predict is left out.

    First the restart's logit, as in the authors' code. Then for each dimension of z its K log weights, K means and K log
    standard deviations. Last the reward and the next action.
    """

    def __init__(self, z_size, num_mixture, action_size, restart=False, reward=False, action=False):
        self.z_size, self.num_mixture = z_size, num_mixture
        self.mixture = 3 * num_mixture * z_size
        sizes = {"restart": restart * 1, "mixture": self.mixture, "reward": reward * 1, "action": action * action_size}
        self.slices, self.size = {}, 0  # {name: its slice of the outputs}; the number of all outputs
        for name, size in sizes.items():
            if size:
                self.slices[name] = slice(self.size, self.size + size)
                self.size += size
        self.others = {name: sizes[name] for name in self.slices if name != "mixture"}  # {name: number of outputs}

    def prediction(self, numbers):
        """The Prediction (...) made of outputs `numbers` (...,size) in the layer's order."""
        mixture, others = self._apart(numbers)
        shape = tf.concat([tf.shape(mixture)[:-1], [self.z_size, 3 * self.num_mixture]], axis=0)
        others = self.by_name(others)
        restart, reward = (others[name][..., 0] if name in others else None for name in ("restart", "reward"))
        return Prediction(*tf.split(tf.reshape(mixture, shape), 3, axis=-1), restart, reward, others.get("action"))

    def planes(self, weight):
        """The layer's weight (...,size) ordered for vectorized operations over Z.

        First come K planes of Z log weights, K of means and K of log standard deviations, then the others, as `by_name` takes
        them.
        """
        mixture, others = self._apart(tf.convert_to_tensor(weight))
        mixture = tf.reshape(mixture, (*weight.shape[:-1], self.z_size, 3 * self.num_mixture))
        mixture = tf.reshape(tf.linalg.matrix_transpose(mixture), (*weight.shape[:-1], -1))
        return tf.concat([mixture, others], axis=-1)

    def _apart(self, numbers):
        """(the mixture's, all others) of `numbers` (...,size)."""
        first, mixture, last = tf.split(numbers, [self.slices["mixture"].start, self.mixture, -1], axis=-1)
        return mixture, tf.concat([first, last], axis=-1)

    def by_name(self, others):
        """{name: its numbers} of `others` (...,N), all outputs besides the mixture's."""
        parts = tf.split(others, list(self.others.values()), axis=-1) if self.others else []
        return dict(zip(self.others, parts, strict=True))
