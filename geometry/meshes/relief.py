"""A raised relief on a plate, from depth: a closed mesh in millimetres for printing or milling."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...options.mesh import NEAR, ReliefOptions
from ...utils import resize_map
from ..checks import check_image_of
from ..estimate import Estimate
from ..filters.transforms import dct, frequencies, idct
from ..kinds import ZERO_AT_CAMERA
from ..levels import are_apart, depth_to_nearness, measure_range_of_most
from ..projections import need_perspective
from ..regions.sky import sky_alpha
from ..valid import NoDepthError
from .mesh import Mesh

# Percentiles at which values are clipped, so that an outlier does not flatten the rest.
_ENDS = (0.1, 99.9)


@torch.no_grad()
def depth_to_relief(estimate: Estimate, image: Tensor | None = None, options: ReliefOptions | None = None) -> Mesh:
    """Builds a plate whose upper side is an image's depth in relief.

    Args:
        estimate: One image, with depth of any quantity; metric depth is converted to inverse depth.
        image: (1, 3, h, w) RGB in [0, 1], of any size with the depth's aspect ratio, for detecting the sky; None = no sky.

    Returns:
        A closed surface in mm, +X right and +Y up in the image, +Z out of it, with its underside at z = 0. Each edge belongs to two
        triangles; all triangles face outwards. Invalid pixels (`Estimate.depth_valid`) and the sky are at the lowest height. Constant depth
        makes a flat plate.

    Raises:
        ValueError: Several images, no depth, a panorama, no valid pixel, fewer than 2x2 pixels, or an image of another batch or aspect
            ratio.
    """
    options = options or ReliefOptions()
    need_perspective(estimate, "a relief")
    if estimate.batch != 1:
        raise ValueError(f"a relief shows one image, the batch has {estimate.batch}; make one of each")
    if min(estimate.height, estimate.width) < 2:
        raise ValueError(f"a relief needs at least 2x2 pixels; found {estimate.width}x{estimate.height}")
    if image is not None:
        check_image_of(image, estimate.batch, estimate.height, estimate.width)
    share, valid = relief_heights(estimate.to("cpu"), image, options)
    heights = torch.where(valid, share, 0)[0, 0].numpy() * options.relief + options.base
    return _plate(heights.astype(np.float32), options.width, options.width * estimate.height / estimate.width)


def relief_heights(estimate: Estimate, image: Tensor | None, options: ReliefOptions) -> tuple[Tensor, Tensor]:
    """Heights in [0, 1], (1, 1, h, w), at most `max_points`, and where they are valid. Raises ValueError if they are nowhere."""
    depth, _, valid = estimate.known_depth()
    if image is not None and options.drop_sky:
        valid = valid & (sky_alpha(resize_map(image.cpu().float(), estimate.height, estimate.width), estimate) <= 0.5)
    if not bool(valid.any()):
        raise NoDepthError("no pixel has a depth to make a relief of (all are transparent, masked, sky or not finite)")
    size = relief_size(estimate.height, estimate.width, options.max_points)
    sized = Estimate(depth=depth, quantity=estimate.quantity, mask=valid).resized(*size)
    depth, quantity, valid = sized.known_depth()
    near = depth_to_nearness(torch.where(valid, depth, 1), quantity, as_disparity=quantity in ZERO_AT_CAMERA)
    low, high = measure_range_of_most(near, valid, _ENDS)
    flat = ~are_apart(low, high)
    share = ((near - low) / torch.where(flat, 1, high - low)).clamp(0, 1).masked_fill(flat, 0)
    share = share if options.raised == NEAR else (1 - share).masked_fill(flat, 0)
    share = _lowered_jumps(torch.where(valid, share, 0), valid, options.detail)
    return share**options.curve, valid


def relief_size(height: int, width: int, max_points: int) -> tuple[int, int]:
    """The largest grid (rows, columns) of this aspect ratio with at most `max_points`; at least 2 per side, never upsampled."""
    scale = min(1.0, math.sqrt(max_points / (height * width)))
    rows = max(2, int(height * scale))
    return min(rows, max(2, max_points // 2)), max(2, min(width, int(width * scale), max_points // rows))


def _lowered_jumps(share: Tensor, valid: Tensor, detail: float) -> Tensor:
    """Compresses slopes logarithmically, so that jumps shrink more than folds.

    Source:
        T. Weyrich et al., "Digital bas-relief from 3D scenes" (2007): slopes s become log(1 + a s) / a, and are integrated again.
    """
    values = share.double()
    slopes = [values.diff(dim=dim) for dim in (-1, -2)]
    mean = torch.cat([slope.abs().flatten() for slope in slopes]).mean()
    if not detail or not bool(mean > 0):
        return share
    steepness = detail / (1 - detail) / mean
    lowered = [torch.log1p(steepness * slope.abs()) / steepness * slope.sign() for slope in slopes]
    heights = _integrated(*lowered)
    low, high = measure_range_of_most(heights, valid)
    return ((heights - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).to(share)


def _integrated(right: Tensor, down: Tensor) -> Tensor:
    """Least-squares heights (1, 1, H, W) from differences (1, 1, H, W - 1) and (1, 1, H - 1, W).

    Poisson's equation with free borders is diagonal in the cosine transform.
    """
    pad = torch.nn.functional.pad
    divergence = pad(right, (0, 1)) - pad(right, (1, 0)) + pad(down, (0, 0, 0, 1)) - pad(down, (0, 0, 1, 0))
    rows, columns = (2 * frequencies(length, False, divergence).cos() - 2 for length in divergence.shape[-2:])
    power = rows[:, None] + columns
    # Slopes leave the mean undetermined.
    power[0, 0] = 1
    return idct(idct(dct(dct(divergence, -1), -2) / power, -2), -1)


def _plate(heights: np.ndarray, width: float, length: float) -> Mesh:
    """Builds a closed plate: heights (h, w) on a grid, walls around it, and an underside that is a fan of triangles."""
    rows, columns = heights.shape
    grid = np.arange(rows * columns, dtype=np.uint32).reshape(rows, columns)
    x, y = np.meshgrid(np.linspace(0, width, columns, dtype=np.float32), np.linspace(length, 0, rows, dtype=np.float32))
    # Around the image, clockwise seen from above: right along the top, down, left along the bottom, up.
    rim = np.concatenate((grid[0, :-1], grid[:-1, -1], grid[-1, :0:-1], grid[:0:-1, 0]))
    foot = np.arange(len(rim), dtype=np.uint32) + np.uint32(grid.size)
    middle = np.full(len(rim), grid.size + len(rim), np.uint32)
    top = np.stack((x, y, heights), -1).reshape(-1, 3)
    below = top[rim] * np.array((1, 1, 0), np.float32)
    centre = np.array([[width / 2, length / 2, 0]], np.float32)
    upper = [(grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:]), (grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:])]
    after, foot_after = np.roll(rim, -1), np.roll(foot, -1)
    walls = [(rim, after, foot_after), (rim, foot_after, foot), (foot, foot_after, middle)]
    triangles = np.concatenate([np.stack([corner.reshape(-1) for corner in corners], -1) for corners in (*upper, *walls)])
    return Mesh(np.concatenate((top, below, centre)), triangles)
