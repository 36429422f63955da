"""A search without Ray: trials are asked for as Tune does, results are handed in."""

import math

from optuna.trial import TrialState

from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.request.request import Request, Wanted
from deep_clustering.platform.search.searcher import StudySearcher
from deep_clustering.platform.search.study import Settings, Study
from deep_clustering.platform.store.store import Store
from deep_clustering.search_spaces._space import Concrete, Float

SPACE: dict[str, Concrete] = {
    "encoder_lr": Float(1e-5, 1e-2, log=True),
    "entropy_weight": Float(0.0, 2.0),
}
FINISHED = StudySearcher.FINISHED


class Search:
    """A command that searches: trials are asked for one by one, as Tune does."""

    def __init__(
        self, store: Store, asked: Request, total: int, generation: int = 2, again=(), **more
    ):
        given = {"space": SPACE, "objectives": ("acc",), "sampler": "tpe", "seeds": (0,)}
        given |= more
        self.settings = Settings(
            request=asked,
            space=given["space"],
            objectives=tuple(METRICS[name] for name in given["objectives"]),
            sampler=given["sampler"],
            scheduler="none",
            seeds=given["seeds"],
            seed=0,
        )
        self.store = store
        self.study = Study(store, "study", self.settings)
        self.study.begin(generation)
        self.submitted: dict[str, Wanted] = {}
        self.searcher = StudySearcher(self.settings, self.study, total, self._submit, again)
        self._tune: dict[int, str] = {}  # number -> the trial's name in Tune
        self._calls = 0

    def _submit(self, wanted: Wanted, owner: str) -> None:
        self.submitted[owner] = wanted

    def ask(self) -> int | str | None:
        """The number of the next trial, or why there is none."""
        self._calls += 1
        found = self.searcher.suggest(f"tune-{self._calls}")
        if not isinstance(found, dict):
            return found
        self._tune[found["number"]] = f"tune-{self._calls}"
        runs = [job.id for job in self.submitted[f"trial-{found['number']}"].runs]
        assert found["runs"].split() == runs
        return found["number"]

    def params(self, number: int) -> dict[str, object]:
        return self.study.trials()[number].params

    def state(self, number: int) -> TrialState:
        return self.study.trials()[number].state

    def end(self, number: int, **values: object) -> None:
        """A result; unless one is given, it follows from the trial's parameters."""
        made = 1 / (1 + abs(math.log10(self.params(number)["encoder_lr"]) + 3))
        result = {"acc": made, "epoch": 3, "final": True} | values
        if "reason" not in result:
            for job in self.submitted[f"trial-{number}"].runs:
                self.store.commit_run({"run_id": job.id}, None, None)
        self.report(number, result)
        self.searcher.on_trial_complete(self._tune[number], result)

    def report(self, number: int, result: dict[str, object]) -> None:
        self.searcher.on_trial_result(self._tune[number], result)

    def stop(self, number: int, result: dict[str, object] | None = None, **rest: bool) -> None:
        self.searcher.on_trial_complete(self._tune[number], result, **rest)

    def run(self, backward: bool = False) -> list[dict[str, object]]:
        """All trials, in batches that end in one order or the other; their parameters."""
        while True:
            started: list[int] = []
            while isinstance(number := self.ask(), int):
                started.append(number)
            for one in reversed(started) if backward else started:
                self.end(one)
            if number == FINISHED:
                return [t.params for t in self.study.trials()]
