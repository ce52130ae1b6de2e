"""Where the original's folders have their files."""

import glob
import os

from world_models.config import UserError

DATA = {"series": ("series/series.npz", "series.npz"), "record": ("record",)}  # in the folder of any game
LOGS = ("log", "")


def places(game):
    """{what: paths in the folder of `game`} of what its scripts read, the first of each being where they look for it.

    Raises UserError where the original has no such game.
    """
    if game.original is None:
        raise UserError(f"the authors' code has no {game.name}: there is nothing of it to convert")
    return game.original.places | DATA


def find(game, folder, controller=None):
    """{what: path} of the files of the original in `folder`, that of `game` as cloned; what it lacks is left out.

    What can be found: vae, rnn, initial_z, series, record (a folder), and of its logs controller, hist, hist_best.
    controller: the path of its best.json, where there are several.
    Raises UserError where `folder` is not one, or has the logs of several controllers, and where the original has no such game.
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
    best = [controller] if controller else _in_logs(folder, ".best.json")
    stems = [path.removesuffix(".json").removesuffix(".best") for path in best]
    stems = stems or [path.removesuffix(".hist.json") for path in _in_logs(folder, ".hist.json")]
    if len(stems) > 1:
        raise UserError(f"{folder} has the logs of several controllers: give one of {', '.join(best)} with --controller")
    logs = {what: f"{stem}.{what}.json" for stem in stems for what in ("hist", "hist_best")}
    return {what: path for what, path in logs.items() if os.path.exists(path)} | ({"controller": best[0]} if best else {})


def _in_logs(folder, ending):
    """The paths of a folder's logs with this ending."""
    return [path for log in LOGS for path in sorted(glob.glob(os.path.join(glob.escape(folder), log, "*" + ending)))]
