"""A Tune trial as a relay: it waits for the runs of one configuration and passes their mean on."""

import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypedDict

from ray import tune

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.run.client import Client
from deep_clustering.platform.run.failure import Kind
from deep_clustering.platform.run.progress import Numbers, State

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from deep_clustering.platform.run.planner import Planner

#: What a relay reports: numbers, "epoch", "final", and of a failure "reason" and "diverged".
Result = Mapping[str, Value]


class RelayConfig(TypedDict):
    """What Tune hands to a relay."""

    number: int  # of the trial
    runs: str  # ids, separated by blanks


def owner(number: int) -> str:
    """The name under which a trial wants its runs."""
    return f"trial-{number}"


def relay(
    config: RelayConfig, planner: "ActorHandle[Planner]", objectives: Mapping[str, float]
) -> None:
    """Report the mean over the runs of a trial, epoch by epoch.

    Args:
        planner: of the command.
        objectives: name -> worst value, which stands for a result that does not exist.
    """
    client = Client(planner)
    runs = config["runs"].split()
    histories: dict[str, list[Numbers]] = {i: [] for i in runs}
    reported = seen = -1
    done = False
    try:
        while not done:
            news = client.wait({i: len(h) for i, h in histories.items()}, seen)
            seen = news.version
            for i, job in news.jobs.items():
                histories[i] += [{**values, "epoch": epoch} for epoch, values in job.history]
            for values in list(zip(*histories.values(), strict=False))[reported + 1 :]:
                reported += 1
                mean = _mean(values)
                if mean["epoch"] > 0 and all(name in mean for name in objectives):
                    tune.report(mean)
            jobs = news.jobs.values()
            failure = next((job.failure for job in jobs if job.state is State.FAILED), None)
            if failure is not None:
                epoch = max((h[-1]["epoch"] or 0 for h in histories.values() if h), default=0)
                diverged = failure.kind is Kind.DIVERGED
                worst = {"epoch": epoch, "reason": failure.reason, "diverged": diverged}
                tune.report({**objectives, **worst, "final": True})
                done = True
            elif all(job.state is State.DONE for job in jobs):
                final = _mean([job.values for job in jobs])
                filled = {name: final.get(name, worst) for name, worst in objectives.items()}
                last = max(job.epoch for job in jobs)
                tune.report({**final, **filled, "epoch": last, "final": True})
                done = True
    except EnvironmentProblem:  # Tune tries the trial again, and its runs are still wanted
        done = True
        raise
    finally:
        if not done:  # stopped by the scheduler: the runs end at their next step
            client.cancel(runs, owner(config["number"]))


def _mean(rows: Iterable[Numbers]) -> dict[str, float]:
    """Mean over runs of every number that all of them have."""
    rows = list(rows)
    names = set.intersection(*(set(row) for row in rows))
    mean = {}
    for name in names:
        values = [value for row in rows if isinstance(value := row[name], (int, float))]
        if len(values) == len(rows):
            mean[name] = statistics.fmean(values)
    return mean
