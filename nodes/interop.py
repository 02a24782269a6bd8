"""Converts raw geometry to and from core ComfyUI's MoGe and Depth Anything 3 nodes."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..geometry.checks import check_choice
from ..geometry.comfy_dicts import da3_to_estimate, estimate_to_da3, estimate_to_moge, moge_to_estimate
from ..geometry.estimate import Estimate, Quantity
from .batches import geometry_output, image_for
from .checks import check_camera, check_geometry
from .sockets import CONVERT, DA3_GEOMETRY, GEOMETRY, MOGE_GEOMETRY, Inputs
from .widgets import AUTO, choice_widget, fov_widget, geometry_input, image_input, near_far_ratio_widget

DEPTH_QUANTITIES = (AUTO, Quantity.METRIC_DEPTH.value, Quantity.RELATIVE_DEPTH.value)


def _inputs() -> Inputs:
    image = "The image that the geometry was estimated from: texture for the meshes of ComfyUI's own nodes. It is resized to the geometry."
    return {
        "required": {
            "geometry": geometry_input("Depth, normals or both as numbers, e.g. from Depth & Normals."),
            "image": image_input(image),
        },
        "optional": {"fov": fov_widget(), "near_far_ratio": near_far_ratio_widget()},
    }


def _check(geometry: Any, fov: float, near_far_ratio: float) -> Estimate:
    check_camera(fov, near_far_ratio)
    return check_geometry(geometry)


class GeometryToMoge:
    """Converts geometry for core's MoGe nodes."""

    NODE_ID = "DepthNormal_GeometryToMoGe"
    DISPLAY_NAME = "Geometry to MoGe"
    DESCRIPTION = "Converts raw depth and normals for ComfyUI's own MoGe nodes: Render MoGe Geometry, Convert MoGe Point Map to Mesh."
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (MOGE_GEOMETRY,)
    RETURN_NAMES: ClassVar = ("moge_geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("The same kind of output as Run MoGe Inference, made from this geometry.",)
    SEARCH_ALIASES: ClassVar = ["moge", "mesh", "point cloud", "3d", "glb", "convert geometry"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return _inputs()

    def execute(self, geometry: Any, image: Tensor, fov: float = 0.0, near_far_ratio: float = 0.0) -> tuple[dict[str, Tensor]]:
        """Returns core's dictionary."""
        estimate = _check(geometry, fov, near_far_ratio)
        return (estimate_to_moge(estimate, image_for(estimate, image), fov, near_far_ratio),)


class MogeToGeometry:
    """Converts core's MoGe geometry to this pack's."""

    NODE_ID = "DepthNormal_MoGeToGeometry"
    DISPLAY_NAME = "MoGe to Geometry"
    DESCRIPTION = (
        "Converts the output of ComfyUI's own Run MoGe Inference: depth, normals, mask and camera. Panoramas are not "
        "supported. MoGe 1's depth has no unit (scale-invariant)."
    )
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("Metric depth, and normals if MoGe predicts them.",)
    SEARCH_ALIASES: ClassVar = ["moge", "convert geometry"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {"required": {"moge_geometry": (MOGE_GEOMETRY, {"tooltip": "The output of Run MoGe Inference."})}}

    def execute(self, moge_geometry: dict[str, Any]) -> tuple[Estimate]:
        """Returns the geometry."""
        return (geometry_output(moge_to_estimate(moge_geometry)),)


class GeometryToDa3:
    """Converts geometry for core's Depth Anything 3 nodes."""

    NODE_ID = "DepthNormal_GeometryToDA3"
    DISPLAY_NAME = "Geometry to Depth Anything 3"
    DESCRIPTION = "Converts raw depth for ComfyUI's own Depth Anything 3 nodes: Render Depth Anything 3, Convert DA3 Geometry to Mesh."
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (DA3_GEOMETRY,)
    RETURN_NAMES: ClassVar = ("da3_geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("The same kind of output as Run Depth Anything 3, made from this geometry.",)
    SEARCH_ALIASES: ClassVar = ["da3", "depth anything", "mesh", "point cloud", "3d", "glb", "convert geometry"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return _inputs()

    def execute(self, geometry: Any, image: Tensor, fov: float = 0.0, near_far_ratio: float = 0.0) -> tuple[dict[str, Tensor | str]]:
        """Returns core's dictionary."""
        estimate = _check(geometry, fov, near_far_ratio)
        return (estimate_to_da3(estimate, image_for(estimate, image), fov, near_far_ratio),)


class Da3ToGeometry:
    """Converts core's Depth Anything 3 geometry to this pack's."""

    NODE_ID = "DepthNormal_DA3ToGeometry"
    DISPLAY_NAME = "Depth Anything 3 to Geometry"
    DESCRIPTION = "Converts the output of ComfyUI's own Depth Anything 3 inference: depth, sky, confidence and camera."
    CATEGORY, FUNCTION = CONVERT, "execute"
    RETURN_TYPES: ClassVar = (GEOMETRY,)
    RETURN_NAMES: ClassVar = ("geometry",)
    OUTPUT_TOOLTIPS: ClassVar = ("The depth; the sky is masked.",)
    SEARCH_ALIASES: ClassVar = ["da3", "depth anything", "convert geometry"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        quantity = "Kind of depth. auto: with a camera (multiview) scale-invariant depth, which is 0 at the camera; else relative depth."
        return {
            "required": {"da3_geometry": (DA3_GEOMETRY, {"tooltip": "The output of ComfyUI's Depth Anything 3 inference."})},
            "optional": {"quantity": choice_widget(DEPTH_QUANTITIES, quantity)},
        }

    def execute(self, da3_geometry: dict[str, Any], quantity: str = AUTO) -> tuple[Estimate]:
        """Returns the geometry."""
        check_choice("quantity", quantity, DEPTH_QUANTITIES)
        return (geometry_output(da3_to_estimate(da3_geometry, None if quantity == AUTO else quantity)),)


NODES = (GeometryToMoge, MogeToGeometry, GeometryToDa3, Da3ToGeometry)
