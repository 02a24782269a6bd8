"""Converts colours to sRGB by ICC profiles, or by the few numbers that files have in place of one.

Matrix profiles (Display P3, Adobe RGB, ProPhoto, such as from cameras, phones and screens) and grey profiles are applied here in float32,
for 8 and 16 bits. Profiles with tables, such as from printers and scanners, are applied by Pillow's ImageCms, whose LittleCMS takes 8 bits:
16-bit images are rounded to 8 bits first, which is logged. Colours beyond sRGB are clipped.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..images.srgb import BT_709, linear_to_srgb, matrix_to_709, srgb_to_linear

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

# sRGB's primaries under D50, the white point of profiles (ICC's sRGB profiles).
_SRGB_TO_XYZ = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])
# Tolerances for sRGB profiles, in curves and in the matrix: a twentieth of an 8-bit level at most.
_SAME_CURVE, _SAME_MATRIX = 2e-4, 2e-3
_HEADER, _TAG = 128, 12
_MOST_TAGS = 256
# A band fits into the processor's cache.
_BAND_PIXELS = 2**16
_TABLE_STEPS = 2**16 - 1
_TABLES = (b"A2B0", b"A2B1")


class ProfileError(ValueError):
    """A damaged or unsupported profile."""


class Coding(NamedTuple):
    """How colours are coded, of files that say it without a profile.

    Attributes:
        chromaticities: The primaries, as `srgb.BT_709`.
        gamma: The power of the levels that is linear light; None = sRGB's curve.
        hdr: PQ or HLG (`tone_mapping`) in place of it; None = neither.
    """

    chromaticities: Sequence[float] = BT_709
    gamma: float | None = None
    hdr: int | None = None


class _Profile(NamedTuple):
    """A profile of one curve (grey) or three, of 256 or 65536 values: the linear light of each level.

    The matrix (3, 3) converts linear light to linear sRGB; None for grey.
    """

    curves: list[np.ndarray]
    matrix: np.ndarray | None


def to_srgb(path: str | os.PathLike[str], pixels: np.ndarray, profile: bytes | Coding) -> np.ndarray:
    """Converts colours (H, W) or (H, W, 3 or 4) uint8 or uint16 to sRGB: float32 in [0, 1], or the same pixels if they are sRGB already.

    Alpha is kept. `profile` is the ICC profile, or what stands for it, without HDR; empty = sRGB. A damaged one, or one for another colour
    model, is ignored with a warning that names the path.
    """
    if not profile:
        return pixels
    is_grey, levels = pixels.ndim == 2, np.iinfo(pixels.dtype).max + 1
    if isinstance(profile, Coding):
        x = torch.linspace(0, 1, levels, dtype=torch.float32, device="cpu")
        curve = (srgb_to_linear(x) if profile.gamma is None else x**profile.gamma).numpy()
        curves = _Profile([curve] * 3, None if is_grey else matrix_to_709(profile.chromaticities))
        return pixels if _is_srgb(curves, levels) else _converted(pixels, curves)
    try:
        space, tags = _read(profile)
        if space == b"GRAY" and not is_grey and bool((pixels[..., :1] == pixels[..., 1:3]).all()):
            return _stacked(to_srgb(path, pixels[..., 0], profile), pixels)
        if space != (b"GRAY" if is_grey else b"RGB "):
            if is_grey and space == b"RGB ":  # a grey image with an RGB profile: equal R, G and B
                coloured = to_srgb(path, np.repeat(pixels[..., None], 3, 2), profile)
                return pixels if coloured.dtype == pixels.dtype else coloured.mean(2, dtype=np.float32)
            raise ProfileError(f"it is for {space.decode('latin-1').strip()} colours")
        if not is_grey and any(name in tags for name in _TABLES):
            return _by_tables(path, pixels, profile)
        curves = _curves_of(tags, is_grey, levels, in_lab=profile[20:24] == b"Lab ")
    except (ProfileError, struct.error, IndexError, ValueError, OverflowError) as error:
        logger.warning("%s: its colour profile is ignored (%s); colours are taken for sRGB", path, error)
        return pixels
    return pixels if _is_srgb(curves, levels) else _converted(pixels, curves)


def pillow_to_srgb(path: str | os.PathLike[str], image: Image.Image, profile: bytes) -> np.ndarray | None:
    """Converts a CMYK or LAB image of Pillow to (H, W, 3) uint8 sRGB.

    None for CMYK without a profile or, with a warning, if LittleCMS refuses the profile.
    """
    return _by_cms(path, image, profile) if profile or image.mode == "LAB" else None


def _stacked(grey: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Grey levels (H, W) as colours with the alpha of `pixels`."""
    if grey.dtype == pixels.dtype:
        return pixels
    alpha = np.divide(pixels[..., 3:], np.iinfo(pixels.dtype).max, dtype=np.float32)
    return np.concatenate((np.repeat(grey[..., None], 3, 2), alpha), 2)


