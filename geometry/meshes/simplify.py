"""Simplifies the triangle grid of a depth map: coplanar squares of cells become one triangle fan each.

A plane's inverse depth is linear in pixels, so a triangle through three pixels is exact on planes. Cut and bent cells keep every pixel.
"""

from __future__ import annotations

import numpy as np

from .mesh_cuts import Joins, grid_triangles

EVEN = 0.002
"""Largest relative deviation of inverse depth from the plane that replaces it; about the width of two pixels."""

# Tolerated difference of unit normals' components: 4 degrees.
_TURNED = 0.07
_LARGEST = 5  # squares of 32 cells


def even_triangles(
    inverse: np.ndarray, joins: Joins, normals: np.ndarray | None = None, within: np.ndarray | None = None, even: float = EVEN
) -> tuple[np.ndarray, np.ndarray]:
    """`grid_triangles`, larger where the grid is planar and free of cracks: a square includes the corners of smaller ones on its border.

    Args:
        inverse: (H, W), inverse depth, positive where joined.
        normals: (3, H, W) unit vectors, which must be nearly linear too; or None.
        within: (H, W) bool; no square straddles the border of this mask.
        even: As EVEN; 0 = all pixels.
    """
    used, triangles = grid_triangles(1 / inverse, joins)
    if not even or not len(triangles):
        return used, triangles
    squares, covered = _even_squares(inverse, joins, normals, within, even)
    places, width = np.flatnonzero(used), inverse.shape[1]
    triangles = places[triangles]
    cells = (triangles // width).min(1), (triangles % width).min(1)
    triangles = triangles[~covered[cells]]
    corners = np.zeros(inverse.size, bool)
    corners[triangles] = True
    for side, tops in squares:
        for offset in (0, side, side * width, side * width + side):
            corners[tops + offset] = True
    fans = [_fans(tops, side, width, corners) for side, tops in squares]
    triangles = np.concatenate((triangles, *fans))
    corners[triangles] = True
    return corners.reshape(used.shape), (np.cumsum(corners) - 1)[triangles].astype(np.uint32)


def _even_squares(
    inverse: np.ndarray, joins: Joins, normals: np.ndarray | None, within: np.ndarray | None, even: float
) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
    """Squares without cuts or bends, as side and upper left pixels (flat indices), largest first; and a mask of their cells."""
    across, down = joins.across.numpy(), joins.down.numpy()
    whole = across[:-1] & across[1:] & down[:, :-1] & down[:, 1:]
    if within is not None:
        count = within[:-1, :-1].astype(np.int8) + within[1:, :-1] + within[:-1, 1:] + within[1:, 1:]
        whole = whole & ((count == 0) | (count == 4))
    height, width = inverse.shape
    covered, even_squares = np.zeros_like(whole), []
    for level in range(_LARGEST, 0, -1):
        side = 2**level
        rows, columns = (height - 1) // side, (width - 1) // side
        if not rows or not columns:
            continue
        blocks = (slice(0, rows * side), slice(0, columns * side))
        squares = (rows, side, columns, side)
        free = (whole & ~covered)[blocks].reshape(squares).all((1, 3))
        free &= _departures(inverse, side, rows, columns) <= even
        if normals is not None:
            for component in normals:
                free &= _departures(component, side, rows, columns, relative=False) <= _TURNED
        covered[blocks] |= np.repeat(np.repeat(free, side, 0), side, 1)
        top, left = np.nonzero(free)
        even_squares.append((side, top * side * width + left * side))
    return even_squares, covered


def _departures(values: np.ndarray, side: int, rows: int, columns: int, relative: bool = True) -> np.ndarray:
    """The largest deviation of each square from a plane: (rows, columns).

    It is the larger one of two: of values from the bilinear surface through the corners, and of this surface from a plane. If `relative`,
    the former is relative to each value, and the latter to the value at a corner.
    """

    def at(row: int, column: int) -> np.ndarray:
        return values[row : row + (rows - 1) * side + 1 : side, column : column + (columns - 1) * side + 1 : side]

    corners = at(0, 0), at(0, side), at(side, 0), at(side, side)
    most = np.abs(corners[0] - corners[1] - corners[2] + corners[3]) / 4  # deviation of a saddle, whose corners are not on one plane
    if relative:
        most = most / corners[0]
    for row in range(side + 1):
        down = row / side
        left, right = corners[0] + (corners[2] - corners[0]) * down, corners[1] + (corners[3] - corners[1]) * down
        for column in range(side + 1):
            here = at(row, column)
            departure = np.abs(left + (right - left) * (column / side) - here)
            np.maximum(most, departure / here if relative else departure, out=most)
    return most


def _fans(tops: np.ndarray, side: int, width: int, corners: np.ndarray) -> np.ndarray:
    """Triangle fans (M, 3), counter-clockwise from the camera: from the centre to all border corners; two triangles if only four."""
    along = np.arange(side)
    # Around the square: down the left side, right along the bottom, up the right side, left along the top.
    border = np.concatenate((along * width, side * width + along, (side - along) * width + side, side - along))
    around = tops[:, None] + border
    taken = corners[around]
    plain = taken.sum(1) == 4
    quads = around[plain][:, [0, side, 2 * side, 3 * side]]
    fans = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    tops, around, taken = tops[~plain], around[~plain], taken[~plain]
    counts = taken.sum(1)
    if len(tops):
        ends = np.cumsum(counts)
        one = around[taken]
        following = np.arange(1, len(one) + 1)
        following[ends - 1] = ends - counts
        middles = np.repeat(tops + (side // 2) * (width + 1), counts)
        fans.append(np.stack((middles, one, one[following]), 1))
    return np.concatenate(fans)
