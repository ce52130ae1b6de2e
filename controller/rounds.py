"""What the rounds of iterate.py brought: a table, a picture by real frames, and of the first run a film and maps.

python -m controller.rounds runs/GAME other/run --out rounds.png --film rounds.webp --maps maps.png
"""

import argparse
import os

import numpy as np

from world_models.config import UserError, scaled
from world_models.controller.report import save_figure, write_film
from world_models.job.command import Parser, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.outputs import PICTURES, VIDEOS, check_output
from world_models.job.rundir import as_learned, read_json, read_rounds
from world_models.job.seeds import TEST, episode_seeds

COLUMNS = "round", "real_frames", "dream", "real", "real_low", "real_high", "search", "hours"
GAP = 16  # pixels between two rounds in the film


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="runs that have rounds/")
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the picture to draw")
    parser.add_argument(
        "--film", metavar="FILE", help="a .mp4 or .webp: side by side the dream and the game after each of --rounds"
    )
    parser.add_argument(
        "--maps", metavar="FILE.png", help="a picture of what was visited, and of M's error, after each of --rounds"
    )
    parser.add_argument(
        "--rounds", type=int, nargs="+", help="those in the film and the maps (default: the first and the last)"
    )
    args = parser.parse_args(argv)
    for name, endings in (("out", PICTURES), ("maps", PICTURES), ("film", VIDEOS)):
        check_output(f"--{name}", getattr(args, name), endings)
    rounds = {run: _rounds(run) for run in args.runs}
    save_figure(draw(rounds), args.out)
    print("\n\n".join(f"{run}\n{table(rows)}" for run, rows in rounds.items()))
    if args.film or args.maps:
        load_tensorflow(1)
        run = args.runs[0]
        chosen = _chosen(args.rounds, run, [row["round"] for row in rounds[run]])
        game = scaled(read_json(os.path.join(chosen[min(chosen)], "evaluate", "real-test.json"), {"game": str})["game"])
        if args.maps:
            from world_models.controller.maps import check_map, draw_maps

            check_map(game)
            save_figure(draw_maps(game, chosen), args.maps)
        if args.film:
            write_film(args.film, film(game, chosen), game.frames_per_second)


def _chosen(numbers, run, done):
    """{number: run directory} of the rounds `numbers`. Raises UserError for one that is not among `done`."""
    numbers = numbers or [done[0], done[-1]]
    for number in numbers:
        if number not in done:
            raise UserError(f"{run} has no finished round {number}: it has {done[0]} to {done[-1]}")
    return {number: os.path.join(run, "rounds", f"{number:02d}") for number in sorted(numbers)}


def film(game, rounds):
    """(T,64,W,3) uint8: for each of {round's number: its run directory} its C in the dream, decoded, and in the game.

    An episode that has ended is shown as its last frame.
    """
    from world_models.controller.agent import load_controller
    from world_models.controller.evaluation import episode_pictures
    from world_models.controller.rollout import open_world
    from world_models.rnn.world_model import load_vision

    shown = []
    for run_dir in rounds.values():
        game = as_learned(game, os.path.join(run_dir, "controller"))
        vae, (mode, params) = load_vision(run_dir, game), load_controller(run_dir, game)
        for which in ("dream", "real"):
            world = open_world(which, run_dir, game, 1, mode)
            world.controller.set_params(params)
            (seed,) = episode_seeds(1, 0, TEST)
            pictures = episode_pictures(world, vae, seed, game.max_steps)
            shown.append(pictures[:, :, :64])
    longest = max(len(pictures) for pictures in shown)
    shown = [np.concatenate([pictures, pictures[-1:].repeat(longest - len(pictures), axis=0)]) for pictures in shown]
    gap = np.full((longest, 64, GAP, 3), 255, np.uint8)
    pairs = [np.concatenate(shown[i : i + 2], axis=2) for i in range(0, len(shown), 2)]
    return np.concatenate([part for pair in pairs for part in (gap, pair)][1:], axis=2)


def _rounds(run):
    rows = read_rounds(run)
    if not rows:
        raise UserError(f"{os.path.join(run, 'rounds')} has no finished round: run `python iterate.py` first, or leave it out")
    return rows


def table(rows):
    """Lines of text with COLUMNS of `rows`, those of a rounds.jsonl."""
    lines = [" ".join(f"{name:>11}" for name in COLUMNS)]
    for row in rows:
        cells = (f"{row[name]:.1f}" if isinstance(row[name], float) and name != "hours" else str(row[name]) for name in COLUMNS)
        lines.append(" ".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def draw(rounds):
    """A matplotlib Figure of {run: rows}: what the dream promised and what the game gave, by the real frames played so far."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (run, rows) in enumerate(rounds.items()):
        frames, colour = [row["real_frames"] for row in rows], f"C{number}"
        low, high = ([row[name] for row in rows] for name in ("real_low", "real_high"))
        axes.plot(frames, [row["real"] for row in rows], color=colour, marker="o", markersize=3, label=f"{run}: real")
        axes.fill_between(frames, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(frames, [row["dream"] for row in rows], color=colour, linestyle="--", linewidth=1, label=f"{run}: dream")
    axes.set(xlabel="real frames", ylabel="score")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    run_script(main)
