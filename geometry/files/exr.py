"""OpenEXR: linear values in named channels, 32 or 16 bits, never gamma-encoded."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...options.checks import how_to_install
from ..checks import check_intrinsics
from ..conventions import are_unit_vectors
from ..estimate import Axes, Estimate, Quantity
from ..images.srgb import BT_709, matrix_to_709
from ..kinds import Projection
from .exr_chroma import CHROMA, LUMINANCE, SAMPLING, chroma_to_rgb
from .paths import MAX_NUMBERS, FileFormatError, atomic_path, check_size, checked_file, damage_named, one_image
from .unlabelled import WHOLE_NUMBERS, WITH_CHANNEL, in_metres, mask_of, planes_to_map, unnamed_map

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
_BLENDER = "BlenderMultiChannel"
_MOST_LISTED = 24
_DAMAGED = "the EXR is damaged or cut off, or of a kind that OpenEXR does not read; copy it again, or write it anew"
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
        _check_half(estimate, channels)
    pixels = {name: _as_stored(name, values, half) for name, values in channels.items()}
    header: dict[str, Any] = {}
    if estimate.quantity is not None:
        header[QUANTITY] = estimate.quantity.value
    if estimate.normals is not None:
        header[AXES] = estimate.axes.value
    if estimate.intrinsics is not None:
        header[INTRINSICS] = estimate.intrinsics[0].detach().cpu().float().numpy()
    if estimate.projection is not Projection.PERSPECTIVE:
        header[PROJECTION] = estimate.projection.value
    write_channels(path, header, pixels)


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
    masked, and overscan is cropped. The estimate is on the CPU; 32-bit values bit for bit.

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
    header, channels, _, whole = _read_channels(path)
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
    return Estimate(
        depth=depth,
        quantity=stated,
        normals=normals,
        axes=known_axes or Axes.OPENGL,
        mask=mask,
        intrinsics=intrinsics,
        confidence=next((planes_to_map([channels[name]]) for name in _CONFIDENCES if name in channels), None),
        projection=projection,
    )


def read_colours(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads channels R, G, B, or Y, of an OpenEXR file or of its layer ("ViewLayer.Combined.R"), and optionally A.

    Returns:
        (H, W, 3) float32 linear light of the display window, premultiplied, in BT.709's primaries if the header names its own, as that of
        ACES does; and alpha (H, W), 0 outside the data window; None without alpha.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not an EXR, damaged, too large, deep, without colours, or with depth or normals of this package.
        ImportError: OpenEXR is not installed.
    """
    path = checked_file(path)
    header, channels, known, _ = _read_channels(path)
    if header.keys() & {QUANTITY, AXES}:
        raise FileFormatError(f"{path}: the file holds depth or normals, not an image; name the image that they were made of")
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
    if len(with_colours) > 1 and layer and not _BEAUTY.fullmatch(layer):
        logger.info("%s: of several layers with colours %s is taken", path, layer[:-1], extra={"note": ""})
    light, matrix = np.stack([channels[f"{layer}{each}"] for each in names], -1), matrix_to_709(header.get("chromaticities", BT_709))
    if names == "RGB" and not np.array_equal(matrix, np.eye(3)):
        finite = np.isfinite(light).all(-1)  # half floats overflow to infinity, which would become NaN
        light[finite] = light[finite] @ matrix.T.astype(np.float32)
    return light, channels.get(f"{layer}A", known.get(f"{layer}{names[0]}"))


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


def _check_half(estimate: Estimate, channels: Mapping[str, np.ndarray]) -> None:
    trusted = channels["mask"] > 0.5 if estimate.mask is not None else np.ones((estimate.height, estimate.width), bool)
    for name, values in channels.items():
        largest = np.abs(values, where=trusted & np.isfinite(values), out=np.zeros_like(values)).max()
        if largest > _HALF_MAX:
            raise ValueError(f"channel {name} reaches {largest:g}, 16 bits hold up to {_HALF_MAX:g}; write 32 bits, or mask the background")


