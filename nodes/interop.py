"""Converts raw geometry to and from core ComfyUI's MoGe and Depth Anything 3 nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..geometry.comfy_dicts import da3_to_estimate, estimate_to_da3, estimate_to_moge, moge_to_estimate
from ..geometry.estimate import Estimate, Quantity
from ..model_loader.comfy.host import blocked
from ..options.checks import check_choice
from ..options.estimate import AUTO
from ..options.render import CameraOptions
from .batches import geometry_output, image_for
from .checks import check_geometry
from .option_widgets import Node, option_widgets, takes
from .widgets import CONVERT, DA3_GEOMETRY, GEOMETRY, MOGE_GEOMETRY, choice_widget, geometry_input, image_input

DEPTH_QUANTITIES = (AUTO, *(each.value for each in Quantity if each is not Quantity.DISPARITY))
TO_CORE = {MOGE_GEOMETRY: estimate_to_moge, DA3_GEOMETRY: estimate_to_da3}
_ONLY_MOGE = {"points", "normal", "mask"}
"""Keys that only MoGe's dictionaries have."""


@takes(CameraOptions)
class ConvertGeometry(Node):
    """Converts between this pack's geometry, core's MoGe geometry and core's Depth Anything 3 geometry."""

    NODE_ID = "DepthNormal_ConvertGeometry"
    DISPLAY_NAME = "Convert Geometry"
    DESCRIPTION = (
        "Converts geometry between this pack, ComfyUI's own MoGe nodes and its Depth Anything 3 nodes: link any of the three and take "
        "the output that you need. MoGe's panoramas are not supported. MoGe 1's depth has no unit (scale-invariant)."
    )
    CATEGORY = CONVERT
    OUTPUTS: ClassVar = {
        "geometry": (GEOMETRY, "Depth, and normals if there are any, for this pack's nodes."),
        "moge_geometry": (
            MOGE_GEOMETRY,
            "The same kind of output as Run MoGe Inference, for Render MoGe Geometry and Convert MoGe Point Map to Mesh.",
        ),
        "da3_geometry": (
            DA3_GEOMETRY,
            "The same kind of output as Run Depth Anything 3, for Render Depth Anything 3 and Convert DA3 Geometry to Mesh.",
        ),
    }
    SEARCH_ALIASES = (
        "convert geometry, moge, geometry to moge, moge to geometry, da3, depth anything, geometry to depth anything 3, "
        "depth anything 3 to geometry, mesh, point cloud, 3d, glb"
    )
    INPUTS: ClassVar = {
        "required": {
            "source": (
                ",".join((GEOMETRY, MOGE_GEOMETRY, DA3_GEOMETRY)),
                {"tooltip": "The geometry to convert: this pack's, MoGe's or Depth Anything 3's."},
            )
        },
        "optional": {
            "image": image_input(
                "The image that the geometry was estimated from: texture for the meshes of ComfyUI's own nodes. It is resized to the "
                "geometry. MoGe's and Depth Anything 3's geometry has its own."
            ),
            **option_widgets(CameraOptions),
            "quantity": choice_widget(
                DEPTH_QUANTITIES,
                "Kind of depth of ComfyUI's own geometry. auto: MoGe's is metric depth if it has normals, else "
                "scale-invariant depth (0 at the camera, no unit), as MoGe 1's; Depth Anything 3's is "
                "scale-invariant depth if it has a camera (multiview), else relative depth.",
                advanced=True,
            ),
        },
    }

    def execute(self, camera: CameraOptions, source: Any, image: Tensor | None = None, quantity: str = AUTO) -> tuple[Any, ...]:
        """Returns all three formats. If one of core's cannot be made, only nodes that use it fail."""
        estimate = _read(source, quantity)
        if image is None and isinstance(source, Mapping):
            image = source.get("image")
        cores = [_attempt(kind, estimate, image, camera) for kind in TO_CORE]
        if not isinstance(source, Mapping) and all(isinstance(each, ValueError) for each in cores):
            raise cores[0]
        return (geometry_output(estimate), *(blocked(str(each)) if isinstance(each, ValueError) else each for each in cores))


