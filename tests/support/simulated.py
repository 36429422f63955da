"""Simulated suites: runs of many tables, and the verdicts on them after every seed.

Runs are normal unless a setting says otherwise; one standard deviation of a run is the unit. What
decides is the product's own code (`spreads`, `evidence`, `rule`), on arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deep_clustering.platform.suites import evidence, outlook
from deep_clustering.platform.suites.evidence import Array
from deep_clustering.platform.suites.rule import DECISIONS, decide
from deep_clustering.platform.suites.spreads import borrowed

#: What a published difference is in all settings, and the margin around it: half of it.
PUBLISHED, MARGIN = 3.0, 1.5

Noise = Literal["normal", "heavy", "collapse"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One kind of suite: a table of rows against one baseline.

    Attributes:
        claims: rows.
        correlation: of runs with one seed.
        noise: "heavy" is Student's t with 3 degrees of freedom, scaled to a standard deviation of
            1; "collapse" throws a tenth of all runs 20 standard deviations down.
        spreads: standard deviation of each row's runs; the baseline's is 1.
        effect: true difference of every row.
    """

    claims: int
    correlation: float = 0.5
    noise: Noise = "normal"
    spreads: Sequence[float] | float = 1.0
    effect: float = 0.0


def one_wide(claims: int) -> list[float]:
    """Rows of which one spreads five times as much."""
    return [5.0] + [1.0] * (claims - 1)


def half_wide(claims: int) -> list[float]:
    """Rows of which every other one spreads five times as much."""
    return [5.0 if i % 2 == 0 else 1.0 for i in range(claims)]


def graded(claims: int) -> list[float]:
    """Rows whose spreads differ evenly on a log scale, from a fifth to nearly five."""
    return [float(x) for x in np.exp(np.linspace(-1.5, 1.5, claims))]


def differences(setting: Setting, *, suites: int, seeds: int, seed: int) -> Array:
    """Arm minus baseline, (suites, claims, seeds)."""
    rng = np.random.default_rng(seed)
    shared = np.sqrt(setting.correlation) * rng.standard_normal((suites, 1, seeds))
    rest = np.sqrt(1 - setting.correlation)
    baseline = shared + rest * _noise(rng, setting.noise, (suites, 1, seeds))
    own = rest * _noise(rng, setting.noise, (suites, setting.claims, seeds))
    scale = np.broadcast_to(setting.spreads, (setting.claims,))[:, None]
    arms = setting.effect + scale * (shared + own)
    if setting.noise == "collapse":
        arms = arms - 20 * (rng.random(arms.shape) < 0.1)
        baseline = baseline - 20 * (rng.random(baseline.shape) < 0.1)
    found: Array = arms - baseline
    return found


def _noise(rng: np.random.Generator, kind: Noise, shape: tuple[int, ...]) -> Array:
    if kind == "heavy":
        return np.asarray(rng.standard_t(3, shape) / np.sqrt(3))
    return rng.standard_normal(shape)


def verdicts(
    drawn: Array, *, looks: Sequence[int], alone: bool = False, published_error: float = 0.0
) -> Array:
    """Codes of the verdicts, (suites, claims, looks), as indices into `DECISIONS`.

    Args:
        drawn: of `differences`.
        looks: numbers of seeds at which one looks, each at least 2.
        alone: every row stands on its own variance.
        published_error: standard error of the published difference.
    """
    return np.stack(
        [
            _judged(
                _seen(drawn, np.full(drawn.shape[:2], n), alone),
                drawn.shape[1],
                published_error=published_error,
            )
            for n in looks
        ],
        axis=2,
    )


def until_settled(drawn: Array, *, begin: int, most: int) -> tuple[Array, Array]:
    """What `platform ablate --until-settled` comes to.

    Args:
        drawn: of `differences`; at least `most` seeds.
        begin: seeds of every row, at least 2.
        most: seeds of a row at most.

    Returns:
        Codes of the verdicts at every look (suites, claims, looks), and the seeds that each row got
        (suites, claims).
    """
    claims = drawn.shape[1]
    n = np.full(drawn.shape[:2], begin)
    looks = []
    while True:
        seen = _seen(drawn, n)
        looks.append(_judged(seen, claims))
        fewest = outlook.seeds_after(
            seen, lambda sample: _judged(sample, claims), outlook.likely(seen), most - begin
        )
        still = (looks[-1] == DECISIONS.index("INCONCLUSIVE")) & (fewest > 0) & (n + fewest <= most)
        if not still.any():
            return np.stack(looks, axis=2), n
        n = np.where(still, n + fewest, n)


def _seen(drawn: Array, n: Array, alone: bool = False) -> evidence.Sample:
    """The first n seeds of each row, (suites, claims)."""
    used = np.arange(drawn.shape[2]) < n[..., None]
    mean = np.where(used, drawn, 0).sum(2) / n
    squares = np.where(used, (drawn - mean[..., None]) ** 2, 0).sum(2)
    prior = (0.0, 0.0) if alone else borrowed(squares / (n - 1), n - 1.0)
    return evidence.sample(n, mean, squares, *(np.broadcast_to(x, n.shape) for x in prior))


def _judged(sample: evidence.Sample, claims: int, *, published_error: float = 0.0) -> Array:
    return decide(
        sample,
        direction="higher",
        published=PUBLISHED,
        published_error=published_error,
        margin=MARGIN,
        claims=claims,
        alpha=0.05,
    )


def false(effect: float) -> list[int]:
    """Codes of the verdicts that are false of a true difference."""
    if effect <= 0:
        names = ["REPLICATED", "SMALLER", "DIRECTION ONLY"]
    elif effect <= MARGIN:
        names = ["REPLICATED"]
    else:
        names = ["SMALLER", "NOT REPLICATED"]
    return [i for i, name in enumerate(DECISIONS) if name in names]


def error(codes: Array, effect: float) -> float:
    """Share of suites with any false verdict at any look."""
    return float(np.isin(codes, false(effect)).any(axis=(1, 2)).mean())


def share(codes: Array, *names: str) -> float:
    """Share of claims with one of some verdicts, at the last look."""
    wanted = [i for i, name in enumerate(DECISIONS) if name in names]
    return float(np.isin(codes[:, :, -1], wanted).mean())
