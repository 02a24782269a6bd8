"""Resizing rules and kernels. Only the functions that resample import torch.

`steps` applies them, and exported files describe them in the vocabulary of docs/export.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


def by_area(images: Tensor, height: int, width: int) -> Tensor:
    """`utils.resize_image` of images (B, C, H, W)."""
    from ...utils import resize_image

    return resize_image(images, height, width)


def cubic(images: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resizing of images (B, C, H, W) without antialiasing, as OpenCV's INTER_CUBIC on floats; overshoot is kept."""
    return _interpolated(images, height, width, "bicubic", align_corners=False)


def cubic_or_area(images: Tensor, height: int, width: int) -> Tensor:
    """Resizes images (B, C, H, W): `cubic`, clamped to [0, 1], if either side grows, else area average."""
    if height > images.shape[-2] or width > images.shape[-1]:
        return cubic(images, height, width).clamp(0, 1)
    return by_area(images, height, width)


def cubic_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resizing of images (B, C, H, W) with antialiasing, as Pillow's BICUBIC on floats; overshoot is kept."""
    return _interpolated(images, height, width, "bicubic", antialias=True)


def linear(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resizing of images (B, C, H, W) without antialiasing, as OpenCV's INTER_LINEAR."""
    return _interpolated(images, height, width, "bilinear", align_corners=False)


def linear_antialiased(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resizing of images (B, C, H, W) with antialiasing, as Pillow's BILINEAR on floats."""
    return _interpolated(images, height, width, "bilinear", antialias=True)


def linear_to_corners(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resizing of images (B, C, H, W) without antialiasing, with `align_corners=True`."""
    return _interpolated(images, height, width, "bilinear", align_corners=True)


def _interpolated(images: Tensor, height: int, width: int, mode: str, **options: bool) -> Tensor:
    import torch.nn.functional as F

    return F.interpolate(images, size=(height, width), mode=mode, **options)


Kernel = Callable[["Tensor", int, int], "Tensor"]

KERNELS: Mapping[Kernel, tuple[str, str]] = {
    by_area: ("area_cubic", "each axis the area average where it shrinks, cubic (a = -0.75) clamped to [0, 1] where it grows"),
    cubic: ("cubic", "cubic (a = -0.75) without antialiasing"),
    cubic_or_area: ("cubic_or_area", "cubic (a = -0.75) clamped to [0, 1] where either side grows, else the area average"),
    cubic_antialiased: ("cubic_antialiased", "cubic (a = -0.5) with antialiasing"),
    linear: ("linear", "linear without antialiasing"),
    linear_antialiased: ("linear_antialiased", "linear with antialiasing"),
    linear_to_corners: ("linear_corners", "linear without antialiasing, corners aligned"),
}
"""Each kernel's name in an exported file's metadata, and its description."""


Size = tuple[int, int]
"""(height, width)"""
RGB = tuple[float, float, float]
"""In [0, 1]."""


def round_to_multiple(length: float, multiple: int) -> int:
    """The multiple of `multiple` nearest to `length`, at least `multiple`."""
    return max(multiple, round(length / multiple) * multiple)


def scale_short_side(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter side scaled to `short_side`, aspect kept; each at least 1."""
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True)
class SizeRule(ABC):
    """A rule that maps an image's size to the resized one; an exported file's metadata holds its fields."""

    name: ClassVar[str]  # the rule's name there
    words: ClassVar[str]  # the rule for people, with its fields

    @abstractmethod
    def size(self, height: int, width: int) -> Size:
        """The resized size of an image of height x width."""

    @property
    def description(self) -> str:
        """The rule in words."""
        return self.words.format(self)

    def metadata(self) -> dict[str, Any]:
        """The rule in an exported file's metadata."""
        return {"rule": self.name, **asdict(self)}


class Fit(Enum):
    """How to fit an image into the frame that a network was trained with; the value is its name in an exported file's metadata."""

    SHORT_SIDE = "short_side"
    LOWER_BOUND = "lower_bound"
    UPPER_BOUND = "upper_bound"
    MINIMAL = "least_scaling"
    STRETCHED = "stretch"


_FITS: Mapping[Fit, str] = {
    Fit.SHORT_SIDE: "the shorter side is {height}, aspect kept, in whole pixels; then both sides the nearest multiple of {multiple}",
    Fit.LOWER_BOUND: "neither side is below {width}x{height}, aspect kept; both sides the nearest multiple of {multiple} not below that",
    Fit.UPPER_BOUND: "neither side is above {width}x{height}, aspect kept; both sides the nearest multiple of {multiple} not above that",
    Fit.MINIMAL: "one side is that of {width}x{height}, the one that needs the lesser scaling, aspect kept; both sides the nearest "
    "multiple of {multiple}",
    Fit.STRETCHED: "{width}x{height}, aspect not kept; both sides the nearest multiple of {multiple}",
}
_SCALES: Mapping[Fit, Callable[[Sequence[float]], float]] = {
    Fit.LOWER_BOUND: max,
    Fit.UPPER_BOUND: min,
    Fit.MINIMAL: lambda scales: min(scales, key=lambda scale: abs(1 - scale)),
}


@dataclass(frozen=True)
class Frame(SizeRule):
    """Fits images to a frame.

    Source:
        `Resize` in MiDaS's transforms.py (Ranftl et al.), which ZoeDepth and Depth Anything adopted.
    """

    fit: Fit
    height: float  # of the frame; for `Fit.SHORT_SIDE` the shorter side
    width: float  # of the frame
    multiple_of: int  # both sides are rounded to the nearest positive multiple, or to the next one within the frame's bound

    @property
    def description(self) -> str:
        frame = _FITS[self.fit].format(height=f"{self.height:g}", width=f"{self.width:g}", multiple=self.multiple_of)
        return f"{frame}, at least one"

    def size(self, height: int, width: int) -> Size:
        if self.fit is Fit.SHORT_SIDE:
            rows, columns = scale_short_side(height, width, int(self.height))
            return round_to_multiple(rows, self.multiple_of), round_to_multiple(columns, self.multiple_of)
        scales = (self.height / height, self.width / width)
        if self.fit in _SCALES:
            scales = (_SCALES[self.fit](scales),) * 2
        return self._side(scales[0] * height, self.height), self._side(scales[1] * width, self.width)

    def metadata(self) -> dict[str, Any]:
        height, width = (round(side) if side == round(side) else side for side in (self.height, self.width))
        return {"rule": self.fit.value, "height": height, "width": width, "multiple_of": self.multiple_of}

    def _side(self, length: float, bound: float) -> int:
        rounded = round_to_multiple(length, self.multiple_of)
        if self.fit is Fit.LOWER_BOUND and rounded < bound:
            return rounded + self.multiple_of
        if self.fit is Fit.UPPER_BOUND and rounded > bound:
            return max(self.multiple_of, rounded - self.multiple_of)
        return rounded


@dataclass(frozen=True)
class WideFrame(SizeRule):
    """`Fit.LOWER_BOUND` with a square frame that shrinks for elongated images, to limit their pixels.

    Source:
        Video Depth Anything (Chen et al.), `infer_video_depth`.
    """

    side: int  # of the frame
    longest_aspect: float  # aspect (longer by shorter side) above which the frame shrinks ...
    of_aspect: float  # ... by the factor `of_aspect` / aspect
    multiple_of: int  # as in `Frame`
    name: ClassVar[str] = "lower_bound_wide"

    @property
    def description(self) -> str:
        return (
            f"{self._frame(self.side).description}; of images with an aspect above {self.longest_aspect} the frame is a square of "
            f"{self.side} * {self.of_aspect} / aspect, cut to whole pixels and rounded to a multiple"
        )

    def size(self, height: int, width: int) -> Size:
        aspect = max(height, width) / min(height, width)
        side = self.side
        if aspect > self.longest_aspect:
            side = round_to_multiple(int(side * self.of_aspect / aspect), self.multiple_of)
        return self._frame(side).size(height, width)

    def _frame(self, side: int) -> Frame:
        return Frame(Fit.LOWER_BOUND, side, side, self.multiple_of)


@dataclass(frozen=True)
class ShortSideCapped(SizeRule):
    """Scales to a given shorter side, or less where the longer side would exceed a multiple of it."""

    side: int  # the shorter side
    longest_aspect: float  # limit of the longer side as a multiple of `side`, unless the shorter side would fall below `multiple_of`
    multiple_of: int  # as in `Frame`
    name: ClassVar[str] = "short_side_capped"

    @property
    def description(self) -> str:
        return (
            f"the shorter side is {self.side}, or less so that the longer one is at most {self.longest_aspect * self.side:g}, aspect kept; "
            f"both sides the nearest multiple of {self.multiple_of}, at least one"
        )

    def size(self, height: int, width: int) -> Size:
        short, long = sorted((height, width))
        scale = min(self.side / short, max(self.longest_aspect * self.side / long, self.multiple_of / short))
        return round_to_multiple(height * scale, self.multiple_of), round_to_multiple(width * scale, self.multiple_of)


@dataclass(frozen=True)
class LongSide(SizeRule):
    """Scales to a given longer side, in whole pixels, then rounds both sides to the nearest multiple, ties up."""

    side: int  # the longer side
    multiple_of: int  # as in `Frame`
    name: ClassVar[str] = "long_side"

    @property
    def description(self) -> str:
        rounded = f"; then both sides the nearest multiple of {self.multiple_of}, ties up, at least one" * (self.multiple_of > 1)
        return f"the longer side is {self.side}, aspect kept, in whole pixels{rounded}"

    def size(self, height: int, width: int) -> Size:
        scale, multiple = self.side / max(height, width), self.multiple_of
        rows, columns = (max(1, round(side * scale)) for side in (height, width))
        return tuple(max(multiple, (2 * side + multiple) // (2 * multiple) * multiple) for side in (rows, columns))  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class LongSideCut(SizeRule):
    """Scales to a given longer side, aspect kept, sides truncated to whole pixels."""

    side: int
    name: ClassVar[str] = "long_side_cut"
    words: ClassVar[str] = "the longer side is {0.side}, aspect kept; both sides cut to whole pixels, at least one"

    def size(self, height: int, width: int) -> Size:
        longest = max(height, width)
        return max(1, height * self.side // longest), max(1, width * self.side // longest)


@dataclass(frozen=True)
class PixelCount(SizeRule):
    """Scales to the number of pixels of a square, aspect kept."""

    side: int  # of the square
    multiple_of: int  # as in `Frame`
    name: ClassVar[str] = "pixel_count"
    words: ClassVar[str] = (
        "as many pixels as {0.side}x{0.side}, aspect kept; both sides the nearest multiple of {0.multiple_of}, at least one"
    )

    def size(self, height: int, width: int) -> Size:
        cells, aspect, multiple = (self.side / self.multiple_of) ** 2, width / height, self.multiple_of
        return multiple * max(1, round((cells / aspect) ** 0.5)), multiple * max(1, round((cells * aspect) ** 0.5))


@dataclass(frozen=True)
class PixelCountCut(SizeRule):
    """Scales to the number of pixels of a square, aspect kept, sides truncated to whole pixels."""

    side: int  # of the square
    least: int  # minimum of both sides
    name: ClassVar[str] = "pixel_count_cut"
    words: ClassVar[str] = "as many pixels as {0.side}x{0.side}, aspect kept; both sides cut to whole pixels, at least {0.least}"

    def size(self, height: int, width: int) -> Size:
        scale = self.side / (height * width) ** 0.5
        return max(self.least, int(height * scale)), max(self.least, int(width * scale))


@dataclass(frozen=True)
class WholeSphere(SizeRule):
    """A full-sphere panorama of about this width, half as high."""

    width: int  # the requested width
    multiple_of: int  # of the height; as in `Frame`
    name: ClassVar[str] = "whole_sphere"
    words: ClassVar[str] = "{0.width} wide and half as high, the height the nearest multiple of {0.multiple_of}"

    def size(self, height: int, width: int) -> Size:
        rows = round_to_multiple(self.width / 2, self.multiple_of)
        return rows, 2 * rows


@dataclass(frozen=True)
class Inside(SizeRule):
    """The largest size within a frame, aspect kept, sides truncated to whole pixels; a `Pad` fills the rest."""

    height: int
    width: int
    name: ClassVar[str] = "inside"
    words: ClassVar[str] = "as large as fits into {0.width}x{0.height}, aspect kept; both sides cut to whole pixels"

    def scale(self, height: int, width: int) -> float:
        """The scale factor from the image to the resized image."""
        return min(self.height / height, self.width / width)

    def size(self, height: int, width: int) -> Size:
        scale = self.scale(height, width)
        return max(1, int(height * scale)), max(1, int(width * scale))


@dataclass(frozen=True)
class CutToMultiple(SizeRule):
    """The image's own size, with both sides rounded down to multiples."""

    multiple_of: int
    name: ClassVar[str] = "cut_to_multiple"
    words: ClassVar[str] = "both sides the nearest multiple of {0.multiple_of} not above the image's own, at least one"

    def size(self, height: int, width: int) -> Size:
        multiple = self.multiple_of
        return max(multiple, height // multiple * multiple), max(multiple, width // multiple * multiple)


@dataclass(frozen=True)
class Half(SizeRule):
    """Half of height and width, which are even."""

    name: ClassVar[str] = "half"
    words: ClassVar[str] = "half of height and width"

    def size(self, height: int, width: int) -> Size:
        return height // 2, width // 2


@dataclass(frozen=True)
class Fixed(SizeRule):
    """A fixed size, as of a network exported for it."""

    height: int
    width: int
    name: ClassVar[str] = "fixed"
    words: ClassVar[str] = "{0.width}x{0.height}, aspect not kept: images of about that aspect come out best"

    def size(self, height: int, width: int) -> Size:
        return self.height, self.width


@dataclass(frozen=True)
class Resizing:
    """A family's resizing of images to a frame, at a size that the caller may choose."""

    fit: Fit = Fit.SHORT_SIDE  # how the image fits the frame
    aspect: float = 1.0  # width by height of the frame; its height is the caller's `size`
    resample: Kernel = by_area  # one of `KERNELS`

    def rule(self, size: int, multiple_of: int) -> SizeRule:
        """The rule for a frame of height `size`; `multiple_of` as in `Frame`."""
        return Frame(self.fit, size, size * self.aspect, multiple_of)


@dataclass(frozen=True)
class OwnSize(Resizing):
    """Keeps the image's size, whatever `size` the caller chooses, and rounds both sides down to multiples."""

    def rule(self, size: int, multiple_of: int) -> SizeRule:
        return CutToMultiple(multiple_of)


SHORT_SIDE = Resizing()
"""The rule of the old MiDaS nodes, and of families whose authors specify none."""
