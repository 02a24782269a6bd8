"""Makes maps tile: pads images by wrapping, and blends the estimates of the padding at opposite borders."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_range
from ...options.textures import MAX_MARGIN
from ...utils import exact_dtype
from ..conventions import unit_normals
from ..estimate import Estimate
from ..kinds import ZERO_AT_CAMERA


def margins(height: int, width: int, share: float) -> tuple[int, int]:
    """Rows and columns of padding at each border: a share, 0 to `MAX_MARGIN`, of height and width. Raises ValueError for other shares."""
    check_range("margin", share, 0, MAX_MARGIN)
    return round(height * share), round(width * share)


def wrap(maps: Tensor, margin: tuple[int, int]) -> Tensor:
    """Pads maps (B, C, H, W) by `margin` rows and columns at each border with the pixels at the opposite border."""
    height, width = maps.shape[-2:]
    rows = torch.arange(-margin[0], height + margin[0], device=maps.device) % height
    columns = torch.arange(-margin[1], width + margin[1], device=maps.device) % width
    return maps[..., rows, :][..., columns]


def mirror(maps: Tensor, margin: tuple[int, int]) -> Tensor:
    """Pads as `wrap` with mirror images, for maps that do not tile. The outermost pixels are not repeated; `margin` is below the size."""
    return F.pad(maps, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")


def unmirrored_normals(estimate: Estimate, margin: tuple[int, int]) -> Estimate:
    """Crops the normals in an estimate of `mirror(image, margin)`, which removes artifacts at borders. ValueError without normals."""
    normals, valid = estimate.normals, estimate.normals_valid
    if normals is None or valid is None:
        raise ValueError("the estimate has no normals")
    return Estimate(normals=cropped(normals, margin), mask=cropped(valid, margin), axes=estimate.axes)


def folded(maps: Tensor, margin: tuple[int, int]) -> Tensor:
    """Undoes `wrap`: blends the padding with the pixels that it duplicates, so that opposite borders continue each other."""
    return _folded(_folded(maps, margin[0], -2), margin[1], -1)


def seamless_estimate(wrapped: Estimate, margin: tuple[int, int]) -> Estimate:
    """Converts a model's estimate of `wrap(image, margin)` to seamless maps of the image.

    Depth: pixel differences are folded, their mean, which makes opposite borders differ, is subtracted, and the rest is integrated on the
    torus; NaN where it is invalid. Metric depth is processed as its logarithm, so that it stays positive. Normals are blended as vectors.
    There is no camera, as seamless maps are orthographic.
    """
    depth, normals, mask, confidence = wrapped.depth, wrapped.normals, wrapped.valid, wrapped.confidence
    kept = cropped(mask, margin)
    if depth is not None:
        values, quantity, valid = wrapped.known_depth()
        count = valid.sum((2, 3), keepdim=True)
        mean = torch.where(valid, values, 0).sum((2, 3), keepdim=True) / count.clamp(min=1)
        values = torch.where(valid, values, torch.where(count > 0, mean, 1))
        as_ratio = quantity in ZERO_AT_CAMERA
        level = _level(values.log() if as_ratio else values, margin)
        depth = torch.where(kept, level.exp() if as_ratio else level, torch.nan)
    if normals is not None:
        normals = unit_normals(folded(torch.where(mask, normals, 0), margin), wrapped.axes)
    return replace(
        wrapped,
        depth=depth,
        normals=normals,
        mask=None if wrapped.mask is None and bool(kept.all()) else kept,
        confidence=None if confidence is None else folded(confidence, margin),
        intrinsics=None,
        extrinsics=None,
    )


def tileable(maps: Tensor) -> Tensor:
    """Makes opposite borders of maps (B, C, H, W) meet by subtracting a smooth function that is nearly 0 inside.

    Nothing is moved or invented: half a brick at a border stays cut. The mean stays; values are not clamped.

    Source:
        L. Moisan, "Periodic plus smooth image decomposition" (2011).
    """
    values = maps.to(exact_dtype(maps.device))
    jumps = torch.zeros_like(values)
    rows, columns = values[..., 0, :] - values[..., -1, :], values[..., :, 0] - values[..., :, -1]
    jumps[..., 0, :] -= rows
    jumps[..., -1, :] += rows
    jumps[..., :, 0] -= columns
    jumps[..., :, -1] += columns
    return (values - _poisson(-jumps)).to(maps.dtype)


def _folded(maps: Tensor, margin: int, dim: int) -> Tensor:
    length = maps.shape[dim] - 2 * margin
    middle = maps.narrow(dim, margin, length).clone()
    if margin == 0:
        return middle
    # Weight of the unpadded pixels: about 0.5 at the border, where both copies are equally far from the padding's ends; 1 past the margin.
    own = 0.5 + (torch.arange(margin, device=maps.device, dtype=maps.dtype) + 0.5) / (2 * margin)
    own = own if dim == -1 else own[:, None]
    first, last = middle.narrow(dim, 0, margin), middle.narrow(dim, length - margin, margin)
    after, before = maps.narrow(dim, margin + length, margin), maps.narrow(dim, 0, margin)
    blended_first, blended_last = torch.lerp(after, first, own), torch.lerp(before, last, own.flip(0))
    first.copy_(blended_first)
    last.copy_(blended_last)
    return middle


def cropped(maps: Tensor, margin: tuple[int, int]) -> Tensor:
    """Removes rows and columns (`margin`) at each border."""
    rows, columns = margin
    return maps[..., rows : maps.shape[-2] - rows, columns : maps.shape[-1] - columns]


def _level(values: Tensor, margin: tuple[int, int]) -> Tensor:
    """Converts wrapped values (B, 1, H + 2 rows, W + 2 columns) to a map that tiles, (B, 1, H, W), with the mean of the cropped values."""
    exact = values.to(exact_dtype(values.device))
    # Differences to the next pixel. The last one joins both ends of the padding, and has the least weight in `folded`.
    right, down = exact.roll(-1, -1) - exact, exact.roll(-1, -2) - exact
    if margin[1] == 0:
        right[..., -1] = 0
    if margin[0] == 0:
        down[..., -1, :] = 0
    right, down = (each - each.mean((2, 3), keepdim=True) for each in (folded(right, margin), folded(down, margin)))
    divergence = right - right.roll(1, -1) + down - down.roll(1, -2)
    return (_poisson(-divergence) + cropped(exact, margin).mean((2, 3), keepdim=True)).to(values.dtype)


def _poisson(values: Tensor) -> Tensor:
    """Solves Poisson's equation on the torus: the map of mean 0 whose negated discrete Laplacian is `values`, (B, C, H, W)."""
    height, width = values.shape[-2:]
    down = 2 - 2 * (2 * torch.pi * torch.fft.fftfreq(height, device=values.device, dtype=values.dtype)).cos()
    right = 2 - 2 * (2 * torch.pi * torch.fft.rfftfreq(width, device=values.device, dtype=values.dtype)).cos()
    power = down[:, None] + right
    return torch.fft.irfft2(torch.fft.rfft2(values) * torch.where(power > 0, 1 / power, 0), s=(height, width))
