"""Curiosity: the flipped sign of M's loss as a reward in the real world (article, "Iterative Training Procedure").

The recorded episodes are themselves small generations of CMA-ES, which search near the agent's C for one that has a high return
and surprises M. So curiosity takes no real frames of its own.

Surprise is M's negative log likelihood of V's mean mu of the next frame. That of a sampled z would contain the sample's noise,
which nobody can learn to predict. Where an earlier V and M are given, surprise is what the likelihood has gained since then:
the article asks for improvement of the compression, which unpredictable frames do not promise.
"""

import os
import sys

import numpy as np
import tensorflow as tf

from world_models.controller.evolution import Evolution
from world_models.env.record import episode_path, load_episode
from world_models.rnn.encoding import by_parts
from world_models.rnn.world_model import load_world_model

POPULATION = 4  # a round records few episodes
SIGMA = 0.1  # the search's initial standard deviation, as a share of C's own


class Surprise:
    """surprise(episode) (T-1,): -log p of each next frame of an env.record episode, in nats per latent dimension."""

    def __init__(self, run_dir, game):
        """Raises UserError where V or M of the run is missing or not usable."""
        self.vae, self.rnn = load_world_model(run_dir, game)
        self._encode = tf.function(
            self.vae.encode, input_signature=[tf.TensorSpec((None, 64, 64, 3), tf.uint8)], autograph=False
        )
        sizes = self.rnn.z_size, self.rnn.action_size
        self._unlikelihood = tf.function(
            self._negative, input_signature=[tf.TensorSpec((None, size)) for size in sizes], autograph=False
        )

    def __call__(self, episode):
        mu, _ = by_parts(self._encode, episode.obs)
        return self._unlikelihood(mu, tf.constant(episode.action, tf.float32)).numpy()

    def _negative(self, mu, action):
        first = tf.one_hot(tf.zeros(1, tf.int32), tf.shape(mu)[0] - 1)
        hidden, _ = self.rnn.hidden(mu[None, :-1], action[None, :-1], first)
        return -tf.reduce_mean(self.rnn.mixture(self.rnn.head(hidden[:, 0])).log_prob(mu[1:]), axis=-1)


def record_curiously(game, args, stage, pool, agent):
    """Record the missing episodes of the opened `stage`, generation after generation. args: extract.py's.

    agent: a controller.recording.Agent, which plays the candidates. Each episode's fitness is measured on its file, so that a
    recording that was stopped goes on as it would have.
    """
    now = pool.together(lambda: Surprise(args.agent, game))
    before = pool.together(lambda: Surprise(args.gained_on, game)) if args.gained_on else None
    sigma = SIGMA * float(np.std(agent.params)) or SIGMA
    search = Evolution(agent.params, POPULATION, sigma, args.seed)

    def play(index, candidate):
        path = episode_path(stage.dir, index)
        if not os.path.exists(path):
            agent(stage.dir, [index], candidate)
        episode = load_episode(path, game.action_size)
        surprise = np.sum(before(episode) - now(episode) if before else now(episode))
        return np.sum(episode.reward), surprise

    for first in range(0, game.record_episodes, POPULATION):
        candidates = pool.broadcast(search.ask())
        indices = range(first, min(first + POPULATION, game.record_episodes))
        units = list(zip(indices, candidates, strict=False))
        returns, surprises = np.array(pool.map(lambda unit: play(*unit), units), np.float64).T
        if pool.rank == 0:
            stage.log(first=first, returns=returns.tolist(), surprises=surprises.tolist())
            what = f"returns {np.mean(returns):.1f}, surprise {np.mean(surprises):.1f} nats per dimension"
            print(f"episodes {first} to {indices[-1]}: {what}", file=sys.stderr, flush=True)
        if len(indices) == POPULATION:
            search.tell(candidates, returns + args.curiosity * surprises)
