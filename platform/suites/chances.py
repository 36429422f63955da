"""How likely a number of seeds settles a claim, by simulated experiments."""

import math

import numpy as np

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites.differences import Array
from deep_clustering.platform.suites.rule import DECISIONS, decide, senseless
from deep_clustering.platform.suites.significance import tost, two_sided

_SIMULATED = 20_000  # experiments behind `chance`: a standard error of at most .0035


def chance(
    *,
    published: float,
    margin: float,
    sd: float,
    n: int,
    correlation: float = 0.0,
    claims: int = 1,
    direction: Direction,
) -> float:
    """The probability in [0, 1] that n seeds settle a claim, if the published difference is true.

    Settled is any verdict but INCONCLUSIVE and NOT TESTABLE; 0 for a claim that no number of seeds
    can test. From 20,000 simulated experiments with a fixed seed: standard error at most .0035.

    Args:
        published: printed difference, arm minus baseline; 0 for a claim of none.
        margin: metric's units, > 0.
        sd: of runs that differ in their seed only, metric's units; the same in both arms.
        n: seeds of each arm.
        correlation: of an arm's runs with their partners in the baseline, in [-1, 1].
        claims: testable claims of the metric ("equal": those of no difference); the strictest step
            of Holm is assumed.
        direction: as claimed.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(
        published=published, margin=margin, n=n, sd=sd, correlation=correlation, claims=claims
    )
    if n < 2 or senseless(direction, published, margin):
        return 0.0
    shares = _shares(
        *draws(effect=published, n=n, correlation=correlation, experiments=_SIMULATED, sd=sd),
        published=published,
        margin=margin,
        n=n,
        claims=claims,
        direction=direction,
    )
    return 1 - shares["INCONCLUSIVE"]


def simulate(
    *,
    effect: float,
    published: float,
    margin: float,
    n: int,
    correlation: float,
    experiments: int,
    seed: int,
    claims: int = 1,
    direction: Direction = "higher",
) -> dict[str, float]:
    """Operating characteristics of the rule: the share of each verdict over simulated experiments.

    Runs are normal with standard deviation 1, so that differences are in sd units. Whether a claim
    is worth testing (margin at most half of `published`) is not asked, so that the price of
    ignoring it can be seen. alpha is .05.

    Args:
        effect: true difference, sd.
        published: claimed difference, taken as exact, sd; without meaning for "equal".
        margin: sd, > 0.
        n: pairs, at least 2.
        correlation: of the two runs of a pair, in [-1, 1].
        experiments: how many, at least 1.
        seed: of the random numbers.
        claims: testable claims of the metric ("equal": those of no difference); the strictest step
            of Holm is assumed, p * claims.
        direction: as claimed.

    Returns:
        Share of each of `DECISIONS`; they add up to 1.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(published=published, margin=margin, n=n, correlation=correlation, claims=claims)
    if n < 2:
        raise InputError(f"A simulated experiment needs at least 2 pairs, not {n}.")
    drawn = draws(effect=effect, n=n, correlation=correlation, experiments=experiments, seed=seed)
    return _shares(
        *drawn, published=published, margin=margin, n=n, claims=claims, direction=direction
    )


def draws(
    *,
    effect: float,
    n: int,
    correlation: float,
    experiments: int,
    seed: int = 0,
    sd: float = 1.0,
) -> tuple[Array, Array]:
    """Mean and standard deviation of n paired differences, each (experiments,).

    The differences of normal runs are normal with variance 2 sd² (1 - correlation), so their mean
    is normal and independent of their variance, which is chi-squared: two random numbers stand
    for an experiment of any n.

    Raises:
        InputError: no experiments.
    """
    if experiments < 1:
        raise InputError(f"A simulation needs at least 1 experiment, not {experiments}.")
    rng = np.random.default_rng(seed)
    spread = sd * math.sqrt(2 * (1 - correlation))
    means = effect + spread / math.sqrt(n) * rng.standard_normal(experiments)
    return means, spread * np.sqrt(rng.chisquare(n - 1, experiments) / (n - 1))


def _shares(
    delta: Array,
    sd: Array,
    *,
    published: float,
    margin: float,
    n: int,
    claims: int,
    direction: Direction,
) -> dict[str, float]:
    """The share of each verdict among paired experiments."""
    error, freedom = sd / math.sqrt(n), np.full(len(sd), n - 1.0)
    codes = decide(
        delta,
        error,
        freedom,
        np.minimum(1, claims * two_sided(delta, error, freedom)),
        np.minimum(1, claims * tost(delta, error, freedom, margin)),
        direction=direction,
        published=published,
        published_error=0.0,
        margin=margin,
        alpha=0.05,
    )
    counts = np.bincount(codes, minlength=len(DECISIONS))
    return {name: float(c / len(sd)) for name, c in zip(DECISIONS, counts, strict=True)}


def _check_setting(
    *,
    published: float,
    margin: float,
    n: int,
    correlation: float,
    claims: int,
    sd: float = 1.0,
) -> None:
    rules: tuple[tuple[bool, str], ...] = (
        (math.isfinite(published), f"A published difference is finite, not {published}."),
        (math.isfinite(margin) and margin > 0, f"A margin is a positive number, not {margin}."),
        (math.isfinite(sd) and sd >= 0, f"A standard deviation is not negative, but {sd} is."),
        (n >= 0, f"A number of seeds is not negative, but {n} is."),
        (-1 <= correlation <= 1, f"A correlation lies in [-1, 1], not at {correlation}."),
        (claims >= 1, f"A family has at least 1 claim, not {claims}."),
    )
    for fulfilled, sentence in rules:
        if not fulfilled:
            raise InputError(sentence)
