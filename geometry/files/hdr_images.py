"""Images of unbounded linear light, Radiance HDR and OpenEXR, and of PQ and HLG, converted for SDR screens."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...options.checks import how_to_install
from ...utils import opencv
from ..effects.relight import roll_off
from ..images.srgb import LUMINANCE, linear_to_srgb
from ..images.tone_mapping import hdr_to_sdr
from . import exr
from .paths import FileFormatError, check_size, damage_named, opened, read_bytes

_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_BEGINNING = max(map(len, _RADIANCE))
_RADIANCE_SIZE = re.compile(rb"\n\n-Y (\d{1,9}) \+X (\d{1,9})\n")
_HEADER_BYTES = 65536
_MID_GREY = 0.18
"""Linear light to which the exposure maps the geometric mean, as light meters do."""
_LUMINANCE = np.array(LUMINANCE, np.float32)
# Darker light is ignored for the exposure, brighter light clamped: beyond them products overflow float32.
_DARKEST, _BRIGHTEST = 1e-30, 1e30
# Colour conversion takes several times the memory of a band of rows.
_BAND_PIXELS = 2**21


def opencv_to_decode(path: str | os.PathLike[str], kind: str, remedy: str) -> Any:
    """The module `cv2`; raises ImportError naming the kind of file and an alternative."""
    cv2 = opencv()
    if cv2 is None:
        problem = f"{path}: only OpenCV decodes {kind}, and it cannot be imported"
        raise ImportError(f"{problem}; {remedy}, or {how_to_install('opencv-python-headless')}")
    return cv2


def is_hdr(data: bytes) -> bool:
    """Whether data begins like Radiance HDR or OpenEXR."""
    return data.startswith((*_RADIANCE, exr.MAGIC))


def read_radiance(path: str | os.PathLike[str], data: bytes) -> np.ndarray:
    """Reads the linear light of a Radiance file: (H, W, 3) float32; raises as `read_hdr`."""
    size = _RADIANCE_SIZE.search(data, 0, _HEADER_BYTES)
    if size is None:
        raise FileFormatError(
            f"{path}: a Radiance HDR whose header has no size, or whose rows are not stored from the top left; save it again"
        )
    height, width = (int(number) for number in size.groups())
    check_size(path, width, height, len(data))
    if b"FORMAT=32-bit_rle_xyze" in data[: size.start()]:
        raise FileFormatError(f"{path}: a Radiance HDR of CIE XYZ colours; save it with RGB colours")
    cv2 = opencv_to_decode(path, "Radiance HDR", "save the image as EXR or as a 16-bit PNG")
    # OpenCV refuses longer headers, such as with the exposure, which is chosen anew here.
    plain = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe" + data[size.start() :]
    with damage_named(path):
        light = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if light is None or light.shape != (height, width, 3) or light.dtype != np.float32:
        raise FileFormatError(f"{path}: the image is damaged or cut off, or of a kind of Radiance HDR that OpenCV cannot decode")
    return light[..., ::-1]


def read_plate(path: str | os.PathLike[str]) -> exr.Plate | None:
    """The light of a Radiance or OpenEXR file as stored; None of other images. Raises as `HdrLight`."""
    with opened(path) as file:
        beginning = file.read(_BEGINNING)
    if beginning.startswith(exr.MAGIC):
        return exr.read_plate(path)
    if not is_hdr(beginning):
        return None
    light = read_radiance(path, read_bytes(path))
    return exr.Plate(light, None, (slice(0, light.shape[0]), slice(0, light.shape[1])), {})


def tone_mapped(pixels: np.ndarray, transfer: int, chromaticities: Sequence[float]) -> np.ndarray:
    """Tone maps the colours (H, W, 3 or 4) uint8 or uint16 of PQ or HLG to float32 in [0, 1], as `hdr_to_sdr`; alpha is kept."""
    shown = np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    for start in range(0, len(shown), rows):
        colours = shown[start : start + rows, :, :3]
        colours[...] = hdr_to_sdr(torch.from_numpy(colours).movedim(-1, 0), transfer, chromaticities).movedim(0, -1).numpy()
    return shown


def read_hdr(path: str | os.PathLike[str], data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the light of a .hdr, or of an .exr as `exr.read_colours`.

    Raises:
        FileFormatError: Damaged, cut off, too large, or without colours.
        ImportError: The decoder is missing: OpenCV for .hdr, OpenEXR for .exr.
    """
    return exr.read_colours(path) if data.startswith(exr.MAGIC) else (read_radiance(path, data), None)


class HdrLight:
    """Linear light of any range, processed in bands of rows; NaN becomes black, infinite light the brightest of the image.

    Args:
        path: The file, for messages.
        light: (H, W, 3) floats, premultiplied.
        alpha: (H, W) floats; None without.

    Attributes:
        alpha: (H, W) float32 in [0, 1], None without.

    Raises:
        FileFormatError: No pixel has a colour.
    """

    def __init__(self, path: str | os.PathLike[str], light: np.ndarray, alpha: np.ndarray | None = None) -> None:
        self._light = light
        self.alpha = None if alpha is None else np.nan_to_num(alpha).clip(0, 1).astype(np.float32, copy=False)
        height, width = self._light.shape[:2]
        band = max(1, _BAND_PIXELS // width)
        self._bands = [slice(start, start + band) for start in range(0, height, band)]
        parts = (self._light[rows] for rows in self._bands)
        self._brightest = max(float(part.max(initial=-np.inf, where=np.isfinite(part))) for part in parts)
        if self._brightest == -np.inf:
            raise FileFormatError(f"{path}: no pixel has a colour: all are NaN or infinite; render or save it again")

    def _clean(self, rows: slice) -> np.ndarray:
        """Finite, unpremultiplied light of some rows."""
        part = self._light[rows].astype(np.float32, copy=False)
        part = np.nan_to_num(part, nan=0.0, posinf=self._brightest, neginf=0.0).clip(0, _BRIGHTEST)
        return part if self.alpha is None else part / self.alpha[rows, :, None].clip(1e-3)

    def exposure(self) -> float:
        """The factor that maps the geometric mean of the luminance to mid-grey (18 %)."""
        total, count = 0.0, 0
        for rows in self._bands:
            luminance = self._clean(rows) @ _LUMINANCE
            lit = luminance[luminance > _DARKEST]
            total, count = total + float(np.log(lit, dtype=np.float64).sum()), count + lit.size
        return float(_MID_GREY / np.exp(total / count)) if count else 1.0

    def displayed(self, exposure: float | None) -> np.ndarray:
        """(H, W, 3) float32 sRGB in [0, 1], unpremultiplied; light above `relight.KNEE` rolls off to white.

        `exposure` is the factor of the light, which the frames of a clip share; None = `exposure()`.
        """
        exposure = self.exposure() if exposure is None else exposure
        shown = np.empty((*self._light.shape[:2], 3), np.float32)
        white = torch.zeros(1, 1, 1, 1, dtype=torch.float32, device="cpu")
        for rows in self._bands:
            planes = torch.from_numpy(np.ascontiguousarray(self._clean(rows))).mul(exposure).clamp(max=_BRIGHTEST).movedim(-1, 0)[None]
            shown[rows] = linear_to_srgb(roll_off(planes, white).clamp(0, 1))[0].movedim(0, -1).numpy()
        return shown
