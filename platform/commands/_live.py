"""What a person sees while a command works: one live view on a terminal, plain lines elsewhere."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.run.progress import Line

#: Seconds between two plain lines about the same job.
_PLAIN_PAUSE = 10.0
_OVER = ("done", "failed", "cancelled")
_STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "stopped": "yellow",
    "elsewhere": "magenta",
}


class View:
    """Shows planner snapshots until it is closed; use as a context manager.

    Args:
        title: one line that says what is going on.
        metrics: names of the metrics to show, in order.
        best: given the rows as (label, values) pairs, one line about the best so far, or "".
        total: number of runs that are expected in all; None: those that are known.
        console: where to draw; standard error by default, so that output can be piped.
    """

    def __init__(
        self,
        title: str,
        metrics: Iterable[str],
        best: Callable[[list[tuple[str, Mapping[str, Any]]]], str] = lambda _: "",
        total: int | None = None,
        console: Console | None = None,
    ) -> None:
        self._title, self._metrics, self._best = title, tuple(metrics), best
        self._total = total
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._told: dict[str, tuple[str, float]] = {}
        self._notes = 0
        self._began = time.monotonic()
        self._diverted = contextlib.ExitStack()

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            # Ray prints through these names; the view keeps the terminal's own stream.
            self._console.file = self._console.file
            self._diverted.enter_context(contextlib.redirect_stdout(io.StringIO()))
            self._diverted.enter_context(contextlib.redirect_stderr(io.StringIO()))
            self._live = Live(
                Group(Text(self._title, style="bold"), Text("starting the workers", style="dim")),
                console=self._console,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self._say(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._diverted.close()

    def update(self, snapshot: Mapping[str, Any], rows: list[Line]) -> None:
        """Show what the planner knows now."""
        for _, note in snapshot["notes"][self._notes :]:
            self._say(f"note: {note}")
        self._notes = len(snapshot["notes"])
        if self._live is not None:
            self._live.update(self._draw(snapshot["jobs"], rows))
        else:
            self._lines(snapshot["jobs"], rows)

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(escape(text))
        else:
            print(text, file=sys.stderr, flush=True)

    # ---- on a terminal

    def _draw(self, jobs: Mapping[str, Any], rows: list[Line]) -> RenderableType:
        parts: list[RenderableType] = [Text(self._title, style="bold", overflow="ellipsis")]
        bars = Table.grid(padding=(0, 1))
        for name, job in jobs.items():
            if job["kind"] != "run" and job["state"] in ("running", "waiting", "elsewhere"):
                label = f"pretraining {name[:6]}"
                if job["state"] == "elsewhere":
                    label += " (another command)"
                bars.add_row(*_bar(label, job["epoch"], job["epochs"], job["elapsed"]))
        runs = [j for j in jobs.values() if j["kind"] == "run"]
        if runs:
            expected = max(self._total or 0, len(runs))
            each = max(1, *(j["epochs"] for j in runs))
            done = sum(each if j["state"] in _OVER else j["epoch"] for j in runs)
            over = sum(j["state"] in _OVER for j in runs)
            spent = sum(j["elapsed"] for j in runs)
            worked = sum(j["epoch"] for j in runs if j["elapsed"])
            side = max(1, sum(j["state"] == "running" for j in runs))
            left = spent / worked * (each * expected - done) / side if worked else None
            progress = _progress(done, each * expected)
            bars.add_row(f"runs {over} of {expected}", progress, _left(left))
        parts.append(bars)
        parts.append(self._table(jobs, rows))
        scored = [(r.label, _values(r, jobs)) for r in rows if _state(r, jobs) == "done"]
        if line := self._best(scored):
            parts.append(Text(line, style="bold green", overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _table(self, jobs: Mapping[str, Any], rows: list[Line]) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        label = max([len(r.label) for r in rows], default=1)
        table.add_column("", no_wrap=True, min_width=label)
        table.add_column("state", no_wrap=True, min_width=8)
        table.add_column("epoch", justify="right", no_wrap=True, min_width=7)
        shown = self._metrics[: max(1, (self._console.width - label - 36) // 11)]
        for name in shown:
            head = METRICS[name].short if name in METRICS else name
            table.add_column(head, justify="right", no_wrap=True, min_width=max(6, len(head)))
        table.add_column("", overflow="ellipsis", no_wrap=True)
        room = max(4, self._console.height - 9)
        order = {"running": 0, "elsewhere": 1, "failed": 2, "done": 2, "stopped": 2, "waiting": 3}
        visible = sorted(enumerate(rows), key=lambda p: (order.get(_state(p[1], jobs), 3), -p[0]))[
            :room
        ]
        for _, row in sorted(visible, key=lambda p: p[0]):
            state = _state(row, jobs)
            mine = [jobs[i] for i in row.runs if i in jobs]
            epoch = f"{min(j['epoch'] for j in mine)}/{mine[0]['epochs']}" if mine else ""
            values = _values(row, jobs)
            reason = next((j["reason"] for j in mine if j["reason"]), None)
            table.add_row(
                row.label,
                Text(state, style=_STYLES.get(state, "dim")),
                epoch,
                *(_number(values.get(name)) for name in shown),
                Text(reason or row.text, style="dim"),
            )
        if len(rows) > len(visible):
            table.add_row("", Text(f"and {len(rows) - len(visible)} more", style="dim"))
        return table

    # ---- elsewhere

    def _lines(self, jobs: Mapping[str, Any], rows: list[Line]) -> None:
        for name, job in jobs.items():
            if job["kind"] != "run":
                self._line(f"pretraining {name[:6]}", job["state"], job, {})
        for row in rows:
            mine = [jobs[i] for i in row.runs if i in jobs]
            if mine:
                job = min(mine, key=lambda j: j["epoch"])
                reason = next((j["reason"] for j in mine if j["reason"]), None)
                self._line(
                    row.label, _state(row, jobs), job | {"reason": reason}, _values(row, jobs)
                )

    def _line(
        self, label: str, state: str, job: Mapping[str, Any], values: Mapping[str, Any]
    ) -> None:
        before, when = self._told.get(label, ("waiting", self._began))
        now = time.monotonic()
        if state == "waiting" or (state == before and state != "running"):
            return
        if state == before and (now - when < _PLAIN_PAUSE or job["epoch"] == 0):
            return
        self._told[label] = (state, now)
        shown = " ".join(f"{m} {_number(values[m])}" for m in self._metrics if m in values)
        at = f" epoch {job['epoch']}/{job['epochs']}" if state == "running" else ""
        why = f": {job['reason']}" if job["reason"] else ""
        self._say(f"{label} {state}{at} {shown}".rstrip() + why)


def _state(row: Line, jobs: Mapping[str, Any]) -> str:
    if row.state in ("done", "failed", "stopped"):
        return row.state
    states = {jobs[i]["state"] for i in row.runs if i in jobs}
    for state in ("failed", "running", "elsewhere", "cancelled"):
        if state in states:
            return "stopped" if state == "cancelled" else state
    if states == {"done"}:
        return "done"
    return "running" if "done" in states else "waiting"


def _values(row: Line, jobs: Mapping[str, Any]) -> Mapping[str, Any]:
    found = [jobs[i]["values"] for i in row.runs if i in jobs and jobs[i]["values"]]
    if not found:
        return {}
    return {
        name: sum(v[name] for v in found) / len(found)
        for name, first in found[0].items()
        if isinstance(first, (int, float))
        and all(isinstance(v.get(name), (int, float)) for v in found)
    }


def _bar(label: str, done: int, total: int, elapsed: float) -> tuple[Any, Any, Any]:
    left = elapsed / done * (total - done) if done else None
    return label, _progress(done, total), f"{done}/{total} epochs {_left(left)}".rstrip()


def _progress(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=done, width=24)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "done" if seconds <= 0 else f"{clock(seconds)} left"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
