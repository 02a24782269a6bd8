"""Segments the whole object in a box, without its support, its background and other objects that reach into the box.

Pixels outside the box are background. The initial guess is the pixels whose colour and inverse depth are rare outside. Then two steps
alternate: modelling the colours and depths of object and background, and finding the minimum cut. Its data term is the log-likelihood
ratio, and borders cost much, except along edges of colour and depth.

Points fix the side of their pixels. Their influence decreases across edges, and changes the models, too.

Source:
    C. Rother et al., "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts" (2004), here with depth, with the height above
    the surrounding planes, and with a convex cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.values import Box, Point, check_box, check_in_box, is_in_box
from ...utils import resize_map
from ..filters.extremes import extremes_within, largest_within
from ..filters.guided_filter import mask_at_image_edges
from .connected import holes_of, large_regions, opened, regions_with
from .mixtures import fit_mixture
from .planes import PLANE_DISTANCE, above_planes
from .selections import Pixels, check_maps_of_one, pixels_at, small_scene


def cheapest_region(cost: Tensor, across: Tensor, down: Tensor, start: Tensor, rounds: int) -> Tensor:
    """A minimum cut without a graph: the relaxation to shares from 0 to 1 is convex, and thresholding at a half gives an optimal region.

    Args:
        cost: (H, W), cost of including each pixel; negative = gain, infinite = excluded.
        across: (H, W - 1), 0 or more: cost of a border between a pixel and the one to its right.
        down: (H - 1, W), 0 or more: cost of a border between a pixel and the one below.
        start: (H, W) in [0, 1], initial shares; so are those returned after the `rounds`.

    Source:
        M. Nikolova et al., "Algorithms for Finding Global Minimizers of Image Segmentation and Denoising Models" (2006); the steps are
        those of A. Chambolle and T. Pock, "A First-Order Primal-Dual Algorithm for Convex Problems" (2011).
    """
    # Thousands of operations on small maps: numpy's overhead is a fraction of torch's, with preallocated memory.
    own, most_right, most_below, share = (values.float().cpu().numpy() for values in (cost, across, down, start))
    right, below, rise_right, rise_below = (np.zeros_like(each) for each in (most_right, most_below) * 2)
    least_right, least_below = -most_right, -most_below
    flow, ahead, share = np.zeros_like(own), share.copy(), share.copy()
    # The product of both steps is 1 / 8, as the norm of the differences is the root of 8. Flows are as large as the borders' costs, shares
    # at most 1: steps in proportion converge several times faster.
    ratio = max([1.0, *(float(most.mean()) for most in (most_right, most_below) if most.size)])
    step, step_back = np.float32(ratio / math.sqrt(8)), np.float32(1 / (ratio * math.sqrt(8)))
    for _ in range(rounds):
        for border, rise, axis, least, most in (
            (right, rise_right, 1, least_right, most_right),
            (below, rise_below, 0, least_below, most_below),
        ):
            after, before = (ahead[:, 1:], ahead[:, :-1]) if axis else (ahead[1:], ahead[:-1])
            np.subtract(after, before, out=rise)
            np.multiply(rise, step, out=rise)
            np.add(border, rise, out=border)
            np.maximum(border, least, out=border)
            np.minimum(border, most, out=border)
        flow.fill(0)
        flow[:, :-1] += right
        flow[:, 1:] -= right
        flow[:-1] += below
        flow[1:] -= below
        np.subtract(flow, own, out=flow)
        np.multiply(flow, step_back, out=flow)
        np.add(flow, share, out=flow)
        np.maximum(flow, 0, out=flow)
        np.minimum(flow, 1, out=flow)
        np.multiply(flow, 2, out=ahead)
        np.subtract(ahead, share, out=ahead)
        flow, share = share, flow
    return torch.from_numpy(share)


_MOST_TURNS = 500  # of a path; more than a maze of the size of a small image has


def path_costs(start: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """The cost (H, W) float64 of the cheapest path to each pixel from `start`, by steps to the pixels above, below, left and right.

    `across` and `down` as `cheapest_region`. Infinite everywhere without a start.
    """
    costs = torch.zeros(start.shape, dtype=torch.float64, device=start.device).masked_fill(~start, torch.inf)
    if not bool(start.any()):
        return costs
    costs = costs.clamp(max=1e12)  # differences of infinite values are NaN
    lines = ((1, F.pad(across.double(), (1, 0)).cumsum(1)), (0, F.pad(down.double(), (0, 0, 1, 0)).cumsum(0)))
    for _ in range(_MOST_TURNS):
        before = costs
        for dim, line in lines:
            costs = line + (costs - line).cummin(dim).values
            back = line.flip(dim)
            costs = ((costs.flip(dim) + back).cummin(dim).values - back).flip(dim)
        costs = torch.minimum(costs, before)
        if bool((before - costs).amax() <= 1e-6):
            break
    return costs


class _Evidence(NamedTuple):
    """One kind of evidence about a pixel's side.

    `noise` is the minimum standard deviation within an object, `components` the Gaussians of each side's mixture, `limit` the maximum log
    odds.
    """

    noise: float
    components: int
    limit: float


_COLOURS = _Evidence(0.004, 5, 25.0)  # the noise is one level of 8 bits
_DEPTHS = _Evidence(0.02, 4, 3.0)  # inverse depth, and the height above planes

_SEARCH_SIDE = 240  # pixels of the surroundings' longer side at which the object is searched
_MARGIN_SHARE = 0.35  # margin of the surroundings around the box, as a share of its sides ...
_MARGIN_PIXELS = 2  # ... plus so many pixels of the image
_DEPTH_ENDS = (0.05, 0.95)  # quantiles of inverse depth that are its far and near end

# The first guess, by how rare a pixel's values are outside the box.
_FIRST_GUESS = 0.9  # share of outside pixels that are less rare ...
_LEAST_GUESS = 0.05  # ... but at least this share of the box
_LEAST_RARITY = 0.03  # added to the share of outside pixels that are as likely, so that very rare values gain no more
_AS_LIKELY = 0.05  # tolerance of log-likelihoods, as colours of one surface differ by rounding
_AS_ODD = 1e-3  # tolerance of scores

# Shadows on the planes outside: factors on their colours, and the log-odds that they lose relative to lit colours.
_SHADOWS = (0.85, 0.7, 0.55, 0.4)
_SHADOW_COST = 1.0

# The cut. Costs are log-odds per pixel.
_ROUNDS = 5
_CUT_STEPS = 120
_CONVERGED = 0.002  # share of pixels that change in the last round
_FAR_COST = 4.0  # cost of a pixel at the far end of the box ...
_FAR_UP_TO = 0.35  # ... which falls to 0 at this share of the way to the near end
_BORDER_COST = 50.0
_DEPTH_STEP = 0.02  # step that is an edge of strength 1, as a share of the range of inverse depth

# Holes. Depth decides if the region stands out from the planes by more than this share of the range of inverse depth.
_STANDS_OUT = 0.4
_SAME_HEIGHT = 0.5  # pixels that stand out by less than this share as far, on a plane, are background ...
_SEEN_THROUGH = 0.3  # ... and pixels that stand out by less than this share, anywhere

# Points.
_POINT_WEIGHT = 20.0  # log-odds at a point ...
_POINT_REACH = 2.0  # ... which fall to 1/e over edges of this total strength
_EDGE_NOISE = 0.05  # edge strength that is ignored
_STRONGEST_BESIDE_POINT = 2.5  # limit of colour edges: beyond one of them, different colours outweigh the point
_SURE = 1e3  # log-odds in the squares around points

_SMALLEST_PART = 0.1  # least area of a part, as a share of the region
_SMALLEST_VIEW = 16  # pixels of background in a hole that stays open


class _Scene(NamedTuple):
    """The surroundings of a box, downsampled. Colours are (3, H, W), other maps (H, W).

    Attributes:
        nearness: Inverse depth as a share of its range, about 0 at its far end.
        height: Distance from the closest plane outside the box (`above_planes`); 1 without planes.
        raised: Least distance from the background planes outside the box and the farthest pixels (`above_planes`).
        outside: Bool, outside the box.
    """

    colours: Tensor
    nearness: Tensor
    height: Tensor
    raised: Tensor
    outside: Tensor


def object_in_box(depth: Tensor, image: Tensor, box: Box, points: Sequence[Point] = (), not_points: Sequence[Point] = ()) -> Tensor:
    """Segments the object in a box, as a mask that follows the image's edges. Computed on the CPU, at about 240 pixels around the box.

    Args:
        depth: (1, 1, H, W), positive and finite, in metres or of unknown scale.
        image: (1, 3, H, W) RGB in [0, 1].
        box: A box around the whole object, preferably tight.
        points: Points on the object, in the box. A missing part at such a point is added.
        not_points: Points outside the object. A part at such a point is removed; points that are already outside change nothing.

    Returns:
        (1, 1, H, W) in [0, 1]; 0 outside the box, except for a soft border.

    Raises:
        ValueError: Maps of wrong shapes, several images, around the box depth that is not positive or an image with NaN or infinite pixels,
            an invalid box (see `check_box`), or a point of the object outside the box.
    """
    check_maps_of_one(depth, image)
    check_box(box)
    check_in_box(box, points)
    rows, columns = (_surroundings(box[first], box[first + 2], depth.shape[dim]) for first, dim in ((1, -2), (0, -1)))
    here = (..., rows, columns)
    height, width = depth[here].shape[-2:]
    share = min(1.0, _SEARCH_SIDE / max(height, width))
    small_rows, small_columns = max(8, round(height * share)), max(8, round(width * share))
    scene = _scene(depth[here], image[here], small_rows, small_columns, _within(box, rows, columns, depth))
    is_seen = bool(scene.outside.any()) and not bool(scene.outside.all())  # at this size, some pixels are inside and some outside
    pixels = _pixels_at(box, rows, columns, depth, points, not_points, scene.outside.shape)
    region = _tidied(_region(scene, pixels), scene, pixels) if is_seen else ~scene.outside
    coarse = resize_map(region[None, None].to(image), height, width).clamp(0, 1)
    mask = torch.zeros_like(image[:, :1])
    mask[here] = mask_at_image_edges(coarse, image[here], math.ceil(2 / share))  # a whole large image would take minutes
    return mask


def _surroundings(first: float, last: float, length: int) -> slice:
    """The range of pixels along one side of the image to examine."""
    around = _MARGIN_SHARE * (last - first) + _MARGIN_PIXELS / length
    return slice(max(0, math.floor((first - around) * length)), min(length, math.ceil((last + around) * length)))


def _within(box: Box, rows: slice, columns: slice, whole: Tensor) -> Box:
    """A box in relative coordinates of a part of the image."""
    height, width = whole.shape[-2:]
    high, wide = rows.stop - rows.start, columns.stop - columns.start
    left, right = ((each * width - columns.start) / wide for each in (box[0], box[2]))
    top, bottom = ((each * height - rows.start) / high for each in (box[1], box[3]))
    return left, top, right, bottom


def _pixels_at(
    box: Box, rows: slice, columns: slice, whole: Tensor, points: Sequence[Point], not_points: Sequence[Point], size: torch.Size
) -> Pixels:
    """The pixels of points in a part of an image. Points outside the box are left out."""
    inside, outside = (
        [_within((x, y, x, y), rows, columns, whole)[:2] for x, y in each if is_in_box(box, x, y)] for each in (points, not_points)
    )
    return pixels_at(inside, outside, *size)


def _scene(depth: Tensor, image: Tensor, rows: int, columns: int, box: Box) -> _Scene:
    nearness, small = small_scene(depth, image, rows, columns)
    left, top, right, bottom = box
    across, down = ((torch.arange(length, dtype=torch.float32, device="cpu") + 0.5) / length for length in (columns, rows))
    across, down = (2 * across - left - right) / (right - left), (2 * down - top - bottom) / (bottom - top)
    outside = (across.abs() >= 1) | (down.abs() >= 1)[:, None]
    return _Scene(small[0], nearness, *above_planes(nearness, outside), outside)


def _region(scene: _Scene, pixels: Pixels) -> Tensor:
    """(H, W) bool: the object, with all inside pixels and without outside pixels."""
    colours = scene.colours.flatten(1).T.contiguous()
    depths = torch.stack((scene.nearness, scene.height), -1).flatten(0, 1)
    # An object's foot is dark and near a plane, like a shadow, but rises from the plane.
    least, most = extremes_within(scene.height[None, None], 1)
    on_planes = ((scene.height.abs() < PLANE_DISTANCE) & (most - least < PLANE_DISTANCE)[0, 0]).flatten()
    ways = [(_edges(scene.colours.diff(dim=dim).square().sum(0)), scene.nearness.diff(dim=dim)) for dim in (-1, -2)]
    across, down = (_BORDER_COST * torch.exp(-edges - _edges(step.square())) for edges, step in ways)
    by_points = _point_costs(pixels, *(edges.clamp(max=_STRONGEST_BESIDE_POINT) + step.abs() / _DEPTH_STEP for edges, step in ways))
    fixed = (by_points + _FAR_COST * (1 - _near(scene) / _FAR_UP_TO).clamp(min=0)).masked_fill(scene.outside, torch.inf)
    lit, shaded, by_depth = _behind(colours, depths, scene.outside.flatten(), on_planes)
    region = _first_guess((lit.maximum(shaded), by_depth), scene)
    shares = region.float()
    for _ in range(_ROUNDS):
        taken = region.flatten()
        cost, behind = fixed, (lit.maximum(shaded - _SHADOW_COST), by_depth)
        for values, kind, others in zip((colours, depths), (_COLOURS, _DEPTHS), behind, strict=True):
            cost = cost + (others - _likelihood(values, taken, kind)).clamp(-kind.limit, kind.limit).view_as(cost)
        shares = cheapest_region(cost, across, down, shares, _CUT_STEPS)
        before, region = region, shares > 0.5
        if not bool(region.any()) or (region != before).float().mean() < _CONVERGED:
            break
        lit, shaded, by_depth = _behind(colours, depths, ~region.flatten(), on_planes)
    return region


def _standing_out(found: Tensor, scene: _Scene) -> float:
    """A region's median distance from the background, as a share of the range of inverse depth; 0 if it is empty."""
    return float(scene.raised[found].median()) if bool(found.any()) else 0.0


