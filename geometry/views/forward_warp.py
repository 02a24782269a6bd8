"""Forward warping: a z-buffer of pixel cells for a moved camera, with colours read back from the source.

Convention: as `parallax`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import as_numbers, is_above, whole_numbers
from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import pixels_where, values_at
from ..filters.extremes import neighbours_largest

SMALL_STEP = 1.15
"""A step below this factor that opens by a few pixels is taken for noise: no background may shine through it."""

# Pixels whose numbers, a few of each, fit the cache of a CPU.
_STRIP = 1 << 16

# The weight of pixels of other surfaces, which are read where there are no others.
_OTHER = 1e-6


class Layer(NamedTuple):
    """Surfaces as the source camera sees them, with a margin around the image.

    Of one image, any number of views are rendered at once; of several, one view of each.

    Attributes:
        colour: (B, 3, h, w).
        inverse: (B, 1, h, w) inverse depth; 0 where there is no surface.
        margin: Pixels that were added at the left and at the top: (columns, rows).
    """

    colour: Tensor
    inverse: Tensor
    margin: tuple[int, int]


class Camera(Protocol):
    """Where new cameras see the points of a layer."""

    @property
    def views(self) -> int:
        """How many views there are; 1 may serve all images of a layer."""
        ...

    @property
    def sideways(self) -> bool:
        """Whether nothing moves up or down."""
        ...

    @property
    def stretch(self) -> int:
        """How many pixels wide the cracks of a stretched surface are on each side, at most."""
        ...

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows of the new image, plus a half, where pixels of the image land; columns may be written to.

        If nothing moves up or down, the rows are those of the image, whole numbers.

        Args:
            inverse: Their inverse depth: a map (B, 1, h, w), or (N,) of pixels.
            rows: Counted from the image's first: (h, 1), or (N,).
            columns: The same, (w,) or (N,).
        """
        ...

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows of the image that pixels of the new image show; arguments as `targets`.

        If nothing moves up or down, the rows are those of the new image, whole numbers.
        """
        ...

    def of_pixels(self, image: Tensor) -> Camera:
        """The camera for pixels (N,) in place of maps; `image` (N,) says in which of the views each of them lies."""
        ...


class View(NamedTuple):
    """Moved perspective cameras. All tensors are (B, 1, 1, 1), or (1, 1, 1, 1) where they are the same for all.

    Attributes:
        across: How many columns the camera's move shifts what is at inverse depth 1.
        down: How many rows it shifts what is at inverse depth 1.
        shift_x: How many columns the whole image is shifted back, so that the focus stays.
        shift_y: How many rows the whole image is shifted back.
        forward: How far the camera goes forward, in the unit of depth; 0.0 = none of them does.
        centre_x: The column of the optical axis.
        centre_y: The row of the optical axis.
        sideways: Whether nothing moves up or down.
        stretch: How many pixels wide the cracks of a stretched surface are on each side, at most.
    """

    across: Tensor
    down: Tensor
    shift_x: Tensor
    shift_y: Tensor
    forward: Tensor | float
    centre_x: Tensor
    centre_y: Tensor
    sideways: bool
    stretch: int

    @property
    def views(self) -> int:
        """As `Camera.views`."""
        return max(len(number) for number in self if isinstance(number, Tensor))

    @property
    def _goes_ahead(self) -> bool:
        return isinstance(self.forward, Tensor) or self.forward != 0

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.targets`."""
        shift_x, shift_y = self.shift_x + 0.5, 0.5 if self.sideways else self.shift_y + 0.5
        if not self._goes_ahead:
            x = torch.addcmul(columns + shift_x, self.across, inverse, value=-1)
            return x, rows if self.sideways else torch.addcmul(rows + shift_y, self.down, inverse, value=-1)
        closer = 1 / (1 - self.forward * inverse)
        x = torch.addcmul(columns - self.centre_x, self.across, inverse, value=-1)
        y = torch.addcmul(rows - self.centre_y, self.down, inverse, value=-1)
        return torch.addcmul(self.centre_x + shift_x, x, closer), torch.addcmul(self.centre_y + shift_y, y, closer)

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.sources`."""
        columns = columns - self.shift_x
        # Written as the pixel plus its move, so that without a move it is exact.
        column = torch.addcmul(columns, self.across, inverse)
        if self.sideways:
            return column, rows
        rows = rows - self.shift_y
        row = torch.addcmul(rows, self.down, inverse)
        if self._goes_ahead:
            ahead = self.forward * inverse
            column = torch.addcmul(column, columns - self.centre_x, ahead, value=-1)
            row = torch.addcmul(row, rows - self.centre_y, ahead, value=-1)
        return column, row

    def of_pixels(self, image: Tensor) -> View:
        """As `Camera.of_pixels`."""
        numbers = {name: number for name, number in zip(self._fields, self, strict=True) if isinstance(number, Tensor)}
        if self.views == 1:
            return self._replace(**{name: number.view(1) for name, number in numbers.items()})
        table = torch.stack([number.expand(self.views, 1, 1, 1).flatten() for number in numbers.values()])
        return self._replace(**dict(zip(numbers, table.index_select(1, image), strict=True)))


class RenderedLayer(NamedTuple):
    """The view of a moved camera.

    Attributes:
        colour: (B, 3, height, width).
        inverse: (B, 1, height, width) inverse depth; 0 where no surface is visible.
        column: (B, 1, height, width), where in the source image the colour was read: the column.
        row: The same, the row; (height, 1) where nothing moved up or down.
        rims: (B, 1, height, width) inverse depth of rims; None where there were none to land.
    """

    colour: Tensor
    inverse: Tensor
    column: Tensor
    row: Tensor
    rims: Tensor | None


def are_alike(one: Tensor, other: Tensor, factor: float) -> Tensor:
    """Where values that are not negative differ by less than a factor."""
    return is_above(torch.minimum(one, other) * factor, torch.maximum(one, other))


def with_margin(image: Tensor, inverse: Tensor, margin: tuple[int, int]) -> Layer:
    """An image (B, 3, H, W) and its inverse depth (B, 1, H, W), mirrored beyond the border."""
    padding = (margin[0], margin[0], margin[1], margin[1])
    return Layer(F.pad(image, padding, mode="reflect"), F.pad(inverse, padding, mode="reflect"), margin)


def render_layer(layer: Layer, view: Camera, height: int, width: int, rims: tuple[Tensor, Tensor] | None = None) -> RenderedLayer:
    """The layer rendered for the moved cameras: so many views of the image, or one of each image.

    `rims` are `soft_edges.land_rims`, whose cracks are closed together with the layer's.
    """
    inverse, source, of_rims = _splat(layer, view, height, width), layer.inverse, None
    if rims is not None:
        source, inverse = torch.cat((source, rims[0])), torch.cat((inverse, rims[1]))
    inverse = close_cracks(source, layer.margin, view, inverse)
    if rims is not None:
        inverse, of_rims = inverse.chunk(2)
    farthest, (rows, columns) = layer.inverse.amin((1, 2, 3), keepdim=True), pixel_grid(inverse)
    colour = layer.colour.new_empty((len(inverse), layer.colour.shape[1], height, width))
    places = []
    for strip in _strips(inverse):
        filled = torch.maximum(inverse[..., strip, :], farthest)  # where no surface is visible there is 0
        column, row = view.sources(filled, rows[strip], columns)
        colour[..., strip, :] = _sample(layer, column + layer.margin[0], row + layer.margin[1], filled, between_rows=not view.sideways)
        places.append((column, row))
    column, row = (torch.cat(parts, -2) for parts in zip(*places, strict=True))
    return RenderedLayer(colour, inverse, column, row, of_rims)


def _strips(maps: Tensor) -> list[slice]:
    """Rows that are worked on at once: on a CPU so few that what is computed from them stays in its cache."""
    height, width = maps.shape[-2:]
    rows = max(1, _STRIP // (width * len(maps))) if maps.device.type == "cpu" else height
    return [slice(first, first + rows) for first in range(0, height, rows)]


def _splat(layer: Layer, view: Camera, height: int, width: int) -> Tensor:
    """(B, 1, height, width) inverse depth of the nearest of the pixels that land in each place, 0 where none does."""
    images = max(len(layer.inverse), view.views)
    target = layer.inverse.new_zeros(images * height * width)
    rows, columns = pixel_grid(layer.inverse, layer.margin)
    for strip in _strips(layer.inverse):
        inverse = layer.inverse[..., strip, :]
        # Not `round`, which takes halves to even numbers: pixels that all move by a half would land on every second place.
        index, inside = landing(*view.targets(inverse, rows[strip], columns), height, width)
        if images > 1:
            index = torch.add(index, whole_numbers(index, 0, images).view(-1, 1, 1, 1), alpha=height * width)
        target.scatter_reduce_(0, index.flatten(), (inverse * inside).flatten(), "amax")
    return target.view(-1, 1, height, width)


def landing(x: Tensor, y: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The pixels of an image that columns and rows by `Camera.targets` lie in, as numbers, and whether they are inside.

    Picking out those inside would make a device wait. The others give a 0, which changes nothing, to pixels of their own: one for all
    would make a GPU take them one after the other.
    """
    x, y = x.floor_(), y.floor() if y.is_floating_point() else y
    column, row = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return torch.add(column.long(), row.long(), alpha=width), (column == x) & (row == y)


def close_cracks(source: Tensor, margin: tuple[int, int], view: Camera, inverse: Tensor) -> Tensor:
    """Joins what a stretched surface leaves open, also where something far shines through.

    Each place asks the nearest surface beside it: would I, were I part of you, show you? The source image has the answer. Beyond a
    thing's edge it shows something else, and the place stays as it is. Between two surfaces that differ by a small step the place lies on
    a straight line: given the depth of either alone, it would show what is beside the step.

    Args:
        source: (B, 1, h, w) inverse depth of a layer; 0 where there is no surface. There may be several layers of the same images.
        margin: The layer's.
        view: The camera.
        inverse: (B, 1, H, W) inverse depth of the layer's pixels where they land; 0 where none does. All views of each of several layers.

    Returns:
        `inverse` (B, 1, H, W) with what is joined.
    """
    for _ in range(view.stretch):
        beside = neighbours_largest(inverse, upright=not view.sideways)
        place, (image, rows, columns) = pixels_where(is_above(beside, inverse * EDGE))
        nearest, own = values_at(beside, place), values_at(inverse, place)
        camera = view.of_pixels(image if len(inverse) == view.views else image % view.views)
        column, row = camera.sources(nearest, rows, columns)
        number = image if len(inverse) == len(source) else image // (len(inverse) // len(source))
        there = inverse_at(source, margin, number, column, row)
        # From the place to where the other end lands. One end is beside the place.
        x, y = camera.targets(there, row, column)
        right = x.sub_(columns + 0.5)
        distance = right.abs_() if view.sideways else torch.hypot(right, y - (rows + 0.5))
        # A wider crack would be closed in part only.
        joins = are_alike(there, nearest, SMALL_STEP) & (distance < 2 * view.stretch + 0.5)
        between = torch.lerp(nearest, there, (1 + distance).reciprocal_())
        inverse = inverse.flatten().index_copy(0, place, torch.where(joins, between, own)).view_as(inverse)
    return inverse


def inverse_at(source: Tensor, margin: tuple[int, int], image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The inverse depth of a layer at the pixels that columns and rows of its images lie in.

    Args:
        source: (B, 1, h, w) inverse depth of the layer.
        margin: The layer's.
        image: (N,) the number of the layer's map of each place, where there are several.
        column: (N,) or (K, N), counted from the image's first; beyond the layer, its border's pixel is taken.
        row: The same; whole numbers are those of rows of the image.

    Returns:
        As `column`.
    """
    u = (column + (margin[0] + 0.5)).clamp_(0, source.shape[-1] - 1).long()
    v = (row + (margin[1] + 0.5)).long() if row.is_floating_point() else row + margin[1] if margin[1] else row
    v = v.clamp(0, source.shape[-2] - 1)
    if len(source) > 1:  # else all views are of one image
        v = torch.add(v, image, alpha=source.shape[-2])
    place = torch.add(u, v, alpha=source.shape[-1])
    return values_at(source, place.flatten()).view_as(place)


def _sample(layer: Layer, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> Tensor:
    """Bilinear colours at columns u and rows v, of the pixels only that belong to the surface at inverse depth `nearest`."""
    height, width = layer.inverse.shape[-2:]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    right_weight, lower_weight = u - left, v - top
    columns, rows = (each.int() if each.device.type == "cpu" else each.long() for each in (left, top))  # as `_picked` is fastest
    total, weights = None, None
    low, high = nearest / EDGE, nearest * EDGE
    first = torch.add(columns, rows, alpha=width)
    first = first.expand(max(len(first), len(layer.inverse)), *first.shape[1:])
    # Beyond the last column or row, which counts nothing there, some pixel is read.
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


def _picked(values: Tensor, place: Tensor) -> Tensor:
    """(B, C, h', w') values at places (B, 1, h', w') of maps; of one image for all of them, or of as many."""
    shape = (len(place), values.shape[1], *place.shape[-2:])
    values, place = values.flatten(2).expand(len(place), -1, -1), place.flatten(2)
    if values.device.type != "cpu":
        return values.gather(2, place.expand(*shape[:2], -1)).view(shape)
    picked = values.new_empty(shape)
    for image, places, image_out in zip(values, place[:, 0], picked.flatten(2), strict=True):
        for channel, into in zip(image, image_out, strict=True):
            torch.index_select(channel, 0, places, out=into)  # in a third of the time of `gather`
    return picked


def pixel_grid(like: Tensor, margin: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Row and column numbers of a map with a margin, counted from the image's first pixel."""
    (height, width), (columns, rows) = like.shape[-2:], margin
    return whole_numbers(like, -rows, height - rows).view(-1, 1), whole_numbers(like, -columns, width - columns)
