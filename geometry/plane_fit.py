"""Slopes of inverse depth: edge-aware planes, as wide as the noise asks for and the surface allows.

On a plane, inverse depth is linear in pixel coordinates. `fit_planes` therefore describes the surroundings of every pixel by
value + slope_x * du + slope_y * dv. Three steps:

1. A weighted least-squares plane in a 3x3 window. Its first guess are one-sided slopes, mixed by how well two taps on a side
   extrapolate to the centre, so that it does not reach over an edge.
2. While the noise leaves the slope uncertain, the planes of 3x3 places some pixels apart are joined into one: the least-squares
   plane through their values and slopes, each weighted by how well it agrees with the centre's. The distance about doubles every time,
   so a window of 70 pixels costs four steps, and it grows only where the surface is flat within the noise. The slope of a window of k
   pixels has the standard deviation sqrt(12) sigma / k^2 in white noise of deviation sigma. Noise that is shared over L pixels (see
   `disturbance`) is white noise of deviation L sigma seen through a blur of L pixels: k^2 becomes k^2 + L^2 - 1.
3. For depth with soft edges, a pixel on the ramp between two surfaces takes over the plane of the straight place nearby that
   explains its depth best.

Source:
    Step 2 is adaptive weights smoothing (J. Polzehl and V. Spokoiny, "Propagation-separation approach for local likelihood
    estimation", 2006) with local planes, on the sparse grids of the "a trous" wavelet transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .disturbance import Disturbance

_BAND_PIXELS = 2**17
# Step 1: what a neighbour may be off the plane, as a share of inverse depth, and in second differences of a curved surface.
_FLAT_TOLERANCE = 2.5e-4
_CURVATURE_TOLERANCE = 3.0
# Step 2: the distances, the standard deviations of the slope (due to noise; due to rounding) that end it, and shares of inverse depth.
_STRIDES = (2, 4, 9, 20)
_SURE_SLOPE = math.radians(0.5)
_EXACT_SLOPE = math.radians(3e-4)
_ROUNDING = 5e-8
_LEAST_NOISE = 1e-6
# Step 3: how far away straight places are looked for, and a cost above all others.
_SOFT_RADII = (3, 5)
_NEVER = 1e30
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


class Planes(NamedTuple):
    """A plane of inverse depth at every pixel; all (1, 1, H, W)."""

    value: Tensor
    slope_x: Tensor
    slope_y: Tensor


def fit_planes(inverse: Tensor, valid: Tensor, focal_length: float, disturbance: Disturbance, soft: bool) -> Planes:
    """The plane of inverse depth around every pixel.

    Args:
        inverse: (1, 1, H, W) inverse depth, positive and finite everywhere (any such value where not valid), of a size around 1.
        valid: (1, 1, H, W) of the same dtype, 1 where it can be trusted, 0 elsewhere.
        focal_length: In pixels; says what angle an uncertain slope means.
        disturbance: What `measure_disturbance` found.
        soft: Whether pixels on soft edges take over a plane from beside the edge.

    Returns:
        Planes; exact (to rounding) wherever the valid surroundings are a plane. Not meaningful where not valid.
    """
    step = inverse**disturbance.step_power * disturbance.step if disturbance.step else 0.0
    tolerance = inverse * max(3 * disturbance.pixel_noise, _FLAT_TOLERANCE) + step * 1.2
    slope_x, slope_y, curvature = _one_sided_slopes(inverse, valid, tolerance)
    expected = inverse * (3 * disturbance.pixel_noise) + step * 3.0
    tolerance = tolerance + _CURVATURE_TOLERANCE * (curvature - expected).clamp(min=0)
    size = 5 if soft else 3
    planes, weight = _fit_window(inverse, valid, slope_x, slope_y, tolerance, size)
    white = inverse**disturbance.noise_power * (disturbance.noise * disturbance.noise_length)
    deviation = white + inverse * _LEAST_NOISE + step * 0.9
    side = math.sqrt(size**2 + disturbance.noise_length**2 - 1)
    planes = _widen(planes, weight, deviation, float((deviation / inverse).detach().mean()) * focal_length, focal_length, side)
    return _leave_soft_edges(planes, inverse, valid) if soft else planes


def _pad(values: Tensor, radius: int, fill: float = 0.0) -> Tensor:
    return F.pad(values, (radius, radius, radius, radius), value=fill)


def _shifted(padded: Tensor, radius: int, dy: int, dx: int) -> Tensor:
    """The values dy rows below and dx columns to the right of every pixel."""
    height, width = padded.shape[-2:]
    return padded[..., radius + dy : height - radius + dy, radius + dx : width - radius + dx]


def _one_sided_slopes(inverse: Tensor, valid: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes that do not reach over edges, and how much the surface bends on its straighter sides (both axes' second differences)."""
    padded, usable = _pad(inverse, 2), _pad(valid, 2)
    scale = 1 / tolerance
    slopes, curvature = [], torch.zeros_like(inverse)
    for dy, dx in ((0, 1), (1, 0)):
        sides = []
        for sign in (-1, 1):
            near, near_usable = _shifted(padded, 2, sign * dy, sign * dx), _shifted(usable, 2, sign * dy, sign * dx)
            far, far_usable = _shifted(padded, 2, 2 * sign * dy, 2 * sign * dx), _shifted(usable, 2, 2 * sign * dy, 2 * sign * dx)
            rise = near - inverse
            # Without a second tap the first difference itself stands for the doubt.
            doubt = torch.lerp(rise, rise - (far - near), far_usable).abs()
            trust = near_usable / ((doubt * scale) ** 2 + 0.0025) ** 2
            sides.append((rise * sign, doubt + (1 - near_usable) * inverse, trust))
        (left, left_doubt, left_trust), (right, right_doubt, right_trust) = sides
        slopes.append((left * left_trust + right * right_trust) / (left_trust + right_trust).clamp(min=1e-30))
        curvature = curvature + torch.minimum(torch.minimum(left_doubt, right_doubt), inverse)
    return slopes[0], slopes[1], curvature


