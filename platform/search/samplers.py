"""Concrete search spaces in Optuna's terms, and the samplers of `--sampler`."""

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.request.configs import Value
from deep_clustering.search_spaces._space import Choice, Concrete, Float, Int

#: Values of each range in a grid; a choice has all of its own.
GRID_POINTS = 3

#: From this trial on TPE takes over from the Gaussian process, whose time for a proposal grows with
#: the cube of the trials: seconds by then, minutes later.
GP_TRIALS = 200

#: So many trials are drawn at random before a sampler models anything.
STARTUP_TRIALS = 10

#: More points than that are no grid that anybody finishes.
LARGEST_GRID = 1_000_000


def distributions(space: Mapping[str, Concrete]) -> dict[str, BaseDistribution]:
    """Field -> Optuna distribution.

    Raises:
        InputError: the space is empty, or has a range that was not resolved.
    """
    if not space:
        raise InputError("the search space is empty; name at least one field to search.")
    return {name: _distribution(name, domain) for name, domain in space.items()}


def _distribution(name: str, domain: Concrete) -> BaseDistribution:
    if isinstance(domain, Float):
        return FloatDistribution(float(domain.low), float(domain.high), log=domain.log)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    raise InputError(f"{name}: needs a Float, Int or Choice, got {domain!r}; resolve the space.")


def suggest(trial: Trial, space: Mapping[str, Concrete]) -> dict[str, Value]:
    """The values of one trial; asked again, a trial gives the same ones.

    Raises:
        InputError: as `distributions`.
    """
    values: dict[str, Value] = {}
    for name, d in distributions(space).items():
        if isinstance(d, FloatDistribution):
            values[name] = trial.suggest_float(name, d.low, d.high, log=d.log)
        elif isinstance(d, IntDistribution):
            values[name] = trial.suggest_int(name, d.low, d.high, log=d.log, step=d.step)
        elif isinstance(d, CategoricalDistribution):
            values[name] = trial.suggest_categorical(name, d.choices)
    return values


def grid(space: Mapping[str, Concrete], points: int = GRID_POINTS) -> dict[str, tuple[Value, ...]]:
    """The values of each field on a grid, ascending, both ends included, each once.

    Args:
        space: field -> concrete range.
        points: values of each range, even in the logarithm if the range is; fewer where a range
            has no more whole numbers or steps.

    Raises:
        InputError: the space is empty, or fewer than 2 points are asked for.
    """
    if points < 2:
        raise InputError(f"a grid needs at least 2 points in each range, got {points}.")
    if not space:
        raise InputError("the search space is empty; name at least one field to search.")
    return {name: _points(domain, points) for name, domain in space.items()}


def _points(domain: Concrete, points: int) -> tuple[Value, ...]:
    if isinstance(domain, Choice):
        return domain.values
    spread = np.geomspace if domain.log else np.linspace
    values = spread(domain.low, domain.high, points).tolist()
    values[0], values[-1] = domain.low, domain.high  # the logarithm and back may miss the ends
    if isinstance(domain, Int):
        steps = (round((value - domain.low) / domain.step) for value in values)
        return tuple(dict.fromkeys(domain.low + step * domain.step for step in steps))
    return tuple(dict.fromkeys(map(float, values)))


def grid_size(space: Mapping[str, Concrete], points: int = GRID_POINTS) -> int:
    """How many points the grid has."""
    return math.prod(len(values) for values in grid(space, points).values())


