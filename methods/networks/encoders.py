"""Encoders: images (n, 3, S, S) to non-negative features (n, D) after global average pooling.

ResNets: He et al., "Deep residual learning for image recognition", CVPR 2016; layers are named as
in torchvision, so that its weights load, and initialised as there.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from deep_clustering.methods._fields import Stem, StemWeights
from deep_clustering.methods._nearest import not_one_of
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks import compiled
from deep_clustering.methods.networks.batchnorm import BatchNorm

#: Up to this side (pixels) a ResNet takes the stem for small images: 3x3, stride 1, no pooling.
SMALL_SIDE = 40


class Encoder(nn.Module):
    """Images (n, 3, S, S) to features (n, dimension).

    Attributes:
        compiles: whether its passes in training mode are compiled, see `compiled`.
    """

    dimension: int
    compiles: bool = False


class Seen(Encoder):
    """Features (n, D) as they are: what stands in place of an encoder that has seen the images."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, x: Tensor) -> Tensor:
        return x


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, inside: int, width: int, stride: int, replicas: Replicas) -> None:
        super().__init__()
        self.conv1 = _conv(inside, width, 3, stride)
        self.bn1 = BatchNorm(width, replicas=replicas)
        self.conv2 = _conv(width, width, 3, 1)
        self.bn2 = BatchNorm(width, replicas=replicas)
        self.downsample = _shortcut(inside, width, stride, replicas)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu_()
        inner = self.bn2(self.conv2(inner))
        return (inner + self.downsample(x)).relu_()


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inside: int, width: int, stride: int, replicas: Replicas) -> None:
        super().__init__()
        outside = width * self.expansion
        self.conv1 = _conv(inside, width, 1, 1)
        self.bn1 = BatchNorm(width, replicas=replicas)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = BatchNorm(width, replicas=replicas)
        self.conv3 = _conv(width, outside, 1, 1)
        self.bn3 = BatchNorm(outside, replicas=replicas)
        self.downsample = _shortcut(inside, outside, stride, replicas)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu_()
        inner = self.bn2(self.conv2(inner)).relu_()
        inner = self.bn3(self.conv3(inner))
        return (inner + self.downsample(x)).relu_()


class _Stem(NamedTuple):
    kind: Stem
    padding: int  # of the 3x3 convolution, pixels
    weights: StemWeights


class _ResNet(Encoder):
    def __init__(
        self,
        block: type[_Basic] | type[_Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        side: int,
        replicas: Replicas,
        stem: _Stem,
    ) -> None:
        super().__init__()
        self.dimension = 512 * block.expansion
        kind = stem.kind
        if kind == "side":
            kind = "small" if side <= SMALL_SIDE else "large"
        self.conv1 = _conv(3, 64, 7, 2)
        self.bn1 = BatchNorm(64, replicas=replicas)
        pools = {"small": nn.Identity(), "pooled": nn.MaxPool2d(2, 2, 1)}
        self.pool = pools.get(kind, nn.MaxPool2d(3, 2, 1))
        inside = 64
        stages: list[nn.Module] = []
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(inside, 64 << stage, stride, replicas))
                inside = (64 << stage) * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _kaiming(module)
        if kind != "large":
            # Put in afterwards: as it comes it has PyTorch's own initialisation.
            self.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=stem.padding, bias=False)
            if stem.weights == "fan-out":
                _kaiming(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.bn1(self.conv1(x)).relu_())
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return wide(x).mean((2, 3))  # k-means runs on these: no bfloat16 means


class _Small(Encoder):
    """Three convolutions for images of about 8 x 8 pixels; 93,472 parameters."""

    dimension = 128

    def __init__(self, *, replicas: Replicas) -> None:
        super().__init__()
        self.conv1 = _conv(3, 32, 3, 1)
        self.bn1 = BatchNorm(32, replicas=replicas)
        self.conv2 = _conv(32, 64, 3, 2)
        self.bn2 = BatchNorm(64, replicas=replicas)
        self.conv3 = _conv(64, 128, 3, 2)
        self.bn3 = BatchNorm(128, replicas=replicas)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        x = self.bn3(self.conv3(x)).relu_()
        return wide(x).mean((2, 3))  # k-means runs on these: no bfloat16 means


