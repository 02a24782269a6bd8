"""Masks by depth, for a range of distances or around a clicked point, and cut-outs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.effects.cutout import MAX_EDGE, cut_out
from ..geometry.effects.depth_mask import MaskChoice
from ..geometry.effects.depths import UNITS, known_depths
from ..geometry.estimate import Estimate
from ..model_loader.comfy.devices import image_placement
from ..utils import resize_map, to_planar, to_rgb
from .batches import counted, joined, to_output
from .checks import check_geometry
from .known import NO_DEPTH, check_numbers, depth_input, images_with, known_of, masks_of, number_widgets
from .live import MAX_IMAGES as MAX_SHOWN
from .live import Payload, image_payload, in_page, shown_on_node
from .sockets import EFFECTS, Inputs, Widget
from .widgets import choice_widget, geometry_input, image_input, number_widget, switch_widget

NO_POINT = -1.0
"""A coordinate of a point that was not chosen."""

MAX_DISTANCE = 10000.0
_DARKENED = 0.25
# What core's nodes hand on where an image has no alpha.
_NO_MASK = (64, 64)

# name: (default, lowest, highest, step, tooltip)
_LIMITS = {
    "near": (0.0, 0.0, MAX_DISTANCE, 0.1, "Where the mask begins. 0: at the camera."),
    "far": (40.0, 0.0, MAX_DISTANCE, 0.1, "Where it ends. 100 percent, or 0 metres, is no limit: the sky and holes are in it too."),
    "feather": (2.0, 0.0, MAX_DISTANCE, 0.1, "Over how much, in the same unit, the mask falls off beyond its limits."),
}
_TOLERANCE = (
    8.0,
    0.0,
    MAX_DISTANCE,
    0.1,
    "With a point: how much farther or nearer than the point the surface may reach, in the same unit.",
)


class DepthMask:
    """A mask by distance."""

    NODE_ID = "DepthNormal_DepthMask"
    DISPLAY_NAME = "Depth Mask"
    DESCRIPTION = (
        "A mask of what lies between two distances, in metres or percent of the way from near to far; or of the connected surface around "
        "a point of the picture. Takes any pack's depth map, or this pack's geometry."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("MASK",)
    OUTPUT_TOOLTIPS: ClassVar = ("1 where it was chosen. As large as the image, or without one as the depth.",)
    SEARCH_ALIASES: ClassVar = [
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
                "geometry": geometry_input("Raw depth. Where it is given, the depth picture is ignored."),
                "depth": depth_input("Without geometry: the depth."),
                "image": image_input("The picture: the mask gets its size, and the node shows the mask on it."),
                **choice_widgets(),
                "invert": switch_widget(False, "Everything but what was chosen."),
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
    ) -> Any:
        """One mask an image."""
        choice = checked_choice(unit, near, far, feather, point_x, point_y, tolerance, invert)
        if geometry is None and depth is None:
            raise ValueError(NO_DEPTH)
        images = to_rgb(image) if image is not None else _blank(geometry, depth)
        chosen = counted(_chosen(images, known_of(images, geometry, depth), choice), len(images))
        shown = Shown()
        masks = joined((shown.mask(*each) for each in chosen), len(images))
        return shown_on_node(masks, shown.payloads, text=shown.lines)


class ForegroundCutout:
    """A thing without its background."""

    NODE_ID = "DepthNormal_ForegroundCutout"
    DISPLAY_NAME = "Foreground Cut-out"
    DESCRIPTION = (
        "Cuts the foreground out of a picture, by depth, around a point, or by a mask: transparent background, a soft border that follows "
        "the picture, and no rim in the colours of the old background."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("cutout", "mask")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The foreground on a transparent background (four channels): for Save Image, or to be laid on another picture.",
        "How much of each pixel the foreground covers.",
    )
    SEARCH_ALIASES: ClassVar = ["remove background", "rembg", "cutout", "matting", "alpha", "transparent", "rgba", "foreground"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        edge = (
            "Half the width of the border in which the picture decides, in percent of its longer side: as far as depth may be wrong and "
            "hair may reach. 0 takes the mask as it is."
        )
        pure = "Takes the old background's share out of the colours of the border."
        return {
            "required": {"image": image_input("The picture to cut, or a batch. What is transparent in it stays so.")},
            "optional": {
                "geometry": geometry_input("Raw depth, for where there is no mask. Where it is given, depth is ignored."),
                "depth": depth_input("Without geometry and mask: the depth."),
                "mask": (
                    "MASK",
                    {"tooltip": "What is cut out, any size, e.g. of Depth Mask; with it, unit to tolerance are ignored."},
                ),
                **choice_widgets(),
                "edge": number_widget(0.6, 0.0, MAX_EDGE, 0.1, edge),
                "decontaminate": switch_widget(True, pure),
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
        far: float = 40.0,
        feather: float = 2.0,
        point_x: float = NO_POINT,
        point_y: float = NO_POINT,
        tolerance: float = 8.0,
        edge: float = 0.6,
        decontaminate: bool = True,
    ) -> Any:
        """One cut-out and its mask an image."""
        choice = checked_choice(unit, near, far, feather, point_x, point_y, tolerance)
        check_range("edge", edge, 0, MAX_EDGE)
        images, opacity = _straight(image)
        if mask is None and geometry is None and depth is None:
            raise ValueError("there is neither depth nor a mask: link raw depth to geometry, a depth image to depth, or a mask to mask")
        if mask is not None:
            masks = _masks(mask, images).split(1)
            chosen = ((image, None, each, "mask as given") for image, each in zip(images.split(1), masks, strict=True))
        else:
            chosen = _chosen(images, known_of(images, geometry, depth), choice)
        shown = Shown()
        opaque = repeat(None) if opacity is None else opacity.split(1)
        parts = (shown.cutout(*each, own, edge, decontaminate) for each, own in zip(counted(chosen, len(images)), opaque, strict=False))
        return shown_on_node(joined(parts, len(images)), shown.payloads, text=shown.lines)


class Shown:
    """Previews of a node's images, collected while they are made."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.lines: list[str] = []

    def add(self, make: Callable[[], Tensor], estimate: Estimate | None, line: str) -> None:
        """An image (1, 3, H, W), made only where there is a page to show it, and what is known of it; after the first few, nothing."""
        if len(self.lines) < MAX_SHOWN:
            self.payloads.append(image_payload(make(), estimate, text=line) if in_page() else {})
            self.lines.append(line)

    def mask(self, image: Tensor, estimate: Estimate, mask: Tensor, line: str) -> tuple[Tensor]:
        """The mask as the node hands it on; shown as the image with the rest darkened."""
        self.add(lambda: image * (_DARKENED + (1 - _DARKENED) * mask), estimate, line)
        return (to_output(mask)[..., 0],)

    def cutout(
        self,
        image: Tensor,
        estimate: Estimate | None,
        mask: Tensor,
        line: str,
        opacity: Tensor | None,
        edge: float,
        decontaminate: bool,
    ) -> tuple[Tensor, Tensor]:
        """The cut-out and its mask as the node hands them on; shown on grey. What was transparent in the image stays so."""
        colour, alpha = cut_out(image, mask, edge, decontaminate)
        alpha = alpha if opacity is None else alpha * opacity.to(alpha)
        self.add(lambda: torch.lerp(torch.full_like(colour, 0.5), colour, alpha), estimate, line)
        whole = torch.cat((colour, alpha), 1).clamp(0, 1).movedim(1, -1).contiguous().to(*image_placement())
        return whole, to_output(alpha)[..., 0]


