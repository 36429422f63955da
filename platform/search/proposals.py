"""What to try next: each trial sees the results of earlier generations and of nothing else.

Trials are proposed in generations, and each draws from a sampler that is seeded by its number, so
that neither the order in which trials finish nor a kill in between changes what is proposed. The
sampler works on a study in memory that holds exactly what a trial may see.
"""

import warnings
from collections.abc import Iterable, Mapping

import optuna
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.search.samplers import make_sampler, suggest
from deep_clustering.platform.search.study import Settings


class Proposals:
    """The proposals of a search.

    Args:
        settings: of the search.
        generation: how many trials are proposed together.
    """

    def __init__(self, settings: Settings, generation: int) -> None:
        self._settings, self._generation = settings, generation
        self._forget()

    def _forget(self) -> None:
        self._seen: Study = optuna.create_study(directions=self._settings.directions)
        self._told = 0  # so many trials, the first ones, have their results in `_seen`

    def of(self, number: int, trials: Iterable[FrozenTrial]) -> dict[str, Value]:
        """The values of a trial.

        Args:
            number: of the trial.
            trials: of the search: all with smaller numbers; those of earlier generations are over.
        """
        before = sorted((t for t in trials if t.number < number), key=lambda t: t.number)
        self._learn(before, first=number - number % self._generation)
        settings = self._settings
        self._seen.sampler = make_sampler(settings.sampler, settings.seed, number, settings.space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks multivariate sampling experimental
            return suggest(self._seen.ask(), settings.space)

    def _learn(self, before: list[FrozenTrial], first: int) -> None:
        """Show the results of trials below `first`, and the others as still running."""
        known = len(self._seen.get_trials(deepcopy=False))
        over = before[self._told : first]
        # A trial that was stopped has values on its way, which a study takes as a whole only.
        if known > len(before) or any(t.state == TrialState.PRUNED for t in over):
            self._forget()
            known, over = 0, before[:first]
        for trial in over:
            if trial.number < known:
                self._seen.tell(trial.number, trial.values, trial.state)
            else:
                self._seen.add_trial(trial)
        self._told = first
        known = len(self._seen.get_trials(deepcopy=False))
        for trial in before[known:]:
            self._seen.add_trial(_running(trial))


def _running(trial: FrozenTrial) -> FrozenTrial:
    """A trial without its result."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
    )


def fixed(values: Mapping[str, Value]) -> PartialFixedSampler:
    """A sampler that gives a trial these values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks it experimental
        return PartialFixedSampler(dict(values), RandomSampler(seed=0))
