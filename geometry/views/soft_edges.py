"""Soft silhouettes: rims of pixels that mix a near and a far surface become transparent and move with the near one.

Defocus, hair and motion blur spread an edge over several pixels. Warped unchanged, these pixels carry the old background along, or leave a
ghost of the object. The width of the mixture is estimated along a stretch of an edge and from the whole image, never from a single pixel.
Where it is hardly wider than a pixel, nothing changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, whole_numbers, without_autocast
from ..edges.depth_edges import EDGE, edge_growth
from ..edges.stretches import Stretches, distances_to, shares_above
from ..filters.box import box_means
from ..filters.chosen_pixels import pixels_where, places_where, summed_rows, values_at
from ..filters.extremes import extremes_around, largest_within
from ..filters.kernels import by_kernel
from ..images.srgb import linear_to_srgb, srgb_to_linear
from .forward_warp import SMALL_STEP, Camera, Layer, are_alike, close_cracks, landing, with_margin

# Candidate mixtures. Opacity across an edge is a cumulative normal distribution: its middle's offset from the depth edge towards the far
# side, in units of `edge_growth`, and its standard deviation.
_OFFSETS = (-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0)
_NARROWEST = 0.7  # least deviation, in pixels
_WIDEST = 2.8  # greatest deviation, in units of `edge_growth` ...
_WIDEST_PIXELS = 5.6  # ... and in pixels
_WIDTHS = 5  # number of deviations from the narrowest to the widest
_SHARP = 0.25  # deviation of a sharp edge, in pixels

# Stretches of an edge.
_FARTHEST = 2.4  # largest distance of summed colours from the edge, in deviations of the blur that locates the edge
_CELL = 4  # size of cells, in units of `edge_growth`
_FEW = 4  # a stretch needs more pixels than this on each side of the edge
_FOUND = 0.8  # least share of a stretch's pixels whose near and far surfaces are found
_SAME = 1.08  # largest ratio of inverse depths within one surface; beyond it there is a third surface

# Criteria for a mixture.
_CONTRAST = 0.06  # least root mean squared difference of near and far colours, in linear light
_GAIN = 0.2  # least share of a sharp edge's error that a mixture removes
_UNEXPLAINED = 0.5  # largest share of the squared contrast that remains as error
_VOTE = 0.7  # bound of a stretch's contribution to the image's mean log error of a width
_SURE = 1e-5  # least confidence: smaller ones may be rounding errors
# Ramps of confidence (`share_above`): error relative to a sharp edge, error relative to the squared contrast, contrast, and share of
# pixels found.
_IS_SURE = ((1 - _GAIN, -_GAIN), (_UNEXPLAINED, -_UNEXPLAINED / 2), (_CONTRAST, _CONTRAST), (_FOUND, (1 - _FOUND) / 1.5))
_ALIKE = 0.1  # difference of log errors at which a mixture's weight falls to 1/e

# Opacity of rims.
_LOOSE = 0.5  # pixels by which an edge may deviate from the middle of its stretch towards the near side ...
_WAVERING = 1.0  # ... and towards the far side, in units of `edge_growth`: a network's edges waver about the image's
_HIDDEN = 0.9  # opacity above which the far surface is unknown
_NONE = 0.01  # opacity up to which a pixel is transparent; from 1 minus this it is opaque
_FAINT = 0.05  # largest opacity beyond the mixture: real lenses blur farther than a normal distribution
_LEVELS = 0.003  # uncertainty of linear light due to grain and 8 bits

# Colours of the far surface. Near the edge, colours beyond a squared deviation, in variances of the surface, do not belong to it. The bound
# lies between these two. It falls where colours near the edge vary by more than the ratio _FRINGE, as sharpening leaves a fringe there.
_FOREIGN = (2.0, 9.0)
_FRINGE = 1.5
_LEAST = 0.1  # least share of a colour difference that is attributed to either surface, however smooth it is

_JOINED = 3  # width in pixels of the near surface beside a rim that is composited with it
_TINY = 1e-9  # least divisor


class Rims(NamedTuple):
    """N pixels: the soft rims of near surfaces, and the strips of those surfaces that they adjoin.

    Attributes:
        image: (N,) image index.
        row, column: (N,) relative to the image's first pixel; negative in the layer's margin.
        inverse: (N,) inverse depth of the near surface.
        alpha: (N,) opacity; 1 in the surface itself.
        colour: (3, N) premultiplied, in linear light.
        surface: (B, 1, h, w) map of `inverse`, with the layer's margin; 0 at other pixels.
        entry: (B * h * w,) int32: the index among the N pixels of each pixel of `surface`; N at other pixels.
        margin: The layer's margin, (columns, rows).
    """

    image: Tensor
    row: Tensor
    column: Tensor
    inverse: Tensor
    alpha: Tensor
    colour: Tensor
    surface: Tensor
    entry: Tensor
    margin: tuple[int, int]


class _Band(NamedTuple):
    """N pixels near depth edges.

    Attributes:
        place: (N,) flat index over the images.
        image, row, column: (N,) image index, and position in the image.
        usable: (N,) bool, whether the near and the far surface are found.
        known: (N,) bool, whether more than one pixel of the 3x3 pixels around is usable.
        values: (12, N): linear colours of the pixel, and of the near and the far surface beside it; inverse depth of both surfaces;
            distance from the depth edge in pixels, positive on the far side.
    """

    place: Tensor
    image: Tensor
    row: Tensor
    column: Tensor
    usable: Tensor
    known: Tensor
    values: Tensor

    @property
    def pixels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column, as `located` returns them."""
        return self.image, self.row, self.column

    def take(self, kept: Tensor) -> _Band:
        """The pixels at an index (M,)."""
        return _Band(*(each.index_select(-1, kept) if each.ndim else each for each in self))


