"""Gradient ascent on C's parameters through M's dream, which is differentiable (article, "Discussion").

It refines a controller that CMA-ES found. From zeros it fails: over many steps the gradients become large and nearly random.
"""

import numpy as np

DREAMS = 48  # over which a gradient is averaged: one of the sizes in dream.rows
LARGEST = 100.0  # norm to which a gradient is clipped
MEMORY, FORGET = 0.9, 0.999  # Adam's beta_1 and beta_2


class Ascent:
    """An ask-and-tell search that replaces CMA-ES: each generation is a line search along Adam's direction.

    start: (P,), the controller to refine. length: the initial step length, for each parameter. horizon: steps through which a
    gradient is backpropagated.
    The first candidate is the current controller, so a step is made only if it scores higher in the same dreams.
    controller.state saves it, with the state of its random generator but without `imagine`, an `Imagination.gradient`. Set
    `imagine` before `ask`, also after a saved state was read.
    """

    def __init__(self, start, population, length, seed, horizon):
        self.mean, self.population, self.length, self.horizon = np.array(start, np.float64), population, length, horizon
        self._rng = np.random.default_rng(seed)
        self._first, self._second, self._steps = np.zeros_like(self.mean), np.zeros_like(self.mean), 0
        self.imagine = None

    def __getstate__(self):
        return {**self.__dict__, "imagine": None}

    def prepare(self):
        """Nothing: a saved state is put into the attributes that are there."""

    def ask(self):
        """The candidates, (population, num_params) float64: the current controller, then steps of increasing length."""
        seeds = self._rng.integers(2**32, size=DREAMS, dtype=np.uint32)
        _, gradient = self.imagine(self.mean, seeds, int(self._rng.integers(self.horizon)))
        direction = self._direction(np.float64(gradient))
        lengths = self.length * np.geomspace(1 / 8, 8, self.population - 1)
        return self.mean + np.concatenate([[0], lengths])[:, None] * direction

    def _direction(self, gradient):
        norm = np.linalg.norm(gradient)
        if np.isfinite(norm):  # else only the moments so far are used
            gradient = gradient * min(1, LARGEST / max(norm, 1e-12))
            self._first = MEMORY * self._first + (1 - MEMORY) * gradient
            self._second = FORGET * self._second + (1 - FORGET) * gradient**2
            self._steps += 1
        if not self._steps:
            return np.zeros_like(self.mean)
        first, second = self._first / (1 - MEMORY**self._steps), self._second / (1 - FORGET**self._steps)
        return first / (np.sqrt(second) + 1e-8)

    def tell(self, candidates, fitness):
        """Move to the best candidate and adapt the step length. fitness: (population,), higher is better, shared seeds."""
        best = int(np.argmax(fitness))  # the first, if several are equal
        self.length = max(self.length * (2 if best > self.population // 2 else 1 if best else 0.5), 1e-5)
        self.mean = np.array(candidates[best])

    @property
    def rms_stdev(self):
        """The step length, logged in place of CMA-ES's standard deviation."""
        return float(self.length)
