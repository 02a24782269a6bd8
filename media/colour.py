"""Converts planes of video frames to RGB tensors and back: matrix, range, chroma siting and HDR tone mapping, for any PyAV version."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.images import srgb
from ..geometry.images.tone_mapping import HDR_NAMES, coded_bt1886, hdr_to_sdr, to_709_primaries
from ..utils import opencv_for, resize_map, without_autocast

# Weights of red and blue in luma, by matrix number of ITU-T H.273.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
BT_709, UNKNOWN, BT_601, BT_2020 = 1, 2, 6, 9
LIMITED, FULL = 1, 2
BT_2020_PRIMARIES = 9
_REFUSED = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE 2085", 14: "ICtCp", 15: "IPT-PQ-C2 (Dolby Vision profile 5)"}


@dataclass(frozen=True)
class Colours:
    """A video's colour coding, in the numbers of ITU-T H.273; `matrix` is never UNKNOWN, `full` is full instead of limited range."""

    matrix: int = BT_709
    full: bool = False
    transfer: int = BT_709
    primaries: int = BT_709

    @property
    def hdr(self) -> str | None:
        """The name of the HDR transfer, if it is one."""
        return HDR_NAMES.get(self.transfer)

    @property
    def is_shown_as_coded(self) -> bool:
        """True if `displayed` changes nothing."""
        return not self.hdr and self.chromaticities == srgb.BT_709

    @property
    def chromaticities(self) -> tuple[float, ...]:
        """The colour primaries as `srgb.BT_709`."""
        return srgb.numbered_primaries(self.primaries, self.hdr is not None)

    @property
    def problem(self) -> str | None:
        """The reason why the colours cannot be read."""
        if self.matrix in _LUMA:
            return None
        return f"its colours are coded by {_REFUSED.get(self.matrix, f'matrix {self.matrix}')}, which is not read; convert it to BT.709"


def guessed_matrix(width: int, height: int) -> int:
    """The matrix of an untagged video, guessed as players do: BT.709 from 1280 columns or above 576 rows, else BT.601."""
    return BT_709 if width >= 1280 or height > 576 else BT_601


@functools.cache
def _rgb_from_yuv(matrix: int) -> Tensor:
    red, blue = _LUMA[matrix]
    green = 1 - red - blue
    rows = ((1, 0, 2 * (1 - red)), (1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green), (1, 2 * (1 - blue), 0))
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


def _levels(bits: int, full: bool) -> tuple[float, float, float, float]:
    """Black level, luma span, neutral chroma and chroma span, in code values of `bits` bits."""
    if full:
        return 0, 2**bits - 1, 2 ** (bits - 1), 2**bits - 1
    unit = 2 ** (bits - 8)
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def yuv_to_rgb(luma: Tensor, chroma: Tensor, bits: int, colours: Colours) -> Tensor:
    """Converts the planes of one frame to (3, H, W) float32 RGB in [0, 1], converted by `displayed`.

    Args:
        luma: (H, W), code values as float32.
        chroma: (2, h, w), Cb and Cr as stored: each side is luma's, half or a quarter of it.
        bits: Bits of a code value.
    """
    black, span, zero, chroma_span = _levels(bits, colours.full)
    matrix = _rgb_from_yuv(colours.matrix).float()
    grey = (luma - black).div_(span)
    blue, red = enlarged_chroma((chroma - zero).div_(chroma_span), *luma.shape, left=not colours.full)
    image = luma.new_empty(3, *luma.shape)
    # Half the time of a matrix product: the first column is 1, and two entries are 0.
    torch.add(grey, red, alpha=matrix[0, 2].item(), out=image[0])
    torch.add(grey, blue, alpha=matrix[1, 1].item(), out=image[1]).add_(red, alpha=matrix[1, 2].item())
    torch.add(grey, blue, alpha=matrix[2, 1].item(), out=image[2])
    return displayed(image.clamp_(0, 1), colours)


