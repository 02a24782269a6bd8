"""EfficientNet-Lite3, the encoder of MiDaS v2.1 small: ReLU6, no squeeze-and-excite, TensorFlow's "same" padding.

Written here, and not taken from timm, because timm needs torchvision: this network runs on torch alone.

Source:
    Tan and Le, "EfficientNet" (2019), in its Lite variant.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STEM_CHANNELS = 32
# (repeats, kernel, stride, expansion, output channels) of each stage
STAGES = ((1, 3, 1, 1, 24), (3, 3, 2, 6, 32), (3, 5, 2, 6, 48), (5, 3, 2, 6, 96), (5, 5, 1, 6, 136), (6, 5, 2, 6, 232), (1, 3, 1, 6, 384))


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding: the output has ceil(size / stride) pixels, the odd pixel of padding goes last."""

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (input.shape[-1], input.shape[-2])]
        padded = F.pad(input, [side for total in missing for side in (total // 2, total - total // 2)])
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; with a shortcut where the shape stays. Without expansion: depthwise and pointwise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        if expansion > 1:
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
        self.expands = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = F.relu6(self.bn1(self.conv_pw(x)))
            y = F.relu6(self.bn2(self.conv_dw(y)))
            y = self.bn3(self.conv_pwl(y))
        else:
            y = F.relu6(self.bn1(self.conv_dw(x)))
            y = self.bn2(self.conv_pw(y))
        return x + y if self.shortcut else y


def encoder_stages() -> list[nn.Module]:
    """The stages of `STAGES`, without the stem before them."""
    stages, inputs = [], STEM_CHANNELS
    for repeats, kernel, stride, expansion, outputs in STAGES:
        first = _InvertedResidual(inputs, outputs, kernel, stride, expansion)
        others = [_InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(repeats - 1)]
        stages.append(nn.Sequential(first, *others))
        inputs = outputs
    return stages


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)
