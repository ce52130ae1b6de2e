"""The numbers of M's last layer, by name. This is the one place that knows their order."""

from typing import NamedTuple

import tensorflow as tf


class Prediction(NamedTuple):
    """M's prediction of the next step: mixtures of K Gaussians for each of Z dimensions, and what else it predicts, or None."""

    logits: tf.Tensor  # (...,Z,K), log weights, not normalized
    mean: tf.Tensor  # (...,Z,K)
    log_std: tf.Tensor  # (...,Z,K)
    restart_logit: tf.Tensor | None = None  # (...,), above 0 where it is more likely than not that the episode ends here
    reward: tf.Tensor | None = None  # (...,), the reward that comes with the next z, in units of the game's scale
    action: tf.Tensor | None = None  # (...,A), what the recorded policy does next


class Head:
    """The layer's numbers: the restart's logit first, as the authors have it; for each dimension of z its K log weights, K
    means and K log deviations; then the reward and the next action. What M does not predict is left out.
    """

    def __init__(self, z_size, num_mixture, action_size, restart=False, reward=False, action=False):
        self.z_size, self.num_mixture = z_size, num_mixture
        self.mixture = 3 * num_mixture * z_size
        sizes = {"restart": restart * 1, "mixture": self.mixture, "reward": reward * 1, "action": action * action_size}
        self.slices, self.size = {}, 0  # {name: its numbers}, and how many there are of all
        for name, size in sizes.items():
            if size:
                self.slices[name] = slice(self.size, self.size + size)
                self.size += size
        self.others = {name: sizes[name] for name in self.slices if name != "mixture"}  # {name: how many numbers}

    def prediction(self, numbers):
        """The Prediction (...) in numbers (...,size) in the layer's order."""
        mixture, others = self._apart(numbers)
        shape = tf.concat([tf.shape(mixture)[:-1], [self.z_size, 3 * self.num_mixture]], axis=0)
        others = self.by_name(others)
        restart, reward = (others[name][..., 0] if name in others else None for name in ("restart", "reward"))
        return Prediction(*tf.split(tf.reshape(mixture, shape), 3, axis=-1), restart, reward, others.get("action"))

    def planes(self, weight):
        """The layer's weight (...,size) ordered for vectorized operations over Z.

        K planes of Z log weights, K of means, K of log deviations, and last what else there is, as `by_name` takes it.
        """
        mixture, others = self._apart(tf.convert_to_tensor(weight))
        mixture = tf.reshape(mixture, (*weight.shape[:-1], self.z_size, 3 * self.num_mixture))
        mixture = tf.reshape(tf.linalg.matrix_transpose(mixture), (*weight.shape[:-1], -1))
        return tf.concat([mixture, others], axis=-1)

    def _apart(self, numbers):
        """(the mixture's, the others') of numbers (...,size)."""
        first, mixture, last = tf.split(numbers, [self.slices["mixture"].start, self.mixture, -1], axis=-1)
        return mixture, tf.concat([first, last], axis=-1)

    def by_name(self, others):
        """{name: numbers} of all numbers (...,N) beside the mixture's."""
        parts = tf.split(others, list(self.others.values()), axis=-1) if self.others else []
        return dict(zip(self.others, parts, strict=True))
