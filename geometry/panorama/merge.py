"""Merges the distances of perspective views into one panorama, by the gradients of their logarithm.

Affine-invariant views are converted to distances first: a point's inverse distance is its inverse depth times the cosine of the angle to
the view's axis, and this angle differs between views. So two views of a surface agree for only one ratio of shift to scale; twelve
overlapping views determine all scales and shifts, up to one common scale. Normals, if available, constrain each view through the relative
slope of inverse depth. Where surfaces give no constraint, such as a sphere around the camera, an assumed contrast decides.

Each view still has its own scale error, and networks are worse near a view's border. Differences of log distance between neighbouring
pixels do not depend on the scale; least squares finds the panorama whose differences match the views'. The absolute level comes from the
views, after their scales are aligned.

Source:
    Wang et al., "MoGe: Unlocking Accurate Monocular Geometry Estimation" (2024), and its code: gradients and Laplacians of the logarithm of
    distance, each averaged over the views. The code solves the system by LSMR at several sizes, without an absolute level. Here conjugate
    gradients solve it; the preconditioner is the exact inverse of the system without holes, a product in the frequency domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import unit_vectors, vector_lengths, without_autocast
from ..camera import pixel_rays
from ..filters.transforms import conjugate_gradients
from ..sphere import in_view, panorama_directions, view_intrinsics

MERGED_WIDTH = 2048
"""Maximum width in pixels at which views are merged, which bounds memory and time."""

# Weights relative to known differences: of the views' blended values, and of smoothness in holes.
_LEVEL, _UNKNOWN = 1e-4, 1e-4
# Conjugate gradients: most iterations, and the relative residual at which they end.
_STEPS, _TOLERANCE = 200, 1e-4
# Width of the panorama grid on which views are compared, and least number of common pixels of a pair of views.
_COARSE, _LEAST_COMMON = 256, 32
# Least share of valid pixels around a sample, and of views, by weight, at a valid pixel of the panorama.
_KNOWN = 0.5


@dataclass(frozen=True)
class View:
    """A square view of 90 degrees.

    Attributes:
        distance: (1, 1, S, S) along each pixel's ray, positive where valid.
        valid: (1, 1, S, S) bool.
        rotation: (3, 3), from the panorama's axes to the view's (OPENCV).
        normals: (1, 3, S, S) unit vectors in OPENCV axes of the view; None where there are none.
    """

    distance: Tensor
    valid: Tensor
    rotation: Tensor
    normals: Tensor | None = None


def merge_views(views: Sequence[View], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Merges the distances of views that cover the sphere, such as those of `sphere.view_rotations`, into a panorama.

    Their scales may differ; the panorama has the median scale. Raises ValueError: no view has a valid pixel.

    Returns:
        Distance (1, 1, H, W) float32, positive everywhere, and valid pixels (1, 1, H, W) bool, both on the CPU. A pixel is valid if it is
        valid in most of the views that cover it, by weight. Invalid pixels hold interpolated distances.
    """
    logs = [_log(view) for view in views]
    if not any(bool(valid.any()) for _, valid in logs):
        raise ValueError("no view of the panorama has a valid distance: the model masks all of it; use another model")
    levels = _levels(views, logs)
    sums = _Sums(height, width)
    directions = panorama_directions(height, width)
    for view, (log, valid), level in zip(views, logs, levels.tolist(), strict=True):
        values, weight, seen = _warped(log + level, valid, view.rotation, directions)
        sums.add(values, weight, seen)
    return sums.solved().exp().float()[None, None], (sums.value[1] > _KNOWN * sums.seen)[None, None]


@without_autocast
def merge_normals(views: Sequence[View], height: int, width: int) -> Tensor:
    """Rotates the views' normals to the panorama's OPENCV axes and blends them: (1, 3, H, W) float32 unit vectors on the CPU.

    They point towards the camera where no view has a valid normal.
    """
    directions = panorama_directions(height, width)
    total = directions * -1e-6
    for view in views:
        assert view.normals is not None
        turned = torch.einsum("rc,brhw->bchw", view.rotation.cpu(), view.normals.cpu().float())
        places, weight = in_view(directions, view.rotation.cpu())
        weight = weight * (F.grid_sample(view.valid.cpu().float(), places, "nearest", "border", align_corners=False) > 0)
        total += weight * F.grid_sample(turned * view.valid.cpu(), places, "bilinear", "border", align_corners=False)
    return unit_vectors(total)


