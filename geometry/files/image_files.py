"""Reads images: Pillow opens, validates and decodes them; OpenCV, if installed, decodes what Pillow would round."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
import warnings
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from ...utils import opencv
from .hdr_images import hdr_exposure, is_hdr, read_hdr_image
from .paths import MAX_PIXELS, FileFormatError, check_size, damage_named, read_bytes

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

logger = logging.getLogger(__name__)

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""What is read, by Pillow's names."""

_ACCEPTED = "accepted are 8- and 16-bit PNG, JPEG, WebP, BMP, TIFF and GIF, Radiance HDR and OpenEXR"
_ANIMATIONS = ("PNG", "WEBP", "GIF")
_HDR_BYTES = 16
_ORIENTATION_TAG = 0x0112
_PNG_BITS_AT = 24
_BITS_TAG, _PLANES_TAG, _EXTRA_SAMPLES_TAG = 258, 284, 338
_SEPARATE_PLANES, _ASSOCIATED_ALPHA = 2, 1

# Pillow's modes whose numbers are those of the file; La is grey with premultiplied alpha.
_EXACT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")
# 15- and 16-bit BMP pixels, which the decoders scale differently.
_PACKED = re.compile(r"BGR;1[56]")

_END_OF_JPEG = b"\xff\xd9"
_JPEG_FILLER = bytes(range(64, 128)) * 16
_MID_GREY = (127, 128)  # the former in CMYK, which is stored inverted


class DecodedImage(NamedTuple):
    """An image as stored, upright.

    Attributes:
        pixels: (H, W) or (H, W, 3 or 4) uint8 or uint16; 4 channels are RGB and alpha.
        premultiplied: Whether the colours are already multiplied by alpha.
        text: What a PNG says in words, by keyword.
    """

    pixels: np.ndarray
    premultiplied: bool
    text: dict[str, str]


def read_image(path: str | os.PathLike[str], exposure: float | None = None) -> np.ndarray:
    """Reads an image file as RGB values.

    Args:
        path: PNG, JPEG, WebP, BMP, TIFF or GIF, 8 or 16 bits, grey or colour, with or without alpha. Of an animation or of several pages
            the first, which is logged. Or Radiance HDR or OpenEXR (`hdr_images.read_hdr_image`).
        exposure: Of HDR files, as `read_hdr_image`.

    Returns:
        (H, W, 3) float32 RGB in [0, 1], as coded in the file (no gamma applied), upright by its EXIF orientation, alpha laid on white.
        Linear light of HDR files is exposed and coded as sRGB.

    Raises:
        FileNotFoundError: No such file.
        PermissionError: A file that this user may not read.
        FileFormatError: Not an image, damaged, cut off, empty, changed while it is read, or larger than MAX_PIXELS by its header.
        ImportError: Only OpenCV or OpenEXR reads such an image without loss, and it cannot be imported.
    """
    data = read_bytes(path)
    if is_hdr(data):
        return read_hdr_image(path, data, exposure)
    image = decode_image(path, data)
    return _as_rgb(image.pixels, image.premultiplied)


def image_exposure(path: str | os.PathLike[str]) -> float | None:
    """The exposure with which `read_image` shows an HDR file by itself; None of another image. It raises the same."""
    data = read_bytes(path)
    return hdr_exposure(path, data) if is_hdr(data) else None