def _near(scene: _Scene) -> Tensor:
    """(H, W): 0 at the far end of the box's content, 1 at its near end; 1 everywhere without a range."""
    inside = scene.nearness[~scene.outside]
    far, near = (inside.quantile(end) for end in _DEPTH_ENDS)
    if near - far < _DEPTH_STEP:
        return torch.ones_like(scene.nearness)
    return ((scene.nearness - far) / (near - far).clamp(min=1e-6)).clamp(0, 1)


def _first_guess(likelihoods: Sequence[Tensor], scene: _Scene) -> Tensor:
    """(H, W) bool: the pixels in the box whose values are rare outside. `likelihoods` (N,) under the background, one a kind of evidence."""
    outside, odd = scene.outside.flatten(), torch.zeros(scene.outside.numel(), dtype=torch.float32, device="cpu")
    for likelihood in likelihoods:
        ordered = likelihood[outside].sort().values
        odd -= (torch.searchsorted(ordered, likelihood + _AS_LIKELY) / len(ordered) + _LEAST_RARITY).log()
    level = odd[outside].quantile(_FIRST_GUESS).minimum(odd[~outside].quantile(1 - _LEAST_GUESS))
    return (odd >= level - _AS_ODD).view_as(scene.outside) & ~scene.outside


def _likelihood(values: Tensor, sample: Tensor, kind: _Evidence) -> Tensor:
    """(N,): log-likelihood of values (N, D) under a mixture fitted to a sample, (N,) bool."""
    return fit_mixture(values[sample], kind.components, kind.noise).log_likelihood(values)