def _log(view: View) -> tuple[Tensor, Tensor]:
    """The logarithm of a view's distance, 0 where invalid, and the validity."""
    distance = view.distance.detach().cpu().float()
    valid = view.valid.cpu() & torch.isfinite(distance) & (distance > 0)
    return torch.where(valid, distance, 1).log(), valid


def _warped(log: Tensor, valid: Tensor, rotation: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Resamples a view (1, 1, S, S), 0 where invalid, at the panorama's `directions` (1, 3, H, W).

    (H, W) each: values, their weights (0 where invalid), and the weights regardless of validity (0 outside the view).
    """
    places, shown = in_view(directions, rotation.cpu())
    both = torch.cat((log * valid, valid.to(log)), 1)
    value, share = F.grid_sample(both, places, "bilinear", "border", align_corners=False)[0]
    weight = torch.where(share > _KNOWN, shown[0, 0], 0)
    return value / share.clamp_min(_KNOWN), weight, shown[0, 0]


def _levels(views: Sequence[View], logs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Offsets (N,) for the views' logarithms by which overlapping views agree; their median over the views with valid pixels is 0."""
    directions = panorama_directions(_COARSE // 2, _COARSE)
    warped = [_warped(log, valid, view.rotation, directions)[:2] for view, (log, valid) in zip(views, logs, strict=True)]
    count = len(views)
    # One equation per overlapping pair, weighted by its pixels. Weak equations keep views without overlaps at 0.
    equations, right = [1e-3 * torch.eye(count, dtype=torch.float64, device="cpu")], [torch.zeros(count, dtype=torch.float64, device="cpu")]
    for one in range(count):
        for other in range(one):
            common = (warped[one][1] > 0) & (warped[other][1] > 0)
            if int(common.sum()) < _LEAST_COMMON:
                continue
            row = torch.zeros(1, count, dtype=torch.float64, device="cpu")
            row[0, one], row[0, other] = 1, -1
            strength = float(common.sum()) ** 0.5
            equations.append(row * strength)
            right.append((warped[other][0] - warped[one][0])[common].median().double()[None] * strength)
    levels = torch.linalg.lstsq(torch.cat(equations), torch.cat(right)[:, None]).solution[:, 0]
    used = torch.tensor([bool(weight.any()) for _, weight in warped], device="cpu")
    # torch.median would return the lower of the two middle values.
    return levels - torch.quantile(levels[used], 0.5)


class _Sums:
    """Weighted sums (2, H, W) over views of differences, Laplacians and values, each with its weights; and weights whatever is valid."""

    def __init__(self, height: int, width: int) -> None:
        self._across, self._down, self._bend, self.value = torch.zeros(4, 2, height, width, dtype=torch.float32, device="cpu")
        self.seen = torch.zeros_like(self.value[1])

    def add(self, values: Tensor, weight: Tensor, seen: Tensor) -> None:
        """Adds a view's values, weights and validity-independent weights, (H, W) each, as from `_warped`."""
        least = torch.minimum(weight, _right(weight))
        self._across += torch.stack(((_right(values) - values) * least, least))
        above, below = weight[:-1], weight[1:]
        least = torch.minimum(above, below)
        self._down[:, :-1] += torch.stack(((values[1:] - values[:-1]) * least, least))
        neighbours = (_right(weight), weight.roll(1, 1), _up(weight), _below(weight))
        least = torch.stack((weight, *neighbours)).amin(0)
        self._bend += torch.stack((_laplacian(values) * least, least))
        self.value += torch.stack((values * weight, weight))
        self.seen += seen

    def solved(self) -> Tensor:
        """The values (H, W) float64 whose differences and Laplacians fit the views' weighted means best."""
        across, down, bend, value = (_mean(*each) for each in (self._across, self._down, self._bend, self.value))
        weights = [(each[1] > 0).double().clamp(min=_UNKNOWN) for each in (self._across, self._down, self._bend)]
        known = self.value[1] > 0
        level = _LEVEL * known.double()
        weights[1][-1] = 0

        def system(x: Tensor) -> Tensor:
            flat = _across_back(weights[0] * (_right(x) - x))
            flat += _down_back(weights[1] * (_below(x) - x))
            return flat + _laplacian(weights[2] * _laplacian(x)) + level * x

        target = _across_back(weights[0] * across) + _down_back(weights[1] * down) + _laplacian(weights[2] * bend) + level * value
        start = torch.where(known, value, value.sum() / known.sum())
        return conjugate_gradients(system, target, _Unmasked(*target.shape), _STEPS, _TOLERANCE, start)


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), 0).double()


