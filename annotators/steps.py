"""The steps from an image to a network's input.

A family lists its steps (`Annotator.preprocess_steps`). The pack runs that list, and `depth-normal export` writes the same list into the
metadata of the file, so that what a file says is what the pack does. docs/export.md documents the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor

from .kernels import KERNELS, Kernel
from .resizing import Fixed, Inside, Size, SizeRule
from .specs.base import RGB


class Step(Protocol):
    """One step from an image to a network's input."""

    def size(self, height: int, width: int) -> Size:
        """The size that it gives an image of height x width."""
        ...

    def apply(self, images: Tensor) -> Tensor:
        """Runs it on images (B, 3, H, W) in [0, 1]."""
        ...

    def metadata(self) -> dict[str, Any]:
        """What an exported file says of it, as JSON can hold it; `means` is for people."""
        ...


Steps = tuple[Step, ...]


class Margins(NamedTuple):
    """Pixels added on each side, in the order of `torch.nn.functional.pad`."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Resize:
    """Resamples images.

    Attributes:
        rule: To which size.
        kernel: How; one of `KERNELS`.
    """

    rule: SizeRule
    kernel: Kernel

    def size(self, height: int, width: int) -> Size:
        """See `Step`."""
        return self.rule.size(height, width)

    def apply(self, images: Tensor) -> Tensor:
        """See `Step`."""
        return self.kernel(images, *self.size(images.shape[-2], images.shape[-1]))

    def metadata(self) -> dict[str, Any]:
        """See `Step`."""
        kernel, words = KERNELS[self.kernel]
        return {"step": "resize", **self.rule.metadata(), "kernel": kernel, "means": f"{self.rule.words}; kernel: {words}"}


@dataclass(frozen=True)
class Pad:
    """Adds a border of one colour, as much on each side; of an odd number of pixels the larger half lies at the right and at the bottom.

    Attributes:
        height: Of the result; 0 = the next multiple.
        width: The same.
        multiple_of: What both sides are then a multiple of.
        value: The colour, RGB in [0, 1].
    """

    value: RGB
    height: int = 0
    width: int = 0
    multiple_of: int = 1

    def size(self, height: int, width: int) -> Size:
        """See `Step`."""
        if self.height:
            return self.height, self.width
        return height + -height % self.multiple_of, width + -width % self.multiple_of

    def margins(self, height: int, width: int) -> Margins:
        """What it adds to an image of height x width."""
        padded_height, padded_width = self.size(height, width)
        rows, columns = padded_height - height, padded_width - width
        return Margins(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def apply(self, images: Tensor) -> Tensor:
        """See `Step`."""
        height, width = images.shape[-2:]
        left, _, top, _ = self.margins(height, width)
        padded = images.new_tensor(self.value).view(1, 3, 1, 1).repeat(len(images), 1, *self.size(height, width))
        padded[..., top : top + height, left : left + width] = images
        return padded

    def metadata(self) -> dict[str, Any]:
        """See `Step`."""
        size = f"{self.width}x{self.height}" if self.height else f"the next multiples of {self.multiple_of}"
        words = f"a border of RGB {self.value} up to {size}, the image in the middle"
        return {"step": "pad", **asdict(self), "means": words}


@dataclass(frozen=True)
class PadReflect:
    """Adds a border that reflects the image, without repeating its outermost pixels.

    Attributes:
        factor: Its width is the square root of half the image's side, times this, cut to whole pixels and below the side.
    """

    factor: float

    def size(self, height: int, width: int) -> Size:
        """See `Step`."""
        _, columns, _, rows = self.margins(height, width)
        return height + 2 * rows, width + 2 * columns

    def margins(self, height: int, width: int) -> Margins:
        """What it adds to an image of height x width."""
        rows, columns = (min(int((side / 2) ** 0.5 * self.factor), side - 1) for side in (height, width))
        return Margins(columns, columns, rows, rows)

    def apply(self, images: Tensor) -> Tensor:
        """See `Step`."""
        return F.pad(images, self.margins(images.shape[-2], images.shape[-1]), mode="reflect")

    def metadata(self) -> dict[str, Any]:
        """See `Step`."""
        words = f"a reflected border of {self.factor:g} * sqrt(side / 2) pixels above and below by the height, left and right by the width"
        return {"step": "pad_reflect", **asdict(self), "means": words}


def size_after(steps: Sequence[Step], height: int, width: int) -> Size:
    """The size that steps give an image of height x width."""
    for step in steps:
        height, width = step.size(height, width)
    return height, width


def for_one_size(steps: Steps, size: Size) -> Steps:
    """The steps for a network that takes images of one size alone: the last ones end there."""
    *first, last = steps
    if isinstance(last, Resize):
        return (*first, replace(last, rule=Fixed(*size)))
    *first, resize = first
    assert isinstance(last, Pad) and isinstance(resize, Resize)
    rule = Inside(*size) if isinstance(resize.rule, Inside) else Fixed(*size)
    return (*first, replace(resize, rule=rule), replace(last, height=size[0], width=size[1]))
