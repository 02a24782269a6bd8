"""Fills disoccluded pixels from the background beside them.

The farther side of a hole is the background. It is mirrored into the hole, so that its grain continues and the foreground is not smeared.
The first background pixels may still show traces of the occluder, mixed in by the lens or as a sharpening fringe. They are filled, too, as
they would remain as a contour.
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
from ..filters.kernels import by_kernel
from .forward_warp import are_alike

# A surface is continued by mirroring segments of up to this share of the image's longer side, shorter ones where another surface begins:
# one whose inverse depth differs by more than the factor _SAME.
_TURN, _SAME = 1 / 20, 1.2
# Largest ratio of background to occluder depth in the threshold that separates both.
_DEEPEST = 3.0
# Pixels at one distance from a hole are traces of the occluder if their mean colour over a stretch differs from the background: least
# squared difference, in variances of the background. Twice as much gives full confidence.
_TRACE = 0.8
# Least squared cosine between this colour difference and the occluder's. Twice as much gives full confidence.
_ALONG = 0.4
# Variance of grain and 8-bit rounding on a smooth background.
_NOISE = 3 * (3 / 255) ** 2
# Size of the cells of stretches, in units of `edge_growth`.
_CELL = 8
# Share of grain kept where the background is continued line by line: near it, far from it, and the distance of the falloff in radii of the
# averaging. Farther away, mirrored lines fit their surroundings and each other less.
_GRAIN_KEPT = (0.6, 0.05, 1.5)
# Avoids division by 0.
_TINY = 1e-9


class _Side(NamedTuple):
    """The closest visible pixel of each of N holes in one direction along a row or column: (N,); or in each of S directions, (S, N).

    Attributes:
        distance: Distance in pixels; larger than the image if no pixel is visible in this direction.
        inverse: Inverse depth of the visible pixel; infinite if there is none.
        source: Flat index of the pixel whose colour fills the hole.
        pitch: Index step in this direction; (S, 1) for several.
        hider: Flat index of a pixel of the occluder, in the opposite direction; -1 without an occluder. Undefined for several directions.
    """

    distance: Tensor
    inverse: Tensor
    source: Tensor
    pitch: Tensor
    hider: Tensor


class _Lines(NamedTuple):
    """N lines of pixels that lead from a hole into the background, where the occluder is known.

    On a GPU each hole has one: where none begins, its pitch is 0, and none of its pixels is `alike`.

    Attributes:
        start: (N,) the hole's last pixel before each line.
        pixels: (N,) each: its image, row and column, from `located`.
        pitch: (N,) index step along each line; 0 where there is none.
        places: (3 M, N) pixels of the lines: M possible traces, M that define the background's colour, and M beyond.
        alike: (3 M, N) bool, pixels of the same surface as the line's first one.
        hider: (N,) a pixel of the occluder.
    """

    start: Tensor
    pixels: tuple[Tensor, Tensor, Tensor]
    pitch: Tensor
    places: Tensor
    alike: Tensor
    hider: Tensor


def fill_uncovered(colour: Tensor, inverse: Tensor, sideways: bool = False, traces: bool = False, blurred: bool = False) -> Tensor:
    """Fills the pixels of colours (B, C, H, W) where no surface is visible with the background beside them.

    Images without any visible pixel get arbitrary colours.

    Args:
        inverse: (B, 1, H, W) inverse depth; 0 where no surface is visible.
        sideways: The camera moved along the rows only, so backgrounds are continued along the rows only.
        traces: Also fill the first background pixels beside a hole, along stretches where they show the occluder. Ignored with `blurred`.
        blurred: For results that a simulated lens blurs: without grain, and with backgrounds at any depth (no limit `_DEEPEST`).
    """
    inverse = inverse.float()
    hole = inverse <= 0
    places, pixels = pixels_where(hole)
    best = _Side(*_background_beside(inverse, places, *pixels[1:], sideways, blurred))
    colours = _copied(colour)
    if blurred or not traces:
        return _filled(colours, hole, places, best.source, None if blurred else _grain_kept(best.distance, *hole.shape[-2:]))
    lines = _lines(inverse, places, pixels, best, sideways)
    return _filled_with_traces(colours, inverse, places, best, lines, _traces(colours, (len(inverse), *inverse.shape[-2:]), lines))


@by_kernel(f"{__package__}.disocclusion_kernel", otherwise=1e-3)
def _background_beside(
    inverse: Tensor, places: Tensor, row: Tensor, column: Tensor, sideways: bool, blurred: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The side whose background continues into each hole, as a `_Side`; `places`, `row` and `column` (N,) are the holes'."""
    sides = _sides(inverse, places, row, column, sideways)
    seen = torch.where(sides.inverse < torch.inf, sides.inverse, constant(inverse, 0.0))
    farthest, nearest = sides.inverse.amin(0), seen.amax(0)
    # Surfaces nearer than the middle are occluders. Of the others, the closest in the image continues: on a slope, such as a floor, others
    # are slightly farther in depth but far away in the image. A very distant sky does not make a field beside the hole an occluder.
    middle = (nearest * (farthest if blurred else farthest.maximum(nearest / _DEEPEST))).sqrt()
    middle = torch.where(nearest > farthest * EDGE, middle, nearest)
    return _closest_background(sides, seen > middle, middle, places, 4 * max(inverse.shape))


