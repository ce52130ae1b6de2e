"""Shared by the trainings of V and M: data, checkpoints, progress that stops at a non-finite loss, and records."""

import glob
import math
import os

import tensorflow as tf

from world_models.config import UserError
from world_models.job.deep import keras
from world_models.job.reading import reading
from world_models.job.rundir import Atomic


class Checkpoints:
    """Weights, optimizer state and noise state after each part of a training, in `folder`. Only the last one is kept.

    The file's name has the number of parts that are done, so that the number and the weights change in one atomic step.
    """

    def __init__(self, folder):
        self.folder = folder

    @property
    def done(self):
        """How many parts are done."""
        return max((self._number(path) for path in self._files()), default=0)

    def save(self, model, done):
        path = os.path.join(self.folder, f"checkpoint-{done:06d}.weights.h5")
        with Atomic(path) as temporary:
            model.save_weights(temporary)
        for other in self._files():
            if other != path:
                os.remove(other)

    def finished(self, file, epochs, parts=1):
        """Whether `epochs` epochs, of `parts` parts each, are done and the model is in `file`.

        Raises UserError where more are done and there is no such file: the model after `epochs` epochs is then lost.
        """
        written = os.path.exists(os.path.join(self.folder, file))
        if self.done > epochs * parts and not written:
            more = -(-self.done // parts)
            raise UserError(f"the training in {self.folder} is past epoch {epochs}: give --epochs {more}, or more")
        return self.done >= epochs * parts and written

    def restore(self, model):
        """Load the last checkpoint, if there is one, into the compiled `model`. Returns how many parts are done.

        Raises UserError where the file cannot be read.
        """
        # The checkpoint has its state; and a first update that had to make it would be traced twice.
        model.optimizer.build(model.trainable_variables)
        if self.done:
            path = os.path.join(self.folder, f"checkpoint-{self.done:06d}.weights.h5")
            with reading(path, "remove it to start this training again"):
                model.load_weights(path)
        return self.done

    def _files(self):
        return glob.glob(os.path.join(glob.escape(self.folder), f"checkpoint-{'[0-9]' * 6}.weights.h5"))

    @staticmethod
    def _number(path):
        return int(os.path.basename(path).split("-")[1].split(".")[0])


class Adam(keras.optimizers.Adam):
    """Keras's Adam, with a weight's update as one TensorFlow operation: one pass through memory instead of a dozen."""

    def update_step(self, gradient, variable, learning_rate):
        index, dtype = self._get_variable_index(variable), variable.dtype
        step, beta_1, beta_2 = (tf.cast(value, dtype) for value in (self.iterations + 1, self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def generated(generator, signature, ahead):
    """A tf.data.Dataset of what generator() yields. A separate thread makes up to `ahead` elements in advance."""
    options = tf.data.Options()
    # tf.data's autotuner has nothing to tune here. It sleeps for periods that double, and the end of an epoch waits for it.
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(generator, output_signature=signature).prefetch(ahead).with_options(options)


class Watch(keras.callbacks.Callback):
    """Adds each update to `progress`. Raises UserError at a loss that is not finite, before a checkpoint can keep it."""

    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss}: the last checkpoint is kept; lower --learning-rate and train into another --run-dir"
            )
        self.progress.add(1, f"loss {loss:.4f}")


def record(stage, title, updates, values, **where):
    """Print `values` {name: number} after `updates` updates, log them with `where` (epoch, ...), and write TensorBoard's."""
    stage.log(**where, updates=updates, **values)
    stage.summary(updates, values)
    print(title + ": " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()), flush=True)