def rgb_to_yuv420(image: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Converts to BT.709, limited range, 4:2:0 with left-sited chroma, the default of H.264 and H.265.

    Args:
        image: (1 or 3, H, W) RGB or grey in [0, 1], sides even.
        bits: Bits of a code value.

    Returns:
        Luma (H, W) and chroma (2, H/2, W/2), code values as float32 or uint8, whichever is faster.
    """
    if len(image) == 1:
        return _stored(image[0], bits), image.new_full((2, image.shape[1] // 2, image.shape[2] // 2), 2 ** (bits - 1))
    luma, chroma = _yuv(image)
    halved = F.avg_pool2d(chroma[None], (2, 1))
    # Left-sited: half of the left pixel of a pair, plus a quarter of each neighbour.
    padded = F.pad(halved, (1, 1, 0, 0), mode="replicate")
    sited = (padded[..., :-2:2] + 2 * padded[..., 1:-1:2] + padded[..., 2::2]) / 4
    return _stored(luma, bits), _stored(sited[0], bits, chroma=True)


def rgb_to_yuv444(image: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """`rgb_to_yuv420` with full-size chroma (2, H, W): 4:4:4."""
    luma, chroma = _yuv(image)
    return _stored(luma, bits), _stored(chroma, bits, chroma=True)


@without_autocast
def _yuv(image: Tensor) -> tuple[Tensor, Tensor]:
    """BT.709 luma (H, W) in [0, 1] and chroma (2, H, W) in [-0.5, 0.5] of (1 or 3, H, W)."""
    if len(image) == 1:
        return image[0], torch.zeros_like(image).expand(2, -1, -1)
    luma, *chroma = torch.einsum("ij,jhw->ihw", torch.linalg.inv(_rgb_from_yuv(BT_709)).float(), image)
    return luma, torch.stack(chroma)


def _stored(values: Tensor, bits: int, chroma: bool = False) -> Tensor:
    """Limited-range code values of luma, or of chroma; none is negative."""
    black, luma_span, neutral, chroma_span = _levels(bits, full=False)
    zero, span = (neutral, chroma_span) if chroma else (black, luma_span)
    if bits == 8 and (cv2 := opencv_for(values)):  # one pass instead of four
        flat = values.reshape(-1, values.shape[-1]).numpy()
        return torch.from_numpy(cv2.convertScaleAbs(flat, alpha=span, beta=zero)).view(values.shape)
    return (values * span).add_(zero).round_()


def enlarged_chroma(chroma: Tensor, height: int, width: int, *, left: bool) -> Tensor:
    """Upsamples chroma (2, h, w), as stored, to luma's size, linearly. `left`: left-sited (MPEG-2 and later) or centred (JPEG)."""
    if chroma.shape[-2:] == (height, width):
        return chroma
    if left and chroma.shape[-1] * 2 - width in (0, 1):
        following = torch.cat((chroma[..., 1:], chroma[..., -1:]), -1)
        chroma = torch.stack((chroma, (chroma + following) / 2), -1).flatten(-2)[..., :width]
    return F.interpolate(chroma[None], (height, width), mode="bilinear", align_corners=False)[0]


def averaged_planes(luma: Tensor, chroma: Tensor, height: int, width: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Averages the planes of one frame to a smaller size, so that far fewer pixels are converted to RGB.

    The result nearly equals averaging after `yuv_to_rgb`. A chroma sample across the border of two new pixels is shared by
    both, and out-of-gamut colours are clamped after averaging, not per pixel.

    Args:
        luma: (H, W).
        chroma: (2, h, w), as stored: each side luma's, or half of it.
        height, width: Not larger than chroma's.
        left: As `enlarged_chroma`.

    Returns:
        (height, width) and (2, height, width).
    """
    # For each sample, the mean of the two pixels that `enlarged_chroma` would make of it.
    centred = (1 / 8, 3 / 4, 1 / 8)
    down, across = (
        taps if stored < side else (0.0, 1.0, 0.0)
        for taps, stored, side in zip((centred, (0.0, 3 / 4, 1 / 4) if left else centred), chroma.shape[1:], luma.shape, strict=True)
    )
    chroma = _filtered(chroma, down, across)
    return resize_map(luma[None, None], height, width)[0, 0], resize_map(chroma[None], height, width)[0]


def _filtered(maps: Tensor, down: tuple[float, ...], across: tuple[float, ...]) -> Tensor:
    """Filters maps (N, H, W) with 3 taps down, then across; the border is replicated."""
    if cv2 := opencv_for(maps):  # a third of the time
        filtered, kernels = torch.empty_like(maps), (np.array(across), np.array(down))
        for source, target in zip(maps.numpy(), filtered.numpy(), strict=True):
            cv2.sepFilter2D(source, -1, *kernels, target, borderType=cv2.BORDER_REPLICATE)
        return filtered
    height, width = maps.shape[-2:]
    padded = F.pad(maps[None], (1, 1, 1, 1), mode="replicate")[0]
    rows = torch.stack([weight * padded[:, place : place + height] for place, weight in enumerate(down)]).sum(0)
    return torch.stack([weight * rows[..., place : place + width] for place, weight in enumerate(across)]).sum(0)


def displayed(image: Tensor, colours: Colours) -> Tensor:
    """(3, H, W) RGB for an SDR screen: HDR tone mapped, BT.2020 and P3 primaries converted to BT.709."""
    if colours.is_shown_as_coded:
        return image
    if colours.hdr:
        return hdr_to_sdr(image, colours.transfer, colours.chromaticities)
    return coded_bt1886(to_709_primaries(image**2.4, colours.chromaticities))


_PLANAR = re.compile(r"(?P<kind>yuva?|yuvj|gbra?p|gray)(?:4\d\dp)?(?P<bits>9|1[0246])?(?P<order>le|be)?")
# By format: the planar format, or the RGB, with the same values.
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
    """Converts PyAV's decoded frame to (3, H, W) float32 RGB in [0, 1], without alpha.

    RGB frames use only the transfer and the primaries of `colours`. `size`: height and width, smaller than the frame's, to average to; None
    = keep the size.
    """
    image = _to_rgb(frame, colours, size)
    return image if size in (None, image.shape[-2:]) else resize_map(image[None], *size)[0]


def _to_rgb(frame: Any, colours: Colours, size: tuple[int, int] | None) -> Tensor:
    """The image, averaged to the size already if its planes could be."""
    frame = _unpacked(frame)
    name = frame.format.name
    planar = _PLANAR.fullmatch(name)
    if planar is None:
        packed = name if name in ("rgb24", "rgb48le") else "rgb48le" if bits_of(frame) > 8 else "rgb24"
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
        black, span, _, _ = _levels(bits, colours.full)
        grey = (_planes_to_tensor(frame.planes[:1], dtype) - black) / span
        return displayed(grey.clamp(0, 1).expand(3, -1, -1), colours)
    green, blue, red = _planes_to_tensor(frame.planes[:3], dtype)
    return displayed(torch.stack((red, green, blue)) / (2**bits - 1), colours)


def _may_be_averaged(luma: Tensor, chroma: Tensor, size: tuple[int, int]) -> bool:
    """True if averaging the planes nearly equals averaging their RGB."""
    return all(stored in (side, side / 2) and stored >= new for stored, side, new in zip(chroma.shape[1:], luma.shape, size, strict=True))


def _unpacked(frame: Any) -> Any:
    """Converts the frame to a planar format or to RGB, unless it has one of them."""
    name = frame.format.name
    if name in _UNPACKED:
        return frame.reformat(format=_UNPACKED[name])
    if _PLANAR.fullmatch(name) or frame.format.is_rgb or name.startswith(("rgb", "bgr", "x2", "gbr")):
        return frame
    return frame.reformat(format="yuv444p16le" if bits_of(frame) > 8 else "yuv444p")


def bits_of(frame: Any) -> int:
    """Bits of a channel of PyAV's frame, or stream; 8 if a stream without a readable frame does not say."""
    return max((component.bits for component in frame.format.components), default=8) if frame.format else 8


def has_alpha(frame: Any) -> bool:
    """True if the frame's format has an alpha channel."""
    return any(component.is_alpha for component in frame.format.components)


def _planes_to_tensor(planes: Sequence[Any], dtype: np.dtype) -> Tensor:
    """Planes of one size as (N, H, W) float32."""
    values = np.empty((len(planes), planes[0].height, planes[0].width), np.float32)
    for plane, target in zip(planes, values, strict=True):
        rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        target[:] = rows[:, : plane.width * dtype.itemsize].view(dtype)
    return torch.from_numpy(values)


def planes_to_frame(planes: list[Tensor], pixel_format: str) -> Any:
    """Makes a frame of code values, (H, W) planes in the format's order, of 8 bits or of more in little-endian order."""
    from .library import pyav

    height, width = planes[0].shape
    frame = pyav().VideoFrame(width, height, pixel_format)
    dtype = np.dtype("<u2" if pixel_format.endswith("le") else np.uint8)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.ascontiguousarray(values.numpy(), dtype)  # PyAV accepts no other memory order
        if beside := plane.line_size // dtype.itemsize - rows.shape[1]:
            rows = np.pad(rows, ((0, 0), (0, beside)))
        plane.update(rows)
    return frame
