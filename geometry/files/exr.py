"""OpenEXR: linear values in named channels, 32 or 16 bits, never gamma-encoded."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...options.checks import how_to_install
from ...utils import resize_map
from ..checks import check_intrinsics
from ..conventions import are_unit_vectors
from ..estimate import Axes, Estimate, Quantity
from ..images.srgb import BT_709, matrix_to_709
from ..kinds import Projection
from .exr_chroma import CHROMA, LUMINANCE, SAMPLING, chroma_to_rgb
from .paths import MAX_NUMBERS, FileFormatError, atomic_path, check_size, checked_file, damage_named, one_image
from .unlabelled import WHOLE_NUMBERS, WITH_CHANNEL, in_metres, mask_of, planes_to_map, unnamed_map, without_world_normals

logger = logging.getLogger(__name__)

_NEEDED = "OpenEXR>=3.4"  # 3.3 cannot read a header without the pixels

MAGIC, _DEEP = b"v/1\x01", 0x800  # a flag of the four bytes after it
_HALF_MAX = 65504.0
QUANTITY, AXES, INTRINSICS = "depthNormalQuantity", "depthNormalAxes", "depthNormalIntrinsics"
PROJECTION = "depthNormalProjection"
"""Header attributes."""
_NORMAL = re.compile(r"(?:.*\.)?(?:n|normals?)\.([xyzrgb])", re.IGNORECASE)
_DEPTH = re.compile(r"z|depth|(?:.*\.)?(?:z|z?depth)\.[zvyr]", re.IGNORECASE)
# Layers of the whole image, among those of albedo, light or object ids; and the names that Nuke writes for R, G, B and A.
_BEAUTY, _IDS = re.compile(r"(?:.*\.)?(?:combined|beauty|rgba|main|c)\.", re.IGNORECASE), re.compile(r".*crypto", re.IGNORECASE)
_NUKES = re.compile(r"(?<=\.)(?:red|green|blue|alpha)$")
# By `write_exr` and by `write_compositing_exr`.
_MASKS, _CONFIDENCES = ("mask", "mask.A"), ("confidence", "confidence.A")
_BLENDER, _NORMAL_PASS = "BlenderMultiChannel", "Blender's Normal pass"
_MOST_LISTED = 24
_DAMAGED = "the EXR is damaged or cut off, or of a kind that OpenEXR does not read; copy it again, or write it anew"
_ASPECT = "pixelAspectRatio"
# Pixels that differ less from squares are taken for squares; the library takes no others than these.
_LEAST_ASPECT, _ASPECTS = 0.01, (1e-6, 1e6)
_MOST_HEADER = 2**20


def write_exr(path: str | os.PathLike[str], estimate: Estimate, half: bool = False) -> None:
    """Writes an estimate as an OpenEXR file, atomically, losslessly compressed (ZIP).

    Channels: `Z` depth, `N.X`, `N.Y`, `N.Z` normals, `mask` (16 bits, 1 = valid), `confidence`; missing maps are left out.
    `R`, `G`, `B` repeat the depth (without depth, the normals), since viewers, OpenCV and ComfyUI's Load Image read only
    these; they always have 32 bits. Header attributes: `depthNormalQuantity`, `depthNormalAxes` (strings, the
    values of `Quantity` and `Axes`), `depthNormalIntrinsics` (m33f, pixels, centre of the first pixel = (0, 0)), and for panoramas
    `depthNormalProjection` (a string, of `Projection`).

    ComfyUI's Load Image returns the values of R, G, B if the width is a multiple of 32; at other widths it clips them to 0..1.

    Args:
        estimate: One image.
        half: 16-bit instead of 32-bit floats: 11 significant bits, up to 65504.

    Raises:
        ValueError: More than one image, or values in valid pixels that exceed 16 bits.
        ImportError: OpenEXR is not installed.
    """
    openexr()  # fail before any work
    one_image(estimate, "an .exr file")
    channels = _channels(estimate)
    if half:
        check_half(channels, None if estimate.mask is None else channels["mask"] > 0.5)
    pixels = {name: _as_stored(name, values, half) for name, values in channels.items()}
    header: dict[str, Any] = {}
    if estimate.quantity is not None:
        header[QUANTITY] = estimate.quantity.value
    if estimate.normals is not None:
        header[AXES] = estimate.axes.value
    if estimate.intrinsics is not None:
        header |= camera_attributes(estimate.intrinsics)
    if estimate.projection is not Projection.PERSPECTIVE:
        header[PROJECTION] = estimate.projection.value
    write_channels(path, header, pixels)


def camera_attributes(intrinsics: Tensor) -> dict[str, Any]:
    """The header's attributes of intrinsics (1, 3, 3): they, and the pixels' aspect ratio if it is not 1."""
    matrix = intrinsics[0].detach().cpu().float().numpy()
    aspect = float(matrix[1, 1] / matrix[0, 0])
    is_square = abs(aspect - 1) < _LEAST_ASPECT or not _ASPECTS[0] < aspect < _ASPECTS[1]
    return {INTRINSICS: matrix, **({} if is_square else {_ASPECT: aspect})}


def write_depth_channel(path: str | os.PathLike[str], depth: np.ndarray) -> None:
    """Writes values (H, W) as a 32-bit `Z` channel without metadata, atomically. Raises ImportError without OpenEXR."""
    write_channels(path, {}, {"Z": np.ascontiguousarray(depth, np.float32)})


def write_image_exr(path: str | os.PathLike[str], image: Tensor) -> None:
    """Writes an image as 32-bit floats, unrounded and unclamped, atomically.

    It is (C, H, W) or (1, C, H, W), of 1 channel (Y), 3 (R, G, B) or 4 (and A).

    Raises:
        ValueError: More than one image, or another number of channels.
        ImportError: OpenEXR is not installed.
    """
    planes = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    names = {1: "Y", 3: "RGB", 4: "RGBA"}.get(planes.shape[0] if planes.ndim == 3 else 0)
    if names is None:
        raise ValueError(f"the image has shape {tuple(image.shape)}; expected (C, height, width) of 1, 3 or 4 channels")
    write_channels(path, {}, dict(zip(names, planes.detach().float().cpu().contiguous().numpy(), strict=True)))


def read_exr(
    path: str | os.PathLike[str], quantity: Quantity | str | None = None, axes: Axes | None = None, channel: str | None = None
) -> Estimate:
    """Reads depth and normals from an OpenEXR file: ours, Blender's (single or multilayer), ComfyUI's Save Image, and the like.

    Depth is `Z`, `depth` or a layer's `Depth.Z` or `Z.Z` (`.V`, `.Y`, `.R`); normals are `N.X`, `Normal.R`, ... Files without these names:
    a lone channel (`Y`, `V`, ...) or equal R, G, B are depth; R, G, B or X, Y, Z that are unit vectors are normals. Without metadata floats
    are metres. Depth without a mask channel is masked by `valid.depth_mask`. The display window is read: pixels outside the data window are
    masked, and overscan is cropped. Maps without intrinsics are resampled to square pixels if the header
    says that theirs are not. The estimate is on the CPU; 32-bit values bit for bit.

    Args:
        quantity: What depth holds, or one of `UNITS`, if the file does not say (None = metres).
        axes: The axes of the normals if the file does not say (None = OPENGL). Blender's Normal pass is in world axes: in Blender's
            multilayer files normals are left out unless `axes` declares them as camera axes.
        channel: The channel of depth ("Depth.Z"), or the layer of depth or normals ("Depth"); None = found by name.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not an EXR, damaged, too large, deep, or without channels that can be depth or normals.
        ImportError: OpenEXR is not installed.
    """
    path = checked_file(path)
    header, channels, _, whole, _ = _read_channels(path)
    try:
        quantity = Quantity(header[QUANTITY]) if header.get(QUANTITY) else quantity
        known_axes = Axes(header[AXES]) if header.get(AXES) else axes
        projection = Projection(header.get(PROJECTION) or Projection.PERSPECTIVE)
    except ValueError as error:
        raise FileFormatError(f"{path}: the header says {error}") from error
    world_normals = _BLENDER in header and known_axes is None
    if channel is not None:
        depth, normals = _chosen_map(path, channels, channel, world_normals, metric=quantity is None)
    else:
        depth, normals = _named_maps(path, channels, world_normals)
        if depth is None and normals is None:
            depth, normals = unnamed_map(path, channels, metric=quantity is None)
    if depth is not None and quantity is None and whole.intersection(_chosen_names(path, channels, "depth", channel)):
        raise FileFormatError(f"{path}: {WHOLE_NUMBERS}")
    mask = next((planes_to_map([channels[name]]) > 0.5 for name in _MASKS if name in channels), None)
    stated = None
    if depth is not None:
        depth, stated = in_metres(depth, quantity or Quantity.METRIC_DEPTH)
        mask = mask_of(path, depth, stated, alone=normals is None) if mask is None else mask
    elif mask is None and normals is not None and bool((absent := normals.isnan().any(1, keepdim=True)).any()):
        mask = ~absent
    intrinsics = None
    if (matrix := header.get(INTRINSICS)) is not None:
        try:
            intrinsics = torch.from_numpy(np.array(matrix, np.float32)).reshape(1, 3, 3)
            check_intrinsics(intrinsics, 1)
        except (ValueError, TypeError, RuntimeError) as error:
            raise FileFormatError(f"{path}: {error}") from error
    estimate = Estimate(
        depth=depth,
        quantity=stated,
        normals=normals,
        axes=known_axes or Axes.OPENGL,
        mask=mask,
        intrinsics=intrinsics,
        confidence=next((planes_to_map([channels[name]]) for name in _CONFIDENCES if name in channels), None),
        projection=projection,
    )
    if intrinsics is not None:  # they know the pixels' shape
        return estimate
    return estimate.resized(estimate.height, square_width(path, header, estimate.height, estimate.width))


def read_colours(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads channels R, G, B, or Y, of an OpenEXR file or of its layer ("ViewLayer.Combined.R"), and optionally A.

    Returns:
        (H, W, 3) float32 linear light of the display window in square pixels, premultiplied, in BT.709's
        primaries if the header names its own, as that of ACES does; and alpha (H, W), 0 outside the data
        window; None without alpha.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not an EXR, damaged, too large, deep, without colours, or with depth or normals of this package.
        ImportError: OpenEXR is not installed.
    """
    path = checked_file(path)
    content = _read_channels(path)
    light, alpha, layer, is_grey = _colours(path, content)
    if layer:
        logger.info("%s: of several layers with colours %s is taken", path, layer, extra={"note": ""})
    matrix = matrix_to_709(content.header.get("chromaticities", BT_709))
    if not is_grey and not np.array_equal(matrix, np.eye(3)):
        finite = np.isfinite(light).all(-1)  # half floats overflow to infinity, which would become NaN
        light[finite] = light[finite] @ matrix.T.astype(np.float32)
    width = square_width(path, content.header, *light.shape[:2])
    if width == light.shape[1]:
        return light, alpha
    light = np.nan_to_num(light, nan=0.0, posinf=light.max(initial=0.0, where=np.isfinite(light)))
    wide_alpha = None if alpha is None else _widened(np.nan_to_num(alpha)[..., None], width)[..., 0]
    return _widened(light, width), wide_alpha