def split_soft_edges(image: Tensor, inverse: Tensor, margin: tuple[int, int]) -> tuple[Layer, Rims]:
    """Separates the soft rims of near surfaces from the layer that `with_margin` makes of images and inverse depth.

    Depth has steps (see `depth_at_image_edges`). Rims are computed without the margin, which mirrors the result, so that it does not depend
    on camera or batch.

    Returns:
        The layer, in which the far surface replaces rims or, where it is unknown, a hole does; and the rims. Where edges are sharp or
        hidden in texture, the layer is unchanged. Composited without motion, both reproduce the image.
    """
    size = (len(inverse), *inverse.shape[-2:])
    growth = edge_growth(*size[1:])
    band = _band(image, inverse, growth)
    cells = Stretches(band.pixels, size, _CELL * growth)
    mixture, share = _mixtures(band, cells, growth)
    if share.device.type == "cpu":  # elsewhere, selecting would synchronise the device for their number
        soft = places_where(share > 0)
        band, mixture, share = band.take(soft), mixture.index_select(1, soft), share.index_select(0, soft)
        cells = Stretches(band.pixels, size, _CELL * growth)
    fringe, opacities, evidence = _expected(band.values, mixture, share, growth)
    pixels = image.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)
    depths, variation = inverse.flatten(), cells.nearest(cells.sums(evidence))
    own = pixels.index_select(1, band.place), depths.index_select(0, band.place)
    colour, own_depths, of_rims = _separated(band.values, share, fringe, opacities, variation, *own)
    pixels.index_copy_(1, band.place, colour)
    depths = depths.index_copy(0, band.place, own_depths).view_as(inverse)
    rest = with_margin(pixels.unflatten(1, size).transpose(0, 1), depths, margin)
    return rest, _joined(rest, band.place, of_rims)


