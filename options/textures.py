"""The options of maps of materials."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_range
from .fields import Options, choice, number, switch, whole

FREE, SEAMLESS = BORDERS = ("free", "seamless")
CENTRAL, SPLINE = DERIVATIVES = ("central", "spline")
AUTO = "auto"
NORMALS, PHOTO, BOTH = DETAILS = ("normals", "photo", "both")
"""Sources of fine relief: the model's normals, light and dark of the photograph, or both, one laid on the other."""
_, HIGH, LOW = BRIGHT = (AUTO, "high", "low")

MAX_HEIGHT, MAX_FLATTEN, MAX_SHAPE, MAX_RELIEF, MAX_REACH = 100_000.0, 16_384.0, 2048.0, 100.0, 1024.0
DEFAULT_RANGE = 32.0
"""Pixels of height between black and white, where nobody says them."""

_BORDERS = (
    "How the height behaves at the borders. free: the map ends there. seamless: it tiles, and each border continues at the opposite one."
)
_HEIGHT_RANGE = "Pixels of height between black and white{from_node}. Larger is steeper."


def _borders(help_text: str = _BORDERS) -> str:
    return choice(BORDERS, help_text)


def _height_range() -> float:
    return number(
        DEFAULT_RANGE,
        0,
        MAX_HEIGHT,
        _HEIGHT_RANGE,
        open=True,
        unit="px",
        metavar="PIXELS",
        otherwise=f"what the file says, else {DEFAULT_RANGE:g}",
    )


def _directions(rare: bool = False) -> int:
    return whole(16, 4, 128, "Number of directions to search: 8 is a draft, 32 smooth.", metavar="N", rare=rare)


@dataclass(frozen=True)
class HeightOptions(Options):
    """Normals integrated to heights."""

    borders: str = _borders()
    level: bool = switch(
        False, "Removes the mean slope first, e.g. of a wall that was photographed at an angle. Seamless heights have no mean slope."
    )
    flatten: float = number(
        0.0,
        0,
        MAX_FLATTEN,
        "Flattens wide shapes so that fine relief gets more grey levels: a shape of this width in pixels becomes half as high, wider ones "
        "flatter. 0: off.",
        open=True,
        step=1,
        unit="px",
        metavar="PIXELS",
    )
    derivative: str = choice(
        (AUTO, *DERIVATIVES),
        "How the normals were made. spline: from a surface, by rendering, baking or a model. central: from a height map, by differences of "
        "its pixels. auto: whichever fits them better.",
        advanced=True,
    )


@dataclass(frozen=True)
class SlopesOptions(Options):
    """Normals of heights."""

    height_range: float = _height_range()
    borders: str = _borders()
    derivative: str = choice(
        DERIVATIVES,
        "How slopes are computed. central: half the difference of both neighbours, robust beside steps and with 8 bits. spline: from the "
        "smooth curve through all pixels, closer to a smooth surface.",
        advanced=True,
    )


@dataclass(frozen=True)
class CurvatureOptions(Options):
    """Curvature of normals, or of heights."""

    scale: float = number(
        2.0,
        1,
        512,
        "Width in pixels below which bends are smoothed away: 1 keeps the finest scratches, 8 the edges of bricks.",
        step=0.5,
        unit="px",
        metavar="PIXELS",
    )
    strength: float = number(
        0.0,
        0,
        1000,
        "Contrast of the map. 0: chosen for each image, so that 1 % of it is white or black. 1: a bend of 57 degrees over the scale is "
        "white.",
        open=True,
        metavar="N",
    )
    height_range: float = _height_range()
    borders: str = _borders()


@dataclass(frozen=True)
class OcclusionOptions(Options):
    """Ambient occlusion of heights, or of depth."""

    radius: float = number(
        64.0,
        1,
        MAX_REACH,
        "Distance in pixels within which things occlude the sky, less and less beyond half of it: joints of bricks 16, whole rooms 200.",
        step=1,
        unit="px",
        metavar="PIXELS",
    )
    directions: int = _directions()
    strength: float = number(
        1.0,
        0,
        8,
        "Strength of the effect: 1 is the true occlusion, above is darker, below lighter; open places stay white.",
        step=0.05,
    )
    height_range: float = _height_range()
    borders: str = _borders()


@dataclass(frozen=True)
class PhotoOptions(Options):
    """What the relief of a photograph is."""

    radius: float = number(
        0.0,
        0,
        MAX_SHAPE,
        "Width in pixels above which shapes are removed. 0: an eighth of the shorter side. For the photo half of it is used.",
        step=1,
        flag="--shape",
        unit="px",
        metavar="PIXELS",
    )
    relief: float = number(
        1.0,
        -MAX_RELIEF,
        MAX_RELIEF,
        "Strength of the photo's relief: height in pixels of its typical contrast; negative turns it inside out.",
        step=0.05,
        unit="px",
        metavar="PIXELS",
    )
    borders: str = _borders("Whether the photograph tiles. seamless: it does. free: it does not.")
    bright: str = choice(
        BRIGHT,
        "What is bright in the photograph. high: it stands out, as on stone and cloth. low: it lies deep, as light mortar does. auto: low "
        "if bright lines run between darker fields, else high, with grey joints between coloured stones low.",
        on_node="In doubt the node shows the photograph and its height both ways, high first.",
        advanced=True,
    )


@dataclass(frozen=True)
class DetailOptions(PhotoOptions):
    """Fine relief of a photograph, of its normals, or of both."""

    source: str = choice(
        DETAILS,
        "What the detail is computed from. normals: the geometry or normal map. photo: light and dark of the photograph; a guess that "
        "takes paint for relief. both: the photo's relief added to the normals'.",
        BOTH,
    )

    @property
    def asks_pattern(self) -> bool:
        """Whether the pattern of the photograph decides what its bright parts are."""
        return self.source != NORMALS and self.bright == AUTO and self.relief > 0

    def check(self) -> None:
        """See `Options`."""
        if self.radius and self.source != PHOTO:
            check_range("radius", self.radius, 1, MAX_SHAPE)


@dataclass(frozen=True)
class PbrOptions(DetailOptions):
    """The maps of a material."""

    occlusion_radius: float = number(
        0.0,
        0,
        MAX_REACH,
        "Distance in pixels within which things occlude the sky. 0: half of the width of shapes, at least 4.",
        step=1,
        flag="--radius",
        unit="px",
        metavar="PIXELS",
    )
    directions: int = _directions(rare=True)
    scale: float = number(2.0, 0, 512, "Width in pixels over which curvature is judged.", step=0.5, flag=None)

    def check(self) -> None:
        """See `Options`."""
        super().check()
        if self.occlusion_radius:
            check_range("occlusion_radius", self.occlusion_radius, 1, MAX_REACH)
