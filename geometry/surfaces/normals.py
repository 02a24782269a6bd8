"""Normals from depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_choice
from ...options.render import EDGES
from ...utils import without_autocast
from ..assumptions import assumed_depth, assumed_intrinsics
from ..checks import check_intrinsics, check_map, check_mask
from ..conventions import unit_normals
from ..estimate import Axes, Estimate, Quantity
from ..filters.bands import by_bands
from ..images.render import normalise_per_image
from ..levels import sampled
from ..valid import valid_depth
from .noise import measure_noise
from .plane_fit import fit_planes
from .scattered_fit import fit_isolated

_SMOOTH = {3: (1.0, 2.0, 1.0), 5: (1.0, 4.0, 6.0, 4.0, 1.0)}
_DIFFERENCE = {3: (-1.0, 0.0, 1.0), 5: (-1.0, -2.0, 0.0, 2.0, 1.0)}


def midas_normals(disparity: Tensor, a: float = 6.283185307179586, bg_threshold: float = 0.1) -> Tensor:
    """The MiDaS normal map's vectors: Sobel slopes of raw disparity against a constant z.

    The formula of ControlNet 1.0's annotator, on whose images its `normal` model was trained. It ignores the camera; for correct normals
    use `disparity_to_normals`.

    Args:
        disparity: (B, 1, H, W), large = near, in the network's own unit (the result depends on it).
        a: The z of every vector before normalisation; smaller = stronger relief.
        bg_threshold: Slopes are zero where the disparity, min-max normalised per image, is below this.

    Returns:
        (B, 3, H, W) float32 unit vectors in SCANNET axes; zero vectors (`a` = 0 on flat parts) become (0, 0, 1). The ControlNet image is
        `encode_normal_map(vectors, "controlnet-1.0-normal", source=Axes.SCANNET)`.

    Source:
        lllyasviel/ControlNet, annotator/midas (Sobel with ksize 3 and OpenCV's default border, reflect without the edge).
    """
    check_map(disparity, 1, "disparity")
    disparity = _finite(disparity.float())
    background = normalise_per_image(disparity) < bg_threshold
    slopes = _sobel(disparity, 3).masked_fill(background, 0)
    return unit_normals(torch.cat((slopes, torch.full_like(disparity, a)), 1), Axes.SCANNET)


def dmap2norm(depth: Tensor) -> Tensor:
    """The normals of the Blender tutorial's `dmap2norm`: 5x5 Sobel slopes of depth (B, 1, H, W), large = far, against z = 1.

    The result depends on the depth's unit: (B, 3, H, W) float32 unit vectors in SCANNET axes (the tutorial's x points left). Its `nmap`
    array, x last, is `encode_normal_map(vectors, "controlnet-1.0-normal", source=Axes.SCANNET)`.

    Source:
        S. Khichi, "Generate Depth and Normal Maps with Blender" (2021), https://www.saifkhichi.com/blog/blender-depth-map-surface-normals
    """
    check_map(depth, 1, "depth")
    depth = _finite(depth.float())
    return unit_normals(torch.cat((-_sobel(depth, 5), torch.ones_like(depth)), 1), Axes.SCANNET)


def depth_to_normals(depth: Tensor, intrinsics: Tensor, mask: Tensor | None = None, edges: str = "sharp") -> Tensor:
    """Normals of the surface in a depth map.

    Exact on planes up to borders and edges, at any tilt and depth scale. The window follows the noise: 3x3 pixels for clean depth, larger
    where depth is noisy or quantised and the surface is flat. Raises ValueError: maps or intrinsics of the wrong shape, dtype or device,
    impossible intrinsics, or unknown `edges`.

    Args:
        depth: (B, 1, H, W) planar depth (along the optical axis), any unit, large = far. NaN, infinite, zero and negative values are holes.
        intrinsics: (B, 3, 3), in pixels of this size, centre of the first pixel = (0, 0).
        mask: (B, 1, H, W) bool; None = True everywhere. Masked pixels are never used.
        edges: "sharp" for true or measured depth; "soft" for depth whose edges are ramps (most networks' depth, resized depth): pixels on a
            ramp take the normal of the surface beside it; "auto" decides image by image.

    Returns:
        (B, 3, H, W) unit vectors in OPENGL axes, float32 (float64 for float64 depth); (0, 0, 1) where there is no depth. They face the
        camera: normal . ray < 0. In perspective a visible surface (a ceiling) may have z < 0.

    Source:
        Inverse depth of a plane is linear in pixels; its slopes times the camera matrix are the normal. For the slopes see `plane_fit`.
    """
    check_map(depth, 1, "depth")
    check_intrinsics(intrinsics, depth.shape[0], depth)
    check_mask(mask, depth)
    check_choice("edges", edges, EDGES)
    depth = depth if depth.dtype == torch.float64 else depth.float()
    valid = valid_depth(depth, Quantity.METRIC_DEPTH, mask)
    normals = [_image_normals(*image, edges) for image in zip(depth.split(1), intrinsics.to(depth.dtype), valid.split(1), strict=True)]
    return torch.cat(normals)


def disparity_to_normals(
    disparity: Tensor, mask: Tensor | None = None, fov: float | None = None, near_far_ratio: float | None = None, edges: str = "auto"
) -> Tensor:
    """Normals, as `depth_to_normals`, from disparity of unknown scale and shift (MiDaS, Depth Anything).

    The scale does not matter. The shift matters most; it follows from an assumed ratio of far to near depth. A field of view that is 15
    degrees off costs about 4 degrees of normal. Raises ValueError: maps of the wrong shape, dtype or device, `fov` not below 180, or a
    ratio that is not above 1.

    Args:
        disparity: (B, 1, H, W), large = near, any scale and shift.
        fov: Degrees on the longer side; None or 0 = 55.
        near_far_ratio: As `assumed_depth`.
    """
    check_map(disparity, 1, "disparity")
    check_mask(mask, disparity)
    disparity = disparity if disparity.dtype == torch.float64 else disparity.float()
    estimate = Estimate(depth=disparity, quantity=Quantity.DISPARITY, mask=mask)
    return depth_to_normals(assumed_depth(estimate, near_far_ratio), assumed_intrinsics(estimate, fov), edges=edges)


def _image_normals(depth: Tensor, intrinsics: Tensor, valid: Tensor, edges: str) -> Tensor:
    """Normals of one image: depth (1, 1, H, W), intrinsics (3, 3), valid (1, 1, H, W) bool."""
    weight, one = valid.to(depth), depth.new_ones(())
    # A power of two normalises the unit without rounding.
    unit = torch.exp2(torch.log2(sampled(depth, valid).median()).round()) if bool(valid.any()) else one
    # Beyond a millionth or a million times the median depth, squares would overflow float32.
    inverse = (unit / torch.where(valid, depth, unit)).clamp_(1e-6, 1e6)
    fx, skew, cx, fy, cy = intrinsics[0, 0], intrinsics[0, 1], intrinsics[0, 2], intrinsics[1, 1], intrinsics[1, 2]
    depth_noise = measure_noise(inverse, weight)
    soft = edges == "soft" or (edges == "auto" and depth_noise.soft)
    planes = fit_isolated(fit_planes(inverse, weight, float((fx + fy) / 2), depth_noise, soft), inverse, weight, intrinsics)
    v = torch.arange(depth.shape[-2], device=depth.device, dtype=depth.dtype).view(1, 1, -1, 1) - cy
    u = torch.arange(depth.shape[-1], device=depth.device, dtype=depth.dtype) - cx

    def band_normals(value: Tensor, slope_x: Tensor, slope_y: Tensor, weight: Tensor, v: Tensor) -> tuple[Tensor]:
        x = -fx * slope_x * weight
        y = (fy * slope_y + skew * slope_x) * weight
        z = torch.lerp(one, value - u * slope_x - v * slope_y, weight)
        return (torch.cat((x, y, z), 1) * torch.rsqrt(x * x + y * y + z * z),)

    return by_bands(band_normals, 0, *planes, weight, v)[0]


@without_autocast
def _sobel(values: Tensor, size: int) -> Tensor:
    """(B, 2, H, W) unnormalised derivatives along columns and rows, with OpenCV's kernels and default border."""
    smooth, difference = values.new_tensor(_SMOOTH[size]), values.new_tensor(_DIFFERENCE[size])
    padded = _reflect(values, size // 2)
    gx = F.conv2d(F.conv2d(padded, smooth.view(1, 1, -1, 1)), difference.view(1, 1, 1, -1))
    gy = F.conv2d(F.conv2d(padded, difference.view(1, 1, -1, 1)), smooth.view(1, 1, 1, -1))
    return torch.cat((gx, gy), 1)


def _reflect(values: Tensor, radius: int) -> Tensor:
    """Reflects the map at its borders without repeating the edge, for maps of any size: a side of 1 repeats its only pixel."""
    for axis in (-2, -1):
        length = values.shape[axis]
        period = max(1, 2 * length - 2)
        index = torch.arange(-radius, length + radius, device=values.device).remainder(period)
        values = values.index_select(axis, torch.where(index < length, index, period - index))
    return values


def _finite(values: Tensor) -> Tensor:
    return torch.where(torch.isfinite(values), values, 0)
