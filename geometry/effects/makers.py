"""One function per effect, from layers, estimate and options to a result, for nodes and commands.

`options.effects` has the effects' names, options, nodes and results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...options.effects import EffectSpec, FogOptions, LensOptions
from ...options.lights import LookOptions
from ...options.masks import CutoutOptions, MaskOptions
from ...utils import ends_of_parts, to_cpu
from ..edges.matting import cut_out
from ..estimate import Estimate
from ..images.srgb import colour_to_linear
from ..projections import need_perspective
from ..regions.sky import NO_SKY, describe_sky, sky_alpha
from ..views.transparency import Layers
from .depth_mask import describe_selection, selected_mask
from .depth_of_field import depth_of_field
from .depths import known_depths
from .fog import fog_of, foggy
from .lens import focused
from .lights import LightPlan
from .lit_scene import LitScene, lit_scene
from .relight import relight_scene


class Made(NamedTuple):
    """The result of an effect on one image.

    Attributes:
        result: (1, 1, 3 or 4, H, W): a mask, an image, or one with alpha; HDR images exceed 1.
        say: Describes the result, from `numbers`: "fog over 0.8 to 6.2 m, 31 % of the light is the fog's".
        mask: (1, 1, H, W) in [0, 1], a secondary result; None = none.
        numbers: Scalars on the device, to be fetched together with the result.
    """

    result: Tensor
    say: Callable[..., str]
    mask: Tensor | None = None
    numbers: tuple[Tensor, ...] = ()

    @property
    def words(self) -> str:
        """The description. Synchronises the device once a number."""
        return self.say(*map(float, self.numbers))


Maker = Callable[[Layers, Any, Any, "Tensor | bool"], Made]
"""Takes the layers of one image, their estimate at the same size, the options, and a mask.

The mask is (1, 1, H, W) in [0, 1], of the sky or of the cut-out (then no estimate is needed); or whether to detect it.
"""


def in_fog(layers: Layers, estimate: Estimate, fog: FogOptions, sky: Tensor | bool) -> Made:
    """The image in fog, and the share of fog in each pixel."""
    through, say, numbers = fog_of(estimate, layers.shown, fog, sky, layers.alpha)
    return Made(layers.with_alpha(foggy(layers.colours, through, colour_to_linear(fog.colour))), say, 1 - through, numbers)


def through_lens(layers: Layers, estimate: Estimate, lens: LensOptions, _: Tensor | bool) -> Made:
    """The image through a lens. Alpha is blurred alike, without highlights."""
    circle, words = focused(estimate, layers.shown, lens)
    blurred = partial(depth_of_field, circle=circle, blades=lens.blades, rotation=lens.rotation)
    return Made(layers.through(partial(blurred, highlights=lens.highlights), blurred), lambda: words)


def of_sky(layers: Layers, estimate: Estimate, _: Any, __: Tensor | bool) -> Made:
    """A mask of the sky."""
    share = sky_alpha(layers.shown.clamp(max=1), estimate)
    return Made(share, lambda mean: describe_sky(mean) or NO_SKY, numbers=(share.mean(),))


def of_selection(layers: Layers, estimate: Estimate, options: MaskOptions, _: Tensor | bool) -> Made:
    """A mask of the selection."""
    depths = known_depths(estimate)
    mask = selected_mask(options, depths, layers.shown.clamp(max=1))
    say, numbers = partial(describe_selection, options, depths), (mask.mean(),)
    if options.invert:
        return Made(1 - mask, lambda share: f"all but {say(1 - share)}", numbers=numbers)
    return Made(mask, say, numbers=numbers)


def cut_out_of(layers: Layers, estimate: Estimate | None, options: CutoutOptions, mask: Tensor | bool) -> Made:
    """Cuts out the selection on a transparent background. Transparent parts of the image stay so."""
    if isinstance(mask, Tensor):
        words, ends = "mask from the input", None
    else:
        assert estimate is not None
        depths = known_depths(estimate)
        mask = selected_mask(options, depths, layers.shown.clamp(max=1))
        fetched = to_cpu({"share": mask.mean(), "ends": ends_of_parts(layers.colours)})  # one synchronisation
        words, ends = describe_selection(options, depths, float(fetched["share"])), fetched["ends"]
    colours, alpha = cut_out(layers.colours.to(mask), mask, options.edge, options.decontaminate, ends)
    alpha = alpha if layers.alpha is None else alpha * layers.alpha.to(alpha)
    return Made(torch.cat((colours, alpha), 1), lambda: words, alpha)


def under_lamps(
    layers: Layers, estimate: Estimate, plans: tuple[LightPlan, ...], look: LookOptions, sky: Tensor | bool
) -> tuple[Made, LitScene]:
    """The relit image, described by its sky (may be empty), and the scene."""
    scene = lit_scene(layers.shown, estimate, plans, sky)
    lit = relight_scene(replace(scene, image=layers.colours), look)
    numbers = () if scene.sky is None or scene.depth is None else (scene.sky.mean(),)
    return Made(layers.with_alpha(lit), lambda sky=0.0: describe_sky(sky), numbers=numbers), scene


def make(spec: EffectSpec, layers: Layers, estimate: Estimate | None, options: Any, mask: Tensor | bool) -> Made:
    """Applies an effect to one image; see `Maker`. Some makers check for panoramas again, for direct callers.

    Raises ValueError: the image is a panorama, and the effect does not support it.
    """
    if estimate is not None and not spec.panoramas:
        need_perspective(estimate, spec.title.lower())
    return MAKERS[spec.name](layers, estimate, options, mask)


MAKERS: dict[str, Maker] = {"mask": of_selection, "sky": of_sky, "cutout": cut_out_of, "fog": in_fog, "depth-of-field": through_lens}
"""By the name of the effect."""
