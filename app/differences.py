"""Measures differences of two estimates: of their final images, and of the maps in two files."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.alignment.metrics import angle_map, compare_depth, compare_normals
from ..geometry.estimate import Estimate, Quantity
from ..geometry.files import load_estimate
from ..geometry.images.render import default_depth_image
from ..geometry.surfaces.derive import with_normals

logger = logging.getLogger(__name__)

_LEVELS = 255


class Apart(NamedTuple):
    """The difference of two estimates, the larger of depth and normals, over all pixels valid in both, in 255ths of the image's range.

    `elsewhere`: share of the pixels that are valid in only one, 0 to 1.
    """

    largest: float
    mean: float
    elsewhere: float


def apart(found: Estimate, true: Estimate) -> Apart:
    """The difference of two estimates of the same images, over the maps that both have."""
    both = found.valid & true.valid
    differences = []
    if found.depth is not None and true.depth is not None:
        image, expected = (default_depth_image(replace(each, mask=both)) for each in (found, true))
        differences.append((image - expected)[both])
    if found.normals is not None and true.normals is not None:
        differences.append((found.normals - true.normals)[both.expand_as(true.normals)] / 2)
    largest, mean = zip(*map(_of, differences), strict=True)
    return Apart(max(largest), max(mean), (found.valid != true.valid).float().mean().item())


class Faithfulness(NamedTuple):
    """How faithful an estimate is to another of the same images: fields of `runtimes.measured.Measurement`."""

    levels: float
    degrees: float
    correlation: float
    moved: float


def faithfulness(found: Estimate, true: Estimate) -> Faithfulness:
    """The figures that decide whether a faster runtime may be chosen; `found` has depth, normals or both."""
    levels, degrees, correlation, moved = 0.0, 0.0, 1.0, 0.0
    both = found.valid & true.valid
    if found.depth is not None and true.depth is not None:
        image, expected = (default_depth_image(replace(each, mask=both)).cpu() for each in (found, true))
        levels = _share(_LEVELS * (image - expected)[both.cpu()].abs())
        correlation = torch.corrcoef(torch.stack((image[both.cpu()], expected[both.cpu()])).double())[0, 1].nan_to_num(1.0).item()
        moved = max(_moved(image, expected), _moved(expected, image))
    with_both = [each if each.normals is not None else with_normals(each) for each in (found, true)]
    angles = angle_map(*with_both)
    degrees = _share(angles[~angles.isnan()])
    return Faithfulness(levels, degrees, correlation, moved)


def _share(values: Tensor, share: float = 0.999) -> float:
    """A quantile of the values."""
    return values.flatten().kthvalue(max(1, math.ceil(share * values.numel()))).values.item() if values.numel() else 0.0


def _moved(image: Tensor, expected: Tensor) -> float:
    """Share of an image's edges (its steepest 2 %) without an edge at least half as steep within one pixel in the other."""
    steepness, others = (_steepness(each) for each in (image, expected))
    limit = steepness.flatten().kthvalue(max(1, math.ceil(0.98 * steepness.numel()))).values
    edges = steepness > limit.clamp(min=1e-6)
    near = F.max_pool2d(others, 3, 1, 1) >= steepness / 2
    return 1 - near[edges].double().mean().item() if edges.any() else 0.0


def _steepness(image: Tensor) -> Tensor:
    """The larger absolute difference to the right and lower neighbour, for (B, C, H, W)."""
    across, down = F.pad(image.diff(dim=-1), (0, 1)), F.pad(image.diff(dim=-2), (0, 0, 0, 1))
    return torch.maximum(across.abs(), down.abs())


def _of(difference: Tensor) -> tuple[float, float]:
    levels = _LEVELS * difference.abs()
    return (levels.max().item(), levels.mean().item()) if len(levels) else (0.0, 0.0)


def read_both(
    found_path: Path,
    truth_path: Path,
    normals_from_depth: bool,
    quantities: tuple[Quantity | None, Quantity | None] = (None, None),
    channels: tuple[str | None, str | None] = (None, None),
) -> tuple[Estimate, Estimate]:
    """Reads two files to compare; the second is the ground truth.

    `normals_from_depth` replaces the first's normals by those of its depth. `quantities` and `channels` are as in `load_estimate`, one per
    file. Raises ValueError or OSError if a file cannot be read, or they have no kind of map in common.
    """
    evaluated = load_estimate(found_path, quantities[0], channel=channels[0])
    truth = load_estimate(truth_path, quantities[1], channel=channels[1])
    if evaluated.quantity is not None and truth.quantity is not None:
        paths = (found_path, truth_path)
        silent = [path for path, said in zip(paths, quantities, strict=True) if path.suffix.lower() == ".pfm" and said is None]
        if len(silent) == 2 or (silent and evaluated.quantity != truth.quantity):
            kinds = f"{evaluated.quantity.value} is compared with {truth.quantity.value}"
            logger.warning("%s: not said what the depth is, taken for metres; %s", " and ".join(map(str, silent)), kinds)
    if normals_from_depth:
        evaluated = with_normals(replace(evaluated, normals=None), edges="sharp")
    if (evaluated.depth is None or truth.depth is None) and (evaluated.normals is None or truth.normals is None):
        raise ValueError(f"{found_path} and {truth_path} hold nothing of the same kind: one has depth, the other normals")
    return evaluated, truth


def errors_of(found: Estimate, truth: Estimate) -> dict[str, dict[str, float]]:
    """The figures of `compare_depth` and `compare_normals` under "depth" and "normals", for maps that both estimates have.

    Raises ValueError if sizes or projections differ, or there is no pixel to compare.
    """
    if found.projection is not truth.projection:
        raise ValueError(f"the first file is {found.projection.value}, the second {truth.projection.value}; compare two of one projection")
    errors = {}
    if found.depth is not None and truth.depth is not None:
        errors["depth"] = compare_depth(found, truth)
    if found.normals is not None and truth.normals is not None:
        errors["normals"] = compare_normals(found, truth)
    return errors
