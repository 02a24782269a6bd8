"""Depth and normal maps read from files inside Blender: NPZ, EXR and images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

if __package__:
    from .geometry_files import (
        AXES_ATTRIBUTE,
        INTRINSICS_ATTRIBUTE,
        PROJECTION_ATTRIBUTE,
        QUANTITY_ATTRIBUTE,
        MapFileError,
        read_exr,
        read_npz,
        read_png_notes,
    )
    from .render_geometry import LARGEST_OF_16_BITS, NOTHING_HIT
else:
    from geometry_files import (
        AXES_ATTRIBUTE,
        INTRINSICS_ATTRIBUTE,
        PROJECTION_ATTRIBUTE,
        QUANTITY_ATTRIBUTE,
        MapFileError,
        read_exr,
        read_npz,
        read_png_notes,
    )
    from render_geometry import LARGEST_OF_16_BITS, NOTHING_HIT

QUANTITIES = ("metric_depth", "relative_depth", "disparity")


@dataclass(frozen=True)
class DepthMap:
    """A depth map as read from a file.

    Attributes:
        values: (H, W) float32, in the unit that `quantity` names, top line first.
        quantity: "metric_depth" (metres along the optical axis), "relative_depth" (large = far) or "disparity" (large = near).
        mask: (H, W) bool, False where there is no surface.
        intrinsics: (3, 3) in pixels, centre of the first pixel = (0, 0); None where the camera is unknown.
    """

    values: np.ndarray
    quantity: str
    mask: np.ndarray
    intrinsics: np.ndarray | None = None


def read_depth(path: str | os.PathLike[str], near_white: bool = True) -> DepthMap:
    """Reads depth from an NPZ (keys `depth` or `dmap`), an EXR (channel `Z`) or an image of 8 or 16 bits.

    Args:
        near_white: Whether near is white in an image. Files that name their quantity ignore it.

    Raises:
        MapFileError: The file cannot be read, holds no depth, or no pixel of it is valid.
    """
    path = _existing(path)
    image_quantity = "disparity" if near_white else "relative_depth"
    if path.suffix.lower() == ".npz":
        depth = _depth_from_npz(path)
    elif path.suffix.lower() == ".exr":
        depth = _depth_from_exr(path, image_quantity)
    else:
        depth = _depth_from_image(path, image_quantity)
    return _checked(path, depth)


def load_normal_image(path: str | os.PathLike[str]) -> tuple[bpy.types.Image, str | None]:
    """Loads normals as a Non-Color image: n * 0.5 + 0.5 in red, green and blue, packed into the .blend.

    Args:
        path: An image (PNG, ...), an EXR with `N.X`, `N.Y`, `N.Z`, or an NPZ with `normals` or `nmap`.

    Returns:
        The image, and the axes that the file names, or None.

    Raises:
        MapFileError: The file cannot be read or holds no normals.
    """
    path = _existing(path)
    if path.suffix.lower() not in (".npz", ".exr"):
        return _load_image(path), read_png_notes(path).get("axes")
    normals, axes = _normals_from_npz(path) if path.suffix.lower() == ".npz" else _normals_from_exr(path)
    if normals.ndim != 3 or normals.shape[-1] != 3 or min(normals.shape) < 1:
        raise MapFileError(f"{path}: the normals have shape {normals.shape}; expected (H, W, 3)")
    height, width = normals.shape[:2]
    image = bpy.data.images.new(path.stem, width, height, float_buffer=True, is_data=True)
    pixels = np.ones((height, width, 4), np.float32)
    # Zero vectors (sky) become the colour of "straight at the viewer": a zero normal has no meaning to a shader.
    pixels[..., :3] = np.where(np.abs(normals).sum(-1, keepdims=True) > 0, np.nan_to_num(normals), (0, 0, 1)) * 0.5 + 0.5
    image.pixels.foreach_set(pixels[::-1].ravel())
    image.pack()
    return image, axes


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise MapFileError(f"no such file: {path}")
    return path


def _checked(path: Path, depth: DepthMap) -> DepthMap:
    """The map with everything invalid masked; raises as `read_depth`."""
    values, mask, intrinsics = depth.values, depth.mask, depth.intrinsics
    if depth.quantity not in QUANTITIES:
        raise MapFileError(f"{path}: quantity {depth.quantity!r} is unknown; it must be one of {', '.join(QUANTITIES)}")
    if values.ndim != 2 or min(values.shape) < 2:
        raise MapFileError(f"{path}: the depth has shape {values.shape}; one map of at least 2x2 pixels is needed")
    if mask.shape != values.shape or mask.dtype.kind != "b":
        raise MapFileError(
            f"{path}: the mask has shape {mask.shape} and dtype {mask.dtype}; expected bool of the depth's shape {values.shape}"
        )
    if intrinsics is not None and not _are_intrinsics(intrinsics):
        raise MapFileError(f"{path}: the intrinsics are not a 3x3 matrix with positive focal lengths: {intrinsics.tolist()}")
    valid = np.isfinite(values) & mask
    if depth.quantity == "metric_depth":
        valid &= (values > 0) & (values < NOTHING_HIT) & ~np.isin(values, LARGEST_OF_16_BITS)
    if not valid.any():
        raise MapFileError(f"{path}: no pixel has a valid depth")
    return DepthMap(values.astype(np.float32), depth.quantity, valid, intrinsics)


def _are_intrinsics(values: np.ndarray) -> bool:
    plain = values.shape == (3, 3) and values.dtype.kind in "fiu"
    return plain and bool(np.isfinite(values).all()) and min(np.diag(values)) > 0


def _check_projection(path: Path, projection: str) -> None:
    if projection not in ("", "perspective"):
        raise MapFileError(f"{path} is of a panorama ({projection}), and the camera takes perspective maps; save a mesh (glb) instead")


def _depth_from_npz(path: Path) -> DepthMap:
    arrays = read_npz(path)
    _check_projection(path, str(arrays.get("projection", "")))
    key = next((key for key in ("depth", "dmap") if key in arrays), None)
    if key is None:
        raise MapFileError(f"{path} has neither 'depth' nor 'dmap'; it has {', '.join(arrays) or 'nothing'}")
    values = arrays[key]
    if values.dtype.kind not in "fiu":
        raise MapFileError(f"{path}: '{key}' has dtype {values.dtype}; numbers are expected")
    if "quantity" in arrays:
        quantity = str(arrays["quantity"])
    elif key == "dmap":
        # The tutorial scales its dmap to [0, 1]; a raw one holds metres.
        quantity = "relative_depth" if ((values >= 0) & (values <= 1)).all() else "metric_depth"
    else:
        raise MapFileError(f"{path}: 'depth' without 'quantity'; add one of {', '.join(QUANTITIES)}")
    mask = arrays["mask"] if "mask" in arrays else np.ones(values.shape, bool)
    return DepthMap(values, quantity, mask, arrays.get("intrinsics"))


def _depth_from_exr(path: Path, image_quantity: str) -> DepthMap:
    channels, attributes = read_exr(path)
    _check_projection(path, attributes.get(PROJECTION_ATTRIBUTE, b"").decode("utf-8", "replace"))
    images = () if "N.X" in channels else ("Y", "R")
    key = next((key for key in ("Z", *images) if key in channels), None)
    if key is None:
        raise MapFileError(f"{path} has no depth: channels {', '.join(channels)}; 'Z' (metres) or a grey image ('Y', 'R') is expected")
    quantity = attributes.get(QUANTITY_ATTRIBUTE, b"metric_depth" if key == "Z" else image_quantity.encode())
    mask = channels["mask"] > 0.5 if "mask" in channels else np.ones(channels[key].shape, bool)
    raw = attributes.get(INTRINSICS_ATTRIBUTE)
    intrinsics = None if raw is None or len(raw) != 36 else np.frombuffer(raw, "<f4").reshape(3, 3)
    return DepthMap(channels[key], quantity.decode("utf-8", "replace"), mask, intrinsics)


def _depth_from_image(path: Path, image_quantity: str) -> DepthMap:
    """An image's first channel; where the node pack noted the range in a PNG, the numbers it stands for."""
    values = _image_values(path)
    notes = read_png_notes(path)
    if "quantity" not in notes:
        return DepthMap(values, image_quantity, np.ones(values.shape, bool))
    try:
        white, black = float(notes["white"]), float(notes["black"])
        numbers = [float(word) for word in notes.get("intrinsics", "").split()]
        intrinsics = np.array(numbers).reshape(3, 3) if numbers else None
    except (KeyError, ValueError) as error:
        raise MapFileError(f"{path}: the notes on its range are damaged: {error}; save the depth again") from error
    # Such a file has 16 bits; where it has holes, level 0 is a hole and level 1 the darkest value.
    levels = np.rint(values.astype(np.float64) * 65535)
    first = 1 if "invalid" in notes else 0
    return DepthMap(black + (white - black) * (levels - first) / (65535 - first), notes["quantity"], levels >= first, intrinsics)


