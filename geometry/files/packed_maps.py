"""Packs depth and normals into an 8-bit RGB image, which `web/maps.mjs` reads back as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...utils import resize_map
from ..camera import resize_intrinsics
from ..conventions import convert_normals
from ..estimate import Axes, Estimate
from ..kinds import ZERO_AT_CAMERA
from ..levels import measure_range
from ..valid import valid_normals

LONG_SIDE = 512
"""Longest side of a preview on a node in pixels."""

THICKEST = 0.15
"""Largest packed half thickness of objects, as a share of depth."""

_STEPS = 65534
_VALID, _SKY = 1, 2


def preview_size(height: int, width: int, longest: int = LONG_SIDE) -> tuple[int, int]:
    """Returns the height and width of an image's preview, whose sides are `longest` at most."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def preview_maps(estimate: Estimate, height: int, width: int) -> Estimate:
    """Resizes an estimate and keeps its steps: depth and mask are sampled, normals averaged."""
    depth = None if estimate.depth is None else nearest(estimate.depth, height, width)
    mask = None if estimate.mask is None else nearest(estimate.mask, height, width)
    intrinsics = estimate.intrinsics
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, (estimate.height, estimate.width), (height, width))
    normals = None
    if estimate.normals is not None:
        normals = replace(estimate, depth=None, quantity=None, confidence=None).resized(height, width).normals
    return Estimate(depth, estimate.quantity, normals, estimate.axes, mask, intrinsics, projection=estimate.projection)


def nearest(values: Tensor, height: int, width: int) -> Tensor:
    """Resizes (B, C, H, W) of any dtype by nearest-neighbour sampling."""
    rows, columns = (
        ((torch.arange(new, device=values.device) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip((height, width), values.shape[-2:], strict=True)
    )
    return values[:, :, rows][:, :, :, columns]


def pack_maps(
    estimate: Estimate,
    valid: Tensor | None = None,
    sky: Tensor | None = None,
    thickness: Tensor | None = None,
    glossy: Tensor | None = None,
) -> tuple[Tensor, Mapping[str, Any]]:
    """Packs maps into one image, and describes them.

    The upper half holds normals, n / 2 + 0.5 in OPENGL axes, black where invalid. The lower half holds depth as 256 R + G: 0 where invalid,
    otherwise 1 + 65534 times its position between `low` and `high` (for the law "log", between their logarithms). B of the lower half is 1
    for valid pixels, plus 2 in the sky, plus 4 times the thickness in 63 steps.

    Args:
        estimate: One image, (1, ...).
        valid: (1, 1, H, W) bool of its size; None = `Estimate.valid`.
        sky: (1, 1, h, w) bool; None = no sky.
        thickness: (1, 1, h, w), half the thickness of objects as a share of their depth, up to `THICKEST`; None = 0.
        glossy: (1, 1, h, w) of any size in [0, 1], the share of highlights: normals get the length (1 + glossy) / 2. None = 1.

    Returns:
        (1, 3, 2H, W) of bytes / 255, and their JSON metadata: "normals" (bool), "depth" ("law", "low", "high", "quantity"; or None)
        and "intrinsics" (fx, fy, cx, cy in pixels; or None).
    """
    height, width = estimate.height, estimate.width
    bits = _VALID * (estimate.valid if valid is None else valid)
    if sky is not None:
        bits = bits + _SKY * nearest(sky, height, width)
    if thickness is not None:
        bits = bits + 4 * (nearest(thickness, height, width) / THICKEST * 63).round().clamp(0, 63)
    packed = torch.zeros(1, 3, 2 * height, width, device=estimate.device)
    meaning: dict[str, Any] = {"normals": estimate.normals is not None, "depth": None, "intrinsics": None}
    if estimate.normals is not None:
        normals = convert_normals(estimate.normals, estimate.axes, Axes.OPENGL)
        if glossy is not None:
            normals = normals * (1 + resize_map(glossy.to(normals), height, width)) / 2
        packed[:, :, :height] = torch.where(valid_normals(estimate.normals, estimate.mask), normals / 2 + 0.5, 0)
    if estimate.depth is not None:
        codes, meaning["depth"] = _codes(estimate)
        packed[:, 0:1, height:], packed[:, 1:2, height:] = (codes // 256) / 255, (codes % 256) / 255
    packed[:, 2:, height:] = bits / 255
    if estimate.intrinsics is not None:
        matrix = estimate.intrinsics[0].tolist()
        meaning["intrinsics"] = [matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2]]
    return packed, meaning


def _codes(estimate: Estimate) -> tuple[Tensor, dict[str, Any]]:
    """Quantises depth (1, 1, H, W) to whole numbers up to 65535, and describes their range."""
    depth, quantity, valid = estimate.known_depth()
    is_log = quantity in ZERO_AT_CAMERA
    values = torch.where(valid, depth, 1).float()
    values = values.clamp(min=1e-6).log() if is_log else values
    low, high = torch.cat(measure_range(values, valid)).flatten().tolist()
    if not low <= high:
        low = high = 0.0
    share = (values - low) / (high - low) if high > low else torch.zeros_like(values)
    codes = torch.where(valid, 1 + (share.clamp(0, 1) * _STEPS).round(), 0)
    return codes, {"law": "log" if is_log else "linear", "low": low, "high": high, "quantity": quantity.value}
