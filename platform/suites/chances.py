"""How likely a number of seeds settles a claim, by simulated experiments."""

import math

import numpy as np
from scipy import special

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import evidence
from deep_clustering.platform.suites.rule import DECISIONS, decide, senseless
from deep_clustering.platform.suites.spreads import FEWEST, LEVEL, OWN, SHARE

_SIMULATED = 4000  # experiments behind `chance`: a standard error of at most .008


def chance(
    *,
    published: float,
    margin: float,
    sd: float,
    n: int,
    claims: int = 1,
    others: int = 0,
    direction: Direction,
) -> float:
    """The probability in [0, 1] that n seeds settle a claim, if the published difference is true.

    Settled is any verdict but INCONCLUSIVE and NOT TESTABLE; 0 for a claim that no number of seeds
    can test. An arm's runs are taken to have nothing in common with their partners in the baseline,
    and the published difference to have no error. From 4,000 simulated experiments with a fixed
    seed: standard error at most .008.

    Args:
        published: printed difference, arm minus baseline; 0 for a claim of none.
        margin: metric's units, > 0.
        sd: of runs that differ in their seed only, metric's units; the root mean square of the two
            arms' where these differ.
        n: seeds of each arm.
        claims: testable claims of the suite.
        others: claims of the same metric and data set whose differences spread alike.
        direction: as claimed.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(published=published, margin=margin, n=n, sd=sd, claims=claims)
    if n < 2 or senseless(direction, published, margin):
        return 0.0
    shares = simulate(
        effect=published,
        published=published,
        margin=margin,
        n=n,
        correlation=0.0,
        experiments=_SIMULATED,
        seed=0,
        claims=claims,
        others=others,
        direction=direction,
        sd=sd,
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
    others: int = 0,
    published_error: float = 0.0,
    direction: Direction = "higher",
    sd: float = 1.0,
) -> dict[str, float]:
    """The share of each verdict over simulated experiments of one look at n normal pairs.

    Whether a claim is worth testing (margin at most half of `published`) is not asked, so that the
    price of ignoring it can be seen. alpha is .05.

    Args:
        effect: true difference, in the units of `sd`.
        published: claimed difference; without meaning for "equal".
        margin: > 0.
        n: pairs, at least 2.
        correlation: of the two runs of a pair, in [-1, 1].
        experiments: how many, at least 1.
        seed: of the random numbers.
        claims: testable claims of the suite.
        others: claims of the same table, whose differences have the same true variance.
        published_error: standard error of `published`.
        direction: as claimed.
        sd: of a run.

    Returns:
        Share of each of `DECISIONS`; they add up to 1.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(published=published, margin=margin, n=n, correlation=correlation, claims=claims)
    if n < 2:
        raise InputError(f"A simulated experiment needs at least 2 pairs, not {n}.")
    if experiments < 1:
        raise InputError(f"A simulation needs at least 1 experiment, not {experiments}.")
    codes = decide(
        _drawn(effect, sd * math.sqrt(2 * (1 - correlation)), n, others, experiments, seed),
        direction=direction,
        published=published,
        published_error=published_error,
        margin=margin,
        claims=claims,
        alpha=0.05,
    )
    counts = np.bincount(codes, minlength=len(DECISIONS))
    return {name: float(c / experiments) for name, c in zip(DECISIONS, counts, strict=True)}


def _drawn(
    effect: float, spread: float, n: int, others: int, experiments: int, seed: int
) -> evidence.Sample:
    """What n paired differences come to, in many experiments.

    The differences of normal runs are normal with variance spread², so their mean is normal and
    independent of their sum of squares, which is chi-squared: two random numbers stand for an
    experiment of any n. Other rows that spread alike are taken to have told the true variance.
    """
    rng = np.random.default_rng(seed)
    means = effect + spread / math.sqrt(n) * rng.standard_normal(experiments)
    squares = spread**2 * rng.chisquare(n - 1, experiments)
    freedom = SHARE * others * (n - 1) if others >= FEWEST and n - 1 >= OWN else 0.0
    if freedom and spread > 0:
        unlike = special.fdtrc(n - 1, freedom, squares / (n - 1) / spread**2) < LEVEL
        return evidence.sample(n, means, squares, np.where(unlike, 0.0, freedom), spread**2)
    return evidence.sample(n, means, squares)


def _check_setting(
    *,
    published: float,
    margin: float,
    n: int,
    claims: int,
    correlation: float = 0.0,
    sd: float = 1.0,
) -> None:
    rules: tuple[tuple[bool, str], ...] = (
        (math.isfinite(published), f"A published difference is finite, not {published}."),
        (math.isfinite(margin) and margin > 0, f"A margin is a positive number, not {margin}."),
        (math.isfinite(sd) and sd >= 0, f"A standard deviation is not negative, but {sd} is."),
        (n >= 0, f"A number of seeds is not negative, but {n} is."),
        (-1 <= correlation <= 1, f"A correlation lies in [-1, 1], not at {correlation}."),
        (claims >= 1, f"A suite has at least 1 claim, not {claims}."),
    )
    for fulfilled, sentence in rules:
        if not fulfilled:
            raise InputError(sentence)
