"""The seeds of episodes."""

import numpy as np

# What episodes are for. A seed is made from (run seed, purpose, ...), so that no two purposes share a track or a game.
TRAIN, EVALUATE_MEAN, VALIDATION, TEST, RECORD = range(5)


def episode_seeds(count, *key):
    """`count` seeds (ints below 2^31) from the ints in `key`. The first n are the same for any `count`."""
    return [int(seed) >> 1 for seed in np.random.SeedSequence(key).generate_state(count, np.uint32)]
