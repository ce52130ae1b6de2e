"""The agent: V, M and C joined, with the published order of events.

At each step C acts on the current z and M's state. Then M is updated with (z, action). Only then the world steps, and the new
frame is encoded and z sampled. The authors' model.py and the article's pseudocode both have this order.
"""

import os

import tensorflow as tf

from world_models.config import UserError
from world_models.controller.controller import Controller, mode_of, read_params
from world_models.dream.rows import filled, uniform
from world_models.job.rundir import controller_stage, need, settings_in
from world_models.rnn.world_model import load_memory


class Agent:
    """K controllers with V and M, in E worlds each. A batch has B = K * E rows; those of one controller are adjacent."""

    def __init__(self, game, vae, rnn, mode=None):
        self.game, self.vae, self.rnn = game, vae, rnn
        self.controller = Controller(game, mode, rnn)

    def initial_state(self, batch):
        return self.rnn.initial_state(batch)

    @tf.function(autograph=False)
    def step(self, params, frames, noise, state, restart, forced=None, rows=None):
        """(z, actions, state) for frames (B,64,64,3) uint8 and noise (B,Z) from N(0, I).

        params: (K, num_params) float32. state: the pair (h, c), each (B,H). restart: (B,), 1 at an episode's first frame.
        forced: (B,A), actions that replace C's, NaN where C decides. rows: how many V and M compute, `uniform(B)` by default.
        If C does not see M's state, M is not run and the state is unchanged. A row's values do not depend on its position.
        """
        count = frames.shape[0]
        rows = rows or uniform(count)
        z = self.vae.encode_sample(filled(frames, rows), filled(noise, rows))[:count]
        features = self.controller.features(z, state)
        features = tf.reshape(features, (params.shape[0], -1, features.shape[-1]))  # (K, E, F)
        episodes = features.shape[1]
        actions = self.controller.actions(filled(features, uniform(episodes), axis=1), params)[:, :episodes]
        actions = tf.reshape(actions, (-1, self.game.action_size))
        if forced is not None:
            actions = tf.where(tf.math.is_nan(forced), actions, forced)
        if self.controller.sees_memory:
            restart = filled(restart, rows) if self.game.predict_restart else None
            state = [filled(part, rows) for part in state]
            h, c = self.rnn.advance(filled(z, rows), filled(actions, rows), state, restart)
            state = h[:count], c[:count]
        return z, actions, state


def load_controller(run_dir, game, stage=None, file=None):
    """(mode, params (P,) float64) of a run's best controller: the one evolved in it, else the one converted from the original.

    stage: "controller", "controller-NAME" or "legacy", to load only from that folder of the run. file: the path of another
    controller for this V and M, in the format of best.json.
    Raises UserError where it is missing, or is not [parameters, score] with finite numbers.
    """
    stage = stage or controller_stage(run_dir)
    params, _ = read_params(file or need(run_dir, stage, "best.json", game.name))
    if file or stage == "legacy":
        return mode_of(game, len(params), load_memory(run_dir, game)), params
    config = need(run_dir, stage, "config.json", game.name)
    mode = settings_in(os.path.dirname(config)).get("controller_mode")
    if mode is None:
        raise UserError(f"{config} has no controller_mode, so it is not of a controller: restore it")
    return mode, params
