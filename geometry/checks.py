"""Argument checks for geometry functions: maps, masks, depth and cameras. Each error names what is accepted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..utils import check_levels, to_cpu, without_autocast

_NO_ROTATION = 1e-2
# Rounded sizes differ by a pixel or two; a larger difference in shape means another image.
_STRETCH = 1.05


def check_map(values: Tensor, channels: int, name: str, like: Tensor | None = None) -> None:
    """Checks that `values` is a batch of maps and matches another map.

    Args:
        values: Should be (B, channels, H, W), floating point, with at least one pixel.
        channels: Expected number of channels.
        name: What the error calls `values`.
        like: A map whose batch, height and width `values` must have; None = any.

    Raises:
        TypeError: Not a tensor.
        ValueError: Not floating point, not (B, channels, H, W), empty, or of another batch or size than `like`.
    """
    _check_tensor(values, f"{name} is", f"(batch, {channels}, height, width)")
    if values.ndim != 4 or values.shape[1] != channels:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected (batch, {channels}, height, width)")
    if values.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(values.shape)}); give at least one pixel")
    if not values.is_floating_point():
        raise ValueError(f"{name} has dtype {values.dtype}; expected floating point")
    if like is not None and values[:, 0].shape != like[:, 0].shape:
        expected = (like.shape[0], channels, *like.shape[-2:])
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected {expected}, as the map it goes with: resize one of them first")


def check_image(image: Tensor, name: str = "image", ends: Tensor | None = None) -> bool:
    """Whether some values of images (B, 3, H, W) in [0, 1] are above 1, as in HDR images. Synchronises the device once or twice.

    `name` and errors as `check_map`, and a ValueError for values that `check_levels` refuses in HDR images; `ends` as there.
    """
    check_map(image, 3, name)
    return check_levels(image, hdr=True, ends=ends)[1] > 1


def check_mask(mask: Tensor | None, like: Tensor) -> None:
    """Raises ValueError if a mask is not bool or differs from the map in shape or device. None is accepted."""
    if mask is None:
        return
    if mask.shape != like.shape or mask.dtype != torch.bool or mask.device != like.device:
        problem = f"shape {tuple(mask.shape)}, {mask.dtype}, on {mask.device}"
        raise ValueError(f"mask has {problem}; expected shape {tuple(like.shape)}, torch.bool, on {like.device}, like the map")


def check_depth(depth: Tensor, like: Tensor | None = None) -> None:
    """Refuses depth that is not (B, 1, H, W), positive and finite. Synchronises the device once. `like` and errors as `check_map`."""
    check_map(depth, 1, "depth", like)
    _check_ends(torch.stack(depth.aminmax()))


def _check_ends(ends: Tensor) -> None:
    least, greatest = ends.tolist()  # NaN if any value is
    if not 0 < least <= greatest < float("inf"):
        raise ValueError("depth holds values that are not positive and finite; fill the holes first, as `filled_depth` does")


def check_intrinsics(intrinsics: Tensor, batch: int | None = None, like: Tensor | None = None) -> None:
    """Refuses impossible intrinsics (B, 3, 3), and those that do not match the maps. Synchronises the device once.

    Args:
        batch: Expected B; None = any.
        like: Maps that must be on the same device; None = any device.

    Raises:
        TypeError: Not a tensor.
        ValueError: Wrong shape, batch or device, a focal length that is not positive, or numbers that are not finite.
    """
    _check_matrices(intrinsics, "intrinsics", 3, batch, like)
    _check_cameras(intrinsics.detach().float().cpu())


def check_view(depth: Tensor, intrinsics: Tensor, like: Tensor | None = None) -> None:
    """`check_depth` and `check_intrinsics` of the same images. Synchronises the device once."""
    check_map(depth, 1, "depth", like)
    _check_matrices(intrinsics, "intrinsics", 3, len(depth), depth)
    fetched = to_cpu({"ends": torch.stack(depth.aminmax()), "intrinsics": intrinsics.float()})
    _check_ends(fetched["ends"])
    _check_cameras(fetched["intrinsics"])


def _check_matrices(matrices: Tensor, name: str, columns: int, batch: int | None, like: Tensor | None) -> None:
    """Checks all but the numbers of intrinsics or extrinsics."""
    expected = f"({'batch' if batch is None else batch}, 3, {columns})"
    advice = "; `intrinsics_from_fov` makes them of a field of view" if name == "intrinsics" else ""
    _check_tensor(matrices, f"{name} are", expected, advice)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, columns) or batch not in (None, matrices.shape[0]):
        raise ValueError(f"{name} have shape {tuple(matrices.shape)}; expected {expected}, one matrix for each image")
    if like is not None and matrices.device != like.device:
        raise ValueError(f"{name} are on {matrices.device}, the map on {like.device}; move one to the other's device")


def _check_cameras(intrinsics: Tensor) -> None:
    """Refuses impossible numbers of float32 intrinsics (B, 3, 3) on the CPU."""
    numbers = intrinsics.numpy()
    if not ((numbers[:, (0, 1), (0, 1)] > 0).all() and np.isfinite(numbers).all()):
        raise ValueError(
            f"intrinsics are not a camera's: {intrinsics.tolist()}; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, fx and fy > 0"
        )


@without_autocast
def check_extrinsics(extrinsics: Tensor, batch: int | None = None, like: Tensor | None = None) -> None:
    """Refuses extrinsics that are not (B, 3, 4) [R | t], from the world to the camera, R a rotation. Otherwise as `check_intrinsics`."""
    _check_matrices(extrinsics, "extrinsics", 4, batch, like)
    rotation = extrinsics[:, :, :3]
    lean = (rotation @ rotation.mT - torch.eye(3, device=rotation.device, dtype=rotation.dtype)).abs().amax()
    mirrored = (torch.linalg.cross(rotation[:, 0], rotation[:, 1]) - rotation[:, 2]).abs().amax()
    if not bool((lean < _NO_ROTATION) & (mirrored < _NO_ROTATION) & torch.isfinite(extrinsics).all()):
        raise ValueError(
            f"extrinsics do not place a camera: {extrinsics.tolist()}; expected finite [R | t] from the world to the camera, R a rotation"
        )


def check_alike(name: str, found: tuple[int, int], image: tuple[int, int]) -> None:
    """Refuses maps (height, width) `found` whose aspect ratio differs from the image's by more than rounding: a ValueError with both."""
    if not are_shapes_alike(found, image):
        raise ValueError(
            f"{name} has {found[1]}x{found[0]} pixels, the image {image[1]}x{image[0]}: another shape; is it of another image? "
            "Crop or resize one of them first"
        )


def are_shapes_alike(found: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether the aspect ratios of two sizes (height, width) differ by no more than rounding."""
    stretch = found[0] * image[1] / (found[1] * image[0])
    # In small images one pixel is a large share.
    most = _STRETCH + 1 / min(*found, *image)
    return 1 / most < stretch < most


def check_image_of(image: Tensor, batch: int, height: int, width: int) -> None:
    """Raises ValueError for images that are not RGB, or of another number or aspect ratio than depth maps; names both sizes."""
    if image.ndim != 4 or image.shape[1] != 3 or image.shape[0] != batch:
        raise ValueError(f"the image has shape {tuple(image.shape)}; expected ({batch}, 3, height, width), as many as the depth")
    check_alike("the depth", (height, width), (image.shape[-2], image.shape[-1]))


def _check_tensor(values: object, subject: str, shape: str, advice: str = "") -> None:
    if not isinstance(values, Tensor):
        problem = "None" if values is None else f"of type {type(values).__name__}"
        raise TypeError(f"{subject} {problem}; expected a tensor {shape}{advice}")
