"""How well V reconstructs recorded games, and what M, teacher-forced with them, predicts of their ends, rewards and actions.

Held-out episodes of the run's own recording say little about its agent. The agent reaches states that the random policy never
reached, and C exploits each death that M does not predict. So recorded games of agents are measured too.

C learns to dodge only what it can see coming in its dream. So dreams also go on from some steps before a recorded end, with the
recorded actions: do they end too?
"""

import numpy as np
import tensorflow as tf

from world_models.env.record import load_episode
from world_models.rnn.encoding import by_parts
from world_models.rnn.head import Prediction

BEFORE_THE_END = 20  # frames, in which whatever ends the episode is near
ROWS = 16  # episodes in one batch of M
AHEAD, LATE = 10, 5  # steps before a recorded end at which dreams go on, steps after it by which they must have ended
DREAMS = 48  # that go on from each moment


class Foresight:
    """foresight(paths) measures V, and M in `dream`, of a game on the recorded episodes in the files `paths`."""

    def __init__(self, game, vae, dream):
        self.game, self.dream, self.rnn = game, dream, dream.rnn
        frames = tf.TensorSpec((None, 64, 64, 3), tf.uint8)
        self._code = tf.function(lambda frames: _code(vae, frames), input_signature=[frames], autograph=False)
        inputs = [tf.TensorSpec((ROWS, None, size)) for size in (self.rnn.z_size, self.rnn.action_size)]
        self._predict = tf.function(lambda z, action: _predict(dream.rnn, z, action), input_signature=inputs, autograph=False)
        inputs = [tf.TensorSpec((1, None, size)) for size in (self.rnn.z_size, self.rnn.action_size)]
        self._remember = tf.function(lambda z, action: _hidden(dream.rnn, z, action), input_signature=inputs, autograph=False)

    def __call__(self, paths, seed=0):
        """{name: number} of the episodes in the files `paths` (env.record).

        episodes, frames: how many there are.
        error: squared error of V's reconstruction from mu, summed over a frame's pixels in [0, 1], averaged over all frames.
        error_before_end: the same, over each episode's last 20 frames.
        recall: share of deaths that M predicts with a logit above 0. An episode that was cut off has no death. None without a
        death.
        false_alarms: share of the other steps with such a logit.
        ahead: share of dreams that go on from AHEAD steps before a recorded death, with the recorded actions, and have ended by
        LATE steps after it.
        elsewhere: the same from a random moment of each episode, where no end is as near.
        reward_r2, action_r2: R^2 of the reward and of the next action, the coefficient of determination over all their numbers.

        What M does not predict is None. z is sampled, with `seed`, as in training and in play. Raises UserError, naming the
        file, where one cannot be read.
        """
        rng = np.random.default_rng(seed)
        errors, before, episodes = [], [], []
        for path in paths:
            episode = load_episode(path, self.game.action_size, self.game.max_steps)
            mu, logvar, error = by_parts(self._code, episode.obs)
            errors.append(error)
            before.append(error[-BEFORE_THE_END:])
            z = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32)
            episodes.append((z, episode))
        numbers = {"episodes": len(paths), "frames": sum(len(error) for error in errors)}
        numbers |= {"error": float(np.concatenate(errors).mean()), "error_before_end": float(np.concatenate(before).mean())}
        predictions = list(self._predictions(episodes))
        numbers |= dict(zip(("recall", "false_alarms"), _foreseen(predictions), strict=True))
        numbers |= dict(zip(("ahead", "elsewhere"), self._dreamed_on(episodes, rng), strict=True))
        reward = _reward_r2(predictions, self.game)
        return numbers | {"reward_r2": reward, "action_r2": _action_r2(predictions)}

    def _predictions(self, episodes):
        """Yields (the Episode, M's Prediction (T,...) at each step) for each of `episodes`, pairs (z (T,Z), Episode)."""
        episodes = sorted(episodes, key=lambda pair: len(pair[0]))  # similar lengths together: less padding
        for at in range(0, len(episodes), ROWS):
            some = episodes[at : at + ROWS]
            sizes = self.rnn.z_size, self.rnn.action_size
            z, action = (np.zeros((ROWS, len(some[-1][0]), size), np.float32) for size in sizes)
            for row, (codes, episode) in enumerate(some):
                z[row, : len(codes)], action[row, : len(codes)] = codes, episode.action
            told = [None if part is None else part.numpy() for part in self._predict(z, action)]
            for row, (codes, episode) in enumerate(some):
                yield episode, Prediction(*(None if part is None else part[row, : len(codes)] for part in told))

    def _dreamed_on(self, episodes, rng):
        """("ahead", "elsewhere") of `episodes`, pairs (z (T,Z), Episode). None where no dream can end, or no moment fits."""
        if not self.rnn.predict_restart:
            return None, None
        ends, others = [], []
        for z, episode in episodes:
            action, last = np.float32(episode.action), len(z) - 1
            if episode.ended and last > AHEAD:
                ends.append(self._share_that_ends(z, action, last - AHEAD, rng))
            if last > AHEAD + LATE + 1:
                others.append(self._share_that_ends(z, action, rng.integers(1, last - AHEAD - LATE), rng))
        return tuple(float(np.mean(part)) if part else None for part in (ends, others))

    def _share_that_ends(self, z, action, moment, rng):
        """Share of dreams that end if they go on from frame `moment`, 1 or later, of an episode z (T,Z), action (T,A).

        They last AHEAD + LATE + 1 steps. The episode's last action is repeated after its end.
        """
        _, state = self._remember(z[None, :moment], action[None, :moment])
        seeds = tf.constant(rng.integers(2**32, size=DREAMS, dtype=np.uint32))
        z, *state = (tf.repeat(part, DREAMS, axis=0) for part in (z[moment][None], *state))
        action = action[moment:]
        ended = np.zeros(DREAMS, bool)
        for t in range(AHEAD + LATE + 1):
            actions = tf.constant(np.repeat(action[min(t, len(action) - 1)][None], DREAMS, axis=0))
            # A dream's step 0 would be an episode's first frame.
            z, state, _, died = self.dream.step(z, actions, tuple(state), seeds, tf.fill(DREAMS, t + 1))
            ended |= died.numpy()
        return ended.mean()


