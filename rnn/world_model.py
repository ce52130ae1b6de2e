"""A run's trained world model: V, M, and the first frames that dreams start from."""

import os

import numpy as np

from world_models.config import UserError
from world_models.job.npz import memory_maps
from world_models.job.rundir import need
from world_models.original.arrays import UNITS, read_arrays
from world_models.rnn.rnn import load_rnn
from world_models.vae.vae import load_vae


def load_world_model(run_dir, game):
    """(V, M) of a run.

    Raises UserError where a file is missing, unreadable or has NaN in it, or where M was not made for this V and this game.
    """
    vae = load_vision(run_dir, game)
    rnn = load_memory(run_dir, game)
    if rnn.z_size != vae.z_size:
        raise UserError(
            f"{os.path.join(run_dir, 'rnn')} was trained on z of {rnn.z_size} numbers, not {vae.z_size} as V has now: "
            f"run `python -m rnn.series {game.name}` and `python -m rnn.train {game.name}` again"
        )
    return vae, rnn


def load_vision(run_dir, game):
    """V alone, to render dreams. Raises UserError where it is missing, unreadable or has NaN in it."""
    return load_vae(need(run_dir, "vae", "vae.keras", game.name))


def load_memory(run_dir, game):
    """M alone: all that a dream without rendering needs. Raises UserError as `load_world_model` does."""
    path = need(run_dir, "rnn", "rnn.keras", game.name)
    rnn = load_rnn(path)
    if (rnn.action_size, rnn.predicts | {"predict_reward": game.predict_reward}) != (game.action_size, game.predicts):
        raise UserError(f"{path} was not trained for {game.name}: choose the run directory of {game.name} with --run-dir")
    return rnn


def step_reward(game, rnn):
    """The reward of a dream's step: the factor of M's prediction where M predicts one, else the same for each step."""
    return game.reward_scale if rnn.predicts["predict_reward"] else game.survival_reward


def load_initial_z(run_dir, game, z_size):
    """(mu, logvar), each (N, Z) float32: the first frames of recorded episodes, from initial_z.json.

    The file has integers in units of 1e-4, in the original's format.

    Raises UserError where the file is missing or holds anything else.
    """
    path = need(run_dir, "rnn", "initial_z.json", game.name)
    mu, logvar = read_arrays(path, ("mu", "logvar"))
    if mu.ndim != 2 or mu.shape != logvar.shape or mu.shape[1] != z_size:
        what = f"[mu, logvar] of first frames with {z_size} numbers each"
        raise UserError(f"{path} is not {what}: run `python -m rnn.train {game.name}` again")
    return np.float32(mu / UNITS), np.float32(logvar / UNITS)


def load_beginnings(run_dir, game, rnn):
    """((mu, logvar), each (N, Z), and M's state (h, c), each (N, H)): where dreams begin in which C learns.

    They are in beginnings.npz, which --anywhere of rnn.train makes. Where there is none, dreams begin with the first frames,
    and the state is None, for zeros. Raises UserError where a file cannot be read or does not fit to M.
    """
    path = os.path.join(run_dir, "rnn", "beginnings.npz")
    if not os.path.exists(path):
        return load_initial_z(run_dir, game, rnn.z_size), None
    arrays = memory_maps(path)
    finite = all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
    sizes = {"mu": rnn.z_size, "logvar": rnn.z_size, "h": rnn.rnn_size, "c": rnn.rnn_size}
    shapes = {name: array.shape for name, array in arrays.items()}
    count = len(arrays["mu"]) if arrays.get("mu", np.zeros(())).shape else 0
    if not finite or not count or shapes != {name: (count, size) for name, size in sizes.items()}:
        raise UserError(f"{path} does not fit to rnn.keras: run `python -m rnn.train {game.name}` again")
    mu, logvar, *state = (arrays[name] for name in sizes)
    return (mu, logvar), state
