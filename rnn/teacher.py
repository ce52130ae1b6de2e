"""The training of M by Keras: the published loss, the state that is carried from chunk to chunk, and what is measured."""

import keras
import tensorflow as tf

from world_models.rnn.likelihood import negative_log_likelihood

# The rows of a batch are cut into so many parts, each with a loop of its own: two cores share one step's product poorly.
LANES = 2


class Teacher(keras.Model):
    """Wraps an MDNRNN for `fit` on the batches of rnn.batches, all of them of `batch` rows.

    carry: the LSTM's state goes from each batch to the next, until `reset`; else each batch starts from zeros.
    restart_weight: factor on the restart's cross entropy where a restart happens.
    reward_scale: of the unit in which M predicts rewards.
    seed: of the noise that draws z from (mu, logvar), afresh for every batch.
    precision: "float32" or "bfloat16", of the matrix products; weights, c, loss and gradients are float32 with both.

    Reports loss and nll (nats for a latent dimension); with restarts also restart (nats), recall (share of the deaths with a
    logit above 0) and false_alarms (share of the other steps with one); with rewards and actions reward and action, the mean
    squared error of each number.
    """

    def __init__(self, mdnrnn, batch, carry, restart_weight, seed, precision="float32", reward_scale=1.0):
        super().__init__()
        self.mdnrnn, self.carry, self.restart_weight, self.reward_scale = mdnrnn, carry, restart_weight, reward_scale
        self.product_dtype = tf.as_dtype(precision)
        self.noise = keras.random.SeedGenerator(seed)
        shape = (batch, mdnrnn.rnn_size)
        self.h, self.c = (self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name) for name in "hc")
        ends = [batch * i // LANES for i in range(LANES + 1)]
        self.lanes = [slice(*lane) for lane in zip(ends, ends[1:], strict=False) if lane[0] < lane[1]]
        self.losses_by_name = ("nll", *mdnrnn.layout.others)
        names = self.losses_by_name + (("recall", "false_alarms") if mdnrnn.predict_restart else ())
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
        """For each lane of B rows (hidden (L,B,H), the z (L,B,Z) that came), for a batch of rnn.batches.Series.batch."""
        mu, logvar = (tf.cast(batch[name], tf.float32) for name in ("mu", "logvar"))
        z = mu + tf.exp(logvar / 2) * keras.random.normal(tf.shape(mu), seed=self.noise)
        before = [tf.convert_to_tensor(part) for part in (self.h, self.c)]
        hidden, states = [], []
        for rows in self.lanes:
            state = [part[rows] for part in before] if self.carry else None
            inputs = z[rows, :-1], batch["action"][rows, :-1], batch["restart"][rows, :-1]
            values, state = self.mdnrnn.hidden(*inputs, state, self.product_dtype)
            hidden.append((values, tf.transpose(z[rows, 1:], (1, 0, 2))))
            states.append(state)
        if self.carry:
            h, c = (tf.concat(parts, axis=0) for parts in zip(*states, strict=True))
            self.h.assign(h)
            self.c.assign(c)
        return hidden

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the losses: negative log likelihood, averaged over batch, time and dimensions, and those of the others."""
        mask = tf.transpose(x["mask"])  # (L,B)
        total = tf.reduce_sum(mask)
        layout, (kernel, bias) = self.mdnrnn.layout, self.mdnrnn.planes()
        kernel = tf.cast(kernel, self.product_dtype)
        losses, others = [], []
        for rows, (hidden, target) in zip(self.lanes, y_pred, strict=True):
            weight = tf.reshape(mask[:, rows] / total / target.shape[-1], [-1])
            hidden, target = (tf.reshape(part, (-1, part.shape[-1])) for part in (hidden, target))
            loss, other = negative_log_likelihood(hidden @ kernel, bias, target, weight, layout.num_mixture)
            losses.append(loss)
            others.append(tf.reshape(other, (tf.shape(mask)[0], -1, sum(layout.others.values()))))
        loss = tf.add_n(losses)
        self.means["nll"].update_state(loss, total)
        for name, numbers in layout.by_name(tf.concat(others, axis=1)).items():  # (L,B,N)
            loss += getattr(self, f"_{name}_loss")(x, numbers, mask)
        return loss

    def _restart_loss(self, x, numbers, mask):
        """The weighted cross entropy of a restart at the next frame."""
        restart, logit = tf.transpose(x["restart"][:, 1:]), numbers[..., 0]
        entropy = tf.nn.weighted_cross_entropy_with_logits(restart, logit, self.restart_weight)
        alarm = tf.cast(logit > 0, tf.float32)
        self.means["recall"].update_state(alarm, restart * mask)
        self.means["false_alarms"].update_state(alarm, (1 - restart) * mask)
        return self._mean("restart", entropy, mask)

    def _reward_loss(self, x, numbers, mask):
        """The squared error of the reward that comes with the next z."""
        return self._mean("reward", tf.square(numbers[..., 0] - tf.transpose(x["reward"]) / self.reward_scale), mask)

    def _action_loss(self, x, numbers, mask):
        """The squared error of the next action, which an episode's last frame has not."""
        following = tf.transpose(tf.cast(x["action"][:, 1:], tf.float32), (1, 0, 2))
        error = tf.reduce_mean(tf.square(numbers - following), axis=-1)
        return self._mean("action", error, mask * (1 - tf.transpose(x["restart"][:, 1:])))

    def _mean(self, name, values, weight):
        """The weighted mean of values (L,B), which is also reported under `name`."""
        total = tf.reduce_sum(weight)
        mean = tf.math.divide_no_nan(tf.reduce_sum(values * weight), total)
        self.means[name].update_state(mean, total)
        return mean
