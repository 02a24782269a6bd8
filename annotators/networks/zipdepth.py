"""ZipDepth: a convolutional encoder with re-parameterised blocks, a light decoder, and learned upsampling.

Module names are the authors'; `annotators/zipdepth.py` names the source.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .configs import ZipDepthConfig
from .folding import fold_norms
from .layers import ExactConv2d
from .published import PublishedNetwork, StateDict, rename

_WRAPPERS = ((r"^((module|_orig_mod)\.)+", ""),)
"""Prefixes that DataParallel and torch.compile add to parameter names."""
_NORMALISATION = ("mean", "std")
"""ImageNet's statistics, which the pack applies before the network."""
_CROSSING = 0.3
_GROUPS = 4
_NEIGHBOURS = 9


class _Branches(nn.Module):
    """Parallel 3x3 and 1x1 convolutions, and an identity if shapes allow; `fused` makes one 3x3 convolution of them."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.branch_3x3 = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))
        self.branch_1x1 = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = (inputs, stride) == (outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branch_3x3(x) + self.branch_1x1(x)
        return F.relu(total + x if self.shortcut else total)

    def fused(self) -> nn.Module:
        conv, point = (fuse_conv_bn_eval(*branch) for branch in (self.branch_3x3, self.branch_1x1))  # pyright: ignore[reportArgumentType]
        conv.weight[..., 1:2, 1:2] += point.weight
        conv.bias += point.bias
        if self.shortcut:
            conv.weight += nn.init.dirac_(torch.empty_like(conv.weight))
        return nn.Sequential(conv, nn.ReLU(inplace=True))


class _TwoDilations(nn.Module):
    """The sum of depthwise 3x3 convolutions with dilation 1 and 2; `fused` makes one 5x5 convolution of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.branch2 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(self.branch1(x) + self.branch2(x))

    def fused(self) -> nn.Module:
        channels = self.branch1.in_channels
        conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False, dtype=torch.float32)
        nn.init.zeros_(conv.requires_grad_(False).train(False).weight)
        conv.weight[..., 1:4, 1:4] += self.branch1.weight
        conv.weight[..., ::2, ::2] += self.branch2.weight
        conv = fuse_conv_bn_eval(conv, self.bn)
        conv.weight[..., 2, 2] += 1
        return conv


class _StripGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        scale = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        self.gate_conv = nn.Sequential(scale, nn.BatchNorm2d(channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate_conv(x.mean(3, keepdim=True) + x.mean(2, keepdim=True))


class _ChannelGate(nn.Module):
    """Squeeze-and-excitation: gates each channel by the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 8, 4)
        down, up = nn.Conv2d(channels, hidden, 1, bias=False), nn.Conv2d(hidden, channels, 1, bias=False)
        self.fc = nn.Sequential(down, nn.ReLU(inplace=True), up, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True))


class _Context(nn.Module):
    """Global context: adds a transformed, weighted mean over all pixels to each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 8)
        self.context_weight = nn.Conv2d(channels, 1, 1)
        down, up = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        self.transform = nn.Sequential(down, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), up)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.context_weight(x).flatten(2).softmax(2)
        mean = x.flatten(2) @ weights.transpose(1, 2)
        return x + self.transform(mean[..., None])


