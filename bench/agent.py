"""Whole agents (V, M and C) in the real CarRacing: train.py's against a straightforward loop, two processes each."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from world_models import config
from world_models.job import machine

PROCESSES = 2
PLAIN_LOOP, FLOAT32, OURS = "plain loop", "train.py's, --precision float32", "train.py's, --precision auto"


class Processes:
    """`PROCESSES` processes, each with the function that `prepare(*arguments)` returns in it.

    Calling this object calls the function in all of them at once and returns the sum of the results. Each process has one
    TensorFlow thread.
    """

    def __init__(self, prepare, *arguments):
        context = multiprocessing.get_context("spawn")
        self._executors = [ProcessPoolExecutor(1, context, _prepare, (prepare, arguments)) for _ in range(PROCESSES)]

    def __call__(self):
        return sum(future.result() for future in [executor.submit(_work) for executor in self._executors])

    def close(self):
        for executor in self._executors:
            executor.shutdown()


def _prepare(prepare, arguments):
    machine.load_tensorflow(1)
    global _function
    _function = prepare(*arguments)


def _work():
    return _function()


def _models():
    """The Game, and untrained V and M, which cost the same as trained ones."""
    from world_models.job.deep import keras
    from world_models.rnn.rnn import MDNRNN
    from world_models.vae.vae import ConvVAE

    keras.utils.set_random_seed(0)
    game = config.GAMES["carracing"]
    return game, ConvVAE(game.z_size), MDNRNN(game.z_size, game.action_size, game.rnn_size)


def plain_loop(steps):
    """Gymnasium's CarRacing-v3 and one tf.function for a step of the agent, an episode at a time."""
    import gymnasium
    import tensorflow as tf
    from PIL import Image

    game, vae, rnn = _models()
    world = gymnasium.make("CarRacing-v3")
    weights = tf.random.normal((game.z_size + game.rnn_size, game.action_size)) * 0.1

    @tf.function
    def act(frame, state):
        mu, logvar = vae.encode(frame[None])
        z = mu + tf.exp(logvar / 2) * tf.random.normal(tf.shape(mu))
        action = tf.tanh(tf.concat([z, state[0]], axis=-1) @ weights)
        action = tf.stack([action[:, 0], (action[:, 1] + 1) / 2, tf.clip_by_value(action[:, 2], 0.0, 1.0)], axis=-1)
        return action[0], rnn.step(z, action, state)[1]

    def episode():
        frame, _ = world.reset(seed=0)
        state = rnn.initial_state(1)
        for _ in range(steps):
            small = np.asarray(Image.fromarray(frame[:84]).resize((64, 64), Image.Resampling.BILINEAR))
            action, state = act(small, state)
            frame, _, over, cut, _ = world.step(action.numpy())
            if over or cut:
                frame, _ = world.reset(seed=0)
        return steps

    return episode


def ours(steps, precision, episodes=16):
    """A function that plays a candidate's episodes as train.py does, and returns the number of steps."""
    from world_models.controller.agent import Agent
    from world_models.controller.rollout import RealWorld

    game, vae, rnn = _models()
    world = RealWorld(Agent(game, vae.in_precision(precision), rnn), episodes)
    params = np.random.default_rng(0).normal(0, 0.1, world.controller.num_params)
    return lambda: int(world.rollout(params, list(range(episodes)), steps, full=True)[1].sum())


def alternatives(steps):
    """{name: Processes} of episodes of `steps` steps, resets included."""
    return {
        PLAIN_LOOP: Processes(plain_loop, steps),
        FLOAT32: Processes(ours, steps, "float32"),
        OURS: Processes(ours, steps, machine.fast_precision()),
    }
