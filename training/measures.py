"""Metrics for tiny, including frames around images, the sky and temporal stability; see `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.assumptions import assumed_depth
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.temporal.stabilization import VideoAligner, VideoOptions
from depth_normal.utils import check_images, images_to_rgb

from .data import read_photos
from .skies import looked_at


def estimate_of(tiny: TinyAnnotator, image: np.ndarray) -> Estimate:
    """The network's estimate of an image (H, W, 3) uint8, at its size."""
    with torch.inference_mode():
        return tiny.estimate(images_to_rgb(check_images(image))).resized(*image.shape[:2])


def aligned_depth_scores(prediction: np.ndarray, true_disparity: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """(delta1, AbsRel) of depth after a least-squares fit of scale and shift in disparity."""
    x, y = prediction[valid].astype(np.float64), true_disparity[valid].astype(np.float64)
    scale, shift = np.linalg.lstsq(np.stack((x, np.ones_like(x)), 1), y, rcond=None)[0]
    depth, truth = 1 / np.maximum(scale * x + shift, 0.1 * y.min()), 1 / y
    return float((np.maximum(depth / truth, truth / depth) < 1.25).mean()), float((abs(depth - truth) / truth).mean())


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation."""
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


Estimator = Callable[[np.ndarray], np.ndarray]

FRAME = 12  # pixels
GRAIN = 2.0  # standard deviation of a camera's noise, of 255
SHARES = 0.01  # minimum share of a photograph with sky
BORDER = 1 / 32  # of the shorter side: where convolution padding shows most
LINES_AT = 112  # shorter side, in pixels, at which lines are measured: half the network's input
RATIOS = (0.0, 3.0, 6.0, 10.0, 30.0)  # near-far ratios; 0 = automatic
STILL = 0.5  # maximum change of a pixel's true level of 255 between frames for it to count as still


def framed(image: np.ndarray) -> np.ndarray:
    """The image with its border painted over by a white frame."""
    framed = np.full_like(image, 255)
    framed[FRAME:-FRAME, FRAME:-FRAME] = image[FRAME:-FRAME, FRAME:-FRAME]
    return framed


def frame_losses(estimators: dict[str, Estimator]) -> dict[str, str]:
    """The loss of delta1 on the stereo photograph by a white frame, measured inside the frame."""
    image, disparity, valid = motorcycle_photograph()
    inside = np.zeros_like(valid)
    inside[FRAME:-FRAME, FRAME:-FRAME] = valid[FRAME:-FRAME, FRAME:-FRAME]
    result = {}
    for name, run in estimators.items():
        plain, in_frame = (aligned_depth_scores(run(shown), disparity, inside)[0] for shown in (image, framed(image)))
        result[name] = f"{plain - in_frame:.3f}"
    return result


def at_border(height: int, width: int) -> np.ndarray:
    """(H, W) bool: the pixels within `BORDER` of the border."""
    wide = max(1, round(BORDER * min(height, width)))
    border = np.ones((height, width), bool)
    border[wide:-wide, wide:-wide] = False
    return border


def border_lines(estimators: dict[str, Estimator], data: Path) -> dict[str, str]:
    """Mean second difference across the border on kept-out photographs: within `BORDER`, relative to just inside."""
    photographs = [np.ascontiguousarray(photo.read(data)) for photo in read_photos(data, "test")]
    result = {}
    for name, run in estimators.items():
        bends = np.mean([_bends(run(image)) for image in photographs], 0)
        wide = round(BORDER * LINES_AT)
        result[name] = f"{bends[:wide].mean() / bends[wide:].mean():.2f} ({len(photographs)} images)"
    return result


def _bends(disparity: np.ndarray) -> np.ndarray:
    """Mean second difference at each distance from the border, outermost first, in units of the mean absolute deviation."""
    scale = LINES_AT / min(disparity.shape)
    small = cv2.resize(disparity, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ends = [turned[: round(4 * BORDER * LINES_AT) + 2] for turned in (small, small[::-1], small.T, small.T[::-1])]
    return np.mean([np.abs(np.diff(each, 2, axis=0)).mean(1) for each in ends], 0) / np.abs(small - np.median(small)).mean()


def sky_of(tiny: TinyAnnotator, image: np.ndarray) -> np.ndarray:
    """(H, W) bool; all False for networks that do not predict the sky."""
    mask = estimate_of(tiny, image).mask
    return np.zeros(image.shape[:2], bool) if mask is None else ~mask[0, 0].numpy()


def shows_sky(tiny: TinyAnnotator, image: np.ndarray) -> bool:
    """Whether enough sky is predicted for the image to count as having some."""
    return bool(sky_of(tiny, image).mean() > SHARES)


def sky_scores(tinies: dict[str, TinyAnnotator], data: Path) -> dict[str, str]:
    """IoU on kept-out renders with sky, false sky on those without, and the number of kept-out photographs with predicted sky."""
    result = {}
    photographs = [np.ascontiguousarray(photo.read(data)) for photo in read_photos(data, "test")]
    for name, tiny in tinies.items():
        both = either = false = without = 0
        for path in sorted((data / "kept").glob("*.npz")):
            with np.load(path) as arrays:
                image, truth = arrays["rgb"], arrays["disparity"] == 0
            found = sky_of(tiny, image)
            if truth.any():
                both, either = both + (found & truth).sum(), either + (found | truth).sum()
            else:
                false, without = false + found.sum(), without + truth.size
        seen = sum(shows_sky(tiny, image) for image in photographs)
        result[name] = f"{both / max(1, either):.3f} / {false / max(1, without):.3f} / {seen} of {len(photographs)}"
    return result


def false_skies(tinies: dict[str, TinyAnnotator], data: Path) -> dict[str, str]:
    """The number of photographs, of any split, known to be without sky in which some is predicted."""
    seen = looked_at()
    photographs = [photo for photo in read_photos(data) if seen.get(photo.id) == "no"]
    found = dict.fromkeys(tinies, 0)
    for photo in photographs:
        image = np.ascontiguousarray(photo.read(data))
        for name, tiny in tinies.items():
            found[name] += shows_sky(tiny, image)
    return {name: f"{count} of {len(photographs)}" for name, count in found.items()}


def shapes(tiny: TinyAnnotator, data: Path) -> list[str]:
    """Lines: the mean AbsRel, after a scale, of assumed depth on kept-out renders with and without predicted sky, for near-far ratios."""
    errors: dict[tuple[bool, float], list[float]] = {}
    for path in sorted((data / "kept").glob("*.npz")):
        with np.load(path) as arrays:
            image, truth = arrays["rgb"], arrays["disparity"].astype(np.float64)
        estimate = estimate_of(tiny, image)
        land = estimate.valid[0, 0].numpy()
        valid, has_sky = land & (truth > 0), (~land).mean() > SHARES
        for ratio in RATIOS:
            depth = assumed_depth(estimate, ratio)[0, 0].numpy()[valid] * truth[valid]
            errors.setdefault((has_sky, ratio), []).append(float(np.abs(depth / np.median(depth) - 1).mean()))
    lines = []
    for sky in sorted({sky for sky, _ in errors}):
        means = ", ".join(f"{ratio or 'automatic'} {np.mean(errors[sky, ratio]):.3f}" for ratio in RATIOS)
        lines.append(f"AbsRel by near-far ratio, {'with' if sky else 'without'} sky ({len(errors[sky, 0.0])} views): {means}")
    return lines


def flicker(estimators: dict[str, Callable[[np.ndarray], Estimate]], data: Path) -> dict[str, dict[str, str]]:
    """By clip and estimator: the change between frames, of 255 levels, of pixels whose ground truth does not change.

    Two numbers: image by image, and stabilised as by `depth-normal video`.
    """
    return {path.stem: {name: _flicker(run, path) for name, run in estimators.items()} for path in sorted((data / "clips").glob("*.npz"))}


def _flicker(run: Callable[[np.ndarray], Estimate], path: Path) -> str:
    with np.load(path) as arrays:
        frames, truth = arrays["rgb"], arrays["disparity"].astype(np.float64)
    random = np.random.default_rng(0)
    noisy = (frames + random.normal(0, GRAIN, frames.shape)).round().clip(0, 255).astype(np.uint8)
    found = Estimate.cat([run(frame) for frame in noisy])
    held = VideoAligner(VideoOptions()).push(torch.from_numpy(noisy).movedim(-1, 1).float() / 255, found)
    assert found.depth is not None
    assert held.depth is not None
    video = depth_to_image(held.depth, Quantity.DISPARITY, normalisation="per_clip", mask=held.mask)
    return " / ".join(f"{_change(values[:, 0].numpy(), truth):.2f}" for values in (found.depth, video))


def _change(found: np.ndarray, truth: np.ndarray) -> float:
    """Change with one range for the clip, as `per_clip`; one fit per clip gives the truth the network's scale and shift."""
    levels = (found - found.min()).astype(np.float64) * (255 / (found.max() - found.min()))
    scale, shift = np.polyfit(truth.ravel(), levels.ravel(), 1)
    changes, due = np.diff(levels, axis=0), np.diff(scale * truth + shift, axis=0)
    return float(np.abs(changes - due)[np.abs(due) < STILL].mean())
