"""The variance that a row borrows from the other rows of its table.

Few seeds tell little about one row's spread, and the rows of a table spread alike more often than
not. Each row's differences get a prior for their variance, fitted to the other rows (a scaled
inverse chi-squared by moments of log variances: Smyth 2004). Three limits keep it honest where rows
are not alike: a row is not part of its own prior; the prior counts for at most a quarter of the
degrees of freedom of the rows that it comes from; and a row borrows nothing whose own variance is
larger than theirs (F test), or of two measurements only, which cannot tell.
`tests/benchmarks/verdicts.py` measures what that costs and gains.
"""

import numpy as np
from scipy import special

from deep_clustering.platform.suites.evidence import Array

#: Rows that a prior needs beside the one that it is for.
FEWEST = 3

#: Share of the others' degrees of freedom that a prior counts for at most.
SHARE = 0.25

#: Level of the F test by which a row is left on its own variance.
LEVEL = 0.2

#: Degrees of freedom of its own that a row needs to borrow.
OWN = 2

_LEAST_EXCESS = 1e-4  # of the variance of log variances over what chance alone gives


def borrowed(variances: Array, freedom: Array) -> tuple[Array, Array]:
    """Degrees of freedom and variance that each row borrows; (0, 0) where it borrows nothing.

    Args:
        variances: of the rows' differences, along the last axis (..., K); not negative.
        freedom: of each, at least 1; broadcasts.

    Returns:
        Both (..., K). Rows without spread neither lend nor borrow.
    """
    freedom = np.broadcast_to(np.asarray(freedom, np.float64), variances.shape)
    lends = variances > 0
    others = lends.sum(-1, keepdims=True) - lends
    half = freedom / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(lends, np.log(variances) - special.digamma(half) + np.log(half), 0.0)
        chance = np.where(lends, special.polygamma(1, half), 0.0)
        mean = _of_others(logs) / others
        spread = (_of_others(logs**2) - others * mean**2) / (others - 1)
        excess = np.maximum(spread - _of_others(chance) / others, _LEAST_EXCESS)
        most = SHARE * _of_others(np.where(lends, freedom, 0.0))
        strength = np.minimum(2 * _inverse_trigamma(excess), most)
        variance = np.exp(mean + special.digamma(strength / 2) - np.log(strength / 2))
        unlike = special.fdtrc(freedom, strength, variances / variance) < LEVEL
    borrows = lends & (others >= FEWEST) & (freedom >= OWN) & ~unlike
    return np.where(borrows, strength, 0.0), np.where(borrows, variance, 0.0)


def _of_others(x: Array) -> Array:
    """The sum over all but itself, along the last axis."""
    total: Array = x.sum(-1, keepdims=True) - x
    return total


def _inverse_trigamma(y: Array) -> Array:
    """x > 0 with trigamma(x) = y > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(8):
        value = special.polygamma(1, x)
        x = x + value * (1 - value / y) / special.polygamma(2, x)
    return x
