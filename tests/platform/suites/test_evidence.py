"""E-values, their bounds, and the variance that rows borrow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from deep_clustering.platform.suites import evidence, spreads
from deep_clustering.platform.suites.evidence import EFFECTS, sample


def by_integration(x, freedom=0.0, variance=0.0):
    """The e-value against a mean of at most 0: both densities summed over what is not known.

    Standard deviations have the density 1 / sd, or that of a scaled inverse chi-squared variance;
    effects are half-normal.
    """
    x = np.asarray(x, float)
    logs = np.linspace(np.log(1e-3), np.log(1e3), 3000)  # of the standard deviation
    sd = np.exp(logs)
    known = np.ones_like(sd)
    if freedom:
        known = stats.invgamma.pdf(sd**2, freedom / 2, scale=freedom * variance / 2) * 2 * sd**2

    def density(effect):
        each = -len(x) * logs - ((x[:, None] / sd - effect) ** 2).sum(0) / 2
        return np.trapezoid(np.exp(each) * known, logs)

    ratios = []
    for g in EFFECTS:
        effects = np.linspace(0, 8 * g**0.5, 400)
        densities = [density(e) * 2 * stats.norm.pdf(e, 0, g**0.5) for e in effects]
        ratios.append(np.trapezoid(densities, effects) / density(0.0))
    return float(np.mean(ratios))


def of(x, **borrowed):
    x = np.asarray(x, float)
    return sample(len(x), x.mean(), ((x - x.mean()) ** 2).sum(), **borrowed)


def test_two_differences_by_hand(monkeypatch):
    # 1 and 3: mean 2, squares 2. g = 1, 1 + 2g = 3: without an effect 2 + 8 = 10 is unexplained,
    # with one 2 + 8/3: (10 / 4.667) / sqrt 3 = 1.2372 for both sides. The effect's posterior is t
    # with 2 degrees of freedom at 1.3333 / .88192 = 1.51186: .86515 of it is above 0.
    monkeypatch.setattr(evidence, "EFFECTS", (1.0,))
    assert float(np.exp(of([1, 3]).above(0.0))) == pytest.approx(2 * 0.86515 * 1.2372, rel=1e-4)
    assert float(np.exp(of([1, 3]).below(0.0))) == pytest.approx(2 * 0.13485 * 1.2372, rel=1e-4)
    # The same difference held against 1 is that of 0 and 2.
    assert of([1, 3]).above(1.0) == pytest.approx(of([0, 2]).above(0.0))


def test_evidence_is_a_ratio_of_densities(monkeypatch):
    monkeypatch.setattr(evidence, "EFFECTS", (2.0,))
    monkeypatch.setitem(globals(), "EFFECTS", (2.0,))
    x = [0.5, 1.5, 1.1]
    assert float(np.exp(of(x).above(0.0))) == pytest.approx(by_integration(x), rel=1e-4)
    lent = {"freedom": 3.0, "variance": 0.7}
    found = float(np.exp(of(x, **lent).above(0.0)))
    assert found == pytest.approx(by_integration(x, **lent), rel=1e-4)


def test_without_spread_nothing_is_certain():
    # Equal differences: 10 / explained is 1 + n g, to the power n / 2, over its root.
    for n in (2, 3, 4):
        wanted = np.mean([2 * special.stdtr(n, np.sqrt(n**2 * g)) * (1 + n * g) ** ((n - 1) / 2)
                          for g in EFFECTS])  # fmt: skip
        assert float(np.exp(sample(n, 0.2, 0.0).above(0.0))) == pytest.approx(wanted, rel=1e-9)
    assert sample(2, 0.2, 0.0).bounds(math.log(20)) == (-math.inf, math.inf)
    assert sample(3, 0.2, 0.0).bounds(math.log(20)) == (0.2, 0.2)
    assert float(sample(5, 0.0, 0.0).above(0.0)) == pytest.approx(0)  # e = 1: nothing is said


@settings(max_examples=40, deadline=None)
@given(
    mean=st.floats(-5, 5),
    sd=st.floats(0.01, 3),
    n=st.integers(2, 30),
    claims=st.integers(1, 40),
    freedom=st.sampled_from([0.0, 4.0, 30.0]),
)
def test_bounds_are_where_the_evidence_reaches_the_threshold(mean, sd, n, claims, freedom):
    threshold = math.log(claims / 0.05)
    given_ = sample(n, mean, sd**2 * (n - 1), freedom, sd**2)
    low, high = given_.bounds(threshold)
    if math.isinf(low):
        assert math.isinf(high)
        assert given_.above(mean - 1e5 * sd) < threshold
    else:
        assert low < mean < high
        assert given_.above(float(low)) == pytest.approx(threshold, abs=1e-5)
        assert given_.below(float(high)) == pytest.approx(threshold, abs=1e-5)
    more = [float(given_.above(mean - d * sd)) for d in (-2, -1, 0, 1, 2, 4)]
    assert more == sorted(more)  # the further above, the more evidence


def test_intervals_hold_at_every_look():
    """95 % of intervals after each of 2 to 25 seeds hold the truth at all of these looks."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (4000, 25))
    always, at_five = np.ones(4000, bool), 0.0
    for n in range(2, 26):
        part = x[:, :n]
        held = sample(n, part.mean(1), part.var(1) * n)
        inside = (held.above(3) < math.log(2 / 0.05)) & (held.below(3) < math.log(2 / 0.05))
        always &= inside
        if n == 5:
            at_five = float(inside.mean())
    assert 0.95 <= always.mean() < at_five < 1