def land_rims(rims: Rims, view: Camera, height: int, width: int) -> tuple[Tensor, Tensor]:
    """`Rims.surface`, and the inverse depth of rims in each view of a camera, (B, 1, height, width), 0 where none lands."""
    views = max(len(rims.surface), view.views)
    if len(rims.surface) == 1:  # one image: every view shows the same rims
        image = whole_numbers(rims.surface, 0, views).view(-1, 1, 1, 1)
        seen = view.targets(rims.inverse.view(1, 1, 1, -1), rims.row, rims.column)
    else:
        image, seen = rims.image, view.of_pixels(rims.image).targets(rims.inverse, rims.row, rims.column)
    index, inside = landing(*seen, height, width, view.sideways and not rims.margin[1])
    index = index if views == 1 else torch.add(index, image, alpha=height * width)
    front = rims.surface.new_zeros(views * height * width)
    return rims.surface, front.scatter_reduce_(0, index.flatten(), (rims.inverse * inside).flatten(), "amax").view(-1, 1, height, width)


def lay_over(rims: Rims, view: Camera, colour: Tensor, inverse: Tensor, front: Tensor | None = None) -> Tensor:
    """Composites rims, as a moved camera sees them, over the rendered view (B, 3, H, W) in [0, 1], which has no holes.

    `inverse` (B, 1, H, W) is the view's; rims behind it are hidden. `front` is `RenderedLayer.rims`, if rendered with the layer.
    """
    if front is None:
        surface, landed = land_rims(rims, view, *inverse.shape[-2:])
        front = close_cracks(surface, rims.margin, view, landed)
    places, (image, rows, columns) = pixels_where(front * EDGE > inverse)
    nearest = values_at(front, places)
    columns, rows = view.of_pixels(image).sources(nearest, rows, columns)
    rows = rows + rims.margin[1] if rims.margin[1] else rows
    over, weight = _sample(rims, image, columns + rims.margin[0], rows, nearest, between_rows=not view.sideways)
    shown = weight > _NONE
    pixels = colour.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)
    behind = pixels.index_select(1, places)
    mixed = linear_to_srgb(torch.addcmul(over[:3], srgb_to_linear(behind), 1 - over[3]).clamp_(0, 1))
    pixels.index_copy_(1, places, torch.where(shown, mixed.to(behind), behind))
    return pixels.unflatten(1, inverse[:, 0].shape).transpose(0, 1)


def _joined(rest: Layer, places: Tensor, of_rims: Tensor) -> Rims:
    """Joins rims with strips of the near surfaces beside them, so that no crack opens between them.

    `rest` is the layer without the rims; `places` are pixels of the image without a margin, and `of_rims` from `_separated`.
    """
    (margin, above), (height, width) = rest.margin, rest.inverse.shape[-2:]
    size = (len(rest.inverse), height - 2 * above, width - 2 * margin)
    maps = of_rims.new_zeros(len(of_rims), math.prod(size)).index_copy_(1, places, of_rims)
    of_rims = F.pad(maps[4].view(size)[:, None].to(rest.inverse), (margin, margin, above, above), mode="reflect")
    joined = (of_rims <= 0) & are_alike(rest.inverse, largest_within(of_rims, _JOINED), SMALL_STEP)
    surface = torch.where(joined, rest.inverse, of_rims)
    place, (image, row, column) = pixels_where(surface > 0)
    images, height, width = size
    columns, rows = (_mirrored(place, side, each) for side, each in zip((width, height), rest.margin, strict=True))
    shown = torch.add(columns.index_select(0, column), rows.index_select(0, row), alpha=width)
    shown = shown if images == 1 else torch.add(shown, image, alpha=height * width)
    row, column = row - above if above else row, column - margin
    whole = srgb_to_linear(rest.colour.transpose(0, 1).flatten(1).index_select(1, place).float())
    whole = torch.cat((whole, constant(whole, 1.0).expand_as(whole[:1])))
    values = torch.where(values_at(joined, place), whole, maps[:4].index_select(1, shown))
    return Rims(image, row, column, values_at(surface, place), values[3], values[:3], surface, _slots(place, surface), rest.margin)


@kept_constants
def _mirrored(count: int, margin: int) -> Tensor:
    """(count + 2 * margin,): the row (or column) of an image with `count` rows that each row of its reflection padding repeats."""
    return count - 1 - (count - 1 - torch.arange(-margin, count + margin).abs()).abs()


