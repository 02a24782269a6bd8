"""Distances of views whose depth or disparity is known up to scale and shift: each view's own follow from where views overlap.

A point's inverse distance is the inverse depth of a view times the cosine of the angle to its axis, and that angle differs between views.
So two views of the same surface agree at one ratio of shift to scale only, and twelve views that overlap know all of theirs, up to one
scale. Where surfaces say little (a sphere around the camera), an assumed contrast decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_rays
from .sphere import in_view, panorama_directions, view_intrinsics

# The grid on which views are compared, and how many common pixels make a pair.
_HEIGHT, _WIDTH, _LEAST_COMMON = 64, 128, 8
_KNOWN = 0.5
# The assumed deviation of inverse depth (or depth) in a view, as a share of its mean, and how much that weighs beside the overlaps.
_CONTRAST, _ASSUMED = 0.3, 3e-3
# The least value, as a share of the mean: what lies beyond is at this end of the scale.
_LEAST = 0.02


def affine_to_distances(values: Sequence[Tensor], valid: Sequence[Tensor], rotations: Tensor, inverse: bool) -> list[Tensor]:
    """The distances of views whose values are known up to a scale and a shift of each.

    Args:
        values: (1, 1, S, S) of each view of 90 degrees: disparity, or relative depth.
        valid: (1, 1, S, S) bool.
        rotations: (N, 3, 3), from the panorama's axes to the views'.
        inverse: Whether values are large where near (disparity).

    Returns:
        (1, 1, S, S) distances of each view along its rays, on the CPU, positive; all up to one scale.
    """
    normalised = [_normalised(value.detach().cpu().float(), known.cpu()) for value, known in zip(values, valid, strict=True)]
    rotations = rotations.cpu()
    scales, shifts = _solved(*_overlaps(normalised, rotations, inverse), [bool(known.any()) for _, known in normalised])
    distances = []
    for (value, _), scale, shift in zip(normalised, scales.tolist(), shifts.tolist(), strict=True):
        side = value.shape[-1]
        length = torch.linalg.vector_norm(pixel_rays(view_intrinsics(side), side, side), dim=1, keepdim=True)
        planar = (scale * value + shift).clamp_min(_LEAST)
        distances.append(length / planar if inverse else length * planar)
    return distances


def _normalised(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Values of mean 0 and deviation 1, 0 where they are not valid."""
    valid = valid & torch.isfinite(value)
    count = valid.sum().clamp_min(1)
    value = torch.where(valid, value, 0)
    value = torch.where(valid, value - value.sum() / count, 0)
    return value / (value.square().sum() / count).sqrt().clamp_min(1e-6), valid


def _overlaps(views: Sequence[tuple[Tensor, Tensor]], rotations: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
    """The normal equations of scales and shifts (2 N, 2 N), and how much each view weighs in them (N,)."""
    directions = panorama_directions(_HEIGHT, _WIDTH)
    area = directions[0, 1].square().neg().add(1).sqrt()  # of a pixel: rows at the poles are short
    samples = []
    for (value, valid), rotation in zip(views, rotations, strict=True):
        places, weight = in_view(directions, rotation)
        summed, share = F.grid_sample(torch.cat((value, valid.to(value)), 1), places, "bilinear", "border", align_corners=False)[0]
        cosine = torch.einsum("c,chw->hw", rotation[2], directions[0]).clamp_min(1e-3)
        factor = cosine if inverse else 1 / cosine
        samples.append((summed / share.clamp_min(_KNOWN), factor, torch.where(share > _KNOWN, weight[0, 0] * area, 0)))
    count = len(samples)
    equations = torch.zeros(2 * count, 2 * count, dtype=torch.float64)
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
            place = torch.tensor([one, count + one, other, count + other])
            equations[place[:, None], place] += rows @ rows.T
    return equations, equations.diagonal()[count:].clone()


def _solved(equations: Tensor, weights: Tensor, used: list[bool]) -> tuple[Tensor, Tensor]:
    """Scales and shifts (N,), whose shifts are 1 on average."""
    count = len(weights)
    assumed = _ASSUMED * weights.mean().clamp_min(1e-9)
    known = torch.tensor(used, dtype=torch.float64)
    right = torch.cat((torch.full((count,), _CONTRAST), torch.full((count,), 1e-2))).double() * assumed
    system = equations + torch.diag(torch.cat((torch.ones(count), torch.full((count,), 1e-2))).double() * assumed)
    # Overlaps say nothing of the common scale: it is a condition, with its multiplier as one more unknown.
    whole = torch.zeros(2 * count + 1, 2 * count + 1, dtype=torch.float64)
    whole[:-1, :-1] = system
    whole[-1, count:-1] = whole[count:-1, -1] = known / known.sum().clamp_min(1)
    found = torch.linalg.solve(whole, torch.cat((right, torch.ones(1, dtype=torch.float64))))
    # A view that would be inside out sees next to nothing: it is taken to be flat.
    return found[:count].clamp_min(0), found[count : 2 * count].clamp_min(_LEAST)
