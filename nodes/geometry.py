"""Nodes that make geometry, from a model or from depth maps, derive normals from it, and align its edges with an image's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..annotators.moge import REFINED, MogeOptions
from ..geometry.assumptions import assumed_intrinsics
from ..geometry.camera import intrinsics_from_fov
from ..geometry.edges.refine import Derive, refine_geometry
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.images.depth_image import DepthCoding, depth_map_to_estimate
from ..geometry.kinds import ZERO_AT_CAMERA
from ..geometry.projections import need_perspective
from ..geometry.surfaces.derive import mask_of_depth, normals_of_depth, with_normals
from ..geometry.surfaces.normals import dmap2norm, midas_normals
from ..model_loader import Model
from ..model_loader.comfy.devices import default_device, image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..options.effects import RefineOptions
from ..options.estimate import AUTO, ONE_SCENE, EstimateOptions, RunOptions
from ..options.map_images import METRES
from ..options.render import MIDAS, PLANE_FIT, DepthMapOptions, DerivedNormalsOptions
from ..options.video import VideoOptions
from ..utils import images_to_rgb, to_images, to_planar, to_rgb
from .batches import for_all, geometry_output, in_chunks, one_by_one, with_progress
from .checks import check_geometry, check_model
from .effect_inputs import effect_geometry, images_with, valid_pixels
from .loading import LoadDepthNormalModel
from .option_widgets import Node, option_widgets, takes
from .widgets import CONVERT, DEPTH_NORMAL_MODEL, ESTIMATE, GEOMETRY, geometry_input, image_input


@takes(RefineOptions)
class RefineGeometry(Node):
    """Aligns the edges of geometry to the image's edges."""

    NODE_ID = "DepthNormal_RefineGeometry"
    DISPLAY_NAME = "Refine Geometry"
    DESCRIPTION = (
        "Aligns the edges of depth and normals to the edges of the image: ramps between near and far things become "
        "steps, and normals beside them follow their own surface. Surfaces and their textures do not change."
    )
    CATEGORY = ESTIMATE
    OUTPUTS: ClassVar = {"geometry": (GEOMETRY, "Depth, mask and normals after refinement, at the image's size.")}
    SEARCH_ALIASES = "refine depth, sharpen depth, depth edges, guided filter, joint bilateral upsampling, depth upscale, edge aware"
    INPUTS: ClassVar = {
        "required": {
            "image": image_input("The images that the geometry was estimated from, at the size that the result should have."),
            "geometry": geometry_input("Depth as numbers, with or without normals, of any size; one for each image, or one for all."),
        }
    }

    def execute(self, options: RefineOptions, image: Tensor, geometry: Estimate) -> tuple[Estimate]:
        derive = with_normals if options.normals == AUTO else None
        return (_refined(to_rgb(image), geometry, options.strength, options.radius, derive),)


def refined_by_images(estimate: Estimate, images: Tensor, refine: bool) -> Estimate:
    """The node's GEOMETRY at the size of its images (B, C, H, W), from `to_images`; refined if `refine` is set and there is depth."""
    return _refined(images_to_rgb(images), estimate) if refine and estimate.depth is not None else geometry_output(estimate)


def _refined(images: Tensor, geometry: Estimate, strength: float = 1.0, radius: int = 0, derive: Derive | None = None) -> Estimate:
    """Refines each image on the compute device; the result is on ComfyUI's intermediate device."""
    images = for_all(images, geometry)
    whole = effect_geometry(images, geometry, None)
    pairs = with_progress(images_with(images, whole), len(images))
    parts = (geometry_output(refine_geometry(estimate, image, strength, radius, derive)) for image, estimate in pairs)
    return Estimate.cat(parts, len(images))


_CODING = DepthCoding(
    name="the image",
    if_normals="for a normal map use Convert Normal Map",
    if_metres=f"choose values = {METRES}",
    if_sensor="choose near = black, values = depth and far_metres = 65.535",
    if_levels="choose values = disparity or depth (metres below 1: depth, near black, near_metres 0, far_metres 1)",
)


@takes(EstimateOptions)
class EstimateGeometry(Node):
    """Estimates raw depth and normals with a model."""

    NODE_ID = "DepthNormal_EstimateGeometry"
    DISPLAY_NAME = "Depth & Normals (advanced)"
    DESCRIPTION = (
        "Estimates depth, normals or both from images and outputs them as raw numbers: metres stay metres and vectors "
        "stay vectors. Render Depth and Render Normals turn them into images."
    )
    CATEGORY = ESTIMATE
    OUTPUTS: ClassVar = {
        "geometry": (
            GEOMETRY,
            "Depth, normals or both as numbers, not as an image, at the images' own size: for Render Depth, Render Normals and "
            "the other nodes.",
        )
    }
    SEARCH_ALIASES = (
        "depth estimation, estimate depth, estimate geometry, depth estimator, normal estimation, depth map, normal map, monocular depth, "
        "metric depth, controlnet preprocessor, depth preprocessor, image to depth, photo to depth, tiled depth, high resolution depth, "
        "multi view"
    )
    INPUTS: ClassVar = {"required": {"model": (DEPTH_NORMAL_MODEL, {"tooltip": "From Load Depth Model."}), "image": image_input()}}

    def execute(self, options: EstimateOptions, model: Model, image: Tensor) -> tuple[Estimate]:
        check_model(model)
        if model.spec in REFINED:
            model = model.with_options(MogeOptions(options.refine_steps))
        return (estimate_images(lambda: model, image, options, with_normals if options.normals == AUTO else None),)


