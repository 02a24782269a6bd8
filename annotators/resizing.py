"""How pictures are brought to the size of a network's input: the rule of each family's authors, as data.

A part of the table of models: torch is imported by the functions that resize.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Fit(Enum):
    """How a picture meets the frame that a network was trained in."""

    SHORT_SIDE = "the shorter side is the frame's height, aspect kept"
    LOWER_BOUND = "neither side is below the frame's, aspect kept"
    UPPER_BOUND = "neither side is above the frame's, aspect kept"
    MINIMAL = "it meets the frame on the side that needs the lesser scaling, aspect kept"
    STRETCHED = "it fills the frame, aspect not kept"


_SCALES: Mapping[Fit, Callable[[tuple[float, float]], float]] = {
    Fit.LOWER_BOUND: max,
    Fit.UPPER_BOUND: min,
    Fit.MINIMAL: lambda scales: min(scales, key=lambda scale: abs(1 - scale)),
}


def by_area(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) at another size, as `utils.resize_picture`."""
    from ..utils import resize_picture

    return resize_picture(images, height, width)


def cubic(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) at another size: cubic without antialiasing, as OpenCV's INTER_CUBIC on floats; overshoot stays."""
    import torch.nn.functional as F

    return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False)


def linear(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) at another size: linear without antialiasing, as OpenCV's INTER_LINEAR."""
    import torch.nn.functional as F

    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)


def linear_to_corners(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) at another size: linear without antialiasing, the centres of the corner pixels kept in their places."""
    import torch.nn.functional as F

    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class Resizing:
    """A rule for the size of a network's input, and how pictures are resampled to it.

    Attributes:
        fit: How the picture meets the frame.
        aspect: The frame's width by its height; its height is the `size` that a caller may choose.
        resample: Brings (B, C, H, W) to (height, width).

    Source:
        `Resize` in MiDaS's transforms.py (Ranftl et al.), which ZoeDepth and Depth Anything took over.
    """

    fit: Fit = Fit.SHORT_SIDE
    aspect: float = 1.0
    resample: Callable[[Tensor, int, int], Tensor] = by_area

    def input_size(self, height: int, width: int, size: int, multiple: int) -> tuple[int, int]:
        """Size of the network's input.

        Args:
            height: Of the picture.
            width: Of the picture.
            size: Height of the frame in pixels.
            multiple: What both sides are rounded to: the nearest, or the next one on the frame's allowed side.

        Returns:
            (height, width), each at least one `multiple`.
        """
        from ..utils import round_to_multiple, scale_short_side

        if self.fit is Fit.SHORT_SIDE:
            rows, columns = scale_short_side(height, width, size)
            return round_to_multiple(rows, multiple), round_to_multiple(columns, multiple)
        frame = (size, size * self.aspect)
        scales = (frame[0] / height, frame[1] / width)
        if self.fit in _SCALES:
            scales = (_SCALES[self.fit](scales),) * 2
        return self._side(scales[0] * height, frame[0], multiple), self._side(scales[1] * width, frame[1], multiple)

    def _side(self, length: float, bound: float, multiple: int) -> int:
        from ..utils import round_to_multiple

        rounded = round_to_multiple(length, multiple)
        if self.fit is Fit.LOWER_BOUND and rounded < bound:
            return rounded + multiple
        if self.fit is Fit.UPPER_BOUND and rounded > bound:
            return max(multiple, rounded - multiple)
        return rounded


SHORT_SIDE = Resizing()
"""The rule of the old MiDaS nodes, and of families whose authors name none."""
