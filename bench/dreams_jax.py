"""Doom's dream in plain JAX: one step for all rows, repeated by `lax.scan`, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from world_models.config import GAMES

GAME = GAMES["doom"]


def stepper(rnn, controllers, temperature):
    """step((z, h, c, alive, length, key), t) for `lax.scan` over B dreams, B / K for each of the controllers (K,F,A).

    z is (B,Z), h and c (B,H), alive and length (B,). One key a step makes the noise of all rows, which is less work than a
    random stream for each dream.
    """
    kernel, recurrent, bias = (jnp.array(weight) for weight in rnn.cell.get_weights())
    head, head_bias = (jnp.array(weight) for weight in rnn.output_layer.get_weights())
    inputs = jnp.concatenate([kernel, recurrent])
    count, size, _ = controllers.shape
    mixture, restart_logit = (rnn.layout.slices[name] for name in ("mixture", "restart"))

    def step(carry, t):
        z, h, c, alive, length, key = carry
        rows = len(z)
        key, uniform, normal = jax.random.split(key, 3)
        seen = jnp.concatenate([z, c, h], axis=1).reshape(count, -1, size)
        action = jnp.tanh(jnp.einsum("kef,kfa->kea", seen, controllers)).reshape(rows, -1)
        restart = jnp.full((rows, 1), t == 0, jnp.float32)
        i, f, g, o = jnp.split(jnp.concatenate([z, action, restart, h], axis=1) @ inputs + bias, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        numbers = h @ head + head_bias
        logits, mean, log_std = jnp.split(numbers[:, mixture].reshape(rows, rnn.z_size, -1), 3, axis=2)
        cumulative = jnp.cumsum(jax.nn.softmax(logits / temperature), axis=2)
        chosen = jnp.sum(jax.random.uniform(uniform, (rows, rnn.z_size, 1)) > cumulative[..., :-1], axis=2, keepdims=True)
        mean, log_std = (jnp.take_along_axis(part, chosen, axis=2)[..., 0] for part in (mean, log_std))
        z = mean + jnp.exp(log_std) * jax.random.normal(normal, (rows, rnn.z_size)) * temperature**0.5
        length += alive
        return (z, h, c, alive & (numbers[:, restart_logit][:, 0] <= 0), length, key), None

    return step


def begin(rnn, initial_z, rows, key):
    """The carry of `stepper` before the first step, for B = `rows` dreams; initial_z: (mu, logvar), each (N,Z)."""
    mu, logvar = (jnp.array(part, jnp.float32) for part in initial_z)
    key, which, normal = jax.random.split(key, 3)
    which = jax.random.randint(which, (rows,), 0, len(mu))
    z = mu[which] + jnp.exp(logvar[which] / 2) * jax.random.normal(normal, (rows, rnn.z_size))
    zeros = jnp.zeros((rows, rnn.rnn_size))
    return z, zeros, zeros, jnp.ones(rows, bool), jnp.zeros(rows, jnp.int32), key


def scan(rnn, initial_z, rows, steps):
    """A function for `measure.rates`: `steps` steps of `rows` dreams, 16 for each controller."""
    size = GAME.z_size + 2 * GAME.rnn_size
    weights = np.random.default_rng(0).normal(0, 0.1, (rows // 16, size, GAME.action_size))
    step = stepper(rnn, jnp.array(weights, jnp.float32), GAME.dream_temperature)

    @jax.jit
    def rollout(key):
        return lax.scan(step, begin(rnn, initial_z, rows, key), jnp.arange(steps))[0][4]

    return lambda: int(np.asarray(rollout(jax.random.key(0))).sum())
