"""Slopes of inverse depth from edge-aware plane fits, with windows as wide as the noise requires and the surface allows.

On a plane, inverse depth is linear in pixel coordinates. `fit_planes` therefore describes the surroundings of every pixel by
value + slope_x * du + slope_y * dv, in four steps:

1. A weighted least-squares plane in a 3x3 window. The initial guess is one-sided slopes, mixed by how well two taps on a side
   extrapolate to the centre, so that it does not reach over an edge.
2. While noise leaves the slope uncertain, the planes at 3x3 pixels some distance apart are joined: the least-squares plane through their
   values and slopes, each weighted by its agreement with the central plane. The distance about doubles every time, so a window of 70
   pixels takes four steps. It grows only where the surface is flat within the noise. In white noise of deviation sigma, the slope of a
   window of k pixels has the deviation sqrt(12) sigma / k^2. Noise that is shared over L pixels (see `noise`) equals white noise of
   deviation L sigma after a blur of L pixels: k^2 becomes k^2 + L^2 - 1.
3. For depth with soft edges, a pixel on the ramp between two surfaces takes the plane of the nearby pixel on a straight surface that
   explains its depth best. Curved surfaces are extrapolated with their curvature, and outliers are outvoted by their neighbours.
4. For depth quantised to levels, as from a registered sensor, pixels in strips too narrow to show a slope do the same: a few levels carry
   no information, and values that a sensor fills in beside silhouettes are not a surface.

Source:
    Step 2 is adaptive weights smoothing (J. Polzehl and V. Spokoiny, "Propagation-separation approach for local likelihood
    estimation", 2006) with local planes, on the sparse grids of the "a trous" wavelet transform.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..filters.bands import by_bands
from ..filters.chosen_pixels import chosen_places, values_at
from ..filters.extremes import largest_within
from .noise import DepthNoise

# Step 1: margin in pixels; tolerated distance from the plane, relative to inverse depth, and in second differences of a curved surface.
_REACH = 2
_FLAT_TOLERANCE = 2.5e-4
_CURVATURE_TOLERANCE = 3.0
# Step 2: distances; deviations of the slope at which it stops, by noise and by rounding; rounding error and least noise, relative to
# inverse depth.
_STRIDES = (2, 4, 9, 20)
_SURE_SLOPE = math.radians(0.5)
_EXACT_SLOPE = math.radians(3e-4)
_ROUNDING = 5e-8
_LEAST_NOISE = 1e-6
# Step 3: search radii for pixels on straight surfaces, and the margin of `_bend`.
_SOFT_RADII = (3, 5)
_BEND_REACH = 4
# Distance of the slopes that are compared for curvature, and the largest relative gap to the same surface.
_TURN_REACH = 2
_SAME_SURFACE = 1e-3
# A cost above all others.
_NEVER = 1e30
# The vote: weight of value errors relative to slope errors in each round. Slopes come first, as values would prefer a plane along a ramp,
# which meets both surfaces. The relative lead that a winner needs, above rounding. Pixels per batch.
_VALUE_SHARES = (0.05, 1.0, 1.0)
_LEAD = 3e-4
_VOTES_AT_ONCE = 2**15
# Relative cost difference up to which planes are blended; less for votes, as two surfaces may both have many.
_CLOSE, _CLOSE_VOTE = 0.2, 0.05
# Step 4: narrow strips are up to twice _NARROW pixels wide; a jump exceeds this many levels or deviations of noise; search radii for wide
# surfaces, cost of distance in jumps per pixel, and weight of the other pixel's own value relative to its plane's value at the pixel.
_NARROW = 4
_JUMP_STEPS, _JUMP_DEVIATIONS = 5.0, 6.0
_NARROW_RADII, _FARTHER, _OWN_VALUE = (2, 4, 6, 9, 13), 0.05, 0.25
# Noise of quantised sensors is shared over more pixels than this, unlike that of files with few levels.
_SENSOR_LENGTH = 2.0
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


class Planes(NamedTuple):
    """A plane of inverse depth at every pixel; all (1, 1, H, W)."""

    value: Tensor
    slope_x: Tensor
    slope_y: Tensor


def fit_planes(inverse: Tensor, valid: Tensor, focal_length: float, depth_noise: DepthNoise, soft: bool) -> Planes:
    """Fits the plane of inverse depth around every pixel; exact (to rounding) wherever the valid surroundings are a plane.

    Args:
        inverse: (1, 1, H, W) inverse depth around 1, positive and finite everywhere (arbitrary where not valid, as are the planes).
        valid: (1, 1, H, W) of the same dtype, 1 where it can be trusted, 0 elsewhere.
        focal_length: In pixels; converts uncertain slopes to angles.
        soft: Whether pixels on soft edges take a plane from beside the edge.
    """
    size = 5 if soft else 3

    def fit_band(inverse: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `_REACH` more pixels on every side than it returns."""
        here = _shifted(inverse, _REACH, 0, 0)
        step = here**depth_noise.step_power * depth_noise.step if depth_noise.step else 0.0
        tolerance = (here * max(3 * depth_noise.pixel_noise, _FLAT_TOLERANCE)).add_(step * 1.2)
        slope_x, slope_y, curvature = _one_sided_slopes(inverse, valid, tolerance)
        expected = (here * (3 * depth_noise.pixel_noise)).add_(step * 3.0)
        tolerance = (curvature - expected).clamp_(min=0).mul_(_CURVATURE_TOLERANCE).add_(tolerance)
        planes, weight = _fit_window(inverse, valid, slope_x, slope_y, tolerance, size)
        white = here**depth_noise.noise_power * (depth_noise.noise * depth_noise.noise_length)
        return *planes, weight, white.add_(here * _LEAST_NOISE).add_(step * 0.9)

    *fitted, weight, deviation = by_bands(fit_band, _REACH, inverse, valid)
    side = math.sqrt(size**2 + depth_noise.noise_length**2 - 1)
    angle = float((deviation / inverse).detach().mean()) * focal_length
    planes = _join_windows(Planes(*fitted), weight, deviation, angle, focal_length, side)
    if soft:
        return _leave_soft_edges(planes, inverse, valid)
    is_sensor = depth_noise.step > 0 and depth_noise.noise_length > _SENSOR_LENGTH
    return _leave_narrow_strips(planes, inverse, valid, depth_noise) if is_sensor else planes


