"""Writes the demo's folder: the page, and V, M and C of each game as plain arrays. games.json says what is where.

The page has one operation on matrices, rows times rows. So a layer's weights are written with a row for each of its outputs.
Rows, and their number, are filled up with zeros to multiples of 4.
"""

import glob
import math
import os
import shutil
import sys
from argparse import Namespace

import numpy as np
from PIL import Image

from world_models.config import UserError
from world_models.controller.agent import load_controller
from world_models.controller.controller import Controller
from world_models.controller.rollout import open_world
from world_models.job.rundir import Atomic, as_learned, as_trained, world_keywords, write_json
from world_models.job.seeds import TEST, episode_seeds
from world_models.rnn.world_model import load_initial_z, load_world_model, step_reward
from world_models.vae.vae import ORIGINAL_NAMES

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
FRAMES, EVERY, COLUMNS = 96, 3, 12  # pictures of a real episode, steps from one to the next, pictures in a row of frames.png
LARGE = 1_000_000  # a matrix of V of more numbers is written as int8: a frame differs by less than one of 255 levels


def export(out, runs):
    """Write the folder `out` for `runs`, {key: (Game, run directory)}. The page's figures name these keys. Returns games.json.

    Raises UserError where a run has no V, M or C, and where `out` is a folder of something else.
    """
    index = os.path.join(out, "games.json")
    if os.path.isdir(out) and os.listdir(out) and not os.path.exists(index):
        raise UserError(f"{out} is a folder with other files in it: give a new one")
    os.makedirs(out, exist_ok=True)
    write_json(index, {})  # marks the folder, should the rest fail
    games = {key: _game(os.path.join(out, key), key, game, run_dir) for key, (game, run_dir) in runs.items()}
    for path in glob.glob(os.path.join(PAGE, "*")):
        shutil.copy(path, out)
    write_json(index, games)
    return games


def _game(folder, key, game, run_dir):
    """Write the files of one game. Returns its entry of games.json."""
    os.makedirs(folder, exist_ok=True)
    game = as_trained(game, run_dir)
    vae, rnn = load_world_model(run_dir, game)
    if rnn.rnn_size % 4 or vae.channels % 4:
        sizes = f"{rnn.rnn_size} LSTM units and {vae.channels} channels"
        raise UserError(f"{run_dir} has {sizes}, and the page computes with multiples of 4: it cannot show this run")
    agents, arrays = _agents(run_dir, game, rnn)
    mu, logvar = load_initial_z(run_dir, game, rnn.z_size)
    files = {"vision": _vision(vae), "memory": _memory(rnn) | {"initial mu": mu, "initial logvar": logvar} | arrays}
    entry = {
        "game": game.name,
        "z_size": rnn.z_size,
        "rnn_size": rnn.rnn_size,
        "num_mixture": rnn.num_mixture,
        "channels": vae.channels,
        "outputs": list(rnn.layout.others.items()),
        "restart": rnn.predict_restart,
        "log_odds": math.log(game.rnn_restart_weight),  # by which M's logit of death is above the true one
        "reward": step_reward(game, rnn),
        "beginnings": len(mu),
        "action_maps": game.action_maps,
        "lowest_action": game.lowest_action,
        "keys": game.keys,
        "frames_per_second": game.frames_per_second,
        "max_steps": game.dream_max_steps,
        "agents": agents,
        "frames": {"file": f"{key}/frames.png", **_frames(os.path.join(folder, "frames.png"), run_dir, game)},
    }
    for name, named in files.items():
        entry[name] = {"file": f"{key}/{name}.bin", **_write(os.path.join(folder, f"{name}.bin"), named)}
    return entry


