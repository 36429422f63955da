"""Stores for tests of the report: runs with made-up predictions, committed without training."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from optuna.distributions import CategoricalDistribution, FloatDistribution
from safetensors.numpy import save

from deep_clustering.ablations import cdc
from deep_clustering.ablations._suite import Suite
from deep_clustering.platform.metrics import partition, rejection
from deep_clustering.platform.metrics.evaluate import evaluate
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.search import history
from deep_clustering.platform.search.journal import Journal
from deep_clustering.platform.store.store import Plan, Store
from deep_clustering.platform.suites import plans

#: Classes and images of every made-up run.
CLASSES, IMAGES = 10, 400

_CDC = {suite.name: suite for suite in cdc.SUITES}


def suite(name: str) -> Suite:
    """One of CDC's published suites."""
    return _CDC[name]


def run_id(*parts: Any) -> str:
    """A run id that follows from what it stands for."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def commit(
    store: Store,
    id: str,
    *,
    acc: float = 0.8,
    sharpness: float = 3.0,
    seed: int = 0,
    labelled: bool = True,
    collapsed: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Commit a run whose metrics are those of its made-up predictions; returns its row.

    Args:
        acc: share of images that tend to their class's cluster.
        sharpness: scale of the logits, hence confidence.
        collapsed: all images are in cluster 0.
        more: further columns of the row.
    """
    rng = np.random.default_rng([seed, int(id[:8], 16)])
    labels = rng.integers(0, CLASSES, IMAGES)
    aim = np.where(rng.random(IMAGES) < acc, labels, rng.integers(0, CLASSES, IMAGES))
    values: dict[str, Any] = {}
    columns: dict[str, Any] = {"sample": np.arange(IMAGES)}
    for head, scale in (("calibration", sharpness), ("clustering", 2 * sharpness)):
        logits = rng.normal(size=(IMAGES, CLASSES))
        logits[np.arange(IMAGES), aim] += scale
        if collapsed:
            logits[:, 0] += 100
        p = np.exp(logits - logits.max(1, keepdims=True))
        p = (p / p.sum(1, keepdims=True)).astype(np.float32)
        found = evaluate(p, labels if labelled else None)
        values |= {f"{head}_{k}": v for k, v in found.items()}
        columns[f"{head}_cluster"] = p.argmax(1).astype(np.int32)
        columns[f"{head}_confidence"] = p.max(1)
        if head == "calibration":
            values |= found | {
                "cluster_sizes": partition.cluster_sizes(p).tolist(),
                "flags": partition.flags(p),
                "collapsed": "collapsed" in partition.flags(p),
            }
            columns |= {"cluster": p.argmax(1).astype(np.int32), "confidence": p.max(1)}
    if labelled:
        columns["label"] = labels.astype(np.int32)
    row = base(id, seed) | values | more
    store.commit_run(row, _epochs(values), pa.table(columns))
    return row


def base(id: str, seed: int) -> dict[str, Any]:
    """The columns of a row that do not follow from predictions."""
    config = {"batch_size": 32, "encoder_lr": 1e-3}
    return {
        "run_id": id,
        "method": "cdc",
        "dataset": "cifar20",
        "dataset_fingerprint": "0123456789abcdef",
        "protocol": "all",
        "seed": seed,
        "stage_id": "pretrained",
        "version": 1,
        "epochs": 3,
        "started": "2026-01-02T03:04:05+00:00",
        "ended": f"2026-01-02T04:{seed:02d}:05+00:00",
        "seconds": 600.0,
        "device": "cuda",
        "git_revision": "4f2c9d1",
        "config_json": json.dumps(config),
        **{f"config.{k}": v for k, v in config.items()},
    }


def _epochs(final: dict[str, Any]) -> pa.Table:
    """Four epochs that end at the final metrics."""
    rise = np.array([0.4, 0.7, 0.9, 1.0])
    columns: dict[str, Any] = {"epoch": np.arange(4), "seconds": 200.0 * np.arange(4)}
    columns["clustering_loss"] = [None, 1.5, 1.1, 0.9]
    columns["calibration_loss"] = [None, 2.1, 1.6, 1.2]
    for name in ("acc", "ece", "mean_confidence"):
        for column in (name, f"calibration_{name}", f"clustering_{name}"):
            if final[column] is not None:
                columns[column] = final[column] * rise
    return pa.table(columns)


def plan(
    store: Store, of: Suite, datasets: Iterable[str], seeds: Iterable[int], **more: Any
) -> list[dict[str, Any]]:
    """Write the plan of a suite; returns its entries."""
    names = list(datasets)
    entries = [
        {
            "run_id": run_id(row.variants, row.changes, dataset, seed),
            "variant": row.name,
            "head": row.head,
            "dataset": dataset,
            "seed": seed,
            "arm": run_id(row.variants, row.changes, dataset),
            "asked": "2026-01-01T00:00:00+00:00",
        }
        for dataset in names
        for row in of.rows
        for seed in seeds
    ]
    content: dict[str, Any] = {
        "runs": entries,
        "definitions": [
            {
                "digest": run_id(of.name),
                "suite": plans.definition(of),
                "asked": "2026-01-01T00:00:00+00:00",
            }
        ],
        "impossible": [],
        "datasets": [{"dataset": name} for name in names],
        "commands": [f"platform ablate --suite {of.name}"],
    }
    store.write_plan("suite", of.name, Plan.from_json(content | more))
    return entries


