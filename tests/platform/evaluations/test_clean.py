"""What is shown of clean sets."""

import math
from typing import Any

from rich.console import Console

from deep_clustering.platform.evaluations import clean


def _shown(row: dict[str, Any]) -> list[list[str]]:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(clean.table([row]))
    return [line.split() for line in captured.get().splitlines()[1:]]


def test_of_a_set_without_an_image_a_share_is_not_known() -> None:
    """No image was as sure as tau1: the row lacks what is null, and the command broke down."""
    row = {"clean_name": "confidence", "clean_images": 1797, "clean_accuracy": 0.31}
    shown = _shown({**row, "clean_share": 0.0, "clean_recall": 0.0})
    assert shown == [["confidence", "1,797", "0.310", "0.000", "–", "0.000", "–"]]


def test_a_run_that_began_without_a_clean_image() -> None:
    """The list of what each epoch had holds NaN where it was not known."""
    row = {"clean_name": "own", "clean_images": 100, "clean_accuracy": 0.5}
    last = {"clean_share": 0.2, "clean_precision": 0.75, "clean_recall": 0.3, "clean_f1": 0.42857}
    lists = {
        "clean_shares": [0.0, 0.2],
        "clean_precisions": [math.nan, 0.75],
        "clean_recalls": [0.0, 0.3],
        "clean_f1s": [math.nan, 0.42857],
    }
    before, now = _shown(row | last | lists)
    assert before[3:] == ["100", "0.500", "0.000", "–", "0.000", "–"]
    assert now == ["own", "100", "0.500", "0.200", "0.750", "0.300", "0.429"]
