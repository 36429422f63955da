"""What `platform tune cdc --dataset digits` replaces: a plain script with Ray Tune and Optuna.

    python tests/benchmarks/plain_tune.py --trials 8

Written as a user would: MoCo first, in this process; then trials that share its encoder, in two
actors that are used again, with an evaluation and a checkpoint after every epoch. No store, no
resuming, no tables; what it prints is the best trial.
"""

import argparse
import os
import tempfile

os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score, silhouette_score

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.moco import MoCo

MEAN, STD = (0.3053,) * 3, (0.3759,) * 3


def digits() -> tuple[Images, np.ndarray]:
    """The images and their labels."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)
    array = np.ascontiguousarray(pixels[:, None].repeat(3, 1))
    return Images(array, mean=MEAN, std=STD, device=torch.device("cpu")), data.target


def config(**changes: object) -> CDCConfig:
    """The platform's configuration for the digits, with some fields changed."""
    return applied(CDCConfig(), METHOD.presets["digits"] | changes)


def epoch(model, count: int, number: int) -> None:
    """One pass over the images."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
    size = model.batch_size
    for start in range(0, count - size + 1, size):
        model.step(order[start : start + size])


def pretrained() -> dict[str, torch.Tensor]:
    """MoCo's encoder."""
    images, _ = digits()
    model = MoCo(config().pretrain, images=images, replicas=Replicas.alone(), seed=0)
    for number in range(model.epochs):
        epoch(model, len(images), number)
    return model.encoder_state()


def train(trial: dict, encoder: dict[str, torch.Tensor]) -> None:
    """One trial."""
    torch.set_num_threads(1)
    images, labels = digits()
    settings = config(**trial)
    model = CDC(settings, images=images, replicas=Replicas.alone(), seed=0, encoder_state=encoder)
    model.initialise()
    every = torch.arange(len(images))
    for number in range(1, settings.epochs + 1):
        epoch(model, len(images), number)
        cluster = model.predict(every)[model.final_head].argmax(1).numpy()
        features = model.features(every).numpy()
        several = len(set(cluster)) > 1
        told = {
            "nmi": normalized_mutual_info_score(labels, cluster),
            "silhouette": float(silhouette_score(features, cluster)) if several else -1.0,
        }
        with tempfile.TemporaryDirectory() as folder:
            torch.save(model.state(), f"{folder}/state.pt")
            tune.report(told, checkpoint=tune.Checkpoint.from_directory(folder))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    trials = parser.parse_args().trials
    encoder = pretrained()
    ray.init("local", include_dashboard=False, log_to_driver=False)
    space = {
        "mini_clusters": tune.lograndint(40, 400),
        "entropy_weight": tune.loguniform(0.1, 10.0),
        "encoder_lr": tune.loguniform(1e-4, 1e-2),
        "head_lr": tune.loguniform(1e-4, 1e-2),
        "hidden": tune.qrandint(32, 96, 8),
    }
    with tempfile.TemporaryDirectory() as results:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, encoder=encoder), {"CPU": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(),
                metric="silhouette",
                mode="max",
                num_samples=trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=results,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
        )
        best = tuner.fit().get_best_result()
        print(best.metrics["silhouette"], best.metrics["nmi"], best.config)


if __name__ == "__main__":
    main()
