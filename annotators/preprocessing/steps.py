"""The steps from an image to a network's input, and metadata for those from its outputs to maps.

A family lists its preprocessing steps (`Family.preprocess`). The pack runs this list, and `depth-normal export` writes it into the file's
metadata, so that both agree. Postprocessing is code of the family, which describes it with the same constants (`Signature.afterwards`).
docs/export.md documents the vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .resizing import KERNELS, RGB, Fixed, Inside, Kernel, Size, SizeRule


class Step(ABC):
    """One step from an image to a network's input."""

    @abstractmethod
    def size(self, height: int, width: int) -> Size:
        """The output size for an image of height x width."""

    @abstractmethod
    def apply(self, images: Tensor) -> Tensor:
        """Applies the step to images (B, 3, H, W) in [0, 1]."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """The step in an exported file's metadata, for JSON; `means` is for people."""


Steps = tuple[Step, ...]
Metadata = list[dict[str, Any]]
"""Steps in an exported file's metadata."""


class Margins(NamedTuple):
    """Pixels added on each side, in the order of `torch.nn.functional.pad`."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Resize(Step):
    """Resamples images."""

    rule: SizeRule  # determines the size
    kernel: Kernel  # one of `KERNELS`

    def size(self, height: int, width: int) -> Size:
        return self.rule.size(height, width)

    def apply(self, images: Tensor) -> Tensor:
        return self.kernel(images, *self.size(images.shape[-2], images.shape[-1]))

    def metadata(self) -> dict[str, Any]:
        kernel, words = KERNELS[self.kernel]
        return {"step": "resize", **self.rule.metadata(), "kernel": kernel, "means": f"{self.rule.description}; kernel: {words}"}


@dataclass(frozen=True)
class Pad(Step):
    """Adds a border of one colour around the image; of an odd number of pixels the larger half goes right and below."""

    value: RGB  # the colour, RGB in [0, 1]
    height: int = 0  # and `width`: of the result; 0 = the next multiples of `multiple_of`
    width: int = 0
    multiple_of: int = 1

    def size(self, height: int, width: int) -> Size:
        if self.height:
            return self.height, self.width
        return height + -height % self.multiple_of, width + -width % self.multiple_of

    def margins(self, height: int, width: int) -> Margins:
        """The border of an image of height x width."""
        padded_height, padded_width = self.size(height, width)
        rows, columns = padded_height - height, padded_width - width
        return Margins(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def apply(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        left, _, top, _ = self.margins(height, width)
        padded = images.new_tensor(self.value).view(1, 3, 1, 1).repeat(len(images), 1, *self.size(height, width))
        padded[..., top : top + height, left : left + width] = images
        return padded

    def metadata(self) -> dict[str, Any]:
        size = f"{self.width}x{self.height}" if self.height else f"the next multiples of {self.multiple_of}"
        words = f"a border of RGB {self.value} up to {size}, the image in the middle"
        return {"step": "pad", **asdict(self), "means": words}


@dataclass(frozen=True)
class PadReflect(Step):
    """Adds a border that reflects the image, without repeating its outermost pixels."""

    factor: float  # the border's width is `factor` times the square root of half the side, truncated, and less than the side

    def size(self, height: int, width: int) -> Size:
        _, columns, _, rows = self.margins(height, width)
        return height + 2 * rows, width + 2 * columns

    def margins(self, height: int, width: int) -> Margins:
        """The border of an image of height x width."""
        rows, columns = (min(int((side / 2) ** 0.5 * self.factor), side - 1) for side in (height, width))
        return Margins(columns, columns, rows, rows)

    def apply(self, images: Tensor) -> Tensor:
        return F.pad(images, self.margins(images.shape[-2], images.shape[-1]), mode="reflect")

    def metadata(self) -> dict[str, Any]:
        words = f"a reflected border of {self.factor:g} * sqrt(side / 2) pixels above and below by the height, left and right by the width"
        return {"step": "pad_reflect", **asdict(self), "means": words}


@dataclass(frozen=True)
class Mirror(Step):
    """Appends the horizontally flipped images to a batch."""

    def size(self, height: int, width: int) -> Size:
        return height, width

    def apply(self, images: Tensor) -> Tensor:
        return torch.cat((images, images.flip(-1)))

    def metadata(self) -> dict[str, Any]:
        words = "the network runs on the image and on its mirror image; all maps are the mean of the first and of the second mirrored back"
        return {"step": "mirror", "means": words}


def size_after(steps: Sequence[Step], height: int, width: int) -> Size:
    """The size of an image of height x width after all steps."""
    for step in steps:
        height, width = step.size(height, width)
    return height, width


def for_one_size(steps: Steps, size: Size) -> Steps:
    """The steps for a network with a fixed input size: the last resizing, with its padding, ends at that size."""
    *first, last = steps
    if isinstance(last, Mirror):
        return (*for_one_size(tuple(first), size), last)
    if isinstance(last, Resize):
        return (*first, replace(last, rule=Fixed(*size)))
    *first, resize = first
    assert isinstance(last, Pad) and isinstance(resize, Resize)
    rule = Inside(*size) if isinstance(resize.rule, Inside) else Fixed(*size)
    return (*first, replace(resize, rule=rule), replace(last, height=size[0], width=size[1]))


CROP = {"step": "crop", "means": "the border that padding added is cut away from all maps"}
"""Metadata: the padding is cropped from all maps."""


def undo_resize(kernel: Kernel) -> dict[str, Any]:
    """Metadata: maps are resized to the image's size before its resizing."""
    name, words = KERNELS[kernel]
    return {"step": "undo_resize", "kernel": name, "means": f"all maps get the size from before the resizing; kernel: {words}"}


def scale_by_focal_length(fov: float, focal_length: float, of: str) -> dict[str, Any]:
    """Metadata: depth is multiplied by the focal length in pixels, relative to the one at which it is in metres.

    For an unknown camera, `fov` degrees span the longer side of the "input", or of the "image" as scaled by the resizing.
    """
    side = "input" if of == "input" else "image as it lies in the input, before its sides are cut to whole pixels"
    words = f"depth * f / {focal_length:g}, f = longer side / 2 / tan(fov / 2) in pixels, of the {side}; fov: the camera's if it is known"
    return {"step": "scale_by_focal_length", "fov": fov, "focal_length": focal_length, "of": of, "means": words}


def limit_depth(least: float | None = None, most: float | None = None, unit: str = "m") -> dict[str, Any]:
    """Metadata: depth is clamped to these limits, in `unit` for people; None = no limit."""
    limits = {name: limit for name, limit in (("least", least), ("most", most)) if limit is not None}
    words = " and ".join(f"at {name} {limit:g} {unit}" for name, limit in limits.items())
    return {"step": "limit_depth", **limits, "means": f"depth is {words}"}


def resize_to_image(resampling: str) -> dict[str, Any]:
    """Metadata: `Estimate.resized` with this resampling."""
    grows = "linear" if resampling == "bilinear" else "cubic (a = -0.75), kept in the map's range,"
    words = (
        f"all maps get the image's size: each axis the area average where it shrinks, {grows} where it grows; values outside the mask have "
        "no weight; normals are made unit vectors"
    )
    return {"step": "resize_to_image", "kernel": "area_linear" if resampling == "bilinear" else "area_cubic", "means": words}