def _shifted(padded: Tensor, radius: int, dy: int, dx: int) -> Tensor:
    """The values `dy` rows below and `dx` columns to the right of every pixel, of a map padded by `radius`."""
    height, width = padded.shape[-2:]
    return padded[..., radius + dy : height - radius + dy, radius + dx : width - radius + dx]


def _one_sided_slopes(inverse: Tensor, valid: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes that do not reach over edges, and the curvature: the second difference of the straighter side, summed over both axes.

    `inverse` and `valid` have `_REACH` more pixels on every side than `tolerance` and the results.
    """
    padded, usable, inverse = inverse, valid, _shifted(inverse, _REACH, 0, 0)
    scale = 1 / tolerance
    slopes, curvature = [], torch.zeros_like(inverse)
    for dy, dx in ((0, 1), (1, 0)):
        estimates = []
        for sign in (-1, 1):
            near, far = (_shifted(padded, _REACH, taps * sign * dy, taps * sign * dx) for taps in (1, 2))
            near_usable, far_usable = (_shifted(usable, _REACH, taps * sign * dy, taps * sign * dx) for taps in (1, 2))
            rise = near - inverse
            # Without a second tap, the first difference is the doubt.
            doubt = torch.lerp(rise, rise - (far - near), far_usable).abs()
            trust = near_usable / (doubt * scale).square_().add_(0.0025).square_()
            estimates.append((rise * sign, doubt + (1 - near_usable) * inverse, trust))
        (left, left_doubt, left_trust), (right, right_doubt, right_trust) = estimates
        slopes.append((left * left_trust + right * right_trust) / (left_trust + right_trust).clamp(min=1e-30))
        curvature = curvature + torch.minimum(torch.minimum(left_doubt, right_doubt), inverse)
    return slopes[0], slopes[1], curvature


def _fit_window(inverse: Tensor, valid: Tensor, slope_x: Tensor, slope_y: Tensor, tolerance: Tensor, size: int) -> tuple[Planes, Tensor]:
    """Least-squares planes in a size x size window, weighted by agreement with the initial guess; and the mean weight in the window.

    `inverse` and `valid` have `_REACH` more pixels on every side than the other maps.
    """
    radius, here, sharpness = size // 2, _shifted(inverse, _REACH, 0, 0), 1 / tolerance
    one = torch.ones((), dtype=inverse.dtype, device=inverse.device)
    half = [(dy, dx) for dy in range(radius + 1) for dx in range(-radius, radius + 1) if dy > 0 or dx > 0]
    sums = _PlaneSums(torch.ones_like(here))
    for dy, dx in half:
        pair = []
        for y, x in ((dy, dx), (-dy, -dx)):
            rise = _shifted(inverse, _REACH, y, x) - here
            residual = torch.add(rise, slope_x, alpha=-x).add_(slope_y, alpha=-y).mul_(sharpness)
            doubt = torch.addcmul(one, residual, residual).square_()
            pair.append((_shifted(valid, _REACH, y, x) / doubt, rise))
        sums.add(dy, dx, *pair)
    # The initial guess decides directions that the neighbours leave open (a line of pixels, a single pixel).
    offset, slope_x, slope_y, total = sums.solve(slope_x, slope_y, 1e-5)
    return Planes(here + offset, slope_x, slope_y), total * _shifted(valid, _REACH, 0, 0) / size**2


class _PlaneSums:
    """Weighted sums for a least-squares plane over neighbours, including the pixel itself with height 0."""

    def __init__(self, weight: Tensor) -> None:
        self.w = weight.clamp(min=1e-6)
        self.x, self.y, self.xx, self.xy, self.yy, self.z, self.xz, self.yz = (torch.zeros_like(weight) for _ in range(8))

    def add(self, dy: int, dx: int, ahead: tuple[Tensor, Tensor], behind: tuple[Tensor, Tensor]) -> None:
        """Adds the neighbours at (dy, dx) and at (-dy, -dx) of every pixel: weight and relative height of each."""
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
        """The plane's offset and slopes, regularised with `stiffness` towards the given slopes; and the sum of weights."""
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


def _join_windows(planes: Planes, weight: Tensor, deviation: Tensor, angle: float, focal_length: float, size: float) -> Planes:
    """Joins planes of size x size windows over growing distances until neither noise nor float32 rounding leaves the slope uncertain.

    `weight` is the share of the window that supports each, `deviation` the white-noise-equivalent standard deviation of a pixel, `angle`
    that deviation as a tilt in radians over one pixel.
    """
    for stride in _STRIDES:
        share = math.sqrt(12) / size**2
        if angle * share < _SURE_SLOPE and focal_length * _ROUNDING * share < _EXACT_SLOPE:
            break
        planes, weight = _join(planes, weight, deviation, stride, size)
        size = math.sqrt(size**2 + 8 * stride**2)
    return planes


def _join(planes: Planes, weight: Tensor, deviation: Tensor, stride: int, size: float) -> tuple[Planes, Tensor]:
    """Joins nine planes `stride` pixels apart, each weighted by its agreement with the central one."""
    value_variance, slope_variance = 1 / size**2, 12 / size**4
    # A difference of three standard deviations reduces the weight to a quarter.
    value_scale = 1 / (9 * (2 * value_variance + 0.75 * slope_variance * stride**2))
    slope_scale = 1 / (9 * 2 * slope_variance)
    slope_share = value_variance / slope_variance

    def join_band(value: Tensor, slope_x: Tensor, slope_y: Tensor, weight: Tensor, deviation: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `stride` more pixels on every side than it returns."""
        precision = (deviation * deviation).reciprocal_() * (0.5 * slope_scale)
        here = [_shifted(m, stride, 0, 0) for m in (value, slope_x, slope_y, weight)]
        sums = _PlaneSums(here[3])
        slopes_x, slopes_y = here[1] * here[3], here[2] * here[3]
        for dy, dx in ((0, stride), (stride, 0), (stride, stride), (stride, -stride)):
            agreement = _agreement((value, slope_x, slope_y), precision, dy, dx, value_scale / slope_scale)
            # Agreement is symmetric: the same map serves the opposite neighbour.
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

    *joined, weight = by_bands(join_band, stride, *planes, weight, deviation, outside=(0, 0, 0, 0, 1))
    return Planes(*joined), weight


def _agreement(planes: tuple[Tensor, Tensor, Tensor], precision: Tensor, dy: int, dx: int, value_share: float) -> Tensor:
    """Weights in (0, 1] of pairs of planes (value and slopes), for all pixels that have a partner at the offset (dy, dx).

    `precision` is half of the weight of a squared difference of slopes, `value_share` the weight of a squared difference of values relative
    to slopes.
    """
    value, slope_x, slope_y = planes
    # The mean of both slopes also predicts the rise of a curved surface: only creases and jumps disagree.
    half_rise = (slope_x * (dx / 2)).add_(slope_y, alpha=dy / 2)
    ahead, behind = _pair(value + half_rise, dy, dx)[0], _pair(value - half_rise, dy, dx)[1]
    residual = behind - ahead
    turn_x, turn_y = (b - a for a, b in (_pair(slope_x, dy, dx), _pair(slope_y, dy, dx)))
    first, second = _pair(precision, dy, dx)
    difference = (turn_x * turn_x).addcmul_(turn_y, turn_y).addcmul_(residual, residual, value=value_share)
    doubt = (first + second).mul_(difference).add_(1)
    return doubt.square_().reciprocal_()


def _pair(values: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """The values at all pixels that have a neighbour at the offset (dy, dx), dy >= 0, and the values at those neighbours."""
    height, width = values.shape[-2] - dy, values.shape[-1] - abs(dx)
    left = max(0, -dx)
    return values[..., :height, left : left + width], values[..., dy:, left + dx : left + dx + width]


def _leave_soft_edges(planes: Planes, inverse: Tensor, valid: Tensor) -> Planes:
    """Gives each pixel the plane, its own or a nearby one, that lies on a straight surface and explains the pixel's value.

    Planes are extrapolated with the surface's curvature. Where pixels took other planes, each then takes the plane in its 3x3 pixels that
    agrees best with all of them (`_agreed`), so that outliers are outvoted.
    """
    radius = max(_SOFT_RADII) + 2 * _TURN_REACH

    def leave_band(value: Tensor, slope_x: Tensor, slope_y: Tensor, inverse: Tensor, around: Tensor, bend: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `radius` more pixels on every side than it returns."""
        own, centre = (_shifted(each, radius, 0, 0) for each in (around, inverse))
        best, chosen = own, tuple(_shifted(each, radius, 0, 0).clone() for each in (value, slope_x, slope_y))
        scale = 1 / centre
        for dy, dx in _DIRECTIONS:
            turn_x, turn_y = _turn(value, slope_x, slope_y, dy, dx)
            for distance in _SOFT_RADII:
                y, x = distance * dy, distance * dx
                far, far_x, far_y, price = (_shifted(each, radius, y, x) for each in (value, slope_x, slope_y, bend))
                turned_x, turned_y = (_shifted(each, max(_SOFT_RADII), y, x) * (distance / 2) for each in (turn_x, turn_y))
                # The mean of both pixels' slopes extrapolates from one to the other.
                far_x, far_y = far_x + turned_x, far_y + turned_y
                here = torch.add(far, far_x, alpha=-x).add_(far_y, alpha=-y)
                cost = torch.addcmul(price, (here - centre).abs(), scale).add_(1e-3 * distance**2)
                best = _keep_better(best, chosen, cost, (here, far_x.add_(turned_x), far_y.add_(turned_y)), scale)
        return *chosen, (best < own).to(best)

    around, bend = by_bands(_bend, _BEND_REACH, inverse, valid, outside=(1, 0))
    *chosen, moved = by_bands(leave_band, radius, *planes, inverse, around, bend, outside=(0, 0, 0, 1, _NEVER, _NEVER))
    return _agreed(Planes(*chosen), moved, valid)


def _leave_narrow_strips(planes: Planes, inverse: Tensor, valid: Tensor, depth_noise: DepthNoise) -> Planes:
    """Gives each pixel of a narrow strip between jumps the plane of a nearby wide surface that explains it best."""
    step = inverse**depth_noise.step_power * (_JUMP_STEPS * depth_noise.step)
    jump = torch.maximum(step, inverse**depth_noise.noise_power * (_JUMP_DEVIATIONS * depth_noise.noise))
    beside_jump = 1 - valid
    for axis, before, after in ((-1, (1, 0, 0, 0), (0, 1, 0, 0)), (-2, (0, 0, 1, 0), (0, 0, 0, 1))):
        rise, length = inverse.diff(dim=axis).abs(), inverse.shape[axis] - 1
        jumps = (rise > torch.minimum(jump.narrow(axis, 0, length), jump.narrow(axis, 1, length))).to(inverse)
        beside_jump = beside_jump.maximum(F.pad(jumps, before)).maximum(F.pad(jumps, after))
    wide = valid * largest_within(1 - largest_within(beside_jump, _NARROW - 1), _NARROW)
    radius = max(_NARROW_RADII)

    def leave_band(value: Tensor, slope_x: Tensor, slope_y: Tensor, wide: Tensor, inverse: Tensor, jump: Tensor) -> tuple[Tensor, ...]:
        """Takes maps with `radius` more pixels on every side than it returns."""
        centre, scale, is_wide = (_shifted(each, radius, 0, 0) for each in (inverse, 1 / jump, wide))
        # Pixels of wide surfaces keep their own plane.
        own = (1 - is_wide) * _NEVER
        best, chosen = own, tuple(_shifted(each, radius, 0, 0).clone() for each in (value, slope_x, slope_y))
        for dy, dx in _DIRECTIONS:
            for distance in _NARROW_RADII:
                y, x = distance * dy, distance * dx
                far, far_x, far_y, usable = (_shifted(each, radius, y, x) for each in (value, slope_x, slope_y, wide))
                here = torch.add(far, far_x, alpha=-x).add_(far_y, alpha=-y)
                cost = torch.where(
                    usable > 0,
                    ((here - centre).abs().add_((far - centre).abs(), alpha=_OWN_VALUE) * scale).add_(_FARTHER * distance),
                    _NEVER,
                )
                best = _keep_better(best, chosen, cost, (here, far_x, far_y), scale)
        return *chosen, (best < own).to(best)

    *chosen, moved = by_bands(leave_band, radius, *planes, wide, inverse, jump, outside=(0, 0, 0, 0, 1, 1))
    return _agreed(Planes(*chosen), moved, valid)


def _keep_better(best: Tensor, chosen: tuple[Tensor, ...], cost: Tensor, plane: tuple[Tensor, ...], scale: Tensor) -> Tensor:
    """Overwrites `chosen` where a plane's cost is below `best`, and returns the lower cost of both.

    Planes of one surface at nearly the same cost are blended, so that rounding does not choose. `scale` converts their gap to a cost.
    """
    least = torch.minimum(best, cost)
    close = (plane[0] - chosen[0]).abs_().mul_(scale).neg_().add_(least).mul_(_CLOSE).clamp_(min=1 / _NEVER)
    better = (best - cost).div_(close).add_(0.5).clamp_(0, 1).mul_(cost < _NEVER).detach()
    for old, new in zip(chosen, plane, strict=True):
        old.lerp_(new, better)
    return least


def _turn(value: Tensor, slope_x: Tensor, slope_y: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """The change of slopes per step in the direction (-dy, -dx), if the surface continues to bend as it does behind.

    The smaller of two successive changes; 0 where their signs differ or the place behind is another surface. Takes maps with
    2 `_TURN_REACH` more pixels on every side than it returns.
    """
    reach = 2 * _TURN_REACH
    turns = []
    for slope in (slope_x, slope_y):
        first, middle, last = (_shifted(slope, reach, dy * back, dx * back) for back in (0, _TURN_REACH, reach))
        change, before = first - middle, middle - last
        smaller = torch.minimum(change, before).clamp_(min=0)
        turns.append(smaller.add_(torch.maximum(change, before).clamp_(max=0)).div_(_TURN_REACH))
    here, behind = (_shifted(value, reach, dy * back, dx * back) for back in (0, _TURN_REACH))
    rise_x, rise_y = (
        torch.add(_shifted(slope, reach, 0, 0), turn, alpha=-_TURN_REACH / 2) for slope, turn in zip((slope_x, slope_y), turns, strict=True)
    )
    gap = (here - behind).add_(rise_x, alpha=_TURN_REACH * dx).add_(rise_y, alpha=_TURN_REACH * dy)
    same = (gap.abs_() < _SAME_SURFACE * here).to(gap)
    return turns[0].mul_(same), turns[1].mul_(same)


def _agreed(planes: Planes, moved: Tensor, valid: Tensor) -> Planes:
    """Gives each pixel, where any of its 3x3 pixels `moved`, the plane among them that differs least from all of them.

    The difference of two planes is the difference of their slopes, plus the distance of one plane from the other's value at the other's
    pixel. Each round chooses among the planes of the previous round.
    """
    near = (_largest_of_nine(F.pad(moved, (1, 1, 1, 1))) > 0) & (valid > 0)
    places, width = chosen_places(near), moved.shape[-1] + 2
    voting = values_at(near, places)
    centres = places + torch.div(places, width - 2, rounding_mode="floor") * 2 + (width + 1)
    side = torch.arange(-1, 2, device=moved.device)
    steps = (side.view(-1, 1) * width + side).view(-1, 1)
    usable, *padded = (F.pad(each, (1, 1, 1, 1)).flatten() for each in (valid, *planes))
    batch = _VOTES_AT_ONCE if moved.device.type == "cpu" else _VOTES_AT_ONCE * 32
    for value_share in _VALUE_SHARES:
        value, slope_x, slope_y = padded
        elected = [_elected(usable, value, slope_x, slope_y, steps + part, value_share) for part in centres.split(batch)]
        for each, parts in zip(padded, zip(*elected, strict=True), strict=True):
            each.index_copy_(0, centres, torch.where(voting, torch.cat(parts), each.index_select(0, centres)))
    return Planes(*(each.view(1, 1, -1, width)[..., 1:-1, 1:-1] for each in padded))


def _elected(usable: Tensor, value: Tensor, slope_x: Tensor, slope_y: Tensor, around: Tensor, value_share: float) -> tuple[Tensor, ...]:
    """For N pixels: value and slopes (N,) of the plane with the least difference from all others, blended with near ties.

    The maps are flat, `usable` 1 or 0; `around` (9, N) are indices of the 3x3 pixels around each pixel. `value_share` is the weight of
    value errors relative to slope errors.
    """
    maps = [each.index_select(0, around.flatten()).view(3, 3, around.shape[1]) for each in (usable, value, slope_x, slope_y)]
    cost = (1 - maps[0]) * _NEVER
    # (N, 3, 3) views of channel-major memory. A choice has no gradient.
    *squares, costs = (each.detach().permute(2, 0, 1) for each in (*maps, cost))
    for dy, dx in ((dy, dx) for dy in range(3) for dx in range(-2, 3) if (dy, dx) > (0, 0)):
        (voter, other_voter), (z, other_z), (x, other_x), (y, other_y) = (_pair(each, dy, dx) for each in squares)
        turn, rise = (other_x - x).abs_().add_((other_y - y).abs_()), other_z - z
        part, other_part = _pair(costs, dy, dx)
        missed = torch.sub(rise, x, alpha=dx).sub_(y, alpha=dy).abs_()
        part.addcmul_(missed.mul_(value_share).add_(turn), other_voter)
        missed = rise.sub_(other_x, alpha=dx).sub_(other_y, alpha=dy).abs_()
        other_part.addcmul_(missed.mul_(value_share).add_(turn), voter)
    # A pixel keeps its plane unless another is clearly better.
    cost[1, 1] -= _LEAD * value_share * maps[1][1, 1]
    least = cost.amin((0, 1))
    share = (least - cost).div_((_CLOSE_VOTE * least.abs()).clamp_(min=1 / _NEVER)).add_(1).clamp_(min=0).detach()
    far, far_x, far_y = (each * (share / share.sum((0, 1))) for each in maps[1:])
    # Extrapolates each plane from its pixel to the middle one.
    right, down = far_x[:, 2].sum(0) - far_x[:, 0].sum(0), far_y[2].sum(0) - far_y[0].sum(0)
    return far.sum((0, 1)) - right - down, far_x.sum((0, 1)), far_y.sum((0, 1))


def _bend(inverse: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The cost of bends around each pixel: for keeping its plane, and for other pixels that take its plane.

    It is three times the largest relative second difference, in 5x5 pixels for keeping, in 3x3 pixels for others, so that pixels close to a
    ramp are usable. The middle of a ramp is straight; so for others, where 7 pixels in a line bend both ways, as at the ends of a ramp,
    the cost is at least the weaker bend. Invalid pixels are never chosen.

    Takes maps with `_BEND_REACH` more pixels on every side than it returns.
    """
    here = _shifted(inverse, 1, 0, 0)
    share = _shifted(valid, 1, 0, 0) / here
    bend, ramps = torch.zeros_like(here), []
    for dy, dx in ((0, 1), (1, 0)):
        second = 2 * here - _shifted(inverse, 1, dy, dx) - _shifted(inverse, 1, -dy, -dx)
        second = second * _shifted(valid, 1, dy, dx) * _shifted(valid, 1, -dy, -dx) * share
        bend = torch.maximum(bend, second.abs())
        # Cut to the lines that are returned, not along them.
        line = second[..., 3 * dx : second.shape[-2] - 3 * dx, 3 * dy : second.shape[-1] - 3 * dy]
        ramps.append(torch.minimum(_largest_of_seven(line, -1 - dy), _largest_of_seven(-line, -1 - dy)))
    nearby = _largest_of_nine(bend)
    never = (1 - _shifted(valid, _BEND_REACH, 0, 0)) * _NEVER
    beside = torch.maximum(_shifted(nearby, 2, 0, 0), torch.maximum(*ramps))
    return 3 * (_shifted(_largest_of_nine(nearby), 1, 0, 0) + never), 3 * (beside + never)


def _largest_of_nine(values: Tensor) -> Tensor:
    """The maximum of the complete 3x3 neighbourhoods."""
    return _largest_of_three(_largest_of_three(values, -1), -2)


def _largest_of_seven(values: Tensor, axis: int) -> Tensor:
    """The maximum of 7 values in a line, where all exist."""
    return reduce(lambda largest, _: _largest_of_three(largest, axis), range(3), values)


def _largest_of_three(values: Tensor, axis: int) -> Tensor:
    length = values.shape[axis] - 2
    return reduce(torch.maximum, (values.narrow(axis, i, length) for i in range(3)))
