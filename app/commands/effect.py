"""`depth-normal effect`: masks by depth and of the sky, cut-outs, fog and depth of field."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..console.option_types import box, millimetres, percent, point, real, whole
from ..console.parser import Parser
from ..outcomes import EXPECTED_ERRORS
from .arguments import refuse_options
from .for_each_image import is_file_name, over_images
from .result_paths import add_result, settle_result
from .scene import IMAGES, NeedsMetres, add_scene, add_sky, check_model, check_sky, made_of, read_scene, sky_of, write_result

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.effects.depth_mask import MaskChoice
    from .scene import Scene

    Make = Callable[[Scene], tuple[Tensor, str]]
    # How an effect is made, and what of it needs metres.
    Plan = tuple[Make, NeedsMetres | None]

UNIT_CHOICES = ("percent", "metres")
"""Those of `geometry.effects.depths.UNITS`, which imports torch; a test compares them."""
SELECT_CHOICES = ("surface", "object")
"""Those of `geometry.effects.depth_mask.SELECTS`."""

COMMON = {
    "mask": ("--near", "--far", "--feather", "--unit", "--point", "--not-point", "--select", "--box", "--invert"),
    "cutout": ("--near", "--far", "--feather", "--unit", "--point", "--not-point", "--select", "--box", "--edge"),
    "sky": (),
    "fog": ("--density", "--colour", "--start", "--height-falloff", "--sky", "--sky-mask"),
    "depth-of-field": ("--focus", "--unit", "--point", "--blur", "--f-number", "--focal-length", "--highlights"),
}
"""The options of each effect that `--help` shows, besides:"""
COMMON_TO_ALL = ("--out", "--open", "--overwrite", "--model", "--recursive")

_METRES = NeedsMetres("--unit metres", "give all distances in percent (0 the near end, 100 the far end) without --unit")
_F_NUMBER = NeedsMetres("--f-number", "give --blur in its place")

_UNIT = "of distances: percent of the way from the near end of the scene to its far end, or metres, for metric depth (default: %(default)s)"


def add_effect(parser: Parser) -> None:
    """Adds the effects, each with its options."""
    effects = parser.add_subparsers(required=True, metavar="EFFECT")
    parser.usual_command = "cutout"
    for name, task, add, ending, extensions in (
        ("mask", "make a mask of what lies between two distances, around a point or in a box", _add_mask, "_mask.png", (".png",)),
        ("sky", "make a mask of the sky, with a soft border that follows the image", _add_sky, "_sky.png", (".png",)),
        ("cutout", "cut out the foreground, with a transparent background", _add_cutout, "_cutout.png", (".png",)),
        ("fog", "add fog that grows with distance", _add_fog, "_fog.png", IMAGES),
        ("depth-of-field", "blur what is out of focus, as a lens with a wide aperture does", _add_depth_of_field, "_dof.png", IMAGES),
    ):
        added: Parser = effects.add_parser(name, help=task, description=f"{task[0].upper()}{task[1:]}.")
        add_scene(added, several=True)
        add_result(added, ending, extensions)
        add(added.add_argument_group("the effect"))
        added.common = frozenset((*COMMON_TO_ALL, *COMMON[name]))
        added.argument_names = {"falloff": "--height-falloff"}
        # Selections and skies were measured with tiny's plain map.
        added.set_defaults(parser=added, run=over_images(_effect, _planned), refine=False)


def _add_choice(group: argparse._ArgumentGroup) -> None:
    """Adds the options that say what belongs to a mask."""
    group.add_argument("--unit", choices=UNIT_CHOICES, default=UNIT_CHOICES[0], help=_UNIT)
    group.add_argument("--near", type=percent, default=0.0, metavar="X", help="where it begins (default: %(default)s)")
    far = "where it ends; 100 percent or 0 metres is no limit, and takes in the sky (default: %(default)s)"
    group.add_argument("--far", type=percent, default=40.0, metavar="X", help=far)
    group.add_argument("--feather", type=percent, default=2.0, metavar="X", help="over how much it falls off (default: %(default)s)")
    where = (
        "in place of --near and --far: the surface or the object at this point, 0 to 1 from left to right and from top to bottom; "
        "given again, a further point of it. With --box: a point in the box that the object lacks"
    )
    group.add_argument("--point", type=point, action="append", metavar="X,Y", help=where)
    no = "with --select object or --box: a point that is not of the object; can be given again"
    group.add_argument("--not-point", type=point, action="append", metavar="X,Y", help=no)
    select = "the connected surface at --point, or the whole object without what it stands on (default: %(default)s)"
    group.add_argument("--select", choices=SELECT_CHOICES, default=SELECT_CHOICES[0], help=select)
    around = "the whole object in this box, each side 0 to 1 from left to right and from top to bottom; --point and --not-point correct it"
    group.add_argument("--box", type=box, metavar="LEFT,TOP,RIGHT,BOTTOM", help=around)
    tolerance = "of a surface: how much nearer or farther than the point it may reach (default: %(default)s)"
    group.add_argument("--tolerance", type=percent, default=8.0, metavar="X", help=tolerance)


def _add_mask(group: argparse._ArgumentGroup) -> None:
    _add_choice(group)
    group.add_argument("--invert", action="store_true", help="everything else")
    group.set_defaults(plan=_mask)


def _add_cutout(group: argparse._ArgumentGroup) -> None:
    _add_choice(group)
    edge = "half the width of the border that follows the image, in percent of the longer side (default: %(default)s)"
    group.add_argument("--edge", type=percent, default=0.6, metavar="PERCENT", help=edge)
    group.add_argument("--keep-colours", action="store_true", help="leave the old background's share in the border's colours")
    group.set_defaults(plan=_cutout)


def _add_sky(group: argparse._ArgumentGroup) -> None:
    group.set_defaults(plan=_sky)


def _add_fog(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--color",
        "--colour",
        dest="colour",
        default="#c4ccd4",
        metavar="COLOUR",
        help="of the fog: #d9b38c, #fff, white or 217,179,140 (default: %(default)s)",
    )
    density = (
        "extinction per metre: exp(-density) of the light is left after each; without metres the near end is at 1 and the far end at 3, "
        "or at 30 where the model marks the sky (default: %(default)s)"
    )
    group.add_argument("--density", type=real, default=0.1, metavar="X", help=density)
    group.add_argument("--start", type=real, default=0.0, metavar="X", help="how far from the camera it begins (default: %(default)s)")
    falloff = "how fast it thins upwards from the camera's height (default: %(default)s, not at all)"
    group.add_argument("--height-falloff", type=real, default=0.0, metavar="X", help=falloff)
    add_sky(group, "is infinitely far")
    group.set_defaults(plan=_fog)


def _add_depth_of_field(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--focus", type=real, default=30.0, metavar="X", help="distance that is in focus, in --unit (default: %(default)s)")
    group.add_argument("--unit", choices=UNIT_CHOICES, default=UNIT_CHOICES[0], help=_UNIT)
    where = "in place of --focus: the distance of this point, 0 to 1 from left to right and from top to bottom"
    group.add_argument("--point", type=point, metavar="X,Y", help=where)
    blur = "circle of a far point when the near end is in focus, in percent of the longer side (default: %(default)s)"
    group.add_argument("--blur", type=percent, default=2.0, metavar="PERCENT", help=blur)
    f_number = "in place of --blur: the opening of a real lens, for metric depth"
    group.add_argument("--f-number", type=real, default=0.0, metavar="N", help=f_number)
    focal_length = "of the real lens, as 50mm (default: by the camera's field of view)"
    group.add_argument("--focal-length", type=millimetres, default=0.0, metavar="LENGTH", help=focal_length)
    group.add_argument("--sensor", type=millimetres, default=36.0, metavar="LENGTH", help="longer side of its sensor (default: 36mm)")
    group.add_argument(
        "--blades", type=whole, default=0, metavar="N", help="of the shutter; 0: highlights are discs (default: %(default)s)"
    )
    group.add_argument("--rotation", type=real, default=0.0, metavar="DEGREES", help="of the blades (default: %(default)s)")
    highlights = (
        "how many stops brighter than white clipped highlights are taken to be; 0 where bright discs disturb (default: %(default)s)"
    )
    group.add_argument("--highlights", type=real, default=1.0, metavar="STOPS", help=highlights)
    group.set_defaults(plan=_depth_of_field)


def _planned(arguments: argparse.Namespace) -> Make:
    """The effect, once it is clear that the options, and the model where there is one, can make it."""
    make, metres = arguments.plan(arguments)
    check_model(arguments, depth=True, metres=metres)
    return make


def _effect(arguments: argparse.Namespace) -> int:
    settle_result(arguments)
    make = _planned(arguments)
    scene = read_scene(arguments)
    result, words = made_of(scene, make, "the effect")
    return write_result(arguments, result, scene.bits, words)


def _choice(arguments: argparse.Namespace) -> tuple[MaskChoice, NeedsMetres | None]:
    from ...geometry.checks import check_range
    from ...geometry.effects.depth_mask import MaskChoice

    _refuse_pixels(arguments, "--box", [arguments.box] if arguments.box else [])
    _refuse_pixels(arguments, "--point", arguments.point or [])
    _refuse_pixels(arguments, "--not-point", arguments.not_point or [])
    if arguments.box:
        ignored = ("--near", "--far", "--tolerance", "--feather", "--unit")
        refuse_options(arguments, ignored, "has no effect on the object in a --box; leave it out")
    elif arguments.point:
        refuse_options(arguments, ("--near", "--far"), "has no effect beside --point, which takes their place; leave one of them out")
        if arguments.select == "object":
            refuse_options(arguments, ("--tolerance", "--feather", "--unit"), "has no effect on a whole object; leave it out")
        else:
            refuse_options(arguments, ("--not-point",), "removes parts of an object; add --select object, or leave it out")
    else:
        refuse_options(arguments, ("--tolerance",), "says how far the surface around --point reaches; name a point, or leave it out")
        refuse_options(
            arguments, ("--not-point",), "is beside the object at --point or in a --box; name one of these, too, or leave it out"
        )
        refuse_options(arguments, ("--select",), "says what --point selects; name a point, or a --box, or leave it out")
        if arguments.unit == "percent":  # nodes of saved graphs may hold more
            check_range("near", arguments.near, 0, 100)
            check_range("far", arguments.far, 0, 100)
    invert = getattr(arguments, "invert", False)
    limits = (arguments.near, arguments.far, arguments.unit, arguments.feather)
    first, *more = arguments.point or [None]
    further = {"more_points": tuple(more), "not_points": tuple(arguments.not_point or ())}
    choice = MaskChoice(*limits, first, arguments.tolerance, invert, arguments.select, arguments.box, **further)
    return choice, _needing_metres(arguments.unit)


def _refuse_pixels(arguments: argparse.Namespace, option: str, places: Sequence[tuple[float, ...]]) -> None:
    """Refuses points and boxes in pixels, and says what they are as shares of the image, where one is named that can be read.

    Raises:
        ValueError: All numbers of a place are whole, and one is above 1.
    """
    from ..batch.per_image import read

    for place in places:
        if max(place) <= 1 or not all(each.is_integer() for each in place):
            continue
        given = ",".join(f"{each:g}" for each in place)
        advice = "give fractions of the image, 0 to 1 from left to right and from top to bottom"
        if len(arguments.images) == 1 and is_file_name(arguments.images[0]):
            try:
                height, width = read(Path(arguments.images[0])).shape[-2:]
            except EXPECTED_ERRORS:
                pass  # what is wrong with the image is said once the place is right
            else:
                shares = [each / (height if at % 2 else width) for at, each in enumerate(place)]
                of = f"of {arguments.images[0]} ({width}x{height} pixels)"
                inside = all(0 <= each <= 1 for each in shares)
                advice += f": {option} {','.join(f'{each:.3g}' for each in shares)} {of}" if inside else f"; it lies outside {of}"
        raise ValueError(f"{option} {given} looks like pixels; {advice}")


def _needing_metres(unit: str) -> NeedsMetres | None:
    return _METRES if unit == "metres" else None


def _chosen(choice: MaskChoice, scene: Scene) -> tuple[Tensor, str]:
    from ...geometry.effects.depths import known_depths

    depths = known_depths(scene.known)
    mask = choice.mask(depths, scene.image)
    return mask, choice.describe(depths, float(mask.mean()))


def _mask(arguments: argparse.Namespace) -> Plan:
    choice, metres = _choice(arguments)
    return partial(_chosen, choice), metres


def _cutout(arguments: argparse.Namespace) -> Plan:
    import torch

    from ...geometry.checks import check_range
    from ...geometry.edges.matting import MAX_EDGE, cut_out

    choice, metres = _choice(arguments)
    check_range("edge", arguments.edge, 0, MAX_EDGE)

    def make(scene: Scene) -> tuple[Tensor, str]:
        mask, words = _chosen(choice, scene)
        colour, alpha = cut_out(scene.layers.colours, mask, arguments.edge, not arguments.keep_colours)
        if scene.layers.alpha is not None:
            alpha = alpha * scene.layers.alpha
        return torch.cat((colour, alpha), 1), words

    return make, metres


def _sky(arguments: argparse.Namespace) -> Plan:
    from ...geometry.regions.sky import NO_SKY, describe_sky, sky_alpha

    def make(scene: Scene) -> tuple[Tensor, str]:
        share = sky_alpha(scene.image, scene.known)
        return share, describe_sky(share) or NO_SKY

    return make, None


def _fog(arguments: argparse.Namespace) -> Plan:
    from ...geometry.effects.fog import FogBank, add_fog, fog_of
    from ...geometry.images.srgb import colour_to_linear

    fog = FogBank(arguments.density, arguments.start, arguments.height_falloff)
    colour = colour_to_linear(arguments.colour, "--colour")

    check_sky(arguments)

    def make(scene: Scene) -> tuple[Tensor, str]:
        through, words = fog_of(scene.known, scene.image, fog, sky_of(arguments, scene.image), scene.layers.alpha)
        return scene.layers.with_alpha(add_fog(scene.layers.colours, through, colour)), words

    return make, None


def _depth_of_field(arguments: argparse.Namespace) -> Plan:
    from ...geometry.effects.depth_of_field import check_lens, depth_of_field
    from ...geometry.effects.focus import Focus, focused

    if arguments.point:
        _refuse_pixels(arguments, "--point", [arguments.point])
        refuse_options(arguments, ("--focus",), "has no effect beside --point, which takes its place; leave one of them out")
    if arguments.f_number:
        refuse_options(arguments, ("--blur",), "has no effect beside --f-number, which takes its place; leave one of them out")
    else:
        refuse_options(arguments, ("--focal-length", "--sensor"), "is of a real lens; give its --f-number too, or leave it out")
    if not arguments.blades:
        refuse_options(arguments, ("--rotation",), "turns the blades of the shutter; give their number with --blades, or leave it out")
    looks = (arguments.blur, arguments.f_number, arguments.focal_length, arguments.sensor)
    focus = Focus(arguments.focus, arguments.unit, arguments.point, *looks)
    blades, highlights = {"blades": arguments.blades, "rotation": arguments.rotation}, arguments.highlights
    check_lens(**blades, highlights=highlights)

    def make(scene: Scene) -> tuple[Tensor, str]:
        circle, words = focused(scene.known, scene.image, focus)
        blurred = partial(depth_of_field, circle=circle, **blades)
        return scene.layers.through(partial(blurred, highlights=highlights), blurred), words

    return make, _F_NUMBER if focus.f_number else None if focus.point else _needing_metres(focus.unit)
