"""Evidence about a mean difference that may be looked at after every seed.

An e-value against "the true difference is at most x" has an expectation of at most 1 where that is
true, and over growing n it is an e-process: the probability that it ever reaches 1 / alpha is at
most alpha, however often one looks and whenever one stops (Ville 1939). It is the ratio of the
densities of Student's t with an effect and without one, the size of the effect, in standard
deviations of a difference, being half-normal with variance g on the side of the alternative
(Rouder et al. 2009; Wang and Ramdas 2024); the mean over several g serves small and large effects.
Confidence bounds are the x that are not refuted. Arrays broadcast.

Several claims: a mean of e-values is an e-value, and for K claims that is K / alpha asked of each
(the e-value form of Bonferroni's rule). It makes all bounds of a suite true at once, so that no
step-down, as Holm's is, can ask less of a claim: any claim may be judged falsely in some way.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[np.float64]

#: Variances g of the effect, in squared standard deviations of a difference.
EFFECTS = (1.0, 10.0, 100.0)

_FAR = 1e6  # no bound is looked for beyond this many standard deviations


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Differences of n pairs, and what is known of their variance from elsewhere.

    Attributes:
        n: pairs, at least 1.
        mean: of the differences.
        squares: sum of squared distances from the mean.
        freedom: degrees of freedom that the borrowed variance counts for; 0: nothing is borrowed.
        variance: borrowed.
    """

    n: Array
    mean: Array
    squares: Array
    freedom: Array
    variance: Array

    def above(self, x: float) -> Array:
        """Log of the e-value against "the true difference is at most x"."""
        return _log_evidence(self, self.mean - x)

    def below(self, x: float) -> Array:
        """Log of the e-value against "the true difference is at least x"."""
        return _log_evidence(self, x - self.mean)

    def bounds(self, threshold: float) -> tuple[float, float]:
        """The lowest and the highest difference whose e-value stays below a threshold (its log).

        Of a single sample; infinite where no difference is refuted.
        """
        half = self._reach(threshold)
        return float(self.mean) - half, float(self.mean) + half

    def _reach(self, threshold: float) -> float:
        """How far from the mean the e-value reaches the threshold."""
        squares = float(self.squares + self.freedom * self.variance)
        spread = math.sqrt(squares / float(self.freedom + self.n))

        def missing(distance: float) -> float:
            return float(_log_evidence(self, np.asarray(distance))) - threshold

        if missing(_FAR * (spread or 1.0)) < 0:
            return math.inf
        if spread == 0:  # every distance is equally far
            return 0.0
        return float(optimize.brentq(missing, 0, _FAR * spread, xtol=1e-9 * spread))


def sample(n: Any, mean: Any, squares: Any, freedom: Any = 0.0, variance: Any = 0.0) -> Sample:
    """A `Sample` of plain numbers or arrays."""
    values = (np.asarray(x, np.float64) for x in (n, mean, squares, freedom, variance))
    n, mean, squares, freedom, variance = values
    return Sample(n=n, mean=mean, squares=squares, freedom=freedom, variance=variance)


def _log_evidence(given: Sample, gap: Array) -> Array:
    """Log e-value of a mean that lies `gap` above what it is held against."""
    parts = [_one(given, gap, g) for g in EFFECTS]
    mixed: Array = np.logaddexp.reduce(parts, axis=0) - np.log(len(parts))
    return mixed


def _one(given: Sample, gap: Array, g: float) -> Array:
    n, count = given.n, given.freedom + given.n
    grown = 1 + n * g
    rest = given.freedom * given.variance + given.squares
    without = rest + n * gap**2  # what no effect leaves unexplained
    explained = rest + n * gap**2 / grown  # and what an effect does
    with np.errstate(divide="ignore", invalid="ignore"):
        two_sided = count / 2 * np.log(without / explained) - np.log(grown) / 2
        # The effect's posterior is Student's t; its share above 0 is what one side keeps, doubled.
        centre = gap * n * g / grown
        t = centre / np.sqrt(g / grown * explained / count)
        one_sided = two_sided + np.log(2 * special.stdtr(count, t))
    return np.where(without > 0, one_sided, 0.0)
