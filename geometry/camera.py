"""The pinhole camera: intrinsics, pixels and rays, depth and points; and the camera of a point map.

Convention: intrinsics are in pixels; the centre of the first pixel is (0, 0), the middle of an image ((W - 1) / 2, (H - 1) / 2).
Rays and points are in OPENCV axes (+X right, +Y down, +Z away from the viewer); depth is Z.
`height` and `width` are the image's, in pixels. All functions raise ValueError for shapes that do not fit and for empty images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options.checks import check_choice
from ..utils import constant, counted, vector_lengths, without_autocast
from .checks import check_extrinsics, check_intrinsics, check_map, check_mask

DEFAULT_FOV = 55.0
"""Degrees on the longer side where the camera is unknown: about a 35 mm lens on full frame."""


def intrinsics_from_focal_length(
    focal_length: float | Tensor, height: int, width: int, *, focal_length_y: float | Tensor | None = None, batch: int = 1
) -> Tensor:
    """Intrinsics (B, 3, 3) float32 with the principal point at the middle of the image.

    Args:
        focal_length: In pixels; a number, or (B,) for one each. Otherwise `batch` copies.
        focal_length_y: Vertical focal length where pixels are not square; None = the same.

    Raises:
        ValueError: A focal length that is not positive and finite.
    """
    _check_size(height, width)
    fx = _numbers(focal_length).reshape(-1)
    fy = fx if focal_length_y is None else _numbers(focal_length_y).reshape(-1).to(fx.device)
    fx, fy = torch.broadcast_tensors(fx, fy)
    if fx.numel() == 1:
        fx, fy = fx.expand(batch), fy.expand(batch)
    intrinsics = centred_intrinsics(fx, fy, height, width)
    check_intrinsics(intrinsics, fx.shape[0])
    return intrinsics


def centred_intrinsics(fx: Tensor, fy: Tensor, height: int, width: int) -> Tensor:
    """`intrinsics_from_focal_length` of both focal lengths (B,), without checks, which would synchronise the device."""
    none, cx, cy = (0.0,) * 3, (width - 1) / 2, (height - 1) / 2
    centre, of_x, of_y = constant(
        fx, (((0.0, 0.0, cx), (0.0, 0.0, cy), (0.0, 0.0, 1.0)), ((1.0, 0.0, 0.0), none, none), (none, (0.0, 1.0, 0.0), none))
    )
    return torch.addcmul(centre, fx[:, None, None], of_x).addcmul_(fy[:, None, None], of_y)


def _numbers(values: float | Tensor) -> Tensor:
    """As float32. `torch.as_tensor` would move a tensor to torch's default device."""
    return values.float() if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.float32, device="cpu")


def check_fov(fov: float | Tensor) -> None:
    """Raises ValueError unless a field of view is between 0 and 180 degrees, exclusive."""
    degrees = _numbers(fov)
    if not bool(((degrees > 0) & (degrees < 180)).all()):
        raise ValueError(f"the field of view is {fov} degrees; expected between 0 and 180")


def intrinsics_from_fov(fov: float | Tensor, height: int, width: int, *, side: str = "longer", batch: int = 1) -> Tensor:
    """Intrinsics (B, 3, 3) float32 from a field of view.

    Args:
        fov: Degrees, between 0 and 180 exclusive; a number, or (B,) for one each. Otherwise `batch` copies.
        side: The image side that it spans: "longer", "shorter", "horizontal", "vertical" or "diagonal".

    Raises:
        ValueError: `fov` out of range, or unknown side.
    """
    check_fov(fov)
    half = 0.5 * _side_length(side, height, width)
    return intrinsics_from_focal_length(half / torch.tan(torch.deg2rad(_numbers(fov)) / 2), height, width, batch=batch)


def intrinsics_from_sensor(
    focal_length_mm: float, height: int, width: int, *, sensor_mm: float = 36.0, side: str = "longer", batch: int = 1
) -> Tensor:
    """`batch` copies of the intrinsics (B, 3, 3) float32 of a lens and a sensor.

    Args:
        sensor_mm: Length of the sensor along `side`; 36 = full frame, Blender's default, and "35 mm equivalent".
        side: "longer" (Blender's "auto"), "shorter", "horizontal", "vertical" or "diagonal".

    Raises:
        ValueError: A length that is not positive, or unknown side.
    """
    if not (focal_length_mm > 0 and sensor_mm > 0):
        raise ValueError(f"focal length {focal_length_mm} mm and sensor {sensor_mm} mm must both be positive")
    return intrinsics_from_focal_length(focal_length_mm / sensor_mm * _side_length(side, height, width), height, width, batch=batch)


