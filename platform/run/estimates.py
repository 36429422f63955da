"""What runs would cost: by the store, else by a short probe, else by the paper's table."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from deep_clustering.ablations import _costs
from deep_clustering.methods._method import Pretrain
from deep_clustering.platform import registry
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import ENCODER, FEATURES, RUN, Job
from deep_clustering.platform.store.store import Store

if TYPE_CHECKING:
    import torch

    from deep_clustering.platform.run.workplace import Samples

#: A probe that has not taken two steps by then is given up, seconds.
_PATIENCE = 90.0
#: Steps of a probe, at most, and seconds after which no further one is begun.
_STEPS, _LOOK = 12, 5.0
#: Bytes of one row of predictions as it is stored, about.
_PREDICTION = 30


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time of some jobs on one device, and where the figure is from."""

    seconds: float
    source: str
    unknown: int = 0  # jobs that nothing tells the time of


def estimates(
    alternatives: Sequence[Sequence[Job]], store: Store, absent: Set[str] = frozenset()
) -> list[Estimate]:
    """Time of each of several sets of jobs that are to be computed.

    One time of an epoch counts for all jobs of a kind, a method and a dataset. It is that of
    finished jobs in the store, else of a few steps that are taken of one of them here, else the
    one that the paper prints.

    Args:
        alternatives: runs and stages.
        store: whose finished jobs tell the time of others.
        absent: names of the datasets that are not here, for which no step can be taken.
    """
    first: dict[_Group, Job] = {}
    for job in (job for jobs in alternatives for job in jobs):
        first.setdefault(_group(job), job)
    prices = {group: _stored(job, store) for group, job in first.items()}
    open_jobs = [first[group] for group, price in prices.items() if price is None]
    can_be = [job for job in open_jobs if _name(job) not in absent and _has_steps(job)]
    probed = _probed(can_be) if can_be else {}
    for job in open_jobs:
        each = probed.get(job.id)
        if each is not None:
            prices[_group(job)] = _costs.Cost(seconds=each, source="a few steps on this machine")
        else:
            prices[_group(job)] = _printed(job)
    return [_total(jobs, prices) for jobs in alternatives]


#: Kind, method and dataset of jobs that take the same time for an epoch.
_Group = tuple[str, str, str]


def _group(job: Job) -> _Group:
    return job.kind, job.method, job.dataset


def _total(jobs: Iterable[Job], prices: Mapping[_Group, _costs.Cost | None]) -> Estimate:
    total, unknown = 0.0, 0
    sources: dict[str, None] = {}
    for job in jobs:
        price = prices[_group(job)]
        if price is None:
            unknown += 1
        else:
            total += price.seconds * job.epochs
            sources[price.source] = None
    return Estimate(seconds=total, source="; ".join(sources), unknown=unknown)


def disk(runs: Iterable[Job], images: Mapping[str, int], store: Store) -> int:
    """Bytes that finished runs add to the store, about: weights and predictions.

    Args:
        runs: to be computed.
        images: name of a dataset -> images that are scored.
        store: whose finished runs tell the number of weights, else the paper's table does.
    """
    known = store.rows("runs")
    total = 0
    for job in runs:
        alike = known.filter(pl.col("method") == job.method, pl.col("status") == "ok")
        alike = alike.filter(pl.col("dataset") == _name(job))
        sizes = alike["parameters"].drop_nulls().to_list() if alike.height else []
        at_once = registry.method(job.method).fit is not None
        printed = _costs.weights(job.method, _name(job))
        weights = 0 if at_once else sizes[-1] if sizes else printed
        total += int(4 * weights) + _PREDICTION * images[_name(job)]
    return total


def _name(job: Job) -> str:
    return job.source.spec


