"""Hyperparameter search: Optuna proposes, Ray Tune keeps the trials, the lanes train.

A Tune trial is a relay: it submits the runs of one configuration to the planner and passes their
mean over seeds on to Tune. The study is kept in Optuna's own journal inside the store. Trials are
proposed in generations: a trial sees the results of all earlier generations and of nothing else,
and draws from a sampler seeded by its number, so that neither the order in which trials finish nor
a kill in between changes what is proposed.
"""

import json
import math
import statistics
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.search.samplers import make_sampler, suggest

optuna.logging.set_verbosity(optuna.logging.ERROR)

_OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What makes two searches the same search; the number of trials is not part of it."""

    request: Request
    space: Mapping[str, Any]  # concrete, field -> Float | Int | Choice
    objectives: tuple[Any, ...]
    sampler: str
    scheduler: str
    seeds: tuple[int, ...]
    seed: int  # of the sampler

    def as_json(self) -> dict[str, Any]:
        """A readable description; equal descriptions mean the same search."""
        features = self.request.features
        return {
            "method": self.request.method,
            **({} if features is None else {"features": features.stage or features.asked}),
            "dataset": self.request.dataset.fingerprint,
            "protocol": self.request.dataset.protocol,
            "config": configs.flatten(self.request.config),
            "space": {name: repr(domain) for name, domain in self.space.items()},
            "objective": [o.name for o in self.objectives],
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "seeds": list(self.seeds),
            "seed": self.seed,
        }

    def default_name(self) -> str:
        """The study's name when the user gives none."""
        label = self.request.dataset.name.partition(":")[0]
        return f"{self.request.method}-{label}-{configs.digest(self.as_json())[:8]}"