def read_alpha(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Reads how opaque the pixels of an image file are.

    Args:
        path: As `read_image`.

    Returns:
        (H, W) float32 in [0, 1], upright; None of a file without alpha, and of HDR files.

    Raises:
        OSError, FileFormatError, ImportError: As `read_image`.
    """
    data = read_bytes(path)
    if is_hdr(data):
        return None
    pixels = decode_image(path, data).pixels
    return np.divide(pixels[..., 3], np.iinfo(pixels.dtype).max, dtype=np.float32) if pixels.ndim == 3 and pixels.shape[2] == 4 else None


def decode_image(path: str | os.PathLike[str], data: bytes) -> DecodedImage:
    """Decodes an image's bytes.

    Args:
        data: Its bytes.

    Raises:
        FileFormatError, ImportError: As `read_image`.
    """
    with damage_named(path, "the image is damaged or cut off; copy or download it again"), strict, _open(path, io.BytesIO(data)) as image:
        check_size(path, image.width, image.height, len(data))
        if image.format == "PNG":
            # Its checksums; Pillow allows nothing else of an image that it has verified.
            with _open(path, io.BytesIO(data)) as checked:
                checked.verify()
        if image.format != "MPO" and getattr(image, "is_animated", False):  # a camera's MPO has a preview after the image
            logger.info("%s: of several images in the file the first is taken", path)
        exact = _is_exact(image)
        if not exact and _SEPARATE_PLANES in _tiff_tag(image, _PLANES_TAG):
            # OpenCV returns memory that it never wrote.
            raise FileFormatError(f"{path}: a 16-bit TIFF with its colours in separate planes; save it with them side by side (chunky)")
        if exact or image.format != "PNG":
            image.load()
        if exact:
            pixels = _pillow_pixels(image, data)
        else:
            pixels = _deep_png_pixels(path, data) if _is_deep_png(image) else _opencv_pixels(path, image, data)
        if image.format in ("JPEG", "MPO"):
            _check_jpeg_end(path, data, image)
        extra = _tiff_tag(image, _EXTRA_SAMPLES_TAG)
        if pixels.ndim == 3 and extra and not any(extra):
            # TIFF: a sample of no stated meaning, which is no alpha.
            pixels = pixels[..., :3]
        premultiplied = image.mode == "La" or (not exact and _ASSOCIATED_ALPHA in extra)
        text = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
        return DecodedImage(np.ascontiguousarray(_upright(pixels, _orientation(image))), premultiplied, text)


class _Strictness:
    """Makes Pillow refuse truncated files without warnings, whatever the rest of the process has set. Any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._quiet = ExitStack()

    def __enter__(self) -> None:
        from PIL import ImageFile

        with self._lock:
            if self._users == 0:
                self._lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
                self._quiet.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._users += 1

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        from PIL import ImageFile

        with self._lock:
            self._users -= 1
            if self._users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._lenient
                self._quiet.close()


strict = _Strictness()
"""Around whatever Pillow does with a file of a user."""


def _open(path: str | os.PathLike[str], file: IO[bytes]) -> ImageFile:
    """Reads the header."""
    from PIL import Image, UnidentifiedImageError

    beginning = file.read(8)
    file.seek(0)
    try:
        return Image.open(file, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        raise FileFormatError(
            f"{path}: not an image of a known kind, or one that is damaged or cut off (it begins with {beginning!r}); {_ACCEPTED}"
        ) from error
    except Image.DecompressionBombError as error:
        raise FileFormatError(f"{path}: far more than {MAX_PIXELS // 2**20} megapixels, the most that are read; scale it down") from error


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image file as it is stored, by its header alone: nothing is decoded.

    Raises:
        OSError: The file cannot be read.
        FileFormatError: Not an image, or larger than MAX_PIXELS by its header.
    """
    with strict, open(path, "rb") as file:  # noqa: PTH123 - takes strings
        width, height = _open(path, file).size
    check_size(path, width, height, os.path.getsize(path))  # noqa: PTH202
    return width, height


def is_still_image(path: str | os.PathLike[str]) -> bool:
    """True if a file is an image by its header, whatever its name, and no animation; False if it cannot be read."""
    try:
        with strict, open(path, "rb") as file:  # noqa: PTH123 - takes strings
            if is_hdr(file.read(_HDR_BYTES)):
                return True
            file.seek(0)
            image = _open(path, file)
            return image.format not in _ANIMATIONS or not getattr(image, "is_animated", False)
    except (OSError, FileFormatError):
        return False


def _tiff_tag(image: ImageFile, tag: int) -> tuple[int, ...]:
    tags = getattr(image, "tag_v2", {})
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _is_exact(image: ImageFile) -> bool:
    """True if Pillow gives the file's own numbers, by its header; of 16 bits it keeps those of grey images only."""
    if image.mode not in _EXACT_MODES:
        return False
    if image.mode.startswith("I;16"):
        return True
    layouts = " ".join(str(tile[3]) for tile in image.tile)
    return ";16" not in layouts and not _PACKED.search(layouts) and max(_tiff_tag(image, _BITS_TAG), default=8) <= 8


def _pillow_pixels(image: ImageFile, data: bytes) -> np.ndarray:
    if image.mode in ("P", "PA") or (image.mode == "RGB" and "transparency" in image.info):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if image.mode in ("LA", "La"):
        return np.asarray(image)[..., [0, 0, 0, 1]]
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    if image.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16)
    transparent = image.info.get("transparency") if pixels.ndim == 2 else None
    return pixels if transparent is None else _grey_with_alpha(pixels, transparent * _grey_step(image, data))


def _grey_step(image: ImageFile, data: bytes) -> int:
    """The size in decoded pixels of one grey step of a PNG. Pillow stretches 2 and 4 bits to 8, but not which grey is transparent."""
    return 255 // (2 ** data[_PNG_BITS_AT] - 1) if image.format == "PNG" and image.mode == "L" else 1


def _grey_with_alpha(pixels: np.ndarray, transparent: int) -> np.ndarray:
    """(H, W, 4), where one grey is transparent. Pillow's own conversion does not know 16 bits."""
    opaque = np.iinfo(pixels.dtype).max
    return np.dstack((pixels, pixels, pixels, np.where(pixels == transparent, 0, opaque).astype(pixels.dtype)))


def _is_deep_png(image: ImageFile) -> bool:
    """True for a PNG of 16-bit colours, as the pack writes them."""
    return image.format == "PNG" and image.tile[0][3] in ("RGB;16B", "RGBA;16B") and "transparency" not in image.info


def _deep_png_pixels(path: str | os.PathLike[str], data: bytes) -> np.ndarray:
    """16-bit colours. Pillow keeps the upper byte of each number, and the lower one if the byte order is swapped."""
    decoded = []
    for order in "BL":
        with _open(path, io.BytesIO(data)) as image:
            codec, extents, offset, layout = image.tile[0]
            image.tile = [(codec, extents, offset, f"{layout[:-1]}{order}")]  # pyright: ignore[reportAttributeAccessIssue]  since Pillow 11 a named tuple
            decoded.append(np.asarray(image).astype(np.uint16))
    upper, lower = decoded
    return upper << 8 | lower


def _opencv_pixels(path: str | os.PathLike[str], image: ImageFile, data: bytes) -> np.ndarray:
    cv2 = opencv()
    if cv2 is None:
        raise ImportError(
            f"{path}: only OpenCV decodes this kind of {image.format} (mode {image.mode}) without loss, and it cannot be imported; "
            f'save the image as an RGB PNG, or run  "{sys.executable}" -m pip install opencv-python-headless'
        )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FileFormatError(f"{path}: the image is damaged or of a kind that OpenCV cannot decode; {_ACCEPTED}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FileFormatError(f"{path}: an image of {pixels.dtype} numbers; {_ACCEPTED}")
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels


def _check_jpeg_end(path: str | os.PathLike[str], data: bytes, image: ImageFile) -> None:
    """Refuses a JPEG whose data ends before its pixels do: the decoder fills them with grey and says nothing.

    Where the last pixel is of that grey, the image is decoded again with more data at its end, which a whole image does not use.
    """
    end = data.rfind(_END_OF_JPEG)
    if end < 0:
        raise FileFormatError(f"{path}: the image is cut off: its end mark is missing; fetch or save it again")
    last_pixel = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if not np.isin(np.asarray(last_pixel), _MID_GREY).all():
        return
    with _open(path, io.BytesIO(data[:end] + _JPEG_FILLER + data[end:])) as longer:
        if not np.array_equal(np.asarray(longer), np.asarray(image)):
            raise FileFormatError(f"{path}: the image is cut off: the data of its last pixels is missing; fetch or save it again")


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation still to be applied, 1..8. Both decoders turn TIFF upright by themselves, and Pillow forgets it then."""
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow would decode all pixels to look behind them.
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  damaged metadata is ignored; the image is whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (1 = as stored, 3 = upside down, 6 = turn clockwise, 8 = anticlockwise, even or 5, 7 = mirrored)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _as_rgb(pixels: np.ndarray, premultiplied: bool) -> np.ndarray:
    """Any upright pixels as (H, W, 3) float32 in [0, 1], alpha laid on white."""
    image = np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if image.shape[2] == 4:
        alpha = image[..., 3:]
        colours = image[..., :3] if premultiplied else image[..., :3] * alpha
        return np.minimum(colours + (1 - alpha), 1)
    return image
