"""The training of M with Keras: the published loss, the LSTM state that is carried between chunks, and the metrics."""

import math

import tensorflow as tf

from world_models.job.deep import keras
from world_models.rnn.likelihood import negative_log_likelihood

# Parts that a batch's rows are split into, each with a separate loop: one step's product runs poorly on two cores.
LANES = 2


class Teacher(keras.Model):
    """Wraps an MDNRNN for `fit` on the batches of rnn.batches, all of them of `batch` rows.

    carry: whether the LSTM's state is carried from each batch to the next, until `reset`. If not, each batch starts from zeros.
    restart_weight: factor on the restart's cross entropy where a restart happens.
    reward_scale, least_reward: M predicts rewards divided by the former, and none below the latter.
    dropout: share of the inputs z and h that are zero in training, the same in all steps of a row.
    seed: that of the noise with which z is sampled from (mu, logvar), anew for each batch.
    precision: "float32" or "bfloat16", of the matrix products. Weights, c, loss and gradients are float32 with both.

    Reports loss and nll (nats per latent dimension). If M predicts restarts: restart (cross entropy in nats), recall (share of
    the deaths with a logit above 0) and false_alarms (share of the other steps with such a logit). If M predicts rewards or
    actions: reward or action, the mean squared error of each number.
    """

    def __init__(
        self,
        mdnrnn,
        batch,
        carry,
        restart_weight,
        seed,
        precision="float32",
        reward_scale=1.0,
        dropout=0.0,
        least_reward=-math.inf,
    ):
        super().__init__()
        self.mdnrnn, self.carry, self.restart_weight = mdnrnn, carry, restart_weight
        self.reward_scale, self.least_reward, self.dropout = reward_scale, least_reward, dropout
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

    def save_own_variables(self, store):  # h and c are zero at the start of each epoch, so checkpoints omit them
        store["noise"] = self.noise.state

    def load_own_variables(self, store):
        self.noise.state.assign(store["noise"])

    @property
    def metrics(self):
        return [self._loss_tracker, *self.means.values()]

    def reset(self):
        """Set the carried state to zeros."""
        self.h.assign(tf.zeros_like(self.h))
        self.c.assign(tf.zeros_like(self.c))

    def call(self, batch, training=False):
        """[(hidden (L,B,H), the next z (L,B,Z)) of each lane of B rows] for a batch made by rnn.batches.Series.batch."""
        mu, logvar = (tf.cast(batch[name], tf.float32) for name in ("mu", "logvar"))
        z = mu + tf.exp(logvar / 2) * keras.random.normal(tf.shape(mu), seed=self.noise)
        seen, factor = z, None
        if training and self.dropout:
            seen, factor = z * self._factor(mu, self.mdnrnn.z_size)[:, None], self._factor(mu, self.mdnrnn.rnn_size)
        before = [tf.convert_to_tensor(part) for part in (self.h, self.c)]
        hidden, states = [], []
        for rows in self.lanes:
            state = [part[rows] for part in before] if self.carry else None
            inputs = seen[rows, :-1], batch["action"][rows, :-1], batch["restart"][rows, :-1]
            drop = None if factor is None else factor[rows]
            values, state = self.mdnrnn.hidden(*inputs, state, self.product_dtype, drop)
            hidden.append((values, tf.transpose(z[rows, 1:], (1, 0, 2))))
            states.append(state)
        if self.carry:
            h, c = (tf.concat(parts, axis=0) for parts in zip(*states, strict=True))
            self.h.assign(h)
            self.c.assign(c)
        return hidden

    def _factor(self, batch, size):
        """Dropout's factor (B,size) on inputs: 0, or what keeps their mean."""
        kept = keras.random.uniform((tf.shape(batch)[0], size), seed=self.noise) >= self.dropout
        return tf.cast(kept, tf.float32) / (1 - self.dropout)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The negative log likelihood, averaged over batch, time and dimensions, plus the losses of M's other predictions."""
        mask = tf.transpose(x["mask"])  # (L,B)
        total = tf.reduce_sum(mask)
        layout, (kernel, bias) = self.mdnrnn.layout, self.mdnrnn.planes()
        kernel = tf.cast(kernel, self.product_dtype)
        losses, others = [], []
        for rows, (hidden, target) in zip(self.lanes, y_pred, strict=True):
            weight = tf.reshape(tf.math.divide_no_nan(mask[:, rows], total) / target.shape[-1], [-1])
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
        reward = tf.maximum(tf.transpose(x["reward"]), self.least_reward) / self.reward_scale
        return self._mean("reward", tf.square(numbers[..., 0] - reward), mask)

    def _action_loss(self, x, numbers, mask):
        """The squared error of the next action. An episode's last frame has none and is left out."""
        following = tf.transpose(tf.cast(x["action"][:, 1:], tf.float32), (1, 0, 2))
        error = tf.reduce_mean(tf.square(numbers - following), axis=-1)
        return self._mean("action", error, mask * (1 - tf.transpose(x["restart"][:, 1:])))

    def _mean(self, name, values, weight):
        """The weighted mean of values (L,B). It is also reported as the metric `name`."""
        total = tf.reduce_sum(weight)
        mean = tf.math.divide_no_nan(tf.reduce_sum(values * weight), total)
        self.means[name].update_state(mean, total)
        return mean