def table2(store: Store, seeds: int = 2) -> list[dict[str, Any]]:
    """CDC's table 2 on cifar20: one run failed, one row has one seed, one run collapsed."""
    entries = plan(store, suite("cdc-table2"), ["cifar20"], range(seeds))
    strength = {e["variant"]: i for i, e in enumerate(reversed(entries))}
    for entry in entries:
        id, seed, variant = entry["run_id"], entry["seed"], entry["variant"]
        if (variant, seed) == ("Fixed Thre. (0.95)", 1):
            lost = base(id, seed) | {"status": "failed", "reason": "diverged at epoch 2, step 3"}
            store.record_failure({k: v for k, v in lost.items() if k != "flags"})
            continue
        commit(
            store,
            id,
            acc=0.9 - 0.02 * strength[variant] + 0.01 * seed,
            seed=seed,
            collapsed=(variant, seed) == ("w/o Init.+CDC", 0),
        )
    return entries


def study(
    store: Store, name: str, trials: int, objectives: tuple[str, ...] = ("acc",)
) -> list[list[float]]:
    """A search with made-up runs; returns the values of its trials, the last one failed."""
    directions = ["minimize" if o == "ece" else "maximize" for o in objectives]
    held = optuna.create_study(directions=directions)
    settings: dict[str, Value] = {
        "method": "cdc",
        "dataset": "0123456789abcdef",
        "protocol": "all",
        "config": {"encoder_lr": 1e-3, "filter": "none"},
        "space": {"encoder_lr": "Float(1e-05, 0.01, log=True)", "filter": "Choice('a', 'b')"},
        "objective": list(objectives),
        "sampler": "tpe",
        "scheduler": "none",
        "seeds": [0],
        "seed": 0,
    }
    space = {
        "encoder_lr": FloatDistribution(1e-5, 1e-2, log=True),
        "filter": CategoricalDistribution(("a", "b")),
    }
    rng = np.random.default_rng(0)
    found = []
    for number in range(trials):
        lr, choice = float(10 ** rng.uniform(-5, -2)), str(rng.choice(["a", "b"]))
        id = run_id(name, number)
        params = {"encoder_lr": lr, "filter": choice}
        common = {"params": params, "distributions": space}
        fields = {"config.encoder_lr": lr, "config.filter": choice}
        if number == trials - 1:
            store.record_failure(base(id, 0) | {"status": "failed", "reason": "out of memory"})
            lost = optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL,
                user_attrs={"runs": [id], "reason": "out of memory"},
                **common,
            )
            held.add_trial(lost)
            continue
        criteria = {"silhouette": lr, "balance": 0.9 - number / 100}
        row = commit(store, id, acc=0.6 + 0.1 * np.log10(lr / 1e-5), **fields, **criteria)
        values = [float(row[o]) for o in objectives]
        found.append(values)
        kept = {k: float(row[k]) for k in ("acc", "ece", "mean_confidence")}
        kept |= criteria
        held.add_trial(
            optuna.trial.create_trial(
                values=values, user_attrs={"runs": [id], "metrics": kept}, **common
            )
        )
    search = history.search_of(settings, 1, held.directions, space)
    facts = history.History.of(search, 1, held.trials)
    store.write_plan(history.KIND, name, facts.as_plan())
    Journal(store, name).follow(search, facts.trials())
    return found


def out_of_distribution(store: Store, run: str, other: str, shift: float) -> dict[str, Any]:
    """Commit the evaluation of a run against others whose confidences are lower by `shift`."""
    rng = np.random.default_rng(int(run[:8], 16))
    row: dict[str, Any] = {
        "stage_id": run_id(run, other),
        "kind": "ood",
        "method": "cdc",
        "dataset": "cifar20",
        "seed": 0,
        "ood_run": run,
        "ood_dataset": other,
        "ood_final_head": "calibration",
    }
    kept: dict[str, np.ndarray] = {}
    for head in ("calibration", "clustering"):
        own = rng.uniform(0.5, 1, 300).astype(np.float32)
        far = np.clip(rng.uniform(0.5, 1, 200) - shift, 0, 1).astype(np.float32)
        kept |= {f"{head}.in": own, f"{head}.out": far}
        right = np.repeat([True, False], [300, 200])
        found = rejection.failure_rejection(np.concatenate([own, far]), right)
        for front in (f"{head}_", "" if head == "calibration" else f"{head}_"):
            row |= {f"{front}ood_{m}": found[m] for m in ("auroc", "fpr95")}
    store.commit_stage(row, {"confidences": save(kept)})
    return row


def renamed(of: Suite, **changes: Any) -> Suite:
    """A suite with some fields changed."""
    return dataclasses.replace(of, **changes)
