"""V: the convolutional variational autoencoder that turns a 64x64 frame into a latent vector z, and back.

Architecture and loss are those of the article's appendix "Variational Autoencoder" and of the original's vae/vae.py.
"""

import math
import os
import zipfile

import numpy as np
import tensorflow as tf

from world_models.config import UserError
from world_models.job.deep import keras
from world_models.job.reading import misfit, parsed, reading
from world_models.original.arrays import UNITS, check_shapes, read_arrays, write_arrays
from world_models.vae.layers import Conv2D, Conv2DTranspose, PatchConv, PixelTranspose

FRAME_SHAPE = (64, 64, 3)
# The original's names of the layers, in the order that Keras has too. Each has a kernel and a bias.
ORIGINAL_LAYERS = (
    *(f"enc_conv{i}" for i in range(1, 5)),
    "enc_fc_mu",
    "enc_fc_log_var",
    "dec_fc",
    *(f"dec_deconv{i}" for i in range(1, 5)),
)
FLOAT32 = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
ORIGINAL_NAMES = tuple(f"{layer} {part}" for layer in ORIGINAL_LAYERS for part in ("kernel", "bias"))


@keras.saving.register_keras_serializable("world_models")
class ConvVAE(keras.Model):
    """V with `z_size` latent dimensions: 4,348,547 parameters with 32, 4,446,915 with 64.

    channels: filters of the encoder's first layer; those of the other layers are in proportion to it. The article has 32.
    kl_tolerance: nats for each latent dimension below which the KL term is not penalized. seed: of the noise in training. The
    generator's state is saved with the weights, so a resumed training continues with the same noise.
    precision: "float32" or "bfloat16", of the products in the layers. Weights, loss, inputs and outputs are float32 with both.
    It is not saved: a loaded model is float32, and `in_precision` makes a bfloat16 copy of it.

    `fit` takes frames (B,64,64,3) and reports loss, reconstruction and kl, in nats for an image.
    """

    def __init__(self, z_size, kl_tolerance=0.5, seed=0, precision="float32", channels=32, **keywords):
        super().__init__(**keywords)
        self.z_size, self.kl_tolerance, self.seed, self.channels = z_size, kl_tolerance, seed, channels
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        self.encoder = _encoder(z_size, channels, policy)
        self.decoder = _decoder(z_size, channels, policy)
        self.noise = keras.random.SeedGenerator(seed)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("reconstruction", "kl")]
        self.built = True

    def get_config(self):
        names = ("z_size", "kl_tolerance", "seed", "channels")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def in_precision(self, precision):
        """A copy of this model that computes in `precision`."""
        copy = type(self)(self.z_size, self.kl_tolerance, self.seed, precision, self.channels)
        copy.set_weights(self.get_weights())
        return copy

    @staticmethod
    def shapes(z_size, channels=32, **_):
        """The shapes of the weights, in the order of ORIGINAL_NAMES, of a model with these arguments."""
        c = channels
        kernels = [(4, 4, 3, c), (4, 4, c, 2 * c), (4, 4, 2 * c, 4 * c), (4, 4, 4 * c, 8 * c), *2 * [(32 * c, z_size)]]
        kernels += [(z_size, 32 * c), (5, 5, 4 * c, 32 * c), (5, 5, 2 * c, 4 * c), (6, 6, c, 2 * c), (6, 6, 3, c)]
        transposed = len(kernels) - 4  # from here on the filters are the last axis but one
        return [shape for i, kernel in enumerate(kernels) for shape in (kernel, (kernel[-1 if i < transposed else -2],))]

    def begin_at(self, color):
        """Make the decoder's initial picture one colour (3,), in [0, 1].

        Where frames are nearly white, training towards white from grey leaves all of the decoder's ReLUs dead.
        """
        color = np.clip(color, 0.01, 0.99)
        self.trainable_weights[-1].assign(np.log(color / (1 - color)))  # the last layer's bias, before the sigmoid

    def load_json(self, path):
        """Load the weights in the original's vae.json, integers in units of 1e-4.

        Raises UserError, naming the file and the array, where they are not of this size or cannot be read.
        """
        self._set_integers(path, read_arrays(path, ORIGINAL_NAMES))

    def _set_integers(self, path, arrays):
        check_shapes(path, ORIGINAL_NAMES, arrays, self.shapes(self.z_size, self.channels))
        for weight, array in zip(self.trainable_weights, arrays, strict=True):
            weight.assign(array / UNITS)

    def save_json(self, path):
        """Write the weights in the format of the original's vae.json, rounded to 1e-4."""
        write_arrays(path, self.trainable_weights)

    @classmethod
    def from_json(cls, path):
        """The model in an original's vae.json; z_size follows from the shapes. Raises UserError as `load_json` does."""
        arrays = read_arrays(path, ORIGINAL_NAMES)
        z_size, channels = (arrays[ORIGINAL_NAMES.index(f"{name} bias")].size for name in ("enc_fc_mu", "enc_conv1"))
        check_shapes(path, ORIGINAL_NAMES, arrays, cls.shapes(z_size, channels))  # before a model of these sizes is made
        model = cls(z_size, channels=channels)
        model._set_integers(path, arrays)
        return model

    def save_own_variables(self, store):  # Keras itself does not save a seed generator's state
        store["noise"] = self.noise.state.numpy()

    def load_own_variables(self, store):
        self.noise.state.assign(store["noise"])

    def encode(self, frames):
        """(mu, logvar), each (B,Z), of frames (B,64,64,3), uint8 or float in [0, 1]."""
        return self.encoder(_scaled(frames))

    def encode_sample(self, frames, noise):
        """z (B,Z) = mu + sigma * noise, for frames (B,64,64,3) and standard normal noise (B,Z)."""
        mu, logvar = self.encode(frames)
        return mu + tf.exp(logvar / 2) * noise

    def decode(self, z):
        """Frames (B,64,64,3), float in [0, 1], decoded from z (B,Z)."""
        return self.decoder(z)

    def pictures(self, z):
        """The result of `decode` for z (B,Z), as a NumPy array (B,64,64,3) uint8."""
        return np.uint8(np.round(self.decode(z) * 255.0))

    def call(self, frames, training=False):
        """(reconstruction (B,64,64,3), mu (B,Z), logvar (B,Z)), from which the loss is computed. z is always sampled.

        Keras passes `training` to the layers. Those of vae.layers are then faster, with the same values except for rounding.
        """
        mu, logvar = self.encode(frames)
        noise = keras.random.normal(tf.shape(mu), seed=self.noise)
        return self.decode(mu + tf.exp(logvar / 2) * noise), mu, logvar

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Sum of squared errors plus KL of each image, averaged over the batch.

        The KL term is max(KL, kl_tolerance * z_size), as in the original.
        """
        reconstruction, mu, logvar = y_pred
        # l2_loss is half a sum of squares. Its gradient is one operation of a picture's size, where others take four.
        error = 2 * tf.nn.l2_loss(reconstruction - _scaled(x)) / tf.cast(tf.shape(mu)[0], tf.float32)
        kl = -0.5 * tf.reduce_sum(1 + logvar - tf.square(mu) - tf.exp(logvar), axis=1)
        kl = tf.reduce_mean(tf.maximum(kl, self.kl_tolerance * self.z_size))
        for tracker, value in zip(self.trackers, (error, kl), strict=True):
            tracker.update_state(value)
        return error + kl


def _scaled(frames):
    frames = tf.convert_to_tensor(frames)
    return tf.cast(frames, tf.float32) / 255 if frames.dtype == tf.uint8 else tf.cast(frames, tf.float32)


def _encoder(z_size, channels, policy):
    frames = x = keras.Input(FRAME_SHAPE)
    layers = keras.layers.Conv2D, keras.layers.Conv2D, Conv2D, PatchConv
    for more, layer in zip((1, 2, 4, 8), layers, strict=True):
        x = layer(more * channels, 4, strides=2, activation="relu", dtype=policy)(x)  # 64 -> 31 -> 14 -> 6 -> 2 pixels
    x = keras.layers.Flatten()(x)  # (B,32 * channels), height then width then channels
    mu, logvar = keras.layers.Dense(z_size, name="mu")(x), keras.layers.Dense(z_size, name="logvar")(x)
    return keras.Model(frames, (mu, logvar), name="encoder")


def _decoder(z_size, channels, policy):
    z = keras.Input((z_size,))
    x = keras.layers.Dense(32 * channels, dtype=policy)(z)
    x = keras.layers.Reshape((1, 1, 32 * channels), dtype=policy)(x)
    x = PixelTranspose(4 * channels, 5, strides=2, activation="relu", dtype=policy)(x)  # 1 -> 5 -> 13 -> 30 -> 64 pixels
    for more, size in ((2, 5), (1, 6)):
        x = keras.layers.Conv2DTranspose(more * channels, size, strides=2, activation="relu", dtype=policy)(x)
    x = Conv2DTranspose(3, 6, strides=2, dtype=policy)(x)
    x = keras.layers.Activation("sigmoid", dtype="float32")(x)
    return keras.Model(z, x, name="decoder")


def load_vae(path):
    """The ConvVAE in the .keras file `path`. Raises UserError, naming the file, as `load_checked` does."""
    return load_checked(path, ConvVAE)


def load_checked(path, kind):
    """The model of class `kind` in the .keras file `path`, not compiled.

    Raises UserError, naming the file, where it cannot be read, holds another kind of model, or has a weight that is not finite.
    """
    with reading(path, "make it again"):
        _check_config(path, kind)
        model = keras.models.load_model(path, compile=False)
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UserError(f"{path} has values in {weight.path} that are not finite: make it again")
    return model


def _check_config(path, kind):
    """Raises ValueError where the .keras file `path` asks for more than a model of class `kind` that fits into the file.

    Keras imports and calls what such a file names.
    """
    with zipfile.ZipFile(path) as archive:
        told = parsed(archive.read("config.json"), {"class_name": str, "registered_name": str, "config": dict})
        held = archive.getinfo("model.weights.h5").file_size
    if (told["class_name"], told["registered_name"]) != (kind.__name__, f"world_models>{kind.__name__}"):
        raise ValueError(f"it holds a {told['class_name']}, not a {kind.__name__}")
    config = told["config"]
    if config.pop("dtype", FLOAT32) != FLOAT32:
        raise ValueError("it has another dtype than float32")
    wrong = misfit(config, {"name": str, "trainable": bool})
    sizes = {name: value for name, value in config.items() if name not in ("name", "trainable")}
    wrong = wrong or next((f"{name} is no number" for name in sizes if type(sizes[name]) not in (bool, int, float)), None)
    # The file may be packed, but weights hardly get smaller.
    if wrong or 4 * sum(math.prod(shape) for shape in kind.shapes(**sizes)) > min(held, 4 * os.path.getsize(path)):
        raise ValueError(wrong or f"it promises more weights than it holds, by {sizes}")


def begin_with(model, path, weights_in=keras.Model.get_weights):
    """Initialize `model` (V or M) with the weights in `path`: a .keras file of the same class, or the original's JSON.

    weights_in(other) -> the arrays for `model` in the .keras file's model.
    Raises UserError, naming the file, where it cannot be read or is of another size.
    """
    if path.endswith(".h5"):
        raise UserError(
            f"{path} is a checkpoint, which goes on where it is: give the .keras file that a finished training writes"
        )
    if not path.endswith(".keras"):
        return model.load_json(path)
    other = load_checked(path, type(model))
    weights = weights_in(other)
    if [part.shape for part in weights] != [part.shape for part in model.get_weights()]:
        raise UserError(f"{path} is of another size than the model that is trained here: give the same sizes")
    model.set_weights(weights)
