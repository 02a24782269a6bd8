"""Finds the zero of disparity, which a network leaves open, from the normals that it predicts beside it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import resize_intrinsics
from .conventions import convert_normals
from .estimate import Estimate
from .kinds import Axes

# Short side, in cells, of the maps that are compared.
_CELLS = 112


def cells_of(estimate: Estimate, camera: Tensor) -> dict[str, Tensor]:
    """What `inverse_ratio` compares, to be fetched from the device: means of cells, (B, 5, h, w), and their camera, (B, 3, 3).

    The means are of disparity, of the normals in OPENCV axes, and of validity. Arguments: a perspective estimate with disparity and
    normals, and its intrinsics (B, 3, 3).
    """
    step = max(1, round(min(estimate.height, estimate.width) / _CELLS))
    assert estimate.depth is not None
    assert estimate.normals is not None
    valid = estimate.valid
    normals = convert_normals(estimate.normals, estimate.axes, Axes.OPENCV)
    maps = torch.where(valid, torch.cat((estimate.depth.float(), normals.float()), 1), 0)
    size = estimate.height // step, estimate.width // step
    own = size[0] * step, size[1] * step
    cells = F.avg_pool2d(torch.cat((maps, valid.float()), 1), step)
    return {"cells": cells, "camera": resize_intrinsics(camera.float(), own, size)}


def inverse_ratio(cells: np.ndarray, camera: np.ndarray, far: float, near: float) -> tuple[float, float]:
    """The depth of the near end divided by the depth of the far end at which disparity has the normals of one image.

    The inverse depth of a plane is linear in pixels. Its gradient times the focal length is in proportion to x and y of the normal, and its
    value, by the same factor, to the product of normal and ray. So each pixel of a slanted surface has an opinion of where disparity is 0
    at infinity. Their median is taken, weighted by the square of x and y.

    Args:
        cells: (5, h, w), and `camera`: (3, 3), of `cells_of`.
        far, near: Disparity of both ends.

    Returns:
        The inverse ratio, 0 to 1, and the mean weight, 0 to 1: 0 if all surfaces face the camera.
    """
    disparity, x, y, z, known = cells.astype(np.float64)
    if min(disparity.shape) < 3:
        return 1.0, 0.0
    inner, sides = np.s_[1:-1, 1:-1], ((np.s_[1:-1, 2:], np.s_[1:-1, :-2]), (np.s_[2:, 1:-1], np.s_[:-2, 1:-1]))
    whole = np.logical_and.reduce([known[place] == 1 for place in (inner, *sides[0], *sides[1])])
    slopes = [(disparity[after] - disparity[before])[whole] / 2 * camera[axis, axis] for axis, (after, before) in enumerate(sides)]
    rows, columns = np.nonzero(whole)
    disparity, x, y, z = (each[inner][whole] for each in (disparity, x, y, z))
    across, down, _ = np.linalg.inv(camera.astype(np.float64)) @ np.stack((columns + 1, rows + 1, np.ones(len(rows))))
    weight = x**2 + y**2
    if not weight.sum() > 0:
        return 1.0, 0.0
    zero = disparity - (slopes[0] * x + slopes[1] * y) / weight.clip(np.finfo(float).tiny) * (x * across + y * down + z)
    order = np.argsort(zero)
    total = np.cumsum(weight[order])
    middle = zero[order[np.searchsorted(total, total[-1] / 2)]]
    return float((far - middle) / (near - middle)) if middle < far else 0.0, float(weight.mean())
