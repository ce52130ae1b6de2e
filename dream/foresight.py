"""How well V reconstructs recorded games, and whether M, teacher-forced with them, predicts their ends.

Held-out episodes of the run's own recording say little about its agent. The agent reaches states that the random policy never
reached, and C exploits each death that M does not predict. So recorded games of agents are measured too.
"""

import numpy as np
import tensorflow as tf

from world_models.env.record import load_episode
from world_models.rnn.encoding import ENCODE_FRAMES

BEFORE_THE_END = 20  # frames, in which whatever ends the episode is near
ROWS = 16  # episodes in one batch of M


def foresight(game, vae, rnn, paths, seed=0):
    """{name: number} of the episodes in the files `paths` (env.record).

    episodes, frames: how many there are.
    error: squared error of V's reconstruction from mu, summed over a frame's pixels in [0, 1], averaged over all frames.
    error_before_end: the same, over each episode's last 20 frames.
    recall: share of deaths that M predicts with a logit above 0. An episode that was cut off has no death. None without a
    death.
    false_alarms: share of the other steps with such a logit.

    recall and false_alarms are None if M predicts no restarts. z is sampled, with `seed`, as in training and in play. Raises
    UserError, naming the file, where one cannot be read.
    """
    rng = np.random.default_rng(seed)
    code = tf.function(lambda frames: _code(vae, frames), input_signature=[tf.TensorSpec((None, 64, 64, 3), tf.uint8)])
    errors, before, episodes = [], [], []
    for path in paths:
        episode = load_episode(path, game.action_size, game.max_steps)
        parts = [code(episode.obs[i : i + ENCODE_FRAMES]) for i in range(0, len(episode.obs), ENCODE_FRAMES)]
        mu, logvar, error = (np.concatenate(part) for part in zip(*parts, strict=True))
        errors.append(error)
        before.append(error[-BEFORE_THE_END:])
        z = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32)
        episodes.append((z, episode.action, episode.ended))
    numbers = {"episodes": len(paths), "frames": sum(len(error) for error in errors)}
    numbers |= {"error": float(np.concatenate(errors).mean()), "error_before_end": float(np.concatenate(before).mean())}
    return numbers | dict(zip(("recall", "false_alarms"), _foreseen(rnn, episodes), strict=True))


def _code(vae, frames):
    """(mu (B,Z), logvar (B,Z), squared error (B,)) of frames (B,64,64,3) uint8."""
    mu, logvar = vae.encode(frames)
    error = tf.reduce_sum(tf.square(tf.cast(frames, tf.float32) / 255 - vae.decode(mu)), axis=(1, 2, 3))
    return mu, logvar, error


def _foreseen(rnn, episodes):
    """(recall, false alarms) over episodes (z (T,Z), action (T,A), whether it ended). recall is None without a death."""
    if not rnn.predict_restart:
        return None, None
    signature = [tf.TensorSpec((ROWS, None, size)) for size in (rnn.z_size, rnn.action_size)]

    @tf.function(input_signature=signature)
    def alarms(z, action):  # (T,B)
        first = tf.one_hot(tf.zeros(ROWS, tf.int32), tf.shape(z)[1])
        hidden, _ = rnn.hidden(z, action, first)
        return rnn.head(hidden).restart_logit > 0

    episodes = sorted(episodes, key=lambda episode: len(episode[0]))  # similar lengths together: less padding
    deaths = foreseen = steps = false = 0
    for at in range(0, len(episodes), ROWS):
        some = episodes[at : at + ROWS]
        padded = [np.zeros((ROWS, len(some[-1][0]), part.shape[1]), np.float32) for part in some[0][:2]]
        for row, episode in enumerate(some):
            for array, part in zip(padded, episode, strict=False):
                array[row, : len(part)] = part
        for alarm, (z, _, death) in zip(alarms(*padded).numpy().T, some, strict=False):
            last = len(z) - 1
            deaths, foreseen = deaths + death, foreseen + (death and alarm[last])
            steps, false = steps + last, false + alarm[:last].sum()
    return (float(foreseen / deaths) if deaths else None), float(false / max(steps, 1))