@dataclass(frozen=True)
class Plate:
    """A file's linear light as stored, with its overscan.

    Attributes:
        light: (H, W, 3) float32, premultiplied.
        alpha: (H, W) float32, 0 outside the file's data window; None = opaque.
        shown: The rows and columns of the display window.
        attributes: The header's windows, pixel aspect ratio and primaries, as far as it names them.
    """

    light: np.ndarray
    alpha: np.ndarray | None
    shown: tuple[slice, slice]
    attributes: Mapping[str, Any]

    @property
    def shown_size(self) -> tuple[int, int]:
        """The height and the width of the display window."""
        rows, columns = self.shown
        return rows.stop - rows.start, columns.stop - columns.start


def read_plate(path: str | os.PathLike[str]) -> Plate:
    """Reads the channels of `read_colours` as stored; raises the same."""
    path = checked_file(path)
    content = _read_channels(path, overscan=True)
    light, alpha, *_ = _colours(path, content)
    if alpha is not None:
        light, alpha = np.where(np.isnan(alpha)[..., None], 0, light), np.nan_to_num(alpha)
    header, (left, top, right, bottom) = content.header, content.window
    display = _window(header, "displayWindow")
    rows, columns = ((display.top - top, display.height), (display.left - left, display.width))
    shown = slice(rows[0], sum(rows)), slice(columns[0], sum(columns))
    kept = {name: header[name] for name in ("displayWindow", _ASPECT, "chromaticities") if name in header}
    window = (np.array((left, top), np.int32), np.array((right, bottom), np.int32))
    return Plate(light, alpha, shown, {**kept, "dataWindow": window})


