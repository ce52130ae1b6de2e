"""The features of C: z alone or with M's state, in the order of the authors' model.py and doomrnn.py."""

import tensorflow as tf


def features(mode, z, state):
    """(B,F) of z (B,Z) and M's state, the pair (h, c), each (B,H): [z, h], [z, c, h] or z, as `mode` says."""
    h, c = state
    return tf.concat({"zh": [z, h], "zch": [z, c, h]}.get(mode, [z]), axis=-1)
