"""The speed of training V and M, against plain Keras layers: python -m bench.trainings [--json FILE] [--threads N]

Doom's models: the larger ones. Data and weights are random, and already in memory. The plain V has Keras's own layers and Adam,
the plain M is keras.layers.LSTM and Dense with TensorFlow Probability's mixture. The alternatives run interleaved. The
machine's peak is the rate of float32 matrix products in TensorFlow.
"""

import argparse
import statistics

import numpy as np

from world_models.bench.measure import products, rates, ratio, report, table
from world_models.config import GAMES
from world_models.job.command import run_script
from world_models.job.machine import cores, fast_precision, load_tensorflow
from world_models.job.outputs import check_output

GAME = GAMES["doom"]
FRAMES, UPDATES = 100, 3  # in a batch of V; of each measured call
SEQUENCES, STEPS = 100, 100
PLAIN, FLOAT32, OURS = "plain Keras, float32", "this project's, float32", "this project's, bfloat16"
PEAK = "matrix products, in the same unit"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    parser.add_argument("--threads", type=int, default=cores(), help="TensorFlow's threads (default: one a core)")
    parser.add_argument("--runs", type=int, default=5, help="measurements of each alternative (default: 5)")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    load_tensorflow(args.threads)
    precisions = {FLOAT32: "float32"} | ({OURS: "bfloat16"} if fast_precision() == "bfloat16" else {})
    numbers = {"threads": args.threads}
    for name, unit, flops, plain, ours in (
        ("V", "frames/s", vae_flops(), plain_v, v),
        ("M", "steps/s", rnn_flops(), plain_m, m),
    ):
        alternatives = {PLAIN: plain()} | {title: ours(precision) for title, precision in precisions.items()}
        alternatives[PEAK] = products(1, flops)
        measured = rates(alternatives, args.runs)
        print(table(f"{name}'s training, {args.threads} threads", measured, unit, PLAIN))
        numbers[name] = {
            "per_s": {title: statistics.median(values) for title, values in measured.items()},
            "vs_plain": {title: ratio(measured, title, PLAIN) for title in precisions},
            "share_of_peak": {title: ratio(measured, title, PEAK) for title in (PLAIN, *precisions)},
        }
    report(args.json, numbers, args.runs)


def vae_flops():
    """Multiplications and additions of V's training for one frame: forward, and twice as many for the gradients."""
    from world_models.vae.vae import ConvVAE

    kernels = [shape for shape in ConvVAE.shapes(GAME.z_size) if len(shape) > 1]
    applied = [31**2, 14**2, 6**2, 2**2, 1, 1, 1, 1, 5**2, 13**2, 30**2]  # how often each is: outputs, or transposed, inputs
    return 6 * sum(times * np.prod(kernel) for times, kernel in zip(applied, kernels, strict=True))


def rnn_flops():
    """The same of M's for one step of one sequence."""
    from world_models.rnn.rnn import MDNRNN

    kernels = MDNRNN.shapes(GAME.z_size, GAME.action_size, GAME.rnn_size, GAME.num_mixture, **GAME.predicts)[::2]
    return 6 * sum(np.prod(kernel) for kernel in kernels)


def _updates(model, batch, amount):
    """A function for `rates`: UPDATES updates of `model` on `batch`, each of `amount` frames or steps."""

    def updates():
        for _ in range(UPDATES):
            model.train_on_batch(batch)
        return UPDATES * amount

    return updates


def _frames():
    return np.random.default_rng(0).integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)


def v(precision):
    from world_models.job.training import Adam
    from world_models.vae.vae import ConvVAE

    model = ConvVAE(GAME.z_size, precision=precision)
    model.compile(optimizer=Adam(GAME.vae_learning_rate), jit_compile=False)
    return _updates(model, _frames(), FRAMES)


