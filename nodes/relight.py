"""Relighting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..geometry.checks import check_choice
from ..geometry.effects.lights import KINDS
from ..geometry.effects.lit_scene import LitScene, lit_scene
from ..geometry.effects.relight import relief_gloss, relight_scene
from ..geometry.effects.shadows import half_thickness
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.images.srgb import colour_to_linear
from ..geometry.views.transparency import split_layers
from ..utils import resize_map
from .batches import for_all, join_outputs, unclamped_output, with_progress
from .effect_inputs import (
    check_numbers,
    chosen_skies,
    depth_input,
    effect_geometry,
    layers_with,
    number_widgets,
    sky_mask_input,
    with_alpha,
)
from .lights import PLACE_NUMBERS, SHADOWS, SIZE, WHITE, check_lights, kind_widget, lamp_colour_widget, light_plan, lights_input
from .live import Payload, image_payload, in_comfyui, shown_on_node
from .sockets import EFFECTS, Inputs
from .widgets import (
    CODINGS,
    as_advanced,
    choice_widget,
    coding_widget,
    colour_widget,
    geometry_input,
    image_input,
    switch_widget,
)

SKIES = ("auto", "none")

# name: ((default, lowest, highest, step), tooltip)
_LOOK_NUMBERS = {
    "ambient": ((0.5, 0.0, 2.0, 0.05), "Share of the image's own light that is kept. 1 with intensity 0 gives the unchanged image."),
    "specular": (
        (0.0, 0.0, 1.0, 0.05),
        "Share of the light that is reflected as a highlight: 0 chalk, 0.1 to 0.3 skin, wood, paint, above that wet or polished.",
    ),
    "shininess": ((32.0, 1.0, 1000.0, 1.0), "Sharpness of highlights: 5 broad and dull, 200 small and bright."),
    **SHADOWS,
}
_EXPOSURE = {"exposure": ((0.0, -10.0, 10.0, 0.1), "Exposure in stops: 1 doubles the light, -1 halves it.")}

# Eight widgets of each kind of lamp stay in view.
_FOLDED = frozenset(
    {
        "specular",
        "shininess",
        "normal_coding",
        "sky",
        "light_size",
        "ambient_above",
        "ambient_below",
        "exposure",
        "roll_off",
    }
)


class Relight:
    """Relights images by their normals and depth."""

    NODE_ID = "DepthNormal_Relight"
    DISPLAY_NAME = "Relight"
    DESCRIPTION = (
        "Relights an image by its normals and depth: directional or point light of any colour, highlights, cast "
        "shadows. Takes any pack's normal map and depth map, or this pack's geometry. Works in linear light."
    )
    CATEGORY, FUNCTION, OUTPUT_NODE = EFFECTS, "execute", True
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = ("The image under the new light, at its own size. Pixels without geometry do not change.",)
    SEARCH_ALIASES: ClassVar = [
        "relight",
        "relighting",
        "light",
        "lighting",
        "ic-light",
        "shading",
        "lambert",
        "phong",
        "specular",
        "shadow",
        "cast shadow",
        "normal map",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        sky = (
            "How the sky is found; it gets no shadows and is lit evenly. auto: as the model tells it; of models that do not, "
            "regions that look like sky (far along the top border, brighter or bluer than the rest, the bottom near). none: there "
            "is no sky; choose it if a far wall misses its shadows."
        )
        coding = (
            "Which direction red, green and blue of the normal map stand for: opengl for Blender and Marigold, "
            "controlnet-normalbae for BAE, DSINE, Lotus."
        )
        optional = {
            "light": kind_widget(),
            "colour": lamp_colour_widget(),
            **number_widgets({**PLACE_NUMBERS, **_LOOK_NUMBERS}),
            "normal_map": image_input("Any normal map of the image, any size. Without one, normals are computed from the depth."),
            "normal_coding": coding_widget(coding),
            "depth": depth_input("Depth map for cast shadows and point lights, and for normals if there is no normal map."),
            "geometry": geometry_input(
                "Depth and normals of the image as numbers, e.g. from Depth & Normals. If linked, normal_map and depth are ignored."
            ),
            "sky": choice_widget(SKIES, sky, advanced=True),
            "lights": lights_input(),
            "sky_mask": sky_mask_input("it gets no shadows and is lit evenly."),
            **number_widgets(SIZE),
            "ambient_above": colour_widget("Colour of the ambient light from above, on surfaces that face up. #9ec3ff outdoors.", WHITE),
            "ambient_below": colour_widget("Colour of the ambient light from below, such as #8a7a5c over sand.", WHITE),
            **number_widgets(_EXPOSURE),
            "roll_off": switch_widget(
                True, "Whether highlights roll off softly below white and grow paler, as on film. Off: they are clipped.", advanced=True
            ),
        }
        return {
            "required": {"image": image_input("The image to relight, or a batch.")},
            "optional": {name: as_advanced(widget) if name in _FOLDED else widget for name, widget in optional.items()},
        }

    def execute(
        self,
        image: Tensor,
        light: str = KINDS[0],
        colour: str = WHITE,
        azimuth: float = 135.0,
        elevation: float = 40.0,
        light_x: float = 0.3,
        light_y: float = 0.25,
        light_depth: float = 0.6,
        intensity: float = 1.0,
        ambient: float = 0.5,
        specular: float = 0.0,
        shininess: float = 32.0,
        shadows: float = 0.5,
        normal_map: Tensor | None = None,
        normal_coding: str = CODINGS[0],
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
        sky: str = SKIES[0],
        lights: Any = None,
        sky_mask: Tensor | None = None,
        light_size: float = 0.0,
        ambient_above: str = WHITE,
        ambient_below: str = WHITE,
        exposure: float = 0.0,
        roll_off: bool = True,
    ) -> Any:
        """Returns each image relit; the page also gets the first one's surfaces."""
        check_choice("sky", sky, SKIES)
        check_choice("normal_coding", normal_coding, CODINGS)
        style = _style((ambient, specular, shininess, shadows, exposure), ambient_above, ambient_below, roll_off)
        place = (azimuth, elevation, light_x, light_y, light_depth, intensity, light_size)
        plans = (light_plan(light, colour, dict(zip((*PLACE_NUMBERS, *SIZE), place, strict=True)), shadows), *check_lights(lights))
        layers = split_layers(for_all(with_alpha(image), geometry, (normal_map, depth), sky_mask))
        images = layers.shown
        pairs = with_progress(layers_with(layers, effect_geometry(images, geometry, depth, normal_map, normal_coding)), len(images))
        skies = chosen_skies(sky_mask, images, find=sky == "auto")
        previews: list[Payload] = []

        def lit() -> Iterator[tuple[Tensor]]:
            for (layer, estimate), where in zip(pairs, skies, strict=True):
                scene = lit_scene(layer.shown, estimate, plans, where)
                if not previews and in_comfyui():
                    previews.append(_surfaces(scene))
                yield (unclamped_output(layer.with_alpha(relight_scene(replace(scene, image=layer.colours), **style))),)

        return shown_on_node(join_outputs(lit(), len(images)), previews)


