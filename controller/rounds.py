"""What the rounds of iterate.py brought: a table, and a picture by real frames.

python -m controller.rounds runs/GAME other/run --out rounds.png
"""

import argparse
import os

from world_models.config import UserError
from world_models.controller.report import save_figure
from world_models.job.command import Parser, run_script
from world_models.job.rundir import read_rounds

COLUMNS = "round", "real_frames", "dream", "real", "real_low", "real_high", "search", "hours"


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="runs that have rounds/")
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the picture to draw")
    args = parser.parse_args(argv)
    rounds = {run: _rounds(run) for run in args.runs}
    save_figure(draw(rounds), args.out)
    print("\n\n".join(f"{run}\n{table(rows)}" for run, rows in rounds.items()))


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