def plain_v():
    from world_models.job.deep import keras
    from world_models.vae.vae import ConvVAE

    layers = keras.layers
    frame, z = keras.Input((64, 64, 3)), keras.Input((GAME.z_size,))
    x = frame
    for filters in (32, 64, 128, 256):
        x = layers.Conv2D(filters, 4, strides=2, activation="relu")(x)
    x = layers.Flatten()(x)
    encoder = keras.Model(frame, (layers.Dense(GAME.z_size)(x), layers.Dense(GAME.z_size)(x)))
    x = layers.Reshape((1, 1, 1024))(layers.Dense(1024)(z))
    for filters, size in ((128, 5), (64, 5), (32, 6)):
        x = layers.Conv2DTranspose(filters, size, strides=2, activation="relu")(x)
    decoder = keras.Model(z, layers.Conv2DTranspose(3, 6, strides=2, activation="sigmoid")(x))

    class PlainV(ConvVAE):  # the same loss, with other layers
        def __init__(self):
            keras.Model.__init__(self)
            self.z_size, self.kl_tolerance, self.encoder, self.decoder = GAME.z_size, GAME.vae_kl_tolerance, encoder, decoder
            self.noise = keras.random.SeedGenerator(0)
            self.trackers = [keras.metrics.Mean(name=name) for name in ("reconstruction", "kl")]
            self.built = True

    model = PlainV()
    model.compile(optimizer=keras.optimizers.Adam(GAME.vae_learning_rate), jit_compile=False)
    return _updates(model, _frames(), FRAMES)


def _sequences():
    """A batch as rnn.batches makes it, of SEQUENCES x STEPS transitions."""
    rng, shape = np.random.default_rng(0), (SEQUENCES, STEPS + 1)
    return {
        "mu": rng.normal(0, 1, (*shape, GAME.z_size)).astype(np.float32),
        "logvar": np.full((*shape, GAME.z_size), -3, np.float32),
        "action": rng.uniform(-1, 1, (*shape, GAME.action_size)).astype(np.float32),
        "restart": (rng.random(shape) < 0.003).astype(np.float32),
        "mask": np.ones((SEQUENCES, STEPS), np.float32),
    }


def m(precision):
    from world_models.job.deep import keras
    from world_models.rnn.rnn import MDNRNN
    from world_models.rnn.teacher import Teacher

    model = MDNRNN(GAME.z_size, GAME.action_size, GAME.rnn_size, GAME.num_mixture, **GAME.predicts)
    teacher = Teacher(model, SEQUENCES, not GAME.whole_episodes, GAME.rnn_restart_weight, 0, precision)
    teacher.compile(optimizer=keras.optimizers.Adam(GAME.rnn_learning_rate, clipvalue=GAME.rnn_grad_clip), jit_compile=False)
    return _updates(teacher, _sequences(), SEQUENCES * STEPS)


def plain_m():
    import tensorflow as tf
    import tensorflow_probability as tfp

    from world_models.job.deep import keras

    layers, sizes = keras.layers, (GAME.z_size, GAME.num_mixture)

    class PlainM(keras.Model):
        def __init__(self):
            super().__init__()
            self.lstm = layers.LSTM(GAME.rnn_size, return_sequences=True)
            self.head = layers.Dense(1 + 3 * GAME.z_size * GAME.num_mixture)

        def call(self, batch):
            noise = tf.random.normal(tf.shape(batch["mu"]))
            z = batch["mu"] + tf.exp(batch["logvar"] / 2) * noise
            inputs = tf.concat([z, batch["action"], batch["restart"][..., None]], axis=-1)[:, :-1]
            return self.head(self.lstm(inputs)), z[:, 1:]

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            numbers, z = y_pred
            logits, mean, log_std = tf.unstack(tf.reshape(numbers[..., 1:], (SEQUENCES, STEPS, 3, *sizes)), axis=2)
            tfd = tfp.distributions
            mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), tfd.Normal(mean, tf.exp(log_std)))
            restart = tf.nn.weighted_cross_entropy_with_logits(x["restart"][:, 1:], numbers[..., 0], GAME.rnn_restart_weight)
            return tf.reduce_mean(restart) - tf.reduce_mean(mixture.log_prob(z))

    model = PlainM()
    model.compile(optimizer=keras.optimizers.Adam(GAME.rnn_learning_rate, clipvalue=GAME.rnn_grad_clip), jit_compile=False)
    return _updates(model, _sequences(), SEQUENCES * STEPS)


if __name__ == "__main__":
    run_script(main)
