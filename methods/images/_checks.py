"""Checks of the fields of a view; all mistakes are reported together."""

from __future__ import annotations


def refuse(*mistakes: str | None) -> None:
    """Raises one ValueError that lists the mistakes."""
    found = [mistake for mistake in mistakes if mistake]
    if found:
        raise ValueError("\n".join(found))


def side_mistake(side: int) -> str | None:
    # Three pixels are the least that sharpness, a 3x3 filter, can work on.
    return None if side >= 3 else f"side: at least 3 pixels, got {side}"


def scale_mistake(scale: tuple[float, float]) -> str | None:
    fits = len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1
    return None if fits else f"crop_scale: 0 < lowest <= highest <= 1, got {scale}"


def probability_mistake(name: str, p: float) -> str | None:
    return None if 0 <= p <= 1 else f"{name}: a probability in [0, 1], got {p}"