def square_width(path: str | os.PathLike[str], header: Mapping[str, Any], height: int, width: int) -> int:
    """The width of an image of this size in square pixels, as players widen videos.

    Raises FileFormatError if it is too large.
    """
    aspect = header.get(_ASPECT, 1.0)  # the library refuses those that are not positive
    if abs(aspect - 1) < _LEAST_ASPECT:
        return width
    wide = max(1, round(width * aspect))
    check_size(path, wide, height, Path(path).stat().st_size)
    return wide


def _widened(values: np.ndarray, width: int) -> np.ndarray:
    """(H, W, C) of another width."""
    planes = torch.from_numpy(values).movedim(-1, 0)[None]
    return resize_map(planes, values.shape[0], width)[0].movedim(0, -1).numpy()


def _colours(path: Path, content: _Content) -> tuple[np.ndarray, np.ndarray | None, str, bool]:
    """The stored colours (H, W, 3) and alpha (H, W), NaN outside the data window.

    And the layer, if others may be meant; and whether it is grey.
    """
    if content.header.keys() & {QUANTITY, AXES}:
        raise FileFormatError(f"{path}: the file holds depth or normals, not an image; name the image that they were made of")
    channels = content.channels
    layers = {name[:-1] for name in channels if not _IDS.match(name)}
    layers = sorted(layers, key=lambda layer: (not _BEAUTY.fullmatch(layer), layer != "", layer))  # X, Y, Z beside Y are vectors
    with_colours = [
        (layer, names)
        for names in ("RGB", "YYY")
        for layer in layers
        if all(f"{layer}{each}" in channels for each in names) and (names == "RGB" or f"{layer}X" not in channels)
    ]
    if not with_colours:
        raise FileFormatError(f"{path}: no colours (channels R, G, B, or Y); the file has {_listed(channels)}")
    layer, names = with_colours[0]
    in_doubt = len(with_colours) > 1 and not _BEAUTY.fullmatch(layer)
    light = np.stack([channels[f"{layer}{each}"] for each in names], -1)
    alpha = channels.get(f"{layer}A", content.known.get(f"{layer}{names[0]}"))
    return light, alpha, layer[:-1] if in_doubt else "", names == "YYY"