def _closest_background(sides: _Side, is_nearer: Tensor, middle: Tensor, places: Tensor, far: int) -> _Side:
    """Selects, of S sides (S, N), opposite ones in pairs, the one with the closest visible pixel of a background.

    Its inverse depth is at most `middle` (N,); `is_nearer` (S, N) are the visible pixels above it. The result has the surface on the
    opposite side as occluder if that is nearer. `places` (N,) are the holes; `far` is larger than any distance.
    """
    # One pixel beyond the first visible one, which may be mixed.
    hider = torch.where(is_nearer, torch.addcmul(places + sides.pitch, sides.pitch, sides.distance), constant(places, -1))
    hider = hider.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # to the opposite side
    distance = torch.where(sides.inverse <= middle, sides.distance, constant(places, far))
    number = whole_numbers(distance, 0, len(distance))[:, None]
    closest = torch.add(number, distance, alpha=len(distance)).amin(0)  # the first of equally close ones
    distance, number = closest // len(distance), closest % len(distance)
    inverse, source, hider = (each.gather(0, number[None])[0] for each in (sides.inverse, sides.source, hider))
    return _Side(distance, inverse, source, sides.pitch.flatten().index_select(0, number), hider)


def continue_surfaces(colour: Tensor, inverse: Tensor, last: Tensor, inset: int = 0, hole: Tensor | None = None) -> Tensor:
    """Fills pixels of colours (B, C, H, W) by continuing given surfaces.

    Args:
        inverse: (B, 1, H, W) inverse depth. If `hole` is None, 0 marks the pixels to fill.
        last: (B, 2, H, W): for each pixel to fill, row and column of the last visible pixel of the surface that continues there. The
            surface is mirrored at this pixel.
        inset: Number of pixels next to the last one that are not mirrored, as they may show the occluder.
        hole: (B, 1, H, W) bool, the pixels to fill. May contain last pixels, as a surface may continue behind one object and in front of
            another.
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
    return _filled(_copied(colour), hole, places, source)


def _copied(colour: Tensor) -> Tensor:
    """The pixels (C, B * H * W) of colours (B, C, H, W)."""
    return colour.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)


def _filled(
    pixels: Tensor, hole: Tensor, places: Tensor, source: Tensor, grain: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Fills pixels `hole` (B, 1, H, W), whose flat indices are `places` (N,), with locally averaged sources (N,): (B, C, H, W).

    `pixels` are from `_copied`, and are overwritten.
    `grain` (N,) is the share of detail that is kept despite averaging (None = 0), `weight` (N,) of the new colour in a blend (None = 1).
    """
    continued = pixels.index_select(1, source).float()  # half precision cannot hold the sums of a square
    means = _means(continued, hole, places, _mean_radius(*hole.shape[-2:]))
    filled = means if grain is None else torch.lerp(means, continued, grain)
    filled = filled if weight is None else torch.lerp(pixels.index_select(1, places).float(), filled, weight)
    pixels.index_copy_(1, places, filled.to(pixels))
    return pixels.unflatten(1, hole[:, 0].shape).transpose(0, 1)


def _lines(inverse: Tensor, places: Tensor, pixels: tuple[Tensor, Tensor, Tensor], side: _Side, sideways: bool) -> _Lines:
    """The lines over backgrounds whose occluder is known, from holes (N,) into the `side` that continues into each."""
    size, depths = (len(inverse), *inverse.shape[-2:]), inverse.flatten()
    begins = (side.hider >= 0) & (side.distance == 1)
    start, pitch, hider = places, side.pitch * begins, side.hider
    if places.device.type == "cpu":  # elsewhere, selecting would synchronise the device for their number
        chosen = places_where(begins)
        start, pitch, hider = (each.index_select(0, chosen) for each in (start, pitch, hider))
        pixels = located(start, *size)
    line = torch.addcmul(start, pitch, whole_numbers(start, 1, 3 * (4 + edge_growth(*size[1:])) + 1)[:, None])
    # Beyond the end of a row or column, the flat index is in another row or image.
    period = size[2] if sideways else torch.where(pitch.abs() == 1, *constant(pitch, (size[2], size[1] * size[2])))
    inside = line.div(period, rounding_mode="floor") == start // period
    line = line.clamp(0, len(depths) - 1)
    there = depths.index_select(0, line.flatten()).view_as(line)
    alike = inside & are_alike(there, there[0], _SAME)
    return _Lines(start, pixels, pitch, line, alike, hider.clamp(0, len(depths) - 1))