def _read(source: Any, quantity: str = AUTO) -> Estimate:
    check_choice("quantity", quantity, DEPTH_QUANTITIES)
    if not isinstance(source, Mapping):
        return check_geometry(source)
    convert = moge_to_estimate if _ONLY_MOGE & source.keys() else da3_to_estimate
    return convert(source, None if quantity == AUTO else quantity)


def _to_core(kind: str, estimate: Estimate, image: Tensor | None, camera: CameraOptions) -> dict[str, Any]:
    if image is None:
        raise ValueError(f"{kind} holds the image that the geometry was estimated from; link image")
    return TO_CORE[kind](estimate, image_for(estimate, image), camera.fov, camera.near_far_ratio)


def _attempt(*given: Any) -> Any:
    try:
        return _to_core(*given)
    except ValueError as error:
        return error


_INPUTS, _OUTPUTS = ConvertGeometry.INPUTS["optional"], ConvertGeometry.OUTPUTS


class _OneWay(Node):
    """Deprecated nodes in saved graphs, one for each direction."""

    DESCRIPTION, SEARCH_ALIASES = ConvertGeometry.DESCRIPTION, ConvertGeometry.SEARCH_ALIASES
    CATEGORY, DEPRECATED = CONVERT, True


class _ToCore(_OneWay):
    """From this pack's geometry."""

    INPUTS: ClassVar = {"required": {"geometry": geometry_input("The geometry to convert."), "image": _INPUTS["image"]}}

    def execute(self, camera: CameraOptions, geometry: Any, image: Tensor) -> tuple[dict[str, Any]]:
        return (_to_core(self.RETURN_TYPES[0], check_geometry(geometry), image, camera),)


@takes(CameraOptions)
class GeometryToMoge(_ToCore):
    """Converts geometry for core's MoGe nodes."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_GeometryToMoGe", "Geometry to MoGe"
    OUTPUTS: ClassVar = {"moge_geometry": _OUTPUTS["moge_geometry"]}


@takes(CameraOptions)
class GeometryToDa3(_ToCore):
    """Converts geometry for core's Depth Anything 3 nodes."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_GeometryToDA3", "Geometry to Depth Anything 3"
    OUTPUTS: ClassVar = {"da3_geometry": _OUTPUTS["da3_geometry"]}


class MogeToGeometry(_OneWay):
    """Converts core's MoGe geometry to this pack's."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_MoGeToGeometry", "MoGe to Geometry"
    OUTPUTS: ClassVar = {"geometry": _OUTPUTS["geometry"]}
    INPUTS: ClassVar = {"required": {"moge_geometry": (MOGE_GEOMETRY, {"tooltip": "The geometry to convert."})}}

    def execute(self, moge_geometry: Any) -> tuple[Estimate]:
        return (geometry_output(moge_to_estimate(moge_geometry)),)


class Da3ToGeometry(_OneWay):
    """Converts core's Depth Anything 3 geometry to this pack's."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_DA3ToGeometry", "Depth Anything 3 to Geometry"
    OUTPUTS: ClassVar = {"geometry": _OUTPUTS["geometry"]}
    INPUTS: ClassVar = {
        "required": {"da3_geometry": (DA3_GEOMETRY, {"tooltip": "The geometry to convert."})},
        "optional": {"quantity": _INPUTS["quantity"]},
    }

    def execute(self, da3_geometry: Any, quantity: str = AUTO) -> tuple[Estimate]:
        check_choice("quantity", quantity, DEPTH_QUANTITIES)
        return (geometry_output(da3_to_estimate(da3_geometry, None if quantity == AUTO else quantity)),)


NODES = (ConvertGeometry, GeometryToMoge, MogeToGeometry, GeometryToDa3, Da3ToGeometry)