class _Pyramid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = _conv(channels, channels // 4, 1)
        self.cv2 = _conv(channels // 4 * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
        return self.cv2(torch.cat(maps, 1))


class _Crossing(nn.Module):
    """Exchanges information between two sizes of maps."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.low_to_high = _pointwise(coarse, fine)
        self.high_to_low = _pointwise(fine, coarse)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        enlarged = F.interpolate(self.low_to_high(coarse), scale_factor=2, mode="nearest")
        # Pools before the convolution, unlike the authors: for 1x1 convolutions the result is the same.
        return fine + _CROSSING * enlarged, coarse + _CROSSING * self.high_to_low(F.avg_pool2d(fine, 2))


class _Encoder(nn.Module):
    def __init__(self, config: ZipDepthConfig) -> None:
        super().__init__()
        first, second, third, last = config.channels
        gates = ((), (_TwoDilations(second), _StripGate(second)), (_ChannelGate(third), _Context(third)), ())
        stages = [
            nn.Sequential(*(_Branches(width, width) for _ in range(blocks)), *gate)
            for width, blocks, gate in zip(config.channels, config.blocks, gates, strict=True)
        ]
        self.stem_half = _conv(3, first // 2, 3, 2)
        self.stem_quarter = _conv(first // 2, first, 3, 2)
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.down2, self.down3, self.down4 = _Branches(first, second, 2), _Branches(second, third, 2), _Branches(third, last, 2)
        self.spp = _Pyramid(last)
        self.cross_scale = _Crossing(third, last)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        half = self.stem_half(pixels)
        quarter = self.stage1(self.stem_quarter(half))
        eighth = self.stage2(self.down2(quarter))
        sixteenth = self.stage3(self.down3(eighth))
        coarsest = self.spp(self.stage4(self.down4(sixteenth)))
        return half, quarter, eighth, *self.cross_scale(sixteenth, coarsest)


class _Fusion(nn.Module):
    def __init__(self, fine: int, coarse: int, outputs: int) -> None:
        super().__init__()
        self.proj_high = _pointwise(fine, outputs)
        self.proj_low = _pointwise(coarse, outputs)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        # Enlarges after the convolution, unlike the authors: for 1x1 convolutions the result is the same, over fewer pixels.
        return F.relu(self.bn(self.proj_high(fine) + _twice(self.proj_low(coarse))))

    def fused(self) -> nn.Module:
        norm = self.bn
        assert isinstance(norm, nn.BatchNorm2d)
        self.proj_high, self.proj_low = (fuse_conv_bn_eval(_ungrouped(conv), norm) for conv in (self.proj_high, self.proj_low))
        self.proj_low.bias = None  # the other convolution has the bias
        self.bn = nn.Identity()
        return self


class _Upsampling(nn.Module):
    """Upsamples disparity to twice the size, guided by the features, in float32; `ZipDepthConfig.convex` selects one of two methods."""

    def __init__(self, features: int, convex: bool) -> None:
        super().__init__()
        self.convex = convex
        if convex:
            hidden = max(features // 4, 8)
            self.mask_pred = nn.Sequential(*_conv(features, hidden), nn.Conv2d(hidden, 4 * _NEIGHBOURS, 1))
        else:
            hidden = max(features // 2, 8)
            around = nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden, bias=False)
            layers = (around, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), nn.Conv2d(hidden, 1, 1, bias=False))
            self.where_conv = nn.Sequential(*_conv(features, hidden, 1), *layers)

    def forward(self, features: Tensor, disparity: Tensor) -> Tensor:
        if self.convex:
            weights = self.mask_pred(features).float().unflatten(1, (_NEIGHBOURS, 4)).softmax(1)
            height, width = disparity.shape[-2:]
            padded = F.pad(disparity, (1, 1, 1, 1), mode="replicate")
            neighbours = [padded[..., row : row + height, column : column + width] for row in range(3) for column in range(3)]
            return F.pixel_shuffle((weights * torch.stack(neighbours, 1)).sum(1), 2)
        nearest = F.interpolate(disparity, scale_factor=2, mode="nearest")
        return torch.lerp(_twice(disparity), nearest, _twice(self.where_conv(features).float()).sigmoid())


class _Decoder(nn.Module):
    def __init__(self, config: ZipDepthConfig) -> None:
        super().__init__()
        first, second, third, last = config.channels
        fine, middle, coarse, coarsest = (int(config.decoder * times) for times in (1, 1.5, 2, 3))
        self.proj4 = _conv(last, coarsest, 1)
        self.fuse3 = _Fusion(third, coarsest, coarse)
        self.fuse2 = _Fusion(second, coarse, middle)
        self.fuse1 = _Fusion(first, middle, fine)
        self.fuse_half = _Fusion(first // 2, fine, config.half)
        self.head_half = ExactConv2d(config.half, 1, 3, padding=1)
        self.convex_up = _Upsampling(config.half, config.convex)

    def forward(self, half: Tensor, quarter: Tensor, eighth: Tensor, sixteenth: Tensor, coarsest: Tensor) -> Tensor:
        path = self.fuse3(sixteenth, self.proj4(coarsest))
        path = self.fuse_half(half, self.fuse1(quarter, self.fuse2(eighth, path)))
        return F.relu(self.convex_up(path, self.head_half(path)))


class ZipDepth(PublishedNetwork):
    """ZipDepth, with the encoder that its authors call balanced.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of 32. Output (B, 1, H, W) float32: disparity,
        large = near, unknown scale and shift, never negative.
    """

    def __init__(self, config: ZipDepthConfig) -> None:
        super().__init__()
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decoder(*self.encoder(pixels))

    @torch.no_grad()
    def fuse(self) -> None:
        """Fuses each block's branches, and each convolution with its normalisation, in place.

        For a trained network in float32 and eval mode. The function stays the same; checkpoints no longer fit.
        """
        for parent in [*self.modules()]:
            for name, child in [*parent.named_children()]:
                if isinstance(child, _Branches | _TwoDilations | _Fusion):
                    setattr(parent, name, child.fused())
        fold_norms(self)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it

    @staticmethod
    def official_names(state: StateDict) -> dict[str, Tensor]:
        names = {rename(key, _WRAPPERS): value for key, value in state.items()}
        return {name: value for name, value in names.items() if name not in _NORMALISATION}


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), act=nn.ReLU(inplace=True)))


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution with the largest number of groups, of 4, 2 and 1, that divides both channel counts."""
    groups = next(each for each in (_GROUPS, 2, 1) if inputs % each == outputs % each == 0)
    return nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False)


def _ungrouped(conv: nn.Conv2d) -> nn.Conv2d:
    """The same 1x1 convolution in one group: more weights, most of them 0, but a fraction of the time on CPUs."""
    whole = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False, device="meta").requires_grad_(False).train(False)
    blocks = torch.block_diag(*conv.weight.flatten(1).chunk(conv.groups))
    whole.weight = nn.Parameter(blocks[..., None, None], requires_grad=False)
    return whole


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
