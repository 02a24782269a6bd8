"""Two surfaces at every pixel, and which of them is seen there: what makes the disparity of tiny follow an image's edges."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 48, 80, 112)
MAPS, RAMP, FINEST, PATH = 5, 3, 16, 56
_SKY_SCALE, _CLAMPED = 0.125, 8.0
# How far around a pixel, in pixels of the maps, the nearest and the farthest are the two surfaces of a ramp; how steep the choice is.
_REACH, STEEP = 4, 20.0
_LEAST = 1e-3
# In the mean absolute deviation of disparity: surfaces no farther apart are one, those this far apart are two.
_SAME, _APART = 0.15, 0.4


class Surfaces(NamedTuple):
    """Two surfaces (B, C, h, w), and the logit (B, 1, 2 h, 2 w) of the first being what is seen.

    Both are smooth: enlarged they stay so, and the edge between them is as sharp as the logit is steep, at any size.
    """

    first: Tensor
    second: Tensor
    logit: Tensor

    def seen(self, height: int, width: int, channels: slice = slice(None), steeper: float = 1.0) -> Tensor:
        """The maps (B, C, height, width) of what is seen."""
        size = (height, width)
        second = _sized(self.second[:, channels], size)
        share = _sized(self.logit, size).mul(steeper).sigmoid()
        return torch.addcmul(second, _sized(self.first[:, channels], size) - second, share)


class SharpHead(nn.Module):
    """A U-net over the image at twice the size of a network's maps, those maps, and the network's features.

    Untrained, the two surfaces are the nearest and the farthest around, and where a ramp's middle is, one follows the other: on slopes the
    pixel is half-way between both everywhere, so they stay as they are.

    Source:
        H. P. Kramer and J. B. Bruckner, "Iterations of a non-linear transformation for enhancement of digital images" (1975), for ramps.
        F. Tosi et al., "SMD-Nets: stereo mixture density networks" (2021): of two modes one is chosen, never their mean.
    """

    def __init__(self, more: int = 0, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.stem = _conv(12 + MAPS + RAMP, first)
        self.down = nn.ModuleList((_conv(first, second, 2), _conv(second, third, 2), _conv(third, fourth, 2)))
        self.finest = nn.Conv2d(FINEST, second, 1)
        self.path = nn.Conv2d(PATH, third, 1)
        self.encode = nn.ModuleList(_Residual(width) for width in (second, third, fourth))
        self.up = nn.ModuleList((nn.Conv2d(second, first, 1), nn.Conv2d(third, second, 1), nn.Conv2d(fourth, third, 1)))
        self.decode = nn.ModuleList((_conv(first, first), _Residual(second), _Residual(third)))
        self.last = nn.Conv2d(first, more + 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor, maps: Tensor, finest: Tensor, path: Tensor) -> Surfaces:
        """Of images (B, 3, 2 h, 2 w) in [0, 1], maps (B, 5, h, w), and features (B, 16, h / 2, w / 2) and (B, 56, h / 4, w / 4)."""
        near, far, place = ramps(maps[:, :1])
        output = self.outputs(images, maps, (near, far, place), finest, path)
        # Where both are nearly one there is no edge to follow, only texture: there the map stays.
        share = ((near - far - _SAME) / (_APART - _SAME)).clamp(0, 1)
        here = maps[:, :1]
        near, far = here.lerp(near, share), here.lerp(far, share)
        return Surfaces(near, far, STEEP * _twice(place) + F.pixel_shuffle(output, 2))

    def outputs(self, images: Tensor, maps: Tensor, ramp: tuple[Tensor, Tensor, Tensor], finest: Tensor, path: Tensor) -> Tensor:
        """What the last convolution gives."""
        near, far, place = ramp
        shown = torch.cat((maps[:, :4].clamp(-_CLAMPED, _CLAMPED), maps[:, 4:].clamp(-_CLAMPED, _CLAMPED) * _SKY_SCALE), 1)
        shown = torch.cat((shown, near - maps[:, :1], maps[:, :1] - far, place), 1)
        whole = torch.cat((F.pixel_unshuffle((images - 0.45) / 0.25, 2), shown), 1)
        levels = [self.stem(whole.contiguous(memory_format=torch.channels_last))]
        for down, encode, more in zip(self.down, self.encode, (self.finest(finest), self.path(path), None), strict=True):
            here = down(levels[-1])
            levels.append(encode(here if more is None else here + more))
        up = levels.pop()
        for index in (2, 1, 0):
            enlarged = _twice(self.up[index](up))
            up = self.decode[index](F.relu_(levels.pop().add(enlarged)))
        return self.last(up).contiguous().float()


def ramps(disparity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest and the farthest around each pixel, and where it is between them, from -1 (the farthest) to 1."""
    near, far = _smoothed(_largest(disparity)), -_smoothed(_largest(-disparity))
    return near, far, (2 * (disparity - far) / (near - far).clamp(min=_LEAST) - 1).clamp(-1, 1)


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(F.max_pool2d(x, (2 * _REACH + 1, 1), 1, (_REACH, 0)), (1, 2 * _REACH + 1), 1, (0, _REACH))


def _smoothed(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _twice(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def _sized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.second(self.first(x)).add(x))
