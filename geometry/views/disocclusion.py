"""Fills disoccluded pixels from the background beside them.

The farther side of a hole is the background. It is mirrored into the hole, so that its grain continues and nothing of
the foreground is smeared. If the first background pixels still show the occluder, mixed by the lens or as a fringe of
sharpening, they are filled, too, or they would remain as a contour.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import constant, kept_constants, whole_numbers
from ..edges.depth_edges import EDGE, edge_growth, edge_radius
from ..edges.stretches import Stretches, share_above
from ..filters.box import box_sums
from ..filters.chosen_pixels import located, pixels_where, places_where, rows_and_columns
from .forward_warp import are_alike

# A surface that is continued far is mirrored repeatedly in segments of this share of the image's longer side, shorter where the image
# shows another surface: inverse depth that differs by more than this factor.
_TURN, _SAME = 1 / 20, 1.2
# Maximum ratio of background depth to occluder depth.
_DEEPEST = 3.0
# Pixels at one distance from a hole are traces of the occluder if their mean over a stretch differs from the background: squared
# difference, in variances of the background, from which it counts; in full from twice as much.
_TRACE = 0.8
# Squared cosine between this difference and that of the occluder from which it counts; in full from twice as much.
_ALONG = 0.4
# Variance of grain and 8-bit rounding on a smooth background.
_NOISE = 3 * (3 / 255) ** 2
# Cells of a stretch in units of `edge_growth`.
_CELL = 8
# Share of grain kept where the background is continued line by line: near, far, and the distance of the falloff in radii of the means.
# Farther away, mirrored lines fit their surroundings and each other less.
_GRAIN_KEPT = (0.6, 0.05, 1.5)
# Avoids division by 0.
_TINY = 1e-9


class _Side(NamedTuple):
    """The nearest visible pixel on one side of each place, along one axis: (N,); or on each of several sides, (S, N).

    Attributes:
        distance: In pixels; larger than the image if nothing is visible on that side.
        inverse: Its inverse depth.
        source: Flat index of the pixel whose colour continues the surface there.
        pitch: Index step to the next place on that side; (S, 1) for several.
        hider: A pixel of the occluder, on the opposite side; -1 if nothing there is nearer.
    """

    distance: Tensor
    inverse: Tensor
    source: Tensor
    pitch: Tensor
    hider: Tensor


class _Lines(NamedTuple):
    """Lines of pixels that lead away from a hole over the background.

    Attributes:
        start: (N,) the hole's last pixels, before the lines' first ones.
        pitch: (N,) index step along each line.
        places: (3 M, N) pixels of the lines: M possible traces, M that define the background's colour, and M beyond.
        alike: (3 M, N) bool, pixels of the same background as the line's first one.
        hider: (N,) pixels of the occluder.
    """

    start: Tensor
    pitch: Tensor
    places: Tensor
    alike: Tensor
    hider: Tensor


def fill_uncovered(colour: Tensor, inverse: Tensor, sideways: bool = False, traces: bool = False, blurred: bool = False) -> Tensor:
    """Fills the pixels where no surface is visible.

    Args:
        colour: (B, C, H, W).
        inverse: (B, 1, H, W) inverse depth; 0 where no surface is visible.
        sideways: The camera moved along the rows only, so backgrounds are continued along the rows only.
        traces: Also fill the first background pixels beside a hole along stretches where they show the occluder. Not with `blurred`.
        blurred: For a lens that blurs the result: without grain, and the farthest background first, however far it is.

    Returns:
        (B, C, H, W), `colour` where a surface is visible and no trace. Images without any visible pixel have arbitrary colours.
    """
    inverse = inverse.float()
    hole = inverse <= 0
    places, (_, row, column) = pixels_where(hole)
    sides = _sides(inverse, places, row, column, sideways)
    farthest, nearest = sides.inverse.amin(0), torch.where(sides.inverse < torch.inf, sides.inverse, constant(inverse, 0.0)).amax(0)
    # Whatever is nearer than the middle occludes. Of the others the closest continues: on a slope, as of a floor, others are slightly
    # farther away in depth but far away in the image. A sky far behind all of them does not make a field beside the hole an occluder.
    middle = (nearest * (farthest if blurred else farthest.maximum(nearest / _DEEPEST))).sqrt()
    middle = torch.where(nearest > farthest * EDGE, middle, nearest)
    best = _closest_background(sides, middle, places, 4 * max(inverse.shape))
    if blurred or not traces:
        return _filled(colour, hole, places, best.source, None if blurred else _grain_kept(best.distance, *hole.shape[-2:]))
    lines = _lines(inverse, places, best)
    return _filled_with_traces(colour, inverse, places, best, lines, _traces(colour, lines))


def _closest_background(sides: _Side, middle: Tensor, places: Tensor, far: int) -> _Side:
    """Of several sides of places (N,), the closest that is not nearer than `middle` (N,), with the opposite side as its occluder.

    `far` exceeds any distance.
    """
    # Not the very first pixel, which may be mixed.
    is_nearer, none = (sides.inverse < torch.inf) & (sides.inverse > middle), constant(places, -1)
    hider = torch.where(is_nearer, torch.addcmul(places + sides.pitch, sides.pitch, sides.distance), none)
    hider = hider.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # of the opposite side
    distance = torch.where(sides.inverse <= middle, sides.distance, constant(places, far))
    number = whole_numbers(distance, 0, len(distance))[:, None]
    closest = torch.add(number, distance, alpha=len(distance)).amin(0)  # of equal ones the first
    distance, number = closest // len(distance), closest % len(distance)
    inverse, source, hider = (each.gather(0, number[None])[0] for each in (sides.inverse, sides.source, hider))
    return _Side(distance, inverse, source, sides.pitch.flatten().index_select(0, number), hider)


def continue_surfaces(colour: Tensor, inverse: Tensor, last: Tensor, inset: int = 0, hole: Tensor | None = None) -> Tensor:
    """Fills the pixels where no surface is visible from given surfaces.

    Args:
        colour: (B, C, H, W).
        inverse: (B, 1, H, W) inverse depth; without `hole` 0 where no surface is visible.
        last: (B, 2, H, W) row and column of the last visible pixel of the surface to continue in each such pixel. The surface is
            mirrored at this pixel.
        inset: Number of pixels next to the last one that are not mirrored, as they may show the occluder.
        hole: (B, 1, H, W) bool, the pixels to fill. May contain last pixels: a surface may go on behind one object and hide another.

    Returns:
        (B, C, H, W), `colour` where a surface is visible.
    """
    height, width = inverse.shape[-2:]
    hole = inverse <= 0 if hole is None else hole
    places = places_where(hole)
    rows, columns = rows_and_columns(places, height, width)
    first = places - rows * width - columns
    ends = last.transpose(0, 1).flatten(1).index_select(1, places)
    away = torch.stack((ends[0] - rows, ends[1] - columns)).to(inverse.dtype)
    distance = away.abs().amax(0).clamp(min=1)
    depths, shown, turn = inverse.flatten(), inverse.masked_fill(hole, 0).flatten(), max(1, round(max(height, width) * _TURN))

    def steps_out(steps: Tensor | int) -> tuple[Tensor, Tensor]:
        """The pixel `steps` beyond the last visible one, and whether it is inside the image."""
        row, column = ((end + along / distance * steps).round().long() for end, along in zip(ends, away, strict=True))
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return first + row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside

    def alike(there: Tensor) -> Tensor:
        return (there > 0) & ((seen <= 0) | ((there < seen * _SAME) & (there * _SAME > seen)))

    end, _ = steps_out(0)
    seen = depths.index_select(0, end)
    source, _ = steps_out(inset)
    # Beyond the last pixel there may be an occluder on another side.
    source = torch.where(alike(depths.index_select(0, source)), source, end)
    done = torch.zeros_like(places, dtype=torch.bool)
    while turn:
        step = (distance - 1) % (2 * turn)
        place, inside = steps_out(torch.where(step < turn, step, 2 * turn - 1 - step) + inset)
        fits = inside & alike(shown.index_select(0, place))
        source, done = torch.where(fits & ~done, place, source), done | fits
        turn //= 2
    return _filled(colour, hole, places, source)


def _filled(
    colour: Tensor, hole: Tensor, places: Tensor, source: Tensor, grain: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Fills holes (B, 1, H, W) at places (N,) with the colours of the sources (N,), locally averaged.

    `grain` (N,) is the share of detail kept despite averaging, `weight` (N,) the blend with the previous colour.
    """
    pixels = colour.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)
    continued = pixels.index_select(1, source).float()  # half precision cannot hold the sums of a square
    means = _means(continued, hole, places, _mean_radius(*hole.shape[-2:]))
    filled = means if grain is None else torch.lerp(means, continued, grain)
    filled = filled if weight is None else torch.lerp(pixels.index_select(1, places).float(), filled, weight)
    pixels.index_copy_(1, places, filled.to(pixels))
    return pixels.unflatten(1, hole[:, 0].shape).transpose(0, 1).contiguous()


