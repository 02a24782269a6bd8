"""LeReS: depth up to scale and shift from one image, by a ResNeXt and a decoder that adds its maps from the coarsest to the finest.

Written here, and not taken from timm, because timm needs torchvision: this network runs on torch alone. Parameter names are torchvision's.

Source:
    Xie et al., "Aggregated Residual Transformations for Deep Neural Networks" (2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import LeresConfig, ResnextConfig
from .published import PublishedNetwork, StateDict, rename

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


_NAMES = (
    (r"^(module\.)?depth_model\.", ""),
    (r"^encoder_modules\.encoder\.", "encoder."),
    (r"^decoder_modules\.conv\.", "decoder.coarsest."),
    (r"^decoder_modules\.conv1\.", "decoder.narrow."),
    (r"^decoder_modules\.ffm(\d)\.ftb1\.", r"decoder.lateral.\1."),
    (r"^decoder_modules\.ffm(\d)\.ftb2\.", r"decoder.fused.\1."),
    (r"^decoder_modules\.outconv\.adapt_conv\.", "decoder.head."),
    (r"\.conv_branch\.(\d)\.", r".branch.\1."),
)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class _Refine(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs)
        # The first place is the authors' ReLU, which works in place: what their shortcut carries has gone through it.
        layers = (nn.Identity(), _conv(outputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(), _conv(outputs, outputs))
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        return F.relu(x + self.branch(x))


class _Decoder(nn.Module):
    def __init__(self, config: LeresConfig) -> None:
        super().__init__()
        *inputs, coarsest = config.encoder.channels
        *features, widest = config.features
        outputs = [features[0], *features[:-1]]
        self.coarsest = _Refine(coarsest, widest)
        self.narrow = _conv(widest, features[-1])
        self.lateral = nn.ModuleList(_Refine(each, own) for each, own in zip(inputs, features, strict=True))
        self.fused = nn.ModuleList(_Refine(own, each) for own, each in zip(features, outputs, strict=True))
        half = features[0] // 2
        self.head = nn.Sequential(_conv(features[0], half), nn.BatchNorm2d(half), nn.ReLU(), _conv(half, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        path = _doubled(self.narrow(self.coarsest(maps[-1])))
        for level in reversed(range(len(self.lateral))):
            path = _doubled(self.fused[level](self.lateral[level](maps[level]) + path))
        return _doubled(self.head(path.float()))


class Leres(PublishedNetwork):
    """LeReS.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 32. Output (B, 1, H, W) float32: depth,
        large = far, unknown scale and shift, of either sign.
    """

    def __init__(self, config: LeresConfig) -> None:
        super().__init__()
        self.encoder = Resnext(config.encoder)
        self.decoder = _Decoder(config)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Brings the network to a dtype, but for the last layers, which stay in float32: half precision would show as steps."""
        state = {name: value.clone() for name, value in self.decoder.head.state_dict().items()}
        self.to(dtype)
        self.decoder.head.float()
        self.decoder.head.load_state_dict(state)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decoder(self.encoder(pixels))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        return {rename(key, _NAMES): value for key, value in state.items()}
