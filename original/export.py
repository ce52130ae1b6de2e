"""Write a run as a folder that the original's scripts can read (original.convert --export)."""

import os
import shutil

import numpy as np

from world_models.config import UserError
from world_models.job.rundir import Atomic, settings_in
from world_models.original.arrays import UNITS
from world_models.original.folder import places


def export_run(game, run_dir, folder):
    """Write the files of a run in the original's formats, where the original's scripts look for them in `folder`.

    Weights are rounded to 1e-4, as in that format. Returns a report, lines of text. Raises UserError where the run has nothing
    to export, or where `folder` already has one of the files.
    """
    stage = "controller" if os.path.exists(os.path.join(run_dir, "controller", "best.json")) else "legacy"
    where = {what: paths[0] for what, paths in places(game).items()}
    plan = {
        "vae/vae.keras": (where["vae"], _export_model),
        "rnn/rnn.keras": (where["rnn"], _export_model),
        "rnn/initial_z.json": (where["initial_z"], shutil.copyfile),
        "series/series.npz": (where["series"], _export_series),
        "record": (where["record"], _export_record),
    }
    for ending in ("best.json", "hist.json", "hist_best.json"):
        plan[f"{stage}/{ending}"] = f"{_log_name(game, run_dir)}.{ending}", shutil.copyfile
    plan = [(os.path.join(run_dir, source), os.path.join(folder, to), write) for source, (to, write) in plan.items()]
    there = [(source, target, write) for source, target, write in plan if os.path.exists(source)]
    if not there:
        raise UserError(f"{run_dir} has nothing to export: choose the run with --run-dir")
    for _, target, _ in there:
        if os.path.exists(target):
            raise UserError(f"{target} exists and is not overwritten: give --export a new folder")
    report = [f"not found  {source}" for source, _, _ in plan if not os.path.exists(source)]
    for source, target, write in there:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with Atomic(target) as temporary:
            note = write(source, temporary)
        report.append(f"written    {source} -> {target}" + (f" ({note})" if write is _export_model else ""))
    return report


def _log_name(game, run_dir):
    """The name of the logs as in the original's train.py: the game, the episodes of a candidate, and the population."""
    settings = settings_in(os.path.join(run_dir, "controller"))
    sizes = (settings.get(name, getattr(game, name)) for name in ("controller_episodes", "controller_population"))
    return ".".join(map(str, (game.original.log, "cma", *sizes)))


def _export_model(source, target):
    from world_models.rnn.rnn import load_rnn
    from world_models.vae.vae import load_vae

    model = (load_vae if source.endswith("vae.keras") else load_rnn)(source)
    model.save_json(target)
    lost = max(np.abs(weight * UNITS - np.round(weight * UNITS)).max() for weight in model.get_weights())
    return f"rounded by {lost / UNITS:.6f} at most"


def _export_series(source, target):
    """As in the original's series.py: one array where all episodes have the same length, else a pickled array of arrays."""
    from world_models.rnn.batches import Series

    series = Series(source)
    arrays = {}
    for name in ("mu", "logvar", "action"):
        flat = getattr(series, name)
        parts = [np.array(flat[series.frames(episode)]) for episode in range(len(series.length))]
        if name == "action" and flat.shape[1] == 1:
            parts = [part[:, 0] for part in parts]
        if len(set(series.length)) == 1:
            arrays[name] = np.array(parts)
        else:
            arrays[name] = np.empty(len(parts), object)
            arrays[name][:] = parts
    np.savez_compressed(target, **arrays)


def _export_record(source, target):
    """The episodes, unchanged: extract.py writes the original's arrays, and two more."""
    from world_models.env.record import link_episodes, list_episodes

    os.makedirs(target)
    link_episodes(list_episodes(source), target)