def estimate_images(load: Callable[[], Model], image: Tensor, options: RunOptions, derive: Derive | None) -> Estimate:
    """Runs an IMAGE through a model, with ComfyUI's progress bar; the estimate is on ComfyUI's intermediate device, at the images' size.

    `load` is called after the images were checked, so that nothing is downloaded for invalid input. `derive` adds normals to an estimate;
    None = none are added. Raises as `utils.to_images`.
    """
    images = to_images(image)
    model, total = load(), images.shape[0]
    size, fov = options.resolution or None, options.fov
    if options.views == ONE_SCENE:
        estimate = model.estimate_scene(images, size, progress_bar(total), fov=fov, derive=derive)
        return refined_by_images(estimate, images, options.refine)
    if options.film:
        frames = model.estimate_video(in_chunks(images), VideoOptions(smooth=options.smooth), size=size, fov=fov, derive=derive)
        estimate = Estimate.cat(with_progress(frames, total, lambda part: part.batch), total, images.device)
        return refined_by_images(estimate, images, options.refine)
    refine = (options.refine or None) if options.sharp else False
    estimate = model.estimate(images, size, progress_bar(total), fov=fov, derive=derive, tiles=options.tiles, refine=refine)
    return refined_by_images(estimate, images, options.refine and not options.sharp)


@takes(DepthMapOptions)
class DepthImageToGeometry(Node):
    """Converts any pack's depth maps to raw depth."""

    NODE_ID = "DepthNormal_DepthImageToGeometry"
    DISPLAY_NAME = "Depth Image to Geometry"
    DESCRIPTION = "Converts a depth map from any pack or renderer to raw depth: near white or far white, with or without a range in metres."
    CATEGORY = CONVERT
    OUTPUTS: ClassVar = {"geometry": (GEOMETRY, "Metric depth if the range is known, else disparity or relative depth.")}
    SEARCH_ALIASES = (
        "depth map, depth image, z depth, z-depth, z pass, zpass, z buffer, depth pass, import depth, lidar, depth camera, measured depth, "
        "depth to geometry"
    )
    INPUTS: ClassVar = {
        "required": {"image": image_input("Greyscale depth maps. Where an alpha channel is below 0.5, the depth is unknown.")},
        "optional": {**option_widgets(DepthMapOptions), "mask": ("MASK", {"tooltip": "White where the depth is valid, any size."})},
    }

    def execute(self, options: DepthMapOptions, image: Tensor, mask: Tensor | None = None) -> tuple[Estimate]:
        near, far = options.near_metres, options.far_metres
        coding = replace(_CODING, near=options.near, values=options.values, metric_range=(near, far) if far > 0 or near > 0 else None)
        planes = to_planar(image)
        valid = None if mask is None else valid_pixels(mask, planes, "image")
        estimate = depth_map_to_estimate(planes, coding, valid)
        intrinsics = intrinsics_from_fov(options.fov, estimate.height, estimate.width, batch=estimate.batch) if options.fov else None
        return (geometry_output(replace(estimate, intrinsics=intrinsics)),)


@takes(DerivedNormalsOptions)
class NormalsFromDepth(Node):
    """Computes normals from raw depth."""

    NODE_ID = "DepthNormal_NormalsFromDepth"
    DISPLAY_NAME = "Depth to Normals"
    DESCRIPTION = "Computes normals from raw depth: exact on planes, sharp at edges, smooth in noise. Existing normals are replaced."
    CATEGORY = CONVERT
    OUTPUTS: ClassVar = {"geometry": (GEOMETRY, "The same geometry with normals computed from its depth.")}
    SEARCH_ALIASES = (
        "normals from depth, normal map from depth, depth to normal map, depth map to normal map, lidar, surface normals, dmap2norm"
    )
    INPUTS: ClassVar = {"required": {"geometry": geometry_input()}}

    def execute(self, options: DerivedNormalsOptions, geometry: Any) -> tuple[Estimate]:
        estimate = check_geometry(geometry)
        method, fov = options.method, options.fov
        if method != PLANE_FIT:
            need_perspective(estimate, f"the method {method}")
        if method == PLANE_FIT:
            derive, axes = partial(normals_of_depth, edges=options.edges, fov=fov, near_far_ratio=options.near_far_ratio), Axes.OPENGL
        else:
            derive, axes = partial(_slopes, method=method, a=options.a, bg_threshold=options.bg_threshold), Axes.SCANNET
        home = image_placement()[0]
        images = with_progress(one_by_one(estimate, default_device()), estimate.batch)
        normals = torch.cat([derive(image).to(home) for image in images])
        camera = assumed_intrinsics(estimate, fov) if fov else estimate.intrinsics
        return (replace(estimate, normals=normals, axes=axes, mask=mask_of_depth(estimate), intrinsics=camera),)


def _slopes(estimate: Estimate, method: str, a: float, bg_threshold: float) -> Tensor:
    """Normals by one of the old methods, which support only some quantities."""
    accepted = (Quantity.DISPARITY,) if method == MIDAS else (*ZERO_AT_CAMERA, Quantity.RELATIVE_DEPTH)
    if estimate.depth is None or estimate.quantity not in accepted:
        gives = "no depth" if estimate.quantity is None else estimate.quantity.value
        raise ValueError(f"the geometry has {gives}; {method} needs {' or '.join(accepted)}; use {PLANE_FIT}")
    return midas_normals(estimate.depth, a, bg_threshold) if method == MIDAS else dmap2norm(estimate.depth)


NODES = (LoadDepthNormalModel, EstimateGeometry, DepthImageToGeometry, NormalsFromDepth, RefineGeometry)
