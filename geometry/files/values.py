"""The values of a map in any program's file, as stored: not exposed, sRGB-encoded or colour-managed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...options.outputs import UNITS
from ..estimate import Axes, Estimate, Quantity
from ..images.depth_image import SLIGHT_TINT
from . import exr
from .hdr_images import is_hdr, read_radiance
from .image_files import DecodedImage, as_rgb, decode_image, decode_numbers, heif_depth, is_heif
from .npz import file_normals, likely_quantity, read_arrays
from .paths import FileFormatError, read_bytes
from .pfm import read_pfm
from .png import holds_depth, read_values_png
from .unlabelled import NAME_QUANTITY, WHOLE_NUMBERS, in_metres, mask_of, planes_to_map, unnamed_map

_ARRAYS = (b"PK\x03\x04", np.lib.format.MAGIC_PREFIX)
DEPTH, NORMALS, MASK = ("depth", "normals", "mask")


@dataclass(frozen=True)
class FileValues:
    """The values of one map.

    Attributes:
        planes: (1, C, H, W) float32, C = 1 or 3, upright; of normals alpha may follow. Integers of images
            are scaled to 0..1; floats are unchanged. Three equal planes become one.
        known: (1, 1, H, W) bool, False where the file has no value: alpha below one half, outside of an EXR's data window, a mask beside
            the map; None = True everywhere.
        bits: Of the grey levels of an image; 0 = they are none.
        whole: Whether they are integers, of an unknown unit.
        quantity: The file's quantity of depth; None = not stated.
        axes: The file's axes of normals; None = not stated.
        likely: The quantity of the Blender tutorial's `dmap`, if nothing states it; None = any.
        square_width: The width in square pixels, if an EXR says that its are not; None = the width.
    """

    planes: Tensor
    known: Tensor | None = None
    bits: float = 0
    whole: bool = False
    quantity: Quantity | None = None
    axes: Axes | None = None
    likely: Quantity | None = None
    square_width: int | None = None

    @property
    def coded(self) -> bool:
        """Whether they are levels of an image."""
        return self.bits > 0

    def squared(self, estimate: Estimate) -> Estimate:
        """An estimate of these values, resampled to square pixels."""
        return estimate.resized(estimate.height, self.square_width or estimate.width)

    def in_unit(self, unit: str, name: str) -> FileValues:
        """Metric depth of values in one of `UNITS`, unless the file states its quantity.

        Raises FileFormatError, which names the map, if they are colours, or levels of 8 bits.
        """
        if self.quantity is not None:
            return self
        levels = _grey(name, self)
        if 0 < self.bits <= 8:
            raise FileFormatError(f"{name}: 8 bits are too few for {unit}; save 16 bits, or name another quantity")
        planes, quantity = in_metres((levels * (2**self.bits - 1)).round() if self.coded else levels, unit)
        return replace(self, planes=planes, bits=0, whole=False, quantity=quantity)


def read_values(path: str | os.PathLike[str], wanted: str = DEPTH, channel: str | None = None) -> FileValues:
    """Reads a map from a file, whose type is detected by its first bytes, not its name.

    Args:
        path: An image of any kind that `read_image` takes, a TIFF of floats, EXR, Radiance HDR, PFM, NPY, NPZ, a PNG with the range
            of its depth, or a HEIC with depth.
        wanted: "depth", "normals" or "mask", for files with several.
        channel: The channel or the layer of an EXR, or the key of an array in an NPZ; overrides `wanted`.

    Raises:
        FileNotFoundError, PermissionError: As `read_image`.
        FileFormatError: Not such a file, damaged, too large, or without such a channel.
        ImportError: The library that decodes it is missing.
    """
    path = Path(path)
    data = read_bytes(path)
    if data.startswith(exr.MAGIC):
        return _of_exr(path, wanted, channel)
    if data.startswith(_ARRAYS):
        return _of_arrays(path, wanted, channel)
    no_channels(path, channel)
    if is_hdr(data):
        return _uncoded(np.moveaxis(read_radiance(path, data), -1, 0))
    if data.startswith((b"Pf", b"PF")):
        return _uncoded(read_pfm(path)[0].numpy())
    if is_heif(data) and wanted == DEPTH:
        pixels, quantity = heif_depth(path, data)
        return replace(_coded(DecodedImage(pixels, False, {}, bits=8 * pixels.itemsize)), quantity=quantity)
    if (numbers := decode_numbers(path, data)) is not None:
        planes = _uncoded(numbers[None] if numbers.ndim == 2 else np.moveaxis(numbers[..., :3], -1, 0))
        return replace(planes, whole=numbers.dtype.kind in "iu")
    image = decode_image(path, data)
    if wanted == DEPTH and holds_depth(image.text):
        estimate = read_values_png(path, image)
        assert estimate.depth is not None
        return FileValues(estimate.depth, estimate.mask, quantity=estimate.quantity)
    return _coded(image, with_alpha=wanted == NORMALS)


def read_clip(path: str | os.PathLike[str], channel: str | None = None) -> list[FileValues] | None:
    """Reads the depth of a clip's frames from one NPZ or NPY of an array (B, H, W); None of any other file.

    Raises FileNotFoundError, FileFormatError: as `read_values`, or there is no depth in it.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block
        return None
    with path.open("rb") as file:
        if not file.read(max(map(len, _ARRAYS))).startswith(_ARRAYS):
            return None
    arrays = read_arrays(path, channel)
    key = next((key for key in ("depth", "dmap") if key in arrays.maps), None)
    if key is None:
        raise FileFormatError(f"{path}: there is no depth in it, but {', '.join(arrays.maps)}")
    depth, mask = arrays.maps[key], arrays.maps.get("mask")
    if depth.ndim != 3:
        raise FileFormatError(f"{path}: '{key}' has shape {depth.shape}; the depth of a clip is (B, H, W), a map for each frame")
    masks = [None] * len(depth) if mask is None or mask.shape != depth.shape else mask
    likely = likely_quantity(path, arrays)
    values = (_of_array(frame[None], known) for frame, known in zip(depth, masks, strict=True))
    return [replace(each, quantity=arrays.quantity, likely=likely) for each in values]


