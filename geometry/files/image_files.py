"""Reads images: Pillow opens, validates and decodes them; OpenCV, if installed, decodes what Pillow would round."""

from __future__ import annotations

import io
import logging
import math
import os
import re
import struct
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...options.checks import how_to_install
from ...options.outputs import TARGAS
from ..images.srgb import BT_709, numbered_primaries
from ..images.tone_mapping import HDR_NAMES
from ..kinds import Quantity
from . import tiff_tags
from .hdr_images import HdrLight, is_hdr, opencv_to_decode, read_hdr, tone_mapped
from .icc import Coding, pillow_to_srgb, to_srgb
from .paths import MAX_PIXELS, FileFormatError, check_size, damage_named, opened, read_bytes
from .png_chunks import END, SIGNATURE, check_rows, needed_chunks, profile_of
from .pnm import largest_level, read_pnm

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

logger = logging.getLogger(__name__)

_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "JPEG2000", "DDS")
IMAGE_KINDS = "PNG, JPEG, JPEG 2000, WebP, AVIF, HEIC, BMP, TIFF, TGA, DDS, PPM, GIF"
"""Formats that `open_image` opens, for messages."""

_ACCEPTED = f"accepted are 8- and 16-bit {IMAGE_KINDS}, Radiance HDR and OpenEXR"
# Brands in the first box of ISO base media files.
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
# Primaries and transfer function, by ITU-T H.273; the gammas of BT.470 M and B/G, and linear. Those of BT.709, BT.601 and BT.2020 look as
# coded where sRGB does.
_CICP, _NCLX = re.compile(rb"\0\0\0\x04cICP(.)(.)", re.DOTALL), re.compile(rb"colrnclx\0(.)\0(.)", re.DOTALL)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# sRGB's curve is about this power; libpng, too, takes gammas within 5 %, and points within a hundredth, for sRGB's.
_SRGB_GAMMA, _SAME_GAMMA, _SAME_POINT = 2.2, 0.05, 0.01
_HEADER_BYTES = 2**16
_ANIMATIONS = ("PNG", "WEBP", "GIF", "AVIF")
_HDR_BYTES = 16
_ORIENTATION_TAG = 0x0112
_PNG_BITS_AT = 24
_TARGA_BITS_AT, _ALPHA_BITS = 17, 15
# By their first bytes, or those after the size of the first box.
_OTHER_KINDS = {
    b"8BPS": "a Photoshop document",
    b"%PDF": "a PDF",
    b"\xff\n": "JPEG XL",
    b"JXL ": "JPEG XL",
    b"ftypcrx": "a camera's raw image",
}
_NO_DATA_TAG = 42113  # of GDAL, a number as text

# Of a JPEG 2000 the sizes of image and tiles and the first component's bits, less 1, and the mark before each part of a tile.
_JPEG_2000, _START_OF_TILE = re.compile(rb"\xffO\xffQ.{4}(.{32})..(.)", re.DOTALL), b"\xff\x90\0\x0a"
# The configuration of AV1, and its bit for 10 and 12 bits.
_AV1, _DEEP_AV1 = re.compile(rb"av1C\x81.(.)", re.DOTALL), 0x40

# Pillow modes that keep the file's values; La is grey with premultiplied alpha.
_EXACT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")

# libheif's number for depth with levels uniform in distance; the other kinds are uniform in inverse distance.
_UNIFORM_Z = 2

_START_OF_JPEG, _START_OF_SCAN, _END_OF_JPEG = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Rows that follow a missing restart mark would else stay as they are.
_JPEG_FILLER = b"".join(bytes(range(64, 128)) * 16 + bytes((0xFF, mark)) for mark in range(0xD0, 0xD8))
_MID_GREY = (127, 128)  # the former in CMYK, which is stored inverted


class DecodedImage(NamedTuple):
    """An upright image in its stored values.

    Attributes:
        pixels: (H, W) or (H, W, 3 or 4) uint8 or uint16; 4 channels are RGB and alpha.
        premultiplied: Whether the colours are premultiplied by alpha.
        text: A PNG's text by keyword.
        profile: The ICC profile, or what the file says in place of it; empty = nothing.
        bits: Bits of a channel in the file; of a PNM the logarithm of its levels, whose number is any.
    """

    pixels: np.ndarray
    premultiplied: bool
    text: dict[str, str]
    profile: bytes | Coding = b""
    bits: float = 8


