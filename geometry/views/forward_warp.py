"""Forward warping: a z-buffer of pixels for a moved camera, with colours sampled from the source image.

Conventions as in `parallax`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import as_numbers, constant, is_above, whole_numbers
from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import pixels_where, values_at
from ..filters.extremes import neighbours_largest

SMALL_STEP = 1.15
"""Depth ratio below which a step is noise: where it opens by a few pixels, no background may show through."""

# Number of pixels whose working set fits a CPU's cache, and number of those that a GPU renders at once, for its memory's sake.
_STRIP, _STRIP_ON_GPU = 1 << 16, 1 << 23

# Weight of other surfaces' pixels in interpolation; it matters only where all pixels belong to other surfaces.
_OTHER = 1e-6


class Layer(NamedTuple):
    """Surfaces in the source camera's view, with a margin around the image.

    A layer of one image is rendered to any number of views; a layer of several images to one view of each.

    Attributes:
        colour: (B, 3, h, w).
        inverse: (B, 1, h, w) inverse depth; 0 where there is no surface.
        margin: (columns, rows) of padding on each side.
    """

    colour: Tensor
    inverse: Tensor
    margin: tuple[int, int]


class Camera(Protocol):
    """Maps points of a layer to new cameras."""

    @property
    def views(self) -> int:
        """Number of views; 1 may apply to all images of a layer."""
        ...

    @property
    def sideways(self) -> bool:
        """True if pixels move along rows only."""
        ...

    @property
    def stretch(self) -> int:
        """Maximum width in pixels of the cracks in a stretched surface that are closed, on each side of a crack."""
        ...

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Projects pixels of the source image to columns and rows of the new view, plus 0.5 for rounding by floor.

        If `sideways`, the rows are the given integers.

        Args:
            inverse: Inverse depth of the pixels: a map (B, 1, h, w), or (N,).
            rows: Their rows, relative to the image's first: (h, 1), or (N,).
            columns: Their columns, relative to the image's first: (w,) or (N,). May be overwritten.
        """
        ...

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Projects pixels of the new view, with known inverse depth, to columns and rows of the source image; otherwise as `targets`."""
        ...

    def of_pixels(self, image: Tensor) -> Camera:
        """The camera for a list of N pixels instead of maps; `image` (N,) is the view index of each."""
        ...


class View(NamedTuple):
    """Translated perspective cameras.

    Attributes:
        numbers: (9, B, 1, 1, 1), as from `of`: across, down, shift_x, shift_y, both shifts plus 0.5, forward, centre_x, centre_y. In one
            tensor, so that a GPU selects them together.
        goes_ahead: Whether a camera moves forward or back.
        sideways: As `Camera.sideways`.
        stretch: As `Camera.stretch`.
    """

    numbers: Tensor
    goes_ahead: bool
    sideways: bool
    stretch: int

    @classmethod
    def of(cls, numbers: Sequence[Tensor], goes_ahead: bool = False, *, sideways: bool, stretch: int) -> View:
        """Cameras from seven tensors (B, 1, 1, 1), or (1, 1, 1, 1) for all views.

        Args:
            numbers: Columns to the left and rows upwards by which the camera's motion shifts points at inverse depth 1; columns and rows by
                which the whole image is shifted back, so that the focus stays in place; forward motion in the unit of depth; column and row
                of the optical axis.
            goes_ahead, sideways, stretch: As in the class.
        """
        across, down, *shifts, forward, centre_x, centre_y = torch.broadcast_tensors(*numbers)
        table = torch.stack((across, down, *shifts, *shifts, forward, centre_x, centre_y))
        halves = constant(table, (0.0,) * 4 + (0.5,) * 2 + (0.0,) * 3).view(-1, 1, 1, 1, 1)
        return cls(table + halves, goes_ahead, sideways, stretch)

    @property
    def views(self) -> int:
        """As `Camera.views`."""
        return self.numbers.shape[1]

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.targets`."""
        across, down, _, _, shift_x, shift_y, forward, centre_x, centre_y = self.numbers
        if not self.goes_ahead:
            x = torch.addcmul(columns + shift_x, across, inverse, value=-1)
            return x, rows if self.sideways else torch.addcmul(rows + shift_y, down, inverse, value=-1)
        closer = 1 / (1 - forward * inverse)
        x = torch.addcmul(columns - centre_x, across, inverse, value=-1)
        y = torch.addcmul(rows - centre_y, down, inverse, value=-1)
        return torch.addcmul(centre_x + shift_x, x, closer), torch.addcmul(centre_y + shift_y, y, closer)

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.sources`."""
        across, down, shift_x, shift_y, _, _, forward, centre_x, centre_y = self.numbers
        columns = columns - shift_x
        # The pixel plus its motion, which is exact where there is no motion.
        column = torch.addcmul(columns, across, inverse)
        if self.sideways:
            return column, rows
        rows = rows - shift_y
        row = torch.addcmul(rows, down, inverse)
        if self.goes_ahead:
            ahead = forward * inverse
            column = torch.addcmul(column, columns - centre_x, ahead, value=-1)
            row = torch.addcmul(row, rows - centre_y, ahead, value=-1)
        return column, row

    def of_pixels(self, image: Tensor) -> View:
        """As `Camera.of_pixels`."""
        numbers = self.numbers.flatten(1)
        return self._replace(numbers=numbers if self.views == 1 else numbers.index_select(1, image))


class RenderedLayer(NamedTuple):
    """The view of a moved camera.

    Attributes:
        colour: (B, 3, height, width).
        inverse: (B, 1, height, width) inverse depth; 0 where no surface is visible.
        column, row: (B, 1, height, width) position in the source image from which the colour was sampled; `row` is (height, 1) without
            vertical motion.
        rims: (B, 1, height, width) inverse depth of rims; None without rims.
    """

    colour: Tensor
    inverse: Tensor
    column: Tensor
    row: Tensor
    rims: Tensor | None


def are_alike(one: Tensor, other: Tensor, factor: float) -> Tensor:
    """Where non-negative values differ by less than a factor; False where both are 0."""
    if one.device.type == "cpu":
        return is_above(torch.minimum(one, other) * factor, torch.maximum(one, other))
    ratio = one / other  # NaN, which differs from itself, where both are 0
    return ratio == ratio.clamp(1 / factor, factor)


def with_margin(image: Tensor, inverse: Tensor, margin: tuple[int, int]) -> Layer:
    """Pads an image (B, 3, H, W) and its inverse depth (B, 1, H, W) by (columns, rows) on each side, by reflection."""
    padding = (margin[0], margin[0], margin[1], margin[1])
    return Layer(F.pad(image, padding, mode="reflect"), F.pad(inverse, padding, mode="reflect"), margin)


def render_layer(layer: Layer, view: Camera, height: int, width: int, rims: tuple[Tensor, Tensor] | None = None) -> RenderedLayer:
    """Renders a layer for moved cameras: all views of one image, or one view of each image.

    `rims` are from `soft_edges.land_rims`; their cracks are closed together with the layer's.
    """
    inverse, source, of_rims = _splat(layer, view, height, width), layer.inverse, None
    if rims is not None:
        source, inverse = torch.cat((source, rims[0])), torch.cat((inverse, rims[1]))
    inverse = close_cracks(source, layer.margin, view, inverse)
    if rims is not None:
        inverse, of_rims = inverse.chunk(2)
    rows, columns = pixel_grid(inverse)

    def sampled(strip: slice) -> tuple[Tensor, Tensor, Tensor]:
        seen = inverse[..., strip, :]  # where no surface is visible, 0, which samples any colour
        column, row = view.sources(seen, rows[strip], columns)
        v = row + layer.margin[1] if layer.margin[1] else row
        return _sample(layer, column + layer.margin[0], v, seen, between_rows=not view.sideways), column, row

    strips = _strips(inverse)
    if len(strips) == 1:
        colour, column, row = sampled(strips[0])
        return RenderedLayer(colour, inverse, column, row, of_rims)
    colour, places = layer.colour.new_empty((len(inverse), layer.colour.shape[1], height, width)), []
    for strip in strips:
        colour[..., strip, :], *place = sampled(strip)
        places.append(place)
    column, row = (torch.cat(parts, -2) for parts in zip(*places, strict=True))
    return RenderedLayer(colour, inverse, column, row, of_rims)


def _strips(maps: Tensor) -> list[slice]:
    """Row slices for batches: on a CPU small enough for its cache."""
    height, width = maps.shape[-2:]
    rows = max(1, (_STRIP if maps.device.type == "cpu" else _STRIP_ON_GPU) // (width * len(maps)))
    return [slice(first, first + rows) for first in range(0, height, rows)]


def _splat(layer: Layer, view: Camera, height: int, width: int) -> Tensor:
    """(B, 1, height, width): inverse depth of the nearest source pixel that lands on each pixel; 0 where none does."""
    images = max(len(layer.inverse), view.views)
    target = layer.inverse.new_zeros(images * height * width)
    rows, columns = pixel_grid(layer.inverse, layer.margin)
    for strip in _strips(layer.inverse):
        inverse = layer.inverse[..., strip, :]
        # Not by `round`, which rounds halves to even: pixels that all move by a half would land on every second pixel.
        seen = view.targets(inverse, rows[strip], columns)
        index, inside = landing(*seen, height, width, view.sideways and not layer.margin[1])
        if images > 1:
            index = torch.add(index, whole_numbers(index, 0, images).view(-1, 1, 1, 1), alpha=height * width)
        target.scatter_reduce_(0, index.flatten(), (inverse * inside).flatten(), "amax")
    return target.view(-1, 1, height, width)


def landing(x: Tensor, y: Tensor, height: int, width: int, is_row: bool = False) -> tuple[Tensor, Tensor]:
    """Flat pixel indices for columns and rows from `Camera.targets`, and whether they are inside the view. Overwrites `x`.

    `is_row`: all `y` are rows of the view.

    Selecting the inside ones would synchronise the device. Instead, callers write a neutral 0 for the others, whose indices are clamped to
    the border: a single dummy pixel would serialise a GPU's atomics.
    """
    x, y = x.floor_(), y.floor() if y.is_floating_point() else y
    column = x.clamp(0, width - 1)
    if is_row:
        return torch.add(column.long(), y, alpha=width), column == x
    row = y.clamp(0, height - 1)
    return torch.add(column.long(), row.long(), alpha=width), (column == x) & (row == y)


def close_cracks(source: Tensor, margin: tuple[int, int], view: Camera, inverse: Tensor) -> Tensor:
    """Closes cracks in stretched surfaces, including cracks in which a distant surface shows.

    Each pixel that is farther than a neighbour is tested: at the neighbour's depth, would the source image show the same surface there?
    Beyond an object's edge it shows another surface, and the pixel stays unchanged. Otherwise inverse depth is interpolated between both
    ends of the crack: across a small step, the depth of either end alone would sample colours beside the step.

    Args:
        source: (B, 1, h, w) inverse depth of a layer; 0 where there is no surface. Several layers of the same images may be concatenated.
        margin: The layer's margin, (columns, rows).
        inverse: (B, 1, H, W) inverse depth of the layer's pixels where they land; 0 where none does. For several layers, all views of the
            first one come first.
    """
    for _ in range(view.stretch):
        beside = neighbours_largest(inverse, upright=not view.sideways)
        place, (image, rows, columns) = pixels_where(is_above(beside, inverse * EDGE))
        nearest, own = values_at(beside, place), values_at(inverse, place)
        camera = view.of_pixels(image if len(inverse) == view.views else image % view.views)
        column, row = camera.sources(nearest, rows, columns)
        number = image if len(inverse) == len(source) else image // (len(inverse) // len(source))
        there = inverse_at(source, margin, number, column, row)
        # Distance from the pixel to where the crack's other end lands; the first end is next to the pixel.
        x, y = camera.targets(there, row, column)
        right = x.sub_(columns).sub_(0.5)
        distance = right.abs_() if view.sideways else torch.hypot(right, (y - rows).sub_(0.5))
        # A wider crack would be closed only in part.
        joins = are_alike(there, nearest, SMALL_STEP) & (distance < 2 * view.stretch + 0.5)
        between = torch.lerp(nearest, there, (1 + distance).reciprocal_().to(there))
        inverse = inverse.flatten().index_copy(0, place, torch.where(joins, between, own)).view_as(inverse)
    return inverse


def inverse_at(source: Tensor, margin: tuple[int, int], image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The inverse depth of a layer's nearest pixels, (N,) or (K, N).

    Args:
        source: (B, 1, h, w) inverse depth of the layer.
        margin: The layer's margin, (columns, rows).
        image: (N,) index of the map; ignored if there is only one.
        column, row: (N,) or (K, N), relative to the image's first; clamped to the layer. Integers are rows of the image.
    """
    u = (column + (margin[0] + 0.5)).clamp_(0, source.shape[-1] - 1).long()
    v = row + margin[1] if margin[1] else row
    if row.is_floating_point():
        v = (row + (margin[1] + 0.5)).long().clamp_(0, source.shape[-2] - 1)
    if len(source) > 1:  # otherwise all views are of one image
        v = torch.add(v, image, alpha=source.shape[-2])
    place = torch.add(u, v, alpha=source.shape[-1])
    return values_at(source, place.flatten()).view_as(place)


def _sample(layer: Layer, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> Tensor:
    """Samples colours bilinearly at columns u and rows v, only from pixels of the surface at inverse depth `nearest`."""
    height, width = layer.inverse.shape[-2:]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1) if between_rows else v
    if u.device.type != "cpu":
        return _sample_at_once(layer, u, v, nearest, between_rows)
    left, top = u.floor(), v.floor()
    right_weight, lower_weight = u - left, v - top
    columns, rows = left.int(), top.int()  # the index dtype that is fastest in `_picked`
    total, weights = None, None
    low, high = nearest / EDGE, nearest * EDGE
    first = torch.add(columns, rows, alpha=width)
    first = first.expand(max(len(first), len(layer.inverse)), *first.shape[1:])
    # Beyond the last column or row the weight is 0, and an arbitrary pixel is read.
    for down, weight_y in ((0, 1 - lower_weight), (width, lower_weight))[: 1 + between_rows]:
        for right, weight_x in ((0, 1 - right_weight), (1, right_weight)):
            place = (first + (down + right)).clamp_(max=height * width - 1) if down + right else first
            inverse = _picked(layer.inverse, place)
            weight = as_numbers(is_above(inverse, low) & is_above(high, inverse), nearest).add_(_OTHER).mul_(weight_x)
            if between_rows:
                weight.mul_(weight_y)
            part = _picked(layer.colour, place).mul_(weight)
            total = part if total is None else total.add_(part)
            weights = weight if weights is None else weights.add_(weight)
    assert total is not None and weights is not None
    return total.div_(weights)


def _sample_at_once(layer: Layer, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> Tensor:
    """`_sample` with few operations, for u and v within the layer: the pixels around each position are one axis of all maps."""
    height, width = layer.inverse.shape[-2:]
    left, top = u.floor(), v.floor() if between_rows else v
    around = (1, -1, 1, 1)
    weights = ((u - left) - constant(u, (1.0, 0.0)).view(around)).abs_()
    offsets = (0, 1)
    if between_rows:
        lower = ((v - top) - constant(v, (1.0, 0.0)).view(around)).abs_()
        weights, offsets = (lower[:, :, None] * weights[:, None]).flatten(1, 2), (0, 1, width, width + 1)
    first = torch.add(left.long(), top.long(), alpha=width)
    # Beyond the last column or row the weight is 0, and an arbitrary pixel is read.
    place = (first + constant(first, offsets).view(around)).clamp_(max=height * width - 1)
    maps = torch.cat((layer.inverse.to(layer.colour), layer.colour), 1).flatten(2).expand(len(place), -1, -1)
    samples = maps.gather(2, place.flatten(1)[:, None].expand(-1, maps.shape[1], -1)).unflatten(2, place.shape[1:])
    inverse, colour = samples[:, 0], samples[:, 1:]
    weights = as_numbers(are_alike(inverse, nearest, EDGE), nearest).add_(_OTHER).mul_(weights)
    return colour.mul_(weights[:, None]).sum(2).div_(weights.sum(1, keepdim=True))


def _picked(values: Tensor, place: Tensor) -> Tensor:
    """(B, C, h', w'): values at flat indices (B, 1, h', w') of a map; `values` has one map for all images, or one for each."""
    shape = (len(place), values.shape[1], *place.shape[-2:])
    values, place = values.flatten(2).expand(len(place), -1, -1), place.flatten(2)
    picked = values.new_empty(shape)
    for image, places, image_out in zip(values, place[:, 0], picked.flatten(2), strict=True):
        for channel, into in zip(image, image_out, strict=True):
            torch.index_select(channel, 0, places, out=into)  # in a third of the time of `gather`
    return picked


def pixel_grid(like: Tensor, margin: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Row indices (h, 1) and column indices (w,) of a map with a margin, relative to the image's first pixel."""
    (height, width), (columns, rows) = like.shape[-2:], margin
    return whole_numbers(like, -rows, height - rows).view(-1, 1), whole_numbers(like, -columns, width - columns)
