"""The options of lamps and of relighting."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Options, choice, colour_text, number, switch
from .masks import SKIES

KINDS = DIRECTIONAL, POINT = ("directional", "point")
WHITE = "#ffffff"
MAX_LIGHTS = 64
MAX_AMBIENT = 100


@dataclass(frozen=True)
class LightOptions(Options):
    """A lamp that a person places in any image: by angles, or by a position in the image."""

    light: str = choice(KINDS, "Kind of light. directional: parallel rays, like the sun. point: a lamp in the scene.", flag=None)
    colour: str = colour_text(WHITE, "Colour of the light: #ffb46b a candle, #9ec3ff the sky.")
    azimuth: float = number(
        135.0,
        (-360, 360),
        "Direction of a directional light in degrees: 0 from the right, 90 from above, 180 from the left, 270 from below.",
        step=1,
        flag=None,
    )
    elevation: float = number(
        40.0,
        (-90, 90),
        "Elevation of a directional light above the image plane in degrees: 0 grazing, 90 from the viewer, below 0 from behind.",
        step=1,
        flag=None,
    )
    light_x: float = number(0.3, (-2, 3), "Position of a point light from left (0) to right (1) of the image.", step=0.01, flag=None)
    light_y: float = number(0.25, (-2, 3), "Position of a point light from top (0) to bottom (1) of the image.", step=0.01, flag=None)
    light_depth: float = number(
        0.6,
        (0.05, 100),
        "Distance of a point light from the viewer: 1 is the near end of the scene, larger values are farther inside it.",
        step=0.05,
        flag=None,
        open=True,
    )
    intensity: float = number(
        1.0,
        (0, 100),
        "Brightness of the light: at 1, a surface that faces it is as bright as in the image. A point light fades with distance.",
        step=0.05,
        open=True,
    )
    light_size: float = number(
        0.0,
        (0, 10),
        "Size of the lamp: larger lamps cast softer shadows, and their light ends more softly where a surface turns away. It is the "
        "diameter, where 1 is the distance of the near end; for a directional light, the diameter seen from distance 1. 0 hard, 0.01 the "
        "sun, 0.3 a window.",
        step=0.01,
        open=True,
    )
    shadows: float = number(
        0.5, (0, 1), "How dark cast shadows are. They are computed from the depth; without depth nothing casts shadows.", step=0.05
    )


@dataclass(frozen=True)
class LookOptions(Options):
    """The rest of a scene's light, and its surfaces."""

    ambient: float = number(
        0.5,
        (0, 2),
        "Share of the image's own light that is kept. 1 with intensity 0 gives the unchanged image.",
        step=0.05,
        open=True,
        most=MAX_AMBIENT,
    )
    specular: float = number(
        0.0,
        (0, 1),
        "Share of the light that is reflected as a highlight: 0 chalk, 0.1 to 0.3 skin, wood, paint, above that wet or polished.",
        step=0.05,
        advanced=True,
        rare=True,
    )
    shininess: float = number(
        32.0, (1, 1000), "Sharpness of highlights: 5 broad and dull, 200 small and bright.", step=1, advanced=True, rare=True
    )
    sky: str = choice(
        SKIES,
        "How the sky is found; it gets no shadows and is lit evenly. auto: as the model tells it; of models that do not, regions that look "
        "like sky (far along the top border, brighter or bluer than the rest, the bottom near). none: there is no sky; choose it if a far "
        "wall misses its shadows.",
        flag=None,
        advanced=True,
    )
    ambient_above: str = colour_text(
        WHITE, "Colour of the ambient light from above, on surfaces that face up. #9ec3ff outdoors.", advanced=True, rare=True
    )
    ambient_below: str = colour_text(WHITE, "Colour of the ambient light from below, such as #8a7a5c over sand.", advanced=True, rare=True)
    exposure: float = number(0.0, (-10, 10), "Exposure in stops: 1 doubles the light, -1 halves it.", metavar="STOPS", advanced=True)
    roll_off: bool = switch(
        True,
        "Whether highlights roll off softly below white and grow paler, as on film. Off: they are clipped.",
        flag="--clip",
        off="clip what is brighter than white, in place of a soft roll-off",
        advanced=True,
        rare=True,
    )