def read_image(path: str | os.PathLike[str], exposure: float | None = None) -> np.ndarray:
    """Reads an image file as RGB.

    Args:
        path: One of `IMAGE_KINDS`, 8 or 16 bits, grey or colour, with or without alpha. Of an animation or several pages the first one
            is taken and logged. Or Radiance HDR, OpenEXR, or a TIFF of floats, as linear light (`hdr_images.HdrLight`); integers of 32
            bits, or with a sign, are levels of their full range.
        exposure: Of HDR files, as `HdrLight.displayed`.

    Returns:
        (H, W, 3) float32 sRGB in [0, 1], converted by what it says of its colours (`icc.to_srgb`), upright by its
        EXIF orientation, composited over white. HDR files are exposed and encoded as sRGB; PQ and HLG without a profile are tone mapped.

    Raises:
        FileNotFoundError: No such file.
        PermissionError: No permission to read it.
        FileFormatError: Not an image, damaged, cut off, empty, changed while it is read, or larger than MAX_PIXELS by its header.
        ImportError: Only OpenCV, OpenEXR or pillow-heif reads such an image losslessly, and it cannot be imported.
    """
    colours, alpha = read_colours(path, exposure)
    return colours if alpha is None else np.minimum(colours * alpha[..., None] + (1 - alpha[..., None]), 1)


def image_exposure(path: str | os.PathLike[str]) -> float | None:
    """The exposure that `read_image` chooses for an HDR file; None for other images. Raises the same."""
    data = read_bytes(path)
    light = _light_or_levels(path, data) if is_hdr(data) or tiff_tags.holds_numbers(io.BytesIO(data)) else None
    return light.exposure() if isinstance(light, HdrLight) else None


