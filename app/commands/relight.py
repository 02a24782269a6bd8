"""`depth-normal relight`: an image under other lamps, by its depth and normals."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..console.option_types import numbers, real
from ..console.parser import Parser
from .for_each_image import over_images
from .result_paths import add_result, settle_result
from .scene import IMAGES, add_scene, add_sky, check_model, check_sky, made_of, read_scene, sky_of, write_result

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.effects.lights import LightPlan
    from .scene import Scene

_WHITE = "#ffffff"
_SHADOWS = 0.5
DIRECTIONS = {
    "right": "0,30",
    "upper-right": "45,40",
    "above": "90,40",
    "upper-left": "135,40",
    "left": "180,30",
    "below": "270,30",
    "front": "90,75",
    "behind": "90,-15",
}
"""Names of angles of `--light`."""

COMMON = (
    *("--out", "--open", "--overwrite", "--light", "--point", "--colour", "--intensity", "--light-size", "--shadows"),
    *("--ambient", "--exposure", "--model", "--recursive"),
)
"""The options that `--help` shows."""


class _AddLamp(argparse.Action):
    """`--light` and `--point`: one more lamp, with what was said of lamps so far."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Adds it."""
        names = ("x", "y", "depth") if self.dest == "point" else ("azimuth", "elevation")
        try:
            found = numbers(DIRECTIONS.get(str(values), str(values)) if self.dest == "light" else str(values), names)
        except argparse.ArgumentTypeError as error:
            named = "" if self.dest == "point" else f"; or one of {', '.join(DIRECTIONS)}"
            raise argparse.ArgumentError(self, f"{error}{named}") from error
        kind = "point" if self.dest == "point" else "directional"
        lamp = {**namespace.of_lamps, "kind": kind, **dict(zip(names, found, strict=True))}
        namespace.lamps = (*namespace.lamps, lamp)


class _OfLamp(argparse.Action):
    """An option of the lamp before it; before any lamp, of all lamps."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Notes it."""
        if namespace.lamps:
            namespace.lamps = (*namespace.lamps[:-1], {**namespace.lamps[-1], self.named: values})
        else:
            namespace.of_lamps = {**namespace.of_lamps, self.named: values}

    @property
    def named(self) -> str:
        """The field of `LightPlan`; the destination `size` is the network's."""
        return self.dest.removeprefix("light_")


def add_relight(parser: Parser) -> None:
    """Adds the options of `relight`."""
    add_scene(parser, several=True)
    add_result(parser, "_relit.png", IMAGES)
    lamps = parser.add_argument_group("lamps", "Each with the options that follow it; without any, one from the left above.")
    named = ", ".join(DIRECTIONS)
    light = f"a lamp as far as the sun: {named}, or two angles: 0 right, 90 above, 180 left; then 0 grazing to 90 from the viewer"
    lamps.add_argument("--light", action=_AddLamp, metavar="WHERE", help=light)
    point = "a lamp in the scene: 0 to 1 from left to right, and from top to bottom, then how far from the viewer; 1 is the near end"
    lamps.add_argument("--point", action=_AddLamp, metavar="X,Y,DEPTH", help=point)
    lamps.add_argument(
        "--color",
        "--colour",
        dest="colour",
        action=_OfLamp,
        metavar="COLOUR",
        help=f"of the lamp before it: warm, cool, candle, moon, #ffb46b, white or 255,180,107 (default: {_WHITE})",
    )
    intensity = "1 shows what faces it (a point light: at distance 1) as bright as in the image (default: 1)"
    lamps.add_argument("--intensity", action=_OfLamp, type=real, metavar="X", help=intensity)
    size = "its diameter, for softer shadows and ends of light; of a --light as seen from 1 away: 0.01 the sun, 0.3 a window (default: 0)"
    lamps.add_argument("--light-size", dest="light_size", action=_OfLamp, type=real, metavar="X", help=size)
    shadows = f"how dark its shadows are, 0 to 1 (default: {_SHADOWS})"
    lamps.add_argument("--shadows", dest="shadow", action=_OfLamp, type=real, metavar="X", help=shadows)
    looks = parser.add_argument_group("the rest of the light, and the surfaces")
    ambient = "share of the image's own light that stays (default: %(default)s)"
    looks.add_argument("--ambient", type=real, default=0.5, metavar="X", help=ambient)
    looks.add_argument("--ambient-above", default=_WHITE, metavar="COLOUR", help="its colour on what faces up")
    looks.add_argument("--ambient-below", default=_WHITE, metavar="COLOUR", help="its colour on what faces down")
    specular = "share of the light that is mirrored (default: %(default)s)"
    looks.add_argument("--specular", type=real, default=0.0, metavar="X", help=specular)
    shininess = "1 to 1000: how small highlights are (default: %(default)s)"
    looks.add_argument("--shininess", type=real, default=32.0, metavar="X", help=shininess)
    looks.add_argument("--exposure", type=real, default=0.0, metavar="STOPS", help="brighter by so many stops")
    looks.add_argument("--clip", action="store_true", help="clip what is brighter than white, in place of a soft roll-off")
    add_sky(looks, "takes no shadows")
    parser.common = frozenset(COMMON)
    parser.argument_names = {"elevation": "--light: the elevation", "size": "--light-size"}
    parser.set_defaults(run=over_images(_relight, _style), lamps=(), of_lamps={})


