"""Where the original's folders keep their files."""

import glob
import os

from world_models.config import UserError

DATA = {"series": ("series/series.npz", "series.npz"), "record": ("record",)}  # in every game's folder
LOGS = ("log", "")


def places(game):
    """{what: paths in the folder of `game`} of the files that its scripts read. They look in the first path of each.

    Raises UserError where the original does not have this game.
    """
    if game.original is None:
        raise UserError(f"the authors' code has no {game.name}: there is nothing of it to convert")
    return game.original.places | DATA


def find(game, folder, controller=None):
    """{what: path} of the original's files in `folder`, the folder of `game` in a clone. Missing ones are left out.

    Keys: vae, rnn, initial_z, series, record (a folder), and of the logs controller, hist, hist_best.
    controller: the path of its best.json, where there are several.
    Raises UserError where `folder` is not a folder or has the logs of several controllers, and where the original does not have
    this game.
    """
    places_of = places(game)
    if not os.path.isdir(folder):
        raise UserError(f"{folder} is not a folder: give the original's {game.original.folder}/")
    found = {}
    for what, where in places_of.items():
        paths = [path for path in (os.path.join(folder, place) for place in where) if os.path.exists(path)]
        if paths:
            found[what] = paths[0]
    return found | _find_logs(folder, controller)


def _find_logs(folder, controller):
    if controller and not os.path.isfile(controller):
        raise UserError(f"--controller is {controller}, which is no file: give a *.best.json")
    best = [controller] if controller else _in_logs(folder, ".best.json")
    stems = [path.removesuffix(".json").removesuffix(".best") for path in best]
    stems = stems or [path.removesuffix(".hist.json") for path in _in_logs(folder, ".hist.json")]
    if len(stems) > 1:
        raise UserError(f"{folder} has the logs of several controllers: give one of {', '.join(best)} with --controller")
    logs = {what: f"{stem}.{what}.json" for stem in stems for what in ("hist", "hist_best")}
    return {what: path for what, path in logs.items() if os.path.exists(path)} | ({"controller": best[0]} if best else {})


def _in_logs(folder, ending):
    """The paths of the logs in a folder whose names end in `ending`."""
    return [path for log in LOGS for path in sorted(glob.glob(os.path.join(glob.escape(folder), log, "*" + ending)))]
