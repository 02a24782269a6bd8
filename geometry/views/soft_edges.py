"""Soft silhouettes: rims that mix a near and a far surface move with the near one, and become transparent.

A lens, hair and motion spread an edge over several pixels. Warped unchanged, their colours carry the old background along or leave
a ghost of the object. The width of the mixture is estimated along a stretch of an edge and from the whole image, never from a single
pixel; where it is hardly wider than a pixel, nothing changes.
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
from ..images.srgb import linear_to_srgb, srgb_to_linear
from .forward_warp import SMALL_STEP, Camera, Layer, are_alike, close_cracks, landing, with_margin

# Candidate mixtures: their middle's offset from the depth edge towards the far side, in units of `edge_growth`, and their standard
# deviations.
_OFFSETS = (-2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0)
_NARROWEST = 0.7  # pixels
_WIDEST = 2.8  # in units of `edge_growth` ...
_WIDEST_PIXELS = 5.6  # ... and in pixels
_WIDTHS = 5  # how many from the narrowest to the widest
_SHARP = 0.25  # that of a sharp edge, pixels

# Stretches of an edge.
_FARTHEST = 2.4  # the largest distance from the edge at which colours are summed up, in deviations of the blur that finds the edge
_CELL = 4  # their cells, in units of `edge_growth`
_FEW = 4  # pixels on each side of an edge below which a stretch is too short
_FOUND = 0.8  # the share of an edge's pixels whose near and far surfaces are found, below which a stretch stays as it is
_SAME = 1.08  # by how much a surface's inverse depth changes beside an edge, where there is no third surface

# Whether there is a mixture.
_CONTRAST = 0.06  # root of the mean squared difference of near and far colours, in linear light, from which on mixtures can be told
_GAIN = 0.2  # the share of the error by which a mixture explains a stretch better than a sharp edge
_UNEXPLAINED = 0.5  # the share of the contrast that it may leave
_VOTE = 0.7  # what a stretch may add to the image's logarithm of errors
_SURE = 1e-5  # how sure a stretch is at least that has a mixture: less may be rounding
# From where on, and over what, it is sure: the error beside a sharp edge's, the contrast unexplained, the contrast, the pixels found.
_IS_SURE = (
    (1 - _GAIN, -_GAIN),
    (_UNEXPLAINED, -_UNEXPLAINED / 2),
    (_CONTRAST, _CONTRAST),
    (_FOUND, (1 - _FOUND) / 1.5),
)
_ALIKE = 0.1  # mixtures whose logarithms of errors differ by this count in the ratio of e to 1

# How opaque a rim is.
_LOOSE = 0.5  # pixels by which an edge may lie off the middle of its stretch towards the near side ...
_WAVERING = 1.0  # ... and towards the far side, in units of `edge_growth`, as a network's edges waver about those of the image
_HIDDEN = 0.9  # the opacity from which on nothing of the far surface is known
_NONE = 0.01  # what counts as none, and 1 less it as full
_FAINT = 0.05  # the most of a near thing that is seen beyond the mixture: real lenses blur farther than a normal distribution
_LEVELS = 0.003  # linear light that grain and 8 bits leave unknown

# Colours of the far surface. A squared deviation, in its variances, from which on a colour beside an edge is not the surface's: at least
# and at most. It is the lower, the more the colours beside the stretch's edge vary beyond a ratio: sharpening leaves a fringe there.
_FOREIGN = (2.0, 9.0)
_FRINGE = 1.5
_LEAST = 0.1  # the least share of a difference that is put down to one of both surfaces, however smooth it is

_JOINED = 3  # pixels from a rim up to which the near surface is laid over together with it
_TINY = 1e-9  # what stands for 0 in a divisor


class Rims(NamedTuple):
    """The soft rims of near surfaces, and the adjacent surfaces that they join, as pixels of images; all (N,) or (C, N) but the maps.

    Attributes:
        image: Image index of each pixel.
        row, column: From the image's first, without the layer's margin.
        inverse: Inverse depth of the near surface; 0 where there is none.
        alpha: Opacity; 0 without a rim, 1 of the surface itself.
        colour: Premultiplied, in linear light.
        surface: The layer's map of `inverse`, (B, 1, h, w), 0 elsewhere.
        entry: The index among the N pixels of each of the layer's pixels, (B h w,) int32; N elsewhere.
        margin: The layer's.
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
    """Pixels beside depth edges; all (N,) or (C, N).

    Attributes:
        place: Flat index over the images.
        image, row, column: The image, and the position in it.
        away: Pixels from the depth edge, positive on the far side.
        usable: Whether near and far surface are found on both sides.
        known: Whether a pixel at most one pixel away is usable.
        colour, near, far: Linear colours of the pixel, and of the near and the far surface beside it.
        near_inverse, far_inverse: Inverse depth of both surfaces.
    """

    place: Tensor
    image: Tensor
    row: Tensor
    column: Tensor
    away: Tensor
    usable: Tensor
    known: Tensor
    colour: Tensor
    near: Tensor
    far: Tensor
    near_inverse: Tensor
    far_inverse: Tensor

    @property
    def pixels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of each, as `located` gives them."""
        return self.image, self.row, self.column

    def take(self, kept: Tensor) -> _Band:
        """Some of the pixels."""
        return _Band(*(each.index_select(-1, kept) if each.ndim else each for each in self))


def split_soft_edges(layer: Layer) -> tuple[Layer, Rims]:
    """Separates the soft rims of near surfaces from a layer.

    Args:
        layer: Of an image in [0, 1], with stepped depth (see `depth_at_image_edges`), by `with_margin`. The margin mirrors
            the result, which is thus independent of camera and batch.

    Returns:
        The layer with the far surface in place of rims, as far as it is known, and the rims. Where edges are sharp or hidden in
        texture, the layer is unchanged. Composited without motion, both reproduce the image.
    """
    margin, layer = layer.margin, _without_margin(layer)
    size = (len(layer.inverse), *layer.inverse.shape[-2:])
    growth = edge_growth(*size[1:])
    band = _band(layer, growth)
    offset, width, share = _mixtures(band, size, growth)
    soft = places_where(share > 0)
    band, offset, width, share = band.take(soft), *(each.index_select(0, soft) for each in (offset, width, share))
    # Within a rough object, a step to a slightly farther surface is no silhouette.
    fringe = (growth - band.away).clamp(0, 1) * share * (band.near_inverse > band.far_inverse * SMALL_STEP)
    alpha, far = _unmixed(band, Stretches(band.pixels, size, _CELL * growth), growth, offset, width, share, fringe)
    own = values_at(layer.inverse, band.place)
    on_near = own.to(band.far_inverse).square() > band.near_inverse * band.far_inverse
    # Beyond the mixture, the supposed near surface is the mixture's faint end: a trace over the far surface.
    between, from_far = band.near - far, band.colour - far
    trace = (from_far * between).sum(0) / between.square().sum(0).clamp(min=_TINY)
    alpha = torch.where(on_near & (alpha < _FAINT), alpha.maximum(trace.clamp(0, _FAINT)), alpha)
    # A rim that would be darker than black or brighter than white is more opaque.
    least = torch.maximum(from_far / (-_LEVELS - far), from_far / (1 + _LEVELS - far)).amax(0)
    alpha = torch.where((alpha > _NONE) | (fringe > 0), alpha.maximum(least.clamp(max=1)), alpha)
    near = torch.minimum(torch.addcmul(from_far, alpha, far).clamp_(min=0), alpha)
    # Pixels of a single surface that match the map stay unchanged. None is left with the other's depth.
    is_rim = torch.where(on_near, alpha < 1 - _NONE, alpha > _NONE)
    pixels = layer.colour.transpose(0, 1).flatten(1).clone()
    pixels.index_copy_(1, band.place, torch.where(is_rim, linear_to_srgb(far).to(pixels), pixels.index_select(1, band.place)))
    behind = (band.far_inverse * (alpha <= _HIDDEN)).to(own)
    inverse = layer.inverse.flatten().index_copy(0, band.place, torch.where(is_rim, behind, own))
    rest = with_margin(pixels.unflatten(1, size).transpose(0, 1), inverse.view_as(layer.inverse), margin)
    band = band._replace(near_inverse=band.near_inverse * is_rim)
    return rest, _joined(rest, band, alpha * is_rim, near * is_rim)


def land_rims(rims: Rims, view: Camera, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Inverse depth of rims in the layer, as `Rims.surface`, and where moved cameras see them, (B, 1, height, width)."""
    views = max(len(rims.surface), view.views)
    if len(rims.surface) == 1:  # the rims are a row that all views see
        image = whole_numbers(rims.surface, 0, views).view(-1, 1, 1, 1)
        seen = view.targets(rims.inverse.view(1, 1, 1, -1), rims.row, rims.column)
    else:
        image, seen = rims.image, view.of_pixels(rims.image).targets(rims.inverse, rims.row, rims.column)
    index, inside = landing(*seen, height, width)
    index = index if views == 1 else torch.add(index, image, alpha=height * width)
    front = rims.surface.new_zeros(views * height * width)
    return rims.surface, front.scatter_reduce_(0, index.flatten(), (rims.inverse * inside).flatten(), "amax").view(-1, 1, height, width)


