"""A V for another look of the world, with the z of a V that is trained: C and M, who see z alone, need not learn again.

It learns from recordings of the same episodes in both looks, which differ in nothing but their frames.
"""

import os

import keras
import numpy as np
import tensorflow as tf

from config import UserError
from env.record import load_episode
from rundir import need


def partners(run_dir, game, paths):
    """{path: the path of the same episode in the record/ of `run_dir`} for `paths`; it has the same file name.

    Raises UserError where one is missing there, or is another episode: by its actions, which must be equal to the last bit.
    """
    pairs = {path: need(run_dir, "record", os.path.basename(path), game.name) for path in paths}
    for path, other in pairs.items():
        (_, mine), (_, theirs) = (load_episode(file, game.action_size, frames=False) for file in (path, other))
        if not np.array_equal(mine, theirs):
            raise UserError(f"{path} and {other} are two different episodes: record both with the same policy and --seed")
    return pairs


class LikeV(keras.Model):
    """Teaches `vae`, a copy of the ConvVAE `teacher`, to find in frames of another look what the teacher finds in its own.

    `vae` keeps the teacher's decoder, so it shows what it sees in the teacher's look. precision: as ConvVAE has it.

    `fit` takes pairs, frames (B,64,64,3) in the new look and in the teacher's, and reports loss, the KL divergence of what
    `vae` says of z from what `teacher` says, in nats for an image, and mu_error, the mean square of the difference of their mu.
    """

    def __init__(self, teacher, precision="float32"):
        super().__init__()
        self.teacher, self.vae = teacher.in_precision(precision), teacher.in_precision(precision)
        self.teacher.trainable = self.vae.decoder.trainable = False
        self.mu_error = keras.metrics.Mean(name="mu_error")
        self.built = True

    def call(self, frames):
        """(mu, logvar), each (B,Z), of frames in the new look."""
        return self.vae.encode(frames)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """KL(teacher's distribution of z || ours), summed over Z and averaged over the batch; y are the teacher's frames."""
        mu, logvar = y_pred
        true_mu, true_logvar = self.teacher.encode(y)
        square = tf.square(mu - true_mu)
        self.mu_error.update_state(square)
        kl = 0.5 * (logvar - true_logvar + (tf.exp(true_logvar) + square) / tf.exp(logvar) - 1)
        return tf.reduce_mean(tf.reduce_sum(kl, axis=1))