def openexr() -> Any:
    """The library OpenEXR, imported on first use. Raises ImportError with advice if it is missing or too old."""
    try:
        import OpenEXR
    except ImportError as error:
        raise ImportError(f"EXR files need the package OpenEXR: {how_to_install(_NEEDED)}") from error
    if tuple(map(int, OpenEXR.__version__.split(".")[:2])) < (3, 4):
        raise ImportError(f"OpenEXR {OpenEXR.__version__} is installed, 3.4 is needed: {how_to_install(_NEEDED, newer=True)}")
    return OpenEXR


def write_channels(path: str | os.PathLike[str], attributes: dict[str, Any], channels: dict[str, np.ndarray]) -> None:
    """Writes 32- or 16-bit channels (H, W) and header attributes, atomically, losslessly compressed (ZIP)."""
    library = openexr()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage, **attributes}
    with atomic_path(path) as temporary, library.File(header, channels) as file:
        try:
            file.write(str(temporary))
        except RuntimeError as error:  # the system's reason, in words
            if number := next((each for each in errno.errorcode if os.strerror(each) in str(error)), None):
                raise OSError(number, os.strerror(number), str(path)) from error
            # Only the name: the folder may be a temporary one that the user does not know.
            raise OSError(str(error).replace(str(temporary), Path(path).name)) from error
        _check_whole(temporary, path)