def read_map(
    path: str | os.PathLike[str], quantity: Quantity | str | None = None, axes: Axes | None = None, channel: str | None = None
) -> Estimate:
    """Reads depth, or normals, from a file without metadata: a TIFF of floats, an image, or the depth in a HEIC.

    Args:
        path, channel: As `read_values`.
        quantity: What depth is, or one of `UNITS`, if the file does not say. None: unlabelled floats are metres.
        axes: The axes of normals; None = OPENGL.

    Raises:
        FileFormatError, OSError, ImportError: As `read_values`, or the quantity is missing, or has no unit in grey levels.
    """
    values = read_values(path, DEPTH, channel)
    if values.coded and quantity in UNITS:
        values = values.in_unit(quantity, str(path))
    stated = values.quantity or quantity
    planes = values.planes
    if values.coded:
        if stated is None:
            raise FileFormatError(f"{path}: an image, whose grey levels may be anything; {NAME_QUANTITY}")
        planes = _grey(path, values)
        if stated is Quantity.METRIC_DEPTH:
            problem = "the grey levels of an image are no metres; those of 16 bits may be millimetres or kitti"
            raise FileFormatError(f"{path}: {problem}; else save metres as floats, or name another quantity")
    if values.whole and stated is None:
        raise FileFormatError(f"{path}: {WHOLE_NUMBERS}")
    channels = dict(zip("RGB" if planes.shape[1] == 3 else "Y", planes[0].numpy(), strict=True))
    depth, normals = unnamed_map(path, channels, metric=stated is None)
    if depth is None:
        return Estimate(normals=normals, axes=axes or Axes.OPENGL, mask=values.known)
    depth, stated = in_metres(depth, stated or Quantity.METRIC_DEPTH)
    return Estimate(depth=depth, quantity=stated, mask=mask_of(path, depth, stated, values.known))


def _grey(path: str | os.PathLike[str], values: FileValues) -> Tensor:
    """The channel mean (1, 1, H, W); raises FileFormatError for colours, but not for a slight tint of an image."""
    tint = (values.planes.amax(1) - values.planes.amin(1)).mean()
    if values.planes.shape[1] != 1 and not (values.coded and tint <= SLIGHT_TINT):
        raise FileFormatError(f"{path}: a coloured image; depth is grey, without a colour map")
    return values.planes.mean(1, keepdim=True)