def lay_over(rims: Rims, view: Camera, colour: Tensor, inverse: Tensor, front: Tensor | None = None) -> Tensor:
    """Composites rims, as a moved camera sees them, over the rendered view.

    Args:
        rims: From `split_soft_edges`.
        view: The camera.
        colour: (B, 3, H, W) in [0, 1], without holes.
        inverse: (B, 1, H, W) inverse depth; 0 where unknown. Rims behind it are hidden.
        front: `RenderedLayer.rims`; None if they were not rendered with the layer.

    Returns:
        (B, 3, H, W).
    """
    if front is None:
        surface, landed = land_rims(rims, view, *inverse.shape[-2:])
        front = close_cracks(surface, rims.margin, view, landed)
    places, (image, rows, columns) = pixels_where((front * EDGE > inverse) & (front > 0))
    nearest = values_at(front, places)
    columns, rows = view.of_pixels(image).sources(nearest, rows, columns)
    over, weight = _sample(rims, image, columns + rims.margin[0], rows + rims.margin[1], nearest, between_rows=not view.sideways)
    shown = weight > _NONE
    pixels = colour.transpose(0, 1).clone(memory_format=torch.contiguous_format).flatten(1)
    behind = pixels.index_select(1, places)
    mixed = linear_to_srgb(torch.addcmul(over[:3], srgb_to_linear(behind), 1 - over[3]).clamp_(0, 1))
    pixels.index_copy_(1, places, torch.where(shown, mixed.to(behind), behind))
    return pixels.unflatten(1, inverse[:, 0].shape).transpose(0, 1)


