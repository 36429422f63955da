"""`platform report`."""

from pathlib import Path

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.report import report as page


def report(
    name: str | None, *, store: str | None, output: Path | None, figures: Path | None
) -> int:
    """Write a report; returns the exit code."""
    target, *drawn = page.write(work.open_store(store, create=False), name, output, figures)
    print(f"report written to {target}; open it in a browser")
    if figures is not None:
        print(f"{len(drawn)} files of figures written to {figures}")
    return 0
