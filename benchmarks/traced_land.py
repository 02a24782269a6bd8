"""Ray-traced land for `relight.py`: a meadow, a ridge, a plain and mountains, with exact shadows of a low sun.

Heights are formulas and rays are marched in short steps, so only numpy is needed.
"""

from __future__ import annotations

import numpy as np

FOCAL = 0.9  # in widths
NEAREST, FAREST = 20.0, 9000.0  # metres
_STEPS, _HALVINGS = 500, 12


def heights(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Metres above the camera, of the land at x to the right and z ahead of it, in metres."""
    rolling = 1.5 * np.sin(x / 23 + 1) * np.sin(z / 31) + 0.5 * np.sin(x / 7) * np.sin(z / 9 + 2)
    crest = 26 + 9 * np.sin(x / 60) + 5 * np.sin(x / 21 + 2) - 15 * (1 + np.tanh((x - 60) / 24))
    ridge = crest * np.exp(-(((z - 320 - 0.2 * x) / 60) ** 2))
    mountains = (420 + 130 * np.sin(x / 400 + 1) + 60 * np.sin(x / 130)) * np.exp(-(((z - 4200) / 700) ** 2))
    plain = 4 * np.sin(x / 160) * np.sin(z / 210)
    far = (1 + np.tanh((z - 700) / 160)) / 2
    return -14 + (1 - far) * (rolling + ridge) + far * (plain - 25) + mountains


def intrinsics(width: int, height: int) -> np.ndarray:
    """(3, 3), in pixels; the centre of the first pixel is (0, 0), and the horizon lies a third below the top."""
    return np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 3], [0, 0, 1]], np.float32)


def depths(width: int, height: int) -> np.ndarray:
    """(H, W) in metres along +Z; infinite in the sky."""
    matrix = intrinsics(width, height)
    rows, columns = np.mgrid[:height, :width]
    across, up = (columns - matrix[0, 2]) / matrix[0, 0], (matrix[1, 2] - rows) / matrix[1, 1]
    before, found = np.full((height, width), NEAREST), np.full((height, width), np.inf)
    beyond = np.full((height, width), np.inf)
    for z in np.geomspace(NEAREST, FAREST, _STEPS):
        below = np.isinf(beyond) & (heights(across * z, np.full_like(across, z)) > up * z)
        beyond[below] = z
        before[np.isinf(beyond)] = z
    land = np.isfinite(beyond)
    low, high = before[land], beyond[land]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = heights(across[land] * middle, middle) > up[land] * middle
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    found[land] = (low + high) / 2
    return found


def normals(depth: np.ndarray) -> np.ndarray:
    """(H, W, 3) unit normals of the land, OPENGL axes; (0, 0, 1) in the sky."""
    x, _, z = _points(depth)
    step = 0.05
    right = (heights(x + step, z) - heights(x - step, z)) / (2 * step)
    ahead = (heights(x, z + step) - heights(x, z - step)) / (2 * step)
    found = np.stack((-right, np.ones_like(right), ahead), -1)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return np.where(np.isfinite(depth)[..., None], found, (0.0, 0.0, 1.0)).astype(np.float32)


def shaded(depth: np.ndarray, sun: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Land whose ray to the sun, (x, y, z) in OPENGL axes, hits other land in the image, and land where the image cannot tell.

    Returns:
        (H, W) bool each; in the second, only land outside the image blocks the ray.
    """
    height, width = depth.shape
    matrix = intrinsics(width, height)
    x, y, z = _points(depth)
    right, up, back = np.array(sun) / np.linalg.norm(sun)
    inside, outside = np.zeros(depth.shape, bool), np.zeros(depth.shape, bool)
    for reach in np.geomspace(2.0, FAREST, _STEPS):
        across, above, ahead = x + reach * right, y + reach * up, z - reach * back
        met = np.isfinite(depth) & (heights(across, ahead) > above + 0.02)
        column, row = (matrix[0, 0] * each / np.maximum(ahead, 1e-6) for each in (across, -above))
        seen = (ahead > 0) & (np.abs(column) < width / 2) & (row > -matrix[1, 2] - 0.5) & (row < height - matrix[1, 2] - 0.5)
        inside |= met & seen
        outside |= met & ~seen
    return inside, outside & ~inside


def _points(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X to the right, y up and z ahead, in metres; the sky is at the far end."""
    height, width = depth.shape
    matrix = intrinsics(width, height)
    rows, columns = np.mgrid[:height, :width]
    z = np.where(np.isfinite(depth), depth, FAREST)
    return (columns - matrix[0, 2]) / matrix[0, 0] * z, (matrix[1, 2] - rows) / matrix[1, 1] * z, z
