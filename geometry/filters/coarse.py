"""Downsampling to one value per square of pixels, and aligned upsampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map


def shrunk(maps: Tensor, pitch: int) -> Tensor:
    """Means over squares of `pitch` pixels of maps (B, C, H, W); the border may cut the last row and column of squares."""
    rows, columns = maps.shape[-2] // pitch, maps.shape[-1] // pitch
    if maps.shape[-2:] == (rows * pitch, columns * pitch):
        return resize_map(maps, rows, columns)
    return F.avg_pool2d(maps, pitch, ceil_mode=True, count_include_pad=False)


def middles_of(values: Tensor, pitch: int | tuple[int, int]) -> Tensor:
    """The middle pixels of squares of `pitch` pixels (or rows, columns) of maps (B, C, H, W), which may be empty."""
    rows, columns = (pitch, pitch) if isinstance(pitch, int) else pitch
    row, column = (max(0, min(each // 2, length - 1)) for each, length in zip((rows, columns), values.shape[-2:], strict=True))
    return values[..., row::rows, column::columns]


def enlarged(small: Tensor, pitch: int, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Upsamples maps of `shrunk` or `middles_of` to the image's size (height, width), aligned with their squares of `pitch` pixels.

    `mode` is "bilinear" or "nearest". Plain resizing would shift values by up to `pitch` - 1 pixels if the squares do not fill the image
    exactly.
    """
    if pitch == 1:
        return small
    (height, width), (rows, columns) = size, small.shape[-2:]
    bilinear = mode == "bilinear"
    large = resize_map(small, rows * pitch, columns * pitch) if bilinear else F.interpolate(small, scale_factor=pitch, mode=mode)
    large = large[..., :height, :width]
    right, below = width - large.shape[-1], height - large.shape[-2]
    return F.pad(large, (0, right, 0, below), mode="replicate") if right or below else large
