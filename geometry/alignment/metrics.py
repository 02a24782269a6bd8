"""Error measures between two estimates of one view: depth, normals, and whether their axes agree.

Computed on the CPU, because the sums are in float64, which not every device supports.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...utils import vector_lengths
from ..conventions import convert_normals
from ..estimate import Axes, Estimate, Quantity
from ..kinds import ZERO_AT_CAMERA
from ..levels import depth_to_nearness
from ..valid import valid_normals
from .scale_shift import fit_scale_shift

logger = logging.getLogger(__name__)


def compare_normals(found: Estimate, ground_truth: Estimate) -> dict[str, float]:
    """Angles in degrees between two normal maps of the same size, each in any axes.

    Returns:
        "mean", "median", "RMSE", and the percentage of pixels below 5, 7.5, 11.25, 22.5 and 30 degrees, over the pixels that are valid in
        both.

    Raises:
        ValueError: Normals missing, sizes that differ, or no pixel to compare.
    """
    angles = angle_map(found, ground_truth)
    angles = angles[~angles.isnan()]
    shares = {f"below {limit:g} %": 100 * (angles < limit).double().mean().item() for limit in (5, 7.5, 11.25, 22.5, 30)}
    rmse = angles.square().mean().sqrt().item()
    return {"mean": angles.mean().item(), "median": angles.median().item(), "RMSE": rmse, **shares}


def angle_map(found: Estimate, ground_truth: Estimate) -> Tensor:
    """The angle of `compare_normals` at each pixel: (B, 1, H, W) float64, degrees, on the CPU; NaN where one of the two is not valid."""
    if found.normals is None or ground_truth.normals is None:
        raise ValueError("both files need normals; give a file that has them, or have them derived from depth")
    found, ground_truth, valid = _on_cpu(found, ground_truth)
    a, b = (convert_normals(each.normals.double(), each.axes, Axes.OPENGL) for each in (found, ground_truth) if each.normals is not None)
    angles = torch.rad2deg(torch.atan2(vector_lengths(torch.linalg.cross(a, b, dim=1)), (a * b).sum(1, keepdim=True)))
    return angles.masked_fill(~valid, torch.nan)


def compare_depth(found: Estimate, ground_truth: Estimate) -> dict[str, float]:
    """Errors of a depth map against another.

    Two metric maps are compared directly. Otherwise `found` is first aligned with `ground_truth` by least-squares scale and shift, each
    image of a batch by itself: in disparity if one of the two is disparity, else in depth. Aligned disparity becomes depth of at most the
    ground truth's largest, as in MoGe's and Marigold's evaluation: near 0 it would be any number of metres. Raises ValueError: depth
    missing, relative depth and disparity, sizes that differ, or no pixel to compare.

    Args:
        found: An estimate with depth.
        ground_truth: Another of the same size; if one of the two is relative, this should be the metric one.

    Returns:
        "correlation" (before fitting; negative: near and far are swapped) and "RMSE" (in the ground truth's unit); against metric depth
        also "AbsRel" and "delta1 %", the percentage of pixels whose ratio to the ground truth is below 1.25; of two metric maps also the
        "median ratio" to the ground truth, and the "scaled AbsRel" after division by it: depth up to scale has no other error.
    """
    a, b, correlation, _ = _aligned(found, ground_truth)
    errors = {"correlation": correlation, "RMSE": (a - b).square().mean().sqrt().item()}
    if ground_truth.quantity in ZERO_AT_CAMERA:
        close = torch.maximum(a / b, b / a) < 1.25
        errors |= {"AbsRel": ((a - b).abs() / b).mean().item(), "delta1 %": 100 * (close & (a > 0)).double().mean().item()}
        if found.quantity in ZERO_AT_CAMERA:
            ratio = (a / b).median()
            errors |= {"median ratio": ratio.item(), "scaled AbsRel": ((a / ratio - b).abs() / b).mean().item()}
    return errors


def depth_error_map(found: Estimate, ground_truth: Estimate) -> Tensor:
    """The signed depth error at each pixel, after the alignment of `compare_depth`.

    (B, 1, H, W) float64 in percent, on the CPU; NaN where one of the two is not valid. Against metric depth: relative to the ground truth,
    positive where `found` is farther. Else: relative to the ground truth's range, positive where `found` is larger.
    """
    a, b, _, valid = _aligned(found, ground_truth)
    whole = b if ground_truth.quantity in ZERO_AT_CAMERA else (b.max() - b.min()).clamp(min=1e-12)
    errors = torch.full(valid.shape, torch.nan, dtype=torch.float64, device="cpu")
    errors[valid] = 100 * (a - b) / whole
    return errors


def disagreeing_axes(normals: Estimate, depth: Estimate) -> tuple[str, ...]:
    """Those of "x" and "y" in which normals and depth contradict each other (correlation below -0.2); logs a warning for each.

    A surface that faces right gets farther to the right, and one that faces up gets farther upwards, so the depth's slope and the normals'
    component correlate positively. Depth steps are clamped to the mean slope. Invalid pixels, and slopes beside them, are ignored. Any
    axes, quantity and size of either. Raises ValueError: no normals, or no depth, or not the same number of images.
    """
    if normals.normals is None or depth.depth is None or normals.batch != depth.batch:
        raise ValueError(
            f"needs normals and a depth of the same images; found {normals.batch} images with normals: {normals.normals is not None}, "
            f"{depth.batch} with depth: {depth.depth is not None}"
        )
    depth = depth.to(normals.device).resized(normals.height, normals.width)
    value, quantity, valid = depth.known_depth()
    normals_valid = valid_normals(normals.normals, normals.mask)
    farness = torch.where(valid, -depth_to_nearness(value, quantity), 0)
    vectors = convert_normals(normals.normals, normals.axes, Axes.OPENGL)
    right, left = (..., slice(1, -1), slice(2, None)), (..., slice(1, -1), slice(-2))
    above, below = (..., slice(-2), slice(1, -1)), (..., slice(2, None), slice(1, -1))
    wrong = []
    for index, (axis, plus, minus) in enumerate((("x", right, left), ("y", above, below))):
        usable = valid[plus] & valid[minus] & normals_valid[..., 1:-1, 1:-1]
        slope = torch.where(usable, farness[plus] - farness[minus], 0)
        limit = slope.abs().sum() / usable.sum().clamp(min=1)
        slope = slope.clamp(-limit, limit)
        component = torch.where(usable, vectors[:, index : index + 1, 1:-1, 1:-1], 0)
        correlation = ((slope * component).sum() / (slope.norm() * component.norm()).clamp(min=1e-12)).item()
        if correlation < -0.2:
            wrong.append(axis)
            logger.warning(
                "the normals disagree with the depth about %s (correlation %.2f): probably their native axes are not what their entry says",
                axis.upper(),
                correlation,
            )
    return tuple(wrong)


def _aligned(found: Estimate, ground_truth: Estimate) -> tuple[Tensor, Tensor, float, Tensor]:
    """Both aligned depths where valid (float64); their images' mean correlation before alignment; and the mask (B, 1, H, W)."""
    if found.depth is None or ground_truth.depth is None:
        raise ValueError("both files need depth; one of them has none")
    quantities = (found.quantity, ground_truth.quantity)
    if {*quantities} == {Quantity.RELATIVE_DEPTH, Quantity.DISPARITY}:
        raise ValueError(
            "one is relative depth, the other disparity, and neither has a known zero, so that neither can be inverted; compare each with "
            "metric depth"
        )
    found, ground_truth, valid = _on_cpu(found, ground_truth)
    assert found.depth is not None and ground_truth.depth is not None
    inverse = Quantity.DISPARITY in quantities
    images, correlations = [], []
    for *maps, usable in zip(found.depth, ground_truth.depth, valid, strict=True):
        if not usable.any():
            continue
        values = (each[usable].double() for each in maps)
        a, b = (1 / v if inverse and q is not Quantity.DISPARITY else v for v, q in zip(values, quantities, strict=True))
        x, y = a - a.mean(), b - b.mean()
        correlations.append(((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt().clamp(min=1e-30)).item())
        if not all(quantity in ZERO_AT_CAMERA for quantity in quantities):
            scale, shift = fit_scale_shift(a[None], b[None])
            a = scale[0] * a + shift[0]
            if inverse and ground_truth.quantity in ZERO_AT_CAMERA:
                a, b = 1 / a.clamp(min=b.min()), 1 / b
        images.append((a, b))
    a, b = map(torch.cat, zip(*images, strict=True))
    return a, b, sum(correlations) / len(correlations), valid


def _on_cpu(found: Estimate, ground_truth: Estimate) -> tuple[Estimate, Estimate, Tensor]:
    """Both on the CPU, and where both are valid."""
    found, ground_truth = found.to("cpu"), ground_truth.to("cpu")
    sizes = [(each.batch, each.height, each.width) for each in (found, ground_truth)]
    if sizes[0] != sizes[1]:
        (b1, h1, w1), (b2, h2, w2) = sizes
        raise ValueError(f"the files differ in size: {b1} of {w1}x{h1} against {b2} of {w2}x{h2}; compare maps of one size")
    valid = found.valid & ground_truth.valid
    if not valid.any():
        raise ValueError("there is nothing to compare: no pixel is valid in both files")
    return found, ground_truth, valid
