"""Maps of recorded episodes, for games with a `map`: where they went, and for rounds of iterate.py where M errs.

python -m controller.maps GAME RUN_DIR RUN_DIR      prints the share of the map's cells that each run's recordings visit
python -m controller.rounds RUN_DIR --maps FILE     draws the maps of rounds
"""

import argparse
import os

import numpy as np

from world_models.config import UserError, scaled
from world_models.env.record import linked_name, list_episodes, load_episode
from world_models.job.command import Parser, run_script
from world_models.job.rundir import need


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", metavar="GAME", help="a game that has a map")
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="runs with recorded episodes")
    args = parser.parse_args(argv)
    game = scaled(args.game)
    check_map(game)
    for run_dir in args.runs:
        print(f"{coverage(game, run_dir):6.1%} of {np.prod(game.map.cells)} cells: {run_dir}, {len(_names(run_dir))} episodes")


def check_map(game):
    """Raises UserError where `game` has no map."""
    if game.map is None:
        raise UserError(f"{game.name} has no map of places: choose another game, or leave out --maps")


def visits(game, places, weights=None):
    """(cells of the second number, cells of the first): how often each cell of the map is among `places` (N, 2).

    weights: (N,), what each place counts, by default 1.
    """
    return np.histogram2d(*places.T, bins=game.map.cells, range=game.map.ranges, weights=weights)[0].T


def coverage(game, run_dir):
    """Share of the map's cells that the recorded episodes of a run have visited, those of --with included."""
    places = [game.map.place(episode.obs) for episode in _episodes(game, run_dir).values()]
    return float(np.mean(visits(game, np.concatenate(places)) > 0))


def draw_maps(game, rounds):
    """A matplotlib Figure with a column for each of {round: run directory}: what was visited, and below M's error.

    The error is M's negative log likelihood of the next frame, in all episodes up to the last of these rounds. So each M is
    asked about the same places.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from world_models.controller.curiosity import Surprise

    episodes = _episodes(game, rounds[max(rounds)])
    places = {name: game.map.place(episode.obs) for name, episode in episodes.items()}
    everywhere, (across, up) = np.concatenate(list(places.values())), game.map.ranges
    figure = Figure(figsize=(1 + 3.2 * len(rounds), 5.5), layout="constrained")
    axes = figure.subplots(2, len(rounds), sharex=True, sharey=True, squeeze=False)
    how = {"extent": (*across, *up), "origin": "lower", "aspect": "auto"}
    seen, errors = visits(game, everywhere), {}
    for number, run_dir in rounds.items():
        surprise = Surprise(run_dir, game)
        told = np.concatenate([surprise(episode) for episode in episodes.values()])
        errors[number] = np.divide(visits(game, everywhere, told), seen, out=np.full(seen.shape, np.nan), where=seen > 0)
    least, greatest = np.nanpercentile(list(errors.values()), (1, 99))
    for column, (number, run_dir) in enumerate(rounds.items()):
        counts = visits(game, np.concatenate([places[name] for name in _names(run_dir).values()]))
        above = axes[0, column].imshow(np.where(counts > 0, counts, np.nan), norm=LogNorm(1, 1000), cmap="viridis", **how)
        below = axes[1, column].imshow(errors[number], vmin=least, vmax=greatest, cmap="magma", **how)
        axes[0, column].set(title=f"after round {number}: {np.mean(counts > 0):.0%} visited")
        axes[1, column].set(xlabel=game.map.names[0])
    for row, (picture, what) in enumerate(((above, "frames"), (below, "M's error (nats)"))):
        axes[row, 0].set(ylabel=game.map.names[1])
        figure.colorbar(picture, ax=axes[row], label=what)
    return figure


def _names(run_dir):
    """{path of an episode: its name, the same in all runs that have it} of a run's recordings."""
    run = os.path.basename(os.path.abspath(run_dir))
    paths = list_episodes(os.path.join(run_dir, "record"))
    return {path: linked_name(os.path.basename(path), run) for path in paths}


def _episodes(game, run_dir):
    """{name: Episode} of a run's recordings."""
    need(run_dir, "record", "config.json", game.name)
    return {name: load_episode(path, game.action_size) for path, name in _names(run_dir).items()}


if __name__ == "__main__":
    run_script(main)