def _style(numbers: tuple[float, ...], above: str, below: str, roll_off: bool) -> dict[str, Any]:
    """Returns `relight`'s arguments that do not depend on the lamps; `numbers` in the order of `_LOOK_NUMBERS` and `_EXPOSURE`."""
    ranges = {**_LOOK_NUMBERS, **_EXPOSURE}
    looks: dict[str, Any] = dict(zip(ranges, numbers, strict=True))
    check_numbers(ranges, looks)
    del looks["shadows"]  # a parameter of each lamp
    sides = {name: colour_to_linear(colour, name) for name, colour in (("ambient_above", above), ("ambient_below", below))}
    return {**looks, **sides, "rolled_off": roll_off}


def _surfaces(scene: LitScene) -> Payload:
    """Makes the payload of an image with everything that the page needs to light it."""
    depth = torch.ones_like(scene.image[:, :1]) if scene.depth is None else scene.depth
    known = Estimate(depth, Quantity.METRIC_DEPTH, scene.normals, Axes.OPENGL, intrinsics=scene.intrinsics)
    thickness = half_thickness(1 / depth, scene.intrinsics.diagonal(dim1=1, dim2=2)[:, :2].mean(1).to(depth))
    lamps = [asdict(light) for light in scene.light[1:]]
    smooth = relief_gloss(scene.image, scene.relief)
    return image_payload(
        scene.image,
        known,
        valid=scene.mask,
        sky=scene.sky > 0.5,
        thickness=thickness,
        glossy=smooth * resize_map(scene.glossy, smooth.shape[2], smooth.shape[3]),
        lamps=lamps,
        unit="depth",
    )


NODES = (Relight,)
