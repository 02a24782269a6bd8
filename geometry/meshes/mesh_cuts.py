"""Decides which neighbouring pixels of a depth map share a surface, and builds triangles from them.

Towards the horizon, a floor's depth jumps from row to row by more than any limit that would separate objects. But a plane's inverse depth
is linear in pixels, so neighbours also share a surface if one side's surface, extrapolated, meets the other side's pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.mesh import MAX_JUMP
from ..edges.depth_edges import edge_radius, sharpen_depth_edges
from ..filters.extremes import extremes_within, largest_within, median_within
from ..levels import sampled
from ..regions.connected import large_regions, regions_with
from ..surfaces.noise import measure_noise
from .rims import smooth_rims

# Largest second difference of a surface that explains a jump, relative to inverse depth.
_STRAIGHT = 0.05
# Length of a straight floor in ramp radii, longer than ramps between objects; and the slope from which on it is tested.
_LONG, _SLANTED = 3, 0.01
# Relative slope above which parts beside a cut in soft depth are remains of a ramp. Such a surface would be seen edge-on.
_STEEP = 0.02
# Noise is measured in a grid of blocks: at most so many along each side, their least side in pixels, and rows and columns sampled in each.
_BLOCKS, _BLOCK_SIDE, _BLOCK_PLACES = 16, 16, 16
# Silhouettes and relief bend most places of some blocks, so this quantile of second differences is used. For normally distributed noise,
# four deviations of a difference are 9 times this quantile. Noise is limited to the larger of a share of the image's range and a share of
# inverse depth, about the depth variation of leaves within a tree; more is relief.
_QUIET_SHARE, _NOISE_PER_BEND, _MOST_NOISE, _ROUGHEST = 0.2, 9.0, 0.02, 0.15
# Tolerated jump in quantisation levels: one level plus the rounding of a slope.
_LEVELS = 1.5
# A ramp becomes a step if inverse depth differs within its width by more than this multiple of the noise.
_RAMP = 3.0
# Offset of inverse depth, relative to its range, for a second test for ramps: noise at a far end near 0 would look like sharp edges.
_LIFTED = 1 / 3
# Borders of surfaces are smoothed by one 3 x 3 median, or, from this ramp radius on, by 5 x 5 medians: the radius divided by this.
_SMOOTHED = 5


class Joins(NamedTuple):
    """Masks of neighbours that share a surface: `across` (H, W - 1) and `down` (H - 1, W), bool."""

    across: Tensor
    down: Tensor


def find_joins(depth: Tensor, valid: Tensor, max_jump: float = MAX_JUMP, noise: Tensor | None = None) -> Joins:
    """Finds the neighbouring pixels that share a surface.

    Args:
        depth: (H, W), positive where `valid`.
        max_jump: Largest relative difference, as `MAX_JUMP`.
        noise: (H, W), from `noise_within`: tolerated jump of inverse depth.

    Returns:
        Joins of valid pixels whose depths differ by at most `max_jump`, or lie on a plane: three pixels on one side are on a line of
        inverse depth that meets the other side's pixel within `max_jump`.
    """
    inverse = torch.where(valid, 1 / depth, 0)
    turned = None if noise is None else noise.T
    return Joins(_joined_across(inverse, valid, max_jump, noise), _joined_across(inverse.T, valid.T, max_jump, turned).T)


def _joined_across(inverse: Tensor, valid: Tensor, max_jump: float, noise: Tensor | None) -> Tensor:
    left, right = inverse[:, :-1], inverse[:, 1:]
    less = torch.minimum(left, right)
    tolerance = less * max_jump if noise is None else torch.maximum(less * max_jump, noise[:, :-1])
    joined = torch.maximum(left, right) <= less + tolerance
    pairs = valid[:, :-1] & valid[:, 1:]
    # Few pairs need the plane test, so they are tested separately.
    rows, columns = torch.nonzero(pairs & ~joined, as_tuple=True)
    reasons = [_explained(inverse, valid, tolerance, rows, columns, away) for away in (-1, 1)]
    joined[rows, columns] = reasons[0] | reasons[1]
    return joined & pairs


def _explained(inverse: Tensor, valid: Tensor, tolerance: Tensor, rows: Tensor, columns: Tensor, away: int) -> Tensor:
    """Whether one pixel of each pair (N,) lies on the line through three pixels on its left (`away` -1) or right (1)."""
    width = inverse.shape[1]
    across, near = (columns + 1, columns) if away < 0 else (columns, columns + 1)
    end = near + 2 * away
    inside = (end >= 0) & (end < width)
    end, middle, beside = end.clamp(0, width - 1), (near + away).clamp(0, width - 1), (columns + away).clamp(0, width - 2)
    first, second, third, fourth = (inverse[rows, place] for place in (end, middle, near, across))
    allowed = tolerance[rows, columns]
    bent = torch.maximum(_STRAIGHT * torch.maximum(third, first), torch.minimum(tolerance[rows, beside], allowed))
    straight = ((first - 2 * second + third).abs() <= bent) & valid[rows, end] & valid[rows, middle]
    return inside & straight & ((second - 2 * third + fourth).abs() <= allowed)


def cut_grid(
    depth: Tensor, valid: Tensor, image: Tensor | None = None, edges: str = "auto", max_jump: float = MAX_JUMP
) -> tuple[Tensor, Joins]:
    """Computes depth with steps at its edges, and which neighbours share a surface; arguments as `step_edges` and `find_joins`.

    Returns:
        The depth of `step_edges`, (1, 1, H, W), and the joins of `find_joins`. If edges are soft, remains of ramps beside cuts, and ribbons
        and islands narrower than a ramp, get the depth of the adjacent surface, so that the mesh has neither holes there nor skins between
        near and far.
    """
    stepped, radius = step_edges(depth, valid, image, edges)
    here = valid[0, 0]
    noise, *wider = noise_within(depth[0, 0], here, (1, radius) if radius else (1,))
    if radius:
        low, high = extremes_within(torch.where(valid, 1 / depth, 0), radius)
        stepped = torch.where(high - low > _RAMP * wider[0], stepped, depth)
    joins = find_joins(stepped[0, 0], here, max_jump, noise)
    if not radius:
        return stepped, joins
    firm = _without_islands(_without_skins(joins, stepped[0, 0], here, radius, noise), (2 * radius) ** 2)
    whole = _wide_surfaces(firm, radius // 4)
    smooth = _smooth_borders(_attached(stepped[0, 0], here, whole, 3 * radius), here, whole, radius)
    before = find_joins(smooth, here, max_jump, noise)
    firm = _without_skins(before, smooth, here, radius, noise)
    smooth = smooth_rims(smooth, here, beside_cuts(before, here), radius, noise)
    after = _without_skins(find_joins(smooth, here, max_jump, noise), smooth, here, radius, noise)
    # Existing joins are kept: a steep far surface beside a near object is no longer straight.
    return smooth[None, None], Joins(*(one | other for one, other in zip(firm, after, strict=True)))


def noise_within(depth: Tensor, valid: Tensor, lags: Sequence[int] = (1,)) -> list[Tensor]:
    """Estimates the largest differences of inverse depth within a surface that noise and 8-bit levels cause: (H, W) for each lag.

    In disparity of unknown shift, far objects have inverse depths near 0, where noise is a large share of the value, and a limit relative
    to depth would tear them. The noise is measured in the straightest parts of each block of pixels, which silhouettes hardly reach, and is
    limited to a small share of the image's range or of the value. Few differences by noise exceed it.

    Args:
        depth: (H, W), positive where `valid`, before its edges become steps.
        lags: Distances of the compared pixels, in pixels.
    """
    height, width = depth.shape
    inverse = torch.where(valid, 1 / depth, 0)
    samples = sampled(inverse[None, None], valid[None, None]).cpu().numpy()
    if min(height, width) < 5 or not len(samples):
        return [torch.zeros_like(depth) for _ in lags]
    low, median, high = (float(value) for value in np.quantile(samples, (0.02, 0.5, 0.98)))
    whole = measure_noise((torch.where(valid, inverse, low)[None, None] / median).clamp(1e-6, 1e6), valid.to(depth)[None, None])
    level = _LEVELS * whole.step * median ** (1 - whole.step_power)
    noises = []
    for lag in lags:
        lag = max(1, min(lag, (min(height, width) - 1) // 2))
        noise = (_least_bends(inverse, valid, lag) * _NOISE_PER_BEND)[None, None]
        roughest = -largest_within(-inverse[None, None], lag) * _ROUGHEST
        noise = F.interpolate(noise, (height, width), mode="bilinear").minimum(roughest.clamp(min=_MOST_NOISE * (high - low)))[0, 0]
        noises.append(torch.maximum(noise, level * inverse**whole.step_power) if whole.step else noise)
    return noises


def _least_bends(inverse: Tensor, valid: Tensor, lag: int) -> Tensor:
    """The quantile `_QUIET_SHARE` of second differences in each block of pixels: (rows, columns) of blocks."""
    counts = [max(1, min(_BLOCKS, side // _BLOCK_SIDE)) for side in inverse.shape]
    rows, columns = (
        torch.linspace(lag, side - 1 - lag, count * _BLOCK_PLACES, dtype=torch.float32, device="cpu").round().long().to(inverse.device)
        for side, count in zip(inverse.shape, counts, strict=True)
    )
    blocks = []
    for row, column in ((0, lag), (lag, 0)):
        places = [(rows[:, None] + sign * row, columns[None] + sign * column) for sign in (-1, 0, 1)]
        before, here, after = (inverse[place] for place in places)
        bend = (before - 2 * here + after).abs()
        for place in places:
            bend = torch.where(valid[place], bend, torch.inf)
        blocks.append(bend.view(counts[0], _BLOCK_PLACES, counts[1], _BLOCK_PLACES).transpose(1, 2).flatten(2))
    bends = torch.cat(blocks, -1).sort(-1).values
    usable = bends.isfinite().sum(-1, keepdim=True)
    least = bends.gather(-1, (usable * _QUIET_SHARE).long().clamp(max=bends.shape[-1] - 1))[..., 0]
    return torch.where(least.isfinite(), least, 0)


def _without_skins(joins: Joins, depth: Tensor, valid: Tensor, radius: int, noise: Tensor) -> Joins:
    """Removes joins that are steep, near a cut, and not part of a similarly steep line longer than a ramp."""
    inverse = torch.where(valid, 1 / depth, 0)
    doubtful = (largest_within(beside_cuts(joins, valid)[None, None].float(), 2 * radius) > 0)[0, 0]
    length = _LONG * radius
    down = _trusted(joins.down.T, inverse.T, valid.T, doubtful.T, noise.T, length).T
    trusted = Joins(_trusted(joins.across, inverse, valid, doubtful, noise, length), down)
    # New cuts that are not connected to an original cut are cracks within a surface, and are undone.
    at_cuts = regions_with(beside_cuts(trusted, valid), beside_cuts(joins, valid))
    return Joins(trusted.across | (joins.across & ~at_cuts[:, :-1]), trusted.down | (joins.down & ~at_cuts[:-1]))


def beside_cuts(joins: Joins, valid: Tensor) -> Tensor:
    """(H, W) bool: valid pixels that are not joined with one of their valid neighbours."""
    beside = torch.zeros_like(valid)
    for joined, dim in ((joins.across, 1), (joins.down, 0)):
        first, second = (valid.narrow(dim, start, joined.shape[dim]) for start in (0, 1))
        cut = first & second & ~joined
        for start in (0, 1):
            beside.narrow(dim, start, joined.shape[dim]).logical_or_(cut)
    return beside


def _trusted(joined: Tensor, inverse: Tensor, valid: Tensor, doubtful: Tensor, noise: Tensor, length: int) -> Tensor:
    """Removes joins along rows that are steep, between `doubtful` pixels, and not on a steep slope over `length` pixels."""
    left, right = inverse[:, :-1], inverse[:, 1:]
    less = torch.minimum(left, right)
    steep = torch.maximum(left, right) > less + torch.maximum(less * _STEEP, noise[:, :-1])
    rows, columns = torch.nonzero(joined & steep & doubtful[:, :-1] & doubtful[:, 1:], as_tuple=True)
    trusted = joined.clone()
    trusted[rows, columns] = _on_steep_slope(inverse, valid, rows, columns, length)
    return trusted


def _on_steep_slope(inverse: Tensor, valid: Tensor, rows: Tensor, columns: Tensor, length: int) -> Tensor:
    """Whether the step of pairs (N,) along rows continues over `length` pixels on one side, on average at least half as steep."""
    last = inverse.shape[1] - 1
    step = inverse[rows, columns + 1] - inverse[rows, columns]
    steep = torch.zeros_like(rows, dtype=torch.bool)
    # The line may end at the pair's left pixel, or begin at its right one.
    for start in (columns - length, columns + 1):
        inside = (start >= 0) & (start + length <= last)
        first, end = start.clamp(0, last), (start + length).clamp(0, last)
        mean = (inverse[rows, end] - inverse[rows, first]) / length
        steep |= inside & valid[rows, first] & valid[rows, end] & (mean * step.sign() >= step.abs() / 2)
    return steep


def _wide_surfaces(joins: Joins, reach: int) -> Tensor:
    """(H, W) bool: pixels in a square of 2 `reach` + 1 complete cells per side, fewer at the border; False on narrower ribbons."""
    whole = (joins.across[:-1] & joins.across[1:] & joins.down[:, :-1] & joins.down[:, 1:])[None, None].float()
    if not whole.numel():
        return joins.down.new_zeros(joins.down.shape[0] + 1, joins.across.shape[1] + 1)
    cells = F.pad(largest_within(-largest_within(-whole, reach), reach)[0, 0] > 0, (1, 1, 1, 1))
    return cells[:-1, :-1] | cells[:-1, 1:] | cells[1:, :-1] | cells[1:, 1:]


def _attached(depth: Tensor, valid: Tensor, whole: Tensor, rounds: int) -> Tensor:
    """Grows surfaces (`whole`, which keep their value) over loose pixels by up to `rounds` pixels: (H, W) of values of `depth`.

    Each takes the value of the adjacent surface pixel that is most similar to its own.
    """
    width = depth.shape[1]
    # Padded by a border that is never loose, so that each pixel has four neighbours.
    own, kept, loose = (np.pad(each.numpy(), 1) for each in (torch.where(valid, 1 / depth, 0), whole & valid, valid & ~whole))
    across, inverse = width + 2, own.copy()
    own, kept, loose, flat = own.ravel(), kept.ravel(), loose.ravel(), inverse.ravel()
    sides = np.array((-across, across, -1, 1))
    edge = np.flatnonzero(loose)
    edge = edge[kept[edge[:, None] + sides].any(1)]
    for _ in range(rounds):
        if not len(edge):
            break
        around = edge[:, None] + sides
        misses = np.where(kept[around], np.abs(flat[around] - own[edge, None]), np.inf)
        flat[edge] = flat[np.take_along_axis(around, misses.argmin(1)[:, None], 1)[:, 0]]
        kept[edge], loose[edge] = True, False
        around = around.ravel()
        edge = np.unique(around[loose[around]])
    grown = torch.from_numpy(inverse[1:-1, 1:-1])
    changed = torch.from_numpy(kept.reshape(inverse.shape)[1:-1, 1:-1]) & ~whole
    return torch.where(changed, 1 / grown.clamp(min=1e-12), depth)


def _smooth_borders(depth: Tensor, valid: Tensor, whole: Tensor, radius: int) -> Tensor:
    """Smooths the outlines of surfaces, which are jagged where colours of single pixels decided the surface."""
    beside = largest_within((valid & ~whole)[None, None].float(), 1)[0, 0] > 0
    smooth = depth
    for _ in range(max(1, radius // _SMOOTHED)):
        smooth = median_within(smooth[None, None], 1 if radius < _SMOOTHED else 2)[0, 0]
    usable = -largest_within(-valid[None, None].float(), radius)[0, 0] > 0
    return torch.where(beside & usable, smooth, depth)


def _without_islands(joins: Joins, least: int) -> Joins:
    """Removes the joins of connected regions with fewer than `least` cells."""
    top, bottom, left, right = joins.across[:-1], joins.across[1:], joins.down[:, :-1], joins.down[:, 1:]
    kept = F.pad(large_regions((top | bottom) & (left | right), least), (1, 1, 1, 1))
    return Joins(joins.across & (kept[:-1, 1:-1] | kept[1:, 1:-1]), joins.down & (kept[1:-1, :-1] | kept[1:-1, 1:]))


def step_edges(depth: Tensor, valid: Tensor, image: Tensor | None = None, edges: str = "auto") -> tuple[Tensor, int]:
    """Turns depth ramps between objects into steps. Networks and resizing cause ramps, and a mesh of them has curtains between objects.

    Args:
        depth: (1, 1, H, W), positive and finite where `valid`.
        image: (1, 3, H, W) in [0, 1]; if given, steps follow its edges.
        edges: "sharp" leaves depth unchanged; "soft" steepens; "auto" steepens if `measure_noise` finds ramps.

    Returns:
        The depth, (1, 1, H, W), with the value of one of its ends in place of each ramp; and half the width of ramps in pixels, 0 if depth
        is unchanged. Floors stay unchanged, as they are straight over more pixels than a ramp is wide.
    """
    if edges == "sharp" or min(depth.shape[-2:]) < 3 or not bool(valid.any()):
        return depth, 0
    inverse = torch.where(valid, 1 / depth, 0)
    farthest = torch.where(valid, depth, 0).amax()
    filled = torch.where(valid, depth, farthest)
    if edges == "auto" and not _has_ramps(1 / filled, valid):
        return depth, 0
    radius = edge_radius(*depth.shape[-2:])
    stepped = sharpen_depth_edges(filled, radius, image=image, smooth=False)
    return torch.where(valid & ~_on_long_slope(inverse[0, 0], valid[0, 0], _LONG * radius), stepped, depth), radius


def _has_ramps(inverse: Tensor, valid: Tensor) -> bool:
    """Whether edges are ramps, with or without an offset (`_LIFTED`): noise of inverse depths near 0 would look like sharp edges."""
    samples = sampled(inverse, valid)
    low, high = samples.min(), samples.max()
    for lift in (0.0, float(high - low) * _LIFTED):
        lifted = (inverse + lift) / (samples.median() + lift)
        noise = measure_noise(lifted.clamp(1e-6, 1e6), valid.to(inverse))
        if noise.soft or noise.ramps:
            return True
    return False


def _on_long_slope(inverse: Tensor, valid: Tensor, length: int) -> Tensor:
    """(H, W) bool: pixels that, along rows and along columns, are level or end a straight line of `length` pixels; not level in both."""
    along = [_slope_has_reason(*maps, length) for maps in ((inverse, valid), (inverse.T, valid.T))]
    (level, straight), (level_down, straight_down) = along[0], (each.T for each in along[1])
    return (straight | level) & (straight_down | level_down) & ~(level & level_down)


def _slope_has_reason(inverse: Tensor, valid: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(H, W) bool each: pixels where inverse depth is level along its row, and where a straight line of `length` pixels ends."""
    half = max(1, length // 2)
    padded = F.pad(inverse[None], (2 * half, 2 * half), mode="constant")[0]
    usable = F.pad(valid, (2 * half, 2 * half))
    width = inverse.shape[1]
    level, straight = torch.ones_like(valid), torch.zeros_like(valid)
    for sign in (-1, 1):
        near, middle, far = (slice(2 * half + sign * by, 2 * half + sign * by + width) for by in (1, half, 2 * half))
        level &= ~usable[:, near] | ((padded[:, near] - inverse).abs() <= _SLANTED * inverse)
        bend = (inverse - 2 * padded[:, middle] + padded[:, far]).abs()
        straight |= usable[:, middle] & usable[:, far] & (bend <= _STRAIGHT * torch.maximum(inverse, padded[:, far]))
    return level, straight


def grid_triangles(depth: np.ndarray, joins: Joins) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the pixel grid between joined neighbours of a depth (H, W), positive where joined.

    A cell whose four sides are joined becomes two triangles, cut along the diagonal with the smaller jump in inverse depth; a cell with two
    joined sides that meet becomes one.

    Returns:
        The pixels that are corners of triangles, (H, W) bool; and triangles (M, 3) uint32, indices among these pixels in reading order,
        counter-clockwise seen from the camera.
    """
    height, width = depth.shape
    used = np.zeros((height, width), bool)
    if min(height, width) < 2:
        return used, np.empty((0, 3), np.uint32)
    across, down = joins.across.numpy(), joins.down.numpy()
    top, bottom, left, right = across[:-1], across[1:], down[:, :-1], down[:, 1:]
    places = {
        "tl": (slice(None, -1), slice(None, -1)),
        "tr": (slice(None, -1), slice(1, None)),
        "bl": (slice(1, None), slice(None, -1)),
        "br": (slice(1, None), slice(1, None)),
    }
    rising = (top & left).astype(np.int8) + (bottom & right)  # cut from bottom left to top right
    falling = (top & right).astype(np.int8) + (bottom & left)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / depth
        jumps = [np.abs(inverse[places[first]] - inverse[places[second]]) for first, second in (("tl", "br"), ("bl", "tr"))]
        # Clearly less from top left to bottom right, so that noise has no influence.
        falls = (falling > rising) | ((falling == rising) & (jumps[0] * 1.1 < jumps[1]))
    corners = (
        (("tl", "bl", "tr"), top & left & ~falls),
        (("tr", "bl", "br"), bottom & right & ~falls),
        (("tl", "br", "tr"), top & right & falls),
        (("tl", "bl", "br"), bottom & left & falls),
    )
    for names, chosen in corners:
        for name in names:
            used[places[name]] |= chosen
    indices = (np.cumsum(used, dtype=np.uint32) - np.uint32(1)).reshape(used.shape)
    triangles = np.empty((sum(int(chosen.sum()) for _, chosen in corners), 3), np.uint32)
    first = 0
    for names, chosen in corners:
        end = first + int(chosen.sum())
        for column, name in enumerate(names):
            triangles[first:end, column] = indices[places[name]][chosen]
        first = end
    return used, triangles


# Columns repeated beyond both borders of a panorama while edges are searched, as a share of the width.
_BESIDE = 1 / 16


def cut_closed_grid(
    distance: Tensor, valid: Tensor, image: Tensor | None = None, edges: str = "auto", max_jump: float = 0.05
) -> tuple[Tensor, Joins]:
    """`cut_grid` for a panorama (1, 1, H, W); the first column is repeated after the last one: (1, 1, H, W + 1)."""
    width = distance.shape[-1]
    beside = min(width, max(1, round(width * _BESIDE)))

    def around(maps: Tensor) -> Tensor:
        return torch.cat((maps[..., -beside:], maps, maps[..., : min(width, beside + 1)]), -1)

    stepped, joins = cut_grid(around(distance), around(valid), None if image is None else around(image), edges, max_jump)
    stepped = stepped[..., beside : beside + width + 1].clone()
    stepped[..., -1] = stepped[..., 0]
    down = joins.down[:, beside : beside + width + 1].clone()
    down[:, -1] = down[:, 0]
    return stepped, Joins(joins.across[:, beside : beside + width], down)


def closed_triangles(distance: np.ndarray, joins: Joins) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool]]:
    """Triangles of the grid of `cut_closed_grid`, (H, W + 1), with a fan around each pole.

    Returns:
        The pixels that are corners of triangles, (H, W + 1) bool. Triangles (M, 3) uint32, counter-clockwise seen from the camera: indices
        among these pixels in reading order, followed by the zenith and the nadir if they have a fan. And whether zenith and nadir have one.
    """
    used, triangles = grid_triangles(distance, joins)
    indices = (np.cumsum(used, dtype=np.int64) - 1).reshape(used.shape)
    pole, fans, closed = int(used.sum()), [triangles], [False, False]
    for end, row in enumerate((0, -1)):
        joined = joins.across[row].numpy() & used[row, :-1] & used[row, 1:]
        if not joined.any():
            continue
        left, right = indices[row, :-1][joined], indices[row, 1:][joined]
        middle = np.full_like(left, pole)
        fans.append(np.stack((middle, left, right) if row == 0 else (left, middle, right), 1).astype(np.uint32))
        closed[end] = True
        pole += 1
    return used, np.concatenate(fans), (closed[0], closed[1])