def _code(vae, frames):
    """(mu (B,Z), logvar (B,Z), squared error (B,)) of frames (B,64,64,3) uint8."""
    mu, logvar = vae.encode(frames)
    error = tf.reduce_sum(tf.square(tf.cast(frames, tf.float32) / 255 - vae.decode(mu)), axis=(1, 2, 3))
    return mu, logvar, error


def _predict(rnn, z, action):
    """M's Prediction (B,T,...) of episodes z (B,T,Z), action (B,T,A)."""
    return rnn.head(tf.transpose(_hidden(rnn, z, action)[0], (1, 0, 2)))


def _hidden(rnn, z, action):
    """(h (T,B,H) after each step, the state after the last) of M, from the episodes' first frames."""
    return rnn.hidden(z, action, tf.one_hot(tf.zeros(tf.shape(z)[0], tf.int32), tf.shape(z)[1]))


def _foreseen(predictions):
    """(recall, false alarms) of ends. None where M predicts none, recall also without a death."""
    deaths = foreseen = steps = false = 0
    for episode, predicted in predictions:
        if predicted.restart_logit is None:
            return None, None
        *others, last = predicted.restart_logit > 0
        deaths, foreseen = deaths + episode.ended, foreseen + (episode.ended and last)
        steps, false = steps + len(others), false + np.sum(others)
    return (float(foreseen / deaths) if deaths else None), float(false / max(steps, 1))


def _reward_r2(predictions, game):
    """R^2 of the rewards as M learns them, None where M predicts none.

    An episode's last one came with a frame that was not recorded.
    """
    told = [
        (p.reward[:-1] * game.reward_scale, np.maximum(episode.reward[:-1], game.least_reward))
        for episode, p in predictions
        if p.reward is not None
    ]
    return _r2([pair for pair in told if np.isfinite(pair[1]).all()])  # some recordings have no rewards


def _action_r2(predictions):
    """R^2 of the next action. None where M predicts none."""
    return _r2([(p.action[:-1], episode.action[1:]) for episode, p in predictions if p.action is not None])


def _r2(pairs):
    """1 - squared error / squared deviation from the mean, over [(predicted, true)]. None where nothing varies."""
    if not pairs:
        return None
    predicted, true = (np.concatenate(part) for part in zip(*pairs, strict=True))
    spread = np.sum(np.square(true - np.mean(true, axis=0)))
    return float(1 - np.sum(np.square(predicted - true)) / spread) if spread > 0 else None
