"""Depth of field: blurs surfaces that are out of focus, and fills in the background that becomes visible behind blurred edges.

The image is split into layers with similar circles of confusion, and into two surfaces: the visible one, and, behind depth edges, the
continued background (`disocclusion`). Each layer is blurred once, in linear light, together with its coverage. Then the layers are
composited from the nearest to the farthest, each into the remaining coverage. So a blurred object lies over a sharp background without a
rim, and a sharp object does not bleed into the blurred background.

Convention: circles are signed diameters in pixels, negative in front of the focus, as in `lens`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_range, check_whole
from ...options.effects import MAX_BLADES, MAX_STOPS
from ...utils import constant, ends_of_parts, in_float32, kept_constants, largest_channel, sent_to, to_cpu, whole_numbers
from ..checks import check_image, check_map
from ..edges.stretches import share_above
from ..filters.box import box_means
from ..filters.coarse import enlarged, shrunk
from ..filters.extremes import largest_within, neighbours_largest, smallest_within
from ..images.srgb import linear_to_srgb, srgb_to_linear
from ..views.disocclusion import fill_uncovered
from .lens import LARGEST_STEP, MAX_ROTATION, blur_layer, size_step

MAX_CIRCLE = 512.0
"""Largest diameter in pixels; larger blurs are limited to this."""


# Radius in pixels up to which a pixel stays sharp, and the least difference of radii between neighbours at an edge.
_SHARP, _EDGE = 0.25, 1.0
# Radii of layers differ by one pixel up to _EVEN, then by the factor _GROWTH.
_EVEN, _GROWTH = 4.0, 1.2
# Blur radii in pixels up to which burnt-out pixels keep their brightness, and from which they get the full boost.
_DIM, _BRIGHT = 1.0, 3.0
# Burnt-out thresholds of red, green and blue; skies can be bright in blue without being highlights.
_BURNT_OUT = (0.9, 0.9, 0.98)
# Highlights are narrower than twice this share of the longer side. Wider regions, such as skies and walls, keep their brightness.
_WIDE = 0.02
# Light around a highlight relative to its own, in the burnt-out colours: full boost up to the first share, none from the second, as in
# bands of a sky.
_STANDS_OUT = (0.4, 0.65)
# Pixels along the longer side for finding wide regions, and the range of the search for connected parts, in multiples of _WIDE.
_COARSE, _JOINED = 512, 4
# Minimum distance in pixels from an object's border within which a farther surface may show through.
_NARROW = 2.0
_TINY = 1e-6


class _Box(NamedTuple):
    """A window of a map; ends are exclusive."""

    top: int
    bottom: int
    left: int
    right: int


@torch.no_grad()
@in_float32
def depth_of_field(image: Tensor, circle: Tensor, *, blades: int = 0, rotation: float = 0.0, highlights: float = 0.0) -> Tensor:
    """Renders the image through a lens.

    Args:
        image: (B, 3, H, W) sRGB, [0, 1]; HDR images exceed 1.
        circle: (B, 1, H, W) signed diameters in pixels, steps at the edges (see `depth_edges.sharpen_depth_edges`). Not finite = at
            infinity.
        blades: Aperture blades: 3 to 16 make blurred highlights polygons with corners on the circle; fewer make discs.
        rotation: Rotation of the polygon in degrees.
        highlights: Stops by which blurred burnt-out pixels are boosted, if they are small and stand out, such as lamps and glints.

    Returns:
        (B, 3, H, W), nowhere brighter than white or the image's maximum. Exactly the image where the circle is smaller than half a pixel
        and no blurred surface lies in front.

    Raises:
        ValueError: Maps of wrong shapes, an image of other values, or numbers out of range.

    Source:
        M. Kraus and M. Strengert, "Depth-of-Field Rendering by Pyramidal Image Processing" (2007), for layers with hidden parts filled
        in; here layers share a pixel as parts of one surface, not as independent ones, so that slopes have no seams.
    """
    check_map(image, 3, "image")
    check_map(circle, 1, "circle", like=image)
    check_whole("blades", blades, 0, MAX_BLADES)
    check_range("rotation", rotation, -MAX_ROTATION, MAX_ROTATION)
    check_range("highlights", highlights, 0, MAX_STOPS)
    radii = _settled(circle).split(1)
    # One synchronisation for both.
    fetched = to_cpu({"radii": torch.stack([end for each in radii for end in each.aminmax()]), "image": ends_of_parts(image)})
    is_hdr, ends = check_image(image, ends=fetched["image"]), fetched["radii"].view(-1, 2).tolist()
    images = zip(image.split(1), radii, ends, strict=True)
    return torch.cat([_through_lens(*each, is_hdr, blades, rotation, highlights) for each in images])


def blur_levels(nearest: float, farthest: float) -> list[float]:
    """Ascending signed radii of layers, including 0, from the nearest to the farthest."""
    before, behind = _levels_to(max(0.0, -nearest)), _levels_to(max(0.0, farthest))
    return [*(-radius for radius in reversed(before)), 0.0, *behind]


def _levels_to(limit: float) -> list[float]:
    radii, radius = [], 1.0
    while radius * _GROWTH < limit:
        radii.append(radius)
        radius = radius + 1 if radius < _EVEN else radius * _GROWTH
    return [*radii, limit] if limit > 0 else []


def _through_lens(
    image: Tensor, radius: Tensor, ends: Sequence[float], is_hdr: bool, blades: int, rotation: float, highlights: float
) -> Tensor:
    """`depth_of_field` of one image by the `_settled` radii, whose least and largest are `ends`."""
    nearest, farthest = ends
    levels = blur_levels(nearest, farthest)
    if len(levels) == 1:
        return image
    light = _lifted(image, radius, highlights)
    reach = math.ceil(max(-nearest, farthest)) + 2
    light_behind, radius_behind = _behind(light, radius, reach)
    margin, (height, width) = -(-reach // LARGEST_STEP) * LARGEST_STEP, image.shape[-2:]
    surfaces, square = _with_margin(torch.cat((light, light_behind)), torch.cat((radius, radius_behind)), margin)
    total = light.new_zeros(1, 4, height, width)  # light and coverage
    sharp, deepest = torch.zeros_like(radius, dtype=torch.bool), _deepest(radius, max(-nearest, farthest))
    positions, all_boxes = _layered(square[:, 0].contiguous(), levels)
    for index, boxes in enumerate(all_boxes):
        present = [surface for surface, each in enumerate(boxes) if each]
        if not present:
            continue
        box = _around(boxes, levels[index], square.shape[-2:])
        part = (slice(present[0], present[-1] + 1), ..., slice(box.top, box.bottom), slice(box.left, box.right))
        layer = blur_layer(_layer(surfaces[part], positions[part] - index), levels[index], blades, rotation)
        place, layer = _in_image(layer, box, margin, height, width)
        share, drawn = layer[:, 3:], total[place]
        if index > 0:  # between two layers, the farther one belongs to the same surface
            shown = deepest[place] >= min(levels[index], levels[index - 1] + _EDGE)
            rest = torch.add(shown, drawn[:, 3:], alpha=-1)  # 0 or less where hidden
        else:
            rest = 1 - drawn[:, 3:]
        if levels[index] == 0:
            sharp[place] = (share >= 1) & (rest >= 1 - _TINY) & (radius[place] == 0)
        drawn.addcmul_(layer, (rest / share.clamp(min=_TINY)).clamp_(0, 1))
    brightest = image.amax().clamp(min=1) if is_hdr else constant(image, 1.0)
    soft = linear_to_srgb(total[:, :3] / total[:, 3:].clamp(min=_TINY)).minimum(brightest)
    return torch.where(sharp, image, soft)


def _settled(circle: Tensor) -> Tensor:
    """Signed radii: finite, clamped to the limit, and 0 where a blur would be invisible."""
    limit = MAX_CIRCLE / 2
    radius = (circle / 2).nan_to_num(limit, limit, -limit).clamp(-limit, limit)
    return radius * share_above(radius.abs(), _SHARP, _SHARP)


def _lifted(image: Tensor, radius: Tensor, stops: float) -> Tensor:
    """Linear light, with small burnt-out parts boosted where they will be blurred."""
    light = srgb_to_linear(image)
    if not stops:
        return light
    least = constant(image, _BURNT_OUT).view(1, 3, 1, 1)
    channels = ((image - least) / (1 - least)).clamp(0, 1)
    burnt = largest_channel(channels).square()
    burnt = (burnt - _wide_part(burnt)) * _standing_out(light, channels, burnt)
    return light * (1 + (2**stops - 1) * burnt * ((radius.abs() - _DIM) / (_BRIGHT - _DIM)).clamp(0, 1))


def _wide_part(burnt: Tensor) -> Tensor:
    """The wide regions of a burnt-out map (1, 1, H, W), and regions connected to them, such as the sky between objects."""
    longer = max(burnt.shape[-2:])
    step = max(1, longer // _COARSE)
    small, reach = shrunk(burnt, step), max(1, round(_WIDE * longer / step))
    wide = largest_within(smallest_within(small, reach), reach)
    for _ in range(_JOINED * reach):
        wide = torch.minimum(largest_within(wide, 1), small)
    # Doubled, as the full-size map exceeds the mean by noise and contours. Dilated by a pixel, as border pixels are mixed.
    return torch.minimum(2 * enlarged(largest_within(wide, 1), step, burnt.shape[-2:]), burnt)


def _standing_out(light: Tensor, channels: Tensor, burnt: Tensor) -> Tensor:
    """Contrast with the surroundings that are not burnt out, in the burnt-out colours: (1, 1, H, W) in [0, 1].

    `light` (1, 3, H, W) is linear. In [0, 1] are `channels` (1, 3, H, W), how burnt out red, green and blue are, and `burnt`
    (1, 1, H, W), how burnt out the pixel is.
    """
    longer = max(burnt.shape[-2:])
    step = max(1, longer // _COARSE)
    values = shrunk(torch.cat((light * (1 - burnt), 1 - burnt), 1), step)
    around = box_means(values, max(1, round(2 * _WIDE * longer / step)))
    mean = enlarged(around[:, :3] / around[:, 3:].clamp(min=_TINY), step, burnt.shape[-2:])
    own, others = ((channels * each).sum(1, keepdim=True) for each in (light, mean))
    least, most = _STANDS_OUT
    return ((most - others / own.clamp(min=_TINY)) / (most - least)).clamp(0, 1)


def _deepest(radius: Tensor, largest: float) -> Tensor:
    """The radius of the farthest layer that a pixel may show: the one of the farthest surface within its own blur.

    An unevenly blurred surface covers some of its own pixels only in part. Surfaces behind it must not show through there.
    """
    deepest, spread, reached = radius, radius, 0
    size, previous = radius.abs(), -1.0
    for reach in _reaches(largest):
        spread, reached = largest_within(spread, reach - reached, has_nan=False), reach
        deepest = spread if previous < 0 else torch.where(size > previous, spread, deepest)
        previous = reach
    return deepest + _EDGE


def _reaches(radius: float) -> list[int]:
    """Integer distances growing by a constant factor from `_NARROW` to at least `radius`."""
    reaches = [math.ceil(_NARROW)]
    while reaches[-1] < radius:
        reaches.append(math.ceil(reaches[-1] * _GROWTH))
    return reaches


def _behind(light: Tensor, radius: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The background continued behind the edges of near objects, as far as a blur can show it; computed at half size."""
    small, small_light = radius[..., ::2, ::2], light[..., ::2, ::2]
    beside = small + neighbours_largest(-small) > _EDGE
    farthest = _shown_behind(small, beside, reach)
    hidden = farthest - small > _EDGE
    low, high = small.aminmax()
    # As if the far end were ten times as far as the near end: only the order and the edges matter.
    inverse = torch.addcdiv(constant(small, 1.0), high - small, (high - low).clamp(min=_TINY), value=9)
    filled = fill_uncovered(torch.cat((small_light, small), 1), inverse.masked_fill(hidden | beside, 0), blurred=True)
    size = radius.shape[-2:]
    # A near pixel whose half-size pixel is far has this far pixel as background, too.
    behind = F.interpolate(filled[:, 3:], size, mode="nearest-exact")
    return F.interpolate(filled[:, :3], size, mode="bilinear"), torch.where(behind - radius > _EDGE, behind, constant(behind, torch.nan))