def fov_from_intrinsics(intrinsics: Tensor, height: int, width: int, *, side: str = "longer") -> Tensor:
    """Field of view (B,) in degrees along `side` (longer, shorter, horizontal or vertical); the principal point is the image's middle."""
    check_intrinsics(intrinsics)
    _check_size(height, width)
    if side == "diagonal":
        raise ValueError("the diagonal has no focal length of its own; expected 'longer', 'shorter', 'horizontal' or 'vertical'")
    length = _side_length(side, height, width)
    horizontal = side == "horizontal" or (side == "longer" and width >= height) or (side == "shorter" and width < height)
    focal_length = intrinsics[:, 0, 0] if horizontal else intrinsics[:, 1, 1]
    return torch.rad2deg(2 * torch.atan(0.5 * length / focal_length))


def resize_intrinsics(intrinsics: Tensor, old_size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Intrinsics (B, 3, 3) after resizing the image from `old_size` to `new_size` (height, width).

    Pixel centres are whole numbers, and corners are aligned: u' + 0.5 = scale * (u + 0.5).
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
    """Intrinsics (B, 3, 3) after cropping `left` columns and `top` rows; negative numbers pad."""
    check_intrinsics(intrinsics)
    return intrinsics - intrinsics.new_tensor([[0, 0, left], [0, 0, top], [0, 0, 0]])


def pixel_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """The rays (B, 3, height, width) through the pixels' centres with Z = 1, not unit length: multiplied by depth they are points."""
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
    """The rays (B, N, 3) with Z = 1 through columns and rows (B, N, 2), which may be fractions."""
    check_intrinsics(intrinsics, pixels.shape[0], pixels)
    _check_last(pixels, 2, "pixels")
    y = (pixels[..., 1] - intrinsics[:, 1, 2, None]) / intrinsics[:, 1, 1, None]
    x = (pixels[..., 0] - intrinsics[:, 0, 2, None] - intrinsics[:, 0, 1, None] * y) / intrinsics[:, 0, 0, None]
    return torch.stack((x, y, torch.ones_like(x)), -1)


def ray_to_pixel(rays: Tensor, intrinsics: Tensor) -> Tensor:
    """Projects rays or points (B, N, 3), OPENCV axes, to columns and rows (B, N, 2) in pixels; NaN where Z <= 0."""
    check_intrinsics(intrinsics, rays.shape[0], rays)
    _check_last(rays, 3, "rays")
    z = torch.where(rays[..., 2] > 0, rays[..., 2], float("nan"))
    x, y = rays[..., 0] / z, rays[..., 1] / z
    u = intrinsics[:, 0, 0, None] * x + intrinsics[:, 0, 1, None] * y + intrinsics[:, 0, 2, None]
    return torch.stack((u, intrinsics[:, 1, 1, None] * y + intrinsics[:, 1, 2, None]), -1)


def depth_to_ray_distance(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Converts planar depth (along the optical axis), (B, 1, H, W), to distance from the camera (along each pixel's ray), in its unit."""
    return depth * _ray_length(depth, intrinsics)


def ray_distance_to_depth(ray_distance: Tensor, intrinsics: Tensor) -> Tensor:
    """Converts distance from the camera to planar depth: the inverse of `depth_to_ray_distance`, with the same shapes."""
    return ray_distance / _ray_length(ray_distance, intrinsics)


def depth_to_points(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Unprojects planar depth (B, 1, H, W) to points (B, 3, H, W) in its unit, OPENCV axes. `convert_normals` converts to others."""
    check_map(depth, 1, "depth")
    check_intrinsics(intrinsics, depth.shape[0], depth)
    return pixel_rays(intrinsics.to(depth.dtype), *depth.shape[-2:]) * depth


@without_autocast
def world_to_camera_points(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Transforms points (B, 3, H, W) from the world to cameras' OPENCV axes by extrinsics (B, 3, 4) of the same unit."""
    rotation, shift = _pose(points, extrinsics)
    return (rotation @ points.flatten(2) + shift).view_as(points)


@without_autocast
def camera_to_world_points(points: Tensor, extrinsics: Tensor) -> Tensor:
    """Transforms points (B, 3, H, W) in cameras' axes, as from `depth_to_points`, to the world: the inverse of `world_to_camera_points`."""
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


SAMPLED = 64
"""The camera is found from a grid of SAMPLED x SAMPLED points."""
_LEAST_POINTS = 2  # of them must be valid
# Levenberg-Marquardt: rounds, initial damping, its factors after success and failure, and the relative error reduction below which it
# stops. Without this limit, point maps that fit no camera would be moved to infinity.
_ROUNDS = 32
_FIRST_DAMPING, _EASED, _TIGHTENED = 1e-3, 0.1, 10.0
_WORTHWHILE = 1e-3
# Minimum relative variation of depth that determines the shift.
_FRONTAL = 1e-4


def find_focal_and_shift(
    points: Tensor, plane: Tensor, mask: Tensor | None = None, focal_length: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Finds the focal length and depth shift that project a point map onto its own pixels.

    Minimises the sum of |f * (x, y) / (z + s) - (u, v)|^2 over 64 x 64 points. The best focal length for each shift is known in closed
    form, so only the shift is searched: on the CPU, in float64, because a thousand small steps are as slow as large ones on a GPU.

    Args:
        points: (B, 3, H, W) in OPENCV axes; z > 0 where the mask is set.
        plane: (1, 2, H, W), u and v of each pixel, on the same device; the focal length has its unit.
        mask: (B, 1, H, W) bool; None = True everywhere.
        focal_length: (B,), if known.

    Returns:
        Focal length and shift, (B,) float32 each, on the CPU. NaN and 0 with fewer than two valid points or if no positive focal length
        fits. The device is synchronised once.

    Source:
        The problem: Wang et al., "MoGe" (2024), whose code minimises it with MINPACK. Solving for the focal length within the search: Golub
        and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems" (1973).
    """
    check_map(points, 3, "points")
    check_map(plane.expand(points.shape[0], -1, -1, -1), 2, "plane", points)
    check_mask(mask, points[:, :1])
    valid = torch.ones_like(points[:, :1]) if mask is None else mask.to(points.dtype)
    parts = (sampled(points), sampled(plane).expand(len(points), -1, -1, -1), sampled(valid))
    sample = torch.cat(parts, 1).cpu().flatten(2).double()
    valid = sample[:, 5:] > 0
    # Invalid pixels may hold anything, infinity included, and must not enter the sums.
    xy, z, uv = (torch.where(valid, part, neutral) for part, neutral in ((sample[:, :2], 0), (sample[:, 2:3], 1), (sample[:, 3:5], 0)))
    known_focal = None if focal_length is None else focal_length.cpu().double()[:, None, None]
    focal, shift = _search(xy, z, uv, z.amin(2, keepdim=True), known_focal)
    solved = (valid.sum((1, 2)) >= _LEAST_POINTS) & torch.isfinite(focal) & torch.isfinite(shift) & (focal > 0)
    return torch.where(solved, focal, torch.nan).float(), torch.where(solved, shift, 0).float()


def sampled(maps: Tensor) -> Tensor:
    """Samples maps (B, C, H, W) to (B, C, SAMPLED, SAMPLED)."""
    return maps if maps.shape[-2:] == (SAMPLED, SAMPLED) else F.interpolate(maps, size=(SAMPLED, SAMPLED), mode="nearest")


def _search(xy: Tensor, z: Tensor, uv: Tensor, nearest: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Focal length and shift (B,) of points (B, 2 and 1, N). The shift stays above `-nearest`, the least z."""
    shift, damping = torch.zeros_like(nearest), torch.full_like(nearest, _FIRST_DAMPING)
    going_on = torch.ones_like(nearest, dtype=torch.bool)
    # A frontal wall fits any shift: a derivative of mere rounding must not move it.
    least = _FRONTAL**2 * _dot(uv, uv) / nearest.square()
    focal, residual, slope = _residual(xy, z, uv, shift, known)
    for _ in range(_ROUNDS):
        step = -_dot(residual, slope) / (_dot(slope, slope) * (1 + damping) + least)
        # Points in the camera's plane have no projection: go at most half of the way there in one step.
        tried = torch.maximum(shift + step, (shift - nearest) / 2)
        tried_focal, tried_residual, tried_slope = _residual(xy, z, uv, tried, known)
        error, tried_error = _dot(residual, residual), _dot(tried_residual, tried_residual)
        better = going_on & (tried_error < error)
        going_on &= ~better | (tried_error < (1 - _WORTHWHILE) * error)
        damping = torch.where(better, damping * _EASED, damping * _TIGHTENED)
        shift, focal = torch.where(better, tried, shift), torch.where(better, tried_focal, focal)
        residual, slope = torch.where(better, tried_residual, residual), torch.where(better, tried_slope, slope)
        if not going_on.any():
            break
    return focal[:, 0, 0], shift[:, 0, 0]


def _residual(xy: Tensor, z: Tensor, uv: Tensor, shift: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The focal length, the reprojection error of each point (B, 2, N), and its derivative by the shift."""
    projected = xy / (z + shift)
    change = -projected / (z + shift)
    if known is not None:
        return known, known * projected - uv, known * change
    square = _dot(projected, projected)
    focal = _dot(projected, uv) / square
    focal_change = (_dot(change, uv) - 2 * focal * _dot(projected, change)) / square
    return focal, focal * projected - uv, focal_change * projected + focal * change


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)
