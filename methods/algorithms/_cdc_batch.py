"""What is known of one batch of CDC between its passes and its steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Observed(NamedTuple):
    """What the passes without gradient come to; rows of this rank, slice after slice."""

    features: Tensor  # (n, D) of the clean views
    all_features: Tensor  # (B, D) of all ranks
    all_taught: Tensor  # (B, C) predictions that targets are made of
    labels: Tensor  # (n,) pseudo-labels
    selected: Tensor  # (n,) 1.0 where selected
    counts: Tensor  # (slices,) selected samples of each slice, over all ranks
    empty: Tensor  # (slices,) 1.0 where there are none
    share: Tensor  # 0-d, selected of the batch
    threshold: Tensor  # 0-d, confidence asked
    confidence: Tensor  # 0-d, mean over the batch


class Slice(NamedTuple):
    """What the sub-steps of a slice need of this rank's share of it, and of all ranks."""

    strong: Tensor  # (n, 3, S, S) strong views
    labels: Tensor  # (n,)
    selected: Tensor  # (n,)
    selections: Tensor  # 0-d, selected samples over all ranks
    empty: Tensor  # 0-d, 1.0 where there are none


@dataclass
class Batch:
    """What the sub-steps of one batch need; tensors hold this rank's rows, slice after slice."""

    strong: Tensor  # (n, 3, S, S) strong views
    clean: Tensor  # (n, 3, S, S) clean views
    observed: Observed
    targets: Callable[[], Tensor]  # (n, C), made at the first call
    share: int  # rows of a slice

    def part(self, values: Tensor, j: int) -> Tensor:
        """Those of a slice."""
        return values[j * self.share : (j + 1) * self.share]

    def slice(self, j: int) -> Slice:
        """What belongs to a slice."""
        seen = self.observed
        return Slice(
            strong=self.part(self.strong, j),
            labels=self.part(seen.labels, j),
            selected=self.part(seen.selected, j),
            selections=seen.counts[j],
            empty=seen.empty[j],
        )
