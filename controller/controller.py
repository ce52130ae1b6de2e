"""C: the controllers of the article, from one linear layer to 40 hidden units, as one flat vector of parameters.

Article, "Controller (C) Model" and "Car Racing Experiment Results". The parameters are in the order of the authors' model.py,
so that their best.json files can be loaded: layer after layer, biases before weights, weights as (inputs, outputs).
"""

import numpy as np
import tensorflow as tf

from world_models import config
from world_models.config import MODES, UserError
from world_models.dream.kernel import total
from world_models.job.reading import misfit
from world_models.job.rundir import read_json, write_json
from world_models.rnn.features import features

HIDDEN_UNITS = 40


class Controller:
    """a = map(tanh(W x + b)), with x one of z, [z, h] and [z, c, h]; or tanh(W2 tanh(W1 z + b1) + b2).

    game: a `config.Game` or the name of one. It determines the action maps, and whether there are biases.
    mode: "zh", "zch", "z" or "z_hidden"; None: the game's. rnn: an MDNRNN whose sizes of z and h are used instead of the
    game's.

    Raises UserError for an unknown mode, and, in `set_params`, for a vector of the wrong length or with NaN in it.
    """

    def __init__(self, game, mode=None, rnn=None):
        game = config.GAMES[game] if isinstance(game, str) else game
        sizes = game if rnn is None else rnn
        self.mode = mode or game.controller_mode
        if self.mode not in MODES:
            raise UserError(f"there is no controller mode {self.mode!r}: choose one of {', '.join(MODES)}")
        self.action_maps = game.action_maps
        recurrent = {"zh": sizes.rnn_size, "zch": 2 * sizes.rnn_size}.get(self.mode, 0)
        self.feature_size = sizes.z_size + recurrent
        self.sees_memory = recurrent > 0
        hidden = [HIDDEN_UNITS] if self.mode == "z_hidden" else []
        layers = [self.feature_size, *hidden, game.action_size]
        self._shapes = []  # of each layer's (bias or None, weights), in the order of the flat vector
        for inputs, outputs in zip(layers[:-1], layers[1:], strict=True):
            self._shapes.append(((outputs,) if game.controller_bias else None, (inputs, outputs)))
        self.params = np.zeros(self.num_params)

    @property
    def num_params(self):
        return sum(int(np.prod(shape)) for layer in self._shapes for shape in layer if shape is not None)

    def set_params(self, vector):
        """Set the parameters to `vector`, of shape (num_params,). Raises UserError as the class says."""
        try:
            vector = np.asarray(vector, np.float64)
        except (TypeError, ValueError):
            raise UserError("the controller's parameters are not a list of numbers: train it again") from None
        if vector.shape != (self.num_params,):
            raise UserError(
                f"the controller's parameters have shape {vector.shape}, not ({self.num_params},) as mode {self.mode} needs: "
                "pass the --mode that it was trained with"
            )
        if not np.isfinite(vector).all():
            raise UserError("the controller's parameters have NaN or infinity in them: train it again")
        self.params = vector

    def layers(self, params):
        """[(bias (outputs,), weight (inputs, outputs)), ...] of the vector `params` (P,). Biases that C lacks are zeros."""
        parts = self._parts(np.asarray(params)[None])
        return [(np.zeros(w.shape[2]) if b is None else b[0], w.numpy()[0]) for b, w in parts]

    def _parts(self, params):
        """[(bias (K, outputs) or None, weight (K, inputs, outputs)), ...] of the vectors `params` (K, num_params)."""
        parts, start = [], 0
        for bias, (inputs, outputs) in self._shapes:
            middle = start + (outputs if bias else 0)
            end = middle + inputs * outputs
            parts.append((params[:, start:middle] if bias else None, tf.reshape(params[:, middle:end], (-1, inputs, outputs))))
            start = end
        return parts

    def load_json(self, path):
        """Load the parameters in a best.json, [parameters, score] or [parameters]. Returns the score, or None.

        Raises UserError, naming the file, where it holds anything else or not as many parameters as this mode has.
        """
        params, score = read_params(path)
        try:
            self.set_params(params)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        return score

    def save_json(self, path, score=None):
        """Write [parameters, score], or without a score [parameters], in the format of the original's best.json."""
        write_json(path, [self.params.tolist()] + ([] if score is None else [score]))

    def features(self, z, state):
        """C's inputs (B, F), from z (B,Z) and M's state, the pair (h, c), each (B,H)."""
        return features(self.mode, z, state)

    def actions(self, features, params=None):
        """Actions (K, E, A) for features (K, E, F): E rows for each of K parameter vectors, params (K, num_params).

        With params None: actions (B, A) for features (B, F), with the parameters that were set.
        """
        if params is None:
            return self.actions(features[None], tf.constant(self.params[None], tf.float32))[0]
        return self._actions(features, params, tf.linalg.matmul)

    def row_actions(self, features, params):
        """Actions (B, A) for features (B, F), each row with its own parameters, params (B, num_params).

        A row's actions are bit-identical in any batch. Those of `actions` may differ in the last digits.
        """
        return self._actions(features[:, None], params, lambda x, w: total(x[:, 0, :, None] * w)[:, None])[:, 0]

    def act(self, z, state, params):
        """`row_actions` for z (B,Z) and M's state: the `act` of dream.population.Population."""
        return self.row_actions(self.features(z, state), params)

    def _actions(self, x, params, product):
        """Actions (K, E, A) for x (K, E, F) and params (K, num_params). product(x (K, E, N), w (K, N, M)) -> (K, E, M)."""
        for bias, weight in self._parts(params):
            x = product(x, weight)
            x = tf.tanh(x if bias is None else x + bias[:, None])
        return _map_actions(x, self.action_maps)


def _map_actions(x, maps):
    """tanh outputs (..., A) to actions in the game's own ranges."""
    how = {"signed": lambda a: a, "halved": lambda a: (a + 1) / 2, "clipped": lambda a: tf.clip_by_value(a, 0.0, 1.0)}
    return tf.stack([how[name](x[..., i]) for i, name in enumerate(maps)], axis=-1)


def read_params(path):
    """(params (P,) float64, score or None) of a file [params, score] or [params]. Raises UserError, naming it, if it is not."""
    value = read_json(path)
    good = isinstance(value, list) and value and value[0] and not misfit(value[0], [float])
    score = value[1] if good and len(value) > 1 else None
    if not good or (score is not None and misfit(score, float)):
        raise UserError(f"{path} is not [parameters, score] with finite numbers: restore it, or train the controller again")
    return np.array(value[0], np.float64), score


def mode_of(game, count, rnn=None):
    """The mode in which a controller of `game` has `count` parameters. Raises UserError where there is none."""
    sizes = {mode: Controller(game, mode, rnn).num_params for mode in MODES}
    for mode, size in sizes.items():
        if size == count:
            return mode
    known = ", ".join(f"{mode} {size}" for mode, size in sizes.items())
    raise UserError(f"{count} parameters are those of no controller of {game.name} ({known}): is it of another game?")
