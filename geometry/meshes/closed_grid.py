"""The pixel grid of a panorama as a closed surface: stitched at the left and right border, and closed at the poles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .mesh_cuts import Joins, cut_grid, grid_triangles

# Columns beyond the border that the search for edges looks at, as a share of the width.
_BESIDE = 1 / 16


def cut_closed_grid(
    distance: Tensor, valid: Tensor, image: Tensor | None = None, edges: str = "auto", max_jump: float = 0.05
) -> tuple[Tensor, Joins]:
    """As `mesh_cuts.cut_grid`, of a panorama, with the first column again behind the last one.

    Args:
        distance: (1, 1, H, W), positive where valid.
        valid: (1, 1, H, W) bool.
        image, edges, max_jump: As `cut_grid`.

    Returns:
        Distances (1, 1, H, W + 1), and the joins of these.
    """
    width = distance.shape[-1]
    beside = min(width, max(1, round(width * _BESIDE)))

    def around(maps: Tensor) -> Tensor:
        return torch.cat((maps[..., -beside:], maps, maps[..., : min(width, beside + 1)]), -1)

    stepped, joins = cut_grid(around(distance), around(valid), None if image is None else around(image), edges, max_jump)
    stepped = stepped[..., beside : beside + width + 1].clone()
    stepped[..., -1] = stepped[..., 0]
    down = joins.down[:, beside : beside + width + 1].clone()
    down[:, -1] = down[:, 0]
    return stepped, Joins(joins.across[:, beside : beside + width], down)


def closed_triangles(distance: np.ndarray, joins: Joins) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool]]:
    """Triangles of a panorama's grid, with a fan around each pole.

    Args:
        distance: (H, W + 1), as `cut_closed_grid` gives it.
        joins: Of the same.

    Returns:
        Where pixels are corners of triangles, (H, W + 1) bool; triangles (M, 3) uint32, indices among these pixels in reading order,
        counter-clockwise seen from the camera, of the zenith and the nadir, where there is a fan, behind all pixels; and whether there
        is one.
    """
    used, triangles = grid_triangles(distance, joins)
    indices = (np.cumsum(used, dtype=np.int64) - 1).reshape(used.shape)
    pole, found, closed = int(used.sum()), [triangles], [False, False]
    for end, row in enumerate((0, -1)):
        joined = joins.across[row].numpy() & used[row, :-1] & used[row, 1:]
        if not joined.any():
            continue
        left, right = indices[row, :-1][joined], indices[row, 1:][joined]
        middle = np.full_like(left, pole)
        found.append(np.stack((middle, left, right) if row == 0 else (left, middle, right), 1).astype(np.uint32))
        closed[end] = True
        pole += 1
    return used, np.concatenate(found), (closed[0], closed[1])
