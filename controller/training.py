"""A training run's state: what the original logs (hist.json, hist_best.json, best.json), and the checkpoint that resumes it.

The checkpoint holds the whole state, so that a run that was killed at any moment resumes as if it had not been interrupted. The
JSON files are written from it.
"""

import os

import numpy as np

from world_models.config import UserError
from world_models.controller.state import NAME, OLD_NAME, load_state, save_state
from world_models.job.rundir import write_json

VALUES = "history", "evaluations", "best_params", "best_score", "seconds"  # of a Training, besides its search


def _truncated(value, digits):
    """The original truncates its numbers, toward zero."""
    return int(value * 10**digits) / 10**digits


class Training:
    """The search, its history and the best mean so far. `generation` is the number of generations that are done."""

    def __init__(self, search):
        self.search = search
        self.history = []  # rows of hist.json
        self.evaluations = []  # rows of hist_best.json
        self.best_params, self.best_score = None, None
        self.seconds = 0.0

    @property
    def generation(self):
        return len(self.history)

    @property
    def mean_steps(self):
        """Mean length of the last generation's episodes, in env steps."""
        return self.history[-1][7] if self.history else None

    @property
    def evaluated(self):
        """Whether the mean of the last generation has been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1][0] == self.generation

    def add_generation(self, scores, steps):
        """scores, steps (population,): means over each candidate's episodes."""
        if not self.history:
            self.best_score = _truncated(np.mean(scores), 2)  # the original's first "improvement" is relative to this
        row = [_truncated(statistic(scores), 2) for statistic in (np.mean, np.min, np.max, np.std)]
        deviation = _truncated(self.search.rms_stdev, 5)
        length = [_truncated(np.mean(steps), 2), int(np.max(steps))]
        self.history.append([self.generation + 1, int(self.seconds), *row, deviation, *length])

    def add_evaluation(self, score):
        """Record the CMA mean's `score`, and keep the mean if it is the best so far. Returns whether it is."""
        previous, params = self.best_score, self.search.mean
        better = self.best_params is None or score > previous
        if better:
            self.best_params, self.best_score = params, score
        values = ["improvement", score - previous, "curr", score, "prev", previous, "best", self.best_score]
        self.evaluations.append([self.generation, int(self.seconds), *values])
        return better

    def save_mean(self, folder):
        """Write the mean just evaluated, in the format of best.json: the best in the dream may not be so in the real game."""
        path = os.path.join(folder, f"mean-{self.generation:06d}.json")
        write_json(path, [list(self.search.mean), self.evaluations[-1][5]])

    def save(self, folder):
        values = {name: getattr(self, name) for name in VALUES}
        values["best_params"] = None if self.best_params is None else list(self.best_params)
        save_state(os.path.join(folder, NAME), self.search, values)
        write_json(os.path.join(folder, "hist.json"), self.history, indent=0)
        write_json(os.path.join(folder, "hist_best.json"), self.evaluations, indent=0)
        if self.best_params is not None:
            write_json(os.path.join(folder, "best.json"), [list(self.best_params), self.best_score])

    @classmethod
    def resumed(cls, folder, search):
        """The Training that was saved in `folder`, or a new one of `search`, which was made with the same settings.

        Raises UserError where the saved one cannot be read, or is a pickle.
        """
        training, path = cls(search), os.path.join(folder, NAME)
        if os.path.exists(path):
            values = load_state(path, search, {"history": [list], "evaluations": [list], "seconds": float})
            for name in VALUES:
                setattr(training, name, values.get(name))
            if training.best_params is not None:
                training.best_params = np.array(training.best_params)
        elif os.path.exists(os.path.join(folder, OLD_NAME)):
            told = "executes what it contains when it is read: if you trust it, convert it with"
            raise UserError(f"{os.path.join(folder, OLD_NAME)} {told} `python -m controller.state {folder}`")
        elif os.path.exists(os.path.join(folder, "hist.json")):
            raise UserError(f"{folder} has a search without its {NAME}, which cannot go on: choose another --name or --run-dir")
        return training
