"""What `platform train` says at its end."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deep_clustering.platform.commands.train import _table
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.request.jobs import RUN, Job


def test_a_reason_is_shown_as_it_is_written() -> None:
    """Brackets in a failure's text are no markup."""
    job = Job(
        id="r",
        kind=RUN,
        method="cdc",
        version=1,
        config={},
        seed=0,
        dataset="",
        protocol="all",
        source=Source("digits", Path()),
    )
    reasons = {"r": "ValueError: [/red] is no size [3, 4]", "s": "shape [bold]"}
    console = Console(file=io.StringIO(), width=120)
    console.print(_table(("acc",), (job, replace(job, id="s", seed=1)), {}, reasons))
    shown = console.file.getvalue()
    assert all(reason in shown for reason in reasons.values())