# --- Borrowed variance


def test_inverse_trigamma_is_one():
    x = np.geomspace(0.02, 2e4, 40)
    assert spreads._inverse_trigamma(special.polygamma(1, x)) == pytest.approx(x, rel=1e-6)


def slowly(variances, freedom):
    """`borrowed` in plain words, one row at a time (Smyth 2004, Sec. 6.2)."""
    found = []
    for i, own in enumerate(variances):
        rest = [(v, f) for j, (v, f) in enumerate(zip(variances, freedom, strict=True))
                if j != i and v > 0]  # fmt: skip
        if own <= 0 or len(rest) < 3 or freedom[i] < 2:
            found.append((0.0, 0.0))
            continue
        e = [math.log(v) - special.digamma(f / 2) + math.log(f / 2) for v, f in rest]
        excess = np.var(e, ddof=1) - np.mean([special.polygamma(1, f / 2) for _, f in rest])
        most = sum(f for _, f in rest) / 4
        strength = most
        if excess > 1e-4:
            root = optimize.brentq(lambda x, y=excess: special.polygamma(1, x) - y, 1e-3, 1e6)
            strength = min(2 * root, most)
        shared = math.exp(np.mean(e) + special.digamma(strength / 2) - math.log(strength / 2))
        unlike = stats.f.sf(own / shared, freedom[i], strength) < 0.2
        found.append((0.0, 0.0) if unlike else (strength, shared))
    return tuple(map(list, zip(*found, strict=True)))


@pytest.mark.parametrize("seed", range(12))
def test_borrowed_equals_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 12))
    freedom = rng.integers(1, 8, count).astype(float)
    variances = rng.chisquare(freedom) / freedom * np.exp(rng.normal(0, seed / 6, count))
    if seed % 3 == 0:
        variances[0] = 0.0
    strength, shared = spreads.borrowed(variances, freedom)
    wanted = slowly(variances, freedom)
    assert strength == pytest.approx(wanted[0], rel=1e-5)
    assert shared == pytest.approx(wanted[1], rel=1e-5)


def test_a_row_with_a_spread_of_its_own_keeps_it():
    alike = np.array([1.0, 1.2, 0.9, 1.1, 0.8])
    strength, shared = spreads.borrowed(np.append(alike, 25.0), np.full(6, 4.0))
    assert (strength[-1], shared[-1]) == (0, 0)
    # the others do not lose what they share: the wide row only weakens their prior
    assert (strength[:-1] > 0).all()
    strength, shared = spreads.borrowed(alike, np.full(5, 4.0))
    assert strength == pytest.approx(np.full(5, 4.0))  # a quarter of the 16 of the four others
    # E log of chi-squared(4) / 4 is -.2704, of both sides here, so that it cancels.
    assert shared[0] == pytest.approx(math.exp(np.log(alike[1:]).mean()))


def test_three_rows_borrow_nothing():
    assert not spreads.borrowed(np.ones(3), np.full(3, 4.0))[0].any()
    assert not spreads.borrowed(np.zeros(6), np.full(6, 4.0))[0].any()
