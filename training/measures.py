"""How good maps are, in numbers."""

from __future__ import annotations

import numpy as np
import torch

from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.estimate import Estimate
from depth_normal.utils import check_images, images_to_rgb


def estimate_of(tiny: TinyAnnotator, image: np.ndarray) -> Estimate:
    """What the network says of an image (H, W, 3) uint8, at its size."""
    with torch.inference_mode():
        return tiny.estimate(images_to_rgb(check_images(image))).resized(*image.shape[:2])


def aligned_depth_scores(prediction: np.ndarray, true_disparity: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """(delta1, AbsRel) of depth after scale and shift are fitted in disparity, by least squares."""
    x, y = prediction[valid].astype(np.float64), true_disparity[valid].astype(np.float64)
    scale, shift = np.linalg.lstsq(np.stack((x, np.ones_like(x)), 1), y, rcond=None)[0]
    depth, truth = 1 / np.maximum(scale * x + shift, 0.1 * y.min()), 1 / y
    return float((np.maximum(depth / truth, truth / depth) < 1.25).mean()), float((abs(depth - truth) / truth).mean())


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the ranks."""
    ranks = np.stack([np.argsort(np.argsort(x.ravel(), kind="stable"), kind="stable") for x in (first, second)])
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def angular_error(normals: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors in the last dimension."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(normals, truth), axis=-1), (normals * truth).sum(-1)))


def motorcycle_photograph() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-image's stereo photograph, its measured disparity, and where it was measured."""
    from skimage.data import stereo_motorcycle

    left, _, disparity = stereo_motorcycle()
    offset = 31.086  # pixels between the two principal points
    valid = np.isfinite(disparity) & (disparity > 0)
    return left, np.where(valid, disparity + offset, 1), valid