def _right(x: Tensor) -> Tensor:
    return x.roll(-1, 1)


def _up(x: Tensor) -> Tensor:
    return torch.cat((x[:1], x[:-1]))


def _below(x: Tensor) -> Tensor:
    return torch.cat((x[1:], x[-1:]))


def _across_back(x: Tensor) -> Tensor:
    """The transpose of differences to the right."""
    return x.roll(1, 1) - x


def _down_back(x: Tensor) -> Tensor:
    """The transpose of differences downwards; the last row of those differences is 0."""
    return torch.cat((-x[:1], x[:-2] - x[1:-1], x[-2:-1])) if len(x) > 2 else torch.cat((-x[:1], x[:1]))


def _laplacian(x: Tensor) -> Tensor:
    """The sum of the four neighbours minus four times the pixel; columns wrap around, border rows repeat. It is its own transpose."""
    return _right(x) + x.roll(1, 1) + _up(x) + _below(x) - 4 * x


class _Unmasked:
    """The exact inverse of the system without holes: a product in the frequency domain."""

    def __init__(self, height: int, width: int) -> None:
        rows = 2 - 2 * (torch.arange(2 * height, dtype=torch.float64, device="cpu") * torch.pi / height).cos()
        columns = 2 - 2 * (torch.arange(width // 2 + 1, dtype=torch.float64, device="cpu") * 2 * torch.pi / width).cos()
        flat = rows[:, None] + columns
        self._inverse = 1 / (flat + flat * flat + _LEVEL)

    def __call__(self, x: Tensor) -> Tensor:
        # Mirrored rows are periodic, too.
        mirrored = torch.cat((x, x.flip(0)))
        return torch.fft.irfft2(torch.fft.rfft2(mirrored) * self._inverse, s=mirrored.shape)[: len(x)]


# Size of the panorama grid on which affine views are compared, and least number of common pixels of a pair of views.
_HEIGHT, _WIDTH, _LEAST_OVERLAP = 64, 128, 8
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

    They are N maps (1, 1, S, S), positive, along the rays, on the CPU, up to one common scale.

    Args:
        values: N maps (1, 1, S, S), each of a view of 90 degrees: disparity (`inverse`), or relative depth.
        valid: N masks (1, 1, S, S) bool.
        rotations: (N, 3, 3), from the panorama's axes to the views'.
        normals: N maps (1, 3, S, S) in the views' OPENCV axes, 0 where unknown, or None for views without normals. Empty = no normals.
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
        sampled, weight, _ = _warped(value, valid, rotation, directions)
        cosine = torch.einsum("c,chw->hw", rotation[2], directions[0]).clamp_min(1e-3)
        factor = cosine if inverse else 1 / cosine
        samples.append((sampled, factor, weight * area))
    count = len(samples)
    equations = torch.zeros(2 * count, 2 * count, dtype=torch.float64, device="cpu")
    for one in range(count):
        for other in range(one):
            weight = (samples[one][2] * samples[other][2]).sqrt()
            common = weight > 0
            if int(common.sum()) < _LEAST_OVERLAP:
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