def _agents(run_dir, game, rnn):
    """([{"name", "mode", "temperature", "layers"}, ...], arrays) of the run's searches for a C, its best one first."""
    agents, arrays = [], {}
    stages = sorted(path for path in glob.glob(os.path.join(run_dir, "controller*")) if os.path.exists(f"{path}/best.json"))
    for path in stages:
        stage = os.path.basename(path)
        mode, params = load_controller(run_dir, game, stage)
        learned = as_learned(game, path)
        if (learned.dream_death, learned.dream_dropout) != ("cut", 0):
            rules = f"--death {learned.dream_death} --dream-dropout {learned.dream_dropout}"
            print(f"{path} learned in a dream with {rules}; the page's dreams have neither", file=sys.stderr)
        layers = Controller(game, mode, rnn).layers(params)
        for i, (bias, weight) in enumerate(layers):
            arrays |= {f"{stage} {i} weight": _rows(weight.T), f"{stage} {i} bias": _padded(bias)}
        agents.append({"name": stage, "mode": mode, "temperature": learned.dream_temperature, "layers": len(layers)})
    if not agents:
        raise UserError(f"{run_dir} has no trained agent: run `python train.py {game.name}` first")
    return agents, arrays


def _vision(vae):
    """{name: array} of V. A convolution's: (outputs, height x width x inputs). A transposed one's: (height x width x outputs,
    inputs).
    """
    arrays = {}
    for name, weight in zip(ORIGINAL_NAMES, vae.trainable_weights, strict=True):
        layer, part = name.rsplit(" ", 1)
        weight = weight.numpy()
        if part == "bias":
            arrays[name] = _padded(weight)
        elif layer.startswith("dec_deconv"):
            arrays[name] = _rows(weight.reshape(-1, weight.shape[-1]))
        else:
            arrays[name] = _rows(weight.reshape(-1, weight.shape[-1]).T)
        if part == "kernel":
            arrays[name] = _int8(arrays[name]) if weight.size > LARGE else arrays[name].astype(np.float16)
    return arrays


def _memory(rnn):
    """{name: float32 array} of M: its gates see [z, action, restart if any, h], its head is in the order of Head.planes."""
    kernel, recurrent, bias = rnn.cell.get_weights()
    head, head_bias = (part.numpy() for part in rnn.planes())
    return {
        "gates weight": _rows(np.concatenate([kernel, recurrent]).T),
        "gates bias": _padded(bias),
        "head weight": _rows(head.T),
        "head bias": _padded(head_bias),
    }


def _frames(path, run_dir, game):
    """Write FRAMES frames of a test episode of the run's agent as one picture. Returns how they lie there."""
    keywords = world_keywords(game, Namespace(**dict.fromkeys(game.options)), run_dir)
    mode, params = load_controller(run_dir, game)
    world = open_world("real", run_dir, game, 1, mode, **keywords)
    seen = []

    def watch(episode, frames, z, actions, rewards, dones):
        seen.append(frames[0])

    world.rollout(params, episode_seeds(1, 0, TEST), FRAMES * EVERY, watch=watch)
    world.close()
    frames = np.array(seen[::EVERY])[: len(seen[::EVERY]) // COLUMNS * COLUMNS]
    rows = frames.reshape(-1, COLUMNS, 64, 64, 3).transpose(0, 2, 1, 3, 4)
    with Atomic(path) as temporary:
        Image.fromarray(rows.reshape(-1, COLUMNS * 64, 3)).save(temporary, optimize=True)
    return {"count": len(frames), "columns": COLUMNS, "every": EVERY}


def _rows(weight):
    """float32 `weight` (N,K) with zeros up to multiples of 4."""
    return np.pad(np.float32(weight), [(0, -size % 4) for size in weight.shape])


def _padded(bias):
    return np.pad(np.float32(bias), (0, -len(bias) % 4))


def _int8(rows):
    """(int8 rows, the float32 factor of each)."""
    factor = np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127
    return np.int8(np.round(rows / factor[:, None])), np.float32(factor)


def _write(path, arrays):
    """Write {name: array, or (int8 array, factors)} one after another. Returns {"bytes", "arrays": where each one lies}."""
    places, offset = {}, 0
    with Atomic(path) as temporary, open(temporary, "wb") as file:
        for name, array in arrays.items():
            array, factors = array if isinstance(array, tuple) else (array, None)
            parts = [array] if factors is None else [factors, array]  # factors first: they need an offset that 4 divides
            places[name] = {"kind": array.dtype.name, "shape": array.shape, "offset": offset}
            for part in parts:
                data = part.tobytes()
                data += bytes(-len(data) % 4)
                file.write(data)
                offset += len(data)
    return {"bytes": offset, "arrays": places}