def _fit_window(inverse: Tensor, valid: Tensor, slope_x: Tensor, slope_y: Tensor, tolerance: Tensor, size: int) -> tuple[Planes, Tensor]:
    """Least-squares planes in a size x size window, weighted by the distance from the first guess; and the share of weight left."""
    radius = size // 2
    one = torch.ones((), dtype=inverse.dtype, device=inverse.device)
    half = [(dy, dx) for dy in range(radius + 1) for dx in range(-radius, radius + 1) if dy > 0 or dx > 0]

    def fit_band(inverse: Tensor, valid: Tensor, *guess: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `radius` more pixels on every side than it gives."""
        here, slope_x, slope_y, sharpness = (_shifted(m, radius, 0, 0) for m in (inverse, *guess))
        sums = _PlaneSums(torch.ones_like(here))
        for dy, dx in half:
            pair = []
            for y, x in ((dy, dx), (-dy, -dx)):
                rise = _shifted(inverse, radius, y, x) - here
                residual = torch.add(torch.add(rise, slope_x, alpha=-x), slope_y, alpha=-y) * sharpness
                doubt = torch.addcmul(one, residual, residual)
                pair.append((_shifted(valid, radius, y, x) / (doubt * doubt), rise))
            sums.add(dy, dx, *pair)
        # The first guess decides where the neighbours leave a direction open (a line of pixels, a single pixel).
        offset, slope_x, slope_y, total = sums.solve(slope_x, slope_y, 1e-5)
        return here + offset, slope_x, slope_y, total * _shifted(valid, radius, 0, 0) / size**2

    *planes, weight = _by_bands(fit_band, radius, inverse, valid, slope_x, slope_y, 1 / tolerance)
    return Planes(*planes), weight


class _PlaneSums:
    """Weighted sums for a least-squares plane over neighbours, the pixel itself included with height 0 and the weight given."""

    def __init__(self, weight: Tensor) -> None:
        self.w = weight.clamp(min=1e-6)
        self.x, self.y, self.xx, self.xy, self.yy, self.z, self.xz, self.yz = (torch.zeros_like(weight) for _ in range(8))

    def add(self, dy: int, dx: int, ahead: tuple[Tensor, Tensor], behind: tuple[Tensor, Tensor]) -> None:
        """Takes in the neighbours at (dy, dx) and at (-dy, -dx) of every pixel: the weight and the height above it of each."""
        risen, fallen = ahead[0] * ahead[1], behind[0] * behind[1]
        both, lead, slope = ahead[0] + behind[0], ahead[0] - behind[0], risen - fallen
        self.w += both
        self.z += risen.add_(fallen)
        if dx:
            self.x.add_(lead, alpha=dx)
            self.xx.add_(both, alpha=dx * dx)
            self.xz.add_(slope, alpha=dx)
        if dy:
            self.y.add_(lead, alpha=dy)
            self.yy.add_(both, alpha=dy * dy)
            self.yz.add_(slope, alpha=dy)
        if dx and dy:
            self.xy.add_(both, alpha=dx * dy)

    def solve(self, slope_x: Tensor, slope_y: Tensor, stiffness: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The plane's offset and slopes, pulled with `stiffness` towards the given slopes; and the sum of weights."""
        share = 1 / self.w
        mean_x, mean_y = self.x * share, self.y * share
        xx = self.xx - self.x * mean_x + stiffness
        yy = self.yy - self.y * mean_y + stiffness
        xy = self.xy - self.x * mean_y
        xz = self.xz - self.z * mean_x + stiffness * slope_x
        yz = self.yz - self.z * mean_y + stiffness * slope_y
        share_xy = 1 / (xx * yy - xy * xy)
        slope_x, slope_y = (yy * xz - xy * yz) * share_xy, (xx * yz - xy * xz) * share_xy
        return (self.z * share) - slope_x * mean_x - slope_y * mean_y, slope_x, slope_y, self.w


def _widen(planes: Planes, weight: Tensor, deviation: Tensor, angle: float, focal_length: float, size: float) -> Planes:
    """Joins planes over growing distances until neither noise nor the rounding of float32 leaves the slope unsure.

    Args:
        planes: Fitted in size x size windows.
        weight: Share of the window that each rests on.
        deviation: Standard deviation of a single pixel, of noise that is white.
        angle: That deviation, as the radians by which it tilts a surface over one pixel.
        focal_length: In pixels.
        size: Side of the windows.
    """
    precision = 1 / (deviation * deviation)
    for stride in _STRIDES:
        share = math.sqrt(12) / size**2
        if angle * share < _SURE_SLOPE and focal_length * _ROUNDING * share < _EXACT_SLOPE:
            break
        planes, weight = _join(planes, weight, precision, stride, size)
        size = math.sqrt(size**2 + 8 * stride**2)
    return planes


def _join(planes: Planes, weight: Tensor, precision: Tensor, stride: int, size: float) -> tuple[Planes, Tensor]:
    """One plane through the nine planes `stride` pixels apart, each weighted by how well it agrees with the one in the middle."""
    value_variance, slope_variance = 1 / size**2, 12 / size**4
    # A neighbour at three standard deviations of what two such planes differ by has a quarter of the full weight.
    value_scale = 1 / (9 * (2 * value_variance + 0.75 * slope_variance * stride**2))
    slope_scale = 1 / (9 * 2 * slope_variance)
    slope_share = value_variance / slope_variance

    def join_band(value: Tensor, slope_x: Tensor, slope_y: Tensor, weight: Tensor, precision: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `stride` more pixels on every side than it gives."""
        here = [_shifted(m, stride, 0, 0) for m in (value, slope_x, slope_y, weight)]
        sums = _PlaneSums(here[3])
        slopes_x, slopes_y = here[1] * here[3], here[2] * here[3]
        for dy, dx in ((0, stride), (stride, 0), (stride, stride), (stride, -stride)):
            agreement = _agreement((value, slope_x, slope_y), precision, dy, dx, value_scale / slope_scale)
            # Two planes agree as much seen from one as from the other: the same map serves the opposite neighbour.
            left, top = stride - max(0, -dx), stride
            pair = []
            for sign, y0, x0 in ((1, top, left), (-1, top - dy, left - dx)):
                there = [_shifted(m, stride, sign * dy, sign * dx) for m in (value, slope_x, slope_y, weight)]
                share = agreement[..., y0 : y0 + here[0].shape[-2], x0 : x0 + here[0].shape[-1]] * there[3]
                pair.append((share, there[0] - here[0]))
                slopes_x.addcmul_(share, there[1])
                slopes_y.addcmul_(share, there[2])
            sums.add(dy, dx, *pair)
        mean = 1 / sums.w
        offset, slope_x, slope_y, total = sums.solve(slopes_x * mean, slopes_y * mean, sums.w * slope_share)
        return here[0] + offset, slope_x, slope_y, total / 9

    *joined, weight = _by_bands(join_band, stride, *planes, weight, precision * (0.5 * slope_scale))
    return Planes(*joined), weight


def _agreement(planes: tuple[Tensor, Tensor, Tensor], precision: Tensor, dy: int, dx: int, value_share: float) -> Tensor:
    """Weights in (0, 1] of pairs of planes, each with the one at (dy, dx) from it; only the places that have such a partner.

    Args:
        planes: Value and slopes.
        precision: Half of how much a squared difference of slopes counts.
        dy: Rows to the partner.
        dx: Columns to the partner.
        value_share: How much a squared difference of values counts beside one of slopes.
    """
    value, slope_x, slope_y = planes
    # The mean of both slopes foretells the rise of a curved surface too: only creases and jumps disagree.
    half_rise = (slope_x * (dx / 2)).add_(slope_y, alpha=dy / 2)
    ahead, behind = _pair(value + half_rise, dy, dx)[0], _pair(value - half_rise, dy, dx)[1]
    residual = behind - ahead
    turn_x, turn_y = (b - a for a, b in (_pair(slope_x, dy, dx), _pair(slope_y, dy, dx)))
    first, second = _pair(precision, dy, dx)
    difference = (turn_x * turn_x).addcmul_(turn_y, turn_y).addcmul_(residual, residual, value=value_share)
    doubt = (first + second).mul_(difference).add_(1)
    return doubt.square_().reciprocal_()


def _pair(values: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """The values at every place that has a neighbour at (dy, dx), dy >= 0, and the values at that neighbour."""
    height, width = values.shape[-2] - dy, values.shape[-1] - abs(dx)
    left = max(0, -dx)
    return values[..., :height, left : left + width], values[..., dy:, left + dx : left + dx + width]


def _by_bands(function: Callable[..., tuple[Tensor, ...]], radius: int, *maps: Tensor) -> list[Tensor]:
    """Runs a neighbourhood function on padded maps; on a CPU in bands of rows that stay in its cache."""
    padded = [_pad(m, radius) for m in maps]
    height, width = maps[0].shape[-2:]
    rows = height if maps[0].device.type != "cpu" else max(2 * radius, _BAND_PIXELS // width, 1)
    bands = [function(*(p[..., top : top + rows + 2 * radius, :] for p in padded)) for top in range(0, height, rows)]
    return [torch.cat(parts, -2) for parts in zip(*bands, strict=True)]


def _leave_soft_edges(planes: Planes, inverse: Tensor, valid: Tensor) -> Planes:
    """Gives each pixel the plane, its own or one up to a few pixels away, that is straight itself and explains the pixel's value."""
    radius = max(_SOFT_RADII)
    bend = _bend(inverse, valid) + (1 - valid) * _NEVER
    best, chosen = 3 * bend, planes
    padded, padded_bend = Planes(*(_pad(p, radius) for p in planes)), _pad(3 * bend, radius, _NEVER)
    scale = 1 / inverse
    for distance in _SOFT_RADII:
        for direction in _DIRECTIONS:
            dy, dx = (distance * d for d in direction)
            value, slope_x, slope_y = (_shifted(p, radius, dy, dx) for p in padded)
            here = torch.add(torch.add(value, slope_x, alpha=-dx), slope_y, alpha=-dy)
            cost = torch.addcmul(_shifted(padded_bend, radius, dy, dx) + 1e-3 * distance**2, (here - inverse).abs(), scale)
            better = (cost < best).to(cost)
            best = torch.minimum(best, cost)
            candidate = Planes(here, slope_x, slope_y)
            chosen = Planes(*(torch.lerp(old, new, better) for old, new in zip(chosen, candidate, strict=True)))
    return chosen


def _bend(inverse: Tensor, valid: Tensor) -> Tensor:
    """The largest relative second difference in the 5x5 surroundings."""
    padded, usable = _pad(inverse, 1), _pad(valid, 1)
    bend = torch.zeros_like(inverse)
    for dy, dx in ((0, 1), (1, 0)):
        second = 2 * inverse - _shifted(padded, 1, dy, dx) - _shifted(padded, 1, -dy, -dx)
        bend = torch.maximum(bend, second.abs() * _shifted(usable, 1, dy, dx) * _shifted(usable, 1, -dy, -dx))
    padded = _pad(bend / inverse * valid, 2)
    rows = reduce(torch.maximum, (padded[..., i : i + inverse.shape[-2], :] for i in range(5)))
    return reduce(torch.maximum, (rows[..., i : i + inverse.shape[-1]] for i in range(5)))
