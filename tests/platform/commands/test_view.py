"""What a person sees: at 80 columns on a terminal, as plain lines elsewhere."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from deep_clustering.platform.commands._live import LiveView, clock
from deep_clustering.platform.run.failure import Failure, Kind
from deep_clustering.platform.run.progress import Line, Progress, State


def _job(state: str, epoch: int = 0, kind: str = "run", **more: Any) -> Progress:
    plain: dict[str, Any] = {"values": {}, "failure": None} | more
    return Progress(
        kind=kind, state=State(state), epoch=epoch, epochs=10, elapsed=5.0 * epoch, **plain
    )


_DIVERGED = Failure(kind=Kind.DIVERGED, reason="diverged at epoch 3, step 1: loss is not finite")


NOTES = ((0.0, "the worker of run b died at epoch 3; retried"),)
JOBS = {
    "stage-0123": _job("running", 4, "encoder"),
    "a": _job("done", 10, values={"acc": 0.9, "ece": 0.05}),
    "b": _job("running", 5, values={"acc": 0.5, "ece": None}),
    "c": _job("failed", 2, failure=_DIVERGED),
}
ROWS = [
    Line("trial 0", ("a",), "encoder_lr=0.001 head_lr=0.002 mini_clusters=120 hidden=64"),
    Line("trial 1", ("b",), "encoder_lr=0.01"),
    Line("trial 2", ("c",), "encoder_lr=10"),
    Line("trial 3", (), "encoder_lr=1"),
]


def _terminal(height: int = 24) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=80, height=height, color_system=None
    )


def test_a_frame_fits_80_columns_and_says_it_all() -> None:
    console = _terminal()
    with LiveView(
        "cdc on digits", ("acc", "ece"), lambda _: "best so far: trial 0", 8, console
    ) as view:
        view.update(JOBS, NOTES, ROWS)
        frame = view._draw(JOBS, ROWS)
    shown = Console(file=io.StringIO(), width=80)
    shown.print(frame)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("pretraining stage-" in x and "4/10 epochs" in x and "0:30 left" in x for x in lines)
    assert any(x.startswith("runs 2 of 8") for x in lines)
    assert any(x.split()[:6] == ["trial", "0", "done", "10/10", "0.900", "0.050"] for x in lines)
    assert any(x.split()[:6] == ["trial", "1", "running", "5/10", "0.500", "-"] for x in lines)
    assert any("trial 2" in x and "failed" in x and "diverged at epoch 3" in x for x in lines)
    assert any(x.split()[:3] == ["trial", "3", "waiting"] for x in lines)
    assert lines[-1].startswith("best so far: trial 0")
    assert "note: the worker of run b died" in console.file.getvalue()  # type: ignore[attr-defined]


def test_more_rows_than_a_terminal_has_are_counted() -> None:
    rows = [Line(f"trial {i}", ("a",)) for i in range(40)]
    console = _terminal(height=20)
    table = LiveView("title", ("acc",), console=console)._table(JOBS, rows)
    assert table.row_count == 12
    assert "and 29 more" in str(list(table.columns[1].cells)[-1])


def test_plain_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView("cdc on digits", ("acc", "ece"), console=Console(file=io.StringIO())) as view:
        view.update(JOBS, NOTES, ROWS)
        view.update(JOBS, NOTES, ROWS)
    assert capsys.readouterr().err.splitlines() == [
        "cdc on digits",
        "note: the worker of run b died at epoch 3; retried",
        "pretraining stage- running epoch 4/10",
        "trial 0 done acc 0.900 ece 0.050",
        "trial 1 running epoch 5/10 acc 0.500",
        "trial 2 failed: diverged at epoch 3, step 1: loss is not finite",
    ]


def test_a_pass_over_images_is_told_by_them(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = {"011e80": _job("running", 0, "frozen", images=(1280, 1216, 10000))}
    jobs["011e80"] = replace(jobs["011e80"], elapsed=2.0)
    shown = Console(file=io.StringIO(), width=80)
    shown.print(LiveView("", (), console=_terminal())._draw(jobs, []))
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines()[1].endswith("1,280/10,000 images 4:33 left")
    with LiveView("", (), console=Console(file=io.StringIO())) as view:
        view.update(jobs, (), [])
    assert capsys.readouterr().err.splitlines()[1:] == [
        "encoder 011e80 running 1,280/10,000 images"
    ]


def test_what_a_killed_command_had_done_makes_the_rest_no_shorter() -> None:
    """Six epochs of ten at 5 s each, five of them before: the other four take 20 s, not 3."""
    jobs = {"a": replace(_job("running", 6), begun=5, elapsed=5.0)}
    shown = Console(file=io.StringIO(), width=80)
    view = LiveView("", ("acc",), console=_terminal())
    shown.print(view._draw(jobs, [Line("seed 0", ("a",))]))
    shown.print(view._draw({"s": replace(jobs["a"], kind="encoder")}, []))
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split()[-2:] for line in text.splitlines() if "left" in line] == [
        ["0:20", "left"],
        ["0:20", "left"],
    ]


def test_the_mean_of_seeds_is_shown() -> None:
    jobs = {
        "a": _job("done", 10, values={"acc": 0.9}),
        "b": _job("running", 5, values={"acc": 0.5}),
    }
    console = Console(file=io.StringIO(), width=80)
    console.print(
        LiveView("", ("acc",), console=_terminal())._table(jobs, [Line("trial 0", ("a", "b"))])
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines()[1].split() == ["trial", "0", "running", "5/10", "0.700"]


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3661)] == ["0:00", "1:00", "1:01:01"]
