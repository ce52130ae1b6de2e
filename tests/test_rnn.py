"""M: the published network, its likelihood, its temperature, and single steps against whole sequences."""

import numpy as np
import pytest

from config import UserError


@pytest.fixture(scope="module")
def doom():
    import keras

    from rnn.rnn import MDNRNN

    keras.utils.set_random_seed(0)
    return MDNRNN(64, 1, 512, predict_restart=True)


@pytest.fixture(scope="module")
def car():
    import keras

    from rnn.rnn import MDNRNN

    keras.utils.set_random_seed(0)
    return MDNRNN(32, 3, 256)


def sequences(model, batch=3, steps=12):
    """Random (z, action, restart) for `model`; in the first two rows an episode starts in the middle."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(batch, steps, model.z_size)).astype(np.float32)
    action = rng.normal(size=(batch, steps, model.action_size)).astype(np.float32)
    restart = np.zeros((batch, steps), np.float32)
    restart[:, 0] = restart[0, 5] = restart[1, 9] = 1
    return z, action, restart


def test_parameters(car, doom):
    for model, expected in ((car, 422_368), (doom, 1_678_785)):
        assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected
        assert (model.cell.bias.numpy()[model.rnn_size : 2 * model.rnn_size] == 1).all()  # the forget gate
        assert model.cell.bias.numpy().sum() == model.rnn_size


@pytest.mark.parametrize("name", ["car", "doom"])
def test_sequence_and_steps_agree(name, request):
    model = request.getfixturevalue(name)
    z, action, restart = sequences(model)
    start = tuple(np.full((3, model.rnn_size), value, np.float32) for value in (0.3, -0.2))
    params, last = model.sequence(z, action, restart if name == "doom" else None, start)
    state = start
    for t in range(z.shape[1]):
        step, state = model.step(z[:, t], action[:, t], state, restart[:, t] if name == "doom" else None)
        for whole, single in zip(params, step, strict=True):
            if whole is not None:
                np.testing.assert_allclose(whole[:, t], single, atol=1e-5)
    for whole, single in zip(last, state, strict=True):
        np.testing.assert_allclose(whole, single, atol=1e-5)


def test_restart_forgets_what_was_before(doom):
    z, action, restart = sequences(doom)
    params, _ = doom.sequence(z, action, restart)
    after, _ = doom.sequence(z[:, 5:], action[:, 5:], restart[:, 5:])
    np.testing.assert_allclose(params.mean[0, 5:], after.mean[0], atol=1e-5)  # row 0 begins anew at 5
    assert np.abs(params.mean[2, 5:] - after.mean[2]).max() > 1e-3  # row 2 does not


def test_state_is_that_of_keras(car):
    """(h, c), each (B,H), zeros at first; h is the output of a keras.layers.LSTM with the same weights."""
    import keras

    z, action, _ = sequences(car)
    layer = keras.layers.LSTM(256, return_state=True)
    layer.build((None, None, 35))
    layer.set_weights(car.cell.get_weights())
    _, (h, c) = car.sequence(z, action)
    _, expected_h, expected_c = layer(np.concatenate([z, action], axis=-1))
    np.testing.assert_allclose(h, expected_h, atol=1e-5)
    np.testing.assert_allclose(c, expected_c, atol=1e-5)
    h, c = car.initial_state(4)
    assert h.shape == c.shape == (4, 256) and not np.any(h) and not np.any(c)


def test_gradient_is_that_of_automatic_differentiation(doom):
    """The explicit gradient of the loop against TensorFlow's through the cell's steps, with restarts and a state."""
    import tensorflow as tf

    z, action, restart = (part[:, :7] for part in sequences(doom))
    start = tuple(tf.fill((3, 512), value) for value in (0.3, -0.2))
    weight = tf.constant(np.random.default_rng(1).normal(size=(3, 7, 64, 5)), tf.float32)

    def loss(params, state):
        return tf.reduce_sum(params.mean * weight) + tf.reduce_sum(state[0]) + 2 * tf.reduce_sum(state[1])

    with tf.GradientTape() as tape:
        value = loss(*doom.sequence(z, action, restart, start))
    ours = tape.gradient(value, doom.cell.trainable_variables)
    with tf.GradientTape() as tape:
        state, means = start, []
        for t in range(7):
            params, state = doom.step(z[:, t], action[:, t], state, restart[:, t])
            means.append(params.mean)
        value = loss(params._replace(mean=tf.stack(means, axis=1)), state)
    expected = tape.gradient(value, doom.cell.trainable_variables)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_head_takes_the_numbers_in_the_published_order(doom):
    """961 numbers: the restart's logit, then for each dimension 5 log weights, 5 means, 5 log standard deviations."""
    h = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    kernel, bias = (weight.numpy() for weight in doom.output_layer.weights)
    numbers = h @ kernel + bias
    assert numbers.shape == (2, 961)
    params = doom.head(h)
    np.testing.assert_allclose(params.restart_logit, numbers[:, 0], atol=1e-5)
    blocks = numbers[:, 1:].reshape(2, 64, 15)
    for part, expected in zip(params, (blocks[..., :5], blocks[..., 5:10], blocks[..., 10:]), strict=False):
        np.testing.assert_allclose(part, expected, atol=1e-5)


