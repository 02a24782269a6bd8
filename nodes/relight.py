"""What the maps are for: the picture under another light, and a small camera move through it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.conventions import convert_normals, unit_normals
from ..geometry.derive import with_normals
from ..geometry.edges import depth_at_picture_edges, edge_radius, sharpen_depth_edges
from ..geometry.estimate import Axes, Estimate
from ..geometry.likely import likely_filled_depth, likely_intrinsics
from ..geometry.parallax import MOVES, camera_path, parallax_frames
from ..geometry.relight import Light, light_direction, light_position, relight, srgb_to_linear
from ..geometry.sky import find_sky
from ..model_loader.host import throw_if_interrupted
from ..utils import to_rgb
from .batches import counted, joined, to_output
from .known import NO_DEPTH, check_numbers, depth_input, known_of, number_widgets, pictures_with
from .sockets import CATEGORY, Inputs
from .widgets import CODINGS, choice_widget, coding_widget, count_widget, geometry_input, image_input

LIGHTS = ("directional", "point")
SKIES = ("auto", "none")
MAX_FRAMES = 480

# name: (default, lowest, highest, step, tooltip)
_LIGHT_NUMBERS = {
    "azimuth": (135.0, -360.0, 360.0, 1.0, "Directional light: where it comes from, in degrees. 0 right, 90 above, 180 left, 270 below."),
    "elevation": (
        40.0,
        -90.0,
        90.0,
        1.0,
        "Directional light: degrees out of the picture. 0 grazing, 90 from the viewer, below 0 from behind.",
    ),
    "light_x": (0.3, -2.0, 3.0, 0.01, "Point light: where it stands from left (0) to right (1) of the picture."),
    "light_y": (0.25, -2.0, 3.0, 0.01, "Point light: where it stands from top (0) to bottom (1) of the picture."),
    "light_depth": (
        0.6,
        0.05,
        100.0,
        0.05,
        "Point light: how far from the viewer. 1 is the near end of the scene, larger stands among the things.",
    ),
    "intensity": (
        1.0,
        0.0,
        100.0,
        0.05,
        "1 shows a surface that faces the light as bright as it is in the picture. A point light fades with distance.",
    ),
    "ambient": (0.3, 0.0, 2.0, 0.05, "How much of the picture's own light stays. 1 with intensity 0 is the picture itself."),
    "specular": (
        0.0,
        0.0,
        1.0,
        0.05,
        "Share of the light that is mirrored: 0 chalk, 0.1 to 0.3 skin, wood, paint, more is wet or polished.",
    ),
    "shininess": (32.0, 1.0, 1000.0, 1.0, "How small highlights are: 5 broad and dull, 200 small and bright."),
    "shadows": (0.5, 0.0, 1.0, 0.05, "How dark cast shadows are. They are found in the depth; without any, nothing casts shadows."),
}
_MOVE_NUMBERS = {
    "amount": (
        0.05,
        0.0,
        0.4,
        0.01,
        "How far the camera goes; 1 would be as far as the near end of the scene is. Above 0.1 the guessed background shows.",
    ),
    "focus": (0.5, 0.0, 1.0, 0.05, "What stays still while the camera goes sideways: 0 the farthest, 1 the nearest."),
}


class Relight:
    """A new lamp for an old picture."""

    NODE_ID = "DepthNormal_Relight"
    DISPLAY_NAME = "Relight"
    DESCRIPTION = (
        "Puts a picture under another light, by its normals and depth: directional or point light of any colour, highlights, cast shadows. "
        "Takes any pack's normal map and depth map, or this pack's geometry. Works in linear light."
    )
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar = (
        "The picture under the new light, at its own size. Pixels that the geometry knows nothing of stay as they are.",
    )
    SEARCH_ALIASES: ClassVar = ["relight", "light", "lighting", "shading", "lambert", "phong", "specular", "shadow", "normal map"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        kind = "directional: as far as the sun. point: a lamp in the scene."
        colour = {"default": "#ffffff", "tooltip": "Colour of the light as #rrggbb, e.g. #ffb46b for a candle, #9ec3ff for the sky."}
        sky = (
            "auto: no shadow falls on what looks like sky (far along the top border, brighter or bluer than the rest, the bottom near). "
            "none: there is no sky; choose it where a far wall misses its shadows."
        )
        coding = "How the normal map stores its vectors: opengl for Blender and Marigold, controlnet-normalbae for BAE, DSINE, Lotus."
        return {
            "required": {
                "image": image_input("The picture to light, or a batch."),
                "light": choice_widget(LIGHTS, kind),
                "colour": ("STRING", colour),
                **number_widgets(_LIGHT_NUMBERS),
            },
            "optional": {
                "normal_map": image_input("Any normal map of the picture, any size. Without one, normals come from the depth."),
                "normal_coding": coding_widget(coding),
                "depth": depth_input("For cast shadows and point lights; and for normals where there is no normal map."),
                "geometry": geometry_input(
                    "Raw depth and normals of the picture. Where it is given, normal_map and depth are not looked at."
                ),
                "sky": choice_widget(SKIES, sky, advanced=True),
            },
        }

    def execute(
        self,
        image: Tensor,
        light: str = LIGHTS[0],
        colour: str = "#ffffff",
        azimuth: float = 135.0,
        elevation: float = 40.0,
        light_x: float = 0.3,
        light_y: float = 0.25,
        light_depth: float = 0.6,
        intensity: float = 1.0,
        ambient: float = 0.3,
        specular: float = 0.0,
        shininess: float = 32.0,
        shadows: float = 0.5,
        normal_map: Tensor | None = None,
        normal_coding: str = CODINGS[0],
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
        sky: str = SKIES[0],
    ) -> tuple[Tensor]:
        """One relit picture a picture."""
        check_choice("light", light, LIGHTS)
        check_choice("sky", sky, SKIES)
        check_choice("normal_coding", normal_coding, CODINGS)
        numbers = (azimuth, elevation, light_x, light_y, light_depth, intensity, ambient, specular, shininess, shadows)
        check_numbers(_LIGHT_NUMBERS, dict(zip(_LIGHT_NUMBERS, numbers, strict=True)))
        pictures = to_rgb(image)
        whole = known_of(pictures, geometry, depth, normal_map, normal_coding)
        height, width = pictures.shape[-2:]
        place = (light_x * width - 0.5, light_y * height - 0.5, light_depth) if light == "point" else None
        lamp = partial(_lamp, place, (azimuth, elevation), _linear_colour(colour), intensity)
        looks = {"ambient": ambient, "specular": specular, "shininess": shininess, "shadow": shadows}
        pairs = counted(pictures_with(pictures, whole), len(pictures))
        with_sky = sky == "auto" and shadows > 0
        lit = ((to_output(_relit(picture, estimate, lamp, looks, with_sky)),) for picture, estimate in pairs)
        return joined(lit, len(pictures))


class DepthParallax:
    """A small camera move through a still picture."""

    NODE_ID = "DepthNormal_DepthParallax"
    DISPLAY_NAME = "Depth Parallax"
    DESCRIPTION = (
        "Moves the camera a little through a picture, by its depth: frames of an orbit, a swing or a dolly, to be played in a loop. Near "
        "things pass before far ones, and the background continues behind them. Takes any pack's depth map, or this pack's geometry."
    )
    CATEGORY, FUNCTION = CATEGORY, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("frames",)
    OUTPUT_TOOLTIPS: ClassVar = (
        "The frames in order, at the picture's size; of a batch, those of the first picture first. For Create Video.",
    )
    SEARCH_ALIASES: ClassVar = ["parallax", "3d photo", "ken burns", "camera move", "orbit", "dolly", "wiggle", "2.5d", "depth video"]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        move = "orbit: a circle. swing: left and right. dolly: forward and back. All end where they begin, to be played in a loop."
        return {
            "required": {
                "image": image_input("The picture to move through, or a batch."),
                "move": choice_widget(MOVES, move),
                "frames": count_widget(24, 1, MAX_FRAMES, "How many frames one round has.", step=1),
                **number_widgets(_MOVE_NUMBERS),
            },
            "optional": {
                "depth": depth_input("Depth of the picture."),
                "geometry": geometry_input("Raw depth of the picture, with its camera. Where it is given, depth is not looked at."),
            },
        }

    def execute(
        self,
        image: Tensor,
        move: str = MOVES[0],
        frames: int = 24,
        amount: float = 0.05,
        focus: float = 0.5,
        depth: Tensor | None = None,
        geometry: Estimate | None = None,
    ) -> tuple[Tensor]:
        """All frames of all pictures."""
        check_choice("move", move, MOVES)
        check_range("frames", frames, 1, MAX_FRAMES)
        check_numbers(_MOVE_NUMBERS, {"amount": amount, "focus": focus})
        pictures = to_rgb(image)
        if depth is None and geometry is None:
            raise ValueError(NO_DEPTH)
        whole = known_of(pictures, geometry, depth)
        path = camera_path(move, int(frames), amount)
        views = (view for picture, estimate in pictures_with(pictures, whole) for view in _views(picture, estimate, path, focus))
        total = len(pictures) * len(path)
        return joined(((to_output(view),) for view in counted(views, total)), total)


def _linear_colour(colour: str) -> tuple[float, float, float]:
    if not re.fullmatch("#[0-9a-fA-F]{6}", colour.strip()):
        raise ValueError(f"colour is {colour!r}; accepted: # and six hexadecimal digits, such as #ffb46b")
    levels = torch.tensor([int(colour.strip()[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    red, green, blue = srgb_to_linear(levels).tolist()
    return red, green, blue


def _lamp(
    place: tuple[float, float, float] | None,
    angles: tuple[float, float],
    colour: tuple[float, float, float],
    intensity: float,
    intrinsics: Tensor,
) -> Light:
    """A point light at (x, y, depth), which the camera places in space; where there is no place, a directional one."""
    if place is None:
        return Light(light_direction(*angles), False, colour, intensity)
    return Light(light_position(*place, intrinsics), True, colour, intensity)


def _relit(picture: Tensor, estimate: Estimate, lamp: Callable[[Tensor], Light], looks: Mapping[str, float], with_sky: bool) -> Tensor:
    """One picture under a lamp that is placed by the camera; `with_sky`: no shadow falls on what looks like sky."""
    sized = with_normals(estimate).resized(picture.shape[-2], picture.shape[-1])
    normals, near_depth, intrinsics = _surfaces(sized)
    sky = find_sky(picture, sized) if with_sky and near_depth is not None else None
    return relight(picture, normals, lamp(intrinsics), depth=near_depth, intrinsics=intrinsics, mask=sized.valid, sky=sky, **looks)


def _views(picture: Tensor, estimate: Estimate, path: Tensor, focus: float) -> Iterator[Tensor]:
    """One picture as the camera sees it from each place of its path."""
    sized = estimate.resized(picture.shape[-2], picture.shape[-1])
    near_depth = depth_at_picture_edges(likely_filled_depth(sized), picture)
    inverse = 1 / near_depth
    still = 1 / torch.lerp(inverse.amin(), inverse.amax(), focus)
    for view in parallax_frames(picture, near_depth, likely_intrinsics(sized), path, still):
        throw_if_interrupted()
        yield view


def _surfaces(estimate: Estimate) -> tuple[Tensor, Tensor | None, Tensor]:
    """Normals in OPENGL axes, depth (None if unknown) and intrinsics of an estimate with normals."""
    assert estimate.normals is not None
    normals = unit_normals(convert_normals(estimate.normals, estimate.axes, Axes.OPENGL))
    depth = None if estimate.depth is None else sharpen_depth_edges(likely_filled_depth(estimate), edge_radius(*normals.shape[-2:]))
    return normals, depth, likely_intrinsics(estimate)


NODES = (Relight, DepthParallax)
