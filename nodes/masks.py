"""Masks by depth, for a range of distances, around a clicked point or in a box, and cut-outs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.edges.matting import MAX_EDGE
from ..geometry.effects.depth_mask import OBJECT, SELECTS, SURFACE, MaskChoice
from ..geometry.effects.depths import UNITS, known_depths
from ..geometry.estimate import Estimate
from ..geometry.regions.boxes import Box
from ..geometry.regions.points import Point
from ..geometry.regions.sky import NO_SKY, describe_sky, sky_alpha
from ..geometry.views.transparency import Layers, split_layers
from ..utils import resize_map, to_planar
from .batches import for_all, join_outputs, with_progress
from .checks import check_geometry
from .effect_inputs import (
    MAX_DISTANCE,
    NO_POINT,
    Numbers,
    check_depth_linked,
    check_numbers,
    chosen_point,
    depth_input,
    effect_geometry,
    masks_of,
    number_widgets,
    point_widgets,
    refuse_no_mask,
    sized_layers,
    with_alpha,
)
from .live import shown_on_node
from .previews import NodePreviews
from .sockets import EFFECTS, Inputs, Widget
from .widgets import choice_widget, geometry_input, image_input, number_widget, switch_widget, text_widget

Points = tuple[Point, ...]

_GEOMETRY = "Depth as numbers, e.g. from Depth & Normals. If linked, depth is ignored."

# name: ((default, lowest, highest, step), tooltip)
_LIMITS = {
    "near": ((0.0, 0.0, MAX_DISTANCE, 0.1), "Distance at which the mask begins. 0: at the camera."),
    "far": (
        (40.0, 0.0, MAX_DISTANCE, 0.1),
        "Distance at which the mask ends. 100 percent or 0 metres: no limit, and the sky and holes are included.",
    ),
    "feather": ((2.0, 0.0, MAX_DISTANCE, 0.1), "Width of the soft falloff beyond near and far, in the same unit."),
}
_LIMITS_OF_CUTOUT = _LIMITS | {
    "far": (
        (0.0, *_LIMITS["far"][0][1:]),
        "Distance at which the cut-out ends. near and far 0: the whole thing that stands out most, whatever its distance. "
        "100 percent or, beyond near, 0 metres: no limit, and the sky and holes are included.",
    )
}
_CHOOSE = "; click on a thing or drag a box to choose another"
_TOLERANCE = {
    "tolerance": (
        (8.0, 0.0, MAX_DISTANCE, 0.1),
        "Depth range around the point: how much nearer or farther than the point the surface may reach, in the same unit.",
    ),
}
_SELECT = {
    "select": choice_widget(
        SELECTS,
        "What the point selects. object: the whole thing there, without the floor, table or wall; feather and tolerance are "
        "ignored. surface: everything connected with the point within tolerance.",
    ),
}
_SELECT_THING = {"select": choice_widget(SELECTS, _SELECT["select"][1]["tooltip"], OBJECT)}
_FURTHER_POINTS = {
    "more_points": text_widget(
        "Further points of the same object, or of further surfaces, each set by a click with Shift on the node; in a box: points that the "
        "object lacks. As x,y from 0 to 1, with spaces between, e.g. 0.4,0.5 0.6,0.55. Empty: none."
    ),
    "not_points": text_widget(
        "Points that are not of the object, each set by a click with Alt on the node: their parts are removed. As x,y from 0 to 1, with "
        "spaces between. Without a box, select must be object. Empty: none."
    ),
}


class DepthMask:
    """Makes masks by distance or around a point."""

    NODE_ID = "DepthNormal_DepthMask"
    DISPLAY_NAME = "Depth Mask"
    DESCRIPTION = (
        "Makes a mask of everything between two distances, in metres or percent of the way from near to far, or of "
        "the surface or the whole object at a point of the image, or the object in a box. "
        "Takes any pack's depth map, or this pack's geometry."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("MASK",)
    OUTPUT_TOOLTIPS: ClassVar = ("The mask: 1 = selected. It has the image's size, or without an image the depth's.",)
    SEARCH_ALIASES: ClassVar = [
        "mask by depth",
        "mask from depth",
        "depth range",
        "depth threshold",
        "select by distance",
        "segment",
        "foreground mask",
        "matte",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {},
            "optional": {
                "geometry": geometry_input(_GEOMETRY),
                "depth": depth_input(),
                "image": image_input("Image that the node shows the mask on; the mask gets its size."),
                **mask_widgets(_LIMITS),
                "invert": switch_widget(False, "Inverts the mask."),
                **_SELECT,
                **box_widgets(),
                **_FURTHER_POINTS,
            },
        }

    def execute(
        self,
        geometry: Any = None,
        depth: Tensor | None = None,
        image: Tensor | None = None,
        unit: str = UNITS[0],
        near: float = 0.0,
        far: float = 40.0,
        feather: float = 2.0,
        point_x: float = NO_POINT,
        point_y: float = NO_POINT,
        tolerance: float = 8.0,
        invert: bool = False,
        select: str = SURFACE,
        box_left: float = NO_POINT,
        box_top: float = NO_POINT,
        box_right: float = NO_POINT,
        box_bottom: float = NO_POINT,
        more_points: str = "",
        not_points: str = "",
    ) -> Any:
        """Returns one mask for each image."""
        box = chosen_box(box_left, box_top, box_right, box_bottom)
        further = further_points(more_points, not_points)
        choice = mask_choice(unit, near, far, feather, point_x, point_y, tolerance, invert, select, box, further)
        check_depth_linked(geometry, depth)
        layers = split_layers(_blank(geometry, depth) if image is None else for_all(with_alpha(image).clamp(max=1), geometry, (depth,)))
        total = len(layers.shown)
        chosen = with_progress(_with_masks(layers, effect_geometry(layers.shown, geometry, depth), choice), total)
        previews = NodePreviews()
        masks = join_outputs((previews.mask(layer.shown, estimate, mask, line) for layer, estimate, mask, line in chosen), total)
        return shown_on_node(masks, previews.payloads, text=previews.lines)


class SkyMask:
    """Makes masks of the sky."""

    NODE_ID = "DepthNormal_SkyMask"
    DISPLAY_NAME = "Sky Mask"
    DESCRIPTION = (
        "Makes a mask of the sky, with a soft border that follows roofs, leaves and hair of the image: to replace the sky, or, mended by "
        "hand, for Fog and Relight. Takes any pack's depth map, or this pack's geometry; models that see skies find more of them."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("MASK",)
    OUTPUT_TOOLTIPS: ClassVar = ("The mask: 1 = sky. Black where no sky was found. It has the image's size.",)
    SEARCH_ALIASES: ClassVar = ["sky", "sky replacement", "replace sky", "sky segmentation", "horizon", "clouds"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        return {
            "required": {"image": image_input("The image, or a batch.")},
            "optional": {
                "geometry": geometry_input(_GEOMETRY),
                "depth": depth_input(),
            },
        }

    def execute(self, image: Tensor, geometry: Any = None, depth: Tensor | None = None) -> Any:
        """Returns one mask for each image."""
        check_depth_linked(geometry, depth)
        layers, previews = split_layers(for_all(with_alpha(image).clamp(max=1), geometry, (depth,))), NodePreviews()
        total = len(layers.shown)

        def made(layer: Layers, estimate: Estimate) -> tuple[Tensor]:
            share = sky_alpha(layer.shown, estimate)
            return previews.mask(layer.shown, estimate, share, describe_sky(share) or NO_SKY)

        pairs = with_progress(sized_layers(layers, effect_geometry(layers.shown, geometry, depth)), total)
        return shown_on_node(join_outputs((made(*pair) for pair in pairs), total), previews.payloads, text=previews.lines)


class ForegroundCutout:
    """Cuts the foreground out of images."""

    NODE_ID = "DepthNormal_ForegroundCutout"
    DISPLAY_NAME = "Foreground Cut-out"
    DESCRIPTION = (
        "Cuts the foreground out of an image by depth, around a point, in a box, or by a mask: transparent background, a soft "
        "border that follows the image, and no fringe in the colours of the old background."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("cutout", "mask")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The foreground on a transparent background (four channels), for Save Image or for compositing.",
        "Opacity of each pixel of the foreground.",
    )
    SEARCH_ALIASES: ClassVar = ["remove background", "rembg", "cutout", "matting", "alpha", "transparent", "rgba", "foreground"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        edge = (
            "Half the width of the border that is matted by the image's colours, in percent of its longer side: as "
            "far as the depth may be wrong and hair may reach. 0: the mask unchanged."
        )
        pure = "Removes the old background's colour from the border."
        return {
            "required": {"image": image_input("The image to cut, or a batch. Its transparent pixels stay transparent.")},
            "optional": {
                "geometry": geometry_input(
                    "Depth as numbers, if no mask is linked, e.g. from Depth & Normals. If linked, depth is ignored."
                ),
                "depth": depth_input("Depth map, if neither geometry nor a mask is linked."),
                "mask": (
                    "MASK",
                    {
                        "tooltip": (
                            "Mask of the foreground, of any size, e.g. from Depth Mask. If linked, unit, near, far, "
                            "feather, the points, tolerance, select and the box are ignored."
                        )
                    },
                ),
                **mask_widgets(_LIMITS_OF_CUTOUT),
                "edge": number_widget(0.6, 0.0, MAX_EDGE, 0.1, edge),
                "decontaminate": switch_widget(True, pure),
                **_SELECT_THING,
                **box_widgets(),
                **_FURTHER_POINTS,
            },
        }

    def execute(
        self,
        image: Tensor,
        geometry: Any = None,
        depth: Tensor | None = None,
        mask: Tensor | None = None,
        unit: str = UNITS[0],
        near: float = 0.0,
        far: float = 0.0,
        feather: float = 2.0,
        point_x: float = NO_POINT,
        point_y: float = NO_POINT,
        tolerance: float = 8.0,
        edge: float = 0.6,
        decontaminate: bool = True,
        select: str = OBJECT,
        box_left: float = NO_POINT,
        box_top: float = NO_POINT,
        box_right: float = NO_POINT,
        box_bottom: float = NO_POINT,
        more_points: str = "",
        not_points: str = "",
    ) -> Any:
        """Returns a cut-out and its mask for each image."""
        check_range("edge", edge, 0, MAX_EDGE)
        layers = split_layers(for_all(with_alpha(image), geometry, (depth,), mask))
        images = layers.shown
        if mask is None and geometry is None and depth is None:
            raise ValueError("there is neither depth nor a mask: link raw depth to geometry, a depth image to depth, or a mask to mask")
        if mask is not None:
            masks = _masks(mask, images).split(1)
            chosen = ((layer, None, each, "mask from the input") for layer, each in zip(layers.split(), masks, strict=True))
        else:
            box = chosen_box(box_left, box_top, box_right, box_bottom)
            further = further_points(more_points, not_points)
            choice = mask_choice(unit, near, far, feather, point_x, point_y, tolerance, select=select, box=box, further=further)
            choice = replace(choice, whole_foreground=near == far == 0)
            chosen = _with_masks(layers, effect_geometry(images, geometry, depth), choice)
        previews = NodePreviews()
        parts = (previews.cutout(*each, edge, decontaminate) for each in with_progress(chosen, len(images)))
        return shown_on_node(join_outputs(parts, len(images)), previews.payloads, text=previews.lines)


def mask_widgets(limits: Numbers) -> dict[str, Widget]:
    """Widgets that select a mask by depth, with the limits of distance; `mask_choice` reads their values."""
    unit = (
        "Unit of near, far, feather and tolerance. percent: 0 the near end of the scene, 100 its far end, in steps of "
        "the depth map's grey levels. metres: metric depth only."
    )
    return {
        "unit": choice_widget(UNITS, unit),
        **number_widgets(limits),
        **point_widgets(
            "Point on the image, set by a click on the node: the mask is what is seen there (see select), and near and far are ignored."
        ),
        **number_widgets(_TOLERANCE),
    }


def box_widgets() -> dict[str, Widget]:
    """Widgets for a box on the image; `chosen_box` reads their values."""
    left = (
        "Box around an object, set by a drag on the node: the mask is the whole object in it, without the floor, table or wall; "
        "more_points and not_points correct it; the first point, near, far and select are ignored. Its left side, from left (0) to "
        "right (1); below 0: no box."
    )
    sides = {
        "box_left": left,
        "box_top": "Top of the box, from top (0) to bottom (1); below 0: no box.",
        "box_right": "Right side of the box, from left (0) to right (1); below 0: no box.",
        "box_bottom": "Bottom of the box, from top (0) to bottom (1); below 0: no box.",
    }
    return {name: number_widget(NO_POINT, NO_POINT, 1.0, 0.001, tooltip) for name, tooltip in sides.items()}


def chosen_box(left: float, top: float, right: float, bottom: float) -> Box | None:
    """Returns the box of `box_widgets`, or None where no side is set.

    Raises:
        ValueError: A side out of its range, or some sides without the others.
    """
    sides = {"box_left": left, "box_top": top, "box_right": right, "box_bottom": bottom}
    for name, side in sides.items():
        check_range(name, side, NO_POINT, 1)
    if missing := [name for name, side in sides.items() if side < 0]:
        if len(missing) < len(sides):
            raise ValueError(f"the box lacks {', '.join(missing)} (below 0); give all four sides, 0 to 1, or -1 for all: no box")
        return None
    return left, top, right, bottom


def further_points(more_points: str, not_points: str) -> tuple[Points, Points]:
    """Returns the points of the widgets of these names.

    Raises:
        ValueError: A text that is not x,y of each point.
    """
    return _points("more_points", more_points), _points("not_points", not_points)


def _points(name: str, text: str) -> Points:
    points = []
    for word in text.split():
        try:
            x, y = map(float, word.split(","))
        except ValueError:
            raise ValueError(f"{name} holds {word!r}; accepted: x,y of each point, from 0 to 1, with spaces between points only") from None
        points.append((x, y))
    return tuple(points)


def mask_choice(
    unit: str,
    near: float,
    far: float,
    feather: float,
    point_x: float,
    point_y: float,
    tolerance: float,
    invert: bool = False,
    select: str = SURFACE,
    box: Box | None = None,
    further: tuple[Points, Points] = ((), ()),
) -> MaskChoice:
    """Reads the values of `mask_widgets`; a box takes the place of the first point, and the further ones correct it.

    Raises:
        ValueError: A number out of its range, or an unknown unit.
    """
    check_choice("unit", unit, UNITS)
    check_numbers(_LIMITS, {"near": near, "far": far, "feather": feather})
    check_numbers(_TOLERANCE, {"tolerance": tolerance})
    point = None if box else chosen_point(point_x, point_y)
    return MaskChoice(near, far, unit, feather, point, tolerance, invert, select, box, *further)


def _with_masks(layers: Layers, whole: Estimate, choice: MaskChoice) -> Iterator[tuple[Layers, Estimate, Tensor, str]]:
    """Yields the layers of each image with its estimate, its mask and a line that describes the mask."""
    for layer, estimate in sized_layers(layers, whole):
        depths = known_depths(estimate)
        mask = choice.mask(depths, layer.shown)
        line = choice.describe(depths, float(mask.mean()))
        yield layer, estimate, mask, line + _CHOOSE * (choice.whole_foreground and not (choice.point or choice.box))


def _blank(geometry: Any, depth: Tensor | None) -> Tensor:
    """Returns white images of the size of the geometry or depth map, to show masks on; they take no memory."""
    if geometry is None:
        assert depth is not None
        planar = to_planar(depth)
        return torch.ones(1, 1, 1, 1).expand(len(planar), 3, *planar.shape[-2:])
    estimate = check_geometry(geometry)
    return torch.ones(1, 1, 1, 1).expand(estimate.batch, 3, estimate.height, estimate.width)


def _masks(mask: Tensor, images: Tensor) -> Tensor:
    """Converts a MASK (B, H, W) or (H, W) to (B, 1, H, W) in [0, 1] at the images' size."""
    masks = masks_of(mask, "mask", len(images))
    refuse_no_mask(masks, "mask", (images.shape[-2], images.shape[-1]))
    return resize_map(masks, images.shape[-2], images.shape[-1]).expand(len(images), -1, -1, -1).to(images.device)


NODES = (DepthMask, ForegroundCutout, SkyMask)
