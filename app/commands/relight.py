"""`depth-normal relight`: an image under other lamps, by its depth and normals."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...options.effects import IMAGE
from ...options.lights import DIRECTIONAL, POINT, LightOptions, LookOptions
from ..console.option_types import numbers
from ..console.parser import Parser
from .for_each_image import COMMON, Work, over_images
from .option_table import add_options, chosen_options, common_options
from .result_paths import add_result
from .scene import add_scene, add_sky, check_model, check_sky, sky_of, write_made

if TYPE_CHECKING:
    from ...geometry.effects.lights import LightPlan
    from ...geometry.effects.makers import Made
    from .scene import Scene

DIRECTIONS = {
    "right": "0,40",
    "upper-right": "45,40",
    "above": "90,40",
    "upper-left": "135,40",
    "left": "180,40",
    "below": "270,40",
    "front": "90,75",
    "behind": "90,-15",
}
"""Named directions of `--light`."""


class _AddLamp(argparse.Action):
    """`--light` and `--point`: adds a lamp, with the options typed for all lamps so far."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        names = ("light_x", "light_y", "light_depth") if self.dest == "point" else ("azimuth", "elevation")
        try:
            coordinates = numbers(DIRECTIONS.get(str(values), str(values)), [name.removeprefix("light_") for name in names])
        except argparse.ArgumentTypeError as error:
            named = "" if self.dest == "point" else f"; or one of {', '.join(DIRECTIONS)}"
            raise argparse.ArgumentError(self, f"{error}{named}") from error
        kind = POINT if self.dest == "point" else DIRECTIONAL
        lamp = {**namespace.of_lamps, "light": kind, **dict(zip(names, coordinates, strict=True))}
        namespace.lamps = (*namespace.lamps, lamp)


class _OfLamp(argparse.Action):
    """An option of the preceding lamp; before any lamp, of all lamps."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if namespace.lamps:
            namespace.lamps = (*namespace.lamps[:-1], {**namespace.lamps[-1], self.dest: values})
        else:
            namespace.of_lamps = {**namespace.of_lamps, self.dest: values}


def add_relight(parser: Parser) -> None:
    """Adds the options of `relight`."""
    add_scene(parser, several=True)
    add_result(parser, "_relit.png", IMAGE.extensions)
    lamps = parser.add_argument_group("lamps", "Each with the options that follow it; without any, one from the left above.")
    named = ", ".join(DIRECTIONS)
    angles = "AZIMUTH,ELEVATION in degrees, such as 180,20 for low light from the left (azimuth 90: above; elevation 90: from the viewer)"
    light = f"a lamp as far as the sun: {named}, or {angles}"
    lamps.add_argument("--light", action=_AddLamp, metavar="WHERE", help=light)
    point = "a lamp in the scene: 0 to 1 from left to right, and from top to bottom, then how far from the viewer; 1 is the near end"
    lamps.add_argument("--point", action=_AddLamp, metavar="X,Y,DEPTH", help=point)
    add_options(lamps, LightOptions, _OfLamp)
    looks = parser.add_argument_group("the rest of the light, and the surfaces")
    add_options(looks, LookOptions)
    add_sky(looks, "takes no shadows")
    parser.common = COMMON | {"--light", "--point"} | common_options(LightOptions) | common_options(LookOptions)
    parser.argument_names = {
        "azimuth": "--light: the azimuth",
        "elevation": "--light: the elevation",
        **{f"light_{name}": f"--point: {name}" for name in ("x", "y", "depth")},
    }
    parser.set_defaults(run=over_images(Work(partial(write_made, what="the light"), _planned)), lamps=(), of_lamps={})


def _light(arguments: argparse.Namespace) -> tuple[tuple[LightPlan, ...], LookOptions]:
    """The lamps and the look, after validation."""
    from ...geometry.effects.lights import LightPlan

    lamps = tuple(LightPlan.of(LightOptions(**lamp)) for lamp in arguments.lamps or (arguments.of_lamps,))
    look = chosen_options(arguments, LookOptions)
    check_model(arguments)
    check_sky(arguments)
    return lamps, look


def _planned(arguments: argparse.Namespace) -> Callable[[Scene], Made]:
    light = _light(arguments)

    def made(scene: Scene) -> Made:
        from ...geometry.effects.makers import under_lamps

        return under_lamps(scene.layers, scene.known, *light, sky_of(arguments, scene.image))[0]

    return made