def _shown_behind(radius: Tensor, beside: Tensor, largest: float) -> Tensor:
    """The radius of the farthest surface at edges that may become visible at a pixel, through the pixel's blur or the surface's own.

    Maps have half the image's size, radii and `largest` are in pixels of the image. -infinity beyond the reach of both blurs.
    """
    farthest = spread = torch.where(beside, radius, constant(radius, -torch.inf))
    size, reached, previous = radius.abs(), 0, -1.0
    for reach in _reaches(largest):
        half = math.ceil(reach / 2)
        spread, reached = largest_within(spread, half - reached, has_nan=False), half
        farthest = spread if previous < 0 else torch.where(torch.maximum(spread, size) > previous - _NARROW, spread, farthest)
        previous = reach
    return farthest


def _with_margin(light: Tensor, radius: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Pads by reflection, so that the sides are multiples of the largest step.

    Returns (2, 4, h, w) linear light, and 1 as coverage; and (2, 1, h, w) squared radii with the radii's signs, NaN where there is no
    surface. The first is the visible surface, the second the background behind it.
    """
    height, width = radius.shape[-2:]
    right, below = (margin + -side % LARGEST_STEP for side in (width, height))
    mode = "reflect" if right < width and below < height else "replicate"
    whole = torch.cat((light, constant(radius, 1.0).expand_as(radius), radius * radius.abs()), 1)
    padded = F.pad(whole, (margin, right, margin, below), mode=mode)
    return padded[:, :4], padded[:, 4:]


def _layered(square: Tensor, levels: list[float]) -> tuple[Tensor, list[tuple[_Box | None, ...]]]:
    """Assigns the pixels of surfaces to layers, by the signed squares (2, h, w) of their radii. Synchronises the device once.

    Returns positions (2, 1, h, w) between layers, from the nearest: 1.25 is three quarters in layer 1 and one quarter in layer 2, and the
    mixture of both blurs has the variance of the pixel's own blur; -2 where there is no surface. And for each layer the bounding boxes of
    its part of each surface, None for an empty part.
    """
    (count, height, width), last = square.shape, len(levels) - 1
    ends = torch.tensor([level * abs(level) for level in levels], dtype=torch.float32, device="cpu")
    ends_and_spans = sent_to(square.device, torch.stack((ends, ends.diff(prepend=ends[:1]))))
    has_none = square.isnan()
    upper = torch.bucketize(square, ends_and_spans[0]).clamp_(max=last)
    after = upper.clamp(min=1)
    ends, spans = ends_and_spans[:, after]
    place = (after - ends.sub_(square).div_(spans)).clamp_(0, last).masked_fill_(has_none, -2.0)
    # Pixels between two levels are in both; a last row collects pixels in none.
    ends, none, row_of = _along(square, count, height, width, last + 2)
    index = upper.masked_fill_(has_none, last + 1).mul_(height + width).add_(row_of)
    present = torch.zeros(count * (last + 2) * (height + width), dtype=torch.bool, device=square.device)
    rows, columns = whole_numbers(square, 0, height + width).split((height, width))
    for of_pixels in (rows[:, None], columns):
        present.scatter_(0, (index + of_pixels).flatten(), True)
    present = present.view(count, last + 2, -1)[:, :-1]
    present = present | F.pad(present[:, 1:], (0, 0, 0, 1))
    borders = torch.cat([each.amin(3) for each in torch.where(present, ends, none).split((height, width), 3)])
    sides = borders.permute(1, 2, 0).tolist()
    boxes = ([_Box(top, -end, left, -right) if -end > top else None for top, end, left, right in of_surface] for of_surface in sides)
    return place[:, None], list(zip(*boxes, strict=True))


@kept_constants
def _along(surfaces: int, height: int, width: int, layers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Constants of `_layered`.

    Returns:
        (2, 1, 1, height + width): where each row and column begins and, negative, ends. (2, 1, 1, 1): numbers that are no less.
        (surfaces, 1, 1): offsets into a table by surface, layer, row and column.
    """
    along = torch.cat((torch.arange(height), torch.arange(width)))
    offsets = torch.arange(surfaces) * (layers * (height + width))
    return torch.stack((along, -1 - along))[:, None, None], torch.tensor((height + width, 0)).view(2, 1, 1, 1), offsets.view(-1, 1, 1)


def _around(boxes: tuple[_Box | None, ...], radius: float, size: torch.Size) -> _Box:
    """The bounding box of all boxes, grown by the blur's reach and aligned to its size step."""
    tops, bottoms, lefts, rights = zip(*(box for box in boxes if box), strict=True)
    step = size_step(radius)
    more = math.ceil(abs(radius)) + 2 * step
    top, left = (max(0, (min(ends) - more) // step * step) for ends in (tops, lefts))
    bottom, right = (min(side, -(-(max(ends) + more) // step) * step) for ends, side in zip((bottoms, rights), size, strict=True))
    return _Box(top, bottom, left, right)


def _layer(light: Tensor, away: Tensor) -> Tensor:
    """(1, 4, h, w): a layer's premultiplied light and its share of each pixel, of surfaces `light` (N, 4, h, w).

    `away` (N, 1, h, w) is the distance of the pixels' positions from the layer, and is overwritten.
    """
    share = torch.rsub(away.abs_(), 1).clamp_(min=0)
    first, *others = light.split(1)
    layer = first * share[:1]
    return layer.addcmul_(others[0], share[1:]) if others else layer


def _in_image(layer: Tensor, box: _Box, margin: int, height: int, width: int) -> tuple[tuple[Any, ...], Tensor]:
    """The part of a layer inside the image, with its position."""
    first_row, last_row = max(box.top - margin, 0), min(max(box.bottom - margin, 0), height)
    first, last = max(box.left - margin, 0), min(max(box.right - margin, 0), width)
    rows = slice(first_row + margin - box.top, last_row + margin - box.top)
    return (..., slice(first_row, last_row), slice(first, last)), layer[..., rows, first + margin - box.left : last + margin - box.left]