def choice_widgets() -> dict[str, Widget]:
    """How a mask is chosen; `checked_choice` reads the values."""
    unit = "percent: 0 the near end of the scene, 100 its far end, with steps as in a depth picture. metres: metric depth only."
    return {
        "unit": choice_widget(UNITS, unit),
        **number_widgets(_LIMITS),
        **point_widgets("Click into the picture on the node: the mask is the connected surface there, and near and far are ignored."),
        "tolerance": number_widget(*_TOLERANCE),
    }


def point_widgets(use: str) -> dict[str, Widget]:
    """A point of the image; `chosen_point` reads the values."""
    return {
        "point_x": number_widget(NO_POINT, NO_POINT, 1.0, 0.001, f"{use} From left (0) to right (1); below 0: no point."),
        "point_y": number_widget(NO_POINT, NO_POINT, 1.0, 0.001, "The same from top (0) to bottom (1); below 0: no point."),
    }


def chosen_point(point_x: float, point_y: float) -> tuple[float, float] | None:
    """The point of `point_widgets`; None where there is none."""
    check_range("point_x", point_x, NO_POINT, 1)
    check_range("point_y", point_y, NO_POINT, 1)
    return None if point_x < 0 or point_y < 0 else (point_x, point_y)


def checked_choice(
    unit: str, near: float, far: float, feather: float, point_x: float, point_y: float, tolerance: float, invert: bool = False
) -> MaskChoice:
    """What the widgets of `choice_widgets` say.

    Raises:
        ValueError: A number out of its range, or an unknown unit.
    """
    check_choice("unit", unit, UNITS)
    check_numbers(_LIMITS, {"near": near, "far": far, "feather": feather})
    check_range("tolerance", tolerance, *_TOLERANCE[1:3])
    return MaskChoice(near, far, unit, feather, chosen_point(point_x, point_y), tolerance, invert)


def sized_pairs(images: Tensor, whole: Estimate) -> Iterator[tuple[Tensor, Estimate]]:
    """Each image with its estimate at the image's size, on the device that computes."""
    for image, estimate in images_with(images, whole):
        yield image, estimate.resized(image.shape[-2], image.shape[-1])


def _chosen(images: Tensor, whole: Estimate, choice: MaskChoice) -> Iterator[tuple[Tensor, Estimate, Tensor, str]]:
    """Each image with its estimate, its mask, and what the mask is."""
    for image, estimate in sized_pairs(images, whole):
        depths = known_depths(estimate)
        mask = choice.mask(depths)
        yield image, estimate, mask, choice.describe(depths, float(mask.mean()))


def _straight(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """(B, 3, H, W) in [0, 1] as they are under any transparency, and (B, 1, H, W) of how opaque they are; None: wholly."""
    images, planar = to_rgb(image), to_planar(image)
    if planar.shape[1] < 4:
        return images, None
    whole = planar.float().clamp(0, 1)
    return whole[:, :3].contiguous(), whole[:, 3:]


def _blank(geometry: Any, depth: Tensor | None) -> Tensor:
    """White images of the size of what is known, to show masks on."""
    if geometry is None:
        assert depth is not None
        return torch.ones_like(to_rgb(depth))
    estimate = check_geometry(geometry)
    return torch.ones(estimate.batch, 3, estimate.height, estimate.width)


def _masks(mask: Tensor, images: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] of the images' size, of a MASK (B, H, W) or (H, W)."""
    masks = masks_of(mask, "mask", len(images))
    if masks.shape[-2:] == _NO_MASK and masks.shape[-2:] != images.shape[-2:] and not bool(masks.any()):
        raise ValueError("mask is black and 64x64, as Load Image gives it for an image without alpha: leave it unconnected")
    return resize_map(masks, images.shape[-2], images.shape[-1]).expand(len(images), -1, -1, -1).to(images.device)


NODES = (DepthMask, ForegroundCutout)
