"""`depth-normal effect`: masks by depth and of the sky, cut-outs, fog and depth of field."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...options.effects import EFFECTS, EffectSpec
from ...options.fields import Box, Options, Point, Points, options_of
from ..console.parser import Parser
from ..outcomes import EXPECTED_ERRORS
from .for_each_image import COMMON, Work, is_file_name, over_images
from .option_table import add_options, chosen_options, common_options, option_names
from .result_paths import add_result
from .scene import add_scene, add_sky, check_model, check_sky, sky_of, write_made

if TYPE_CHECKING:
    from ...geometry.effects.makers import Made
    from .scene import Scene

COMMON_OF_SKY = frozenset(("--sky", "--sky-mask"))
_PLACES = (Point, Points, Box)


def add_effect(parser: Parser) -> None:
    """Adds the effects."""
    parser.usual_command = "cutout"
    parser.add_commands("EFFECT", ((spec.name, spec.task, partial(_add_one, spec=spec)) for spec in EFFECTS))


def _add_one(parser: Parser, spec: EffectSpec) -> None:
    add_scene(parser, several=True)
    add_result(parser, spec.ending, spec.result.extensions)
    group = parser.add_argument_group("the effect")
    add_options(group, spec.options)
    if spec.sky:
        add_sky(group, spec.sky)
    parser.common = COMMON | common_options(spec.options) | (COMMON_OF_SKY if spec.sky else frozenset())
    # The thresholds of selections and skies were measured on unrefined maps of tiny.
    parser.set_defaults(run=over_images(Work(partial(write_made, what="the effect"), _planned)), effect=spec, refine=False)


def _planned(arguments: argparse.Namespace) -> Callable[[Scene], Made]:
    spec: EffectSpec = arguments.effect
    _refuse_pixels(arguments, spec.options)
    options = chosen_options(arguments, spec.options)
    needed = options.needs_metres()
    check_model(arguments, depth=True, metres=needed and needed.named(option_names(spec.options)))
    if spec.sky:
        check_sky(arguments)

    def made(scene: Scene) -> Made:
        from ...geometry.effects.makers import make

        sky = sky_of(arguments, scene.image) if spec.sky else False
        return make(spec, scene.layers, scene.known, options, sky)

    return made


def _refuse_pixels(arguments: argparse.Namespace, options: type[Options]) -> None:
    """Rejects points and boxes in pixels (whole numbers, one above 1); the message converts them if one readable image is named."""
    from ..batch.per_image import read

    names = option_names(options)
    values = [(names[name], getattr(arguments, name, None)) for name, each in options_of(options).items() if isinstance(each, _PLACES)]
    places = [(option, place) for option, value in values if value for place in (value if isinstance(value, list) else [value])]
    for option, place in places:
        if max(place) <= 1 or not all(each.is_integer() for each in place):
            continue
        given = ",".join(f"{each:g}" for each in place)
        advice = "give fractions of the image, 0 to 1 from left to right and from top to bottom"
        if len(arguments.images) == 1 and is_file_name(arguments.images[0]):
            try:
                height, width = read(Path(arguments.images[0])).shape[-2:]
            except EXPECTED_ERRORS:
                pass  # an unreadable image is reported once the place is valid
            else:
                shares = [each / (height if at % 2 else width) for at, each in enumerate(place)]
                of = f"of {arguments.images[0]} ({width}x{height} pixels)"
                inside = all(0 <= each <= 1 for each in shares)
                advice += f": {option} {','.join(f'{each:.3g}' for each in shares)} {of}" if inside else f"; it lies outside {of}"
        raise ValueError(f"{option} {given} looks like pixels; {advice}")
