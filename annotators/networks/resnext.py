"""ResNeXt, the encoder of LeReS: residual blocks whose middle convolution is divided in groups.

Written here, and not taken from timm, because timm needs torchvision: this network runs on torch alone. Parameter names are torchvision's.

Source:
    Xie et al., "Aggregated Residual Transformations for Deep Neural Networks" (2017).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .configs import ResnextConfig

STAGES = 4


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class Resnext(nn.Module):
    """The encoder, without its classifier."""

    def __init__(self, config: ResnextConfig) -> None:
        super().__init__()
        inputs = config.stem
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for stage, (blocks, outputs) in enumerate(zip(config.blocks, config.channels, strict=True)):
            width = config.groups * config.group_width << stage
            strides = [1 if stage == 0 else 2] + [1] * (blocks - 1)
            ends = [inputs] + [outputs] * (blocks - 1)
            layers = (_Bottleneck(each, width, outputs, stride, config.groups) for each, stride in zip(ends, strides, strict=True))
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at 1/4, 1/8, 1/16 and 1/32 of normalised images (B, 3, H, W)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for stage in range(STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return maps
