"""PNG files: depth and normals as images, and 16-bit depth with its range, from which metres can be restored."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...utils import opencv
from ..checks import check_intrinsics
from ..conventions import NormalMapCoding, convert_normals, decode_normal_map, encode_normal_map
from ..estimate import Axes, Estimate, Quantity
from ..valid import FAR_AWAY, NoDepthError, all_point, valid_depth, valid_normals
from .image_files import DecodedImage, decode_image
from .paths import FileFormatError, one_image, read_bytes, write_bytes
from .png_chunks import SIGNATURE
from .unlabelled import NAME_QUANTITY

# Pixels rounded at a time, to stay in the processor's cache.
_BAND_PIXELS = 2**16
# PNG's colour type by number of channels.
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
# Half of the 255 steps of 8 bits.
_HALF = 127.5
_QUANTITY, _WHITE, _BLACK = "depth_normal.quantity", "depth_normal.white", "depth_normal.black"
_AXES, _INVALID, _INTRINSICS = "depth_normal.axes", "depth_normal.invalid", "depth_normal.intrinsics"

NOTES = (_QUANTITY, _AXES)
"""Keywords of text chunks that mark a PNG of values."""


def write_depth_png(path: str | os.PathLike[str], image: Tensor, text: dict[str, str] | None = None) -> None:
    """Writes a depth image (1, H, W) or (1, 1, H, W) in [0, 1], near = white, as 16-bit grey PNG, rounded, atomically.

    Clamped, NaN becomes 0. `text` are keywords and texts to keep in the file. Raises ValueError: another shape.
    """
    _write(path, _rounded(image, 1, np.uint16), text)


def write_normal_png(path: str | os.PathLike[str], image: Tensor, bits: int = 8, text: dict[str, str] | None = None) -> None:
    """Writes a normal map (3, H, W) in [0, 1] as 8- or 16-bit RGB PNG, else as `write_depth_png`; 8 bits cost 0.17 degrees on average."""
    _write(path, _rounded(image, 3, _whole_numbers(bits)), text)


def write_image_png(path: str | os.PathLike[str], image: Tensor, bits: int = 8) -> None:
    """Writes a grey or colour image, with or without alpha, atomically.

    Args:
        image: (C, H, W) or (1, C, H, W) in [0, 1], 1 channel (grey), 3 (RGB) or 4 (RGB and alpha, not premultiplied), on any device;
            clamped, NaN becomes 0.
        bits: 8 or 16 a channel.

    Raises:
        ValueError: More than one image, another number of channels, or other bits.
    """
    dtype = _whole_numbers(bits)
    channels = image.shape[-3] if image.ndim > 2 else 0
    if channels not in _COLOUR_TYPES:
        raise ValueError(f"the image has shape {tuple(image.shape)}; expected (C, height, width) of 1, 3 or 4 channels")
    _write(path, _rounded(image, channels, dtype))


def write_normals_png(
    path: str | os.PathLike[str],
    normals: Tensor,
    source: Axes | str = Axes.OPENGL,
    mask: Tensor | None = None,
    target: NormalMapCoding | str = NormalMapCoding.OPENGL,
    bits: int = 8,
) -> None:
    """Writes normals (1, 3, H, W) in `source` axes as an RGB PNG, black where masked or without a direction, atomically.

    Equals `write_normal_png` of `render.normals_to_image`. 8 bits are made in one pass of OpenCV's: a value midway between two levels,
    within float32 rounding, may become the other one. Raises ValueError: another shape, unknown axes or coding, or other bits than 8 or 16.
    """
    if normals.ndim != 4 or normals.shape[:2] != (1, 3):
        raise ValueError(f"the normals have shape {tuple(normals.shape)}; those of one image (1, 3, height, width) are written to a file")
    normals = normals.detach().float().cpu()
    coding = NormalMapCoding(target)
    if _whole_numbers(bits) is np.uint16:
        image = encode_normal_map(normals, coding, source)
        write_normal_png(path, torch.where(valid_normals(normals, None if mask is None else mask.cpu()), image, 0), 16)
        return
    signs = convert_normals(torch.ones(1, 3, 1, 1, dtype=torch.float32, device="cpu"), source, coding.axes).flatten().tolist()
    planes = [_eight_bits(plane, _HALF * sign) for plane, sign in zip(normals[0].numpy(), signs, strict=True)]
    levels = np.stack(planes[::-1] if coding.channels_reversed else planes)
    if mask is not None or not all_point(normals):
        levels *= valid_normals(normals, mask.cpu() if mask is not None else None)[0].numpy()
    _write(path, levels)


def write_depth_values_png(path: str | os.PathLike[str], estimate: Estimate) -> None:
    """Writes depth as a 16-bit grey PNG from which its values are recovered within half a step, atomically.

    The image is near = white and linear in the estimate's own quantity. Text chunks: `depth_normal.quantity`, `depth_normal.white` and
    `depth_normal.black` (values of the brightest and darkest level in use), `depth_normal.invalid` ("0" if level 0 means "no value" and
    black is level 1), `depth_normal.intrinsics` (9 numbers, row by row). Invalid pixels (`Estimate.depth_valid`) and those at FAR_AWAY get
    no value. Raises ValueError: more than one image, no depth, or no valid pixel.
    """
    one_image(estimate, "a PNG")
    if estimate.depth is None or estimate.quantity is None:
        raise ValueError("the estimate has no depth to write; it has normals, write those")
    depth = estimate.depth.detach().cpu().double()[0, 0]
    valid = valid_depth(estimate.depth, estimate.quantity, estimate.mask)[0, 0].cpu() & (depth.abs() < FAR_AWAY)
    if not valid.any():
        raise NoDepthError(f"no pixel has a value (all are masked, not finite or beyond {FAR_AWAY:g}): there is no depth to write")
    low, high = depth[valid].min().item(), depth[valid].max().item()
    white, black = (high, low) if estimate.quantity is Quantity.DISPARITY else (low, high)
    first = 0 if bool(valid.all()) else 1
    share = (depth - black) / (white - black) if white != black else torch.ones_like(depth)
    levels = torch.where(valid, share * (65535 - first) + first, 0.0).round()
    text = {_QUANTITY: estimate.quantity.value, _WHITE: repr(white), _BLACK: repr(black)}
    _write(path, levels.numpy().astype(np.uint16)[None], text | ({_INVALID: "0"} if first else {}) | _intrinsics_text(estimate))


def write_normal_values_png(path: str | os.PathLike[str], estimate: Estimate) -> None:
    """Writes normals as a 16-bit RGB PNG in OpenGL colours, rounded, atomically; invalid pixels are black, which is no direction.

    Text chunks: `depth_normal.axes` = opengl, `depth_normal.invalid` and `depth_normal.intrinsics` as in `write_depth_values_png`. Raises
    ValueError: more than one image, or no normals.
    """
    one_image(estimate, "a PNG")
    if estimate.normals is None:
        raise ValueError("the estimate has no normals to write; compute them from the depth, or write that")
    text = {_AXES: Axes.OPENGL.value} | _intrinsics_text(estimate)
    valid = valid_normals(estimate.normals, estimate.mask)
    image = torch.where(valid, encode_normal_map(estimate.normals, source=estimate.axes), 0)
    if not bool(valid.all()):
        text[_INVALID] = "0"
    write_normal_png(path, image, 16, text)


class PlainImageError(FileFormatError):
    """A PNG image without metadata about its grey levels or colours."""


def holds_depth(text: Mapping[str, str]) -> bool:
    """Whether a PNG's text names the depth quantity of its grey levels."""
    return _QUANTITY in text


