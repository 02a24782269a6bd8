"""Nodes that make geometry: from a model, from depth maps, and normals from depth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor

from ..annotators.moge import REFINED, MogeOptions
from ..geometry.assumptions import assumed_intrinsics
from ..geometry.camera import intrinsics_from_fov
from ..geometry.edges.refine import Derive
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.images.depth_image import LINEAR_IN, METRES, VALUES, DepthCoding, depth_map_to_estimate
from ..geometry.projections import need_perspective
from ..geometry.surfaces.derive import mask_of_depth, normals_of_depth, with_normals
from ..geometry.surfaces.normals import EDGES, dmap2norm, midas_normals
from ..model_loader import Model
from ..model_loader.comfy.devices import default_device, image_placement
from ..model_loader.comfy.feedback import progress_bar
from ..options.checks import check_choice, check_range
from ..options.estimate import AUTO, ONE_SCENE, EstimateOptions, RunOptions
from ..options.map_images import NEAR
from ..options.video import VideoOptions
from ..utils import to_images, to_planar
from .batches import geometry_output, images_with_progress, in_chunks, one_by_one, with_progress
from .checks import check_camera, check_geometry, check_model
from .load_model import LoadDepthNormalModel
from .option_widgets import option_widgets, takes
from .refine import refined_by_images
from .sockets import CONVERT, DEPTH_NORMAL_MODEL, ESTIMATE, GEOMETRY, Inputs
from .widgets import (
    background_widget,
    choice_widget,
    flatness_widget,
    fov_widget,
    geometry_input,
    image_input,
    near_far_ratio_widget,
    near_widget,
    number_widget,
)

DISPARITY = LINEAR_IN[0]
PLANE_FIT, MIDAS, DMAP2NORM = METHODS = ("plane fit", "midas", "dmap2norm")
MAX_METRES = 1e6
MAX_A = 1000.0

_CODING = DepthCoding(
    name="the image",
    if_normals="for a normal map use Convert Normal Map",
    if_metres=f"choose values = {METRES}",
    if_levels="choose values = disparity or depth (metres below 1: depth, near black, near_metres 0, far_metres 1)",
)


@takes(EstimateOptions)
class EstimateGeometry:
    """Estimates raw depth and normals with a model."""

    NODE_ID = "DepthNormal_EstimateGeometry"
    DISPLAY_NAME = "Depth & Normals (advanced)"
    DESCRIPTION = (
        "Estimates depth, normals or both from images and outputs them as raw numbers: metres stay metres and vectors "
        "stay vectors. Render Depth and Render Normals turn them into images."
    )
    CATEGORY, FUNCTION = ESTIMATE, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = (
        "Depth, normals or both as numbers, not as an image, at the images' own size: for Render Depth, Render Normals and "
        "the other nodes.",
    )
    SEARCH_ALIASES: ClassVar = [
        "depth estimation",
        "estimate depth",
        "estimate geometry",
        "depth estimator",
        "normal estimation",
        "depth map",
        "normal map",
        "monocular depth",
        "metric depth",
        "controlnet preprocessor",
        "depth preprocessor",
        "image to depth",
        "photo to depth",
        "tiled depth",
        "high resolution depth",
        "multi view",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "model": (DEPTH_NORMAL_MODEL, {"tooltip": "From Load Depth Model."}),
                "image": image_input(),
            },
            "optional": {
                **option_widgets(EstimateOptions),
            },
        }

    def execute(self, options: EstimateOptions, model: Model, image: Tensor) -> tuple[Estimate]:
        """Returns the geometry."""
        check_model(model)
        if model.spec in REFINED:
            model = model.with_options(MogeOptions(options.refine_steps))
        return (estimate_images(lambda: model, image, options, with_normals if options.normals == AUTO else None),)


class _Common(TypedDict):
    """What a model is asked in all ways of running it."""

    fov: float
    derive: Derive | None


def estimate_images(load: Callable[[], Model], image: Tensor, options: RunOptions, derive: Derive | None) -> Estimate:
    """Runs images through a model, with ComfyUI's progress bar.

    Args:
        load: Loads the model; called after the images were checked, so that nothing is downloaded for invalid input.
        image: ComfyUI's IMAGE, (B, H, W, C).
        options: How.
        derive: Adds normals to an estimate; None: nothing is added.

    Returns:
        The estimate at the images' own size, on ComfyUI's intermediate device.

    Raises:
        ValueError: Images that `utils.to_images` refuses.
    """
    images = to_images(image)
    model, total = load(), images.shape[0]
    size, common = options.resolution or None, _Common(fov=options.fov, derive=derive)
    if options.views == ONE_SCENE:
        found = model.estimate_scene(images, size, progress_bar(total), **common)
        return refined_by_images(found, images, options.refine)
    if options.film:
        frames = model.estimate_video(in_chunks(images), VideoOptions(smooth=options.smooth), size=size, **common)
        found = Estimate.cat(images_with_progress(frames, total), total, images.device)
        return refined_by_images(found, images, options.refine)
    refine = (options.refine or None) if options.sharp else False
    found = model.estimate(images, size, progress_bar(total), tiles=options.tiles, refine=refine, **common)
    return refined_by_images(found, images, options.refine and not options.sharp)


class DepthImageToGeometry:
    """Converts any pack's depth maps to raw depth."""

    NODE_ID = "DepthNormal_DepthImageToGeometry"
    DISPLAY_NAME = "Depth Image to Geometry"
    DESCRIPTION = "Converts a depth map from any pack or renderer to raw depth: near white or far white, with or without a range in metres."
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("Metric depth if the range is known, else disparity or relative depth.",)
    SEARCH_ALIASES: ClassVar = [
        "depth map",
        "depth image",
        "z depth",
        "z-depth",
        "z pass",
        "zpass",
        "z buffer",
        "depth pass",
        "import depth",
        "lidar",
        "depth camera",
        "measured depth",
        "depth to geometry",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        values = (
            "What the grey levels measure, in equal steps. disparity: 1 / depth (MiDaS, Depth Anything, ControlNet). depth: "
            "distance (most renderers, depth cameras). metres: the values themselves are metres, e.g. from an EXR."
        )
        near_metres = "Depth in metres at the near end of the grey levels; for disparity above 0."
        far_metres = (
            "Depth in metres at the far end of the grey levels. 0: the range is unknown. 16-bit millimetres: depth, "
            "near black, 0 to 65.535."
        )
        mask = "White where the depth is valid, at the depth map's size."
        fov = "Field of view of the longer side in degrees, kept as the geometry's camera. 0: unknown."
        return {
            "required": {"image": image_input("Greyscale depth maps. Where an alpha channel is below 0.5, the depth is unknown.")},
            "optional": {
                "near": near_widget(),
                "values": choice_widget(VALUES, values, DISPARITY),
                "near_metres": number_widget(0.0, 0.0, MAX_METRES, 0.01, near_metres),
                "far_metres": number_widget(0.0, 0.0, MAX_METRES, 0.01, far_metres),
                "fov": fov_widget(fov),
                "mask": ("MASK", {"tooltip": mask}),
            },
        }

    def execute(
        self,
        image: Tensor,
        near: str = NEAR[0],
        values: str = DISPARITY,
        near_metres: float = 0.0,
        far_metres: float = 0.0,
        fov: float = 0.0,
        mask: Tensor | None = None,
    ) -> tuple[Estimate]:
        """Returns the geometry."""
        check_range("near_metres", near_metres, 0, MAX_METRES)
        check_range("far_metres", far_metres, 0, MAX_METRES)
        check_camera(fov)
        metric_range = (near_metres, far_metres) if far_metres > 0 or near_metres > 0 else None
        coding = replace(_CODING, near=near, values=values, metric_range=metric_range)
        planes = to_planar(image)
        known = None if mask is None else _known(mask, planes)
        estimate = depth_map_to_estimate(planes, coding, known)
        intrinsics = intrinsics_from_fov(fov, estimate.height, estimate.width, batch=estimate.batch) if fov else None
        return (geometry_output(replace(estimate, intrinsics=intrinsics)),)


class NormalsFromDepth:
    """Computes normals from raw depth."""

    NODE_ID = "DepthNormal_NormalsFromDepth"
    DISPLAY_NAME = "Depth to Normals"
    DESCRIPTION = "Computes normals from raw depth: exact on planes, sharp at edges, smooth in noise. Existing normals are replaced."
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("The same geometry with normals computed from its depth.",)
    SEARCH_ALIASES: ClassVar = [
        "normals from depth",
        "normal map from depth",
        "depth to normal map",
        "depth map to normal map",
        "lidar",
        "surface normals",
        "dmap2norm",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        method = (
            "How normals are computed. plane fit: the true surface. midas: slopes of raw disparity, as for ControlNet "
            "1.0. dmap2norm: slopes of depth, as in the Blender tutorial. The last two ignore the camera."
        )
        edges = (
            "How sharp the depth's edges are, for plane fit. sharp: ground truth or measured depth. soft: depth whose "
            "edges are ramps, as most networks predict. auto: detected in the depth."
        )
        a = "How flat the surface looks, for midas: larger values give flatter normals."
        background = (
            "Where the background begins, for midas: pixels farther than this (0 = farthest, 1 = nearest) get a "
            "normal that faces the viewer."
        )
        return {
            "required": {"geometry": geometry_input()},
            "optional": {
                "method": choice_widget(METHODS, method),
                "edges": choice_widget((AUTO, "sharp", "soft"), edges),
                "fov": fov_widget(),
                "near_far_ratio": near_far_ratio_widget(),
                "a": flatness_widget(a, MAX_A, advanced=True),
                "bg_threshold": background_widget(background, advanced=True),
            },
        }

    def execute(
        self,
        geometry: Any,
        method: str = PLANE_FIT,
        edges: str = "auto",
        fov: float = 0.0,
        near_far_ratio: float = 0.0,
        a: float = math.tau,
        bg_threshold: float = 0.1,
    ) -> tuple[Estimate]:
        """Returns the geometry with normals."""
        estimate = check_geometry(geometry)
        check_choice("method", method, METHODS)
        check_choice("edges", edges, EDGES)
        check_camera(fov, near_far_ratio)
        check_range("a", a, 0, MAX_A)
        check_range("bg_threshold", bg_threshold, 0, 1)
        if method != PLANE_FIT:
            need_perspective(estimate, f"the method {method}")
        if method == PLANE_FIT:
            derive, axes = partial(normals_of_depth, edges=edges, fov=fov, near_far_ratio=near_far_ratio), Axes.OPENGL
        else:
            derive, axes = partial(_slopes, method=method, a=a, bg_threshold=bg_threshold), Axes.SCANNET
        home = image_placement()[0]
        images = with_progress(one_by_one(estimate, default_device()), estimate.batch)
        normals = torch.cat([derive(image).to(home) for image in images])
        camera = assumed_intrinsics(estimate, fov) if fov else estimate.intrinsics
        return (replace(estimate, normals=normals, axes=axes, mask=mask_of_depth(estimate), intrinsics=camera),)


def _slopes(estimate: Estimate, method: str, a: float, bg_threshold: float) -> Tensor:
    depth = _slope_depth(estimate, method)
    return midas_normals(depth, a, bg_threshold) if method == MIDAS else dmap2norm(depth)


def _slope_depth(estimate: Estimate, method: str) -> Tensor:
    """Returns the depth for one of the old methods; each takes only some quantities."""
    accepted = (Quantity.DISPARITY,) if method == MIDAS else (Quantity.METRIC_DEPTH, Quantity.RELATIVE_DEPTH)
    if estimate.depth is None or estimate.quantity not in accepted:
        found = "no depth" if estimate.quantity is None else estimate.quantity.value
        raise ValueError(f"the geometry has {found}; {method} needs {' or '.join(accepted)}; use {PLANE_FIT}")
    return estimate.depth


def _known(mask: Tensor, image: Tensor) -> Tensor:
    """Reads the mask of depth maps (B, C, H, W): (B or 1, 1, H, W) bool."""
    stack = (mask if mask.ndim == 3 else mask[None])[:, None]
    expected = (image.shape[0], *image.shape[-2:])
    if stack.shape[-2:] != expected[1:] or stack.shape[0] not in (1, expected[0]):
        raise ValueError(
            f"the mask has shape {tuple(mask.shape)}; expected {expected} or one for all, as the images "
            "(Load Image's mask of an image without alpha is 64x64: leave it unconnected)"
        )
    return stack >= 0.5


NODES = (LoadDepthNormalModel, EstimateGeometry, DepthImageToGeometry, NormalsFromDepth)
