"""Colours of OpenEXR files that hold luminance and, at half the resolution, chroma; as the library's RGBA interface, which Python lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images.srgb import rgb_to_xyz

LUMINANCE, CHROMA = "Y", ("RY", "BY")
"""Names of the channels."""

SAMPLING = 2
"""Columns and rows for each sample of chroma."""

# Weights of the 14 samples around a place midway between two, from the first to those beside it.
_WEIGHTS = (0.002128, -0.00754, 0.019597, -0.043159, 0.087929, -0.186077, 0.627123)


def chroma_to_rgb(
    luminance: np.ndarray, red: np.ndarray, blue: np.ndarray, chromaticities: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts luminance Y (H, W), and (R - Y) / Y and (B - Y) / Y (H / 2, W / 2), to R, G and B, float32 (H, W).

    Source: ImfRgbaYca.cpp and ImfRgbaFile.cpp of OpenEXR; the weights are its `reconstructChromaHoriz`.
    """
    weights = (row := rgb_to_xyz(chromaticities)[0][1]) / row.sum()
    y = luminance.astype(np.float32)
    red, blue = (_doubled(_doubled(plane.astype(np.float32)).T).T for plane in (red, blue))
    r, b = (red + 1) * y, (blue + 1) * y
    rgb = np.stack((r, (y - r * weights[0] - b * weights[2]) / weights[1], b), -1)
    return tuple(np.moveaxis(_less_saturated(rgb.astype(np.float32), weights), -1, 0))


def _doubled(plane: np.ndarray) -> np.ndarray:
    """Interpolates between the rows."""
    count, half = len(plane), len(_WEIGHTS)
    padded = np.pad(plane, ((half - 1, half), (0, 0)), "edge")
    between = sum(
        weight * (padded[i : i + count] + padded[2 * half - 1 - i : 2 * half - 1 - i + count]) for i, weight in enumerate(_WEIGHTS)
    )
    return np.stack((plane, between), 1).reshape(2 * count, -1).astype(np.float32)


def _less_saturated(rgb: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Removes single pixels of too much saturation, which interpolated chroma makes beside edges."""
    largest = rgb.max(-1)
    saturation = 1 - np.divide(rgb.min(-1), largest, out=np.ones_like(largest), where=largest > 0)
    around = np.pad(np.concatenate((saturation[:1], saturation, saturation[-2:-1])), ((0, 0), (1, 1)), "edge")
    mean = (around[:-2, :-2] + around[:-2, 2:] + around[2:, :-2] + around[2:, 2:]).clip(max=4) / 4
    most = 1 - (1 - mean) / 4
    wrong = (saturation > mean) & (saturation > most)
    share = (most[wrong] / saturation[wrong])[:, None]
    faded = (largest[wrong, None] - (largest[wrong, None] - rgb[wrong]) * share).clip(0)
    before, after = rgb[wrong] @ weights, faded @ weights
    rgb[wrong] = faded * np.divide(before, after, out=np.ones_like(after), where=after > 0)[:, None]
    return rgb
