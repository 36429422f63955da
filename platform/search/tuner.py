"""Carry a search to its number of trials with Ray Tune."""

import typing

from ray import tune

from deep_clustering.methods._method import TrainedConfig
from deep_clustering.platform.run.client import Client
from deep_clustering.platform.search.relay import relay
from deep_clustering.platform.search.searcher import StudySearcher
from deep_clustering.platform.search.study import Settings

#: How often a trial's relay is started anew, as when its machine is lost. A relay computes nothing,
#: and the planner tells the next one all that there was.
_RELAYS = 3


def run(searcher: StudySearcher, settings: Settings, planner: Client, storage: str) -> None:
    """Run trials until the searcher has enough; blocks. Call it from a thread of its own.

    Args:
        storage: a place that all nodes see; nothing that is written there is read.
    """
    scheduler = None
    if settings.scheduler == "asha":
        from ray.tune.schedulers import ASHAScheduler

        epochs = typing.cast(TrainedConfig, settings.request.config).epochs
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
                planner=planner.actor,
                objectives={o.name: o.worst for o in settings.objectives},
            ),
            {"CPU": 0.01},
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher itself says when it has enough
            max_concurrent_trials=searcher.concurrency,
            reuse_actors=True,
            trial_dirname_creator=lambda t: f"trial-{t.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=storage,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_RELAYS),
        ),
    )
    tuner.fit()
