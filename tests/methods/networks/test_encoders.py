"""Encoders: shapes, stems, names and numbers of torchvision."""

import pytest
import torch
import torchvision

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.encoders import ENCODERS, encoder

ALONE = Replicas.alone()


@pytest.mark.parametrize(
    ("name", "side", "stem", "parameters"),
    [
        ("resnet34", 32, (3, 1, 1), 21_276_992),  # recipe of CDC, 1.2
        ("resnet34", 96, (7, 2, 3), 21_284_672),
        ("resnet34", 41, (7, 2, 3), 21_284_672),
        ("resnet18", 40, (3, 1, 1), 11_168_832),
        ("resnet50", 64, (7, 2, 3), 23_508_032),
    ],
)
def test_resnets_have_the_stem_and_size_of_their_images(
    name: str, side: int, stem: tuple[int, int, int], parameters: int
) -> None:
    network = encoder(name, side=side, replicas=ALONE)
    assert sum(p.numel() for p in network.parameters()) == parameters
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    assert (first.kernel_size[0], first.stride[0], first.padding[0]) == stem


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_features_are_pooled_and_not_negative(name: str) -> None:
    network = encoder(name, side=8, replicas=ALONE)
    features = network(torch.randn(4, 3, 8, 8))
    assert features.shape == (4, network.dimension)
    assert float(features.detach().amin()) >= 0


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_weights_of_torchvision_load_and_give_its_features(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)()
    theirs.fc = torch.nn.Identity()
    own = encoder(name, side=64, replicas=ALONE)
    own.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(own(x), theirs(x))
    own.eval(), theirs.eval()
    torch.testing.assert_close(own(x), theirs(x))


def test_fresh_weights_follow_the_rules_of_torchvision() -> None:
    torch.manual_seed(0)
    network = encoder("resnet18", side=32, replicas=ALONE)
    second = network.state_dict()["layer2.0.conv1.weight"]  # 64 -> 128, 3x3, fan out
    assert float(second.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    stem = network.state_dict()["conv1.weight"]  # PyTorch's default: uniform to 1 / sqrt(27)
    assert float(stem.abs().amax()) == pytest.approx(27**-0.5, rel=0.01)
    assert float(stem.abs().amax()) <= 27**-0.5


def test_stem_padding_widens_the_maps() -> None:
    x = torch.randn(2, 3, 32, 32)
    sizes = []
    for padding in (1, 2):
        network = encoder("resnet18", side=32, replicas=ALONE, stem_padding=padding)
        stem = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        sizes.append(stem(x).shape[-1])
    assert sizes == [32, 34]


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"backbone: must be one of .*resnet34.*; got 'resnet35'. Did you mean"
    ):
        encoder("resnet35", side=32, replicas=ALONE)
