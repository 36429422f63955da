"""Principal components: against the singular values, as they are and weighted."""

import numpy as np
import pytest

from deep_clustering.methods.clustering.components import components


def test_components_keep_the_largest_spread() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 5)) * [1, 9, 1, 3, 1]
    found = components(x, 2)(x)
    _, s, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert np.allclose(np.abs(found), np.abs((x - x.mean(0)) @ axes[:2].T))
    assert np.allclose(np.linalg.norm(found, axis=0), s[:2])
    assert np.array_equal(components(x, 7)(x), x - x.mean(0))


def test_components_of_fewer_points_than_dimensions() -> None:
    """Six points differ in five directions: what is beyond them is 0, for other points too."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 40)) + 100
    seen = components(x, 8)
    found = seen(x)
    _, s, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert found.shape == (6, 6)
    assert np.allclose(np.abs(found[:, :5]), np.abs((x - x.mean(0)) @ axes[:5].T))
    assert np.allclose(np.linalg.norm(found, axis=0), [*s[:5], 0])
    assert np.array_equal(seen(random.normal(size=(3, 40)))[:, 5], np.zeros(3))
    assert np.array_equal(components(np.ones((4, 9)), 3)(np.ones((4, 9))), np.zeros((4, 3)))


@pytest.mark.parametrize("n", [300, 5], ids=["many points", "fewer than dimensions"])
@pytest.mark.parametrize("weighting", [0.0, 0.5])
def test_weighted_components_keep_a_power_of_their_spread(n: int, weighting: float) -> None:
    """In units in which the first one keeps its own: with 0 all spread alike."""
    x = np.random.default_rng(0).normal(size=(n, 8)) * [1, 9, 1, 3, 1, 1, 1, 1]
    plain = components(x, 4)(x)
    found = components(x, 4, weighting=weighting)(x)
    spreads = plain.std(0)
    assert np.allclose(found.std(0), spreads[0] * (spreads / spreads[0]) ** weighting)
    assert np.allclose(found / found.std(0), plain / spreads)


def test_all_directions_are_weighted_along_the_axes_of_the_points() -> None:
    """Two variables of spread 5 and 1, turned: whitened, every direction spreads alike."""
    x = np.random.default_rng(0).normal(size=(4000, 2)) * [5, 1]
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    found = components(x @ turn, 2, weighting=0.0)(x @ turn)
    assert np.allclose(np.cov(found.T, ddof=0), x.var(0).max() * np.eye(2), rtol=2e-2)


def test_weighting_does_not_blow_up_rounding() -> None:
    """A direction with a millionth of the largest spread stays small; equal points stay zero."""
    x = np.random.default_rng(0).normal(size=(300, 3)) * [1, 1e-6, 1]
    found = components(x, 3, weighting=0.0)(x)
    assert found[:, 2].std() < 2e-3 * found[:, 0].std()
    assert np.array_equal(
        components(np.ones((4, 9)), 3, weighting=0.5)(np.ones((4, 9))), np.zeros((4, 3))
    )
