"""The training of M by Keras: the published loss, the state that is carried from chunk to chunk, and what is measured."""

import keras
import tensorflow as tf

from rnn.rnn import MixtureParams


class Teacher(keras.Model):
    """Wraps an MDNRNN for `fit` on the batches of rnn.batches, all of them of `batch` rows.

    carry: the LSTM's state goes from each batch to the next (Doom), until `reset`; else each batch starts from zeros (the car).
    restart_weight: factor on the restart's cross entropy where a restart happens.
    seed: of the noise that draws z from (mu, logvar), afresh for every batch.

    Reports loss and nll (nats for a latent dimension); with restarts also restart (nats), recall (share of the deaths with a
    logit above 0) and false_alarms (share of the other steps with one).
    """

    def __init__(self, mdnrnn, batch, carry, restart_weight, seed):
        super().__init__()
        self.mdnrnn, self.carry, self.restart_weight = mdnrnn, carry, restart_weight
        self.noise = keras.random.SeedGenerator(seed)
        shape = (batch, mdnrnn.rnn_size)
        self.h, self.c = (self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name) for name in "hc")
        names = ("nll", "restart", "recall", "false_alarms") if mdnrnn.predict_restart else ("nll",)
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def save_own_variables(self, store):  # h and c begin at zero in each epoch, so that no checkpoint needs them
        store["noise"] = self.noise.state

    def load_own_variables(self, store):
        self.noise.state.assign(store["noise"])

    @property
    def metrics(self):
        return [self._loss_tracker, *self.means.values()]

    def reset(self):
        """Zero the carried state."""
        self.h.assign(tf.zeros_like(self.h))
        self.c.assign(tf.zeros_like(self.c))

    def call(self, batch):
        """(params over (B,L,...), the z (B,L,Z) that came) for a batch of rnn.batches.Series.batch."""
        mu, logvar = (tf.cast(batch[name], tf.float32) for name in ("mu", "logvar"))
        z = mu + tf.exp(logvar / 2) * keras.random.normal(tf.shape(mu), seed=self.noise)
        state = (self.h.value, self.c.value) if self.carry else None
        params, (h, c) = self.mdnrnn.sequence(z[:, :-1], batch["action"], batch["restart"][:, :-1], state)
        if self.carry:
            self.h.assign(h)
            self.c.assign(c)
        return tuple(params)[: 3 + self.mdnrnn.predict_restart], z[:, 1:]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Negative log likelihood, averaged over batch, time and dimensions, plus the restart's weighted cross entropy."""
        params, target = y_pred
        params = MixtureParams(*params, *[None] * (4 - len(params)))
        mask = x["mask"]
        total = tf.reduce_sum(mask)
        log_prob = self.mdnrnn.mixture(params).log_prob(target)
        loss = -tf.reduce_sum(tf.reduce_mean(log_prob, axis=-1) * mask) / total
        self.means["nll"].update_state(loss, total)
        if self.mdnrnn.predict_restart:
            restart, logit = x["restart"][:, 1:], params.restart_logit
            entropy = tf.nn.weighted_cross_entropy_with_logits(restart, logit, self.restart_weight)
            entropy = tf.reduce_sum(entropy * mask) / total
            self.means["restart"].update_state(entropy, total)
            alarm = tf.cast(logit > 0, tf.float32)
            self.means["recall"].update_state(alarm, restart * mask)
            self.means["false_alarms"].update_state(alarm, (1 - restart) * mask)
            loss += entropy
        return loss