def _sample(rims: Rims, image: Tensor, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> tuple[Tensor, Tensor]:
    """Samples rims bilinearly, at columns u and rows v (N,) of the layer. Pixels without a rim count as transparent.

    Only pixels of the surface at inverse depth `nearest` (N,) count. Premultiplied colours and opacities (4, N), and their total weight.
    """
    height, width = rims.surface.shape[-2:]
    sources = F.pad(torch.cat((rims.colour, rims.alpha[None], rims.inverse[None])), (0, 1))
    # The four pixels around each position, (4, N), or the two in its row, (2, N).
    down, right = _corners(u, 2 if between_rows else 1)
    column, row = u.floor() + right, v
    weights = 1 - (u - column).abs()
    if between_rows:
        row = v.floor() + down
        weights, row = weights * (1 - (v - row).abs()), row.long().clamp_(0, height - 1)
    place = torch.add(column.long().clamp_(0, width - 1), row, alpha=width)
    if len(rims.surface) > 1:
        place = torch.add(place, image, alpha=height * width)
    samples = sources.index_select(1, rims.entry.index_select(0, place.flatten())).unflatten(1, place.shape)
    weights = weights * ((samples[4] <= 0) | are_alike(samples[4], nearest, SMALL_STEP))
    weight = weights.sum(0)
    return (samples[:4] * weights).sum(1) / weight.clamp(min=_NONE), weight


def _band(image: Tensor, inverse: Tensor, growth: int) -> _Band:
    """The pixels within twice `growth` of depth edges. Where the near or the far surface is not found, neighbouring pixels supply it."""
    inverse, reach = inverse.float(), 2 * growth
    height, width = inverse.shape[-2:]
    (least, most), (low, high), (wide_low, wide_high) = extremes_around(inverse, 1, reach - 1, reach)
    # Two box blurs approximate a Gaussian, which locates the edge with subpixel precision.
    nearness = box_means(box_means((inverse * inverse > wide_low * wide_high).to(inverse), growth), growth)
    beside_edge = largest_within((most > least * EDGE).to(inverse), reach)
    edge = (high * beside_edge > low * EDGE) & (nearness == nearness.clamp(_NONE, 1 - _NONE))
    place, pixels = pixels_where(edge)
    # The quantile of a normal distribution, by a function that MPS supports.
    away = torch.erfinv(torch.sub(constant(nearness, 1.0), values_at(nearness, place), alpha=2)) * (_blur(growth) * math.sqrt(2))
    maps = torch.cat((nearness, inverse, low, high), 1).transpose(0, 1).flatten(1)
    colours = image.transpose(0, 1).flatten(1)
    around, own, beside, is_known = _beside(maps, colours, place, *pixels, away, height, width, reach)
    # Sums over the neighbours of each pixel that are in the band. The last row of the table, 0, stands for all other pixels.
    values, known = _completed(_slots(place, edge), around, own, beside, is_known, away)
    return _Band(place, *pixels, is_known[0], known, values)


@by_kernel(f"{__package__}.soft_edges_kernel")
def _beside(
    maps: Tensor,
    colours: Tensor,
    place: Tensor,
    image: Tensor,
    row: Tensor,
    column: Tensor,
    away: Tensor,
    height: int,
    width: int,
    reach: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Finds the surfaces beside N pixels near depth edges.

    Args:
        maps: (4, B * H * W) nearness, inverse depth, and its least and greatest around.
        colours: (3, B * H * W) sRGB.
        place, image, row, column, away: (N,) as in `_Band`.
        height, width: H and W.
        reach: Distance in pixels beyond which there is no ramp.

    Returns:
        (9, N) the places of the 3x3 pixels around each. (3, N) its linear colour. (8, N) linear colours and inverse depth of the far and
        the near surface, alternating. (3, N) bool: whether both surfaces are found, and whether the pixel is of the far, the near one.
    """

    def indices(down: Tensor, right: Tensor) -> Tensor:
        there = (column + right).clamp_(0, width - 1).add_((row + down).clamp_(0, height - 1), alpha=width)
        return there if image.ndim == 0 else there.add_(image, alpha=height * width)

    around = indices(*_square_around(place))
    before, after = maps[0].index_select(0, around[:4].flatten()).view(2, 2, -1)
    way = before - after  # rows and columns towards the far side
    way = way / torch.hypot(way[0], way[1]).clamp(min=_TINY)
    # Pixels in the direction of the far and of the near side: two outside of the ramp and one inside, (3, 2, N).
    sign, distances = _across(maps, reach)
    there = indices(*(way[:, None, None] * (distances - away)).round_().long())
    own, bottom, top = maps[1:].index_select(1, place)
    middle = (bottom * top).sqrt()
    levels = maps[1].index_select(0, there.flatten()).view(there.shape)
    outside, more, inside = levels
    # The colours of the two outside pixels on each side, and of the pixel itself.
    seen = torch.cat((there[:2].flatten(), place))
    shown = srgb_to_linear(colours.index_select(1, seen).float()).unflatten(1, (5, -1))
    colour = (shown[:, :2] + shown[:, 2:4]) / 2
    # (2, N): whether inverse depths fit the far side, and the near side.
    levels = torch.cat((levels, own.expand_as(levels[:1])))
    fits, _, is_inside, is_own = ((levels - middle) * sign < 0).unbind()
    usable = (fits & are_alike(more, outside, EDGE)).all(0)
    far, near = surfaces = torch.where(is_own, own, torch.where(is_inside, inside, outside))
    least = torch.stack((far, top, far)) * constant(far, (EDGE, 1 / _SAME, 1 / _SAME))[:, None]
    usable = usable & (torch.stack((near, near, bottom)) > least).all(0)
    return around, shown[:, 4], torch.cat((colour.flatten(0, 1), surfaces)), torch.cat((usable[None], is_own))


@by_kernel(f"{__package__}.soft_edges_kernel")
def _completed(slots: Tensor, around: Tensor, own: Tensor, beside: Tensor, is_known: Tensor, away: Tensor) -> tuple[Tensor, Tensor]:
    """`_Band.values` and `known`: where the near or the far surface is not found, neighbouring pixels supply it.

    `slots` has the index among the N pixels of each pixel of the maps, N at others; `around`, `own`, `beside` and `is_known` are from
    `_beside`.
    """
    usable, is_own = is_known[0], is_known[1:]
    values = torch.cat((beside, constant(beside, 1.0).expand_as(beside[:1]))) * usable
    around = slots.index_select(0, around.flatten()).view_as(around).T.contiguous()
    sums = summed_rows(F.pad(values, (0, 1)).T.contiguous(), around).T
    count = sums[8]
    means = sums[:8] / count.clamp(min=1)
    far_colour, near_colour = means[:6].unflatten(0, (3, 2)).unbind(1)
    far, near = torch.where(usable | is_own, beside[6:], means[6:])
    return torch.cat((own, near_colour, far_colour, torch.stack((near, far, away)))), count > 1


@kept_constants
def _square_around() -> tuple[Tensor, Tensor]:
    """Row and column offsets, (9, 1) each, of the 3x3 pixels around a pixel: above, left, below, right, then the others."""
    down, right = torch.tensor(((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1))).T[..., None]
    return down, right


@kept_constants
def _corners(rows: int) -> tuple[Tensor, Tensor]:
    """Row and column offsets, (2, 1) or (4, 1) each, of the pixels for sampling in one row, or between two rows."""
    down, right = torch.cartesian_prod(torch.arange(rows), torch.arange(2)).T[..., None]
    return down, right


@kept_constants
def _across(reach: int) -> tuple[Tensor, Tensor]:
    """(2, 1): signs of the far and the near side. (3, 2, 1): distances of two pixels outside the ramp and one inside, on both sides."""
    sign = torch.tensor((1.0, -1.0), dtype=torch.float32)[:, None]
    return sign, sign.new_tensor((reach, reach + 1, 1.5)).view(3, 1, 1) * sign


def _farthest(growth: int) -> float:
    """The largest distance from the edge at which colours are summed, in pixels."""
    return _FARTHEST * _blur(growth)


@kept_constants
def _tried(growth: int) -> tuple[Tensor, Tensor]:
    """The candidate mixtures, with W widths, of which the first is a sharp edge, and O offsets.

    A matrix (W * O, 3 * D) that multiplies the profiles of `products` in `_mixtures`, at D distances, to each candidate's squared error:
    with opacity a, -2 a times the first product, plus a squared times the second, plus the third. And the offsets and the deviations, in
    pixels, of all candidates but the sharp ones, (2, (W - 1) * O).
    """
    widest = min(_WIDEST * growth, _WIDEST_PIXELS)
    widths = [_SHARP, *(_NARROWEST * (widest / _NARROWEST) ** (step / (_WIDTHS - 1)) for step in range(_WIDTHS))]
    widths, middles = (torch.tensor(each, dtype=torch.float32) for each in (widths, [offset * growth for offset in _OFFSETS]))
    alphas = _normal((middles[:, None] - distances_to(middles, _farthest(growth)))[None], widths[:, None, None]).flatten(0, 1)
    of_profiles = torch.cat((-2 * alphas, alphas.square(), torch.ones_like(alphas)), 1)
    return of_profiles, torch.cartesian_prod(widths[1:], middles).T.flip(0)


@without_autocast
def _mixtures(band: _Band, cells: Stretches, growth: int) -> tuple[Tensor, Tensor]:
    """Finds the mixture at each pixel of the band: a mean of candidates, weighted by how well they explain the stretch's colours.

    Widths that explain the whole image better are preferred. (2, N): the offset of its middle from the depth edge and its standard
    deviation, both in pixels; and (N,) the confidence that there is a mixture, in [0, 1].
    """
    away, counted = band.values[11], band.usable.to(band.values)
    # Of the pixel and of the near surface, relative to the far one; and products of these: of both, and of each with itself.
    apart = band.values[:6].unflatten(0, (2, 3)) - band.values[6:9]
    products = (apart[:, None] * apart).sum(2).flatten(0, 1).index_select(0, constant(band.place, (1, 3, 0))) * counted
    sides = cells.sums(torch.stack((products[1], counted, band.known.to(counted), (away > 0) * counted)))
    contrast_here, count, _, on_far = sides.unbind(1)
    profiles = cells.profiles(products, away, _farthest(growth))
    of_profiles, choices = _tried(profiles, growth)
    errors = of_profiles @ profiles.flatten(0, 1)
    errors = cells.over_stretches(errors).unflatten(1, (1 + _WIDTHS, -1)).transpose(0, 1)
    # (widths, B, offsets, rows, columns), relative to the squared contrast.
    unexplained = (errors / contrast_here.clamp(min=_TINY)[:, None]).clamp_(min=1e-4)
    logs = unexplained.log()
    enough = torch.minimum(on_far, count - on_far) > _FEW
    best = logs.amin(2)
    votes = count * enough * (contrast_here > _CONTRAST**2 * count)
    common = ((best - best[:1]).clamp(-_VOTE, _VOTE) * votes).sum((2, 3)) / votes.sum((1, 2)).clamp(min=1)
    logs = logs + common[..., None, None, None]
    logs, unexplained = (each[1:].transpose(0, 1).flatten(1, 2) for each in (logs, unexplained))
    mixed = logs.amin(1)
    # Candidates with similar errors get similar weights, so that noise does not select one.
    share = (logs * (-1 / _ALIKE)).softmax(1)
    left = (share * unexplained).sum(1)
    mixture = (choices @ share.flatten(2)).unflatten(2, mixed.shape[1:])
    contrast, known = (sides[:, :2] / sides[:, 1:3].clamp(min=1)).clamp_(min=0).unbind(1)
    sure = shares_above(torch.stack(((mixed - best[0]).exp(), left, contrast.sqrt(), known)), *_IS_SURE).prod(0) * enough
    # Weighted by confidence, so that confident cells decide for their neighbours.
    weight = (sure + 1e-6)[:, None]
    smoothed = cells.between(box_means(torch.cat((mixture * weight, weight), 1), 1))
    return smoothed[:2] / smoothed[2], (smoothed[2] - 1e-6).clamp(max=1) * (band.known & (smoothed[2] > _SURE))


@by_kernel(f"{__package__}.soft_edges_kernel")
def _expected(values: Tensor, mixture: Tensor, share: Tensor, growth: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the mixture of the stretch predicts; the actual edge wavers around it.

    Args:
        values: Of a `_Band`.
        mixture, share: From `_mixtures`.
        growth: `edge_growth`.

    Returns:
        (N,) how far a pixel is in the fringe beside a silhouette, in [0, 1]. (3, N) the least, the expected and the greatest opacity.
        (6, N) squared differences from the expected colour, of pixels of the far surface, of the fringe, and of the near surface, 0 for
        others; and which pixels these are.
    """
    (colour, near, far), (near_inverse, far_inverse, away) = values[:9].unflatten(0, (3, 3)), values[9:]
    # Within a rough object, a step to a slightly farther surface is not a silhouette.
    fringe = (growth - away).clamp(0, 1) * share * (near_inverse > far_inverse * SMALL_STEP)
    # At a confidence of one half, the mixture is half as wide.
    offset, width = mixture
    wavers = constant(share, ((-_LOOSE,), (0.0,), (_WAVERING * growth,)))
    opacities = _normal(share * (offset + wavers) - away, share * width)
    alpha = opacities[1]
    rest = torch.addcmul(colour - far, near - far, alpha, value=-1)
    is_above = torch.stack((away, fringe, alpha)) > constant(alpha, ((growth,), (0.0,), (0.9,)))
    is_above[1] &= alpha < 0.1
    weights = is_above & (share > 0)
    return fringe, opacities, torch.cat((rest.square().sum(0) * weights, weights))


@by_kernel(f"{__package__}.soft_edges_kernel")
def _separated(
    values: Tensor, share: Tensor, fringe: Tensor, opacities: Tensor, variation: Tensor, colours: Tensor, depths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Separates N pixels to the far surface and the rim in front of it.

    Where both surfaces are smooth, the pixel's colour gives a more precise opacity than the mixture of the stretch. The remaining colour
    difference is attributed to both surfaces, by their opacity and their variation along the stretch. Near the edge, colours that the far
    surface does not have elsewhere are not attributed to it: they belong to the near object, or to a sharpening fringe.

    Args:
        values: Of a `_Band`.
        share: From `_mixtures`.
        fringe, opacities: From `_expected`.
        variation: (6, N) its third result, summed over the stretch.
        colours: (3, N) of the layer, sRGB.
        depths: (N,) inverse depth of the layer.

    Returns:
        (3, N) and (N,) colours and inverse depth without rims. (5, N) premultiplied linear colours, opacity and inverse depth of rims; 0
        where there is none.
    """
    (colour, near, far), (near_inverse, far_inverse, _) = values[:9].unflatten(0, (3, 3)), values[9:]
    low, alpha, high = opacities
    between, from_far = near - far, colour - far
    rest = torch.addcmul(from_far, between, alpha, value=-1)
    totals, counts = variation.unflatten(0, (2, -1))
    of_far, of_fringe, of_near = torch.addcdiv(constant(totals, 1e-5), totals, counts.clamp(min=1))
    of_far = torch.where(counts[0] > _FEW, of_far, constant(of_far, 1.0))
    contrast, along = (torch.stack((between, rest)) * between).sum(1)
    contrast, spread = contrast.clamp(min=_TINY), (high - low).square()
    # The residual is divided between wavering of the edge and variation of the surfaces, by their variances.
    noise = torch.addcmul(alpha.square() * of_near, (1 - alpha).square(), of_far)
    unsure = torch.addcmul(noise, spread, contrast, value=1 / 12)
    alpha = torch.addcdiv(alpha, spread * along, unsure, value=1 / 12).clamp(low, high)
    # A pixel that is darker or brighter than the far surface can be is more opaque.
    varied = 2 * of_far.sqrt()
    lowest, highest = far - varied, far + varied
    room = 1 - highest
    least = 1 - torch.minimum(colour / lowest.clamp(min=_TINY), (1 - colour) / room.clamp(min=_TINY))
    least = least * ((torch.minimum(lowest, room) > 0) & (alpha > _NONE))
    alpha = alpha.maximum(least.amax(0))
    rest = torch.addcmul(from_far, between, alpha, value=-1)
    share_of_near = (of_near / (of_near + of_far)).clamp(_LEAST, 1 - _LEAST)
    clear = 1 - alpha
    share_of_far = torch.addcmul(clear, clear, share_of_near, value=-1)
    rest = rest * (share_of_far / torch.addcmul(alpha.square() * share_of_near, clear, share_of_far))
    # The more the colour deviates from the far surface's, the less of the deviation is kept.
    its_own = of_far * (of_far / of_fringe * (_FOREIGN[1] * _FRINGE)).clamp(*_FOREIGN)
    kept = (its_own / rest.square().sum(0).clamp(min=_TINY)).clamp(max=1)
    rest = rest * torch.lerp(constant(kept, 1.0), kept, fringe)
    # Clamped between the pixel's colour and the surface's mean, so that no difference is exaggerated.
    far = (far + rest).clamp(lowest, highest).clamp(colour.minimum(far), colour.maximum(far))
    on_near = depths.to(far_inverse).square() > near_inverse * far_inverse
    # Beyond the mixture, pixels with near depth are the mixture's faint end: a trace of the near colour over the far surface.
    between, from_far = apart = torch.stack((near, colour)) - far
    contrast, along = (apart * between).sum(1)
    trace = along / contrast.clamp(min=_TINY)
    alpha = torch.where(on_near & (alpha < _FAINT), alpha.maximum(trace.clamp(0, _FAINT)), alpha)
    # Raise the opacity where the near colour would otherwise be darker than black or brighter than white.
    least = (from_far / (constant(far, (-_LEVELS, 1 + _LEVELS)).view(2, 1, 1) - far)).flatten(0, 1).amax(0)
    alpha = torch.where((alpha > _NONE) | (fringe > 0), alpha.maximum(least.clamp(max=1)), alpha)
    near = torch.addcmul(from_far, alpha, far).clamp_(constant(alpha, 0.0), alpha)
    # Pixels of a single surface whose depth is right stay unchanged; those with the other surface's depth become rims.
    is_rim = torch.where(on_near, alpha < 1 - _NONE, alpha > _NONE) & (share > 0)
    behind = (far_inverse * (alpha <= _HIDDEN)).to(depths)
    colours, depths = torch.where(is_rim, linear_to_srgb(far).to(colours), colours), torch.where(is_rim, behind, depths)
    return colours, depths, torch.cat((near, torch.stack((alpha, near_inverse)))) * is_rim


def _blur(growth: int) -> float:
    """The standard deviation, in pixels, of two box blurs of radius `growth`."""
    return math.sqrt(((2 * growth + 1) ** 2 - 1) / 6)


def _slots(places: Tensor, like: Tensor) -> Tensor:
    """(M,) int32: the position of each of a map's M pixels among the `places` (N,); N for other pixels."""
    numbers = torch.arange(len(places), dtype=torch.int32, device=places.device)
    return torch.full_like(like, len(places), dtype=torch.int32).flatten().index_copy_(0, places, numbers)


def _normal(values: Tensor, deviation: Tensor | float) -> Tensor:
    """The cumulative normal distribution at `values`."""
    if isinstance(deviation, Tensor):
        deviation = deviation.clamp(min=1e-3)
    share = torch.erf(values / (deviation * math.sqrt(2)))
    return torch.add(constant(share, 0.5), share, alpha=0.5)
