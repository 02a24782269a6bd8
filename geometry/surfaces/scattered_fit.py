"""Slopes of inverse depth for sparse maps: of sensors with many holes, in wider windows; of a lidar's scattered points, in space.

In the image, a window large enough for several lidar points reaches over edges, and a smaller one holds a single scan line. So each point
uses its nearest points in space, some from each image direction, so that one scan line never dominates. The plane is a weighted
least-squares fit of inverse depth, which is linear in pixels on a plane. Weights decrease with the distance in space and with the distance
from the plane (Cauchy weights, a few passes).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import without_autocast
from ..filters.bands import by_bands
from .plane_fit import Planes

# Mean and maximum number of points in a cell; the factor by which cells grow while a plane is underdetermined, and how often.
_CELL_POINTS, _MOST_CELL_POINTS = 5, 24
_GROWTH, _LEVELS = 3, 4
# Image directions around a point, and points taken from each.
_SECTORS, _SECTOR_POINTS = 8, 3
_LEAST_POINTS = 4
# Points per batch.
_CHUNK = 2**14
_PASSES = 5
# Tolerated distance from the plane relative to inverse depth, and the minimum ratio of the neighbours' variances across and along.
_FLAT, _THINNEST = 2e-3, 1e-2
# The minimum share of neighbours on the point's own surface: a corner has a quarter of the directions.
_OWN_SHARE = 0.3


@without_autocast
def fit_scattered(planes: Planes, inverse: Tensor, valid: Tensor, intrinsics: Tensor) -> Planes:
    """Fits planes through the nearest points in space, for every valid pixel of inverse depth (1, 1, H, W), positive and finite.

    `planes` are kept where points are too few or collinear. Computed on the CPU, as points are few, and their cells depend on the data.
    """
    device = inverse.device
    planes, inverse, valid, intrinsics = Planes(*(each.cpu() for each in planes)), inverse.cpu(), valid.cpu(), intrinsics.cpu()
    # A fixed random order, so that full cells drop points evenly.
    places = (valid[0, 0] > 0).nonzero()
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0), device="cpu")]
    rows, columns = places.unbind(1)
    heights = inverse[0, 0, rows, columns]
    pixels = torch.stack((columns, rows), 1).to(inverse)
    rays = torch.cat((pixels, torch.ones_like(pixels[:, :1])), 1) @ torch.linalg.inv(intrinsics.to(inverse)).T
    points = torch.cat((pixels, heights[:, None], rays / heights[:, None]), 1)
    fits = torch.stack([each[0, 0, rows, columns] for each in planes], 1)
    # The cell size must follow the area that has points, not an empty half of the image.
    box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    side = math.sqrt(_CELL_POINTS * float(box) / len(places))
    waiting = torch.arange(len(places), device="cpu")
    for level in range(_LEVELS):
        cells, members = _cells(places, side * _GROWTH**level)
        still = []
        for chunk in waiting.split(_CHUNK):
            near = members[cells[chunk]].flatten(1)
            solved, fitted = _fitted(points, chunk, near)
            fits[chunk[solved]] = fitted[solved]
            still.append(chunk[~solved])
        waiting = torch.cat(still)
        if not len(waiting):
            break
    filled = []
    for each, new in zip(planes, fits.T, strict=True):
        plane = each.clone()
        plane[0, 0, rows, columns] = new
        filled.append(plane.to(device))
    return Planes(*filled)


def _cells(places: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Points in square cells: the 3x3 cells around each (N, 9), and the points of each cell (cells, P), -1 where there are fewer."""
    own = (places.float() / side).long() + 1
    height, width = (int(count) + 2 for count in own.amax(0))
    index = own[:, 0] * width + own[:, 1]
    order = torch.argsort(index, stable=True)
    ordered = index[order]
    rank = torch.arange(len(order), device="cpu") - torch.searchsorted(ordered, ordered)
    kept = rank < _MOST_CELL_POINTS
    members = order.new_full((height * width, min(_MOST_CELL_POINTS, int(rank.max()) + 1)), -1)
    members[ordered[kept], rank[kept]] = order[kept]
    around = torch.tensor([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)], device="cpu")
    return index[:, None] + around, members