def _joined(rest: Layer, band: _Band, alpha: Tensor, colour: Tensor) -> Rims:
    """Rims (N,) of a band with the near surfaces beside them, so that no crack opens between both.

    Args:
        rest: The layer without the rims.
        band: Of the image without a margin; `near_inverse` is 0 where there is no rim.
        alpha: (N,) as `Rims`.
        colour: (3, N) as `Rims`.
    """
    inside = torch.zeros_like(_without_margin(rest).inverse)
    of_rims = inside.flatten().index_copy(0, band.place, band.near_inverse.to(inside)).view_as(inside)
    of_rims = with_margin(rest.colour, of_rims, rest.margin).inverse
    joined = (of_rims <= 0) & are_alike(rest.inverse, largest_within(of_rims, _JOINED), SMALL_STEP)
    surface = torch.where(joined, rest.inverse, of_rims)
    place, (image, row, column) = pixels_where(surface > 0)
    row, column = row - rest.margin[1], column - rest.margin[0]
    height, width = inside.shape[-2:]
    shown = torch.add(_mirrored(column, width), _mirrored(row, height), alpha=width)
    shown = shown if len(inside) == 1 else torch.add(shown, image, alpha=height * width)
    in_band, opaque = _slots(band.place, inside).index_select(0, shown), values_at(joined, place)
    alpha, colour = (F.pad(each, (0, 1)).index_select(-1, in_band) for each in (alpha, colour))
    whole = srgb_to_linear(rest.colour.transpose(0, 1).flatten(1).index_select(1, place).float())
    return Rims(
        image,
        row,
        column,
        values_at(surface, place),
        torch.where(opaque, constant(alpha, 1.0), alpha),
        torch.where(opaque, whole, colour),
        surface,
        _slots(place, surface),
        rest.margin,
    )