class Study:
    """An Optuna study in the store's `studies/` folder.

    On an object store the journal is a local copy that is uploaded whenever a trial ends.
    """

    def __init__(self, store: Any, name: str, settings: Settings) -> None:
        self.name, self._store = name, store
        self._remote = None if store.local else f"studies/{name}.log"
        folder = (store.local or store.cache) / "studies"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.log"
        if self._remote and store.exists(self._remote):
            self.path.write_bytes(store.read_bytes(self._remote))
        _mend(self.path)
        try:
            storage = JournalStorage(JournalFileBackend(str(self.path)))
            self.study = optuna.create_study(
                storage=storage,
                study_name=name,
                load_if_exists=True,
                directions=[
                    "maximize" if o.better == "max" else "minimize" for o in settings.objectives
                ],
            )
        except (json.JSONDecodeError, KeyError, ValueError) as error:
            raise StorageError(
                f"the study at {self.path} cannot be read ({error}); move the file away to start "
                "the search anew: runs that are in the store are not computed again."
            ) from error
        self.storage = storage
        self._agree(settings)

    def _agree(self, settings: Settings) -> None:
        wanted = settings.as_json()
        known = self.study.user_attrs.get("settings")
        if known is None:
            self.study.set_user_attr("settings", wanted)
        elif known != wanted:
            key = next(k for k in wanted if known.get(k) != wanted[k])
            raise InputError(
                f"the study '{self.name}' was made with another {key}: {known.get(key)} there, "
                f"{wanted[key]} now; choose another --study name or leave the option out."
            )

    def settle(self, generation: int) -> None:
        """Fix how many trials are proposed together; the first command of a study decides."""
        if "generation" not in self.study.user_attrs:
            self.study.set_user_attr("generation", generation)

    @property
    def generation(self) -> int:
        """How many trials are proposed together."""
        return int(self.study.user_attrs["generation"])

    def enqueue_failed(self) -> int:
        """Ask for the configurations of failed trials once more; returns how many."""
        tried = {json.dumps(t.params) for t in self.over() if t.values is not None}
        again = {json.dumps(t.params): t.params for t in self.over() if t.state.name == "FAIL"}
        lost = [params for text, params in again.items() if text not in tried]
        for params in lost:
            self.study.enqueue_trial(params)
        return len(lost)

    def over(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that have ended, in order."""
        return self.study.get_trials(deepcopy=False, states=_OVER)

    def save(self) -> None:
        """Make the journal durable where the store is not local."""
        if self._remote:
            self._store.write_bytes(self._remote, self.path.read_bytes())


def _mend(path: Path) -> None:
    """Cut a last line that a kill left half-written: the next append would glue to it."""
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            path.write_bytes(whole)


class Search(OptunaSearch):
    """OptunaSearch in generations, over jobs; single and several objectives alike."""

    def __init__(
        self,
        settings: Settings,
        study: Study,
        total: int,
        *,
        known: Callable[[str], dict[str, Any]],
        submit: Callable[[list[dict[str, Any]], str], None],
    ) -> None:
        self._settings, self._kept, self._total = settings, study, total
        # What the store says of a run ("stored" or "failed"), and how jobs are handed on.
        self._known, self._submit = known, submit
        self.concurrency = study.generation
        self._mutex = threading.RLock()
        self.trials: dict[int, dict[str, Any]] = {}  # number -> what the view shows
        self._numbers: dict[str, int] = {}
        names = [o.name for o in settings.objectives]
        modes = [o.better for o in settings.objectives]
        single = len(names) == 1
        super().__init__(
            space=self._nothing,
            metric=names[0] if single else names,
            mode=modes[0] if single else modes,
            storage=study.storage,
            study_name=study.name,
        )
        # Trials that a killed command left running are continued under their own number.
        self._left = self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if settings.sampler != "grid" and not self._ot_study.get_trials(deepcopy=False):
            flat = configs.flatten(settings.request.config)
            self._ot_study.enqueue_trial({name: flat[name] for name in settings.space})

    @staticmethod
    def _nothing(_: Any) -> None:
        """Stands where OptunaSearch wants a space; `suggest` below draws from ours."""

    def suggest(self, trial_id: str) -> Any:
        with self._mutex:
            trial = self._left_over() or self._fresh()
            if not isinstance(trial, optuna.trial.Trial):
                return trial
            changes = suggest(trial, self._settings.space)
            request = self._settings.request
            watch = tuple(o.name for o in self._settings.objectives)
            try:
                config = request.configure(changes)
            except InputError as error:
                # A combination that cannot exist costs a number, not the search.
                trial.set_user_attr("reason", str(error))
                self._ot_study.tell(trial, state=TrialState.FAIL)
                return self.suggest(trial_id)
            jobs = [
                job.as_json() | (self._known(job.id) if job.kind == "run" else {})
                for job in request.jobs(self._settings.seeds, config, watch)
            ]
            runs = [j["id"] for j in jobs if j["kind"] == "run"]
            trial.set_user_attr("runs", runs)
            self._submit(jobs, _owner(trial.number))
            self._ot_trials[trial_id] = trial
            self._numbers[trial_id] = trial.number
            self.trials[trial.number] = {"params": changes, "runs": runs, "state": "waiting"}
            return {"number": trial.number, "runs": " ".join(runs)}

    def _left_over(self) -> optuna.trial.Trial | None:
        if not self._left:
            return None
        frozen = self._left.pop(0)
        self._seeded(frozen.number)
        return optuna.trial.Trial(self._ot_study, frozen._trial_id)

    def _fresh(self) -> Any:
        started = self._ot_study.get_trials(deepcopy=False)
        asked = [t for t in started if t.state != TrialState.WAITING]
        number = len(asked)
        if number >= self._total:
            return self.FINISHED
        first = number - number % self._kept.generation
        if any(t.state == TrialState.RUNNING for t in asked if t.number < first):
            return None  # an earlier generation is still running
        self._seeded(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks multivariate sampling experimental
            return self._ot_study.ask()

    def _seeded(self, number: int) -> None:
        self._ot_study.sampler = make_sampler(
            self._settings.sampler,
            self._settings.seed,
            number,
            self._settings.space,
            before=number - number % self._kept.generation,
        )

    def rows(self) -> list[Line]:
        """The trials of this command, for the view."""
        with self._mutex:
            return [
                Line(
                    f"trial {number}",
                    tuple(t["runs"]),
                    " ".join(f"{k}={short(v)}" for k, v in t["params"].items()),
                    t["state"],
                )
                for number, t in sorted(self.trials.items())
            ]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        with self._mutex:
            number = self._numbers[trial_id]
            self.trials[number].update(state="running", epoch=result.get("epoch"))
            value = result.get(self._settings.objectives[0].name)
            once = len(self._settings.objectives) == 1 and not result.get("final")
            if once and value is not None and math.isfinite(value):
                trial = self._ot_trials[trial_id]
                trial.report(value, int(result["epoch"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        with self._mutex:
            number = self._numbers.pop(trial_id)
            trial, shown = self._ot_trials.pop(trial_id), self.trials[number]
            result = result or {}
            values = [result.get(o.name) for o in self._settings.objectives]
            if error or result.get("reason") or not result:
                trial.set_user_attr("reason", result.get("reason") or "the trial's runs failed")
            if error or (result.get("reason") and not result.get("diverged")):
                self._ot_study.tell(trial, state=TrialState.FAIL)
                shown["state"] = "failed"
            elif not result.get("final"):
                self._ot_study.tell(trial, state=TrialState.PRUNED)
                shown["state"] = "stopped"
            else:
                known = [
                    v if v is not None and math.isfinite(v) else o.worst
                    for v, o in zip(values, self._settings.objectives, strict=True)
                ]
                trial.set_user_attr("metrics", {k: v for k, v in result.items() if _plain(k, v)})
                self._ot_study.tell(trial, known)
                shown.update(state="done", values=known)
            self._kept.save()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher once, for a restore that we never ask for

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study and the store are all there is to remember."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


def best(study: Any, objectives: tuple[Any, ...]) -> list[optuna.trial.FrozenTrial]:
    """Trials by the one objective, best first; the Pareto front where there are several."""
    if len(objectives) > 1:
        return sorted(study.best_trials, key=lambda t: t.number)
    over = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    sign = -1 if objectives[0].better == "max" else 1
    return sorted(over, key=lambda t: (sign * t.values[0], t.number))


def short(value: Any) -> str:
    """A parameter's value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(name: str, value: Any) -> bool:
    mine = not name.startswith(("time", "config", "iterations", "training_iteration"))
    return mine and isinstance(value, (int, float)) and math.isfinite(value) and name != "pid"


def _owner(number: int) -> str:
    return f"trial-{number}"


def relay(config: dict[str, Any], planner: Any, objectives: dict[str, float]) -> None:
    """A Tune trial: wait for the runs of a configuration, pass their mean over seeds on.

    Args:
        config: the trial's "number" and its "runs".
        planner: handle of the planner actor.
        objectives: name -> worst value, which stands for a result that does not exist.
    """
    runs = config["runs"].split()
    reported = seen = -1
    histories: dict[str, list[dict[str, Any]]] = {i: [] for i in runs}
    done = False
    try:
        while not done:
            after = {i: len(h) for i, h in histories.items()}
            news = ray.get(planner.wait.remote(after, seen))
            seen = news["version"]
            for i, job in news["jobs"].items():
                histories[i] += [{**values, "epoch": epoch} for epoch, values in job["history"]]
            for values in list(zip(*histories.values(), strict=False))[reported + 1 :]:
                reported += 1
                mean = _mean(values)
                if mean["epoch"] > 0 and all(name in mean for name in objectives):
                    tune.report(mean)
            states = {job["state"] for job in news["jobs"].values()}
            if "failed" in states:
                reason = next(j["reason"] for j in news["jobs"].values() if j["state"] == "failed")
                epoch = max((h[-1]["epoch"] for h in histories.values() if h), default=0)
                worst = {"epoch": epoch, "reason": reason, "diverged": "diverged" in reason}
                tune.report({**objectives, **worst, "final": True})
                done = True
            elif states == {"done"}:
                final = _mean([job["values"] for job in news["jobs"].values()])
                filled = {name: final.get(name, worst) for name, worst in objectives.items()}
                epoch = max(job["epoch"] for job in news["jobs"].values())
                tune.report({**final, **filled, "epoch": epoch, "final": True})
                done = True
    finally:
        if not done:  # stopped by the scheduler: the runs end at their next step
            ray.get(planner.cancel.remote(runs, _owner(config["number"])))


def _mean(rows: Any) -> dict[str, Any]:
    """Mean over runs of every number that all of them have."""
    names = set.intersection(*(set(r) for r in rows))
    return {
        n: statistics.fmean(r[n] for r in rows)
        for n in names
        if all(isinstance(r[n], (int, float)) for r in rows)
    }


def run(search: Search, settings: Settings, planner: Any, storage: str) -> None:
    """Carry the search to its number of trials; blocks. Call it from a thread of its own."""
    scheduler = None
    if settings.scheduler == "asha":
        from ray.tune.schedulers import ASHAScheduler

        epochs = settings.request.config.epochs
        objective = settings.objectives[0]
        scheduler = ASHAScheduler(
            time_attr="epoch",
            metric=objective.name,
            mode=objective.better,
            max_t=epochs + 1,  # Tune would stop a trial before its final report at max_t itself
            grace_period=max(1, epochs // 8),
            reduction_factor=2,
        )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                relay,
                planner=planner,
                objectives={o.name: o.worst for o in settings.objectives},
            ),
            {"CPU": 0.01},
        ),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=scheduler,
            num_samples=-1,  # the search itself says when it has enough
            max_concurrent_trials=search.concurrency,
            reuse_actors=True,
            trial_dirname_creator=lambda t: f"trial-{t.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=storage,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
