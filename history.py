"""Compare training histories: a table at equal generations, and a picture by generation and by hours or core-hours.

    python history.py runs/GAME/controller/hist.json theirs/hist.json --out curves.png

A file is a hist.json, with a row for each generation, or a hist_best.json, with a row for each evaluation of the CMA mean, as
the original's train.py and this project's write them. The rows tell which of the two it is.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from world_models.config import UserError
from world_models.controller.report import save_figure
from world_models.job.command import Parser, run_script
from world_models.job.outputs import PICTURES, check_output
from world_models.job.reading import short
from world_models.job.rundir import read_json

GENERATIONS = (1, 5, 10, 25, 50, 100, 200, 400, 600, 1000, 1800)  # rows of the table
NAMES = ["improvement", "curr", "prev", "best"]  # in a row of hist_best.json, each followed by its number


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="+", help="hist.json and hist_best.json files, of any training run")
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the picture to draw")
    parser.add_argument("--cores", metavar="N", type=int, nargs="+", help="cores of each run, or of all: compare by core-hours")
    args = parser.parse_args(argv)
    print(compare(args.files, args.out, args.cores))


@dataclass(frozen=True)
class History:
    """N rows of a file. generations, hours and scores are (N,) float64.

    hours: wall-clock hours, or core-hours where the cores are known.
    scores: the population's mean, with its standard deviation in deviations (N,); or the CMA mean's, with deviations None.
    """

    path: str
    generations: np.ndarray
    hours: np.ndarray
    scores: np.ndarray
    deviations: np.ndarray | None

    def row(self, generation):
        """The number of the row nearest to `generation`; None where it is further away than half the usual spacing of rows."""
        distances = np.abs(self.generations - generation)
        nearest = int(np.argmin(distances))
        usual = np.median(np.diff(self.generations)) if len(distances) > 1 else 0
        return nearest if distances[nearest] <= usual / 2 else None


def read_history(path, cores=1):
    """The History in `path`, its hours times `cores`.

    Raises UserError, naming the file, where it is missing or not a training history.
    """
    if not os.path.exists(path):
        raise UserError(f"{path} is missing: give hist.json or hist_best.json files of training runs")
    rows = read_json(path)
    if rows == []:
        raise UserError(f"{path} has no rows yet: wait for its run, or leave it out")
    if not isinstance(rows, list):
        raise UserError(f"{path} is not a list of rows: give hist.json or hist_best.json files of training runs")
    kinds = {_kind(path, number, row) for number, row in enumerate(rows, 1)}
    if len(kinds) > 1:
        raise UserError(f"{path} has rows of hist.json and of hist_best.json: give one file for each")
    evaluations = kinds == {"hist_best"}
    generations, seconds, *_ = columns = np.array([row[:2] + row[3::2] if evaluations else row for row in rows], float).T
    # A log axis cannot show the 0 of a first generation that took less than a second.
    hours = np.maximum(seconds, 1) / 3600 * cores
    if evaluations:
        return History(path, generations, hours, columns[3], None)
    return History(path, generations, hours, columns[2], columns[5])


def _kind(path, number, row):
    """Which file a row belongs to, "hist" or "hist_best". Raises UserError where it is neither."""
    if isinstance(row, list) and len(row) == 10 and row[2::2] == NAMES:
        kind, values = "hist_best", row[:2] + row[3::2]
    elif isinstance(row, list) and len(row) == 9:
        kind, values = "hist", row
    else:
        raise UserError(f"{path}, row {number}: has neither the 9 numbers of hist.json nor the 10 entries of hist_best.json")
    for value in values:
        if type(value) not in (int, float) or not abs(value) < 1e300:
            raise UserError(f"{path}, row {number}: {short(value)} is not a finite number: restore the file, or leave it out")
    return kind


def labels(paths):
    """The last parts of each path, as many as are needed to distinguish all of them."""
    parts = [Path(path).parts for path in paths]
    for count in range(1, max(map(len, parts))):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return list(paths)


def table(histories, unit="hours"):
    """Lines of text: scores and hours at GENERATIONS, a column for each History; a nearby generation is in brackets.

    unit: the name of the hours, "hours" or "core-hours".
    """
    names = labels([history.path for history in histories])
    what = ["CMA mean" if history.deviations is None else "mean of the population" for history in histories]
    lines = [f"[{i}] {name}: {score}" for i, (name, score) in enumerate(zip(names, what, strict=True), 1)]
    lines += ["", "generation" + "".join(f" {f'[{i}] score':>17} {unit:>10}" for i in range(1, len(histories) + 1))]
    for generation in GENERATIONS:
        cells = [_cell(history, generation) for history in histories]
        if any(cells):
            lines.append(f"{generation:10}" + "".join(f"{cell:29}" for cell in cells).rstrip())
    return "\n".join(lines)


def _cell(history, generation):
    row = history.row(generation)
    if row is None:
        return ""
    found = int(history.generations[row])
    where = "" if found == generation else f"({found}) "
    return f" {where + f'{history.scores[row]:.1f}':>17} {history.hours[row]:10.3f}"


def draw(histories, unit="hours"):
    """A matplotlib Figure: scores by generation and by `unit`, with a band of one standard deviation for populations.

    The two files of one run have the same colour.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    by_generation, by_hours = figure.subplots(1, 2, sharey=True)
    runs = list(dict.fromkeys(_run(history) for history in histories))
    for history, label in zip(histories, labels([history.path for history in histories]), strict=True):
        colour = f"C{runs.index(_run(history))}"
        for axes, x in ((by_generation, history.generations), (by_hours, history.hours)):
            if history.deviations is None:
                style = {"marker": "o", "markersize": 4, "markerfacecolor": "white", "linewidth": 1.2, "zorder": 3}
                axes.plot(x, history.scores, color=colour, label=f"{label} (CMA mean)", **style)
            else:
                style = {"marker": ".", "markersize": 2.5, "linewidth": 0.8, "alpha": 0.7}
                axes.plot(x, history.scores, color=colour, label=f"{label} (population)", **style)
                low, high = history.scores - history.deviations, history.scores + history.deviations
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    by_generation.set_ylabel("score")
    for axes, name in ((by_generation, "generation"), (by_hours, unit)):
        axes.set(xlabel=name, xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    figure.legend(*by_generation.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _run(history):
    return history.path.replace("hist_best", "hist")


def compare(paths, out, cores=None):
    """Draw the histories in `paths` into the picture `out`, and return their table.

    cores: a number for each history, or one number for all, to compare by core-hours.
    Raises UserError for a file that is not a history, for an `out` that cannot be written or is not a picture's name, and for
    numbers of cores below 1 or of another length.
    """
    unit = "core-hours" if cores else "hours"
    cores = cores or [1]
    if len(cores) not in (1, len(paths)) or min(cores) < 1:
        raise UserError(f"--cores has {cores} for {len(paths)} histories: give one number of cores for each, or one for all")
    check_output("--out", out, PICTURES)
    histories = [read_history(path, count) for path, count in zip(paths, np.resize(cores, len(paths)), strict=True)]
    save_figure(draw(histories, unit), out)
    return table(histories, unit)


if __name__ == "__main__":
    run_script(main)
