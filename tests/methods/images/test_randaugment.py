"""RUC's strong view: which operations, how strong, and the grey square."""

import pytest
import torch

from deep_clustering.methods.images.operations import Operation
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.randaugment import STRENGTHS, RandAugment
from deep_clustering.methods.ruc import OPERATIONS


def draws(n: int = 4000, **changes: int) -> dict[str, torch.Tensor]:
    return RandAugment(32, **changes).draw(n, torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_operations_are_distinct_and_executed_half_of_the_time() -> None:
    found = draws()
    operation, magnitude = found["operation"], found["magnitude"]
    done = operation != Operation.IDENTITY
    assert not bool((done.all(1) & (operation[:, 0] == operation[:, 1])).any())
    # one draw in fourteen is the identity itself
    assert done.float().mean().item() == pytest.approx(0.5 * 13 / 14, abs=0.02)
    assert len(STRENGTHS) == OPERATIONS == 14
    for kind, strength in STRENGTHS.items():
        mine = magnitude[operation == kind]
        if kind != Operation.IDENTITY:
            torch.testing.assert_close(mine.abs(), torch.full_like(mine, strength))
    turned = magnitude[operation == Operation.ROTATE]
    assert 0.3 < (turned < 0).float().mean().item() < 0.7


def test_the_square_covers_a_quarter_of_a_small_image() -> None:
    view = RandAugment(32, (1.0, 1.0), 0.0, operations=0)
    n = 400
    pixels = torch.full((n, 3, 32, 32), 255, dtype=torch.uint8)
    drawn = view.draw(n, torch.Generator().manual_seed(0))
    seen = view.apply(Pictures(pixels), drawn, torch.zeros(3), torch.ones(3))
    hole = seen < 0.9
    torch.testing.assert_close(seen[hole], torch.full_like(seen[hole], 127 / 255))
    assert hole.float().mean().item() == pytest.approx(0.25, abs=0.01)
    widths = hole[:, 0].any(1).sum(1)
    assert int(widths.max()) == 17
    plain = RandAugment(32, (1.0, 1.0), 0.0, operations=0, cutout=0)
    drawn = plain.draw(n, torch.Generator().manual_seed(0))
    assert not bool(
        (plain.apply(Pictures(pixels), drawn, torch.zeros(3), torch.ones(3)) < 0.9).any()
    )


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(ValueError, match="operations: from 0 to 14, got 15"):
        RandAugment(32, operations=15)
