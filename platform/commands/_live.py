"""What a person sees while a command works: one live view on a terminal, plain lines elsewhere."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.request.jobs import FROZEN, RUN, VIEW, WORDS
from deep_clustering.platform.run.progress import Line, Numbers, Progress, State

#: Seconds between two plain lines about the same job.
_PLAIN_PAUSE = 10.0
_STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "stopped": "yellow",
    "elsewhere": "magenta",
}


#: Progress of jobs by id.
_Jobs = Mapping[str, Progress]
#: The finished lines of a view with their values.
Scored = list[tuple[str, Numbers]]


class LiveView:
    """Shows what a planner knows until it is closed; use as a context manager.

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
        best: Callable[[Scored], str] = lambda _: "",
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

    def __enter__(self) -> "LiveView":
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

    def update(self, jobs: _Jobs, notes: Sequence[tuple[float, str]], lines: list[Line]) -> None:
        """Show what the planner knows now: all jobs, and all notes so far."""
        for _, note in notes[self._notes :]:
            self._say(f"note: {note}")
        self._notes = len(notes)
        if self._live is not None:
            self._live.update(self._draw(jobs, lines))
        else:
            self._lines(jobs, lines)

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    # ---- on a terminal

    def _draw(self, jobs: _Jobs, lines: list[Line]) -> RenderableType:
        parts: list[RenderableType] = [Text(self._title, style="bold", overflow="ellipsis")]
        bars = Table.grid(padding=(0, 1))
        for name, job in jobs.items():
            if job.kind != RUN and not job.state.final:
                label = f"{WORDS.get(job.kind, job.kind)} {name[:6]}"
                if job.state is State.ELSEWHERE:
                    label += " (another command)"
                bars.add_row(*_bar(label, job))
        runs = [job for job in jobs.values() if job.kind == RUN]
        if runs:
            expected = max(self._total or 0, len(runs))
            each = max(1, *(job.epochs for job in runs))
            done = sum(each if job.state.final else job.epoch for job in runs)
            over = sum(job.state.final for job in runs)
            spent = sum(job.elapsed for job in runs)
            worked = sum(job.epoch - job.begun for job in runs if job.elapsed)
            side = max(1, sum(job.state is State.RUNNING for job in runs))
            left = spent / worked * (each * expected - done) / side if worked else None
            progress = _progress(done, each * expected)
            bars.add_row(f"runs {over} of {expected}", progress, _left(left))
        parts.append(bars)
        parts.append(self._table(jobs, lines))
        scored = [(x.label, _values(x, jobs)) for x in lines if _state(x, jobs) == "done"]
        if text := self._best(scored):
            parts.append(Text(text, style="bold green", overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _table(self, jobs: _Jobs, lines: list[Line]) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        label = max([len(line.label) for line in lines], default=1)
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
        by_state = sorted(enumerate(lines), key=lambda p: (order.get(_state(p[1], jobs), 3), -p[0]))
        visible = by_state[:room]
        for _, line in sorted(visible, key=lambda p: p[0]):
            state = _state(line, jobs)
            mine = _mine(line, jobs)
            epoch = f"{min(job.epoch for job in mine)}/{mine[0].epochs}" if mine else ""
            values = _values(line, jobs)
            table.add_row(
                Text(line.label),
                Text(state, style=_STYLES.get(state, "dim")),
                epoch,
                *(_number(values.get(name)) for name in shown),
                Text(_reason(mine) or line.text, style="dim"),
            )
        if len(lines) > len(visible):
            table.add_row("", Text(f"and {len(lines) - len(visible)} more", style="dim"))
        return table

    # ---- elsewhere

    def _lines(self, jobs: _Jobs, lines: list[Line]) -> None:
        for name, job in jobs.items():
            if job.kind != RUN:
                label = f"{WORDS.get(job.kind, job.kind)} {name[:6]}"
                self._line(label, job.state, job, _reason([job]), {})
        for line in lines:
            mine = _mine(line, jobs)
            if mine:
                first = min(mine, key=lambda job: job.epoch)
                state, values = _state(line, jobs), _values(line, jobs)
                self._line(line.label, state, first, _reason(mine), values)

    def _line(
        self, label: str, state: str, job: Progress, reason: str | None, values: Numbers
    ) -> None:
        before, when = self._told.get(label, ("waiting", self._began))
        now = time.monotonic()
        if state == "waiting" or (state == before and state != "running"):
            return
        if state == before and (now - when < _PLAIN_PAUSE or not (job.images or (job.epoch,))[0]):
            return
        self._told[label] = (state, now)
        shown = " ".join(f"{m} {_number(values[m])}" for m in self._metrics if m in values)
        at = _images(job) or ("" if _passes(job) else f"epoch {job.epoch}/{job.epochs}")
        why = f": {reason}" if reason else ""
        self._say(
            f"{label} {state} {f'{at} ' if at and state == 'running' else ''}{shown}".rstrip() + why
        )


def _mine(line: Line, jobs: _Jobs) -> list[Progress]:
    """The runs of a line that the planner knows."""
    return [jobs[i] for i in line.runs if i in jobs]


def _reason(jobs: Iterable[Progress]) -> str | None:
    """Why the first of some jobs that failed did."""
    return next((job.failure.reason for job in jobs if job.failure is not None), None)


def _state(line: Line, jobs: _Jobs) -> str:
    if line.state in ("done", "failed", "stopped"):
        return line.state
    states = {job.state for job in _mine(line, jobs)}
    for state in (State.FAILED, State.RUNNING, State.ELSEWHERE, State.CANCELLED):
        if state in states:
            return "stopped" if state is State.CANCELLED else state.value
    if states == {State.DONE}:
        return "done"
    return "running" if State.DONE in states else "waiting"


def _values(line: Line, jobs: _Jobs) -> Numbers:
    """Mean over the runs of a line of every number that all of them have."""
    known = [job.values for job in _mine(line, jobs) if job.values]
    if not known:
        return {}
    means: dict[str, float | None] = {}
    for name in known[0]:
        values = [v for row in known if isinstance(v := row.get(name), (int, float))]
        if len(values) == len(known):
            means[name] = sum(values) / len(values)
    return means


def _bar(label: str, job: Progress) -> tuple[str, ProgressBar, str]:
    done, _, total = job.images or (job.epoch, job.begun, job.epochs)
    at = _images(job) or (f"{done}/{total} epochs" if total and not _passes(job) else "")
    return label, _progress(done, total), f"{at} {_left(job.left)}".strip()


def _passes(job: Progress) -> bool:
    """Whether a job passes over the images once: it has no epochs."""
    return job.kind in (FROZEN, VIEW)


def _images(job: Progress) -> str:
    """How far a pass over images is; empty for other work."""
    return "" if job.images is None else f"{job.images[0]:,}/{job.images[2]:,} images"


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


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
