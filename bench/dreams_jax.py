"""The same dream in JAX, as one would write it there: one step for all rows, repeated by `lax.scan`, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from config import GAMES

GAME = GAMES["doom"]


def scan(rnn, initial_z, rows, steps):
    """A contestant: `steps` steps of `rows` dreams, 16 for each controller.

    Chance is one key a step for all rows, which is less work than chance that each dream has for itself.
    """
    rng = np.random.default_rng(0)
    kernel, recurrent, bias = (jnp.array(weight) for weight in rnn.cell.get_weights())
    head, head_bias = (jnp.array(weight) for weight in rnn.output_layer.get_weights())
    inputs = jnp.concatenate([kernel, recurrent])
    size = GAME.z_size + 2 * GAME.rnn_size
    weights = jnp.array(rng.normal(0, 0.1, (rows // 16, size, GAME.action_size)), jnp.float32)
    which = rng.integers(0, len(initial_z[0]), rows)
    start = jnp.array(initial_z[0][which], jnp.float32)
    temperature = GAME.dream_temperature

    def step(carry, t):
        z, h, c, alive, length, key = carry
        key, uniform, normal = jax.random.split(key, 3)
        seen = jnp.concatenate([z, c, h], axis=1).reshape(rows // 16, 16, size)
        action = jnp.tanh(jnp.einsum("kef,kfa->kea", seen, weights)).reshape(rows, -1)
        restart = jnp.full((rows, 1), t == 0, jnp.float32)
        i, f, g, o = jnp.split(jnp.concatenate([z, action, restart, h], axis=1) @ inputs + bias, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        numbers = h @ head + head_bias
        logits, mean, log_std = jnp.split(numbers[:, 1:].reshape(rows, GAME.z_size, -1), 3, axis=2)
        cumulative = jnp.cumsum(jax.nn.softmax(logits / temperature), axis=2)
        chance = jax.random.uniform(uniform, (rows, GAME.z_size, 1))
        chosen = jnp.sum(chance > cumulative[..., :-1], axis=2, keepdims=True)
        mean, log_std = (jnp.take_along_axis(part, chosen, axis=2)[..., 0] for part in (mean, log_std))
        z = mean + jnp.exp(log_std) * jax.random.normal(normal, z.shape) * temperature**0.5
        length += alive
        return (z, h, c, alive & (numbers[:, 0] <= 0), length, key), None

    @jax.jit
    def rollout(key):
        zeros = jnp.zeros((rows, GAME.rnn_size))
        carry = (start, zeros, zeros, jnp.ones(rows, bool), jnp.zeros(rows, jnp.int32), key)
        return lax.scan(step, carry, jnp.arange(steps))[0][4]

    return lambda: int(np.asarray(rollout(jax.random.key(0))).sum())