def _normals_from_npz(path: Path) -> tuple[np.ndarray, str | None]:
    arrays = read_npz(path)
    _check_projection(path, str(arrays.get("projection", "")))
    axes = str(arrays["axes"]) if "axes" in arrays else None
    key = next((key for key in ("normals", "nmap") if key in arrays), None)
    if key is not None and arrays[key].dtype.kind not in "fiu":
        raise MapFileError(f"{path}: '{key}' has dtype {arrays[key].dtype}; numbers are expected")
    if key == "nmap" and axes is None and (arrays[key] >= 0).all():
        # The tutorial's own nmap is an image, blue first, with X to the left.
        return arrays[key][..., ::-1] * 2 - 1, "scannet"
    if key is not None:
        return arrays[key], axes
    raise MapFileError(f"{path} has neither 'normals' nor 'nmap'; it has {', '.join(arrays) or 'nothing'}")


def _normals_from_exr(path: Path) -> tuple[np.ndarray, str | None]:
    channels, attributes = read_exr(path)
    _check_projection(path, attributes.get(PROJECTION_ATTRIBUTE, b"").decode("utf-8", "replace"))
    if missing := {"N.X", "N.Y", "N.Z"} - channels.keys():
        raise MapFileError(f"{path} lacks the channels {', '.join(sorted(missing))}; it has {', '.join(channels)}")
    axes = attributes[AXES_ATTRIBUTE].decode("utf-8", "replace") if AXES_ATTRIBUTE in attributes else None
    return np.stack([channels[f"N.{axis}"] for axis in "XYZ"], axis=-1), axes


def _load_image(path: Path) -> bpy.types.Image:
    """The image as numbers: no colour management, colours not touched by alpha, packed."""
    try:
        image = bpy.data.images.load(str(path.resolve()), check_existing=False)
    except RuntimeError as error:
        raise MapFileError(f"cannot read {path} as an image: {error}") from error
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    if not all(image.size) or not image.channels:
        bpy.data.images.remove(image)
        raise MapFileError(f"{path} is damaged or not an image that Blender reads; use PNG, EXR or NPZ")
    image.pack()
    return image


def _image_values(path: Path) -> np.ndarray:
    """(H, W) of the first channel in [0, 1], top line first."""
    image = _load_image(path)
    try:
        width, height = image.size
        pixels = np.empty(width * height * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        return pixels.reshape(height, width, image.channels)[::-1, :, 0].copy()
    finally:
        bpy.data.images.remove(image)