def _check_whole(written: Path, path: str | os.PathLike[str]) -> None:
    """Detects a file that the library could not finish: it hides errors while closing.

    The library writes the chunk table last, over zeros; its first entry is the position where the table ends.
    """
    with suppress(ValueError, IndexError), written.open("rb") as file:
        data = file.read(_MOST_HEADER)
        at = len(MAGIC) + 4
        while data[at]:  # an attribute: name, kind, size, value
            at = data.index(b"\0", data.index(b"\0", at) + 1) + 1
            at += 4 + int.from_bytes(data[at : at + 4], "little")
        table_end = int.from_bytes(data[at + 1 : at + 9], "little")
        if table_end and file.seek(table_end - 8) and any(file.read(8)):
            return
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _channels(estimate: Estimate) -> dict[str, np.ndarray]:
    """The channels of one image, float32 (H, W)."""
    names = {"normals": ("N.X", "N.Y", "N.Z", *"RGB"), "depth": (*"ZRGB",), "mask": ("mask",), "confidence": ("confidence",)}
    channels: dict[str, np.ndarray] = {}
    for key, own in names.items():
        if (values := getattr(estimate, key)) is not None:
            planes = values[0].detach().cpu().float().contiguous().numpy()
            channels |= {name: planes[i % len(planes)] for i, name in enumerate(own)}
    return channels


def _as_stored(name: str, values: np.ndarray, half: bool) -> np.ndarray:
    if name == "mask":
        return values.astype(np.float16)
    if not half:
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    # ComfyUI's Load Image clips 16-bit channels to 0..1, but not the rounded values in 32 bits, which compress nearly as well.
    return rounded.astype(np.float32) if name in "RGB" else rounded


def check_half(channels: Mapping[str, np.ndarray], trusted: np.ndarray | None = None) -> None:
    """Raises ValueError for finite values (H, W) beyond 16-bit floats, `trusted` ones if that is not None."""
    for name, values in channels.items():
        counted = np.isfinite(values) if trusted is None else np.isfinite(values) & trusted
        largest = np.abs(values, where=counted, out=np.zeros_like(values)).max()
        if largest > _HALF_MAX:
            raise ValueError(f"channel {name} reaches {largest:g}, 16 bits hold up to {_HALF_MAX:g}; write 32 bits, or mask the background")


class _Content(NamedTuple):
    """The channels of an OpenEXR file.

    Attributes:
        header: Of the first part.
        channels: By name, float32 (H, W) of `window`, NaN outside their data window.
        known: For channels whose data window does not cover `window`: a float32 (H, W) mask, 1 inside.
        whole: The names of the channels of integers.
        window: The display window, or with overscan the smallest one around it and all data windows.
    """

    header: dict[str, Any]
    channels: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    whole: set[str]
    window: _Window


