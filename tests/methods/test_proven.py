"""Fast forms prove themselves, or the plain form is used and one warning says why."""

import warnings
from collections.abc import Callable

import pytest

from deep_clustering.methods._proven import Proven, plainly, said


def plain(x: int) -> int:
    return 2 * x


def proven(fast: Callable[[int], int], asked: list[int]) -> Proven[[int], int]:
    """Doubling, which is proven for even and for odd numbers; `asked` notes every proof."""

    def differs(x: int) -> str | None:
        asked.append(x)
        return None if fast(x % 2) == plain(x % 2) else "it makes something else"

    return Proven("doubling", fast=fast, plain=plain, case=lambda x: x % 2, differs=differs)


def test_a_fast_form_is_used_once_it_has_proven_itself() -> None:
    asked: list[int] = []
    used: list[int] = []

    def fast(x: int) -> int:
        used.append(x)
        return x + x

    double = proven(fast, asked)
    assert [double(3), double(5), double(4)] == [6, 10, 8]
    assert asked == [3, 4]  # one proof for each case
    assert used == [1, 3, 5, 0, 4]
    with plainly():
        assert double(7) == 14
    assert used[-1] == 4


def test_a_form_that_differs_is_not_used_and_that_is_said_once() -> None:
    asked: list[int] = []
    double = proven(lambda x: (2 + x % 2) * x, asked)
    with pytest.warns(RuntimeWarning, match="fast form of doubling is not used .it makes someth"):
        assert double(3) == 6
    assert double(5) == 10
    assert double(4) == 8  # of the other case nothing is known
    assert asked == [3, 4]


def test_a_form_that_fails_is_not_used_whenever_it_fails() -> None:
    def fast(x: int) -> int:
        if x > 4:
            raise RuntimeError("out of resource: shared memory\nand more")
        return 2 * x

    double = proven(fast, [])
    assert double(3) == 6
    with pytest.warns(RuntimeWarning, match="RuntimeError: out of resource: shared memory.;"):
        assert double(5) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double(7) == 14

    def broken(x: int) -> int:
        raise NotImplementedError

    with pytest.warns(RuntimeWarning, match="NotImplementedError"):
        assert proven(broken, [])(3) == 6


def test_cases_that_are_given_up_together_are_not_tried_one_by_one() -> None:
    asked: list[int] = []

    def differs(x: int) -> str | None:
        asked.append(x)
        return None if x < 10 else "it makes something else"

    double = Proven(
        "doubling",
        fast=plain,
        plain=plain,
        case=lambda x: x,
        differs=differs,
        together=lambda x: x % 2,
    )
    assert double(3) == 6
    with pytest.warns(RuntimeWarning, match="something else"):
        assert double(11) == 22
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [double(x) for x in (11, 13, 3, 4)] == [22, 26, 6, 8]
    assert asked == [3, 11, 4]


def test_an_error_is_said_in_a_line() -> None:
    assert said(ValueError("a\nb")) == "ValueError: a"
    assert said(ValueError("backend='inductor' raised:\n  no compiler\nb")) == (
        "ValueError: backend='inductor' raised:   no compiler"
    )
    assert said(ValueError()) == "ValueError: "