def _lines(inverse: Tensor, places: Tensor, side: _Side) -> _Lines:
    """The lines over backgrounds with known occluders.

    Args:
        inverse: (B, 1, H, W) inverse depth; 0 where no surface is visible.
        places: (N,) where none is.
        side: The side that continues there.
    """
    size, depths = (len(inverse), *inverse.shape[-2:]), inverse.flatten()
    chosen = places_where((side.hider >= 0) & (side.distance == 1))
    start, pitch = places.index_select(0, chosen), side.pitch.index_select(0, chosen)
    line = torch.addcmul(start, pitch, whole_numbers(start, 1, 3 * (4 + edge_growth(*size[1:])) + 1)[:, None])
    # Beyond the end of a row or column the flat index is in another row or image.
    period = torch.where(pitch.abs() == 1, *constant(pitch, (size[2], size[1] * size[2])))
    inside = line.div(period, rounding_mode="floor") == start // period
    line = line.clamp(0, len(depths) - 1)
    there = depths.index_select(0, line.flatten()).view_as(line)
    alike = inside & are_alike(there, there[0], _SAME)
    hider = side.hider.index_select(0, chosen).clamp(max=len(depths) - 1)
    return _Lines(start, pitch, line, alike, hider)


def _traces(colour: Tensor, lines: _Lines) -> Tensor:
    """Probability that the first M - 1 pixels of lines are traces of the occluder: (M - 1, N)."""
    size, most = (len(colour), *colour.shape[-2:]), len(lines.places) // 3
    # The last row is the occluder's.
    shown = torch.cat((lines.places, lines.hider[None]))
    colours = colour.transpose(0, 1).flatten(1).index_select(1, shown.flatten()).unflatten(1, shown.shape).float()
    away = colours - colours[:, most : 2 * most].mean(1, keepdim=True)
    # The background's variation over the same distances, from the other side of the middle.
    first, varied = torch.cat((away[:, :most], away[:, -1:]), 1), away[:, 2 * most : -1].flip(1).square().sum(0)
    stretches = Stretches(located(lines.start, *size), size, _CELL * edge_growth(*size[1:]))
    values = torch.cat((first.flatten(0, 1), varied, constant(varied, 1.0).expand_as(varied[:1]))) * lines.alike.all(0)
    sums = stretches.between(stretches.sums(values))
    means = sums[:-1] / sums[-1].clamp(min=_TINY)
    shift, varied = means[:-most].unflatten(0, (-1, most + 1)), means[-most:]
    shift, hider = shift[:, :-1], shift[:, -1:]
    length = shift.square().sum(0)
    sure = share_above(length / (varied + _NOISE), _TRACE, _TRACE) * lines.alike[: 2 * most].all(0)
    # Mixtures differ towards the occluder's colour, and fringes away from it.
    along = (shift * hider).sum(0).square() / (length * hider.square().sum(0)).clamp(min=_TINY)
    sure = sure * share_above(along, _ALONG, _ALONG)
    # Wider structures than traces are real objects without depth.
    return sure[:-1].cummin(0).values * (1 - sure[-1])


