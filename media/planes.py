"""Converts a frame's planes to tensors and back, by the stored values, independent of PyAV's version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils import resize_map
from .colour import Colours, averaged_planes, displayed, yuv_to_rgb

_PLANAR = re.compile(r"(?P<kind>yuva?|yuvj|gbra?p|gray)(?:4\d\dp)?(?P<bits>9|1[0246])?(?P<order>le|be)?")
# The same numbers in planes of their own.
_UNPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "yuyv422": "yuv422p",
    "yvyu422": "yuv422p",
    "uyvy422": "yuv422p",
    "p010le": "yuv420p10le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "pal8": "rgb24",
    "monow": "rgb24",
    "monob": "rgb24",
}


def frame_to_rgb(frame: Any, colours: Colours, size: tuple[int, int] | None = None) -> Tensor:
    """The image of a decoded frame.

    Args:
        frame: PyAV's.
        colours: How it is coded; of RGB only the transfer and the primaries count.
        size: Height and width to which it is averaged, smaller than the frame's; None = it is not.

    Returns:
        (3, H, W) float32 RGB in [0, 1]; alpha is left out.
    """
    image = _to_rgb(frame, colours, size)
    return image if size in (None, image.shape[-2:]) else resize_map(image[None], *size)[0]


def _to_rgb(frame: Any, colours: Colours, size: tuple[int, int] | None) -> Tensor:
    """The image, averaged to the size already where its planes could be."""
    frame = _unpacked(frame)
    name = frame.format.name
    planar = _PLANAR.fullmatch(name)
    if planar is None:
        packed = name if name in ("rgb24", "rgb48le") else "rgb48le" if _bits(frame) > 8 else "rgb24"
        pixels = frame.to_ndarray(format=packed)
        return displayed(torch.from_numpy(np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)).movedim(-1, 0), colours)
    bits = int(planar["bits"] or 8)
    dtype = np.dtype(np.uint8 if bits == 8 else ">u2" if planar["order"] == "be" else "<u2")
    if planar["kind"].startswith("yuv"):
        luma, chroma = _planes_to_tensor(frame.planes[:1], dtype)[0], _planes_to_tensor(frame.planes[1:3], dtype)
        if size is not None and colours.is_shown_as_coded and _may_be_averaged(luma, chroma, size):
            luma, chroma = averaged_planes(luma, chroma, *size, left=not colours.full)
        return yuv_to_rgb(luma, chroma, bits, colours)
    if planar["kind"] == "gray":
        return displayed(_grey(_planes_to_tensor(frame.planes[:1], dtype)[0], bits, colours).expand(3, -1, -1), colours)
    green, blue, red = _planes_to_tensor(frame.planes[:3], dtype)
    return displayed(torch.stack((red, green, blue)) / (2**bits - 1), colours)


def _may_be_averaged(luma: Tensor, chroma: Tensor, size: tuple[int, int]) -> bool:
    """True if averaging both gives nearly the image that averaging their RGB gives."""
    return all(stored in (side, side / 2) and stored >= new for stored, side, new in zip(chroma.shape[1:], luma.shape, size, strict=True))


def _grey(plane: Tensor, bits: int, colours: Colours) -> Tensor:
    unit = 2 ** (bits - 8)
    scaled = plane / (2**bits - 1) if colours.full else (plane - 16 * unit) / (219 * unit)
    return scaled.clamp(0, 1)[None]


def _unpacked(frame: Any) -> Any:
    """The frame with each of its channels in a plane, where it is not RGB side by side."""
    name = frame.format.name
    if name in _UNPACKED:
        return frame.reformat(format=_UNPACKED[name])
    if _PLANAR.fullmatch(name) or frame.format.is_rgb or name.startswith(("rgb", "bgr", "x2", "gbr")):
        return frame
    return frame.reformat(format="yuv444p16le" if _bits(frame) > 8 else "yuv444p")


def _bits(frame: Any) -> int:
    return max((component.bits for component in frame.format.components), default=8)


def has_alpha(frame: Any) -> bool:
    """True if the frame's format has an alpha channel."""
    return any(component.is_alpha for component in frame.format.components)


def _planes_to_tensor(planes: Sequence[Any], dtype: np.dtype) -> Tensor:
    """(N, H, W) float32, of planes of one size."""
    values = np.empty((len(planes), planes[0].height, planes[0].width), np.float32)
    for plane, target in zip(planes, values, strict=True):
        rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        target[:] = rows[:, : plane.width * dtype.itemsize].view(dtype)
    return torch.from_numpy(values)


def planes_to_frame(planes: list[Tensor], pixel_format: str) -> Any:
    """A frame of whole numbers.

    Args:
        planes: (H, W) each, in the format's order.
        pixel_format: Of 8 bits a number, or of more, little-endian.
    """
    from .library import pyav

    height, width = planes[0].shape
    frame = pyav().VideoFrame(width, height, pixel_format)
    dtype = np.dtype("<u2" if pixel_format.endswith("le") else np.uint8)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.ascontiguousarray(values.numpy(), dtype)  # PyAV takes no other order
        if beside := plane.line_size // dtype.itemsize - rows.shape[1]:
            rows = np.pad(rows, ((0, 0), (0, beside)))
        plane.update(rows)
    return frame