class _Grid(BaseSampler):
    """The points of a grid in a shuffled order, each once, skipping those already tried.

    Only trials with smaller numbers count as tried, in whatever state, so that what a trial gets
    does not depend on which others have ended. When the grid is used up it starts again: a
    repeated point costs nothing, its runs are in the store.
    """

    def __init__(self, space: Mapping[str, Concrete], seed: int, number: int) -> None:
        self._values = grid(space)
        self._number = number
        size = grid_size(space)
        if size > LARGEST_GRID:
            raise InputError(
                f"the grid has {size} points, more than {LARGEST_GRID}; "
                "search fewer fields with --space or use another --sampler."
            )
        self._order = np.random.default_rng(seed).permutation(size)

    def _point(self, index: int) -> dict[str, Value]:
        point = {}
        for name, values in self._values.items():
            index, digit = divmod(index, len(values))
            point[name] = values[digit]
        return point

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Value:
        tried = {
            tuple(map(repr, (t.params[name] for name in self._values)))
            for t in study.get_trials(deepcopy=False)
            if t.number < self._number and self._values.keys() <= t.params.keys()
        }
        points = (self._point(int(i)) for i in self._order)
        fresh = (p for p in points if tuple(map(repr, p.values())) not in tried)
        again = self._point(int(self._order[self._number % len(self._order)]))
        return next(fresh, again)[param_name]


def _tpe(space: Mapping[str, Concrete], seed: int, number: int) -> BaseSampler:
    # No field of a concrete space depends on another one, so trials share one multivariate model.
    return TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP_TRIALS)


def _random(space: Mapping[str, Concrete], seed: int, number: int) -> BaseSampler:
    return RandomSampler(seed=seed)


class _GaussianProcess(GPSampler):
    """On one thread: for the few points of a search more of them only wait for each other.

    Two searches of 18 trials, on two cores that were training: 117 s by default, 18 s like this.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return super().sample_relative(study, trial, search_space)
        finally:
            torch.set_num_threads(threads)


def _gp(space: Mapping[str, Concrete], seed: int, number: int) -> BaseSampler:
    return _GaussianProcess(
        seed=seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=RandomSampler(seed=seed),
        warn_independent_sampling=False,
    )


_SAMPLERS: dict[str, Callable[[Mapping[str, Concrete], int, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "grid": _Grid,
    "gp": _gp,
}


def check_sampler(name: str) -> None:
    """Refuse a sampler that does not exist.

    Raises:
        InputError: names the nearest one.
    """
    if name not in _SAMPLERS:
        raise InputError(
            f"there is no sampler '{name}'.{nearest(name, _SAMPLERS)} "
            f"Known: {', '.join(_SAMPLERS)}."
        )


def sampler_of(name: str, number: int) -> str:
    """The sampler that really proposes a trial: TPE takes over from `gp` at `GP_TRIALS`."""
    return "tpe" if name == "gp" and number >= GP_TRIALS else name


def learns(name: str, seen: int) -> bool:
    """Whether a proposal depends on the results of earlier trials.

    Args:
        name: as in `--sampler`.
        seen: how many trials it may see.
    """
    return name in ("tpe", "gp") and seen >= STARTUP_TRIALS


def described(name: str, trials: int) -> str:
    """A search's sampler in words.

    Args:
        name: as in `--sampler`.
        trials: of the search.
    """
    handed_over = sampler_of(name, trials - 1) != name
    return f"{name}, from trial {GP_TRIALS} on tpe" if handed_over else name


def make_sampler(
    name: str,
    seed: int,
    number: int,
    space: Mapping[str, Concrete],
) -> BaseSampler:
    """The sampler of one trial.

    Args:
        name: tpe, random, grid or gp.
        seed: of the search.
        number: of the trial. A trial's random numbers come from these two alone, so that a search
            that was interrupted goes on as if it had not been.
        space: field -> concrete range.

    Raises:
        InputError: an unknown sampler, an empty space, or a grid too large.
    """
    check_sampler(name)
    distributions(space)
    name = sampler_of(name, number)
    # The order of a grid is shared by all trials; everything else is drawn anew for each.
    own = seed if name == "grid" else _mixed(seed, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[name](space, own, number)


def _mixed(seed: int, number: int) -> int:
    """32 bits from both, so that neighbouring trials and seeds share nothing."""
    digest = hashlib.sha256(f"sampler:{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