def _stored(job: Job, store: Store) -> _costs.Cost | None:
    """Median seconds of an epoch of finished jobs like this one."""
    rows = store.rows("runs" if job.kind == RUN else "stages")
    alike = rows.filter(
        pl.col("dataset_fingerprint") == job.dataset,
        pl.col("method") == job.method,
        pl.col("status") == "ok",
        pl.col("epochs") > 0,
    )
    each = [s / e for s, e in alike.select("seconds", "epochs").iter_rows() if s is not None]
    if not each:
        return None
    return _costs.Cost(seconds=statistics.median(each), source="runs in the store")


def _printed(job: Job) -> _costs.Cost | None:
    """The time of an epoch that the paper of the job's method prints; of runs only."""
    return _costs.epoch(job.method, _name(job)) if job.kind == RUN else None


# ---- probes


def _has_steps(job: Job) -> bool:
    """Whether steps tell its time, and can be taken before other work is done."""
    if job.kind not in (RUN, ENCODER) or FEATURES in job.needs:
        return False
    method = registry.method(job.method)
    if method.fit is not None:
        return False
    return job.kind == ENCODER or all(isinstance(need, Pretrain) for need in method.needs)


def _probed(jobs: list[Job]) -> dict[str, float]:
    """Id -> seconds of an epoch, from a few steps in a process of their own."""
    seconds: dict[str, float] = {}
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "deep_clustering.platform.run.estimates"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TORCH_COMPILE_DISABLE": "1"},  # a few steps would wait for it
        ) as child:
            try:
                out, _ = child.communicate(
                    json.dumps([job.as_json() for job in jobs]), timeout=_PATIENCE
                )
            except subprocess.TimeoutExpired:
                child.kill()
                out, _ = child.communicate()
        for line in out.splitlines():
            seconds |= json.loads(line)
    except (OSError, ValueError):
        pass  # what it told until then counts
    return seconds


def _main() -> None:
    """Read jobs from standard input; write a line {id: seconds of an epoch} for each."""
    import torch

    from deep_clustering.platform.run.workplace import Samples

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = Samples(device)
    for given in json.load(sys.stdin):
        job = Job.from_json(given)
        print(json.dumps({job.id: _epoch(job, samples, device)}), flush=True)


def _epoch(job: Job, samples: "Samples", device: "torch.device") -> float:
    """Seconds of an epoch, by steps of the real size on random weights."""
    import torch

    from deep_clustering.methods._method import Config, Trainable
    from deep_clustering.methods.compute.replicas import Replicas

    method = registry.method(job.method)
    dataset, images = samples.images(job)
    replicas = Replicas.alone(device)
    trainable: Trainable
    if job.kind == ENCODER:
        assert method.pretrain is not None
        index = torch.from_numpy(dataset.pretrain)
        config: Config = configs.build(method.pretrain.config, job.config)
        trainable = method.pretrain.build(
            config, images=images, replicas=replicas, seed=job.seed, index=index
        )
    else:
        assert method.build is not None
        index = torch.from_numpy(dataset.train)
        given = {}
        if method.pretrain is not None:
            own = {k[len(_OF_PRETRAINING) :]: v for k, v in job.config.items() if _nested(k)}
            start = method.pretrain.build(
                configs.build(method.pretrain.config, own),
                images=images,
                replicas=replicas,
                seed=job.seed,
                index=index,
            )
            given[method.pretrain.name] = start.encoder_state()
        trainable = method.build(
            configs.build(method.config, job.config),
            images=images,
            replicas=replicas,
            seed=job.seed,
            index=index,
            **given,
        )
    batch = index[: trainable.batch_size].to(device)
    times: list[float] = []
    while len(times) < 2 or (len(times) < _STEPS and sum(times) < _LOOK):
        begun = time.monotonic()
        losses = trainable.step(batch)
        [float(value) for value in losses.values()]  # waits for the device
        times.append(time.monotonic() - begun)
    return statistics.median(times[1:]) * (len(index) // trainable.batch_size)


#: Beginning of the names of a pretraining's fields in a configuration.
_OF_PRETRAINING = "pretrain."


def _nested(name: str) -> bool:
    return name.startswith(_OF_PRETRAINING)


if __name__ == "__main__":
    _main()
