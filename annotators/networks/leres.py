"""LeReS: affine-invariant depth by a ResNeXt and a coarse-to-fine decoder; and the U-Net that merges two of its maps.

Not taken from timm, which needs torchvision. Parameter names are torchvision's.

Source:
    Xie et al., "Aggregated Residual Transformations for Deep Neural Networks" (2017).
    Miangoleh et al., "Boosting Monocular Depth Estimation Models to High-Resolution via Content-Adaptive Multi-Resolution Merging" (2021),
    section 4; the network is Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import LeresConfig, MergeConfig, ResnextConfig
from .layers import conv3x3, enlarged
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


class _Refine(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs)
        # The first entry stands for the authors' in-place ReLU, which affects their shortcut, too.
        layers = (nn.Identity(), conv3x3(outputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(), conv3x3(outputs, outputs))
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
        self.narrow = conv3x3(widest, features[-1])
        self.lateral = nn.ModuleList(_Refine(each, own) for each, own in zip(inputs, features, strict=True))
        self.fused = nn.ModuleList(_Refine(own, each) for own, each in zip(features, outputs, strict=True))
        half = features[0] // 2
        self.head = nn.Sequential(conv3x3(features[0], half), nn.BatchNorm2d(half), nn.ReLU(), conv3x3(half, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        path = enlarged(self.narrow(self.coarsest(maps[-1])))
        for level in reversed(range(len(self.lateral))):
            path = enlarged(self.fused[level](self.lateral[level](maps[level]) + path))
        return enlarged(self.head(path.float()))


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

    def exact_modules(self) -> Iterable[nn.Module]:
        """See `PublishedNetwork.exact_modules`: the last layers, norm included."""
        return (self.decoder.head,)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decoder(self.encoder(pixels))

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        return {rename(key, _NAMES): value for key, value in state.items()}


class MergeNetwork(nn.Module):
    """The U-Net that merges two maps.

    Convention:
        Input (B, 2, S, S): the globally consistent map, then the detailed one, each in [-1, 1]; S a multiple of 2 to the power of the
        levels. Output (B, 1, S, S) in [-1, 1].
    """

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        channels = [config.width * min(2**level, 8) for level in range(config.levels)]
        outer = [1, *channels[:-1]]
        inputs = [2, *channels[:-1]]
        joined = [2 * each for each in channels[:-1]] + channels[-1:]
        self.down = nn.ModuleList(nn.Conv2d(each, own, 4, 2, 1, bias=False) for each, own in zip(inputs, channels, strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(each, own, 4, 2, 1, bias=level == 0) for level, (each, own) in enumerate(zip(joined, outer, strict=True))
        )

    def forward(self, maps: Tensor) -> Tensor:
        *down, innermost = self.down
        skips: list[Tensor] = []
        x = maps
        for conv in down:
            x = F.leaky_relu(conv(x), 0.2)
            skips.append(x)
        x = innermost(x)
        for conv in reversed(self.up):
            x = conv(F.relu(x))
            if skips:
                x = torch.cat((skips.pop(), x), 1)
        return x.tanh()

    @staticmethod
    def official_names(state: StateDict, config: MergeConfig) -> dict[str, Tensor]:
        """A published state dict, whose levels are nested, under this network's names."""
        names, prefix = {}, "model.model."
        for level in range(config.levels):
            outermost, innermost = level == 0, level == config.levels - 1
            down, inside, up = (0, 1, 3) if outermost else (1, 3, 3 if innermost else 5)
            names[f"{prefix}{down}."] = f"down.{level}."
            names[f"{prefix}{up}."] = f"up.{level}."
            prefix += f"{inside}.model."
        return {_renamed(key, names): value for key, value in state.items()}


def _renamed(key: str, names: dict[str, str]) -> str:
    start, dot, end = key.rpartition(".")
    return names[start + dot] + end if start + dot in names else key