def _traces(pixels: Tensor, size: tuple[int, ...], lines: _Lines) -> Tensor:
    """The confidence in [0, 1] that the first M - 1 pixels of each line are traces of the occluder: (M - 1, N).

    `pixels` (C, B * H * W) are of images of a `size` (B, H, W).
    """
    most = len(lines.places) // 3
    # The first row is the occluder's.
    shown = torch.cat((lines.hider[None], lines.places))
    colours = pixels.index_select(1, shown.flatten()).unflatten(1, shown.shape).float()
    away = colours - colours[:, 1 + most : 1 + 2 * most].mean(1, keepdim=True)
    # The background's variation at the same distances from its reference pixels, but on the other side of them.
    varied = away[:, 1 + 2 * most :].flip(1).square().sum(0)
    stretches = Stretches(lines.pixels, size, _CELL * edge_growth(*size[1:]))
    values = torch.cat((*away[:, : 1 + most], varied, constant(varied, 1.0).expand_as(varied[:1]))) * lines.alike.all(0)
    sums = stretches.between(stretches.sums(values))
    means = sums[:-1] / sums[-1].clamp(min=_TINY)
    shift, varied = means[:-most].unflatten(0, (-1, most + 1)), means[-most:]
    of_hider, length = shift.square().sum(0).split((1, most))
    sure = share_above(length / (varied + _NOISE), _TRACE, _TRACE) * lines.alike[: 2 * most].all(0)
    # Mixtures differ towards the occluder's colour, and fringes away from it.
    along = (shift[:, 1:] * shift[:, :1]).sum(0).square() / (length * of_hider).clamp(min=_TINY)
    sure = sure * share_above(along, _ALONG, _ALONG)
    # Structures that are wider than traces are real objects that the depth misses.
    return sure[:-1].cummin(0).values * (1 - sure[-1])


def _filled_with_traces(pixels: Tensor, inverse: Tensor, places: Tensor, side: _Side, lines: _Lines, sure: Tensor) -> Tensor:
    """`_filled` for holes and traces. Maps, places and side as in `_lines`; `sure` from `_traces`."""
    skipped = (sure > 0.5).sum(0)
    source = _beyond_traces(inverse, places, side, lines, skipped)
    # The source of each pixel to fill; -1 for other pixels. Lines of two holes may share a pixel.
    sources = places.new_full((inverse.numel(),), -1).index_copy_(0, places, source)
    weight = sure.new_zeros(inverse.numel()).index_fill_(0, places, 1)
    grain = torch.full_like(weight, _GRAIN_KEPT[0]).index_copy_(0, places, _grain_kept(side.distance, *inverse.shape[-2:]))
    steps = whole_numbers(places, 1, len(sure) + 1)[:, None]
    mirrored = lines.places.gather(0, (2 * skipped).sub(steps).clamp_(min=0))
    first, are_skipped = lines.places[: len(steps)].flatten(), steps <= skipped
    sources.scatter_reduce_(0, first, torch.where(are_skipped, mirrored, constant(mirrored, -1)).flatten(), "amax")
    weight.scatter_reduce_(0, first, (sure * are_skipped).flatten(), "amax")
    filling = sources >= 0
    places = places_where(filling)
    sources, grain, weight = (each.index_select(0, places) for each in (sources, grain, weight))
    return _filled(pixels, filling.view_as(inverse), places, sources, grain, weight)


def _beyond_traces(inverse: Tensor, places: Tensor, side: _Side, lines: _Lines, skipped: Tensor) -> Tensor:
    """The sources (N,) of holes, moved beyond the traces: `skipped` has the number of trace pixels of each line."""
    depths, count = inverse.flatten(), inverse.numel()
    of_lines = places.new_zeros(2, count).index_copy_(1, lines.start, torch.stack((lines.pitch, skipped)))
    border = torch.addcmul(places, side.pitch, side.distance - 1).clamp_(0, count - 1)
    pitch, skip = of_lines.index_select(1, border)
    skip = skip * ((side.hider >= 0) & (pitch == side.pitch))
    beyond = torch.addcmul(side.source, side.pitch, skip).clamp_(0, count - 1)
    there = depths.index_select(0, beyond)
    return torch.where(are_alike(there, side.inverse, _SAME), beyond, side.source)


