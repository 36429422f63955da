"""A learner with two networks is a case of the learner."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from deep_clustering.methods._fields import Precision
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning.clusterer import Clusterer
from deep_clustering.methods.learning.learner import Parts, adam, descend
from deep_clustering.methods.networks.encoders import encoder
from support import trials
from support.trials import different

ALL = torch.arange(trials.COUNT)


class Config(NamedTuple):
    epochs: int = 2
    batch_size: int = 16
    precision: Precision = "fp32"


class Pair(Clusterer):
    """Two encoders with a head each, trained to agree."""

    def __init__(self, config: Config, *, images: trials.Images, replicas: Replicas, seed: int):
        names = ("first", "second")
        super().__init__(
            config,
            dict.fromkeys(
                names, lambda side, replicas: encoder("small", side=side, replicas=replicas)
            ),
            side=None,
            std=None,
            images=images,
            replicas=replicas,
            seed=seed,
        )
        heads = {f"{name} head": name for name in names}
        self._make_heads(tuple(heads), lambda _: nn.Linear(self._encoder.dimension, 3), on=heads)
        self._optimiser = adam(
            ([p for n in self._networks().values() for p in n.parameters()], 1e-3), weight_decay=0.0
        )

    def initialise(self) -> dict[str, float]:
        return {}

    def step(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        view = self.clean(self._images.take(self._mine(indices)))
        first, second = (
            head(self._encoded(view, self._on[name])).softmax(1)
            for name, head in self._heads.items()
        )
        loss = (first - second).square().sum() / self.batch_size
        descend(loss, self._optimiser, self._replicas)
        self._steps += 1
        return {"loss": self._replicas.total(loss)}

    def _parts(self) -> Parts:
        return self._networks(), {"optimiser": self._optimiser}, {}


def pair(seed: int = 0) -> Pair:
    return Pair(Config(), images=trials.images(), replicas=Replicas.alone(), seed=seed)


def test_networks_have_weights_of_their_own_under_their_own_names() -> None:
    state = pair().model_state()
    assert {name.split(".")[0] for name in state} == {
        "first",
        "second",
        "first head",
        "second head",
    }
    assert not torch.equal(state["first.conv1.weight"], state["second.conv1.weight"])
    again = pair().model_state()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_each_head_takes_the_features_of_its_encoder() -> None:
    model = pair()
    before = model.predict(ALL)
    features = model.features(ALL)
    with torch.no_grad():
        model._encoders["second"].get_parameter("conv1.weight").zero_()
    after = model.predict(ALL)
    assert torch.equal(before["first head"], after["first head"])
    assert not torch.equal(before["second head"], after["second head"])
    assert torch.equal(features, model.features(ALL))


def test_both_networks_learn_and_go_on_from_a_state() -> None:
    whole, halves, later = pair(), pair(), pair(seed=1)
    batches = trials.batches(16, 4)
    for indices in batches:
        whole.step(indices)
    for indices in batches[:2]:
        halves.step(indices)
    later.load_state(halves.state())
    for indices in batches[2:]:
        later.step(indices)
    assert not different(whole.state(), later.state())
    fresh = pair().state()
    for prefix in ("first.", "second.", "first head.", "second head."):
        assert different(fresh, whole.state(), prefix)


def test_a_pair_is_restored_for_prediction() -> None:
    model = trials.trained(pair())
    twin = Pair.restore(
        Config(), model.model_state(), images=trials.images(), replicas=Replicas.alone()
    )
    expected = model.predict(ALL)
    assert list(expected) == ["first head", "second head"]
    for name, p in twin.predict(ALL).items():
        assert torch.equal(p, expected[name])


def test_a_pair_without_one_of_its_networks_is_refused() -> None:
    state = {k: v for k, v in pair().model_state().items() if not k.startswith("second.")}
    with pytest.raises(ValueError, match="missing"):
        Pair.restore(Config(), state, images=trials.images(), replicas=Replicas.alone())