def _without_margin(layer: Layer) -> Layer:
    columns, rows = layer.margin
    height, width = layer.inverse.shape[-2:]
    inside = (..., slice(rows, height - rows), slice(columns, width - columns))
    return Layer(layer.colour[inside], layer.inverse[inside], (0, 0))


def _mirrored(number: Tensor, count: int) -> Tensor:
    """The row of so many, or the column, that is shown by one of the margin."""
    return count - 1 - (count - 1 - number.abs()).abs()


def _sample(rims: Rims, image: Tensor, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> tuple[Tensor, Tensor]:
    """Bilinear colours and opacities (4, N) at columns u and rows v of the layer, and the weight (N,) of known samples.

    Beyond a rim its object is absent. Other objects than that at inverse depth `nearest` are ignored.
    """
    height, width = rims.surface.shape[-2:]
    sources = F.pad(torch.cat((rims.colour, rims.alpha[None], rims.inverse[None])), (0, 1))
    # The pixels around each place, (4, N), or the 2 of its row.
    down, right = _corners(u, 2 if between_rows else 1)
    row, column = v.floor() + down if between_rows else v, u.floor() + right
    weights = 1 - (u - column).abs()
    weights = weights * (1 - (v - row).abs()) if between_rows else weights
    place = torch.add(column.long().clamp_(0, width - 1), row.long().clamp(0, height - 1), alpha=width)
    if len(rims.surface) > 1:
        place = torch.add(place, image, alpha=height * width)
    samples = sources.index_select(1, rims.entry.index_select(0, place.flatten())).unflatten(1, place.shape)
    weights = weights * ((samples[4] <= 0) | are_alike(samples[4], nearest, SMALL_STEP))
    weight = weights.sum(0)
    return (samples[:4] * weights).sum(1) / weight.clamp(min=_NONE), weight


def _band(layer: Layer, growth: int) -> _Band:
    """The pixels within twice `growth` of depth edges. Pixels without a surface on either side are taken to be as those beside them."""
    inverse, reach = layer.inverse.float(), 2 * growth
    height, width = inverse.shape[-2:]
    (least, most), (low, high), (wide_low, wide_high) = extremes_around(inverse, 1, reach - 1, reach)
    # Blurred twice, as if by a Gaussian: where its middle lies is known to a part of a pixel.
    nearness = box_means(box_means((inverse * inverse > wide_low * wide_high).to(inverse), growth), growth)
    beside_edge = largest_within((most > least * EDGE).to(inverse), reach)
    edge = (beside_edge > 0) & (high > low * EDGE) & ((nearness - 0.5).abs() < 0.5 - _NONE)
    place, (image, row, column) = pixels_where(edge)
    # The quantile of a Gaussian, by a function that MPS has too.
    away = torch.erfinv(torch.sub(constant(nearness, 1.0), values_at(nearness, place), alpha=2)) * (_blur(growth) * math.sqrt(2))

    def beside(down: Tensor, right: Tensor) -> Tensor:
        there = (column + right).clamp_(0, width - 1).add_((row + down).clamp_(0, height - 1), alpha=width)
        return there if len(inverse) == 1 else there.add_(image, alpha=height * width)

    around = beside(*_square_around(place))
    before, after = values_at(nearness, around[1::2].flatten()).view(2, 2, -1)
    way = before - after.flip(0)  # rows and columns towards the far side
    way = way / torch.hypot(way[0], way[1]).clamp(min=_TINY)
    colours = layer.colour.transpose(0, 1).flatten(1)
    # Pixels on the way to the far side and to the near one: two outside of the ramp, and one inside, (3, 2, N).
    sign, distances = _across(nearness, reach)
    there = beside(*(way[:, None, None] * (distances - away)).round_().long())
    own, bottom, top = torch.cat((inverse, low, high), 1).transpose(0, 1).flatten(1).index_select(1, place)
    middle = (bottom * top).sqrt()
    levels = values_at(inverse, there.flatten()).view(there.shape)
    outside, more, inside = levels
    # The colours of both pixels outside on each side, and the own one.
    seen = torch.cat((there[:2].flatten(), place))
    shown = srgb_to_linear(colours.index_select(1, seen).float()).unflatten(1, (5, -1))
    colour = ((shown[:, :2] + shown[:, 2:4]) / 2).transpose(0, 1)
    # (2, N), whether inverse depths are of the far side, and of the near one.
    fits, _, is_inside = ((levels - middle) * sign < 0).unbind()
    is_own = torch.stack((own < middle, own > middle))
    usable = (fits & are_alike(more, outside, EDGE)).all(0)
    far, near = surfaces = torch.where(is_own, own, torch.where(is_inside, inside, outside))
    usable = usable & (near > far * EDGE) & (near * _SAME > top) & (far < bottom * _SAME)
    values = torch.cat((colour.flatten(0, 1), surfaces, constant(far, 1.0).expand_as(surfaces[:1]))) * usable
    # Sums over those beside each pixel that are in the band themselves; the last row stands for all others.
    slot = _slots(place, edge)
    around = slot.index_select(0, around.flatten()).view_as(around).T.contiguous()
    sums = summed_rows(F.pad(values, (0, 1)).T.contiguous(), around).T
    count = sums[8]
    means = sums[:8] / count.clamp(min=1)
    far, near = torch.where(usable | is_own, surfaces, means[6:])
    return _Band(place, image, row, column, away, usable, count > 1, shown[:, 4], means[3:6], means[:3], near, far)


@kept_constants
def _square_around() -> tuple[Tensor, Tensor]:
    """(9, 1) each, rows and columns from a pixel to those of a square around it, row by row."""
    down, right = torch.cartesian_prod(*[torch.arange(-1, 2)] * 2).T[..., None]
    return down, right


@kept_constants
def _corners(rows: int) -> tuple[Tensor, Tensor]:
    """(2 or 4, 1) each, rows and columns from the first of the pixels around a place in one row, or in two."""
    down, right = torch.cartesian_prod(torch.arange(rows), torch.arange(2)).T[..., None]
    return down, right


@kept_constants
def _across(reach: int) -> tuple[Tensor, Tensor]:
    """(2, 1) the sign of the far side and of the near one, and (3, 2, 1) the distances of pixels on both: two outside, one inside."""
    sign = torch.tensor((1.0, -1.0))[:, None]
    return sign, torch.tensor((reach, reach + 1, 1.5)).view(3, 1, 1) * sign


def _farthest(growth: int) -> float:
    """The largest distance from the edge at which colours are summed up, in pixels."""
    return _FARTHEST * _blur(growth)


@kept_constants
def _tried(growth: int) -> tuple[Tensor, Tensor]:
    """The mixtures that are tried, of W widths, the first of them sharp, and O middles.

    Returns:
        (W O, 3 D), what the profiles of `products` in `_mixtures` are multiplied with to get each mixture's error: that of the far surface
        alone, less twice the opacity times the first, plus its square times the second. And (2, (W - 1) O, 1, 1), the middles and the
        deviations of all but the sharp ones.
    """
    widest = min(_WIDEST * growth, _WIDEST_PIXELS)
    widths = torch.tensor([_SHARP, *(_NARROWEST * (widest / _NARROWEST) ** (step / (_WIDTHS - 1)) for step in range(_WIDTHS))])
    middles = torch.tensor(_OFFSETS) * growth
    alphas = _normal((middles[:, None] - distances_to(middles, _farthest(growth)))[None], widths[:, None, None]).flatten(0, 1)
    of_profiles = torch.cat((-2 * alphas, alphas.square(), torch.ones_like(alphas)), 1)
    return of_profiles, torch.cartesian_prod(widths[1:], middles).T.flip(0)[..., None, None]


@without_autocast
def _mixtures(band: _Band, size: tuple[int, ...], growth: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of the band, the mixture's middle and standard deviation in pixels, and the confidence that there is one, 0 to 1.

    The candidate that explains a stretch's colours best; widths that explain the whole image better are preferred.
    """
    cells = Stretches(band.pixels, size, _CELL * growth)
    counted = band.usable.to(band.away)
    between, from_far = band.near - band.far, band.colour - band.far
    products = torch.stack((from_far * between, between.square(), from_far.square())).sum(1) * counted
    sides = torch.stack((products[1], counted, (band.away > 0) * counted, band.known.to(counted)))
    contrast_here, count, on_far, all_ = cells.sums(sides).unbind(1)
    profiles = cells.profiles(products, band.away, _farthest(growth))
    of_profiles, choices = _tried(profiles, growth)
    errors = of_profiles @ profiles.mT.flatten(0, 1)
    errors = cells.over_stretches(errors).unflatten(1, (1 + _WIDTHS, -1)).transpose(0, 1)
    # (widths, B, offsets, rows, columns), as shares of the contrast.
    unexplained = (errors / contrast_here.clamp(min=_TINY)[:, None]).clamp_(min=1e-4)
    logs = unexplained.log()
    enough = torch.minimum(on_far, count - on_far) > _FEW
    best = logs.amin(2)
    votes = count * enough * (contrast_here > _CONTRAST**2 * count)
    common = ((best - best[:1]).clamp(-_VOTE, _VOTE) * votes).sum((2, 3)) / votes.sum((1, 2)).clamp(min=1)
    logs = logs + common[..., None, None, None]
    sharp = logs[0].amin(1)
    logs, unexplained = (each[1:].transpose(0, 1).flatten(1, 2) for each in (logs, unexplained))
    mixed = logs.amin(1)
    # Similar errors count similarly, so that noise does not make one win.
    share = (logs * (-1 / _ALIKE)).softmax(1)
    left = (share * unexplained).sum(1)
    mixture = (share[:, None] * choices).sum(2)
    contrast = (contrast_here.clamp(min=0) / count.clamp(min=1)).sqrt()
    sure = shares_above(torch.stack(((mixed - sharp).exp(), left, contrast, count / all_.clamp(min=1))), *_IS_SURE).prod(0) * enough
    # Confident cells decide for those beside them.
    weight = (sure + 1e-6)[:, None]
    smoothed = cells.between(box_means(torch.cat((mixture * weight, weight), 1), 1))
    offset, width = smoothed[:2] / smoothed[2]
    return offset, width, (smoothed[2] - 1e-6).clamp(max=1) * (band.known & (smoothed[2] > _SURE))


def _unmixed(
    band: _Band, cells: Stretches, growth: int, offset: Tensor, width: Tensor, share: Tensor, fringe: Tensor
) -> tuple[Tensor, Tensor]:
    """Opacity (N,) of the rims, and colours (3, N) of the far surface under them, in linear light.

    The stretch's mixture predicts both, but the edge wavers around it. Where both surfaces are smooth, the colour is more precise. The
    remaining difference is attributed to both surfaces, by their opacity and variation along the stretch. Beside the edge, colours that the
    far surface never has are not attributed to it: they belong to the near object, or to a sharpening fringe.
    """
    # A stretch that is half sure has a mixture half as wide.
    wavers = constant(share, ((-_LOOSE,), (0.0,), (_WAVERING * growth,)))
    low, alpha, high = _normal(torch.addcmul(-band.away, share, offset + wavers), share * width)
    between, from_far = band.near - band.far, band.colour - band.far
    rest = torch.addcmul(from_far, between, alpha, value=-1)
    weights = (torch.stack((band.away > growth, (alpha < 0.1) & (fringe > 0), alpha > 0.9))) & band.known
    sums = cells.sums(torch.cat((rest.square().sum(0) * weights, weights)))
    totals, counts = cells.nearest(sums).unflatten(0, (2, -1))
    far, beside, near = totals / counts.clamp(min=1) + 1e-5
    far = torch.where(counts[0] > _FEW, far, constant(far, 1.0))
    contrast, spread = between.square().sum(0).clamp(min=_TINY), (high - low).square()
    # The unexplained part is distributed by the shares that wavering and the surfaces' variation explain.
    noise = torch.addcmul(alpha.square() * near, (1 - alpha).square(), far)
    unsure = torch.addcmul(12 * noise, spread, contrast)
    alpha = torch.addcdiv(alpha, spread * (rest * between).sum(0), unsure).clamp(low, high)
    # Darker or brighter colours than the far surface ever has do not come through.
    varied = 2 * far.sqrt()
    lowest, room = band.far - varied, 1 - (band.far + varied)
    least = 1 - torch.minimum(band.colour / lowest.clamp(min=_TINY), (1 - band.colour) / room.clamp(min=_TINY))
    least = least * ((torch.minimum(lowest, room) > 0) & (alpha > _NONE))
    alpha = alpha.maximum(least.amax(0))
    rest = torch.addcmul(from_far, between, alpha, value=-1)
    of_near = (near / (near + far)).clamp(_LEAST, 1 - _LEAST)
    clear = 1 - alpha
    of_far = clear * (1 - of_near)
    rest = rest * (of_far / torch.addcmul(alpha.square() * of_near, clear, of_far))
    # The farther a colour is from the far surface's, the less of it is left there.
    its_own = far * (far / beside * (_FOREIGN[1] * _FRINGE)).clamp(*_FOREIGN)
    own = (its_own / rest.square().sum(0).clamp(min=_TINY)).clamp(max=1)
    rest = rest * torch.lerp(constant(own, 1.0), own, fringe)
    colour = band.far + rest.clamp(-varied, varied)
    # Clamped between the pixel and the mean: nothing is exaggerated.
    return alpha, colour.clamp(band.colour.minimum(band.far), band.colour.maximum(band.far))


def _blur(growth: int) -> float:
    """The standard deviation, in pixels, of two means over squares that reach `growth` pixels."""
    return math.sqrt(((2 * growth + 1) ** 2 - 1) / 6)


def _slots(places: Tensor, like: Tensor) -> Tensor:
    """For each pixel of a map where it is among the places (N,) that were chosen from it; N for others."""
    numbers = torch.arange(len(places), dtype=torch.int32, device=places.device)
    return torch.full_like(like, len(places), dtype=torch.int32).flatten().index_copy_(0, places, numbers)


def _normal(values: Tensor, deviation: Tensor | float) -> Tensor:
    """The normal distribution's share below `values`."""
    if isinstance(deviation, Tensor):
        deviation = deviation.clamp(min=1e-3)
    share = torch.erf(values / (deviation * math.sqrt(2)))
    return torch.add(constant(share, 0.5), share, alpha=0.5)