def read_colours(path: str | os.PathLike[str], exposure: float | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads an image file as RGB and alpha; arguments and errors as `read_image`.

    (H, W, 3) float32 sRGB as from `read_image`, but not composited; and alpha (H, W) float32 in [0, 1], None if opaque.
    """
    image = _light_or_levels(path, read_bytes(path))
    if isinstance(image, HdrLight):
        colours, alpha = image.displayed(exposure), image.alpha
    else:
        coding = image.profile
        if isinstance(coding, Coding) and coding.hdr:
            pixels = image.pixels if image.pixels.ndim == 3 else np.repeat(image.pixels[..., None], 3, axis=2)
            pixels = tone_mapped(pixels, coding.hdr, coding.chromaticities)
        else:
            pixels = to_srgb(path, image.pixels, coding)
        colours, alpha = as_rgb(pixels, image.premultiplied)
    return colours, None if alpha is None or bool((alpha == 1).all()) else alpha


def _light_or_levels(path: str | os.PathLike[str], data: bytes) -> HdrLight | DecodedImage:
    """The linear light of HDR files and of TIFFs of floats, or the levels of other images."""
    if is_hdr(data):
        return HdrLight(path, *read_hdr(path, data))
    if (numbers := decode_numbers(path, data)) is None:
        return decode_image(path, data)
    tags = tiff_tags.read_tags(io.BytesIO(data), (tiff_tags.BITS, tiff_tags.SAMPLE_FORMAT, tiff_tags.EXTRA_SAMPLES))
    (extra, *_) = tags.get(tiff_tags.EXTRA_SAMPLES, (0,))
    if numbers.ndim == 2:
        numbers = numbers[..., None].repeat(3, 2)
    if not extra:
        numbers = numbers[..., :3]
    if numbers.dtype.kind != "f":
        bits, is_signed = tags[tiff_tags.BITS][0], tags.get(tiff_tags.SAMPLE_FORMAT, (1,))[0] == tiff_tags.SIGNED
        full = 2 ** (bits - is_signed) - 1
        if bits == 32 and numbers.max() < 2**16:  # Pillow writes 16 bits so, which would be black
            full = 65535
        levels = np.rint(numbers.clip(0, full) * (65535 / full)).astype(np.uint16)
        return DecodedImage(levels, extra == tiff_tags.ASSOCIATED_ALPHA, {}, bits=16)
    light, alpha = numbers[..., :3], numbers[..., 3] if numbers.shape[2] == 4 else None
    if alpha is not None and extra != tiff_tags.ASSOCIATED_ALPHA:
        light = light * alpha[..., None].clip(0, 1)
    return HdrLight(path, light, alpha)


def decode_image(path: str | os.PathLike[str], data: bytes) -> DecodedImage:
    """Decodes an image's bytes to its stored values; only CMYK and LAB are converted. Raises as `read_image`."""
    if largest_level(data):
        pixels, largest = read_pnm(path, data)
        return DecodedImage(pixels, False, {}, bits=math.log2(largest + 1))
    stored, profile = data, b""
    if data.startswith(SIGNATURE):
        data, profile = needed_chunks(path, data, check_pixels=True), profile_of(data)
    elif data.startswith(_START_OF_JPEG):
        data = _with_end(data)
    with damage_named(path), strict, open_image(path, io.BytesIO(data)) as image:
        check_size(path, image.width, image.height, len(stored))
        if image.format != "MPO" and getattr(image, "is_animated", False):  # a camera's MPO has a preview after the image
            _say_first(path)
        if image.format == "AVIF" and (av1 := _AV1.search(data, 0, _HEADER_BYTES)) and av1[1][0] & _DEEP_AV1:
            logger.info("%s: an AVIF of 10 or 12 bits, which Pillow rounds to 8; for a map use EXR or 16-bit PNG", path, extra={"note": ""})
        if image.format == "PNG":
            check_rows(path, data, unpack=False)
        elif image.format == "TIFF":
            _check_strips(path, data, image)
        elif image.format == "JPEG2000":
            _check_tiles(path, data)
        pixels, profile, premultiplied = _stored_pixels(path, image, data, profile or image.info.get("icc_profile") or b"")
        if image.format == "PNG":
            last_row = pixels[-1].reshape(image.width, -1)[:, :3]
            if image.info.get("interlace") or image.mode == "P" or not last_row.any():  # decoders leave missing rows black
                check_rows(path, data, unpack=True)
        elif image.format in ("JPEG", "MPO"):
            _check_jpeg_end(path, data, image, doubtful=len(data) != len(stored))
        is_whole = data.endswith(END) if image.format == "PNG" else len(data) == len(stored)
        if not is_whole:
            logger.warning("%s: the end of the file is missing, but none of its pixels; they are read", path)
        text = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
        upright, coding = np.ascontiguousarray(_upright(pixels, _orientation(image))), _coding(image, data, profile)
        return DecodedImage(upright, premultiplied, text, coding, _stored_bits(image, data))


def _stored_pixels(path: str | os.PathLike[str], image: ImageFile, data: bytes, profile: bytes) -> tuple[np.ndarray, bytes, bool]:
    """The values of an opened image as stored, the profile that still applies to them, and whether they are premultiplied."""
    planes = tiff_tags.planes(data)
    exact = _is_exact(image) and not planes
    if exact or not (planes or image.format == "PNG"):
        image.load()
    if planes:
        pixels = _combined([decode_image(path, plane).pixels for plane in planes])
    elif exact:
        pixels = _pillow_pixels(image, data)
    elif image.mode in ("CMYK", "LAB"):
        converted = pillow_to_srgb(path, image, profile)
        pixels, profile = np.asarray(image.convert("RGB")) if converted is None else converted, b""
    elif image.format == "HEIF":
        pixels = _deep_heif_pixels(data)
    elif image.format == "PNG" and image.tile[0][3] in ("RGB;16B", "RGBA;16B") and "transparency" not in image.info:
        pixels = _deep_png_pixels(path, data)  # as the pack writes them
    else:
        pixels = _opencv_pixels(path, image, data)
    extra = _tiff_tag(image, tiff_tags.EXTRA_SAMPLES)
    if pixels.ndim == 3 and extra and not any(extra):
        # A TIFF sample without stated meaning is not alpha.
        pixels = pixels[..., :3]
    if image.format == "TGA" and image.mode == "RGBA" and not data[_TARGA_BITS_AT] & _ALPHA_BITS and not pixels[..., 3].any():
        pixels = pixels[..., :3]  # 32 bits a pixel, of which the last 8 are said to be unused
    return pixels, profile, image.mode == "La" or (not exact and tiff_tags.ASSOCIATED_ALPHA in extra)


def _coding(image: ImageFile, data: bytes, profile: bytes) -> Coding | bytes:
    """The profile, or what a PNG's cICP, sRGB, gAMA and cHRM chunks, or the box nclx of HEIF and AVIF, say of the colours; empty = nothing.

    A PNG's cICP overrides its profile, which overrides all others.
    """
    is_png, info = image.format == "PNG", image.info
    names = _CICP if is_png else _NCLX if image.format in ("HEIF", "AVIF") and not profile else None
    if names and (match := names.search(data, 0, _HEADER_BYTES)):
        primaries, transfer = match[1][0], match[2][0]
        hdr = transfer if transfer in HDR_NAMES else None
        return Coding(numbered_primaries(primaries, hdr is not None), _GAMMAS.get(transfer), hdr)
    if profile or not is_png or "srgb" in info or not info.get("gamma"):
        return profile
    white_first = info.get("chromaticity", (*BT_709[6:], *BT_709[:6]))
    own = (*white_first[2:], *white_first[:2])
    is_srgb = abs(info["gamma"] * _SRGB_GAMMA - 1) < _SAME_GAMMA and np.allclose(own, BT_709, atol=_SAME_POINT)
    return Coding(own, None if is_srgb else 1 / info["gamma"])


def _say_first(path: str | os.PathLike[str]) -> None:
    logger.info("%s: of several images in the file the first is taken", path, extra={"note": ""})


class _Strictness:
    """Makes Pillow refuse truncated files and silences its warnings, whatever the process has set. Thread-safe."""

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
"""Context for all uses of Pillow on user files."""


def open_image(path: str | os.PathLike[str], file: IO[bytes]) -> ImageFile:
    """Opens an image of any kind but HDR and reads its header; Pillow decodes lazily, which must happen inside `strict`.

    Images that Pillow cannot read are converted to 8 bits of a channel.

    Raises:
        FileFormatError: Not an image, damaged, or of far more than MAX_PIXELS.
        ImportError: The package that decodes it is missing.
    """
    from PIL import Image, UnidentifiedImageError

    beginning = file.read(_HEADER_BYTES)
    if largest_level(beginning) or tiff_tags.holds_numbers(file):
        return _converted(path, file)
    file.seek(0)
    if beginning.startswith(SIGNATURE):
        file = io.BytesIO(needed_chunks(path, file.read(), check_pixels=False))
    elif beginning.startswith(_START_OF_JPEG):
        file = io.BytesIO(_with_end(file.read()))
    formats = _IMAGE_FORMATS
    if _brands(beginning) & _AVIF_BRANDS:
        from PIL import features

        if not ("avif" in features.modules and features.check("avif")):
            raise ImportError(f"{path}: AVIF images need Pillow 11.3 or newer: {how_to_install('pillow>=11.3', newer=True)}")
        formats = ("AVIF",)
    elif Path(path).suffix.lower() in TARGAS:
        formats = (*formats, "TGA")
    with damage_named(path):
        if is_heif(beginning):
            return _pillow_heif(path).HeifImageFile(file)
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError as error:
            problem = f"not an image of a known kind, or one that is damaged or cut off ({_described(file)})"
            raise FileFormatError(f"{path}: {problem}; {_ACCEPTED}") from error
        except Image.DecompressionBombError as error:
            most = MAX_PIXELS // 2**20
            raise FileFormatError(f"{path}: far more than {most} megapixels, the most that are read; scale it down") from error
    if _tiff_tag(image, tiff_tags.SUB_IMAGES) and any(kind & tiff_tags.REDUCED for kind in _tiff_tag(image, tiff_tags.SUBFILE)):
        raise FileFormatError(f"{path}: a camera's raw image, of which only the small preview could be read; develop it first; {_ACCEPTED}")
    if image.format == "JPEG2000" and (header := _JPEG_2000.search(beginning)):
        image.info["bit_depth"] = 1 + (header[2][0] & 127)
    return image


def _converted(path: str | os.PathLike[str], file: IO[bytes]) -> Any:
    """A PNM or a TIFF of numbers as it looks, an Image of Pillow without a file."""
    from PIL import Image

    file.seek(0)
    levels = _light_or_levels(path, file.read())
    colours, alpha = (levels.displayed(None), levels.alpha) if isinstance(levels, HdrLight) else as_rgb(levels.pixels, levels.premultiplied)
    shown = np.rint(255 * (colours if alpha is None else np.dstack((colours, alpha)))).astype(np.uint8)
    image = Image.fromarray(shown)
    image.info["bit_depth"] = 8 if isinstance(levels, DecodedImage) and levels.bits <= 8 else 16
    return image


def _described(file: IO[bytes]) -> str:
    """What a file that cannot be decoded is, and what to do, for messages."""
    file.seek(0)
    beginning = file.read(16)
    for start, kind in _OTHER_KINDS.items():
        if start in (beginning[: len(start)], beginning[4 : 4 + len(start)]):
            return f"{kind}: save it as PNG"
    with suppress(OSError, struct.error, ValueError, OverflowError):
        if words := tiff_tags.described(file):
            return words
    return f"it begins with {beginning[:8]!r}"


def is_heif(beginning: bytes) -> bool:
    """Whether data begins like HEIF with HEVC inside, such as a phone's .heic."""
    brands = _brands(beginning)
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def _brands(beginning: bytes) -> set[bytes]:
    """The brands of an ISO base media file."""
    if beginning[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(beginning[:4], "big"), len(beginning))
    return {beginning[at : at + 4] for at in (8, *range(16, end, 4))}


def _pillow_heif(path: str | os.PathLike[str]) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImportError(f"{path}: HEIC images need the package pillow-heif: {how_to_install('pillow-heif')}") from error
    return pillow_heif


def heif_depth(path: str | os.PathLike[str], data: bytes) -> tuple[np.ndarray, Quantity]:
    """The depth that a phone's portrait mode adds to a HEIC: (H, W) uint8 or uint16, upright, at its own size; and its quantity.

    Raises:
        FileFormatError: Damaged, too large, or without depth.
        ImportError: pillow-heif is not installed.
    """
    library = _pillow_heif(path)
    with damage_named(path):
        file = library.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        depths = file[file.primary_index].info["depth_images"]
        if not depths:
            raise FileFormatError(f"{path}: a HEIC without depth; phones add depth in their portrait modes")
        width, height = depths[0].size
        check_size(path, width, height, len(data))
        levels = _heif_levels(depths[0])
        levels = levels[:, : depths[0].size[0]]
        kind = (depths[0].info.get("metadata") or {}).get("representation_type")
    return levels if levels.ndim == 2 else levels[..., 0], Quantity.RELATIVE_DEPTH if kind == _UNIFORM_Z else Quantity.DISPARITY


def _deep_heif_pixels(data: bytes) -> np.ndarray:
    """10- and 12-bit colours, which Pillow's plugin reduces to 8 bits."""
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    return _heif_levels(file[file.primary_index])


def _heif_levels(image: Any) -> np.ndarray:
    """Rescales pillow-heif's values to the full range: it shifts 10 bits up to 16, so that white would be 65472 of 65535."""
    levels = np.array(image)  # a copy: pillow-heif frees its buffer with the image
    bits = image.info.get("bit_depth", 16)
    if levels.dtype != np.uint16 or not 8 < bits < 16:
        return levels
    return _stretched(levels >> (16 - bits), bits)


def _stretched(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels of 9 to 15 bits as those of 16."""
    return np.rint(levels * (65535 / (2**bits - 1))).astype(np.uint16)


def decode_numbers(path: str | os.PathLike[str], data: bytes) -> np.ndarray | None:
    """Decodes a TIFF of floats, or of signed or 32-bit integers; None for any other file.

    (H, W) or (H, W, 3 or 4) in the stored dtype, floats that GDAL marks as no data NaN.

    Raises:
        FileFormatError: Damaged, cut off, or too large.
        ImportError: Only OpenCV reads such a file, and it cannot be imported.
    """
    if not tiff_tags.holds_numbers(io.BytesIO(data)):
        return None
    with damage_named(path), strict:
        from PIL import Image, UnidentifiedImageError

        wanted = (tiff_tags.WIDTH, tiff_tags.HEIGHT, tiff_tags.SAMPLES, tiff_tags.SAMPLE_FORMAT)
        tags = tiff_tags.read_tags(io.BytesIO(data), wanted)
        if tiff_tags.NEXT_IMAGE in tags:
            _say_first(path)
        width, height, samples, kind = (tags.get(tag, (default,))[0] for tag, default in zip(wanted, (0, 0, 1, 1), strict=True))
        check_size(path, width, height, len(data))
        if planes := tiff_tags.planes(data):
            return _combined([numbers for plane in planes if (numbers := decode_numbers(path, plane)) is not None])
        try:
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
                if image.mode in ("F", "I") or image.mode.startswith("I;"):
                    _check_strips(path, data, image)
                    codec, layout = image.tile[0][0], str(image.tile[0][3])
                    numbers = np.array(image)
                    if codec == "libtiff" and ("32B" in layout or "16B" in layout):
                        # libtiff gives the machine's byte order, and Pillow swaps it again.
                        numbers = numbers.astype(f"{numbers.dtype.kind}{2 if '16B' in layout else 4}").byteswap()
                    if numbers.dtype == np.int32 and kind not in (tiff_tags.SIGNED, tiff_tags.FLOATS):
                        numbers = numbers.view(np.uint32)  # Pillow has no such numbers
                    if numbers.dtype.kind == "f":
                        with suppress(ValueError, TypeError):  # damaged metadata is ignored
                            numbers[numbers == np.float32(next(iter(_tiff_tag(image, _NO_DATA_TAG)), "nan"))] = np.nan
                    return numbers
        except UnidentifiedImageError:  # floats in several channels
            pass
        numbers = None if samples == 2 else _decoded_by_opencv(path, data, "TIFF", "save it as EXR")  # it takes two for one
        if numbers is None:
            raise FileFormatError(f"{path}: of a kind that cannot be decoded, or damaged ({_described(io.BytesIO(data))})")
    return numbers


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image file as stored, from its header.

    Raises:
        OSError: The file cannot be read.
        FileFormatError: Not an image, or larger than MAX_PIXELS by its header.
    """
    with strict, opened(path) as file:
        width, height = open_image(path, file).size
    check_size(path, width, height, os.path.getsize(path))  # noqa: PTH202
    return width, height


def image_bits(path: str | os.PathLike[str]) -> int:
    """The bit depth of an image's channels, 8 or 16; 16 of HDR. Raises OSError or FileFormatError if it cannot be read."""
    with strict, opened(path) as file:
        beginning = file.read(_PNG_BITS_AT + 1)
        file.seek(0)
        return 16 if is_hdr(beginning) or _stored_bits(open_image(path, file), beginning) > 8 else 8


def _stored_bits(image: ImageFile, data: bytes) -> int:
    if image.format == "PNG":
        return data[_PNG_BITS_AT]
    return image.info.get("bit_depth") or max(_tiff_tag(image, tiff_tags.BITS), default=8)


def is_still_image(path: str | os.PathLike[str]) -> bool:
    """True if a file is by its header an image and no animation, whatever its name; False if it cannot be read."""
    try:
        with strict, opened(path) as file:
            if is_hdr(file.read(_HDR_BYTES)):
                return True
            file.seek(0)
            image = open_image(path, file)
            return image.format not in _ANIMATIONS or not getattr(image, "is_animated", False)
    except ImportError:  # an image whose decoder is not installed
        return True
    except (OSError, FileFormatError):
        return False


def _tiff_tag(image: ImageFile, tag: int) -> tuple[int, ...]:
    tags = getattr(image, "tag_v2", {})
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _is_exact(image: ImageFile) -> bool:
    """True if Pillow returns the stored values, by the header; of 16-bit images it does so for grey ones only."""
    if image.mode not in _EXACT_MODES:
        return False
    if image.mode.startswith("I;16"):
        return True
    if "bit_depth" in image.info:
        return image.info["bit_depth"] <= 8
    layouts = " ".join(str(tile[3]) for tile in image.tile).replace("BGR;16", "")  # a BMP's 16 bits are those of a whole pixel
    return ";16" not in layouts and max(_tiff_tag(image, tiff_tags.BITS), default=8) <= 8


def _pillow_pixels(image: ImageFile, data: bytes) -> np.ndarray:
    if image.mode in ("P", "PA") or (image.mode == "RGB" and "transparency" in image.info):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if image.mode in ("LA", "La"):
        return np.asarray(image)[..., [0, 0, 0, 1]]
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    if image.mode.startswith("I;16"):
        pixels = _full_range(image, pixels.astype(np.uint16))
    transparent = image.info.get("transparency") if pixels.ndim == 2 else None
    if transparent is None:
        return pixels
    if image.format == "PNG" and image.mode == "L":  # Pillow scales 2- and 4-bit pixels to 8 bits, but not the transparent grey
        transparent *= 255 // (2 ** data[_PNG_BITS_AT] - 1)
    # Pillow's own conversion does not support 16 bits.
    opaque = np.iinfo(pixels.dtype).max
    return np.dstack((pixels, pixels, pixels, np.where(pixels == transparent, 0, opaque).astype(pixels.dtype)))


def _full_range(image: ImageFile, pixels: np.ndarray) -> np.ndarray:
    """16-bit levels of a TIFF or JPEG 2000 of 9 to 15 bits, or of a TIFF with white as 0: Pillow stretches and inverts 8 bits only."""
    bits = max(_tiff_tag(image, tiff_tags.BITS), default=16)
    if image.format == "JPEG2000":  # Pillow shifts them up to 16 bits
        bits = image.info.get("bit_depth", 16)
        pixels = pixels >> (16 - bits)
    if 8 < bits < 16:
        pixels = _stretched(pixels, bits)
    return ~pixels if _tiff_tag(image, tiff_tags.PHOTOMETRIC) == (tiff_tags.WHITE_IS_ZERO,) else pixels


def _combined(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Channels (H, W) as grey (H, W), or as RGB and alpha (H, W, 3 or 4)."""
    return planes[0] if len(planes) == 1 else np.stack([planes[i] for i in (0, 0, 0, 1)] if len(planes) == 2 else planes, -1)


def _deep_png_pixels(path: str | os.PathLike[str], data: bytes) -> np.ndarray:
    """16-bit colours. Pillow keeps only the upper byte of each value, or the lower one if the byte order is swapped."""
    decoded = []
    for order in "BL":
        with open_image(path, io.BytesIO(data)) as image:
            codec, extents, offset, layout = image.tile[0]
            image.tile = [(codec, extents, offset, f"{layout[:-1]}{order}")]  # pyright: ignore[reportAttributeAccessIssue]  since Pillow 11 a named tuple
            decoded.append(np.asarray(image).astype(np.uint16))
    upper, lower = decoded
    return upper << 8 | lower


def _opencv_pixels(path: str | os.PathLike[str], image: ImageFile, data: bytes) -> np.ndarray:
    pixels = _decoded_by_opencv(path, data, f"{image.format} (mode {image.mode}) without loss", "save the image as an RGB PNG")
    if pixels is None:
        problem = f"of a kind that OpenCV cannot decode, or damaged ({_described(io.BytesIO(data))})"
        raise FileFormatError(f"{path}: {problem}; {_ACCEPTED}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FileFormatError(f"{path}: {pixels.dtype} numbers, which are data and no photograph; {_ACCEPTED}")
    bits = image.info.get("bit_depth", 16)
    return pixels if bits == 16 else _stretched(pixels, bits)


def _decoded_by_opencv(path: str | os.PathLike[str], data: bytes, kind: str, remedy: str) -> np.ndarray | None:
    """Stored values with channels in the order RGB and alpha; None if OpenCV cannot decode them."""
    if tiff_tags.is_planar(data):  # OpenCV returns uninitialised memory
        raise FileFormatError(f"{path}: a TIFF with its channels in separate planes; save it with them side by side (chunky)")
    cv2 = opencv_to_decode(path, f"this kind of {kind}", remedy)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels if pixels is None or pixels.ndim != 3 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _with_end(jpeg: bytes) -> bytes:
    """A JPEG with the mark of its end, which a copy that is a few bytes short has lost."""
    at = len(_START_OF_JPEG)
    while jpeg[at : at + 1] == b"\xff" and jpeg[at : at + 2] != _START_OF_SCAN:  # a thumbnail before it has an end, too
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg if jpeg.find(_END_OF_JPEG, at) > 0 else jpeg.rstrip(b"\xff") + _END_OF_JPEG


def _check_jpeg_end(path: str | os.PathLike[str], data: bytes, image: ImageFile, doubtful: bool) -> None:
    """Refuses a truncated JPEG, whose missing pixels the decoder silently fills with grey.

    If the last pixel has that grey, or its end is `doubtful`, the image is decoded again with data appended, which does not change a
    complete image.
    """
    last_pixel = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if not doubtful and not np.isin(np.asarray(last_pixel), _MID_GREY).all():
        return
    end = data.rfind(_END_OF_JPEG)
    with open_image(path, io.BytesIO(data[:end] + _JPEG_FILLER + data[end:])) as longer:
        if not np.array_equal(np.asarray(longer), np.asarray(image)):
            raise FileFormatError(f"{path}: the image is cut off: the data of its last pixels is missing; copy or download it again")


def _check_strips(path: str | os.PathLike[str], data: bytes, image: ImageFile) -> None:
    """Refuses a TIFF some of whose rows are missing, where the decoder would not notice it."""
    missing = any(codec == "raw" and not offset for codec, _, offset, *_ in image.tile)  # would show the header as pixels
    for jpeg, rows in tiff_tags.jpeg_streams(data):
        whole = _with_end(jpeg)
        with open_image(path, io.BytesIO(whole)) as part:
            missing = missing or part.height < rows
            _check_jpeg_end(path, whole, part, doubtful=whole != jpeg)
    if missing:
        raise FileFormatError(f"{path}: the image is cut off: some of its rows are missing; copy or download it again")


def _check_tiles(path: str | os.PathLike[str], data: bytes) -> None:
    """Refuses a JPEG 2000 some of whose tiles are missing, which the decoder leaves black.

    Source: ITU-T T.800, A.4.2 and A.5.1.
    """
    size = _JPEG_2000.search(data)
    at, tiles = data.find(_START_OF_TILE, size.end() if size else 0), set()
    while data.startswith(_START_OF_TILE, at):
        tile, length = struct.unpack_from(">HI", data, at + len(_START_OF_TILE))
        tiles.add(tile)
        at += length or len(data)  # the last part may end with the file
    right, bottom, _, _, across, down, left, top = struct.unpack(">8I", size[1]) if size else [1] * 8
    if len(tiles) < -((left - right) // across) * -((top - bottom) // down):
        raise FileFormatError(f"{path}: the image is cut off: some of its tiles are missing; copy or download it again")


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation still to be applied, 1..8; both decoders apply that of TIFF themselves."""
    if image.format == "TIFF":
        return 1
    from PIL.Image import Image

    try:
        orientation = Image.getexif(image).get(_ORIENTATION_TAG, 1)  # that of PNG would decode all pixels to look for EXIF after them
    except Exception:  # noqa: BLE001  damaged metadata is ignored; the image is intact
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


def as_rgb(pixels: np.ndarray, premultiplied: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Any upright pixels as (H, W, 3) float32 in [0, 1], unpremultiplied, and alpha, if any."""
    image = pixels if pixels.dtype == np.float32 else np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2), None
    if image.shape[2] == 4:
        colours, alpha = image[..., :3], image[..., 3]
        return np.minimum(colours / np.maximum(alpha[..., None], 1e-6), 1) if premultiplied else colours, alpha
    return image, None
