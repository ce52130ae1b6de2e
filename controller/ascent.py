"""C by gradient: steps uphill through M's dream, which is differentiable (article, "Discussion").

From zero it fails, because long chains of steps have large and nearly random gradients. It refines what CMA-ES found.
"""

import numpy as np

DREAMS = 48  # of a gradient: one of the sizes in dream.rows
LARGEST = 100.0  # norm of a gradient; one that is larger is shortened
MEMORY, FORGET = 0.9, 0.999  # Adam's


class Ascent:
    """An ask-and-tell search in the place of CMA-ES: each generation is a line search along Adam's direction.

    start (P,): the controller to refine. length: the first step, in each parameter. horizon: steps that a gradient goes back.
    The first candidate is the present controller, so that a step is kept only where its dreams, with the same seeds, score
    more. It pickles, its noise included; `imagine`, an `Imagination.gradient`, is given anew.
    """

    def __init__(self, start, population, length, seed, horizon):
        self.mean, self.population, self.length, self.horizon = np.array(start, np.float64), population, length, horizon
        self._rng = np.random.default_rng(seed)
        self._first, self._second, self._steps = np.zeros_like(self.mean), np.zeros_like(self.mean), 0
        self.imagine = None

    def __getstate__(self):
        return {**self.__dict__, "imagine": None}

    def ask(self):
        """The candidates, (population, num_params) float64: the present controller, and steps of growing length."""
        seeds = self._rng.integers(2**32, size=DREAMS, dtype=np.uint32)
        _, gradient = self.imagine(self.mean, seeds, int(self._rng.integers(self.horizon)))
        direction = self._direction(np.float64(gradient))
        lengths = self.length * np.geomspace(1 / 8, 8, self.population - 1)
        return self.mean + np.concatenate([[0], lengths])[:, None] * direction

    def _direction(self, gradient):
        norm = np.linalg.norm(gradient)
        if np.isfinite(norm):  # else the moments so far have to do
            gradient = gradient * min(1, LARGEST / max(norm, 1e-12))
            self._first = MEMORY * self._first + (1 - MEMORY) * gradient
            self._second = FORGET * self._second + (1 - FORGET) * gradient**2
            self._steps += 1
        if not self._steps:
            return np.zeros_like(self.mean)
        first, second = self._first / (1 - MEMORY**self._steps), self._second / (1 - FORGET**self._steps)
        return first / (np.sqrt(second) + 1e-8)

    def tell(self, candidates, fitness):
        """fitness (population,), higher is better, of the same seeds for all."""
        best = int(np.argmax(fitness))  # the first of equal ones
        self.length = max(self.length * (2 if best > self.population // 2 else 1 if best else 0.5), 1e-5)
        self.mean = np.array(candidates[best])

    @property
    def rms_stdev(self):
        """The length of a step, where CMA-ES has its deviation."""
        return float(self.length)