def _grain_kept(distance: Tensor, height: int, width: int) -> Tensor:
    """The share of grain to keep, `distance` (N,) pixels from the last visible pixel of the background."""
    first, later, radii = _GRAIN_KEPT
    fading = ((1 - distance).float() / (radii * _mean_radius(height, width))).exp()
    return torch.add(constant(fading, later), fading, alpha=first - later)


def _mean_radius(height: int, width: int) -> int:
    """The radius in pixels of the squares in which `_filled` averages."""
    return max(1, edge_radius(height, width) // 2)


def _means(continued: Tensor, like: Tensor, places: Tensor, radius: int) -> Tensor:
    """Means (C, N) over the filled pixels in a square around each place, as rows continued separately do not match exactly."""
    values = torch.cat((continued, constant(continued, 1.0).expand_as(continued[:1])))
    if values.device.type == "cpu":  # one channel at a time, as large maps cost more than their arithmetic
        sums = torch.cat([_sums_around(part, like, places, radius) for part in values.split(1)])
    else:
        sums = _sums_around(values, like, places, radius)
    return sums[:-1] / sums[-1].round().clamp(min=1)


def _sums_around(values: Tensor, like: Tensor, places: Tensor, radius: int) -> Tensor:
    """Box sums (C, N) at places (N,) of C maps, shaped as `like` (B, 1, H, W), with values (C, N) at the places and 0 elsewhere."""
    planes = values.new_zeros(len(values), like.numel()).index_copy_(1, places, values)
    return box_sums(planes.view(len(values), len(like), *like.shape[-2:]), radius).flatten(1).index_select(1, places)


def _sides(inverse: Tensor, places: Tensor, row: Tensor, column: Tensor, sideways: bool) -> _Side:
    """The closest visible pixels of each hole along its row in both directions and, unless `sideways`, along its column."""
    height, width = inverse.shape[-2:]
    # For each direction: the holes in line order, beginning at its end, and the number of pixels of the line in that direction.
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
    """(4, 1): index steps towards the end and the start of a row, and of a column."""
    return torch.tensor((1, -1, width, -width))[:, None]


def _beside(values: Tensor, places: Tensor, room: Tensor, pitch: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The closest visible pixel of holes in each of S directions: distance, inverse depth and source as in `_Side`, (S, N) each.

    `places` (S, N) are in line order from the end in each direction, with `room` (S, N) pixels of the line there and index step `pitch`
    (S, 1). `length` is the longest line's.
    """

    def values_there(there: Tensor) -> Tensor:
        return values.index_select(0, there.clamp_(0, len(values) - 1).flatten()).view_as(there)

    def least_of_run(numbers: Tensor) -> Tensor:
        least = torch.full_like(run, numbers.numel() + length).scatter_reduce_(0, run, numbers.flatten(), "amin")
        return least.index_select(0, run).view_as(places)

    # A run of adjacent holes begins beside a visible pixel or at the border.
    run = ((room < 1) | (values_there(places + pitch) > 0)).flatten().cumsum(0) - 1
    index = torch.arange(places.numel(), device=places.device).view_as(places)
    before = index - least_of_run(index)
    # Steps to the first visible pixel, to the hole's mirror image behind it, and to the pixel after that.
    factors, ones = (constant(before, each).view(3, 1, 1) for each in ((1, 2, 2), (1, 1, 2)))
    steps = torch.addcmul(ones, before, factors)
    distance, _, twice = steps
    inverse, last_one, next_one = values_there(torch.addcmul(places, pitch, steps))
    # A surface ends where a nearer one or a hole begins. Its mirror image is at most as long as the run.
    ends = (twice > room) | (next_one == 0) | (next_one > last_one * EDGE)
    longest = constant(distance, length)
    end = least_of_run(torch.where(ends, distance, longest))
    reach = torch.where(end <= distance, end, longest)
    turn = 2 * reach
    step = before.remainder_(turn)
    step = torch.minimum(step, turn.sub_(1).sub_(step))
    # Beyond the line's end, the flat index is in another line or image.
    nothing = distance > room
    source = torch.where(nothing, places, torch.addcmul(places, pitch, step.add_(distance)))
    return torch.where(nothing, constant(distance, 4 * length), distance), inverse.masked_fill(nothing, torch.inf), source