def read_values_png(path: str | os.PathLike[str], image: DecodedImage | None = None) -> Estimate:
    """Reads depth or normals of `write_depth_values_png` or `write_normal_values_png`, from the `image` if decoded already.

    Depth is within half a step of the written values, 0 where there is none; normals are unit vectors in OPENGL axes. On the CPU.

    Raises:
        FileNotFoundError: No such file.
        PlainImageError: An image without range or axes.
        FileFormatError: Not such a file, damaged, or too large.
    """
    image = image or decode_image(path, read_bytes(path))
    pixels, text = image.pixels, image.text
    if _QUANTITY not in text and _AXES not in text:
        raise PlainImageError(
            f"{path}: an image without the range of its numbers, so it cannot be read as depth or normals; "
            f"use it as a depth image or a normal map instead, or {NAME_QUANTITY}"
        )
    try:
        intrinsics = _parse_intrinsics(text)
        if _QUANTITY in text:
            return _to_depth(pixels, text, intrinsics)
        return _to_normals(pixels, text, intrinsics)
    except (ValueError, KeyError) as error:
        raise FileFormatError(f"{path}: the notes in the file are damaged: {error}") from error


def _to_depth(pixels: np.ndarray, text: dict[str, str], intrinsics: Tensor | None) -> Estimate:
    if pixels.ndim != 2:
        raise ValueError(f"depth in an image of {pixels.shape[2]} channels; expected grey")
    white, black = float(text[_WHITE]), float(text[_BLACK])
    if not (math.isfinite(white) and math.isfinite(black)):
        raise ValueError(f"the range goes from {black} to {white}")
    levels = torch.from_numpy(pixels.astype(np.float64))[None, None]
    first = 1 if _INVALID in text else 0
    share = (levels - first) / (np.iinfo(pixels.dtype).max - first)
    valid = levels >= first
    return Estimate(
        depth=torch.where(valid, black + (white - black) * share, 0.0).float(),
        quantity=Quantity(text[_QUANTITY]),
        mask=valid if first else None,
        intrinsics=intrinsics,
    )


