"""NumPy archives and arrays: every map of an estimate as float32, bit for bit; maps of other tools."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import check_extrinsics, check_intrinsics
from ..conventions import NormalMapCoding, are_unit_vectors
from ..estimate import Axes, Estimate, Quantity
from ..images.normal_map_image import are_vectors, normal_map_to_estimate
from ..kinds import Kind, Projection
from .paths import MAX_NUMBERS, MAX_PIXELS, FileFormatError, atomic_path, checked_file, damage_named
from .unlabelled import NAME_QUANTITY, WHOLE_NUMBERS, WITH_CHANNEL, are_levels, in_metres, mask_of, without_world_normals

_MAPS = ("depth", "normals", "mask", "intrinsics", "extrinsics", "confidence", "dmap", "nmap")
_MATRICES = {"intrinsics": check_intrinsics, "extrinsics": check_extrinsics}
_WORDS: dict[str, type[Kind]] = {"quantity": Quantity, "axes": Axes, "projection": Projection}
# Of colours whose axes are not stated; the latter is the tutorial's.
_CODINGS = {"normals": NormalMapCoding.OPENGL, "nmap": NormalMapCoding.CONTROLNET_1_0_NORMAL}
_MAX_WORD_BYTES = 256
_BAND_NUMBERS = 2**20
# Maps are larger than camera matrices.
_LARGEST_MATRIX = 4
# No camera's focal length exceeds 50 image widths; in pixels the principal point would lie within the first one.
_LARGEST_FOCAL_SHARE = 50

MAP_NAMES = ("depth", "normals", "dmap", "nmap")
"""Keys of which an archive has at least one."""


def write_npz(path: str | os.PathLike[str], estimate: Estimate) -> None:
    """Writes an estimate as a NumPy archive, atomically; `np.load(path)` reads it anywhere.

    Keys: `depth` (H, W) and `quantity`, `normals` (H, W, 3) and `axes`, `confidence` (H, W): float32; `mask` (H, W): bool;
    `intrinsics` (3, 3): float32, pixels, centre of the first pixel = (0, 0); `extrinsics` (3, 4): float32, from the world to the camera,
    as in `Estimate`. Missing maps are left out. A batch of several images adds B in front of every shape.
    `quantity` and `axes` are strings, the values of `Quantity` and `Axes`. A panorama has `projection` too, of `Projection`. The file is
    named as given (no `.npz` is added), and the estimate is on any device.
    """
    words = {}
    if estimate.depth is not None and estimate.quantity is not None:
        words["quantity"] = estimate.quantity.value
    if estimate.normals is not None:
        words["axes"] = estimate.axes.value
    if estimate.projection is not Projection.PERSPECTIVE:
        words["projection"] = estimate.projection.value
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        for key, values in estimate.maps.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                _write_values(member, values.detach() if key in _MATRICES else values.detach().movedim(1, -1), key not in _MATRICES)
        for key, word in words.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.array(word), allow_pickle=False)


def _write_values(member: IO[bytes], values: Tensor, is_map: bool) -> None:
    """Writes one array, channels last, without copying it whole; axes of one image or one channel are dropped."""
    shape = [*values.shape]
    if is_map and shape[-1] == 1:
        shape = shape[:-1]
    if shape[0] == 1:
        shape = shape[1:]
    dtype = torch.empty(0, dtype=values.dtype, device="cpu").numpy().dtype
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(member, header)
    rows = max(1, _BAND_NUMBERS // max(1, math.prod(values.shape[2:])))
    for image in values:
        for band in image.split(rows):
            member.write(np.ascontiguousarray(band.cpu().numpy()).tobytes())


def read_npz(
    path: str | os.PathLike[str], quantity: Quantity | str | None = None, axes: Axes | None = None, channel: str | None = None
) -> Estimate:
    """Reads an estimate from a NumPy archive or a `.npy` array. Nothing is unpickled.

    The `d.npz` of the Blender depth-map tutorial is supported: `dmap` (H, W), large = far, and `nmap`
    (H, W, 3). Without metadata, a `dmap` of floats within [0, 1] is relative depth, of other floats metres;
    an `nmap` of colours is the tutorial's image, coded as `CONTROLNET_1_0_NORMAL`, or as `axes` says; an
    `nmap` of vectors is Blender's Normal pass, in world axes, and is left out unless `axes` declares them
    as camera axes. Depth without a mask is masked by `valid.depth_mask`.

    Archives with none of these keys must have exactly one array that can be depth or normals: (H, W), or
    (H, W, 3) or (3, H, W) of unit vectors. Maps without metadata may have axes of length 1, or equal
    channels (grey as RGB).

    Args:
        quantity: What depth holds, or one of `UNITS`, if the archive does not say.
        axes: The axes of the normals if the archive does not say.
        channel: The key of the depth or the normals in an archive; None = found by name.

    Returns:
        The estimate with the maps of `write_npz`, on the CPU, values bit for bit (the tutorial's image: normalised).

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: Not an archive, damaged, hostile, too large, without a known key, or with maps that do not fit together.

    Source:
        https://www.saifkhichi.com/blog/blender-depth-map-surface-normals (the tutorial).
    """
    arrays = read_arrays(path, channel)
    try:
        return _to_estimate(path, arrays, quantity, axes)
    except FileFormatError:
        raise
    except ValueError as error:  # readable maps that do not fit together
        raise FileFormatError(f"{path}: {error}") from error


class Arrays(NamedTuple):
    """The content of an archive or a `.npy`.

    Attributes:
        maps: Arrays by the keys of `write_npz`, and `dmap` and `nmap`: (H, W) or (H, W, 3), or with B in
            front, float32, the mask bool. Normals of integers, which are colours, are scaled to [0, 1].
        whole: The names of an archive's arrays that are stored as integers.
        quantity, axes, projection: As stated; None = not.
    """

    maps: dict[str, np.ndarray]
    whole: set[str]
    quantity: Quantity | None = None
    axes: Axes | None = None
    projection: Projection | None = None


def read_arrays(path: str | os.PathLike[str], channel: str | None = None) -> Arrays:
    """Reads the maps and the metadata of an archive or a `.npy`; raises and takes `channel` as `read_npz`."""
    path = checked_file(path)
    with path.open("rb") as file:
        is_array = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
    if is_array:
        if channel is not None:
            raise FileFormatError(f"{path}: one array without a name, and a channel {channel!r} is named; leave it out")
        with damage_named(path, "not a whole NumPy array (.npy)"):
            _checked_numbers(path, "the array", lambda: path.open("rb"))
            with path.open("rb") as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
        key, named = _named(path, "the array", _float32(values))
        return Arrays({key: named}, set())
    with damage_named(path, "not a whole NumPy archive (.npz) of depth or normals"), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}

        def member(key: str) -> IO[bytes]:
            return archive.open(f"{key}.npy")

        whole: set[str] = set()
        words = {key: _read_word(path, key, kind, member) for key, kind in _WORDS.items() if key in members}
        present = [key for key in _MAPS if key in members]
        foreign = channel if channel is not None else None if set(present) & set(MAP_NAMES) else _only_map(path, members, member)
        if foreign is not None and foreign not in members:
            raise FileFormatError(f"{path}: there is no array {channel!r}; the file has {', '.join(sorted(members))}")
        if channel is not None:
            present = [key for key in present if key not in MAP_NAMES]
        read = [*present, *([foreign] if foreign is not None else [])]
        numbers = sum(_checked_numbers(path, key, partial(member, key)) for key in read)
        if numbers > MAX_NUMBERS:
            raise FileFormatError(f"{path}: {numbers} numbers in all maps; at most {MAX_NUMBERS} are read; split the batch")

        def array(key: str) -> np.ndarray:
            with member(key) as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
            if values.dtype.kind in "iu":
                whole.add(key)
            if key in ("normals", "nmap") and values.dtype.kind in "iu":
                return _float32(values) / np.float32(np.iinfo(values.dtype).max)
            if key != "mask":
                return _float32(values)
            if values.dtype.kind in "fi" and not np.isin(values, (0, 1)).all():
                raise FileFormatError(f"{path}: 'mask' has dtype {values.dtype} and other values than 0 and 1; expected a bool map")
            return values.astype(bool, copy=False)

        maps = {key: array(key) for key in present}
        if foreign is not None:
            key, values = _named(path, foreign, array(foreign))
            maps[key] = values
    if not words:  # written by another tool
        for key in maps.keys() & {"depth", "dmap", "mask", "confidence"}:
            maps[key] = _plane(path, f"'{key}'", maps[key])
    return Arrays(maps, whole, **words)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # overflow to infinity, which is never valid
        return values.astype(np.float32, copy=False)


def _only_map(path: os.PathLike[str], members: set[str], member: Callable[[str], IO[bytes]]) -> str:
    """The key of the only array with the shape of a map."""

    def shape_of(key: str) -> str | None:
        with member(key) as file:
            shape, dtype = _read_header(path, key, file)
        sides = [side for side in shape if side > 1]
        is_plane = len(sides) in (2, 3) and min(sides[-2:]) > _LARGEST_MATRIX  # or a batch of planes
        is_map = dtype.kind in "fiu" and (is_plane or (len(sides) == 3 and 3 in (sides[0], sides[2])))
        return f"'{key}' {shape}" if is_map else None

    maps = {key: text for key in sorted(members) if (text := shape_of(key))}
    if len(maps) == 1:
        return next(iter(maps))
    expected = "neither depth nor normals: expected the keys 'depth' and/or 'normals' (or 'dmap', 'nmap')"
    raise FileFormatError(
        f"{path}: {expected}; name one of its arrays {WITH_CHANNEL}: {', '.join(maps.values())}" if maps else f"{path}: {expected}"
    )


def _named(path: os.PathLike[str], name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Depth or normals of another tool, with our key and shape."""
    values = _without_single_axes(values)
    for vectors in (values, np.moveaxis(values, -3, -1)) if values.ndim >= 3 else ():
        if vectors.shape[-1] == 3 and are_unit_vectors(_channel_first(path, name, vectors, 3)):
            return "normals", vectors
    return "depth", _plane(path, name, values, " and holds no unit vectors", ", or normals")


def _plane(path: os.PathLike[str], name: str, values: np.ndarray, *or_vectors: str) -> np.ndarray:
    """(H, W) or (B, H, W) of a map of another tool; of a grey image (H, W, 3 or 4) the first channel."""
    values = _without_single_axes(values)
    if values.ndim < 3 or not values.shape[-1] <= _LARGEST_MATRIX < min(values.shape[-3:-1]):
        return values
    if values.shape[-1] >= 3 and np.array_equal(values[..., :2], values[..., 1:3], equal_nan=True):
        return values[..., 0]
    problem, normals = or_vectors or ("", "")
    raise FileFormatError(
        f"{path}: {name} has shape {values.shape}{problem}; expected depth (H, W){normals}; "
        "of the channels of an image save one, such as values[..., 0]"
    )


def _without_single_axes(values: np.ndarray) -> np.ndarray:
    """Drops axes of length 1: (H, W), (B, H, W) or vectors from (H, W, 1), (B, 1, H, W), (B, H, W, 1) and the like."""
    if values.ndim >= 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    return values


def _channel_first(path: str | os.PathLike[str], key: str, array: np.ndarray, channels: int) -> Tensor:
    """(H, W), (H, W, C), or either with B in front, as (B, C, H, W)."""
    single = 2 if channels == 1 else 3
    if array.ndim not in (single, single + 1) or (channels > 1 and array.shape[-1] != channels):
        tail = "" if channels == 1 else f", {channels}"
        raise FileFormatError(f"{path}: '{key}' has shape {array.shape}; expected (H, W{tail}) or (B, H, W{tail})")
    values = torch.from_numpy(np.ascontiguousarray(array if array.ndim > single else array[None]))
    return values[:, None] if channels == 1 else values.movedim(-1, 1).contiguous()


def _read_header(path: os.PathLike[str], key: str, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in readers:
        raise FileFormatError(f"{path}: '{key}' is of .npy version {version}; 1.0 and 2.0 are read")
    shape, _, dtype = readers[version](member)
    if dtype.hasobject:
        raise FileFormatError(f"{path}: '{key}' holds Python objects, which are never loaded; save it as plain float32 numbers")
    return shape, dtype


def _read_word(path: os.PathLike[str], key: str, kind: type[Kind], member: Callable[[str], IO[bytes]]) -> Any:
    with member(key) as file:
        shape, dtype = _read_header(path, key, file)
    if shape != () or dtype.kind != "U" or dtype.itemsize > _MAX_WORD_BYTES:
        raise FileFormatError(f"{path}: '{key}' has shape {shape} and dtype {dtype}; expected one short string")
    with member(key) as file:
        word = str(np.lib.format.read_array(file, allow_pickle=False))
    try:
        return kind(word)
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error


def _checked_numbers(path: os.PathLike[str], key: str, member: Callable[[], IO[bytes]]) -> int:
    """The size of an array in float32 numbers; a bad header is refused before allocating memory."""
    with member() as file:
        shape, dtype = _read_header(path, key, file)
    kinds = "bfiu" if key == "mask" else "fiu"
    if dtype.kind not in kinds or not 2 <= len(shape) <= 4:
        raise FileFormatError(
            f"{path}: '{key}' has shape {shape} and dtype {dtype}; expected a {'bool' if key == 'mask' else 'float32'} map"
        )
    if min(shape) < 1:
        raise FileFormatError(f"{path}: '{key}' is empty: shape {shape}")
    limit = MAX_PIXELS * (3 if 3 in (shape[-1], shape[0]) else 1)
    if math.prod(shape) > limit:
        raise FileFormatError(f"{path}: '{key}' has shape {shape}; at most {MAX_PIXELS // 2**20} megapixels are read")
    # A number of 8 bytes counts twice.
    return math.prod(shape) * max(1, dtype.itemsize // 4)


def _to_estimate(path: str | os.PathLike[str], arrays: Arrays, quantity: Quantity | str | None, axes: Axes | None) -> Estimate:
    maps = arrays.maps
    planes = {key: _channel_first(path, key, maps[key], 1) for key in ("mask", "confidence") if key in maps}
    key = next((key for key in ("depth", "dmap") if key in maps), None)
    normals = depth = stated = None
    if not maps.keys().isdisjoint(("normals", "nmap")):
        normals, axes = file_normals(path, arrays, axes, alone=key is None)
    mask = planes.get("mask")
    if key is not None:
        quantity = arrays.quantity or quantity or likely_quantity(path, arrays)
        if quantity is None:
            is_whole = key in arrays.whole
            problem = f"holds {WHOLE_NUMBERS}" if is_whole else f"without 'quantity'; {NAME_QUANTITY}"
            raise FileFormatError(f"{path}: {key!r} {problem}")
        depth, stated = in_metres(_channel_first(path, key, maps[key], 1), quantity)
        mask = mask_of(path, depth, stated, alone=normals is None) if mask is None else mask
    estimate = Estimate(
        depth=depth,
        quantity=stated,
        normals=normals,
        axes=axes or Axes.OPENGL,
        mask=mask,
        confidence=planes.get("confidence"),
        projection=arrays.projection or Projection.PERSPECTIVE,
    )
    stated_matrices = {name: _of_each(maps[name], estimate.batch) for name in _MATRICES if name in maps}
    matrices = {name: torch.from_numpy(np.array(array)) for name, array in stated_matrices.items()}
    for name, check in _MATRICES.items():
        if name in matrices:
            check(matrices[name], estimate.batch)
    if "intrinsics" in matrices:
        matrices["intrinsics"] = _in_pixels(matrices["intrinsics"], estimate.width, estimate.height)
    return replace(estimate, **matrices)


def _of_each(matrices: np.ndarray, batch: int) -> np.ndarray:
    """A matrix for each image, where there may be one for all; of (4, 4) rigid motions without the last row."""
    each = matrices if matrices.ndim > 2 else np.broadcast_to(matrices, (batch, *matrices.shape))
    return each[:, :3] if each.shape[1:] == (4, 4) and (each[:, 3] == (0, 0, 0, 1)).all() else each


def _in_pixels(intrinsics: Tensor, width: int, height: int) -> Tensor:
    """Converts normalised intrinsics, as MoGe's, to pixels with the first centre at (0, 0); those in pixels are kept."""
    focal, centre = intrinsics[:, (0, 1), (0, 1)], intrinsics[:, :2, 2]
    are_shares = bool(((centre > 0) & (centre < 1)).all()) and bool((focal < _LARGEST_FOCAL_SHARE).all())
    if not are_shares or min(width, height) <= _LARGEST_FOCAL_SHARE:
        return intrinsics
    scaled = intrinsics.clone()
    scaled[:, 0], scaled[:, 1] = intrinsics[:, 0] * width, intrinsics[:, 1] * height
    scaled[:, :2, 2] -= 0.5
    return scaled


def likely_quantity(path: str | os.PathLike[str], arrays: Arrays) -> Quantity | None:
    """The quantity of a `dmap` of floats, if nothing states it: relative depth within [0, 1], else metres.

    None of other maps. Raises FileFormatError: it has no value but 0.
    """
    if "dmap" not in arrays.maps or "depth" in arrays.maps or arrays.quantity or "dmap" in arrays.whole:
        return None
    depth, mask = arrays.maps["dmap"], arrays.maps.get("mask")
    seen = depth if mask is None or mask.shape != depth.shape else depth[mask]
    if not (seen[np.isfinite(seen)] != 0).any():
        problem = "'dmap' holds no depth: all values are 0, NaN or infinite"
        raise FileFormatError(f"{path}: {problem}; render it again")
    return Quantity.RELATIVE_DEPTH if are_levels(seen) else Quantity.METRIC_DEPTH


def file_normals(path: str | os.PathLike[str], arrays: Arrays, axes: Axes | None, alone: bool) -> tuple[Tensor | None, Axes | None]:
    """The vectors (B, 3, H, W) of `normals` or `nmap`, bit for bit unless they were colours; and their axes.

    `axes` are those that the caller names; `alone` and None as `without_world_normals`. Raises
    FileFormatError: neither vectors nor colours.
    """
    key = "normals" if "normals" in arrays.maps else "nmap"
    planes = _channel_first(path, key, arrays.maps[key], 3)
    if arrays.axes:
        return planes, arrays.axes
    if are_vectors(planes, planes.nan_to_num().amin().item()):
        if key == "nmap" and axes is None:
            which = "'nmap' holds vectors, as Blender's Normal pass does, which"
            return without_world_normals(path, which, alone), None
        return planes, axes
    try:
        decoded = normal_map_to_estimate(planes, axes or _CODINGS[key], f"'{key}' of {path}")
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return decoded.where_known(decoded.mask).normals, decoded.axes