def _read_channels(path: Path, overscan: bool = False) -> _Content:
    """Reads all channels; bad headers are refused before pixels are read."""
    headers = _read_headers(path)
    shown = _window(headers[0], "displayWindow")
    if overscan:
        shown = reduce(_Window.around, (_window(header, "dataWindow") for header in headers), shown)
        check_size(path, shown.width, shown.height, path.stat().st_size)
    with _damage_named(path), openexr().File(str(path), separate_channels=True) as file:
        # OpenEXR drops parts that it could not read.
        if len(file.parts) != len(headers):
            raise FileFormatError(f"{path}: {_DAMAGED}")
        channels, known, whole = {}, {}, set()
        uses = Counter(name for part in file.parts for name in part.channels)
        # The first part wins a shared name; parts with shared names are also available with the part's name as prefix.
        for header, part in reversed(list(zip(headers, file.parts, strict=True))):
            window = _window(header, "dataWindow")
            ones = np.ones((window.height, window.width))
            inside = None if window.covers(shown) else _placed(ones, window, shown)
            shared = any(uses[name] > 1 for name in part.channels)
            stored = {name: channel.pixels for name, channel in part.channels.items()}
            for layer in _chroma_layers(path, header):
                y = stored.pop(layer + LUMINANCE)
                height, width = (side // SAMPLING for side in y.shape)
                # OpenEXR 3.4 returns arrays of Y's size that begin with the samples, 3.5 the samples.
                red, blue = (stored.pop(layer + name).ravel()[: height * width].reshape(height, width) for name in CHROMA)
                rgb = chroma_to_rgb(y, red, blue, header.get("chromaticities", BT_709))
                stored |= {layer + name: plane for name, plane in zip("RGB", rgb, strict=True)}
            for full_name, values in stored.items():
                name, pixels = _short(full_name), _placed(values, window, shown)
                for alias in (name, f"{header.get('name', '')}.{name}") if shared else (name,):
                    channels[alias] = pixels
                    known.pop(alias, None)
                    (whole.add if values.dtype.kind == "u" else whole.discard)(alias)
                    if inside is not None:
                        known[alias] = np.nan_to_num(inside)
    return _Content(headers[0], channels, known, whole, shown)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """`damage_named` without OpenEXR's "Unable to ...", which it says of all damaged files."""
    with damage_named(path, _DAMAGED):
        try:
            yield
        except RuntimeError as error:
            if "Unable to" not in str(error):
                raise
            raise FileFormatError(f"{path}: {_DAMAGED}") from error


class _Window(NamedTuple):
    """A window of an EXR's header, with inclusive last column and row."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left + 1

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1

    def shared(self, other: _Window) -> _Window:
        """The intersection."""
        return _Window(*map(max, self[:2], other[:2]), *map(min, self[2:], other[2:]))

    def around(self, other: _Window) -> _Window:
        """The smallest window around both."""
        return _Window(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def covers(self, other: _Window) -> bool:
        return self.shared(other) == other


def _window(header: Mapping[str, Any], name: str) -> _Window:
    (left, top), (right, bottom) = (corner.tolist() for corner in header[name])
    return _Window(left, top, right, bottom)


def _placed(pixels: np.ndarray, window: _Window, display: _Window) -> np.ndarray:
    """Pixels of a data window in the display window, float32, NaN outside."""
    pixels = pixels.astype(np.float32, copy=False)
    if window == display:
        return pixels
    left, top, right, bottom = window.shared(display)
    shown = np.full((display.height, display.width), np.nan, np.float32)
    within = pixels[top - window.top : bottom - window.top + 1, left - window.left : right - window.left + 1]
    shown[top - display.top : bottom - display.top + 1, left - display.left : right - display.left + 1] = within
    return shown


def _read_headers(path: Path) -> list[dict[str, Any]]:
    """The headers of all parts, checked; reads no pixels."""
    library = openexr()
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise FileFormatError(f"{path}: not an OpenEXR file")
        if int.from_bytes(file.read(4), "little") & _DEEP:
            raise FileFormatError(f"{path}: a deep EXR; flatten it first, one value a pixel is read")
    with _damage_named(path):
        with library.File(str(path), separate_channels=True, header_only=True) as file:
            headers = [dict(part.header) for part in file.parts]
        numbers, length = 0, path.stat().st_size
        display = _window(headers[0], "displayWindow")
        check_size(path, display.width, display.height, length)
        for header in headers:
            window = _window(header, "dataWindow")
            check_size(path, window.width, window.height, length)
            if min(window.shared(display).width, window.shared(display).height) < 1:
                problem = f"the data window {tuple(window)} lies outside the display window {tuple(display)}"
                raise FileFormatError(f"{path}: {problem}: there is nothing to show")
            _chroma_layers(path, header)
            numbers += max(window.width * window.height, display.width * display.height) * len(header["channels"])
        if numbers > MAX_NUMBERS:
            raise FileFormatError(f"{path}: {numbers} numbers in all channels; at most {MAX_NUMBERS} are read")
    return headers


def _chroma_layers(path: Path, header: Mapping[str, Any]) -> list[str]:
    """The layers ("" or "name.") of luminance and chroma; raises FileFormatError for other channels of lower resolution."""
    sampling = {channel.name: (channel.xSampling, channel.ySampling) for channel in header["channels"]}
    layers = [name.removesuffix(CHROMA[0]) for name, each in sampling.items() if name.endswith(CHROMA[0]) and each != (1, 1)]
    expected = dict.fromkeys(sampling, (1, 1))
    for layer in layers:
        expected |= {layer + LUMINANCE: (1, 1), **{layer + name: (SAMPLING, SAMPLING) for name in CHROMA}}
    if sampling != expected:
        raise FileFormatError(
            f"{path}: channels of lower resolution, which are read of chroma alone ({', '.join(CHROMA)}); save it with full channels"
        )
    return layers


def holds_colours_alone(path: str | os.PathLike[str]) -> bool:
    """Whether the headers of an OpenEXR name R, G, B, at most A beside them, and do not say what they are. Raises as `read_exr`."""
    headers = _read_headers(checked_file(path))
    names = sorted(channel.name for header in headers for channel in header["channels"])
    colours = (["B", "G", "R"], sorted((LUMINANCE, *CHROMA)))
    return [name for name in names if name != "A"] in colours and not headers[0].keys() & {QUANTITY, AXES}


def read_planes(
    path: str | os.PathLike[str], wanted: str, channel: str | None = None
) -> tuple[list[np.ndarray], dict[str, Any], np.ndarray | None, np.ndarray | None]:
    """Reads the values of one map of an OpenEXR file, whatever they mean. Raises as `read_exr`.

    Args:
        wanted: "depth" or "normals", whose channel names are preferred, or "mask"; else R, G, B, or Y, or the lone channel.
        channel: Overrides these by a channel or layer.

    Returns:
        One or three planes, float32 (H, W) of the display window, NaN outside the data window; the header;
        the channel A of three planes; and the channel `mask`, bool. None without them.
    """
    path = checked_file(path)
    header, channels, *_ = _read_channels(path)
    names = _chosen_names(path, channels, wanted, channel)
    if wanted == "normals" and names[0][-1] in "Xx" and _BLENDER in header and not header.get(AXES):
        without_world_normals(path, _NORMAL_PASS, alone=True)
    layer = names[0].rpartition(".")[0]
    alpha = channels.get(f"{layer}.A" if layer else "A") if len(names) == 3 else None
    mask = next((channels[name] > 0.5 for name in _MASKS if name in channels), None)
    return [channels[name] for name in names], header, alpha, mask


def _chosen_names(path: Path, channels: Mapping[str, np.ndarray], wanted: str, channel: str | None) -> list[str]:
    """The channels of a map, of a channel or layer if one is named; else those of the file come before those of its only layer."""
    if channel is not None:
        return _names_of(path, channels, channel)
    if wanted == "depth" and (depth := _depth_name(channels)):
        return [depth]
    if wanted == "normals" and (normals := _normal_names(channels)):
        return normals
    layers = sorted({name.rpartition(".")[0] for name in channels}, key=lambda layer: (layer != "", layer))
    for letters in ("RGB", "XYZ", "Y"):
        candidates = [[f"{layer}.{letter}".lstrip(".") for letter in letters] for layer in layers]
        complete = [names for names in candidates if channels.keys() >= {*names}]
        if complete and letters == "XYZ" and wanted == "depth":
            problem = f"{', '.join(complete[0])} are a vector, and none of them is said to be depth"
            raise FileFormatError(f"{path}: {problem}; name one {WITH_CHANNEL}")
        if len(complete) > 1 and "." in complete[0][0]:
            break
        if complete:
            return complete[0]
    if len(rest := [name for name in channels if name not in ("A", *_MASKS, *_CONFIDENCES)]) == 1:
        return rest
    problem = f"no channels R, G, B, or Y, or several layers with them; the file has {_listed(channels)}"
    raise FileFormatError(f"{path}: {problem}: name one of them {WITH_CHANNEL}")


def _names_of(path: Path, channels: Mapping[str, np.ndarray], channel: str) -> list[str]:
    """Resolves a name: a channel, or the one or three channels of a layer."""
    if (short := _short(channel)) in channels:
        return [short]
    layer = {name.removeprefix(f"{channel}.").upper(): name for name in channels if name.startswith(f"{channel}.")}
    for letters in ("XYZ", "RGB"):
        if all(letter in layer for letter in letters):
            return [layer[letter] for letter in letters]
    if len(rest := [name for letter, name in layer.items() if letter != "A"]) == 1:
        return rest
    ends = {each for name in channels if (each := name.rpartition(".")[0]).endswith(f".{channel}")}
    if not layer and len(ends) == 1:
        return _names_of(path, channels, ends.pop())
    problem = f"the layer {channel!r} has several channels" if layer else f"there is no channel or layer {channel!r}"
    raise FileFormatError(f"{path}: {problem}; the file has {_listed(channels)}")


def _short(name: str) -> str:
    return _NUKES.sub(lambda word: word[0][0].upper(), name)


def _listed(channels: Mapping[str, np.ndarray]) -> str:
    return ", ".join(sorted(channels)[:_MOST_LISTED]) + ", ..." * (len(channels) > _MOST_LISTED)


def _chosen_map(
    path: Path, channels: Mapping[str, np.ndarray], channel: str, world_normals: bool, metric: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Depth or normals in the channel or layer of this name."""
    names = _names_of(path, channels, channel)
    if len(names) == 1:
        return unnamed_map(path, {"Y": channels[names[0]]}, metric)
    if names[0][-1] in "Xx":
        if world_normals:
            without_world_normals(path, _NORMAL_PASS, alone=True)
        return None, planes_to_map([channels[name] for name in names])
    return unnamed_map(path, dict(zip("RGB", (channels[name] for name in names), strict=True)), metric)


def _depth_name(channels: Mapping[str, np.ndarray]) -> str | None:
    names = sorted(channels, key=lambda name: (name != "Z", name))
    return next((name for name in names if _DEPTH.fullmatch(name) and not _is_of_vector(name, channels)), None)


def _is_of_vector(name: str, channels: Mapping[str, np.ndarray]) -> bool:
    """Whether the channels X, Y and Z of a channel Y or Z all exist."""
    axes = "xyz" if name[-1].islower() else "XYZ"
    return name[-1] in axes and all(name[:-1] + each in channels for each in axes)


def _normal_names(channels: Mapping[str, np.ndarray]) -> list[str] | None:
    layers: dict[str, dict[str, str]] = {}
    for name in channels:
        if match := _NORMAL.fullmatch(name):
            layers.setdefault(name[:-2], {})[match[1].lower()] = name
    axes = ((letters, each) for letters in ("xyz", "rgb") for _, each in sorted(layers.items()))
    return next(([each[letter] for letter in letters] for letters, each in axes if each.keys() >= {*letters}), None)


def _named_maps(path: os.PathLike[str], channels: Mapping[str, np.ndarray], world_normals: bool) -> tuple[Tensor | None, Tensor | None]:
    """Depth and normals, where channels are named as such."""
    depth, normals = _depth_name(channels), _normal_names(channels)
    if normals is not None and world_normals:
        normals = without_world_normals(path, _NORMAL_PASS, alone=depth is None)
    vectors = planes_to_map([channels[name] for name in normals]) if normals else None
    if normals and vectors is not None and normals[0][-1] in "Rr" and not are_unit_vectors(vectors):
        vectors = None  # colours
    return None if depth is None else planes_to_map([channels[depth]]), vectors
