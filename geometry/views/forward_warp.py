"""Forward warping: a z-buffer of pixel cells for a moved camera, with colours read back from the source.

Convention: as `parallax`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import chosen_places, rows_and_columns, values_at
from ..filters.extremes import neighbours_largest

SMALL_STEP = 1.15
"""A step below this factor that opens by a few pixels is taken for noise: no background may shine through it."""

# Pixels whose numbers, a few of each, fit the cache of a CPU.
_STRIP = 1 << 16

# The weight of pixels of other surfaces, which are read where there are no others.
_OTHER = 1e-6


class Layer(NamedTuple):
    """Surfaces as the source camera sees them, with a margin around the image.

    Attributes:
        colour: (B, 3, h, w).
        inverse: (B, 1, h, w) inverse depth; 0 where there is no surface.
        margin: Pixels that were added at the left and at the top: (columns, rows).
    """

    colour: Tensor
    inverse: Tensor
    margin: tuple[int, int]


class Camera(Protocol):
    """Where a new camera sees the points of a layer."""

    @property
    def sideways(self) -> bool:
        """Whether nothing moves up or down."""
        ...

    @property
    def stretch(self) -> int:
        """How many pixels wide the cracks of a stretched surface are on each side, at most."""
        ...

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows of the new image, plus a half, where pixels of the image land; may be written to.

        Args:
            inverse: Their inverse depth: a map (B, 1, h, w), or (N,) of pixels.
            rows: Counted from the image's first: (h, 1), or (N,).
            columns: The same, (w,) or (N,).
        """
        ...

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and rows of the image that pixels of the new image show; arguments as `targets`.

        If nothing moves up or down, the rows of a map are a single column.
        """
        ...

    def of_pixels(self, image: Tensor, images: int) -> Camera:
        """The camera for pixels (N,) in place of maps; `image` (N,) says in which of so many images each of them lies."""
        ...


class View(NamedTuple):
    """A moved perspective camera. All tensors are (B, 1, 1, 1).

    Attributes:
        across: How many columns the camera's move shifts what is at inverse depth 1.
        down: How many rows it shifts what is at inverse depth 1.
        shift_x: How many columns the whole image is shifted back, so that the focus stays.
        shift_y: How many rows the whole image is shifted back.
        forward: How far the camera goes forward, in the unit of depth.
        centre_x: The column of the optical axis.
        centre_y: The row of the optical axis.
        sideways: Whether nothing moves up or down.
        stretch: How many pixels wide the cracks of a stretched surface are on each side, at most.
    """

    across: Tensor
    down: Tensor
    shift_x: Tensor
    shift_y: Tensor
    forward: float
    centre_x: Tensor
    centre_y: Tensor
    sideways: bool
    stretch: int

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.targets`."""
        x, y = columns - self.across * inverse, rows if self.sideways else rows - self.down * inverse
        if self.forward:
            closer = 1 / (1 - self.forward * inverse)
            x, y = (x - self.centre_x) * closer + self.centre_x, (y - self.centre_y) * closer + self.centre_y
        return x + (self.shift_x + 0.5), y + (self.shift_y + 0.5)

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.sources`."""
        rows, columns = rows - self.shift_y, columns - self.shift_x
        # Written as the pixel plus its move, so that without a move it is exact.
        column, row = columns + self.across * inverse, rows if self.sideways else rows + self.down * inverse
        if self.forward:
            ahead = self.forward * inverse
            column, row = column - (columns - self.centre_x) * ahead, row - (rows - self.centre_y) * ahead
        return column, row

    def of_pixels(self, image: Tensor, images: int) -> View:
        """As `Camera.of_pixels`."""
        numbers = (self.across, self.down, self.shift_x, self.shift_y, self.centre_x, self.centre_y)
        across, down, shift_x, shift_y, x, y = (values_at(each.expand(images, 1, 1, 1), image) for each in numbers)
        return View(across, down, shift_x, shift_y, self.forward, x, y, self.sideways, self.stretch)


class RenderedLayer(NamedTuple):
    """The view of a moved camera.

    Attributes:
        colour: (B, 3, height, width).
        inverse: (B, 1, height, width) inverse depth; 0 where no surface is visible.
        column: (B, 1, height, width), where in the source image the colour was read: the column.
        row: The same, the row; (B, 1, height, 1) where nothing moved up or down.
    """

    colour: Tensor
    inverse: Tensor
    column: Tensor
    row: Tensor


def with_margin(image: Tensor, inverse: Tensor, margin: tuple[int, int]) -> Layer:
    """An image (B, 3, H, W) and its inverse depth (B, 1, H, W), mirrored beyond the border."""
    padding = (margin[0], margin[0], margin[1], margin[1])
    return Layer(F.pad(image, padding, mode="reflect"), F.pad(inverse, padding, mode="reflect"), margin)


def render_layer(layer: Layer, view: Camera, height: int, width: int) -> RenderedLayer:
    """The layer rendered for the moved camera, without synchronising the device."""
    inverse = close_cracks(layer.inverse, layer.margin, view, _splat(layer, view, height, width))
    farthest, (rows, columns) = layer.inverse.amin((1, 2, 3), keepdim=True), pixel_grid(inverse)
    colour = layer.colour.new_empty((*layer.colour.shape[:2], height, width))
    places = []
    for strip in _strips(inverse):
        known = torch.where(inverse[..., strip, :] > 0, inverse[..., strip, :], farthest)
        column, row = view.sources(known, rows[strip], columns)
        colour[..., strip, :] = _sample(layer, column + layer.margin[0], row + layer.margin[1], known, between_rows=not view.sideways)
        places.append((column, row))
    column, row = (torch.cat(parts, -2) for parts in zip(*places, strict=True))
    return RenderedLayer(colour, inverse, column, row)


def _strips(maps: Tensor) -> list[slice]:
    """Rows that are worked on at once: on a CPU so few that what is computed from them stays in its cache."""
    height, width = maps.shape[-2:]
    rows = max(1, _STRIP // (width * len(maps))) if maps.device.type == "cpu" else height
    return [slice(first, first + rows) for first in range(0, height, rows)]


def _splat(layer: Layer, view: Camera, height: int, width: int) -> Tensor:
    """(B, 1, height, width) inverse depth of the nearest of the pixels that land in each place, 0 where none does."""
    target = layer.inverse.new_zeros(len(layer.inverse) * height * width)
    first = torch.arange(len(layer.inverse), device=target.device).view(-1, 1, 1, 1) * (height * width)
    rows, columns = pixel_grid(layer.inverse, layer.margin)
    for strip in _strips(layer.inverse):
        inverse = layer.inverse[..., strip, :]
        # Not `round`, which takes halves to even numbers: pixels that all move by a half would land on every second place.
        x, y = (place.floor_() for place in view.targets(inverse, rows[strip], columns))
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        # Picking out those inside would make a device wait. The others give a 0, which changes nothing, to pixels of their own: one for
        # all would make a GPU take them one after the other.
        index = x.clamp_(0, width - 1).long() + (y.clamp_(0, height - 1).long() * width + first)
        target.scatter_reduce_(0, index.flatten(), (inverse * inside).flatten(), "amax")
    return target.view(-1, 1, height, width)


def close_cracks(source: Tensor, margin: tuple[int, int], view: Camera, inverse: Tensor) -> Tensor:
    """Joins what a stretched surface leaves open, also where something far shines through.

    Each place asks the nearest surface beside it: would I, were I part of you, show you? The source image has the answer. Beyond a
    thing's edge it shows something else, and the place stays as it is. Between two surfaces that differ by a small step the place lies on
    a straight line: given the depth of either alone, it would show what is beside the step.

    Args:
        source: (B, 1, h, w) inverse depth of a layer; 0 where there is no surface.
        margin: The layer's.
        view: The camera.
        inverse: (B, 1, H, W) inverse depth of the layer's pixels where they land; 0 where none does.

    Returns:
        `inverse` (B, 1, H, W) with what is joined.
    """
    images, _, height, width = inverse.shape
    for _ in range(view.stretch):
        beside = neighbours_largest(inverse, upright=not view.sideways)
        place = chosen_places(beside > inverse * EDGE)
        image, (rows, columns) = place // (height * width), rows_and_columns(place, height, width)
        nearest, own = values_at(beside, place), values_at(inverse, place)
        camera = view.of_pixels(image, images)
        column, row = camera.sources(nearest, rows, columns)
        there = inverse_at(source, margin, image, column, row)
        joins = (nearest > own * EDGE) & (there < nearest * SMALL_STEP) & (there * SMALL_STEP > nearest)
        # From the place to where the other end lands. One end is beside the place.
        right, down = (end - 0.5 - start for end, start in zip(camera.targets(there, row, column), (columns, rows), strict=True))
        distance = torch.hypot(right, down)
        joins &= distance < 2 * view.stretch + 0.5  # a wider crack would be closed in part only
        between = torch.lerp(nearest, there, 1 / (1 + distance))
        inverse = inverse.flatten().index_copy(0, place, torch.where(joins, between, own)).view_as(inverse)
    return inverse


def inverse_at(source: Tensor, margin: tuple[int, int], image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The inverse depth of a layer at the pixels that columns and rows of its images lie in.

    Args:
        source: (B, 1, h, w) inverse depth of the layer.
        margin: The layer's.
        image: (N,) the number of the image of each place.
        column: (N,) or (K, N), counted from the image's first; beyond the layer, its border's pixel is taken.
        row: The same.

    Returns:
        As `column`.
    """
    u = (column + (margin[0] + 0.5)).floor().long().clamp_(0, source.shape[-1] - 1)
    v = (row + (margin[1] + 0.5)).floor().long().clamp_(0, source.shape[-2] - 1)
    place = (image * source.shape[-2] + v) * source.shape[-1] + u
    return values_at(source, place.flatten()).view_as(place)


def _sample(layer: Layer, u: Tensor, v: Tensor, nearest: Tensor, between_rows: bool) -> Tensor:
    """Bilinear colours at columns u and rows v, of the pixels only that belong to the surface at inverse depth `nearest`."""
    height, width = layer.inverse.shape[-2:]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    right_weight, lower_weight = u - left, v - top
    columns, rows = left.int(), top.int()
    total, weights = None, None
    low, high = nearest / EDGE, nearest * EDGE
    for row, weight_y in ((rows, 1 - lower_weight), (rows + 1, lower_weight))[: 1 + between_rows]:
        for column, weight_x in ((columns, 1 - right_weight), (columns + 1, right_weight)):
            place = _place(layer.inverse, row, column)
            inverse = _picked(layer.inverse, place)
            weight = (((inverse > low) & (inverse < high)).to(nearest).add_(_OTHER)).mul_(weight_x * weight_y)
            part = _picked(layer.colour, place).mul_(weight)
            total = part if total is None else total.add_(part)
            weights = weight if weights is None else weights.add_(weight)
    assert total is not None and weights is not None
    return total.div_(weights)


def _place(values: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """(B, 1, h', w') where in a map of an image's (h, w) rows and columns are, which are brought inside."""
    height, width = values.shape[-2:]
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return place.expand(len(values), *place.shape[1:])


def _picked(values: Tensor, place: Tensor) -> Tensor:
    """(B, C, h', w') values at places of `_place`."""
    picked = values.new_empty((*values.shape[:2], *place.shape[-2:]))
    for image, places, found in zip(values.flatten(2), place.flatten(1), picked.flatten(2), strict=True):
        for channel, into in zip(image, found, strict=True):
            torch.index_select(channel, 0, places, out=into)  # on a CPU in a third of the time of `gather`
    return picked


def pixel_grid(like: Tensor, margin: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Row and column numbers of a map with a margin, counted from the image's first pixel."""
    rows = torch.arange(like.shape[-2], device=like.device).view(-1, 1) - margin[1]
    return rows, torch.arange(like.shape[-1], device=like.device) - margin[0]
