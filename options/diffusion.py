"""The options of Marigold, Lotus and LBM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .estimate import network_side, normal_coding, precision
from .fields import Options, choice, seed, switch, whole
from .map_images import NORMALISATIONS
from .render import RANGES
from .textures import SIMPLE, result_coding, roughness

MAX_STEPS, MAX_ENSEMBLE = 50, 20

_LONG_SIDE = "Longer side of the network's input in pixels. 0: 768, as in its training. The result has the image's own size."
_NOISE = "Seed of the noise. The same seed gives the same result; every image of a batch gets the same noise."


def _marigold_steps(before: str = "") -> Any:
    return whole(0, (0, MAX_STEPS), "Number of denoising steps. 0: the authors' recommendation, 1 to 10 by model.", before=before)


def _ensemble(help_text: str, before: str = "") -> Any:
    return whole(1, (1, MAX_ENSEMBLE), help_text, before=before)


def _tiled() -> Any:
    return switch(
        False,
        "Saves memory: the image is encoded and decoded in tiles, with faint differences between them. It is switched on automatically "
        "when memory runs out.",
        advanced=True,
    )


@dataclass(frozen=True)
class DiffusionNodeOptions(Options):
    """Options common to the three."""

    normalisation: str = choice(NORMALISATIONS, RANGES.format(fixed="the model's own 0 to 1"))
    resolution: int = network_side(_LONG_SIDE)
    precision: str = precision()
    tiled: bool = _tiled()
    coding: str = normal_coding()


@dataclass(frozen=True)
class MarigoldNodeOptions(DiffusionNodeOptions):
    """Marigold."""

    steps: int = _marigold_steps("resolution")
    ensemble_size: int = _ensemble(
        "Number of predictions to merge. 2 or more add a confidence to the geometry, 3 or more improve the result; the time grows in "
        "proportion.",
        "resolution",
    )
    seed: int = seed(_NOISE, before="resolution")


@dataclass(frozen=True)
class LotusNodeOptions(DiffusionNodeOptions):
    """Lotus."""

    seed: int = seed(f"{_NOISE} It has no effect on the models with -d, which use no noise.", before="resolution")


@dataclass(frozen=True)
class LbmNodeOptions(DiffusionNodeOptions):
    """LBM."""

    resolution: int = network_side(
        "Size of the network's input: about as many pixels as this side squared, at the image's aspect ratio. 0: 1024, as in its training."
    )
    steps: int = whole(1, (1, MAX_STEPS), "Number of steps; the network was trained for 1 to 4.", before="resolution")
    seed: int = seed("Seed of the noise between steps. It has no effect with 1 step.", before="resolution")


@dataclass(frozen=True)
class MaterialOptions(Options):
    """Marigold's materials, and the assumptions without a model."""

    steps: int = _marigold_steps()
    ensemble_size: int = _ensemble("Number of predictions to merge. 3 or more give smoother maps; the time grows in proportion.")
    seed: int = seed(_NOISE)
    coding: str = result_coding()
    resolution: int = network_side(_LONG_SIDE)
    precision: str = precision()
    tiled: bool = _tiled()
    roughness: float = roughness(f"The roughness of the whole material where the model is {SIMPLE}: 0 = a mirror, 1 = matt.")