def _fitted(points: Tensor, chosen: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Fits planes at `chosen` (N,) of the points (P, 6), which have column, row, inverse depth, and position in space.

    `near` (N, M) are indices of candidate neighbours; -1 = none. (N,) bool, where a plane was found; and value and slopes, (N, 3).
    """
    centre = points[chosen][:, None]
    offset = points[near.clamp(min=0)] - centre
    distance = offset[..., 3:].square().sum(-1)
    usable = (near >= 0) & (near != chosen[:, None])
    turn = torch.atan2(offset[..., 1], offset[..., 0]) / (2 * math.pi) * _SECTORS
    # Sectors are centred on rows and columns: a scan line is in one sector on each side.
    sector = turn.round().long() % _SECTORS
    nearest, picks = [], []
    for number in range(_SECTORS):
        inside = torch.where(usable & (sector == number), distance, math.inf)
        best = inside.topk(min(_SECTOR_POINTS, inside.shape[1]), dim=1, largest=False)
        nearest.append(best.values)
        picks.append(best.indices)
    distance, pick = torch.cat(nearest, 1), torch.cat(picks, 1)
    usable = distance.isfinite()
    dx, dy, rise = offset[..., :3].gather(1, pick[..., None].expand(-1, -1, 3)).unbind(-1)
    rise = rise / centre[..., 2]
    typical = _low(distance, usable).clamp(min=1e-12)
    closeness = torch.where(usable, 1 / (1 + distance / typical), 0)
    # Normalised by the neighbourhood's radius, so that the sums stay near 1.
    scale = torch.where(usable, dx.square() + dy.square(), 0).amax(1, keepdim=True).sqrt().clamp(min=1)
    dx, dy = dx / scale, dy / scale
    design = torch.stack((torch.ones_like(dx), dx, dy), -1)
    plane, spread = _solved(design, rise, closeness)
    for _ in range(_PASSES):
        rest = (rise - (design * plane[:, None]).sum(-1)).abs()
        tolerance = _low(rest, usable).clamp(min=_FLAT)
        plane, spread = _solved(design, rise, closeness / (1 + (rest / tolerance).square()))
    solved = (usable.sum(1) >= _LEAST_POINTS) & spread & plane.isfinite().all(1)
    slopes = plane[:, 1:] / scale * centre[:, 0, 2:3]
    return solved, torch.cat((centre[:, 0, 2:3] * (1 + plane[:, :1]), slopes), 1)


def _low(values: Tensor, usable: Tensor) -> Tensor:
    """The quantile `_OWN_SHARE` (N, 1) of the usable values (N, M); infinite if none is usable."""
    ordered = torch.where(usable, values, math.inf).sort(1).values
    rank = (usable.sum(1, keepdim=True).float() * _OWN_SHARE).ceil().long() - 1
    return ordered.gather(1, rank.clamp(min=0))


@without_autocast
def _solved(design: Tensor, rise: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares (N, 3) of rises (N, M) including the centre; and whether the points spread in two directions."""
    weighted = design * weight[..., None]
    normal = weighted.transpose(1, 2) @ design
    normal[:, 0, 0] += 1
    right = (weighted * rise[..., None]).sum(1)
    mean = normal[:, 0, 1:] / normal[:, :1, 0]
    xx = normal[:, 1, 1] - normal[:, 0, 0] * mean[:, 0] ** 2
    yy = normal[:, 2, 2] - normal[:, 0, 0] * mean[:, 1] ** 2
    xy = normal[:, 1, 2] - normal[:, 0, 0] * mean[:, 0] * mean[:, 1]
    spread = xx * yy - xy * xy >= _THINNEST * (xx + yy) ** 2
    ridge = torch.eye(3, dtype=design.dtype, device="cpu") * 1e-6
    return torch.linalg.solve_ex(normal + ridge, right)[0], spread


# A pixel is isolated with fewer valid pixels than this in its 3x3 window, itself included.
_LONELY = 4
# Share of isolated pixels above which a map is scattered points.
_SPARSE = 0.5
# Window radii; the smallest window with _ENOUGH valid pixels is used.
_RADII = (2, 4, 8, 16)
_ENOUGH = 8
# Maximum RMS distance from the plane relative to inverse depth; minimum variance in each direction, in squared pixels.
_FLAT_WINDOW, _SPREAD = 0.02, 0.3


def fit_isolated(planes: Planes, inverse: Tensor, valid: Tensor, intrinsics: Tensor) -> Planes:
    """Fits planes in a wider window for pixels with hardly any valid neighbours. Synchronises the device.

    If most valid pixels are isolated, such as a lidar's, all planes are fitted to the nearest points in space (`fit_scattered`). Otherwise
    they are fitted by unweighted least squares, and accepted only where the window shows one flat surface. Planes of other pixels stay.
    `planes`, `inverse` and `valid` as `fit_planes`.
    """
    waiting = (valid > 0) & (F.avg_pool2d(valid, 3, 1, 1, divisor_override=1) < _LONELY)
    if float(waiting.sum() / valid.sum().clamp(min=1)) > _SPARSE:
        return fit_scattered(planes, inverse, valid, intrinsics)
    for radius in _RADII:
        if not bool(waiting.any()):
            break
        suits, *fitted = by_bands(lambda d, v, radius=radius: _fitted_in_window(d, v, radius), radius, inverse, valid)
        chosen = waiting & (suits > 0)
        planes = Planes(*(torch.where(chosen, new, old) for new, old in zip(fitted, planes, strict=True)))
        waiting = waiting & ~chosen
    return planes


@without_autocast
def _fitted_in_window(inverse: Tensor, valid: Tensor, radius: int) -> tuple[Tensor, ...]:
    """1 where the window shows a plane, else 0; and the plane's value and slopes. Inputs have `radius` more pixels on each side."""
    offsets = torch.arange(-radius, radius + 1, dtype=inverse.dtype, device=inverse.device)
    weighted = inverse * valid

    def moment(maps: Tensor, x: int, y: int) -> Tensor:
        return F.conv2d(F.conv2d(maps, (offsets**x).view(1, 1, 1, -1)), (offsets**y).view(1, 1, -1, 1))

    count = moment(valid, 0, 0).clamp(min=1)
    mean_x, mean_y, mean = moment(valid, 1, 0) / count, moment(valid, 0, 1) / count, moment(weighted, 0, 0) / count
    xx, yy = moment(valid, 2, 0) / count - mean_x**2, moment(valid, 0, 2) / count - mean_y**2
    xy = moment(valid, 1, 1) / count - mean_x * mean_y
    xd, yd = moment(weighted, 1, 0) / count - mean_x * mean, moment(weighted, 0, 1) / count - mean_y * mean
    dd = (moment(weighted * inverse, 0, 0) / count - mean**2).clamp(min=0)
    determinant = xx * yy - xy * xy
    divisor = determinant.clamp(min=_SPREAD**2)
    slope_x, slope_y = (xd * yy - yd * xy) / divisor, (yd * xx - xd * xy) / divisor
    rest = dd - slope_x * xd - slope_y * yd
    suits = (count >= _ENOUGH) & (determinant >= _SPREAD * (xx + yy)) & (rest <= (_FLAT_WINDOW * mean) ** 2)
    return suits.to(inverse), mean - slope_x * mean_x - slope_y * mean_y, slope_x, slope_y
