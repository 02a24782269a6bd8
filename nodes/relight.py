"""Relighting, and the lamps for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.effects.lights import LightPlan
from ..geometry.effects.lit_scene import LitScene
from ..geometry.effects.makers import under_lamps
from ..geometry.effects.relight import relief_gloss
from ..geometry.effects.shadows import half_thickness
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.views.transparency import split_layers
from ..options.checks import check_choice
from ..options.lights import MAX_LIGHTS, LightOptions, LookOptions
from ..options.map_images import READ_CODING, READ_CODINGS
from ..options.masks import AUTO
from ..utils import resize_map
from .batches import for_all, join_outputs, unclamped_output, with_progress
from .effect_inputs import chosen_masks, depth_input, effect_geometry, layers_with, sky_mask_input, with_alpha
from .live import Payload, image_payload, in_comfyui, shown_on_node
from .option_widgets import Node, option_widgets, takes
from .widgets import EFFECTS, Widget, as_advanced, coding_widget, geometry_input, image_input

LIGHTS = "DEPTH_NORMAL_LIGHTS"
"""Lamps: a tuple of `LightPlan`."""


def lights_input() -> Widget:
    """Input for lamps of the node Light."""
    return LIGHTS, {"tooltip": "More lamps, from the node Light. Their light is added."}


def check_lights(lights: Any) -> tuple[LightPlan, ...]:
    """Returns the lamps of a lights input, None = no lamps; TypeError if it is something else, ValueError if there are too many."""
    lights = lights or ()
    if not isinstance(lights, tuple) or not all(isinstance(each, LightPlan) for each in lights):
        raise TypeError(f"the lights input is {type(lights).__name__}; link the output of the node Light")
    if len(lights) > MAX_LIGHTS:
        raise ValueError(f"there are {len(lights)} lights; accepted: at most {MAX_LIGHTS}")
    return lights


@takes(LightOptions)
class Light(Node):
    """Adds a lamp for Relight."""

    NODE_ID = "DepthNormal_Light"
    DISPLAY_NAME = "Light"
    DESCRIPTION = (
        "A lamp for Relight, in addition to its own: directional or point, of any colour and size. Chain several with their lights input."
    )
    CATEGORY = EFFECTS
    OUTPUTS: ClassVar = {"lights": (LIGHTS, "The input's lamps and this one, for Relight or for the next Light.")}
    SEARCH_ALIASES = "light, lamp, relight, area light, softbox, rim light, fill light, lighting"
    INPUTS: ClassVar = {
        "optional": {
            "lights": (LIGHTS, {"tooltip": ("Lamps of other Light nodes, which are passed on together with this one.")}),
            **option_widgets(LightOptions),
        }
    }

    def execute(self, lamp: LightOptions, lights: Any = None) -> tuple[tuple[LightPlan, ...]]:
        return (check_lights((*check_lights(lights), LightPlan.of(lamp))),)


@takes(LightOptions, LookOptions)
class Relight(Node):
    """Relights images by their normals and depth."""

    NODE_ID = "DepthNormal_Relight"
    DISPLAY_NAME = "Relight"
    DESCRIPTION = (
        "Relights an image by its normals and depth: directional or point light of any colour, highlights, cast "
        "shadows. Takes any pack's normal map and depth map, or this pack's geometry. Works in linear light."
    )
    CATEGORY, OUTPUT_NODE = EFFECTS, True
    OUTPUTS: ClassVar = {"IMAGE": ("IMAGE", "The image under the new light, at its own size. Pixels without geometry do not change.")}
    SEARCH_ALIASES = "relight, relighting, light, lighting, ic-light, shading, lambert, phong, specular, shadow, cast shadow, normal map"
    INPUTS: ClassVar = {
        "required": {"image": image_input("The image to relight, or a batch.")},
        "optional": {
            **option_widgets(LightOptions, until="light_size"),
            **option_widgets(LookOptions, until="sky"),
            **option_widgets(LightOptions, since="shadows"),
            "normal_map": image_input("Any normal map of the image, any size. Without one, normals are computed from the depth."),
            "normal_coding": as_advanced(coding_widget(READ_CODING, READ_CODINGS)),
            "depth": depth_input("Depth map for cast shadows and point lights, and for normals if there is no normal map."),
            "geometry": geometry_input(
                "Depth and normals of the image as numbers, e.g. from Depth & Normals. If linked, normal_map and depth are ignored."
            ),
            **option_widgets(LookOptions, since="sky", until="ambient_above"),
            "lights": lights_input(),
            "sky_mask": sky_mask_input("it gets no shadows and is lit evenly."),
            # Only eight widgets of each kind of lamp are always visible.
            **{name: as_advanced(widget) for name, widget in option_widgets(LightOptions, since="light_size", until="shadows").items()},
            **option_widgets(LookOptions, since="ambient_above"),
        },
    }

    def execute(
        self,
        lamp: LightOptions,
        look: LookOptions,
        image: Tensor,
        normal_map: Tensor | None = None,
        normal_coding: str = READ_CODINGS[0],
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
        lights: Any = None,
        sky_mask: Tensor | None = None,
    ) -> Any:
        """Relights each image; the page also gets the first one's surfaces."""
        check_choice("normal_coding", normal_coding, READ_CODINGS)
        plans = (LightPlan.of(lamp), *check_lights(lights))
        layers = split_layers(for_all(with_alpha(image), geometry, (normal_map, depth), sky_mask), checked=True)
        images = layers.shown
        pairs = with_progress(layers_with(layers, effect_geometry(images, geometry, depth, normal_map, normal_coding)), len(images))
        skies = chosen_masks(sky_mask, images, "sky_mask", find=look.sky == AUTO)
        previews: list[Payload] = []

        def lit() -> Iterator[tuple[Tensor]]:
            for (layer, estimate), where in zip(pairs, skies, strict=True):
                made, scene = under_lamps(layer, estimate, plans, look, where)
                if not previews and in_comfyui():
                    previews.append(_surfaces(scene))
                yield (unclamped_output(made.result),)

        return shown_on_node(join_outputs(lit(), len(images)), previews)


def _surfaces(scene: LitScene) -> Payload:
    """The payload of an image with everything that the page needs to light it."""
    depth = torch.ones_like(scene.image[:, :1]) if scene.depth is None else scene.depth
    estimate = Estimate(depth, Quantity.METRIC_DEPTH, scene.normals, Axes.OPENGL, intrinsics=scene.intrinsics)
    thickness = half_thickness(1 / depth, scene.intrinsics.diagonal(dim1=1, dim2=2)[:, :2].mean(1).to(depth))
    lamps = [asdict(light) for light in scene.light[1:]]
    smooth = relief_gloss(scene.image, scene.relief)
    return image_payload(
        scene.image,
        estimate,
        valid=scene.mask,
        sky=torch.zeros_like(scene.mask) if scene.sky is None else scene.sky > 0.5,
        thickness=thickness,
        glossy=smooth * resize_map(scene.glossy, smooth.shape[2], smooth.shape[3]),
        lamps=lamps,
        unit="depth",
    )


NODES = (Relight,)
