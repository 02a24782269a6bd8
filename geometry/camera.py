"""The pinhole camera: intrinsics, pixels and rays, depth and points.

Convention: intrinsics are in pixels; the centre of the first pixel is (0, 0), the middle of an image ((W - 1) / 2, (H - 1) / 2).
Rays and points are in OPENCV axes (+X right, +Y down, +Z away from the viewer); depth is Z.
`height` and `width` are the image's, in pixels. All functions raise ValueError for shapes that do not fit and for empty images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..options.checks import check_choice
from ..utils import constant, counted, vector_lengths, without_autocast
from .checks import check_extrinsics, check_intrinsics, check_map

DEFAULT_FOV = 55.0
"""Degrees on the longer side where the camera is unknown: about a 35 mm lens on full frame."""


def intrinsics_from_focal_length(
    focal_length: float | Tensor, height: int, width: int, *, focal_length_y: float | Tensor | None = None, batch: int = 1
) -> Tensor:
    """Intrinsics with the principal point at the middle of the image.

    Args:
        focal_length: In pixels; a number, or (B,) for one each.
        focal_length_y: Vertical focal length where pixels are not square; None = the same.
        batch: Number of copies, where the focal lengths are numbers.

    Returns:
        (B, 3, 3) float32.

    Raises:
        ValueError: A focal length that is not positive and finite.
    """
    _check_size(height, width)
    fx = _numbers(focal_length).reshape(-1)
    fy = fx if focal_length_y is None else _numbers(focal_length_y).reshape(-1).to(fx.device)
    fx, fy = torch.broadcast_tensors(fx, fy)
    if fx.numel() == 1:
        fx, fy = fx.expand(batch), fy.expand(batch)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    cx, cy = one * ((width - 1) / 2), one * ((height - 1) / 2)
    intrinsics = torch.stack((fx, zero, cx, zero, fy, cy, zero, zero, one), -1).view(-1, 3, 3)
    check_intrinsics(intrinsics, fx.shape[0])
    return intrinsics


def _numbers(values: float | Tensor) -> Tensor:
    """As float32. `torch.as_tensor` would move a tensor to torch's default device."""
    return values.float() if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.float32, device="cpu")


def check_fov(fov: float | Tensor) -> None:
    """Raises ValueError unless a field of view is between 0 and 180 degrees, exclusive."""
    degrees = _numbers(fov)
    if not bool(((degrees > 0) & (degrees < 180)).all()):
        raise ValueError(f"the field of view is {fov} degrees; expected between 0 and 180")


def intrinsics_from_fov(fov: float | Tensor, height: int, width: int, *, side: str = "longer", batch: int = 1) -> Tensor:
    """Intrinsics from a field of view.

    Args:
        fov: Degrees, between 0 and 180 exclusive; a number, or (B,) for one each.
        side: The image side that it spans: "longer", "shorter", "horizontal", "vertical" or "diagonal".
        batch: Number of copies, where `fov` is a number.

    Returns:
        (B, 3, 3) float32.

    Raises:
        ValueError: `fov` out of range, or unknown side.
    """
    _check_size(height, width)
    check_fov(fov)
    degrees = _numbers(fov)
    length = _side_length(side, height, width)
    return intrinsics_from_focal_length(0.5 * length / torch.tan(torch.deg2rad(degrees) / 2), height, width, batch=batch)


def intrinsics_from_sensor(
    focal_length_mm: float, height: int, width: int, *, sensor_mm: float = 36.0, side: str = "longer", batch: int = 1
) -> Tensor:
    """Intrinsics from a lens and a sensor.

    Args:
        sensor_mm: Length of the sensor along `side`; 36 = full frame, Blender's default, and "35 mm equivalent".
        side: "longer" (Blender's "auto"), "shorter", "horizontal", "vertical" or "diagonal".
        batch: Number of copies.

    Returns:
        (B, 3, 3) float32.

    Raises:
        ValueError: A length that is not positive, or unknown side.
    """
    _check_size(height, width)
    if not (focal_length_mm > 0 and sensor_mm > 0):
        raise ValueError(f"focal length {focal_length_mm} mm and sensor {sensor_mm} mm must both be positive")
    return intrinsics_from_focal_length(focal_length_mm / sensor_mm * _side_length(side, height, width), height, width, batch=batch)


