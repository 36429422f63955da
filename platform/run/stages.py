"""Work that many runs share: pretrained encoders, neighbours, outputs of a base run."""

import json
import time
from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from deep_clustering.methods._method import Pretraining
from deep_clustering.methods.clustering.kmeans import neighbours as nearest
from deep_clustering.platform import registry
from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import ENCODER, NEIGHBOURS, Job
from deep_clustering.platform.run import points, record
from deep_clustering.platform.run._loop import train
from deep_clustering.platform.run.checkpoints import Checkpoints, on_cpu
from deep_clustering.platform.run.progress import Observer
from deep_clustering.platform.run.workplace import Workplace


def encoder(job: Job, place: Workplace, observer: Observer) -> None:
    """A pretraining: the weights of an encoder, and its features of the scored images.

    The features are stored in half precision with the `NEIGHBOURS` nearest others of each image:
    the space in which partitions are compared without labels.
    """
    dataset = place.dataset(job)
    trainable = _pretraining(job, place)
    training = train(trainable, dataset.pretrain, job, place, observer)
    features = trainable.features(torch.from_numpy(dataset.score)).float().cpu()
    if place.replicas.rank != 0:
        return
    weights = on_cpu(trainable.encoder_state())
    row = record.finished(job, dataset, training.work(place), place.provenance)
    artefacts = {"encoder": save_tensors(weights), "features": shared(features)}
    place.store.commit_stage(row, artefacts)
    Checkpoints(place.store, job.id).clear()


def shared(features: Tensor) -> bytes:
    """The file of features (n, D) that runs share, see `encoder`."""
    near = nearest(features, min(NEIGHBOURS, len(features) - 1)).int()
    return save_tensors({"features": features.half().contiguous(), "neighbours": near})


def _pretraining(job: Job, place: Workplace) -> Pretraining:
    """The pretraining of a job, with fresh weights."""
    dataset, images = place.images(job)
    pretrain = registry.method(job.method).pretrain
    assert pretrain is not None
    own = {k.removeprefix("pretrain."): v for k, v in job.config.items() if k not in _OF_LIST}
    return pretrain.build(
        configs.build(pretrain.config, own),
        images=images,
        replicas=place.replicas,
        seed=job.seed,
        index=torch.from_numpy(dataset.pretrain),
    )


#: Fields of the configuration of a list of neighbours; the others are of its pretraining.
_OF_LIST = ("images", "count")


def neighbours(job: Job, place: Workplace, observer: Observer) -> None:
    """The nearest neighbours of images by the embedding of a pretraining, see `Neighbours`."""
    if place.replicas.rank != 0:
        return
    started, begun = record.now(), time.monotonic()
    dataset = place.dataset(job)
    index = dataset.train if job.config["images"] == "train" else dataset.score
    count = job.config["count"]
    assert isinstance(count, int)
    if not 1 <= count < len(index):
        raise ValueError(
            f"neighbours: must be at least 1 and fewer than the {len(index)} images, got {count}"
        )
    trainable = _pretraining(job, place)
    trainable.load_encoder(place.encoder(job.needs["encoder_state"]))
    embedding = trainable.embedding(torch.from_numpy(index)).float().cpu()
    near = nearest(torch.nn.functional.normalize(embedding), count).int()
    work = record.measured(started=started, seconds=time.monotonic() - begun, device=place.device)
    row = record.finished(job, dataset, work, place.provenance)
    place.store.commit_stage(row, {"neighbours": save_tensors({"neighbours": near})})


def outputs(job: Job, place: Workplace, observer: Observer) -> None:
    """What a finished run says about all images that are trained on or scored: `BaseOutputs`."""
    if place.replicas.rank != 0:
        return
    started, begun = record.now(), time.monotonic()
    dataset = place.dataset(job)
    base = place.store.run_row(job.needs["run"])
    method = str(base["method"])
    index = np.union1d(dataset.train, dataset.score)
    if registry.method(method).fit is None:
        _, images = place.images(job)
        model = finished.restored(place.store, base, images, place.device, job.source.root)
        every = torch.from_numpy(index)
        probabilities = model.predict(every)[model.final_head].float().cpu()
        features = model.features(every).float().cpu()
        weights = model.encoder_weights()
    else:
        if not np.array_equal(index, dataset.score):
            raise ValueError(
                f"the base run {base['run_id']} has clustered the scored images alone, and "
                f"{dataset.name} with the protocol {dataset.protocol} trains on others; "
                "choose a base that trains networks"
            )
        probabilities = torch.from_numpy(_of_partition(place, base))
        features = torch.from_numpy(_points(place, base, dataset))
        weights = {}
    pretext = _restored(job, place, base)
    work = record.measured(started=started, seconds=time.monotonic() - begun, device=place.device)
    row = record.finished(job, dataset, work, place.provenance)
    row |= {"method": method, "seed": base["seed"]}
    tensors = {
        "index": torch.from_numpy(index.astype(np.int64)),
        "probabilities": probabilities.contiguous(),
        "features": features.contiguous(),
    }
    if pretext is not None:
        tensors["pretext"] = pretext.features(torch.from_numpy(index)).float().cpu().contiguous()
        weights = weights or pretext.encoder_weights()
    artefacts = {"outputs": save_tensors(tensors), "encoder": save_tensors(on_cpu(weights))}
    place.store.commit_stage(row, artefacts)


def _restored(job: Job, place: Workplace, base: record.Row) -> Pretraining | None:
    """The pretraining that a run stands on, None without one; `job` is of the same images."""
    if base["stage_id"] is None:
        return None
    row = place.store.stage_row(str(base["stage_id"]))
    if row["kind"] != ENCODER:
        return None
    config = json.loads(str(row["config_json"]))
    described = replace(job, method=str(row["method"]), seed=int(row["seed"]), config=config)
    trainable = _pretraining(described, place)
    trainable.load_encoder(place.encoder(str(base["stage_id"])))
    return trainable


def _of_partition(place: Workplace, base: record.Row) -> Array:
    """Probabilities (n, K) float32 of a run that fits at once; 0 and 1 where it gives none."""
    id = str(base["run_id"])
    if base["probabilities_file"] is not None:
        (p,) = place.store.probabilities(id).values()
        return p
    (table,) = place.store.tables("predictions", [str(base["predictions_file"])])
    cluster = table["cluster"].to_numpy()
    return np.eye(cluster.max() + 1, dtype=np.float32)[cluster]


def _points(place: Workplace, base: record.Row, dataset: Dataset) -> Array:
    """The points (n, d) that a run that fits at once has clustered."""
    if base["stage_id"] is None:
        return points.of(dataset)
    return place.features(str(base["stage_id"]))