def _behind(colours: Tensor, depths: Tensor, sample: Tensor, on_planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-likelihoods (N,) under the background: of the colours, of the colours as shadows, and of the depths.

    Depths (N, 2) are inverse depth and height above planes. `sample` are background pixels; shadows may fall `on_planes` only (else -inf).
    """
    mixture = fit_mixture(colours[sample], _COLOURS.components, _COLOURS.noise)
    lit, on_plane = mixture.log_likelihood(colours), colours[on_planes]
    shaded = torch.full_like(lit, -torch.inf)
    shaded[on_planes] = torch.stack([mixture.log_likelihood(on_plane / share) for share in _SHADOWS]).amax(0)
    return lit, shaded, _likelihood(depths, sample, _DEPTHS)


def _edges(squares: Tensor) -> Tensor:
    """Strength of the edges between neighbours, from squared differences: relative to the mean."""
    return 0.5 * squares / squares.mean().clamp(min=1e-6)


def _point_costs(pixels: Pixels, across: Tensor, down: Tensor) -> Tensor:
    """(H, W): the cost of including each pixel, from the inside and outside points, and the edges on the path to them."""
    marks = pixels.mark(torch.Size((across.shape[0], down.shape[1])))
    steps = [(edges - _EDGE_NOISE).clamp(min=0) for edges in (across, down)]
    inside, outside = (_POINT_WEIGHT * torch.exp(-path_costs(marks == mark, *steps) / _POINT_REACH).float() for mark in (1, -1))
    by_points = outside - inside
    for pixel in (*pixels.inside, *pixels.outside):
        by_points[pixels.around(pixel, by_points.shape)] = -_SURE if pixel in pixels.inside else _SURE
    return by_points


def _tidied(region: Tensor, scene: _Scene, pixels: Pixels) -> Tensor:
    """Removes threads and small parts without an inside point, and closes holes without visible background or an outside point."""
    marks = pixels.mark(region.shape)
    broad = opened(region, 1)
    large = large_regions(broad, max(1, round(_SMALLEST_PART * int(broad.sum()))))
    large |= regions_with(broad, marks > 0) | (region & (marks > 0))
    if not bool(large.any()):
        return region
    region = region & (largest_within(large[None, None].float(), 2)[0, 0] > 0)
    holes = holes_of(region)
    holes &= ~regions_with(holes, marks < 0)
    typical = _standing_out(region, scene)
    through = scene.height.abs() < PLANE_DISTANCE
    if typical >= _STANDS_OUT:  # depth decides, so lying on a plane by chance does not suffice
        through = (through & (scene.raised < _SAME_HEIGHT * typical)) | (scene.raised < _SEEN_THROUGH * typical)
    return region | (holes & ~large_regions(holes & through, _SMALLEST_VIEW))
