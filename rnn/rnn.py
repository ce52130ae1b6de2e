"""M: the LSTM with a mixture density head that predicts the next latent vector z from the current one and the action.

Architecture as in the article's appendix "Mixture Density Network + Recurrent Neural Network" and in the original's
rnn/rnn.py and doomrnn.py: each latent dimension has a separate mixture, and log_std is not clamped.
"""

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.job.deep import keras
from world_models.original.arrays import UNITS, check_shapes, read_arrays, write_arrays
from world_models.rnn.head import Head
from world_models.rnn.lstm import lstm_sequence
from world_models.vae.vae import load_checked

# The order of the arrays in the original's rnn.json. Key: whether that M predicts restarts.
ORIGINAL_NAMES = {
    False: ("output_w", "output_b", "lstm kernel", "lstm bias"),
    True: ("lstm kernel", "lstm bias", "output_w", "output_b"),
}


@keras.saving.register_keras_serializable("world_models")
class MDNRNN(keras.Model):
    """M: 422,368 parameters for the car (32, 3, 256), 1,678,785 for Doom (64, 1, 512, predict_restart=True).

    A step's input is z, the action and, with predict_restart, a flag that is 1 where an episode begins. The state is zeroed
    there. `state` is always the pair (h, c), each (B,H) float32. Besides the next z, M predicts what the predict_* arguments
    name.
    """

    def __init__(
        self,
        z_size,
        action_size,
        rnn_size,
        num_mixture=5,
        predict_restart=False,
        predict_reward=False,
        predict_action=False,
        **keywords,
    ):
        super().__init__(**keywords)
        self.z_size, self.action_size, self.rnn_size = z_size, action_size, rnn_size
        self.num_mixture, self.predict_restart = num_mixture, predict_restart
        self.layout = Head(z_size, num_mixture, action_size, predict_restart, predict_reward, predict_action)
        self.cell = keras.layers.LSTMCell(rnn_size)  # Keras starts the forget gate's bias at 1, as the original does
        self.cell.build((None, z_size + action_size + predict_restart))
        self.output_layer = keras.layers.Dense(self.layout.size)
        self.output_layer.build((None, rnn_size))
        self.built = True

    @staticmethod
    def shapes(z_size, action_size, rnn_size, num_mixture=5, predict_restart=False, **others):
        """The shapes of the weights, in the order of ORIGINAL_NAMES[True], of a model with these arguments."""
        reward, action = (others.get(f"predict_{name}", False) for name in ("reward", "action"))
        outputs = Head(z_size, num_mixture, action_size, predict_restart, reward, action).size
        inputs = z_size + action_size + predict_restart + rnn_size
        return [(inputs, 4 * rnn_size), (4 * rnn_size,), (rnn_size, outputs), (outputs,)]

    def get_config(self):
        names = ("z_size", "action_size", "rnn_size", "num_mixture")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}, **self.predicts}

    @property
    def predicts(self):
        """{"predict_restart": bool, ...}: what this M predicts besides the next z."""
        return {f"predict_{name}": name in self.layout.others for name in ("restart", "reward", "action")}

    def weights_in(self, other):
        """The weights of the MDNRNN `other` in this one's order. Zeros stand for what it does not predict."""
        *cell, kernel, bias = other.get_weights()
        parts = [
            [weight[..., other.layout.slices[name]] for weight in (kernel, bias)]
            if name in other.layout.slices
            else [np.zeros((*weight.shape[:-1], part.stop - part.start), weight.dtype) for weight in (kernel, bias)]
            for name, part in self.layout.slices.items()
        ]
        return [*cell, *(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))]

    def load_json(self, path):
        """Load the weights in the original's rnn.json, integers in units of 1e-4, in the order for this `predict_restart`.

        Raises UserError, naming the file and the array, where they are not of this size or cannot be read.
        """
        names = ORIGINAL_NAMES[self.predict_restart]
        self._set_integers(path, dict(zip(names, read_arrays(path, names), strict=True)))

    def _set_integers(self, path, arrays):
        """Set the weights. arrays: {name: integers}. Raises UserError where one has the wrong shape."""
        inputs = self.cell.kernel.shape[0]
        _check_shapes(path, arrays, self.get_config())
        weights = {name: array / UNITS for name, array in arrays.items()}
        kernel, bias = _swap_gates(weights["lstm kernel"]), _swap_gates(weights["lstm bias"])
        bias[self._forget_gate] += 1  # the original adds it at run time
        self.cell.set_weights([kernel[:inputs], kernel[inputs:], bias])
        self.output_layer.set_weights([weights["output_w"], weights["output_b"]])

    def save_json(self, path):
        """Write the weights in the format of the original's rnn.json, rounded to 1e-4."""
        kernel, recurrent, bias = (np.array(weight, np.float64) for weight in self.cell.get_weights())
        bias[self._forget_gate] -= 1
        arrays = {
            "lstm kernel": _swap_gates(np.concatenate([kernel, recurrent])),
            "lstm bias": _swap_gates(bias),
            **dict(zip(("output_w", "output_b"), self.output_layer.get_weights(), strict=True)),
        }
        write_arrays(path, [arrays[name] for name in ORIGINAL_NAMES[self.predict_restart]])

    @property
    def _forget_gate(self):
        return slice(self.rnn_size, 2 * self.rnn_size)

    @classmethod
    def from_json(cls, path, num_mixture=5):
        """The model in an original's rnn.json. The arrays' shapes and order determine its sizes and predict_restart.

        Raises UserError, naming the file and the array, where they cannot be read or do not fit together.
        """
        arrays = read_arrays(path, [f"array {i}" for i in range(1, 5)])
        # Only the LSTM's kernel has four columns for each row of output_w.
        restart = arrays[0].ndim == arrays[2].ndim == 2 and arrays[0].shape[1] == 4 * arrays[2].shape[0]
        arrays = dict(zip(ORIGINAL_NAMES[restart], arrays, strict=True))
        rnn_size = len(arrays["output_w"])
        z_size = (len(arrays["output_b"]) - restart) // (3 * num_mixture)
        action_size = len(arrays["lstm kernel"]) - rnn_size - z_size - restart
        if min(z_size, action_size) < 1:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise UserError(f"{path} has arrays that make no LSTM with a mixture of {num_mixture} ({shapes}): restore the file")
        sizes = {"z_size": z_size, "action_size": action_size, "rnn_size": rnn_size, "num_mixture": num_mixture}
        _check_shapes(path, arrays, sizes | {"predict_restart": restart})  # before a model of these sizes is made
        model = cls(**sizes, predict_restart=restart)
        model._set_integers(path, arrays)
        return model

    def initial_state(self, batch):
        """The state (h, c) of zeros, each (batch,H)."""
        return tf.zeros((batch, self.rnn_size)), tf.zeros((batch, self.rnn_size))

    def sequence(self, z, action, restart=None, state=None):
        """Teacher-forced: (the Prediction (B,T,...), the state after T steps) for z (B,T,Z), action (B,T,A), restart (B,T).

        state: that before the first step, by default zeros. Only M's weights have gradients, not the arguments.
        """
        hidden, state = self.hidden(z, action, restart, state)
        return self.head(tf.transpose(hidden, (1, 0, 2))), state

    def hidden(self, z, action, restart=None, state=None, dtype=tf.float32, drop=None):
        """`sequence` without the head and with time as the first axis: (hidden (T,B,H) `dtype`, the state after T steps).

        dtype: that of the matrix products. drop: (B,H), factor on h as an input of the next step (dropout).
        """
        if state is None:
            state = self.initial_state(tf.shape(z)[0])
        keep = None if restart is None or not self.predict_restart else 1 - tf.cast(tf.transpose(restart), tf.float32)
        inputs = tf.transpose(self._inputs(z, action, restart), (1, 0, 2))
        return lstm_sequence(self.cell, inputs, state, keep, dtype, drop)

    def step(self, z, action, state, restart=None):
        """One step: (the Prediction (B,...), the next state) for z (B,Z), action (B,A), restart (B,).

        restart None: no episode begins here.
        """
        state = self.advance(z, action, state, restart)
        return self.head(state[0]), state

    def advance(self, z, action, state, restart=None):
        """The next state alone, without the head. An agent in the real world needs no more."""
        if restart is not None and self.predict_restart:
            state = [(1 - tf.cast(restart, tf.float32))[:, None] * part for part in state]
        _, (h, c) = self.cell(self._inputs(z, action, restart), list(state))
        return h, c

    def head(self, h):
        """The rnn.head.Prediction (...) for h (...,H)."""
        return self.layout.prediction(self.output_layer(h))

    def planes(self):
        """The head's kernel (H,N) and bias (N,), in the order of `rnn.head.Head.planes`."""
        return [self.layout.planes(weight) for weight in self.output_layer.weights]

    def mixture(self, params, temperature=1.0):
        """The distribution of the next z (...,Z): a TFP mixture for each dimension. params: a Prediction.

        Temperature t divides the logits by t and multiplies each Gaussian's variance by t.
        """
        import tensorflow_probability as tfp  # which takes long to load, and training and dreams do without it

        return tfp.distributions.MixtureSameFamily(
            tfp.distributions.Categorical(logits=params.logits / temperature),
            tfp.distributions.Normal(params.mean, tf.exp(params.log_std) * temperature**0.5),
        )

    def _inputs(self, z, action, restart):
        parts = [z, action]
        if self.predict_restart:
            parts.append(tf.zeros_like(z[..., :1]) if restart is None else restart[..., None])
        return tf.concat([tf.cast(part, tf.float32) for part in parts], axis=-1)


def _check_shapes(path, arrays, sizes):
    """Raises UserError where `arrays` {name: integers} do not have the shapes of an M with the arguments `sizes`."""
    shapes = dict(zip(ORIGINAL_NAMES[True], MDNRNN.shapes(**sizes), strict=True))
    check_shapes(path, arrays, arrays.values(), [shapes[name] for name in arrays])


def _swap_gates(array):
    """Gates (...,4H) from the original's order, input, new, forget, output, to Keras's, input, forget, new, output, or back."""
    i, second, third, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, third, second, o], axis=-1)


def load_rnn(path):
    """The MDNRNN in the .keras file `path`. Raises UserError, naming the file, as `load_checked` does."""
    return load_checked(path, MDNRNN)