def _read(profile: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The colour model and the tags."""
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        raise ProfileError("it is damaged")
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    if count > _MOST_TAGS:
        raise ProfileError("it is damaged")
    tags = {}
    for at in range(_HEADER + 4, _HEADER + 4 + _TAG * count, _TAG):
        name, offset, size = struct.unpack_from(">4sII", profile, at)
        tags[name] = profile[offset : offset + size]
    return profile[16:20], tags


def _curves_of(tags: dict[bytes, bytes], is_grey: bool, levels: int, in_lab: bool) -> _Profile:
    if is_grey:
        curve = _curve(tags, b"kTRC", levels)
        if in_lab:  # the curve gives lightness L
            curve = np.where(curve > 0.08, ((curve + 0.16) / 1.16) ** 3, curve / 9.033)
        return _Profile([curve], None)
    colorants = np.stack([_xyz(tags, name) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], 1)
    if abs(np.linalg.det(colorants)) < 1e-6:
        raise ProfileError("its colours lie in a plane")
    return _Profile([_curve(tags, name, levels) for name in (b"rTRC", b"gTRC", b"bTRC")], np.linalg.solve(_SRGB_TO_XYZ, colorants))


def _xyz(tags: dict[bytes, bytes], name: bytes) -> np.ndarray:
    if name not in tags or tags[name][:4] != b"XYZ ":
        raise ProfileError(f"it has no {name.decode()}")
    return np.array(struct.unpack_from(">3i", tags[name], 8)) / 65536


def _curve(tags: dict[bytes, bytes], name: bytes, levels: int) -> np.ndarray:
    """The linear light of `levels` levels, float32 in [0, 1]. Source: ICC.1:2022, 10.6 and 10.18."""
    data, x = tags.get(name, b""), np.linspace(0, 1, levels)
    if data[:4] == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (struct.unpack_from(">H", data, 12)[0] / 256)
        else:
            table = np.frombuffer(data, ">u2", count, 12) / 65535
            y = np.interp(x, np.linspace(0, 1, count), table)
    elif data[:4] == b"para":
        (kind,) = struct.unpack_from(">H", data, 8)
        if kind > 4:
            raise ProfileError(f"it has a curve of the unknown kind {kind}")
        numbers = np.array(struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", data, 12)) / 65536
        y = _parametric(x, kind, *numbers)
    else:
        raise ProfileError(f"it has no {name.decode()}")
    if not np.isfinite(y).all():
        raise ProfileError(f"its curve {name.decode()} has no finite values")
    return y.clip(0, 1).astype(np.float32)


def _parametric(
    x: np.ndarray, kind: int, g: float, a: float = 1, b: float = 0, c: float = 0, d: float = 0, e: float = 0, f: float = 0
) -> np.ndarray:
    with np.errstate(all="ignore"):  # a profile may hold any numbers; curves that are not finite are refused
        if kind in (1, 2):
            constant = c if kind == 2 else 0.0
            return np.where(a * x + b >= 0, np.maximum(a * x + b, 0) ** g, 0) + constant
        curve = np.maximum(a * x + b, 0) ** g
        return curve if kind == 0 else np.where(x >= d, curve + e, c * x + f)


def _is_srgb(profile: _Profile, levels: int) -> bool:
    usual = srgb_to_linear(torch.linspace(0, 1, levels, dtype=torch.float32, device="cpu")).numpy()
    if profile.matrix is not None and np.abs(profile.matrix - np.eye(3)).max() > _SAME_MATRIX:
        return False
    return all(np.abs(curve - usual).max() < _SAME_CURVE for curve in profile.curves)


def _converted(pixels: np.ndarray, profile: _Profile) -> np.ndarray:
    """Applies curves and matrix in bands of rows."""
    height, width = pixels.shape[:2]
    shown = np.empty(pixels.shape, np.float32)
    rows = max(1, _BAND_PIXELS // width)
    matrix = None if profile.matrix is None else profile.matrix.astype(np.float32)
    code = _coded_by_table if pixels.dtype == np.uint8 else _coded
    for start in range(0, height, rows):
        band, out = pixels[start : start + rows], shown[start : start + rows]
        if matrix is None:
            out[...] = code(profile.curves[0][band])
            continue
        light = matrix @ np.stack([np.take(curve, band[..., i].ravel()) for i, curve in enumerate(profile.curves)])
        for i, plane in enumerate(light):
            out[..., i] = code(plane).reshape(band.shape[:2])
        if band.shape[2] == 4:
            out[..., 3] = np.divide(band[..., 3], np.iinfo(band.dtype).max, dtype=np.float32)
    return shown


def _coded(light: np.ndarray) -> np.ndarray:
    """Linear light as sRGB."""
    return linear_to_srgb(torch.from_numpy(light).clamp_(0, 1)).clamp_(0, 1).numpy()


def _coded_by_table(light: np.ndarray) -> np.ndarray:
    """`_coded` within a fortieth of an 8-bit level, in a tenth of the time."""
    return np.take(_table(), (light * _TABLE_STEPS + 0.5).clip(0, _TABLE_STEPS).astype(np.int32))


@functools.cache
def _table() -> np.ndarray:
    return _coded(np.linspace(0, 1, _TABLE_STEPS + 1, dtype=np.float32))


def _by_tables(path: str | os.PathLike[str], pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Applies a table profile in 8 bits."""
    from PIL import Image

    colours = pixels[..., :3]
    if colours.dtype == np.uint16:
        logger.info("%s: its colour profile has tables, which are applied to 8 bits; its 16 are rounded", path, extra={"note": ""})
        colours = (colours / 257).round().astype(np.uint8)
    converted = _by_cms(path, Image.fromarray(np.ascontiguousarray(colours)), profile)
    if converted is None:
        return pixels
    alpha = np.divide(pixels[..., 3:], np.iinfo(pixels.dtype).max, dtype=np.float32)
    return np.concatenate((np.divide(converted, 255, dtype=np.float32), alpha), 2)


def _by_cms(path: str | os.PathLike[str], image: Image.Image, profile: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 sRGB; None, with a warning, if LittleCMS refuses the profile, or Pillow was built without it."""
    try:
        from PIL import ImageCms

        source = ImageCms.createProfile("LAB") if image.mode == "LAB" else ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"))
    except Exception as error:  # noqa: BLE001  a foreign decoder; the image is intact
        logger.warning("%s: its colour profile is ignored (%s); colours are taken for sRGB", path, error)
        return None