def _kaiming(convolution: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


def _conv(inside: int, outside: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inside: int, outside: int, stride: int, replicas: Replicas) -> nn.Module:
    if stride == 1 and inside == outside:
        return nn.Identity()
    return nn.Sequential(_conv(inside, outside, 1, stride), BatchNorm(outside, replicas=replicas))


def _resnet(
    block: type[_Basic] | type[_Bottleneck], depths: tuple[int, int, int, int]
) -> Callable[[int, Replicas, _Stem], Encoder]:
    return lambda side, replicas, stem: _ResNet(
        block, depths, side=side, replicas=replicas, stem=stem
    )


ENCODERS: dict[str, Callable[[int, Replicas, _Stem], Encoder]] = {
    "resnet18": _resnet(_Basic, (2, 2, 2, 2)),
    "resnet34": _resnet(_Basic, (3, 4, 6, 3)),
    "resnet50": _resnet(_Bottleneck, (3, 4, 6, 3)),
    "small": lambda side, replicas, stem: _Small(replicas=replicas),
}


def encoder(
    name: str,
    *,
    side: int,
    replicas: Replicas,
    stem_padding: int = 1,
    stem: Stem = "side",
    stem_weights: StemWeights = "fan-in",
) -> Encoder:
    """An encoder with fresh weights (PyTorch's CPU generator), on the CPU.

    Args:
        name: a key of `ENCODERS`.
        side: of the images, in pixels; up to `SMALL_SIDE` a ResNet takes the stem for small images.
        replicas: whose batch statistics the normalisation layers use.
        stem_padding: of that small stem; the paper writes 2, its release uses 1.
        stem: of a ResNet; by default its side decides.
        stem_weights: how the small stem begins.

    Returns:
        (n, 3, S, S) -> (n, D), every entry >= 0.

    Raises:
        ValueError: no such encoder.
    """
    if name not in ENCODERS:
        raise ValueError(f"backbone: {not_one_of(name, ENCODERS)}")
    return ENCODERS[name](side, replicas, _Stem(stem, stem_padding, stem_weights))


class Described(Protocol):
    """What says which encoder: see the arguments of `encoder`."""

    @property
    def backbone(self) -> str: ...

    @property
    def stem(self) -> Stem: ...

    @property
    def stem_padding(self) -> int: ...


def described(config: Described) -> Callable[[int, Replicas], Encoder]:
    """How to build the encoder that a configuration describes, of a side, with fresh weights."""
    return lambda side, replicas: encoder(
        config.backbone,
        side=side,
        replicas=replicas,
        stem=config.stem,
        stem_padding=config.stem_padding,
    )


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or in its own dtype where that is wider: what losses are computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Moves a network to its device, convolutions in channels-last memory, the faster one there.

    On the CPU too: measured 15 % for training steps and 20 % for passes without gradient.
    """
    return network.to(device).to(memory_format=torch.channels_last)


def features_of(network: nn.Module, view: Tensor) -> Tensor:
    """Output of a network for a view (n, 3, S, S), handed over in the layout of `place`.

    A view of features (n, D) goes as it is.
    """
    if view.dim() == 4:
        view = view.contiguous(memory_format=torch.channels_last)
    compiles = isinstance(network, Encoder) and network.compiles and network.training
    return (compiled.COMPILED if compiles else compiled.plain)(network, view)


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """What to run a network in, see `Precision` and `ScaledPrecision`."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    low = precision == "bf16" or (precision in ("auto", "fp16") and device.type == "cuda")
    return lambda: torch.autocast(device.type, dtype, enabled=low)
