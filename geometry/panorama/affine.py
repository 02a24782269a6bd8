"""Converts affine-invariant views to distances: their overlaps determine each view's scale and shift.

A point's inverse distance is its inverse depth times the cosine of the angle to the view's axis, and this angle differs between views. So
two views of a surface agree for only one ratio of shift to scale. Twelve overlapping views determine all their scales and shifts, up to one
common scale. Normals, if available, constrain each view separately, through the relative slope of inverse depth. Where surfaces give no
constraint, such as a sphere around the camera, an assumed contrast decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import vector_lengths, without_autocast
from ..camera import pixel_rays
from ..sphere import in_view, panorama_directions, view_intrinsics

# Size of the panorama grid on which views are compared, and least number of common pixels of a pair of views.
_HEIGHT, _WIDTH, _LEAST_COMMON = 64, 128, 8
# Least share of valid pixels around a sample.
_KNOWN = 0.5
# Assumed standard deviation of inverse depth (or depth) in a view, as a share of its mean; its weight relative to the overlaps.
_CONTRAST, _ASSUMED = 0.3, 3e-3
# Least inverse depth (or depth), as a share of the mean shift; smaller values are clamped to it.
_LEAST = 0.02
# Normals: size of the grid on which they are compared with slopes; their weight relative to the overlaps; least cosine to the ray at
# which they constrain depth; and the slope, in medians, above which a slope is more likely an edge.
_GRID, _BY_NORMALS, _LEAST_COSINE, _EDGE = 48, 0.3, 0.25, 3.0


def affine_to_distances(
    values: Sequence[Tensor], valid: Sequence[Tensor], rotations: Tensor, inverse: bool, normals: Sequence[Tensor | None] = ()
) -> list[Tensor]:
    """Aligns N views, whose values are known up to a scale and a shift each, and converts them to distances.

    Args:
        values: N maps (1, 1, S, S), each of a view of 90 degrees: disparity, or relative depth.
        valid: N masks (1, 1, S, S) bool.
        rotations: (N, 3, 3), from the panorama's axes to the views'.
        inverse: True for disparity, False for relative depth.
        normals: N maps (1, 3, S, S) in the views' OPENCV axes, 0 where unknown, or None for views without normals. Empty = no normals.

    Returns:
        N maps (1, 1, S, S) of positive distances along the rays, on the CPU, up to one common scale.
    """
    normalised = [_normalised(value.detach().cpu().float(), known.cpu()) for value, known in zip(values, valid, strict=True)]
    rotations = rotations.cpu()
    equations, strength = _overlaps(normalised, rotations, inverse)
    for index, (view, facing) in enumerate(zip(normalised, normals, strict=False)):
        if facing is not None:
            place = torch.tensor([index, len(normalised) + index], device="cpu")
            equations[place[:, None], place] += _BY_NORMALS * strength * _slopes(*view, facing.detach().cpu().float(), inverse)
    scales, shifts = _solved(equations, strength, [bool(known.any()) for _, known in normalised])
    distances = []
    for (value, _), scale, shift in zip(normalised, scales.tolist(), shifts.tolist(), strict=True):
        side = value.shape[-1]
        length = vector_lengths(pixel_rays(view_intrinsics(side), side, side))
        planar = (scale * value + shift).clamp_min(_LEAST)
        distances.append(length / planar if inverse else length * planar)
    return distances


def _normalised(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Standardises values to mean 0 and deviation 1, with 0 where they are invalid. Returns them and the finite valid pixels."""
    valid = valid & torch.isfinite(value)
    count = valid.sum().clamp_min(1)
    value = torch.where(valid, value, 0)
    value = torch.where(valid, value - value.sum() / count, 0)
    return value / (value.square().sum() / count).sqrt().clamp_min(1e-6), valid


