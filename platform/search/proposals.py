"""What to try next: of G trials side by side each sees the results of all but the last G - 1.

What a trial sees follows from its number, and it draws from a sampler that is seeded by its number,
so that neither the order in which trials finish nor a kill in between changes what is proposed. The
sampler works on a study in memory that holds exactly what a trial may see. A free lane gets its
next trial as soon as the G-th trial before that one is over. Where results change nothing, as long
as trials are drawn at random or from a grid, none is waited for.
"""

import time
import warnings
from collections.abc import Mapping

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.search.samplers import learns, make_sampler, suggest
from deep_clustering.platform.search.study import Settings


class Proposals:
    """The proposals of a search.

    Args:
        settings: of the search.
        generation: how many trials run side by side, G.
    """

    def __init__(self, settings: Settings, generation: int) -> None:
        self._settings, self._generation = settings, generation
        #: Seconds that Optuna's sampler took so far.
        self.seconds = 0.0
        self._forget()

    def _forget(self) -> None:
        self._seen: Study = optuna.create_study(directions=self._settings.directions)
        self._known = 0  # so many trials, the first ones, are in `_seen`
        self._told = 0  # so many of them with their results

    def waits_for(self, number: int) -> int:
        """How many trials, the first ones, have to be over before a trial can be proposed."""
        first = max(0, number - self._generation + 1)
        return first if learns(self._settings.sampler, first) else 0

    def of(self, number: int, trials: Mapping[int, FrozenTrial]) -> dict[str, Value]:
        """The values of a trial.

        Args:
            number: of the trial.
            trials: of the search by number, at least all with smaller ones; those that it waits for
                are over.
        """
        if self._known > number:
            self._forget()
        self._learn(trials, self.waits_for(number))
        for other in range(self._known, number):
            self._seen.add_trial(_running(trials[other]))
        self._known = number
        settings = self._settings
        begun = time.monotonic()
        self._seen.sampler = make_sampler(settings.sampler, settings.seed, number, settings.space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks multivariate sampling experimental
            values = suggest(self._seen.ask(), settings.space)
        self._known = number + 1
        self.seconds += time.monotonic() - begun
        return values

    def _learn(self, trials: Mapping[int, FrozenTrial], first: int) -> None:
        """Show the results of the trials below `first`."""
        for number in range(self._told, first):
            trial = trials[number]
            if number >= self._known:
                self._seen.add_trial(trial)
            elif trial.state == TrialState.PRUNED:
                shown = Trial(self._seen, number)  # in memory, ids are numbers
                for epoch, value in trial.intermediate_values.items():
                    shown.report(value, epoch)
                self._seen.tell(number, state=TrialState.PRUNED)
            else:
                self._seen.tell(number, trial.values, trial.state)
        self._told = max(self._told, first)
        self._known = max(self._known, first)


def _running(trial: FrozenTrial) -> FrozenTrial:
    """A trial without its result."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
    )
