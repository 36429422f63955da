"""CDC after another clustering: what it takes from its base, and what a base has to have."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from deep_clustering.ablations._variants import applied
from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.algorithms.cdc_from import CDCFrom
from deep_clustering.methods.cdc import METHOD as CDC
from deep_clustering.methods.cdc_from import METHOD, CDCFromConfig
from deep_clustering.platform.request import configs
from support import trials
from support.trials import different

ALL = torch.arange(trials.COUNT)
_OF_CDC = ("pretrain.", "views")
_OWN = {k: v for k, v in configs.flatten(trials.CONFIG).items() if not k.startswith(_OF_CDC)}
CONFIG = CDCFromConfig(**_OWN, backbone="small")
#: Clusters of the base: the kinds of the images, and 1 for a dozen that it got wrong.
LABELS = (ALL % 3).where(ALL >= 12, torch.tensor(1))


@functools.cache
def base(clusters: int = 3) -> BaseOutputs:
    """A base with the encoder of a pretraining and sure predictions."""
    encoder = trials.trained(trials.moco(seed=None), 8)
    p = torch.full((trials.COUNT, clusters), 0.01).scatter(1, LABELS[:, None], 0.98)
    return BaseOutputs(
        index=ALL,
        probabilities=p / p.sum(1, keepdim=True),
        features=encoder.features(ALL),
        encoder=encoder.encoder_weights(),
    )


def model_of(outputs: BaseOutputs | None = None, **changes: Any) -> CDCFrom:
    def build(config: Any, **context: Any) -> CDCFrom:
        return CDCFrom(config, base=outputs or base(), **context)

    return trials.built(build, applied(CONFIG, changes))  # type: ignore[no-any-return]


def test_it_starts_from_the_encoder_of_the_base() -> None:
    model, given = model_of(), base()
    assert not different(dict(given.encoder), model.encoder_weights())
    assert torch.equal(model.features(ALL), given.features)


@pytest.mark.ray
@pytest.mark.parametrize("shift", [0, 1])
def test_prototypes_are_of_the_base_s_clusters(shift: int) -> None:
    """The numbers of the clusters are the base's, where k-means has numbers of its own."""
    given = base()
    moved = BaseOutputs(
        index=ALL,
        probabilities=given.probabilities.roll(shift, 1),
        features=given.features,
        encoder=given.encoder,
    )
    labels = (LABELS + shift) % 3
    model = model_of(moved)
    model.initialise()
    found = model.predict(ALL)["calibration"].argmax(1)
    assert float((found == labels).float().mean()) > 0.8
    anew = model_of(moved, start="features")
    anew.initialise()
    other = model_of(start="features")
    other.initialise()
    assert not different(anew.model_state(), other.model_state())


def test_a_cluster_that_the_base_left_empty_is_no_fault() -> None:
    model = model_of(base(clusters=4), clusters=4)
    assert model.initialise()["prototype_overlap"] <= 1
    losses = model.step(trials.batches(32, 1)[0])
    assert all(bool(value.isfinite()) for value in losses.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {}}, "base: it has trained no network"),
        ({"probabilities": torch.eye(2)[ALL % 2]}, "clusters: the base has 2 clusters, got 3"),
        ({"index": ALL + 5}, "says nothing about 5 of the 96 images"),
    ],
)
def test_bases_that_do_not_do(changes: dict[str, Tensor], message: str) -> None:
    given = base()
    parts = {
        "index": given.index,
        "probabilities": given.probabilities,
        "features": given.features,
        "encoder": given.encoder,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        model_of(BaseOutputs(**parts))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backbone: resnet18 is not the encoder of the base"):
        model_of(backbone="resnet18")


def test_presets_are_cdc_s_without_its_pretraining() -> None:
    assert METHOD.presets.keys() == CDC.presets.keys()
    for name, preset in METHOD.presets.items():
        made = configs.flatten(configs.build(METHOD.config, preset))
        of_cdc = configs.flatten(configs.build(CDC.config, CDC.presets[name]))
        assert all(made[k] == v for k, v in of_cdc.items() if not k.startswith(_OF_CDC))
        assert made["side"] == of_cdc["pretrain.side"]
    assert METHOD.presets["digits"]["backbone"] == "small"
    assert METHOD.presets["imagenet50"]["backbone"] == "resnet50"