def no_channels(path: str | os.PathLike[str], channel: str | None) -> None:
    """Raises FileFormatError if a channel is named for a file without channel names."""
    if channel is not None:
        raise FileFormatError(f"{path}: channels have names in .exr and .npz, and {channel!r} is named; leave it out")


def _of_exr(path: Path, wanted: str, channel: str | None) -> FileValues:
    planes, header, alpha, mask = exr.read_planes(path, wanted, channel)
    values = _uncoded(np.stack(planes))
    known = ~values.planes.isnan().all(1, keepdim=True)
    if alpha is not None and wanted == NORMALS and values.planes.shape[1] == 3:
        values = replace(values, planes=torch.cat((values.planes, planes_to_map([alpha])), 1))
    elif (opacity := mask if alpha is None else alpha > 0.5) is not None:
        known &= planes_to_map([opacity])
    word, axes = header.get(exr.QUANTITY), header.get(exr.AXES)
    square_width = exr.square_width(path, header, *values.planes.shape[-2:])
    try:
        is_depth = wanted == DEPTH and values.planes.shape[1] == 1
        return replace(
            values,
            known=None if bool(known.all()) else known,
            square_width=square_width,
            quantity=Quantity(word) if word and is_depth else None,
            axes=Axes(axes) if axes and wanted == NORMALS else None,
        )
    except ValueError as error:
        raise FileFormatError(f"{path}: the header says {error}") from error


def _of_arrays(path: Path, wanted: str, channel: str | None) -> FileValues:
    arrays = read_arrays(path, channel)
    maps = arrays.maps
    keys = ("normals", "nmap", "depth", "dmap") if wanted == NORMALS else ("depth", "dmap", "normals", "nmap")
    key = next(key for key in keys if key in maps)
    vectors = key in ("normals", "nmap")
    array, mask = _single(maps[key], 2 + vectors), _single(maps["mask"], 2) if "mask" in maps else None
    if array.ndim != 2 + vectors:
        raise FileFormatError(f"{path}: '{key}' has shape {array.shape}; one map (H, W{', 3' * vectors}) is read here")
    known = None if mask is None or mask.shape != array.shape[:2] else mask
    if not vectors:
        likely = likely_quantity(path, arrays)
        return replace(_of_array(array[None], known), quantity=arrays.quantity, likely=likely)
    if key == "nmap" or arrays.axes:
        normals, axes = file_normals(path, arrays, None, alone=True)
        assert normals is not None
        return replace(_of_array(normals[0].numpy(), known), axes=axes)
    return _of_array(np.moveaxis(array, -1, 0), known)  # vectors, or colours of the caller's coding


def _of_array(planes: np.ndarray, known: np.ndarray | None) -> FileValues:
    """One map (C, H, W) with its known pixels (H, W)."""
    mask = None if known is None else torch.from_numpy(np.ascontiguousarray(known))[None, None]
    return FileValues(torch.from_numpy(np.ascontiguousarray(planes[None])), mask)


def _single(array: np.ndarray, size: int) -> np.ndarray:
    """Drops the axis of a batch of one."""
    return array[0] if array.ndim > size and len(array) == 1 else array


def _uncoded(planes: np.ndarray) -> FileValues:
    """(C, H, W) floats."""
    return FileValues(grey_as_one(np.asarray(planes, np.float32)))


def _coded(image: DecodedImage, with_alpha: bool = False) -> FileValues:
    height, width = image.pixels.shape[:2]
    levels, alpha = as_rgb(image.pixels.reshape(height, width, -1), image.premultiplied)  # grey keeps its one channel
    planes = grey_as_one(np.moveaxis(levels, -1, 0))
    if with_alpha and alpha is not None:  # which may be height, or x
        return FileValues(torch.cat((planes.expand(-1, 3, -1, -1), planes_to_map([alpha])), 1), bits=image.bits)
    known = None if alpha is None or bool((alpha >= 0.5).all()) else torch.from_numpy(alpha >= 0.5)[None, None]
    return FileValues(planes, known, bits=image.bits)


def grey_as_one(planes: np.ndarray) -> Tensor:
    """(1, C, H, W), where three equal planes are one."""
    equal = len(planes) == 3 and all(np.array_equal(planes[0], plane, equal_nan=True) for plane in planes[1:])
    return torch.from_numpy(np.ascontiguousarray(planes[:1] if equal else planes))[None]
