"""Prints delta1 and AbsRel of networks and teachers on a real street whose geometry is known from two photos of it.

    python -m training.streets --data DIR --weights DIR [--model FILE ...]

The photos (leuvenA.jpg and leuvenB.jpg of opencv-doc) are training photos, but their labels are the teacher's. The depth of a few hundred
points follows from their motion between the two, up to one scale: focal length by self-calibration, square pixels, centre in the middle.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from .data import read_photos
from .evaluate import at_size_of, disparity_of, load_tiny
from .export import SHIPPED
from .measures import aligned_depth_scores
from .parts import data_parser
from .teacher import Teacher

STREET = "b2977cdbd9fb3f", "5bb41a60038a2b"
ENLARGED = 2  # finds four times as many matches
MOST_SIMILAR = 0.8  # ratio of the best match's distance to the second best
MOST_ERROR, LEAST_ANGLE = 1.0, 1.5  # reprojection error in pixels in both photos together; degrees between the rays
FOCAL_LENGTHS = np.linspace(0.6, 1.6, 41)  # in widths
CELL = 16  # pixels; one match per cell, because matches cluster on texture


def matches(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (N, 2) of matching points in two images (H, W, 3) uint8."""
    sift = cv2.SIFT_create(20000, contrastThreshold=0.01)
    (points, described), (others, to_compare) = (sift.detectAndCompute(image, None) for image in (first, second))
    pairs = cv2.BFMatcher().knnMatch(described, to_compare, k=2)
    kept = [best for best, next_best in pairs if best.distance < MOST_SIMILAR * next_best.distance]
    found = np.array([(*points[m.queryIdx].pt, *others[m.trainIdx].pt) for m in kept])
    found = found[np.unique(found[:, :2].round(), axis=0, return_index=True)[1]]
    return found[:, :2], found[:, 2:]


def camera(fundamental: np.ndarray, width: int, height: int) -> np.ndarray:
    """(3, 3) intrinsics with the focal length that makes the essential matrix's two singular values equal."""

    def intrinsics(focal: float) -> np.ndarray:
        return np.array([[focal * width, 0, width / 2], [0, focal * width, height / 2], [0, 0, 1]])

    def evenness(matrix: np.ndarray) -> float:
        values = np.linalg.svd(matrix.T @ fundamental @ matrix, compute_uv=False)
        return values[1] / values[0]

    return max((intrinsics(focal) for focal in FOCAL_LENGTHS), key=evenness)


def two_view_depth(first: np.ndarray, second: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (N,) of the matches that fit one rigid motion between two photos, and their depth in each photo, in one unit."""
    cv2.setRNGSeed(0)
    fundamental, fits = cv2.findFundamentalMat(first, second, cv2.USAC_MAGSAC, 1.0, 0.9999, 100_000)
    kept = np.flatnonzero(fits)
    matrix = camera(fundamental, width, height)
    essential, fits = cv2.findEssentialMat(first[kept], second[kept], matrix, cv2.USAC_MAGSAC, 0.9999, 1.0)
    kept = kept[fits.ravel() > 0]
    _, turn, step, _ = cv2.recoverPose(essential, first[kept], second[kept], matrix)
    cameras = matrix @ np.eye(3, 4), matrix @ np.hstack((turn, step))
    points = cv2.triangulatePoints(*cameras, first[kept].T, second[kept].T)
    projected = [view @ (points / points[3]) for view in cameras]
    pairs = zip(projected, (first[kept], second[kept]), strict=True)
    errors = sum(np.linalg.norm(each[:2] / each[2] - seen.T, axis=0) for each, seen in pairs)
    rays = [np.linalg.inv(matrix) @ np.vstack((seen[kept].T, np.ones(len(kept)))) for seen in (first, second)]
    rays = [ray / np.linalg.norm(ray, axis=0) for ray in (rays[0], turn.T @ rays[1])]
    angles = np.degrees(np.arccos((rays[0] * rays[1]).sum(0).clip(-1, 1)))
    good = (projected[0][2] > 0) & (projected[1][2] > 0) & (errors < MOST_ERROR) & (angles > LEAST_ANGLE)
    return kept[good], projected[0][2][good], projected[1][2][good]


def one_in_a_cell(points: np.ndarray) -> np.ndarray:
    """Indices of one of the points (N, 2) in each cell of `CELL` pixels."""
    return np.unique((points / CELL).astype(int), axis=0, return_index=True)[1]


def scores(disparity: np.ndarray, points: np.ndarray, depth: np.ndarray) -> str:
    """delta1 / AbsRel of (H, W) at the points (N, 2), after a fit of scale and shift in disparity."""
    kept = one_in_a_cell(points)
    columns, rows = points[kept].round().astype(int).T
    seen = disparity[rows.clip(0, disparity.shape[0] - 1), columns.clip(0, disparity.shape[1] - 1)]
    delta, relative = aligned_depth_scores(seen, 1 / depth[kept], np.ones(len(kept), bool))
    return f"{delta:.3f} / {relative:.3f} ({len(kept)} points)"


def estimators(teacher: Teacher, models: list[Path]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Disparity (H, W) of an image (H, W, 3) uint8: by FastDepth, by the teacher with and without FastDepth, and by networks."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "FastDepth": lambda image: at_size_of(image, teacher.fastdepth_disparity(image)),
        "teacher": teacher,
        "teacher, outdoors": partial(teacher, outdoors=True),
    }
    return found | {path.name: partial(disparity_of, load_tiny(path)) for path in (SHIPPED, *models)}


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the teacher's, see training.teacher")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="beside the one that ships")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos = {photo.id: photo for photo in read_photos(arguments.data)}
    if missing := [name for name in STREET if name not in photos]:
        parser.error(f"{arguments.data} lacks {' and '.join(missing)}: run training.data --packages opencv-doc first")
    images = [
        cv2.resize(photos[name].read(arguments.data), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC) for name in STREET
    ]
    first, second = matches(*images)
    kept, *depths = two_view_depth(first, second, images[0].shape[1], images[0].shape[0])
    for name, run in estimators(Teacher(arguments.weights), arguments.model).items():
        rows = zip(images, (first[kept], second[kept]), depths, strict=True)
        sys.stdout.write(f"| {name} | {' | '.join(scores(run(image), points, depth) for image, points, depth in rows)} |\n")


if __name__ == "__main__":
    main()
