"""The choice of the number of clusters: its order and its sentences."""

from deep_clustering.platform.search.number import Candidate, close, numbers, ranked, verdict


def candidates(**excess: tuple[float, float]) -> list[Candidate]:
    return ranked(
        Candidate(
            clusters=int(name[1:]),
            run=name,
            excess=value,
            error=error,
            silhouette=None,
            agreement=None,
        )
        for name, (value, error) in excess.items()
    )


def test_the_most_stable_number_comes_first_and_the_smaller_of_equals() -> None:
    order = candidates(k2=(0.1, 0.01), k3=(0.5, 0.01), k4=(0.2, 0.01), k7=(0.5, 0.01))
    assert [c.clusters for c in order] == [3, 7, 4, 2]


def test_close_ones_are_within_two_standard_errors_of_the_difference() -> None:
    """The error of the difference is 0.05, from 0.03 and 0.04; 0.1 is twice that."""
    order = candidates(k3=(0.5, 0.03), k4=(0.41, 0.04), k5=(0.39, 0.04))
    assert [c.clusters for c in close(order)] == [4]
    assert "do not tell the number: 3 is the most stable one, and 4 within" in verdict(order)


def test_a_clear_choice_and_none_at_all() -> None:
    assert "5 clusters are more stable" in verdict(candidates(k4=(0.1, 0.01), k5=(0.5, 0.01)))
    none = verdict(candidates(k4=(0.01, 0.01), k5=(0.015, 0.01)))
    assert "may have none. 5 is the least unstable" in none


def test_the_end_of_the_range_is_named() -> None:
    last = verdict(candidates(k19=(0.1, 0.01), k20=(0.5, 0.01)))
    assert "say --clusters for more" in last
    assert "coarse groups" not in last


def test_the_most_stable_number_is_not_called_the_true_one() -> None:
    assert "there may be more kinds" in verdict(candidates(k4=(0.1, 0.01), k5=(0.5, 0.01)))
    assert "there may be more kinds" in verdict(candidates(k4=(0.49, 0.01), k5=(0.5, 0.01)))


def test_a_number_needs_five_images_a_cluster() -> None:
    assert numbers(9) == []
    assert numbers(20) == [2, 3, 4]
    assert numbers(10_000) == list(range(2, 21))