def test_log_likelihood_equals_a_sum_in_float64(car):
    from rnn.head import Prediction

    rng = np.random.default_rng(0)
    logits, mean, log_std = (rng.normal(size=(50, 32, 5)).astype(np.float32) for _ in range(3))
    z = rng.normal(size=(50, 32)).astype(np.float32)
    w, m, s, x = (array.astype(np.float64) for array in (logits, mean, log_std, z))
    weights = np.exp(w) / np.exp(w).sum(axis=-1, keepdims=True)
    density = np.exp(-0.5 * ((x[..., None] - m) / np.exp(s)) ** 2) / (np.exp(s) * np.sqrt(2 * np.pi))
    expected = np.log((weights * density).sum(axis=-1))
    actual = car.mixture(Prediction(logits, mean, log_std, None)).log_prob(z).numpy()
    np.testing.assert_allclose(actual.sum(axis=1), expected.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_samples_follow_the_temperature(car, temperature):
    """10^5 samples: weights are softmax(logits / t), each Gaussian's variance is sigma^2 * t. Bounds: 5 standard errors."""
    from rnn.head import Prediction

    count, mean = (
        100_000,
        np.array([-400, -200, 0, 200, 400], np.float32),
    )  # far enough apart to identify each sample's Gaussian
    logits, sigma = np.array([0.5, -0.3, 1, 0, -1], np.float32), np.array([0.5, 1, 2, 3, 4], np.float32)
    params = Prediction(*(np.tile(array, (1, 1)) for array in (logits, mean, np.log(sigma))), None)
    samples = car.mixture(params, temperature).sample(count, seed=1).numpy()[:, 0]
    nearest = np.abs(samples[:, None] - mean).argmin(axis=1)
    weights = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    for k in range(5):
        own = samples[nearest == k]
        assert abs(len(own) / count - weights[k]) < 5 * np.sqrt(weights[k] * (1 - weights[k]) / count)
        assert abs(own.var() / (sigma[k] ** 2 * temperature) - 1) < 5 * np.sqrt(2 / len(own))
        assert abs(own.mean() - mean[k]) < 5 * sigma[k] * np.sqrt(temperature / len(own))


def test_save_and_load(doom, tmp_path):
    from rnn.rnn import load_rnn

    doom.save(tmp_path / "m.keras")
    loaded = load_rnn(str(tmp_path / "m.keras"))
    z, action, restart = sequences(doom)
    a, b = (model.sequence(z, action, restart)[0] for model in (doom, loaded))
    assert a.reward is a.action is None
    assert all((x.numpy() == y.numpy()).all() for x, y in zip(a[:4], b[:4], strict=True))
    values = loaded.get_weights()
    values[-1][0] = np.inf
    loaded.set_weights(values)
    loaded.save(tmp_path / "inf.keras")
    with pytest.raises(UserError, match="inf.keras.*not finite"):
        load_rnn(str(tmp_path / "inf.keras"))
