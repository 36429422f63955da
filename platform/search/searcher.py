"""The searcher that Ray Tune asks for trials; it proposes by Optuna's ask and tell."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search import Searcher

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.request import Wanted
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.search.proposals import Proposals, fixed
from deep_clustering.platform.search.relay import RelayConfig, Result, owner
from deep_clustering.platform.search.samplers import suggest
from deep_clustering.platform.search.study import Settings, Study

#: Hands the jobs of a trial on, under the name of their owner.
Submit = Callable[[Wanted, str], None]


@dataclass
class _Trial:
    """A trial of this command."""

    trial: Trial
    line: Line  # what the view shows of it


class StudySearcher(Searcher):
    """Trials of a study, up to a number; single and several objectives alike.

    Args:
        settings: of the search.
        study: where proposals and results are kept.
        total: how many trials the study is to have.
        submit: called with the jobs of every trial.
    """

    def __init__(self, settings: Settings, study: Study, total: int, submit: Submit) -> None:
        first = settings.objectives[0]
        super().__init__(metric=first.name, mode=first.better)
        self._settings, self._study, self._total = settings, study, total
        self._submit = submit
        #: How many trials run side by side.
        self.concurrency = study.generation
        self._proposals = Proposals(settings, study.generation)
        self._mutex = threading.RLock()
        self._trials: dict[str, _Trial] = {}  # by Tune's id
        self._lines: dict[int, Line] = {}  # by number
        # Trials that a killed command left running are continued under their own number.
        self._left = study.trials(TrialState.RUNNING)
        if settings.sampler != "grid" and not study.trials():
            flat = configs.flatten(settings.request.config)
            study.study.enqueue_trial({name: flat[name] for name in settings.space})

    def suggest(self, trial_id: str) -> RelayConfig | str | None:
        """The next trial; `FINISHED` when there are enough, None while a generation is running."""
        with self._mutex:
            while True:
                number = self._next()
                if number is None:
                    return None
                if number >= self._total:
                    return str(Searcher.FINISHED)
                started = self._start(number)
                if started is not None:
                    break
            trial, wanted, values = started
            ids = [job.id for job in wanted.runs]
            trial.set_user_attr("runs", ids)
            self._submit(wanted, owner(number))
            text = " ".join(f"{k}={short(v)}" for k, v in values.items())
            line = Line(f"trial {number}", tuple(ids), text, "waiting")
            self._trials[trial_id] = _Trial(trial, line)
            self._lines[number] = line
            return {"number": number, "runs": " ".join(ids)}

    def _next(self) -> int | None:
        """The number of the next trial; None while an earlier generation is still running."""
        if self._left:
            return self._left[0].number
        asked = self._asked()
        number = len(asked)
        first = number - number % self._study.generation
        running = any(t.state == TrialState.RUNNING for t in asked if t.number < first)
        return None if running and number < self._total else number

    def _asked(self) -> list[FrozenTrial]:
        return [t for t in self._study.trials() if t.state != TrialState.WAITING]

    def _start(self, number: int) -> tuple[Trial, Wanted, dict[str, Value]] | None:
        """A trial with its jobs; None where its combination of values cannot exist.

        Such a combination costs a number, not the search.
        """
        study = self._study.study
        waiting = self._study.trials(TrialState.WAITING)
        if self._left:
            left = self._left.pop(0)
            study.sampler = fixed(self._proposals.of(number, self._asked()))
            trial = Trial(study, left._trial_id)  # Optuna has no other way back to a trial
        else:
            if not waiting:  # else the trial has its values already
                study.sampler = fixed(self._proposals.of(number, self._asked()))
            trial = study.ask()
        values = suggest(trial, self._settings.space)
        request = self._settings.request
        try:
            config = request.configure(values)
        except InputError as error:
            trial.set_user_attr("reason", str(error))
            study.tell(trial, state=TrialState.FAIL)
            return None
        watch = tuple(o.name for o in self._settings.objectives)
        return trial, request.wanted(self._settings.seeds, config, watch), values

    def lines(self) -> list[Line]:
        """The trials of this command, for the view."""
        with self._mutex:
            return [line for _, line in sorted(self._lines.items())]

    def on_trial_result(self, trial_id: str, result: Result) -> None:
        """An epoch is done in all runs of a trial."""
        with self._mutex:
            known = self._trials[trial_id]
            known.line.state = "running"
            value = result.get(self._settings.objectives[0].name)
            once = len(self._settings.objectives) == 1 and not result.get("final")
            if once and isinstance(value, (int, float)) and math.isfinite(value):
                epoch = result["epoch"]
                assert isinstance(epoch, (int, float))
                known.trial.report(value, int(epoch))

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """A trial ended: with a result, without one, or stopped by the scheduler."""
        with self._mutex:
            known = self._trials.pop(trial_id)
            trial, line = known.trial, known.line
            result = result or {}
            reason = result.get("reason")
            study = self._study.study
            if error or reason or not result:
                trial.set_user_attr("reason", reason or "the trial's runs failed")
            if error or (reason and not result.get("diverged")):
                study.tell(trial, state=TrialState.FAIL)
                line.state = "failed"
            elif not result.get("final"):
                study.tell(trial, state=TrialState.PRUNED)
                line.state = "stopped"
            else:
                trial.set_user_attr("metrics", _metrics(result))
                study.tell(trial, self._values(result))
                line.state = "done"
            self._study.save()

    def _values(self, result: Result) -> Sequence[float]:
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


def short(value: Value) -> str:
    """A parameter's value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
