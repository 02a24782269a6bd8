"""Reads images: Pillow opens, validates and decodes them; OpenCV, if installed, decodes what Pillow would round."""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Collection
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...options.checks import how_to_install
from ..images.srgb import BT_709, numbered_primaries
from ..images.tone_mapping import HDR_NAMES
from ..kinds import Quantity
from .hdr_images import HdrLight, is_hdr, opencv_to_decode, tone_mapped
from .icc import Coding, pillow_to_srgb, to_srgb
from .paths import MAX_PIXELS, FileFormatError, check_size, damage_named, opened, read_bytes

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

logger = logging.getLogger(__name__)

_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
IMAGE_KINDS = "PNG, JPEG, WebP, AVIF, HEIC, BMP, TIFF, GIF"
"""Formats that `open_image` opens, for messages."""

_ACCEPTED = f"accepted are 8- and 16-bit {IMAGE_KINDS}, Radiance HDR and OpenEXR"
# Brands in the first box of ISO base media files.
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_FTYP_BYTES = 256
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
_BITS_TAG, _COMPRESSION_TAG, _PHOTOMETRIC_TAG = 258, 259, 262
_SAMPLES_TAG, _PLANES_TAG, _EXTRA_SAMPLES_TAG, _SAMPLE_FORMAT_TAG = 277, 284, 338, 339
_SUBFILE_TAG, _SUB_IMAGES_TAG = 254, 330
_REDUCED = 1  # bit of the former: a smaller copy of another image in the file
_TIFF_SIGNED, _TIFF_FLOATS = 2, 3
_TIFF_LONG = 4
_COMPRESSIONS = {7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
# By their first bytes, or those after the size of the first box.
_OTHER_KINDS = {
    b"8BPS": "a Photoshop document",
    b"DDS ": "a DDS texture",
    b"%PDF": "a PDF",
    b"\xff\n": "JPEG XL",
    b"JXL ": "JPEG XL",
    b"jP  ": "JPEG 2000",
    b"ftypcrx": "a camera's raw image",
}
_WHITE_IS_ZERO = 0
_SEPARATE_PLANES, _ASSOCIATED_ALPHA = 2, 1
_NEXT_IMAGE = 0  # no tag of a TIFF
_NO_DATA_TAG = 42113  # of GDAL, a number as text

# The configuration of AV1, and its bit for 10 and 12 bits.
_AV1, _DEEP_AV1 = re.compile(rb"av1C\x81.(.)", re.DOTALL), 0x40

# Pillow modes that keep the file's values; La is grey with premultiplied alpha.
_EXACT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")

# libheif's number for depth with levels uniform in distance; the other kinds are uniform in inverse distance.
_UNIFORM_Z = 2
_MOST_TAGS = 1024

_END_OF_JPEG = b"\xff\xd9"
_JPEG_FILLER = bytes(range(64, 128)) * 16
_MID_GREY = (127, 128)  # the former in CMYK, which is stored inverted


class DecodedImage(NamedTuple):
    """An upright image in its stored values.

    Attributes:
        pixels: (H, W) or (H, W, 3 or 4) uint8 or uint16; 4 channels are RGB and alpha.
        premultiplied: Whether the colours are premultiplied by alpha.
        text: A PNG's text by keyword.
        profile: The ICC profile, or what the file says in place of it; empty = nothing.
        bits: Bits of a channel in the file.
    """

    pixels: np.ndarray
    premultiplied: bool
    text: dict[str, str]
    profile: bytes | Coding = b""
    bits: int = 8


def read_image(path: str | os.PathLike[str], exposure: float | None = None) -> np.ndarray:
    """Reads an image file as RGB.

    Args:
        path: PNG, JPEG, WebP, AVIF, HEIC, BMP, TIFF or GIF, 8 or 16 bits, grey or colour, with or without alpha. Of an animation or
            several pages the first one is taken and logged. Or Radiance HDR or OpenEXR (`hdr_images.HdrLight`).
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
    return HdrLight(path, data).exposure() if is_hdr(data) else None


def read_colours(path: str | os.PathLike[str], exposure: float | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads an image file as RGB and alpha; arguments and errors as `read_image`.

    (H, W, 3) float32 sRGB as from `read_image`, but not composited; and alpha (H, W) float32 in [0, 1], None if opaque.
    """
    data = read_bytes(path)
    if is_hdr(data):
        light = HdrLight(path, data)
        colours, alpha = light.displayed(exposure), light.alpha
    else:
        image = decode_image(path, data)
        coding = image.profile
        if isinstance(coding, Coding) and coding.hdr:
            pixels = image.pixels if image.pixels.ndim == 3 else np.repeat(image.pixels[..., None], 3, axis=2)
            pixels = tone_mapped(pixels, coding.hdr, coding.chromaticities)
        else:
            pixels = to_srgb(path, image.pixels, coding)
        colours, alpha = as_rgb(pixels, image.premultiplied)
    return colours, None if alpha is None or bool((alpha == 1).all()) else alpha


def decode_image(path: str | os.PathLike[str], data: bytes) -> DecodedImage:
    """Decodes an image's bytes to its stored values; only CMYK and LAB are converted. Raises as `read_image`."""
    with damage_named(path), strict, open_image(path, io.BytesIO(data)) as image:
        check_size(path, image.width, image.height, len(data))
        if image.format == "PNG":
            # Verifies the checksums; Pillow allows nothing else with a verified image.
            with open_image(path, io.BytesIO(data)) as checked:
                checked.verify()
        if image.format != "MPO" and getattr(image, "is_animated", False):  # a camera's MPO has a preview after the image
            _say_first(path)
        if image.format == "AVIF" and (av1 := _AV1.search(data, 0, _HEADER_BYTES)) and av1[1][0] & _DEEP_AV1:
            logger.info("%s: an AVIF of 10 or 12 bits, which Pillow rounds to 8; for a map use EXR or 16-bit PNG", path, extra={"note": ""})
        exact = _is_exact(image)
        if not exact:
            _check_planes(path, data)
        if exact or image.format != "PNG":
            image.load()
        profile = image.info.get("icc_profile") or b""
        if exact:
            pixels = _pillow_pixels(image, data)
        elif image.mode in ("CMYK", "LAB") and (converted := pillow_to_srgb(path, image, profile)) is not None:
            pixels, profile = converted, b""
        elif image.format == "HEIF":
            pixels = _deep_heif_pixels(data)
        elif image.format == "PNG" and image.tile[0][3] in ("RGB;16B", "RGBA;16B") and "transparency" not in image.info:
            pixels = _deep_png_pixels(path, data)  # as the pack writes them
        else:
            pixels = _opencv_pixels(path, image, data)
        if image.format in ("JPEG", "MPO"):
            _check_jpeg_end(path, data, image)
        extra = _tiff_tag(image, _EXTRA_SAMPLES_TAG)
        if pixels.ndim == 3 and extra and not any(extra):
            # A TIFF sample without stated meaning is not alpha.
            pixels = pixels[..., :3]
        premultiplied = image.mode == "La" or (not exact and _ASSOCIATED_ALPHA in extra)
        text = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
        upright, coding = np.ascontiguousarray(_upright(pixels, _orientation(image))), _coding(image, data, profile)
        return DecodedImage(upright, premultiplied, text, coding, _stored_bits(image, data))


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

    Raises:
        FileFormatError: Not an image, or one of far more than MAX_PIXELS.
        ImportError: The package that decodes it is missing.
    """
    from PIL import Image, UnidentifiedImageError

    beginning = file.read(_FTYP_BYTES)
    file.seek(0)
    if is_heif(beginning):
        with damage_named(path):
            return _pillow_heif(path).HeifImageFile(file)
    if avif := bool(_brands(beginning) & _AVIF_BRANDS):
        from PIL import features

        if not ("avif" in features.modules and features.check("avif")):
            raise ImportError(f"{path}: AVIF images need Pillow 11.3 or newer: {how_to_install('pillow>=11.3', newer=True)}")
    try:
        image = Image.open(file, formats=("AVIF",) if avif else _IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        file.seek(0)
        if tiff_holds_numbers(file):
            raise FileFormatError(f"{path}: a TIFF of numbers, which are data and no photograph; {_ACCEPTED}") from error
        problem = f"not an image of a known kind, or one that is damaged or cut off ({_described(file)})"
        raise FileFormatError(f"{path}: {problem}; {_ACCEPTED}") from error
    except Image.DecompressionBombError as error:
        raise FileFormatError(f"{path}: far more than {MAX_PIXELS // 2**20} megapixels, the most that are read; scale it down") from error
    if _tiff_tag(image, _SUB_IMAGES_TAG) and any(kind & _REDUCED for kind in _tiff_tag(image, _SUBFILE_TAG)):
        raise FileFormatError(f"{path}: a camera's raw image, of which only the small preview could be read; develop it first; {_ACCEPTED}")
    return image


def _described(file: IO[bytes]) -> str:
    """What a file that cannot be decoded is, and what to do, for messages."""
    file.seek(0)
    beginning = file.read(16)
    if kind := next(
        (kind for start, kind in _OTHER_KINDS.items() if start in (beginning[: len(start)], beginning[4 : 4 + len(start)])), None
    ):
        return f"{kind}: save it as PNG"
    file.seek(0)
    with suppress(OSError, struct.error, ValueError, OverflowError):
        tags = _tiff_tags(file, (_BITS_TAG, _COMPRESSION_TAG, _SAMPLES_TAG, _SAMPLE_FORMAT_TAG))
        if bits := tags.get(_BITS_TAG):
            kind = {_TIFF_SIGNED: "signed integers", _TIFF_FLOATS: "floats"}.get(tags.get(_SAMPLE_FORMAT_TAG, 0), "levels")
            packed = _COMPRESSIONS.get(tags.get(_COMPRESSION_TAG, 0))
            content = f"{bits}-bit {kind}, {tags.get(_SAMPLES_TAG, 1)} a pixel" + f", compressed by {packed}" * bool(packed)
            return f"a TIFF of {content}: save it as 8- or 16-bit RGB, or as 32-bit floats, without compression"
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
    return np.rint((levels >> (16 - bits)) * (65535 / (2**bits - 1))).astype(np.uint16)


def decode_numbers(path: str | os.PathLike[str], data: bytes) -> np.ndarray | None:
    """Decodes a TIFF of floats, or of signed or 32-bit integers; None for any other file.

    (H, W) or (H, W, 3 or 4) in the stored dtype, floats that GDAL marks as no data NaN.

    Raises:
        FileFormatError: Damaged, cut off, or too large.
        ImportError: Only OpenCV reads such a file, and it cannot be imported.
    """
    if not tiff_holds_numbers(io.BytesIO(data)):
        return None
    if _NEXT_IMAGE in _tiff_tags(io.BytesIO(data), ()):
        _say_first(path)
    with damage_named(path), strict:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
                check_size(path, image.width, image.height, len(data))
                if image.mode in ("F", "I") or image.mode.startswith("I;"):
                    codec, layout = image.tile[0][0], str(image.tile[0][3])
                    numbers = np.array(image)
                    if codec == "libtiff" and ("32B" in layout or "16B" in layout):
                        # libtiff gives the machine's byte order, and Pillow swaps it again.
                        numbers = numbers.astype(f"{numbers.dtype.kind}{2 if '16B' in layout else 4}").byteswap()
                    if numbers.dtype.kind == "f":
                        with suppress(ValueError, TypeError):  # damaged metadata is ignored
                            numbers[numbers == np.float32(next(iter(_tiff_tag(image, _NO_DATA_TAG)), "nan"))] = np.nan
                    return numbers
        except UnidentifiedImageError:  # floats in several channels
            pass
        _check_planes(path, data)
        numbers = _decoded_by_opencv(path, data, "TIFF", "save it as EXR")
        if numbers is None:
            raise FileFormatError(f"{path}: of a kind that cannot be decoded, or damaged ({_described(io.BytesIO(data))})")
        check_size(path, numbers.shape[1], numbers.shape[0], len(data))
    return numbers


def tiff_holds_numbers(file: IO[bytes]) -> bool:
    """Whether a TIFF's first image holds floats, or signed or 32-bit integers, by its tags; never raises."""
    try:
        tags = _tiff_tags(file, (_BITS_TAG, _SAMPLE_FORMAT_TAG))
    except (OSError, struct.error, ValueError, OverflowError):
        return False
    return tags.get(_SAMPLE_FORMAT_TAG) in (_TIFF_SIGNED, _TIFF_FLOATS) or tags.get(_BITS_TAG) == 32


def _check_planes(path: str | os.PathLike[str], data: bytes) -> None:
    """Refuses a TIFF with separate planes, for which OpenCV returns uninitialised memory."""
    tags = _tiff_tags(io.BytesIO(data), (_PLANES_TAG, _SAMPLES_TAG))
    if tags.get(_PLANES_TAG) == _SEPARATE_PLANES and tags.get(_SAMPLES_TAG, 1) > 1:
        raise FileFormatError(f"{path}: a TIFF with its channels in separate planes; save it with them side by side (chunky)")


def _tiff_tags(file: IO[bytes], wanted: Collection[int]) -> dict[int, int]:
    """The first value of each wanted 16- or 32-bit tag of a TIFF's first image; and `_NEXT_IMAGE` if there is a second image."""
    beginning = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(beginning[:2])
    version = struct.unpack(f"{order}H", beginning[2:4])[0] if order else 0
    if version not in (42, 43):
        return {}
    big = version == 43
    size, count_size, entry_size = (8, 8, 20) if big else (4, 2, 12)
    number = {8: "Q", 4: "I", 2: "H"}
    start = struct.unpack_from(f"{order}{number[size]}", beginning, size)[0]
    file.seek(start)
    (count,) = struct.unpack(f"{order}{number[count_size]}", file.read(count_size))
    entries = file.read(min(count, _MOST_TAGS) * entry_size)
    tags = {}
    for at in range(0, len(entries) - entry_size + 1, entry_size):
        tag, kind, values = struct.unpack_from(f"{order}HH{number[size]}", entries, at)
        if tag in wanted:
            place, each = at + 4 + size, 4 if kind == _TIFF_LONG else 2
            if each * values > size:
                file.seek(struct.unpack_from(f"{order}{number[size]}", entries, place)[0])
                tags[tag] = struct.unpack(f"{order}{number[each]}", file.read(each))[0]
            else:
                tags[tag] = struct.unpack_from(f"{order}{number[each]}", entries, place)[0]
    file.seek(start + count_size + count * entry_size)
    if any(file.read(size)):  # offset of the next image's tags
        tags[_NEXT_IMAGE] = 1
    return tags


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
    return image.info.get("bit_depth", 8) if image.format == "HEIF" else max(_tiff_tag(image, _BITS_TAG), default=8)


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
    if image.format == "HEIF":
        return image.info.get("bit_depth", 8) == 8
    layouts = " ".join(str(tile[3]) for tile in image.tile).replace("BGR;16", "")  # a BMP's 16 bits are those of a whole pixel
    return ";16" not in layouts and max(_tiff_tag(image, _BITS_TAG), default=8) <= 8


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
    """16-bit grey of a TIFF of 12 bits, or with white as 0: Pillow stretches and inverts 8 bits only."""
    bits = max(_tiff_tag(image, _BITS_TAG), default=16)
    if 8 < bits < 16:
        pixels = np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
    return ~pixels if _tiff_tag(image, _PHOTOMETRIC_TAG) == (_WHITE_IS_ZERO,) else pixels


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
    return pixels


def _decoded_by_opencv(path: str | os.PathLike[str], data: bytes, kind: str, remedy: str) -> np.ndarray | None:
    """Stored values with channels in the order RGB and alpha; None if OpenCV cannot decode them."""
    cv2 = opencv_to_decode(path, f"this kind of {kind}", remedy)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels if pixels is None or pixels.ndim != 3 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _check_jpeg_end(path: str | os.PathLike[str], data: bytes, image: ImageFile) -> None:
    """Refuses a truncated JPEG, whose missing pixels the decoder silently fills with grey.

    If the last pixel has that grey, the image is decoded again with data appended, which does not change a complete image.
    """
    end = data.rfind(_END_OF_JPEG)
    if end < 0:
        raise FileFormatError(f"{path}: the image is cut off: its end mark is missing; fetch or save it again")
    last_pixel = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    if not np.isin(np.asarray(last_pixel), _MID_GREY).all():
        return
    with open_image(path, io.BytesIO(data[:end] + _JPEG_FILLER + data[end:])) as longer:
        if not np.array_equal(np.asarray(longer), np.asarray(image)):
            raise FileFormatError(f"{path}: the image is cut off: the data of its last pixels is missing; fetch or save it again")


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation still to be applied, 1..8. Both decoders apply it to TIFF themselves, and Pillow then forgets it."""
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow would decode all pixels to look for EXIF after them.
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
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
