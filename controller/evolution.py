"""CMA-ES, which evolves C (article, appendix "Evolution Strategies"). A higher fitness is better."""

import cma
import numpy as np
from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

STEP_SIZES = {"csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}


class _Normal:
    """cma's source of noise: its own generator, pickled with the search, so that a resumed run goes on with the same."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape):
        return self.generator.standard_normal(shape)


class Evolution:
    """An ask-and-tell CMA-ES of `population` candidates, from the parameters `start` (P,) with deviation `sigma_init`.

    step_size: how that deviation adapts. "csa", by the length of the path that the mean takes, is what the published runs did:
    its values are those of the authors' hist.json. By default cma uses "tpa", which compares two points on the mean's
    last step, for many parameters, and "csa" for few: for the full controller, and not for one that sees z alone.

    It pickles, its noise included. The original's L2 term on the fitness is left out: it has the wrong sign there, and at
    rewards of hundreds no effect.
    """

    def __init__(self, start, population, sigma_init, seed, step_size="csa"):
        options = {
            "popsize": population,
            "seed": np.nan,  # cma would read 0 as "from the clock" and seed NumPy's global generator
            "randn": _Normal(seed),
            "AdaptSigma": STEP_SIZES[step_size],
            "verbose": -9,
        }
        self._search = cma.CMAEvolutionStrategy(start, sigma_init, options)

    def ask(self):
        """The next candidates, (population, num_params) float64."""
        return np.array(self._search.ask())

    def tell(self, candidates, fitness):
        """fitness (population,), higher is better: the one place where the sign is turned for cma, which minimizes."""
        self._search.tell(list(candidates), list(-np.asarray(fitness, np.float64)))

    @property
    def mean(self):
        """The mean of the search distribution, (num_params,): the agent that is evaluated and kept."""
        return np.array(self._search.mean)

    @property
    def rms_stdev(self):
        """The mean standard deviation over coordinates, as the original logs it under this name."""
        return float(np.mean(self._search.result.stds))