@without_autocast
def _overlaps(views: Sequence[tuple[Tensor, Tensor]], rotations: Tensor, inverse: bool) -> tuple[Tensor, float]:
    """The normal equations for N scales and then N shifts, (2 N, 2 N), and the mean weight of a view in them; 1 without overlaps."""
    directions = panorama_directions(_HEIGHT, _WIDTH)
    area = directions[0, 1].square().neg().add(1).sqrt()  # relative area of a pixel, which shrinks towards the poles
    samples = []
    for (value, valid), rotation in zip(views, rotations, strict=True):
        places, weight = in_view(directions, rotation)
        summed, share = F.grid_sample(torch.cat((value, valid.to(value)), 1), places, "bilinear", "border", align_corners=False)[0]
        cosine = torch.einsum("c,chw->hw", rotation[2], directions[0]).clamp_min(1e-3)
        factor = cosine if inverse else 1 / cosine
        samples.append((summed / share.clamp_min(_KNOWN), factor, torch.where(share > _KNOWN, weight[0, 0] * area, 0)))
    count = len(samples)
    equations = torch.zeros(2 * count, 2 * count, dtype=torch.float64, device="cpu")
    for one in range(count):
        for other in range(one):
            weight = (samples[one][2] * samples[other][2]).sqrt()
            common = weight > 0
            if int(common.sum()) < _LEAST_COMMON:
                continue
            columns = [
                sign * column
                for sign, (value, factor, _) in ((1, samples[one]), (-1, samples[other]))
                for column in ((value * factor)[common], factor[common])
            ]
            rows = (torch.stack(columns) * weight[common].sqrt()).double()
            place = torch.tensor([one, count + one, other, count + other], device="cpu")
            equations[place[:, None], place] += rows @ rows.T
    weight = float(equations.diagonal()[count:].mean())
    return equations, weight or 1.0


def _slopes(value: Tensor, valid: Tensor, normals: Tensor, inverse: bool) -> Tensor:
    """The normal equations (2, 2) for the scale and shift of one view, by which its depth has the slopes of its normals."""
    share = F.adaptive_avg_pool2d(valid.to(value), _GRID)
    value = F.adaptive_avg_pool2d(value, _GRID) / share.clamp_min(_KNOWN)
    normals = F.normalize(F.adaptive_avg_pool2d(normals, _GRID), dim=1)
    rays = pixel_rays(view_intrinsics(_GRID), _GRID, _GRID)
    facing = (normals * rays).sum(1, keepdim=True)
    usable = (share > 0.99) & (facing.abs() > _LEAST_COSINE * vector_lengths(rays))
    usable[..., (0, -1)] = usable[..., (0, -1), :] = False
    slopes = torch.zeros(2, 2, dtype=torch.float64, device="cpu")
    for axis, dim in ((0, 3), (1, 2)):
        slope = (value.roll(-1, dim) - value.roll(1, dim)) * (_GRID / 4)  # central difference per unit of the ray's x or y
        known = usable & usable.roll(-1, dim) & usable.roll(1, dim)
        if not bool(known.any()):
            continue
        # On a plane, inverse depth is n . ray times a constant. Its relative change is n / (n . ray); the one of depth is the negative.
        relative = normals[:, axis : axis + 1] / facing * (-1 if inverse else 1)
        rows = torch.stack(((slope + value * relative)[known], relative[known])).double()
        steep = slope[known].abs()
        rows /= (1 + (steep / (_EDGE * steep.median().clamp_min(1e-3))) ** 2).sqrt()
        slopes += rows @ rows.T / _GRID**2
    return slopes


def _solved(equations: Tensor, strength: float, used: list[bool]) -> tuple[Tensor, Tensor]:
    """Scales and shifts, (N,) each. The shifts of the `used` views have mean 1."""
    count = len(used)
    assumed = _ASSUMED * strength
    known = torch.tensor(used, dtype=torch.float64, device="cpu")
    least = torch.full((count,), 1e-2, dtype=torch.float32, device="cpu")
    right = torch.cat((torch.full_like(least, _CONTRAST), least)).double() * assumed
    system = equations + torch.diag(torch.cat((torch.ones_like(least), least)).double() * assumed)
    # Overlaps leave the common scale free. A constraint with a Lagrange multiplier, the last unknown, fixes it.
    whole = torch.zeros(2 * count + 1, 2 * count + 1, dtype=torch.float64, device="cpu")
    whole[:-1, :-1] = system
    whole[-1, count:-1] = whole[count:-1, -1] = known / known.sum().clamp_min(1)
    solution = torch.linalg.solve(whole, torch.cat((right, torch.ones(1, dtype=torch.float64, device="cpu"))))
    # A negative scale results only from views with next to no information; they become flat.
    return solution[:count].clamp_min(0), solution[count : 2 * count].clamp_min(_LEAST)