def _filled_with_traces(colour: Tensor, inverse: Tensor, places: Tensor, side: _Side, lines: _Lines, sure: Tensor) -> Tensor:
    """`_filled`, with the traces filled, too. Maps and `side` as `_lines`; `sure` from `_traces`."""
    skipped = (sure > 0.5).sum(0)
    source = _beyond_traces(inverse, places, side, lines, skipped)
    # From each pixel to fill to its source; -1 for others. Two holes may fill the same pixel.
    sources = places.new_full((inverse.numel(),), -1).index_copy_(0, places, source)
    weight = sure.new_zeros(inverse.numel()).index_fill_(0, places, 1)
    grain = torch.full_like(weight, _GRAIN_KEPT[0]).index_copy_(0, places, _grain_kept(side.distance, *inverse.shape[-2:]))
    steps = whole_numbers(places, 0, len(sure))[:, None]
    mirrored = lines.places.gather(0, (2 * skipped).sub(steps + 1).clamp_(min=0))
    first, are_skipped = lines.places[: len(steps)].flatten(), steps < skipped
    sources.scatter_reduce_(0, first, torch.where(are_skipped, mirrored, constant(mirrored, -1)).flatten(), "amax")
    weight.scatter_reduce_(0, first, (sure * are_skipped).flatten(), "amax")
    filling = sources >= 0
    places = places_where(filling)
    sources, grain, weight = (each.index_select(0, places) for each in (sources, grain, weight))
    return _filled(colour, filling.view_as(inverse), places, sources.clamp(min=0), grain, weight)


