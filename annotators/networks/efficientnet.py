"""EfficientNet with TensorFlow's "same" padding: Lite3, the encoder of MiDaS v2.1 small, and B5, that of BAE and DSINE.

Not taken from timm, which needs torchvision.

Source:
    Tan and Le, "EfficientNet" (2019), and its Lite variant. Parameter names are those of timm and of what it came from, geffnet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import is_traced
from .published import StateDict


class Variant(NamedTuple):
    """A variant of EfficientNet."""

    stem: int  # channels of the first convolution
    stages: tuple[tuple[int, int, int, int, int], ...]  # (repeats, kernel, stride, expansion, output channels) of each stage
    activation: Callable[[Tensor], Tensor]  # of every block, except at its end
    squeezes: bool  # whether blocks use squeeze-and-excitation


LITE3 = Variant(
    stem=32,
    stages=(
        (1, 3, 1, 1, 24),
        (3, 3, 2, 6, 32),
        (3, 5, 2, 6, 48),
        (5, 3, 2, 6, 96),
        (5, 5, 1, 6, 136),
        (6, 5, 2, 6, 232),
        (1, 3, 1, 6, 384),
    ),
    activation=F.relu6,
    squeezes=False,
)
B5 = Variant(
    stem=48,
    stages=(
        (3, 3, 1, 1, 24),
        (5, 3, 2, 6, 40),
        (5, 5, 2, 6, 64),
        (7, 3, 2, 6, 128),
        (7, 5, 1, 6, 176),
        (9, 5, 2, 6, 304),
        (3, 3, 1, 6, 512),
    ),
    activation=partial(F.silu, inplace=True),
    squeezes=True,
)
B5_CHANNELS = (24, 40, 64, 176, 2048)
"""Channels of the outputs of `EfficientNetB5`, finest first."""
_B5_TAPS = (0, 1, 2, 4)
_B5_UNUSED = ("bn2.", "global_pool.", "classifier.")


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding: the output has ceil(size / stride) pixels, an odd pixel of padding goes last."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if is_traced():  # network inputs are multiples of the total stride, which exporters are slow to derive
            missing = [kernel - stride] * 2
        else:
            missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (input.shape[-1], input.shape[-2])]
        padded = F.pad(input, [side for total in missing for side in (total // 2, total - total // 2)])
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: gates each channel by the means of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * self.conv_expand(F.silu(self.conv_reduce(means))).sigmoid()


class _InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; with a shortcut if the shape stays. Without expansion: depthwise and pointwise."""

    def __init__(self, variant: Variant, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.activation = variant.activation
        self.shortcut = stride == 1 and inputs == outputs
        depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        if expansion > 1:  # in the authors' order: recorded numbers hold for random weights drawn in it
            self.conv_pw = nn.Conv2d(inputs, inner, 1, bias=False)
            self.bn1 = batch_norm(inner)
            self.conv_dw = depthwise
            self.bn2 = batch_norm(inner)
            self.conv_pwl = nn.Conv2d(inner, outputs, 1, bias=False)
            self.bn3 = batch_norm(outputs)
        else:
            self.conv_dw = depthwise
            self.bn1 = batch_norm(inner)
            self.conv_pw = nn.Conv2d(inner, outputs, 1, bias=False)
            self.bn2 = batch_norm(outputs)
        self.se = _SqueezeExcite(inner, inputs // 4) if variant.squeezes else nn.Identity()
        self.expands = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = self.activation(self.bn1(self.conv_pw(x)))
            y = self.activation(self.bn2(self.conv_dw(y)))
            y = self.bn3(self.conv_pwl(self.se(y)))
        else:
            y = self.activation(self.bn1(self.conv_dw(x)))
            y = self.bn2(self.conv_pw(self.se(y)))
        return x + y if self.shortcut else y


class EfficientNetB5(nn.Module):
    """EfficientNet-B5 without its classifier.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, of any size. Output: five maps, at 1/2, 1/4, 1/8, 1/16 and 1/32
        (rounded up), with `B5_CHANNELS`: from stages 0, 1, 2 and 4, and from the last convolution without norm and activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, B5.stem, 3, 2, bias=False)
        self.bn1 = batch_norm(B5.stem)
        self.blocks = nn.Sequential(*encoder_stages(B5))
        self.conv_head = nn.Conv2d(B5.stages[-1][-1], B5_CHANNELS[-1], 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x = B5.activation(self.bn1(self.conv_stem(x)))
        taps = {}
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in _B5_TAPS:
                taps[number] = x
        finest, fine, middle, coarse = taps.values()
        return finest, fine, middle, coarse, self.conv_head(x)

    @staticmethod
    def without_unused(state: StateDict, prefix: str = "") -> dict[str, Tensor]:
        """Drops the last convolution's norm and the classifier from the state dict of a network that names this one's with a prefix."""
        unused = tuple(prefix + name for name in _B5_UNUSED)
        return {key: value for key, value in state.items() if not key.startswith(unused)}


class Upsampling(nn.Module):
    """A level of BAE's and DSINE's decoders: joins a map, enlarged, with a finer one. `norm` makes a layer for a number of channels."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module], align_corners: bool = False) -> None:
        super().__init__()
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), norm(outputs), nn.LeakyReLU(inplace=True)]
        self._net = nn.Sequential(*layers)
        self._align_corners = align_corners

    def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
        enlarged = F.interpolate(coarse, size=finer.shape[-2:], mode="bilinear", align_corners=self._align_corners)
        return self._net(torch.cat((enlarged, finer), 1))


def encoder_stages(variant: Variant) -> list[nn.Module]:
    """The stages of an EfficientNet, without the stem."""
    stages, inputs = [], variant.stem
    for repeats, kernel, stride, expansion, outputs in variant.stages:
        first = _InvertedResidual(variant, inputs, outputs, kernel, stride, expansion)
        others = [_InvertedResidual(variant, outputs, outputs, kernel, 1, expansion) for _ in range(repeats - 1)]
        stages.append(nn.Sequential(first, *others))
        inputs = outputs
    return stages


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)
