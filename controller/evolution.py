"""CMA-ES, which evolves C (article, appendix "Evolution Strategies"). A higher fitness is better."""

import numpy as np

from world_models.job.machine import without_matplotlib

with without_matplotlib():
    import cma
    from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

STEP_SIZES = {"csa": CMAAdaptSigmaCSA, "tpa": CMAAdaptSigmaTPA}


class _Normal:
    """cma's noise, from a separate generator. It is saved with the search, so that a resumed run draws the same noise."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape):
        return self.generator.standard_normal(shape)


class Evolution:
    """An ask-and-tell CMA-ES of `population` candidates, from the parameters `start` (P,) with standard deviation `sigma_init`.

    step_size: how that deviation adapts. "csa" uses the length of the mean's path. The published runs did so: the values in the
    authors' hist.json are those of "csa". "tpa" compares two points on the mean's last step. By default cma uses "tpa" for many
    parameters, as the full controller has, and "csa" for few, as a controller of z alone has.

    controller.state saves it, with the state of its noise. The original's L2 term on the fitness is left out: it has the wrong
    sign there, and no effect where rewards are in the hundreds.
    """

    def __init__(self, start, population, sigma_init, seed, step_size="csa"):
        options = {
            "popsize": population,
            "seed": np.nan,  # cma takes 0 as "from the clock", and would seed NumPy's global generator
            "randn": _Normal(seed),
            "AdaptSigma": STEP_SIZES[step_size],
            "verbose": -9,
        }
        self._search = cma.CMAEvolutionStrategy(start, sigma_init, options)

    def prepare(self):
        """Make the objects that cma makes in its first generation. A saved state is put into them."""
        self.tell(self.ask(), np.arange(self._search.popsize))

    def ask(self):
        """The next candidates, (population, num_params) float64."""
        return np.array(self._search.ask())

    def tell(self, candidates, fitness):
        """fitness: (population,), higher is better. The sign is changed only here, for cma, which minimizes."""
        self._search.tell(list(candidates), list(-np.asarray(fitness, np.float64)))

    @property
    def mean(self):
        """The mean of the search distribution, (num_params,). This is the controller that is evaluated and saved."""
        return np.array(self._search.mean)

    @property
    def rms_stdev(self):
        """The standard deviation, averaged over coordinates; the original logs it under this name."""
        return float(np.mean(self._search.result.stds))
