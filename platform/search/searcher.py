"""The searcher that Ray Tune asks for trials; it proposes by Optuna's ask and tell."""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from ray.tune.search import Searcher

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.request import Wanted
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.search.proposals import Proposals
from deep_clustering.platform.search.relay import RelayConfig, Result, owner
from deep_clustering.platform.search.study import Settings, Study, short

#: Hands the jobs of a trial on, under the name of their owner.
Submit = Callable[[Wanted, str], None]


@dataclass(frozen=True)
class Share:
    """Whose time it took to propose trials and to take in their results, seconds."""

    trials: int  # proposed by this command
    sampler: float
    platform: float


class StudySearcher(Searcher):
    """Trials of a study, up to a number; single and several objectives alike.

    Args:
        settings: of the search.
        study: where proposals and results are kept, begun.
        total: how many trials the study is to have.
        submit: called with the jobs of every trial.
        again: configurations that come before any that is proposed.
    """

    def __init__(
        self,
        settings: Settings,
        study: Study,
        total: int,
        submit: Submit,
        again: Iterable[Mapping[str, Value]] = (),
    ) -> None:
        first = settings.objectives[0]
        super().__init__(metric=first.name, mode=first.better)
        self._settings, self._study, self._total = settings, study, total
        self._submit = submit
        #: How many trials run side by side; of those with several runs, one more than fit at once,
        #: for the lanes that are free before the last run of a trial is done.
        self.concurrency = study.generation + (len(settings.seeds) > 1)
        #: Why nothing can be put on record any more; the search ends with it.
        self.trouble: StorageError | None = None
        self._proposals = Proposals(settings, study.generation)
        self._again = deque(again)
        self._mutex = threading.RLock()
        self._numbers: dict[str, int] = {}  # of the running trials, by Tune's id
        self._lines: dict[int, Line] = {}  # what the view shows, by number
        # Trials that a killed command left running are continued under their own number.
        self._left = deque(study.trials(TrialState.RUNNING))
        self._seconds = 0.0

    @property
    def share(self) -> Share:
        """Whose time the trials of this command took besides their runs."""
        sampler = self._proposals.seconds
        return Share(len(self._lines), sampler, self._seconds - sampler)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """One at a time; a store that cannot be written ends the search in order."""
        with self._mutex:
            begun = time.monotonic()
            try:
                yield
            except StorageError as error:
                self.trouble = error
            finally:
                self._seconds += time.monotonic() - begun

    def suggest(self, trial_id: str) -> RelayConfig | str | None:
        """The next trial; `FINISHED` when there are enough, None while it has to wait."""
        with self._recording():
            while self.trouble is None:
                number = self._next()
                if number is None:
                    return None
                if number >= self._total:
                    return str(Searcher.FINISHED)
                wanted = self._start(number)
                if wanted is None:
                    continue
                ids = [job.id for job in wanted.runs]
                self._submit(wanted, owner(number))
                params = self._study.by_number[number].params
                text = " ".join(f"{k}={short(v)}" for k, v in params.items())
                self._lines[number] = Line(f"trial {number}", tuple(ids), text, "waiting")
                self._numbers[trial_id] = number
                return {"number": number, "runs": " ".join(ids)}
        return str(Searcher.FINISHED)

    def _next(self) -> int | None:
        """The number of the next trial; None while one is running that it has to learn from."""
        if self._left:
            return self._left[0].number
        number = self._study.next_number()
        first = self._proposals.waits_for(number)
        running = any(earlier < first for earlier in self._numbers.values())
        return None if running and number < self._total else number

    def _start(self, number: int) -> Wanted | None:
        """Put a trial on record; its jobs, or None where its combination of values cannot exist.

        Such a combination costs a number, not the search.
        """
        request = self._settings.request
        watch = tuple(o.name for o in self._settings.objectives)
        left = self._left.popleft() if self._left else None
        values = self._values(number) if left is None else left.params
        try:
            config = request.configure(values)
        except InputError as error:
            if left is None:
                self._study.ask(number, values, ())
            self._study.tell(number, TrialState.FAIL, reason=str(error))
            return None
        wanted = request.wanted(self._settings.seeds, config, watch)
        if left is None:
            self._study.ask(number, values, [job.id for job in wanted.runs])
        return wanted

    def _values(self, number: int) -> Mapping[str, Value]:
        """What a new trial tries; the first one is what was asked for itself."""
        if self._again:
            return self._again.popleft()
        if number == 0 and self._settings.sampler != "grid":
            flat = self._settings.request.values
            return {name: flat[name] for name in self._settings.space}
        return self._proposals.of(number, self._study.by_number)

    def lines(self) -> list[Line]:
        """The trials of this command, for the view."""
        with self._mutex:
            return [line for _, line in sorted(self._lines.items())]

    def on_trial_result(self, trial_id: str, result: Result) -> None:
        """An epoch is done in all runs of a trial."""
        with self._recording():
            number = self._numbers[trial_id]
            self._lines[number].state = "running"
            value = result.get(self._settings.objectives[0].name)
            once = len(self._settings.objectives) == 1 and not result.get("final")
            if once and isinstance(value, (int, float)) and math.isfinite(value):
                epoch = result["epoch"]
                assert isinstance(epoch, (int, float))
                self._study.report(number, int(epoch), float(value))

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """A trial ended: with a result, without one, or stopped by the scheduler."""
        with self._recording():
            number = self._numbers.pop(trial_id)
            result = result or {}
            reason = str(result["reason"]) if result.get("reason") else None
            if reason is None and (error or not result):
                reason = "the trial's runs failed"
            if error or (reason and not result.get("diverged")):
                self._lines[number].state = "failed"
                self._study.tell(number, TrialState.FAIL, reason=reason)
            elif not result.get("final"):
                self._lines[number].state = "stopped"
                self._study.tell(number, TrialState.PRUNED)
            else:
                self._lines[number].state = "done"
                values, metrics = self._objectives(result), _metrics(result)
                self._study.tell(number, TrialState.COMPLETE, values, metrics, reason)

    def _objectives(self, result: Result) -> Sequence[float]:
        """The objectives of a result; the worst value stands for one that does not exist."""
        values = []
        for objective in self._settings.objectives:
            value = result.get(objective.name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                values.append(float(value))
            else:
                assert objective.worst is not None
                values.append(objective.worst)
        return values

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its searcher once, for a restore that we never ask for

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study and the store are all there is to remember."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


def _metrics(result: Result) -> dict[str, float]:
    """The finite numbers of a result that are not Tune's own."""
    tune = ("time", "config", "iterations", "training_iteration")
    return {
        name: value
        for name, value in result.items()
        if isinstance(value, (int, float))
        and math.isfinite(value)
        and not name.startswith(tune)
        and name != "pid"
    }