def _beyond_traces(inverse: Tensor, places: Tensor, side: _Side, lines: _Lines, skipped: Tensor) -> Tensor:
    """The sources (N,) for these places, moved beyond the traces by (M,) pixels along each line."""
    depths, count = inverse.flatten(), inverse.numel()
    pitches, skips = (places.new_zeros(count).index_copy_(0, lines.start, each) for each in (lines.pitch, skipped))
    border = torch.addcmul(places, side.pitch, side.distance - 1).clamp_(0, count - 1)
    skip = skips.index_select(0, border) * ((side.hider >= 0) & (pitches.index_select(0, border) == side.pitch))
    beyond = torch.addcmul(side.source, side.pitch, skip).clamp_(0, count - 1)
    there = depths.index_select(0, beyond)
    return torch.where(are_alike(there, side.inverse, _SAME), beyond, side.source)


def _grain_kept(distance: Tensor, height: int, width: int) -> Tensor:
    """The share of grain that a background keeps `distance` pixels behind its last visible pixel."""
    first, later, radii = _GRAIN_KEPT
    fading = ((1 - distance) / (radii * _mean_radius(height, width))).exp()
    return torch.add(constant(fading, later), fading, alpha=first - later)


def _mean_radius(height: int, width: int) -> int:
    """Half the width of the squares in which `_filled` averages."""
    return max(1, edge_radius(height, width) // 2)


def _means(continued: Tensor, like: Tensor, places: Tensor, radius: int) -> Tensor:
    """Means (C, N) over the holes in a square around each place: separately continued rows do not fit to a pixel."""
    values = torch.cat((continued, constant(continued, 1.0).expand_as(continued[:1])))
    if values.device.type == "cpu":  # one by one: it large maps cost more than their arithmetic
        sums = torch.cat([_sums_around(part, like, places, radius) for part in values.split(1)])
    else:
        sums = _sums_around(values, like, places, radius)
    return sums[:-1] / sums[-1].round().clamp(min=1)


def _sums_around(values: Tensor, like: Tensor, places: Tensor, radius: int) -> Tensor:
    """Sums (C, N) over a square around each of places (N,) in maps (B, 1, H, W) that hold the values (C, N) there and 0 elsewhere."""
    planes = values.new_zeros(len(values), like.numel()).index_copy_(1, places, values)
    return box_sums(planes.view(len(values), len(like), *like.shape[-2:]), radius).flatten(1).index_select(1, places)


def _sides(inverse: Tensor, places: Tensor, row: Tensor, column: Tensor, sideways: bool) -> _Side:
    """The nearest visible pixels beside each place along its row in both directions, and along its column unless `sideways`."""
    height, width = inverse.shape[-2:]
    # In line order as seen from that side, and the number of pixels on that side.
    along_rows = torch.arange(len(places), device=places.device)
    order, room = [along_rows.flip(0), along_rows], [width - 1 - column, column]
    if not sideways:
        along_columns = places.add(column, alpha=height - 1).sub_(row, alpha=width - 1).argsort()
        order += [along_columns.flip(0), along_columns]
        room += [height - 1 - row, row]
    ordered = torch.stack(order)
    pitches = _pitches(places, width)[: len(order)]
    beside = _beside(inverse.flatten(), places[ordered], torch.stack(room).gather(1, ordered), pitches, max(height, width))
    distance, depths, source = (torch.empty_like(each).scatter_(1, ordered, each) for each in beside)
    return _Side(distance, depths, source, pitches, pitches)


@kept_constants
def _pitches(width: int) -> Tensor:
    """(4, 1) index steps towards the end and the start of a row, and of a column."""
    return torch.tensor((1, -1, width, -width))[:, None]


def _beside(values: Tensor, places: Tensor, room: Tensor, pitch: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest visible pixel on each side of places: distance, inverse depth and source, as `_Side`.

    Args:
        values: Inverse depth of the images' pixels.
        places: (S, N) where nothing is visible, in line order as seen from each side.
        room: (S, N), number of pixels on that side in the line.
        pitch: (S, 1) index step on that side.
        length: Of the longest line.
    """

    def values_there(there: Tensor) -> Tensor:
        return values.index_select(0, there.clamp_(0, len(values) - 1).flatten()).view_as(there)

    def least_of_run(numbers: Tensor) -> Tensor:
        least = torch.full_like(run, numbers.numel() + length).scatter_reduce_(0, run, numbers.flatten(), "amin")
        return least.index_select(0, run).view_as(places)

    # A run of places without a visible pixel between them begins at a visible pixel or at the border.
    run = ((room < 1) | (values_there(places + pitch) > 0)).flatten().cumsum(0) - 1
    index = torch.arange(places.numel(), device=places.device).view_as(places)
    before = index - least_of_run(index)
    # Steps to the first pixel, to the last one (as far beyond it), and to the next one.
    factors, ones = (constant(before, each).view(3, 1, 1) for each in ((1, 2, 2), (1, 1, 2)))
    steps = torch.addcmul(ones, before, factors)
    distance, _, twice = steps
    inverse, last_one, next_one = values_there(torch.addcmul(places, pitch, steps))
    # A surface ends where something nearer or a hole begins. Its mirror image is at most as long as the run.
    ends = (twice > room) | (next_one == 0) | (next_one > last_one * EDGE)
    longest = constant(distance, length)
    end = least_of_run(torch.where(ends, distance, longest))
    reach = torch.where(end <= distance, end, longest)
    turn = 2 * reach
    step = before.remainder_(turn)
    step = torch.minimum(step, turn.sub_(1).sub_(step))
    # Beyond the line's end the flat index is in another line or image.
    nothing = distance > room
    source = torch.where(nothing, places, torch.addcmul(places, pitch, step.add_(distance)))
    return torch.where(nothing, constant(distance, 4 * length), distance), inverse.masked_fill(nothing, torch.inf), source
