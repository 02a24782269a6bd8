"""The effects of `depth-normal effect`: what they are called, what can be set, and how their results are named.

`geometry.effects.makers` has the function of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options
from .fog import FogOptions
from .lens import LensOptions
from .masks import CutoutOptions, MaskOptions
from .sky import SkyOptions

MASKS = (".png",)
IMAGES = (".png", ".jpg", ".jpeg")
"""Endings of files of masks, and of images without alpha."""


@dataclass(frozen=True)
class EffectSpec:
    """An effect.

    Attributes:
        name: As it is typed.
        task: What it does, in words that follow "to".
        options: What can be set.
        ending: Of the name of its result, behind that of the image.
        extensions: Of the files that can hold the result.
        asks_for_sky: Whether it treats the sky apart, so that a mask of it can be given.
    """

    name: str
    task: str
    options: type[Options]
    ending: str
    extensions: tuple[str, ...] = MASKS
    asks_for_sky: bool = False


EFFECTS = (
    EffectSpec("mask", "make a mask of what lies between two distances, around a point or in a box", MaskOptions, "_mask.png"),
    EffectSpec("sky", "make a mask of the sky, with a soft border that follows the image", SkyOptions, "_sky.png"),
    EffectSpec("cutout", "cut out the foreground, with a transparent background", CutoutOptions, "_cutout.png"),
    EffectSpec("fog", "add fog that grows with distance", FogOptions, "_fog.png", IMAGES, asks_for_sky=True),
    EffectSpec("depth-of-field", "blur what is out of focus, as a lens with a wide aperture does", LensOptions, "_dof.png", IMAGES),
)
