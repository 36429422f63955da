"""Small runs and stages for tests of the store; everything in them follows from their name."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from deep_clustering.platform.store.store import Store


def run(id: str, *, acc: float = 0.5, **more: Any) -> dict[str, Any]:
    """A row as a lane makes it."""
    config = {"batch_size": 32, "learning_rate": 1e-3, "fixed_threshold": None, "crop": [0.2, 1.0]}
    return {
        "run_id": id,
        "method": "cdc",
        "dataset": "digits",
        "dataset_fingerprint": "0123456789abcdef",
        "protocol": "all",
        "seed": 3,
        "version": 1,
        "epochs": 2,
        "started": "2026-01-02T03:04:05.000006+00:00",
        "ended": "2026-01-02T03:05:05.000006+00:00",
        "seconds": 60.0,
        "acc": acc,
        "ece": 0.1,
        "calibration_acc": acc,
        "cluster_sizes": [3, 1],
        "collapsed": False,
        "flags": [],
        "config_json": json.dumps(config),
        **{f"config.{k}": v for k, v in config.items()},
        **more,
    }


def epochs(acc: float = 0.5) -> pa.Table:
    """Three epochs."""
    return pa.table({"epoch": [0, 1, 2], "seconds": [0.0, 30.0, 60.0], "loss": [3.0, 2.0, acc]})


def predictions(acc: float = 0.5) -> pa.Table:
    """Four images."""
    return pa.table(
        {
            "sample": np.arange(4),
            "cluster": np.array([0, 0, 1, 0], np.int32),
            "confidence": np.array([0.5, 0.6, 0.7, acc], np.float32),
        }
    )


def probabilities(acc: float = 0.5) -> dict[str, np.ndarray]:
    """Four images, two heads with two and three clusters; no decimal fraction is exact in them."""
    chance = np.random.default_rng(int(acc * 1000))
    return {
        head: chance.dirichlet(np.ones(clusters), 4).astype(np.float32)
        for head, clusters in (("clustering", 2), ("calibration", 3))
    }


def commit(store: Store, id: str, acc: float = 0.5) -> bool:
    """Commit a whole run with its model."""
    store.write_model(id, f"weights {acc}".encode() * 10)
    return store.commit_run(run(id, acc=acc), epochs(acc), predictions(acc), probabilities(acc))


def whole(store: Store, id: str) -> float:
    """Assert that all of a run is there and of one piece; its accuracy."""
    row = store.run_row(id)
    acc: float = row["acc"]
    assert row["calibration_acc"] == acc
    assert row["cluster_sizes"] == [3, 1]
    assert row["config.crop"] == [0.2, 1.0]
    (losses,) = store.tables("epochs", [row["epochs_file"]])
    assert losses["loss"].to_list() == [3.0, 2.0, acc]
    (scored,) = store.tables("predictions", [row["predictions_file"]])
    assert scored["confidence"].to_list() == [np.float32(v) for v in (0.5, 0.6, 0.7, acc)]
    soft = store.probabilities(id)
    assert list(soft) == ["clustering", "calibration"]
    for head, values in probabilities(acc).items():
        assert soft[head].dtype == np.float32
        assert soft[head].tobytes() == values.tobytes()
    assert set(scored["run_id"]) == set(losses["run_id"]) == {id}
    assert store.model_path(id).read_bytes() == f"weights {acc}".encode() * 10
    return acc


def stage(store: Store, id: str, content: bytes = b"weights") -> bool:
    """Commit a stage with two artefacts."""
    row = {"stage_id": id, "kind": "encoder", "method": "cdc", "dataset": "digits", "seed": 5}
    return store.commit_stage(row, {"encoder": content, "features": content * 3})
