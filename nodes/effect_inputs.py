"""Inputs of the effect nodes: raw geometry, or depth and normal maps that are read as geometry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..geometry.checks import are_shapes_alike, check_alike
from ..geometry.estimate import Estimate
from ..geometry.images.depth_image import METRES, DepthCoding, depth_map_to_estimate, joined_maps
from ..geometry.images.normal_map_image import normal_map_to_estimate
from ..geometry.views.transparency import Layers
from ..model_loader.comfy.devices import default_device
from ..model_loader.inference.memory_budget import check_effect_fits
from ..options.map_images import CODINGS
from ..utils import check_levels, resize_map, to_planar
from .batches import one_by_one
from .checks import check_count, check_geometry
from .widgets import Widget, image_input

logger = logging.getLogger(__name__)

# How effect nodes interpret a depth map.
_DEPTH = DepthCoding(
    name="depth",
    if_normals="link a normal map to normal_map of Relight",
    if_metres=f"link them to Depth Image to Geometry with values = {METRES}, and its output to geometry",
    if_sensor="link them to Depth Image to Geometry with near = black, values = depth and far_metres = 65.535, and its output to geometry",
)

# Size of the mask that core's nodes output for an image without alpha.
_NO_MASK = (64, 64)


def depth_input(purpose: str = "Depth map, if geometry is not linked.") -> Widget:
    """Input for a depth map, to use instead of raw depth."""
    return image_input(f"{purpose} Any pack's depth map, near = white, any size; read as disparity, which most networks predict.")


def check_depth_linked(geometry: Any, depth: Tensor | None, or_mask: bool = False) -> None:
    """Checks that a geometry or a depth map is linked; `or_mask`: the node also accepts a mask."""
    if geometry is None and depth is None:
        if or_mask:
            raise ValueError("there is neither depth nor a mask: link raw depth to geometry, a depth image to depth, or a mask to mask")
        raise ValueError(
            "there is no depth: link a depth image (near = white) to depth, or the output geometry of Depth & Normals to geometry"
        )


def effect_geometry(
    images: Tensor, geometry: Any, depth: Tensor | None, normal_map: Tensor | None = None, coding: str = CODINGS[0]
) -> Estimate:
    """The images' geometry, one estimate each, of any size in their shape: the geometry input if linked, else read from the maps."""
    batch, _, height, width = images.shape
    check_effect_fits(height, width, default_device())
    if geometry is not None:
        known_one = check_geometry(geometry)
        check_alike("geometry", (known_one.height, known_one.width), (height, width))
        return _for_batch(known_one, batch, "geometry")
    linked = {"depth": depth, "normal_map": normal_map}
    maps = {name: to_planar(each) for name, each in linked.items() if each is not None}
    for name, each in maps.items():
        check_count(name, len(each), "image", batch)
        rows, columns = each.shape[-2:]
        # Accepted, because saved graphs contain such maps.
        if not are_shapes_alike((rows, columns), (height, width)):
            own, others = f"{columns}x{rows}", f"{width}x{height}"
            words = f"{name} is stretched: it has {own} pixels, the image {others}, another shape; is it of another image?"
            logger.warning("%s", words)
    depths = depth_map_to_estimate(maps["depth"], _DEPTH) if "depth" in maps else None
    normals = normal_map_to_estimate(maps["normal_map"], coding, "normal_map") if "normal_map" in maps else None
    return _for_batch(joined_maps(depths, normals, height, width), batch, "depth")


def with_alpha(image: Tensor) -> Tensor:
    """Converts an IMAGE to (B, 3, H, W) in [0, 1], or (B, 4, H, W) with alpha; an HDR image keeps values above 1. Raises as `to_rgb`."""
    planar = to_planar(image)
    check_levels(planar, hdr=True)
    planar = planar.to(torch.float32).clamp(min=0)
    if planar.shape[1] < 4:
        return planar.expand(-1, 3, -1, -1)
    return torch.cat((planar[:, :3], planar[:, 3:].clamp(max=1)), 1)


