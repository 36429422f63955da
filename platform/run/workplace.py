"""What a lane keeps from job to job, and what it opens for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deep_clustering.methods._method import (
    Base,
    BaseOutputs,
    Config,
    Method,
    Need,
    Neighbours,
    OnFeatures,
    Pretrain,
)
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.stacks import Stacks
from deep_clustering.platform import registry
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import Dataset, ImageSet
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation import tensors
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.reference import Reference
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import FEATURES, Job
from deep_clustering.platform.run import points
from deep_clustering.platform.run.checkpoints import LONGEST_PAUSE
from deep_clustering.platform.store.store import Store

#: What a method's `build` is given under the name of a need.
Given = Mapping[str, Tensor] | Tensor | BaseOutputs


class Samples:
    """The datasets of jobs. One is kept at a time: the device has little room."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._datasets: dict[str, Dataset] = {}
        self._images: dict[str, Images] = {}

    def dataset(self, job: Job) -> Dataset:
        """The prepared dataset of a job.

        Raises:
            InputError: it is not the one that the job was planned with.
        """
        key = f"{job.dataset} {job.protocol}"
        if key not in self._datasets:
            dataset = datasets.open(job.source)
            if dataset.fingerprint != job.dataset:
                raise InputError(
                    f"the images of {dataset.name} changed after the command started; "
                    "give the same command again."
                )
            self._datasets, self._images = {key: dataset}, {}
        return self._datasets[key]

    def images(self, job: Job) -> tuple[ImageSet, Images]:
        """The prepared dataset of a job and its images on the device."""
        dataset = self.dataset(job)
        assert isinstance(dataset, ImageSet)
        key = f"{job.dataset} {job.protocol}"
        if key not in self._images:
            self._images[key] = Images(
                dataset.images,
                mean=dataset.mean,
                std=dataset.std,
                device=self._device,
                sizes=dataset.sizes,
            )
        return dataset, self._images[key]


@dataclass
class Workplace:
    """A lane's process: only things that no job changes.

    Attributes:
        provenance: columns that every row of this command carries.
        longest_pause: seconds between two checkpoints of a training, at most, see `checkpoints`.
        evaluate_every: epochs of a training between two evaluations.
    """

    store: Store
    device: torch.device
    replicas: Replicas
    provenance: Mapping[str, str | bool | None]
    longest_pause: float = LONGEST_PAUSE
    evaluate_every: int = 1
    _references: dict[str, Reference] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._samples = Samples(self.device)

    def dataset(self, job: Job) -> Dataset:
        """See `Samples`."""
        return self._samples.dataset(job)

    def images(self, job: Job) -> tuple[ImageSet, Images]:
        """See `Samples`."""
        return self._samples.images(job)

    def given(self, job: Job, method: Method) -> dict[str, Given]:
        """What a run is given for each need of its method, by the name of the need."""
        return {
            need.name: self._given(need, job.needs[need.name])
            for need in method.needs
            if need.name in job.needs  # a frozen encoder leaves a pretraining out
        }

    def stacks(self, job: Job, on_features: OnFeatures) -> Stacks:
        """The features of a run's images and of the views of them that it trains with."""
        dataset = self._samples.dataset(job)
        assert isinstance(dataset, ImageSet)
        config: Config = configs.build(registry.method(job.method).config, job.config)
        names = (view.name for view in on_features.views(config, dataset.view))
        stages = (job.needs[FEATURES], *(job.needs[name] for name in names))
        return Stacks(
            [self._artefact(stage, "features")["features"] for stage in stages],
            index=torch.from_numpy(dataset.score),
            count=len(dataset.images),
            device=self.device,
        )

    def _given(self, need: Need, id: str) -> Given:
        if isinstance(need, Pretrain):
            return self.encoder(id)
        if isinstance(need, Neighbours):
            return self._artefact(id, "neighbours")["neighbours"].long()
        assert isinstance(need, Base)
        return BaseOutputs(**self._artefact(id, "outputs"), encoder=self._artefact(id, "encoder"))

    def encoder(self, stage: str) -> dict[str, Tensor]:
        """The weights of a finished pretraining."""
        return self._artefact(stage, "encoder")

    def reference(self, stage: str) -> Reference:
        """The shared features of a stage, in which partitions are compared without labels."""
        if stage not in self._references:
            shared = self._artefact(stage, "features")
            reference = Reference(
                shared["features"].float().numpy(), shared["neighbours"].long().numpy()
            )
            self._references = {stage: reference}
        return self._references[stage]

    def compared(self, job: Job, dataset: Dataset) -> Reference | None:
        """In which the partitions of a run are compared without labels.

        The features of its stage; of a run on another one those of the pretraining under that, or
        the other's own where there is none. None where it stands on neither.
        """
        base = registry.method(job.method).base
        if job.stage is not None or base is None:
            return None if job.stage is None else self.reference(job.stage)
        outputs = job.needs[base.name]
        if outputs not in self._references:
            known = self._artefact(outputs, "outputs")
            rows = torch.searchsorted(known["index"], torch.from_numpy(dataset.score))
            x = known.get("pretext", known["features"])[rows].half().float()
            self._references = {outputs: points.reference(x.numpy())}
        return self._references[outputs]

    def features(self, stage: str) -> Array:
        """The features (n, d) float32 of the scored images by a finished pretraining."""
        found: Array = self._artefact(stage, "features")["features"].float().numpy()
        return found

    def _artefact(self, stage: str, name: str) -> dict[str, Tensor]:
        return tensors.loaded(self.store.stage_artefact(stage, name))
