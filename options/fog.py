"""The options of fog."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options, choice, colour_text, number
from .masks import SKIES
from .values import MAX_DISTANCE


@dataclass(frozen=True)
class FogOptions(Options):
    """Fog that fills a scene: light decays with distance as in real air."""

    colour: str = colour_text("#c4ccd4", "Colour of the fog: #c4ccd4 morning, #d9b38c dust, #20242c night.")
    density: float = number(
        0.1,
        0,
        100,
        "How thick the fog is: exp(-density) of the light is left after each metre. 0.1: 37 % are left after 10 m. Without metres the "
        "near end of the scene is at 1.",
        on_command="The far end is at 3, or at 30 where the model marks the sky.",
        step=0.01,
        open=True,
    )
    start: float = number(0.0, 0, MAX_DISTANCE, "Distance from the camera at which the fog begins.", open=True)
    height_falloff: float = number(
        0.0,
        0,
        10,
        "How fast the fog thins with height above the camera: by exp(-height_falloff) a metre. 0: equally thick everywhere. Above 0: it "
        "lies in hollows.",
        step=0.01,
        open=True,
    )
    sky: str = choice(
        SKIES,
        "How the sky is treated. auto: regions that look like sky are infinitely far, so they are all fog. none: there is no sky; choose "
        "it indoors.",
        flag=None,
        advanced=True,
    )
