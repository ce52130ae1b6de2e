"""The agent: V, M and C joined, with the published order of events.

At each step C acts on the current z and M's state, then M consumes (z, action), and only then the world steps and the new
frame is encoded and sampled (the authors' model.py; the article's pseudocode has the same order).
"""

import numpy as np
import tensorflow as tf

from config import UserError
from controller.controller import Controller
from rundir import need, read_json


class Agent:
    """K controllers with V and M, in E worlds each; a batch has B = K * E rows, a controller's one after another."""

    def __init__(self, game, vae, rnn, mode=None):
        self.game, self.vae, self.rnn = game, vae, rnn
        self.controller = Controller(game, mode)

    def initial_state(self, batch):
        return self.rnn.initial_state(batch)

    @tf.function
    def step(self, params, frames, noise, state, restart):
        """(z, actions, state) for frames (B,64,64,3) uint8 and noise (B,Z) from N(0, I).

        params (K, num_params) float32; state the pair (h, c), each (B,H); restart (B,), 1 at an episode's first frame.
        """
        z = self.vae.encode_sample(frames, noise)
        features = self.controller.features(z, state)
        features = tf.reshape(features, (params.shape[0], -1, features.shape[-1]))  # (K, E, F)
        actions = tf.reshape(self.controller.actions(features, params), (-1, self.game.action_size))
        state = self.rnn.advance(z, actions, state, restart if self.game.predict_restart else None)
        return z, actions, state


def load_controller(run_dir, game):
    """(mode, params (P,) float64) of the best controller of a run.

    Raises UserError where it is missing, or is not [parameters, score] with finite numbers.
    """
    path = need(run_dir, "controller", "best.json", game.name)
    config = read_json(need(run_dir, "controller", "config.json", game.name))
    try:
        params = np.array(read_json(path)[0], np.float64)
        good = params.ndim == 1 and np.isfinite(params).all()
    except (TypeError, ValueError, IndexError, KeyError):
        good = False
    if not good:
        raise UserError(f"{path} is not [parameters, score] with finite numbers: restore it, or train the controller again")
    return config["settings"]["controller_mode"], params