def masks_of(mask: Any, name: str, total: int, of: str = "image") -> Tensor:
    """Converts a MASK to maps (1 or total, 1, H, W), float32 in [0, 1], one for all images or one each.

    It is (B, H, W), (B, 1, H, W) or (H, W), of floats or bool, of any size; `of` names the images in errors. Raises TypeError if it is no
    mask, ValueError for another shape or number of images, or NaN.
    """
    if not isinstance(mask, Tensor) or not (mask.is_floating_point() or mask.dtype == torch.bool):
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name} is of type {kind}; expected a MASK: (batch, height, width) in [0, 1]")
    masks = mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask[None] if mask.ndim == 2 else mask
    if masks.ndim != 3 or masks.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}; expected (batch, height, width) with at least one pixel")
    check_count(name, len(masks), of, total)
    if not bool((masks == masks).all()):
        raise ValueError(f"{name} holds {int(masks.isnan().sum())} NaN values; every pixel must be a number in [0, 1]")
    return masks[:, None].to(torch.float32).clamp(0, 1)


def refuse_no_mask(masks: Tensor, name: str, size: tuple[int, int]) -> None:
    """Rejects the black mask that Load Image outputs for an image without alpha; `size` is the images'."""
    if masks.shape[-2:] == _NO_MASK and masks.shape[-2:] != size and not bool(masks.any()):
        raise ValueError(f"{name} is black and 64x64, as Load Image gives it for an image without alpha: leave it unconnected")


def valid_pixels(mask: Any, maps: Tensor, of: str) -> Tensor:
    """The pixels of maps (B, C, H, W) that the MASK `mask` of any size shows white: (1 or B, 1, H, W) bool.

    Raises as `masks_of`, with `of`, and `refuse_no_mask`.
    """
    masks = masks_of(mask, "mask", len(maps), of)
    refuse_no_mask(masks, "mask", (maps.shape[-2], maps.shape[-1]))
    return resize_map(masks, maps.shape[-2], maps.shape[-1]) >= 0.5


def sky_mask_input(use: str) -> Widget:
    """Input for a sky mask, for `chosen_masks`; `use` says how the effect treats sky."""
    return "MASK", {"tooltip": f"Mask of the sky, e.g. from Sky Mask, white = sky: {use} If linked, sky is ignored."}


def chosen_masks(mask: Tensor | None, images: Tensor, name: str, find: bool = True) -> Iterator[Tensor | bool]:
    """Each image's mask, (1, 1, H, W) in [0, 1], from the MASK `name` of any size; without one, whether to detect it."""
    total, _, height, width = images.shape
    if mask is None:
        return iter((find,) * total)
    masks = masks_of(mask, name, total)
    refuse_no_mask(masks, name, (height, width))
    return (resize_map(masks[index % len(masks)][None], height, width).to(images.device) for index in range(total))


def _for_batch(estimate: Estimate, batch: int, name: str) -> Estimate:
    check_count(name, estimate.batch, "image", batch)
    return estimate if estimate.batch == batch else estimate.expanded(batch)


def images_with(images: Tensor, whole: Estimate) -> Iterator[tuple[Tensor, Estimate]]:
    """Yields each image with its estimate on the compute device, where a long batch would not fit."""
    device = default_device()
    estimates = one_by_one(whole, device, images.shape[-2] * images.shape[-1])
    for image, estimate in zip(images.split(1), estimates, strict=True):
        yield image.to(device), estimate


def layers_with(layers: Layers, whole: Estimate) -> Iterator[tuple[Layers, Estimate]]:
    """Yields the layers of each image with its estimate, on the compute device; fully transparent pixels become invalid."""
    for each, (_, estimate) in zip(layers.split(), images_with(layers.shown, whole), strict=True):
        layer = each.to(estimate.device)
        yield layer, layer.seen(estimate)


def sized_layers(layers: Layers, whole: Estimate) -> Iterator[tuple[Layers, Estimate]]:
    """As `layers_with`, each estimate at its image's size."""
    for layer, estimate in layers_with(layers, whole):
        yield layer, estimate.resized(layer.shown.shape[-2], layer.shown.shape[-1])