def fov_from_intrinsics(intrinsics: Tensor, height: int, width: int, *, side: str = "longer") -> Tensor:
    """Field of view of an image whose principal point is its middle.

    Args:
        intrinsics: (B, 3, 3), pixels.
        side: "longer", "shorter", "horizontal" or "vertical".

    Returns:
        (B,) degrees.

    Raises:
        ValueError: Unknown side.
    """
    check_intrinsics(intrinsics)
    _check_size(height, width)
    if side == "diagonal":
        raise ValueError("the diagonal has no focal length of its own; expected 'longer', 'shorter', 'horizontal' or 'vertical'")
    length = _side_length(side, height, width)
    horizontal = side == "horizontal" or (side == "longer" and width >= height) or (side == "shorter" and width < height)
    focal_length = intrinsics[:, 0, 0] if horizontal else intrinsics[:, 1, 1]
    return torch.rad2deg(2 * torch.atan(0.5 * length / focal_length))


def resize_intrinsics(intrinsics: Tensor, old_size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Intrinsics after resizing the image.

    Args:
        intrinsics: (B, 3, 3), pixels of the old size.
        old_size, new_size: (height, width).

    Returns:
        (B, 3, 3), pixels of the new size.

    Convention:
        Pixel centres, corners not aligned: u' + 0.5 = scale * (u + 0.5).
    """
    check_intrinsics(intrinsics)
    _check_size(*old_size)
    _check_size(*new_size)
    return scaled_intrinsics(intrinsics, old_size, new_size)


def scaled_intrinsics(intrinsics: Tensor, old_size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """`resize_intrinsics` without checks, which would synchronise the device."""
    scale_x, scale_y = new_size[1] / old_size[1], new_size[0] / old_size[0]
    scale = constant(intrinsics, ((scale_x,) * 3, (scale_y,) * 3, (1.0,) * 3))
    shift = constant(intrinsics, ((0.0, 0.0, 0.5 * (scale_x - 1)), (0.0, 0.0, 0.5 * (scale_y - 1)), (0.0,) * 3))
    return intrinsics * scale + shift


def crop_intrinsics(intrinsics: Tensor, left: float, top: float) -> Tensor:
    """Intrinsics after cropping the image.

    Args:
        intrinsics: (B, 3, 3), pixels.
        left, top: Columns and rows that are cut off; negative numbers pad.

    Returns:
        (B, 3, 3), pixels of the crop.
    """
    check_intrinsics(intrinsics)
    return intrinsics - intrinsics.new_tensor([[0, 0, left], [0, 0, top], [0, 0, 0]])


def pixel_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """The ray through every pixel's centre.

    Args:
        intrinsics: (B, 3, 3), pixels.

    Returns:
        (B, 3, height, width), OPENCV axes, Z = 1 (not unit length): multiplied by depth they are points.
    """
    check_intrinsics(intrinsics)
    _check_size(height, width)
    return rays_of_pixels(intrinsics, height, width)


def rays_of_pixels(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """`pixel_rays` without checks, which would synchronise the device."""
    batch = intrinsics.shape[0]
    fx, fy, skew, cx, cy = (intrinsics[:, i, j].view(-1, 1, 1) for i, j in ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2)))
    v, u = (counted(intrinsics, length).to(intrinsics) for length in (height, width))
    y = ((v[:, None] - cy) / fy).expand(batch, height, width)
    x = torch.addcmul(u - cx, skew, y, value=-1) / fx
    return torch.stack((x, y, constant(x, 1.0).expand_as(x)), 1)


def pixel_to_ray(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """The rays through pixel positions.

    Args:
        pixels: (B, N, 2) columns and rows (u, v); fractions allowed.
        intrinsics: (B, 3, 3), pixels.

    Returns:
        (B, N, 3), OPENCV axes, Z = 1.
    """
    check_intrinsics(intrinsics, pixels.shape[0], pixels)
    _check_last(pixels, 2, "pixels")
    y = (pixels[..., 1] - intrinsics[:, 1, 2, None]) / intrinsics[:, 1, 1, None]
    x = (pixels[..., 0] - intrinsics[:, 0, 2, None] - intrinsics[:, 0, 1, None] * y) / intrinsics[:, 0, 0, None]
    return torch.stack((x, y, torch.ones_like(x)), -1)


def ray_to_pixel(rays: Tensor, intrinsics: Tensor) -> Tensor:
    """Projects rays or points into the image: the inverse of `pixel_to_ray`.

    Args:
        rays: (B, N, 3), OPENCV axes, any length.
        intrinsics: (B, 3, 3), pixels.

    Returns:
        (B, N, 2) columns and rows (u, v); NaN for points that are not in front of the camera (Z <= 0).
    """
    check_intrinsics(intrinsics, rays.shape[0], rays)
    _check_last(rays, 3, "rays")
    z = torch.where(rays[..., 2] > 0, rays[..., 2], float("nan"))
    x, y = rays[..., 0] / z, rays[..., 1] / z
    u = intrinsics[:, 0, 0, None] * x + intrinsics[:, 0, 1, None] * y + intrinsics[:, 0, 2, None]
    return torch.stack((u, intrinsics[:, 1, 1, None] * y + intrinsics[:, 1, 2, None]), -1)


def depth_to_ray_distance(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Converts planar depth (along the optical axis) to distance from the camera (along each pixel's ray).

    Args:
        depth: (B, 1, H, W), any unit.
        intrinsics: (B, 3, 3), pixels.

    Returns:
        (B, 1, H, W), the same unit.
    """
    return depth * _ray_length(depth, intrinsics)


def ray_distance_to_depth(ray_distance: Tensor, intrinsics: Tensor) -> Tensor:
    """Converts distance from the camera to planar depth: the inverse of `depth_to_ray_distance`, with the same shapes."""
    return ray_distance / _ray_length(ray_distance, intrinsics)


def depth_to_points(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Unprojects every pixel to its point in space.

    Args:
        depth: (B, 1, H, W) planar depth, any unit.
        intrinsics: (B, 3, 3), pixels.

    Returns:
        (B, 3, H, W), OPENCV axes, the same unit. `convert_normals` converts to other axes.
    """
    check_map(depth, 1, "depth")
    check_intrinsics(intrinsics, depth.shape[0], depth)
    return pixel_rays(intrinsics.to(depth.dtype), *depth.shape[-2:]) * depth


@without_autocast
def world_to_camera_points(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Transforms points from the world to cameras.

    Args:
        points: (B, 3, H, W) in world axes, in the unit of the extrinsics.
        extrinsics: (B, 3, 4), from the world to the camera.

    Returns:
        (B, 3, H, W), OPENCV axes of the camera.
    """
    rotation, shift = _pose(points, extrinsics)
    return (rotation @ points.flatten(2) + shift).view_as(points)


@without_autocast
def camera_to_world_points(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Transforms points from cameras to the world: the inverse of `world_to_camera_points`.

    Args:
        points: (B, 3, H, W), OPENCV axes of the camera, as from `depth_to_points`, in the unit of the extrinsics.
        extrinsics: (B, 3, 4), from the world to the camera.

    Returns:
        (B, 3, H, W) in world axes.
    """
    rotation, shift = _pose(points, extrinsics)
    return (rotation.mT @ (points.flatten(2) - shift)).view_as(points)


def _pose(points: Tensor, extrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and translation (B, 3, 1)."""
    check_map(points, 3, "points")
    check_extrinsics(extrinsics, points.shape[0], points)
    rotation, shift = extrinsics.to(points.dtype).split((3, 1), -1)
    return rotation, shift


def _ray_length(depth: Tensor, intrinsics: Tensor) -> Tensor:
    check_map(depth, 1, "depth")
    check_intrinsics(intrinsics, depth.shape[0], depth)
    return vector_lengths(pixel_rays(intrinsics.to(depth.dtype), *depth.shape[-2:]))


def _side_length(side: str, height: int, width: int) -> float:
    lengths = {
        "longer": max(height, width),
        "shorter": min(height, width),
        "horizontal": width,
        "vertical": height,
        "diagonal": math.hypot(height, width),
    }
    check_choice("side", side, tuple(lengths))
    return lengths[side]


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"the image's size is {width}x{height}; expected at least 1x1 pixel")


def _check_last(values: Tensor, length: int, name: str) -> None:
    if values.ndim != 3 or values.shape[-1] != length:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected (batch, count, {length})")
