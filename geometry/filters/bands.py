"""Runs functions of maps in bands of rows, which stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

_BAND_PIXELS = 2**17


def by_bands(
    function: Callable[..., tuple[Tensor, ...]], radius: int, *maps: Tensor | None, outside: Sequence[float] | None = None
) -> tuple[Tensor, ...]:
    """Runs a function of maps; on a CPU in bands of rows that stay in its cache.

    The function takes maps (B, C, H, W) with `radius` more pixels on every side than it returns, of value `outside` beyond the border (None
    = zeros). The first map has the result's size; all have its height. None is passed through.
    """
    first = maps[0]
    assert first is not None
    height, width = first.shape[-2:]
    rows = height if first.device.type != "cpu" else max(2 * radius, _BAND_PIXELS // width, 1)
    whole: tuple[Tensor, ...] = ()
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        fills = outside or (0.0,) * len(maps)
        bands = (each if each is None else _band(each, top, bottom, radius, fill) for each, fill in zip(maps, fills, strict=True))
        outputs = function(*bands)
        if bottom - top == height:
            return outputs
        whole = whole or tuple(each.new_empty((*each.shape[:-2], height, width)) for each in outputs)
        for all_rows, part in zip(whole, outputs, strict=True):
            all_rows[..., top:bottom, :] = part
    return whole


def _band(values: Tensor, top: int, bottom: int, radius: int, fill: float) -> Tensor:
    """Rows `top` to `bottom` (exclusive), padded by `radius` pixels on every side."""
    first, end = max(0, top - radius), min(values.shape[-2], bottom + radius)
    rows = values[..., first:end, :]
    return F.pad(rows, (radius, radius, radius - (top - first), radius - (end - bottom)), value=fill) if radius else rows