def _read_channels(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray], set[str]]:
    """First header and all channels; bad headers are refused before pixels are read.

    The header; the channels by name, float32 (H, W) of the display window, NaN outside their data window; and, for channels whose data
    window does not cover it, a float32 (H, W) mask, 1 inside; and the names of the channels of integers.
    """
    headers = _read_headers(path)
    with _damage_named(path), openexr().File(str(path), separate_channels=True) as file:
        # OpenEXR drops parts that it could not read.
        if len(file.parts) != len(headers):
            raise FileFormatError(f"{path}: {_DAMAGED}")
        display = _window(headers[0], "displayWindow")
        channels, known, whole = {}, {}, set()
        uses = Counter(name for part in file.parts for name in part.channels)
        # The first part wins a shared name; parts with shared names are also available with the part's name as prefix.
        for header, part in reversed(list(zip(headers, file.parts, strict=True))):
            window = _window(header, "dataWindow")
            shown = None if window.covers(display) else _placed(np.ones((window.height, window.width)), window, display)
            shared = any(uses[name] > 1 for name in part.channels)
            stored = {name: channel.pixels for name, channel in part.channels.items()}
            for layer in _chroma_layers(path, header):
                planes = [stored.pop(layer + name) for name in (LUMINANCE, *CHROMA)]
                rgb = chroma_to_rgb(*planes, header.get("chromaticities", BT_709))
                stored |= {layer + name: plane for name, plane in zip("RGB", rgb, strict=True)}
            for full_name, values in stored.items():
                name, pixels = _short(full_name), _placed(values, window, display)
                for alias in (name, f"{header.get('name', '')}.{name}") if shared else (name,):
                    channels[alias] = pixels
                    known.pop(alias, None)
                    (whole.add if values.dtype.kind == "u" else whole.discard)(alias)
                    if shown is not None:
                        known[alias] = np.nan_to_num(shown)
    return headers[0], channels, known, whole


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """`damage_named` without OpenEXR's "Unable to open", which it says of all damaged files."""
    with damage_named(path, _DAMAGED):
        try:
            yield
        except RuntimeError as error:
            if "Unable to open" not in str(error):
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
) -> tuple[list[np.ndarray], dict[str, Any], np.ndarray | None]:
    """Reads the values of one map of an OpenEXR file, whatever they mean. Raises as `read_exr`.

    Args:
        wanted: "depth" or "normals", whose channel names are preferred, or "mask"; else R, G, B, or Y, or the lone channel.
        channel: Overrides these by a channel or layer.

    Returns:
        One or three planes, float32 (H, W) of the display window, NaN outside the data window; the header; and (H, W) bool from a channel A
        or `mask`, None without.
    """
    path = checked_file(path)
    header, channels, *_ = _read_channels(path)
    names = _chosen_names(path, channels, wanted, channel)
    layer = names[0].rpartition(".")[0]
    opacity = channels.get(f"{layer}.A" if layer else "A") if len(names) == 3 else None
    opacity = opacity if opacity is not None else next((channels[name] for name in _MASKS if name in channels), None)
    return [channels[name] for name in names], header, None if opacity is None else opacity > 0.5


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
            raise FileFormatError(f"{path}: Blender's Normal pass is in world axes. Name the axes if they are the camera's")
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
        if depth is None:
            raise FileFormatError(
                f"{path}: Blender's Normal pass is in world axes, and there is no depth. Name the axes if they are the camera's"
            )
        logger.warning("%s: Blender's Normal pass is in world axes and is left out; compute the normals from the depth", path)
        normals = None
    vectors = planes_to_map([channels[name] for name in normals]) if normals else None
    if normals and vectors is not None and normals[0][-1] in "Rr" and not are_unit_vectors(vectors):
        vectors = None  # colours
    return None if depth is None else planes_to_map([channels[depth]]), vectors