def _style(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `relight` that do not depend on the image, with "plans" for the lamps."""
    from ...geometry.effects.relight import check_looks
    from ...geometry.images.srgb import colour_to_linear

    plans = _plans(arguments)
    ambient_colours = {
        name: colour_to_linear(getattr(arguments, name), f"--{name.replace('_', '-')}") for name in ("ambient_above", "ambient_below")
    }
    looks = {name: getattr(arguments, name) for name in ("ambient", "specular", "shininess", "exposure")}
    check_looks(**looks)
    check_model(arguments)
    check_sky(arguments)
    return {"plans": plans, **looks, **ambient_colours, "rolled_off": not arguments.clip}


def _relight(arguments: argparse.Namespace) -> int:
    settle_result(arguments)
    style = _style(arguments)
    plans = style.pop("plans")
    scene = read_scene(arguments)
    result, words = made_of(scene, lambda here: relit(here, plans, sky_of(arguments, here.image), style), "the light")
    return write_result(arguments, result, scene.bits, words)


def relit(scene: Scene, plans: tuple[LightPlan, ...], sky: Tensor | bool, style: dict[str, Any]) -> tuple[Tensor, str]:
    """A scene's image under lamps, transparent where it was; and what is to be said of its sky, which may be nothing.

    Args:
        scene: The image, and its depth and normals.
        plans: The lamps.
        sky: As `lit_scene` takes it.
        style: Further arguments of `relight_scene`.
    """
    from ...geometry.effects.lit_scene import lit_scene
    from ...geometry.effects.relight import relight_scene
    from ...geometry.regions.sky import describe_sky

    lit = lit_scene(scene.image, scene.known, plans, sky)
    words = describe_sky(lit.sky) if sky is not False and lit.depth is not None else ""
    return scene.layers.with_alpha(relight_scene(replace(lit, image=scene.layers.colours), **style)), words


def _plans(arguments: argparse.Namespace) -> tuple[LightPlan, ...]:
    """The lamps that were named; none = the usual one."""
    from ...geometry.effects.lights import LightPlan
    from ...geometry.images.srgb import colour_to_linear

    usual: dict[str, Any] = {"shadow": _SHADOWS, "colour": _WHITE}
    lamps = ({**usual, **lamp} for lamp in arguments.lamps or (arguments.of_lamps,))
    return tuple(LightPlan(**{**lamp, "colour": colour_to_linear(lamp["colour"], "--colour")}) for lamp in lamps)