def _to_normals(pixels: np.ndarray, text: dict[str, str], intrinsics: Tensor | None) -> Estimate:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"normals in an image of shape {pixels.shape}; expected RGB")
    levels = torch.from_numpy(pixels.astype(np.float32)).movedim(-1, 0)[None]
    return Estimate(
        normals=decode_normal_map(levels / np.iinfo(pixels.dtype).max, Axes(text[_AXES]), Axes.OPENGL),
        mask=(levels > 0).any(1, keepdim=True) if _INVALID in text else None,
        intrinsics=intrinsics,
    )


def _whole_numbers(bits: int) -> type[np.unsignedinteger]:
    if bits not in (8, 16):
        raise ValueError(f"a PNG of {bits} bits a channel was asked for; 8 or 16 can be written")
    return np.uint8 if bits == 8 else np.uint16


def _rounded(image: Tensor, channels: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """(channels, H, W) in [0, 1] as rounded integers."""
    planes = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if planes.ndim != 3 or planes.shape[0] != channels:
        raise ValueError(f"the image has shape {tuple(image.shape)}; one image ({channels}, height, width) is written to a file")
    planes, top = planes.detach().cpu(), np.iinfo(dtype).max
    pixels = np.empty(planes.shape, dtype)
    rows = max(1, _BAND_PIXELS // planes.shape[2])
    for band, rounded in zip(planes.split(rows, 1), np.split(pixels, range(rows, planes.shape[1], rows), 1), strict=True):
        # In float64, 65535 steps and their halves are exact.
        rounded[...] = band.to(torch.float64, copy=True).nan_to_num_(nan=0.0).clamp_(0, 1).mul_(top).round_()
    return pixels


def _eight_bits(plane: np.ndarray, scale: float) -> np.ndarray:
    """Maps -1..1 to 0..255."""
    if cv2 := opencv():
        return cv2.convertScaleAbs(plane, None, scale, _HALF)
    return np.nan_to_num(plane * np.float32(scale) + np.float32(_HALF)).round().clip(0, 255).astype(np.uint8)


def small_png(image: Tensor) -> bytes:
    """Encodes an image (3, H, W) or (1, 3, H, W) as `write_normal_png` does, but smaller and more slowly."""
    pixels = _rounded(image, 3, np.uint8)
    return b"".join(_png(pixels, zlib.compress(_filtered(pixels).data, 6), None))


def _write(path: str | os.PathLike[str], pixels: np.ndarray, text: dict[str, str] | None = None) -> None:
    """Writes integer planes: (1, H, W) grey, (3, H, W) RGB or (4, H, W) RGB and alpha."""
    write_bytes(path, *_png(pixels, _deflated(_filtered(pixels)), text))


def _png(pixels: np.ndarray, deflated: bytes, text: dict[str, str] | None) -> list[bytes]:
    """The parts of a PNG file; `deflated` are the filtered `pixels`."""
    planes, height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[planes], 0, 0, 0)
    notes = [_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + value.encode("latin-1")) for keyword, value in (text or {}).items()]
    return [SIGNATURE, _chunk(b"IHDR", header), *notes, _chunk(b"IDAT", deflated), _chunk(b"IEND", b"")]


def _filtered(pixels: np.ndarray) -> np.ndarray:
    """(H, 1 + bytes of a row): every row with PNG's filter 2, the difference to the row above."""
    cv2 = opencv() if len(pixels) > 1 else None
    interleaved = cv2.merge(list(pixels)) if cv2 else np.moveaxis(pixels, 0, -1)
    rows = interleaved.astype(interleaved.dtype.newbyteorder(">"), order="C", copy=False).reshape(len(interleaved), -1).view(np.uint8)
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _deflated(data: np.ndarray) -> bytes:
    """A zlib stream. ISA-L takes a third of zlib's time for slightly smaller files, and is available on all but rare machines."""
    try:
        from isal import isal_zlib
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
        return packer.compress(data.data) + packer.flush()
    return isal_zlib.compress(data.data, 1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def _intrinsics_text(estimate: Estimate) -> dict[str, str]:
    if estimate.intrinsics is None:
        return {}
    return {_INTRINSICS: " ".join(repr(number) for number in estimate.intrinsics[0].flatten().tolist())}


def _parse_intrinsics(text: dict[str, str]) -> Tensor | None:
    if _INTRINSICS not in text:
        return None
    numbers = [float(word) for word in text[_INTRINSICS].split()]
    if len(numbers) != 9:
        raise ValueError(f"intrinsics of {len(numbers)} numbers; expected 9")
    intrinsics = torch.tensor(numbers, dtype=torch.float32, device="cpu").reshape(1, 3, 3)
    check_intrinsics(intrinsics, 1)
    return intrinsics
