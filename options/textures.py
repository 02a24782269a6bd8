"""The options of material maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import check_range
from .estimate import AUTO, MODEL_ONLY, network_side
from .fields import Options, choice, number, switch, typed, whole
from .map_images import CODINGS, IN_ALPHA, READ_CODINGS

FREE, SEAMLESS = BORDERS = ("free", "seamless")
CENTRAL, SPLINE = DERIVATIVES = ("central", "spline")
NORMALS, PHOTO, BOTH = DETAILS = ("normals", "photo", "both")
"""Sources of fine relief: the model's normals, the photo's brightness, or both combined."""
_, HIGH, LOW = BRIGHT = (AUTO, "high", "low")

MAX_HEIGHT, MAX_FLATTEN, MAX_SHAPE, MAX_RELIEF, MAX_REACH, MAX_MARGIN = 100_000.0, 16_384.0, 2048.0, 100.0, 1024.0, 0.5
"""Heights and sizes in pixels; the last is the largest margin at each border of a tiling texture, as a share of the side."""

DEFAULT_RANGE = 32.0
"""The default height range in pixels, from black to white."""

PNG, EXR = TEXTURE_FORMATS = ("png", "exr")
SIMPLE, ROUGHNESS = "simple", 0.6
"""Materials without a model, and their roughness: that of most plaster, stone and wood."""

_BORDERS = (
    "How the height behaves at the borders. free: the map ends there. seamless: it tiles, and each border continues at the opposite one."
)
_HEIGHT_RANGE = "Pixels of height between black and white{from_node}. Larger is steeper."


def _borders(help_text: str = _BORDERS) -> str:
    return choice(BORDERS, help_text)


def _height_range() -> float:
    return number(
        DEFAULT_RANGE,
        (0, MAX_HEIGHT),
        _HEIGHT_RANGE,
        open=True,
        unit="px",
        metavar="PIXELS",
        otherwise=f"what the file says, else {DEFAULT_RANGE:g}",
    )


def result_coding() -> Any:
    """A field for the convention of a resulting normal map."""
    text = "Which direction red, green and blue of the result stand for: opengl for Blender and glTF, directx for Unreal."
    return choice(CODINGS, text, label="normal coding")


def roughness(help_text: str) -> Any:
    """A field for the roughness of a whole material."""
    return number(ROUGHNESS, (0, 1), help_text, step=0.01, metavar="VALUE", advanced=True)


def _directions(rare: bool = False) -> int:
    return whole(16, (4, 128), "Number of directions to search: 8 is a draft, 32 smooth.", metavar="N", rare=rare)


@dataclass(frozen=True)
class HeightOptions(Options):
    """Normals integrated to heights."""

    borders: str = _borders()
    level: bool = switch(
        False, "Removes the mean slope first, e.g. of a wall that was photographed at an angle. Seamless heights have no mean slope."
    )
    flatten: float = number(
        0.0,
        (0, MAX_FLATTEN),
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
    """Normals from heights."""

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
        (1, 512),
        "Width in pixels below which bends are smoothed away: 1 keeps the finest scratches, 8 the edges of bricks.",
        step=0.5,
        unit="px",
        metavar="PIXELS",
    )
    strength: float = number(
        0.0,
        (0, 1000),
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
        (1, MAX_REACH),
        "Distance in pixels within which things occlude the sky, less and less beyond half of it: joints of bricks 16, whole rooms 200.",
        step=1,
        unit="px",
        metavar="PIXELS",
    )
    directions: int = _directions()
    strength: float = number(
        1.0, (0, 8), "Strength of the effect: 1 is the true occlusion, above is darker, below lighter; open places stay white.", step=0.05
    )
    height_range: float = _height_range()
    borders: str = _borders()


@dataclass(frozen=True)
class PhotoOptions(Options):
    """Relief from a photo."""

    radius: float = number(
        0.0,
        (0, MAX_SHAPE),
        "Width in pixels above which shapes are removed. 0: an eighth of the shorter side. For the photo half of it is used.",
        step=1,
        flag="--shape",
        unit="px",
        metavar="PIXELS",
    )
    relief: float = number(
        1.0,
        (-MAX_RELIEF, MAX_RELIEF),
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
    """Fine relief from a photo, its normals, or both."""

    source: str = choice(
        DETAILS,
        "What the detail is computed from. normals: the geometry or normal map. photo: light and dark of the photograph; a guess that "
        "takes paint for relief. both: the photo's relief added to the normals'.",
        BOTH,
    )

    @property
    def asks_pattern(self) -> bool:
        """Whether the photo's pattern decides if bright parts are high or low."""
        return self.source != NORMALS and self.bright == AUTO and self.relief > 0

    def check(self) -> None:
        if self.radius and self.source != PHOTO:
            check_range("radius", self.radius, 1, MAX_SHAPE)

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.source == NORMALS:
            for name, says in (("relief", "how high the photo's contrast is"), ("bright", "what is high in the photo")):
                yield (name,), f"says {says}, and {{source}} {NORMALS} takes none of it; leave it out"


@dataclass(frozen=True)
class DetailNodeOptions(Options):
    """The node's additional options: what is linked to it replaces options of the command."""

    source: str = choice(
        (AUTO, *DETAILS),
        "What the detail is computed from. auto: everything that is linked. normals: the geometry or normal map. photo: light and dark of "
        "the photograph; a guess that takes paint for relief. both: the photo's relief added to the normals'.",
        flag=None,
    )
    coding: str = result_coding()
    normal_coding: str = choice(
        READ_CODINGS,
        f"Which direction red, green and blue of the input normal map stand for. {IN_ALPHA}",
        label="input's coding",
        flag=None,
    )


@dataclass(frozen=True)
class SeamlessOptions(Options):
    """Depth and normals that tile."""

    margin: float = number(
        0.25,
        (0, MAX_MARGIN),
        "How much of the texture is repeated at each border, as a share of its width and height.",
        step=0.01,
        on_command="The model sees that beyond the borders; the result is as large as the photo.",
    )
    even_borders: bool = switch(
        False,
        "Removes differences of light and colour between opposite borders of the image. Things that are cut at a border stay cut: the "
        "photograph itself should tile.",
    )
    resolution: int = network_side(
        "Side of the network's input in pixels, for the image with its margins, measured as in Depth & Normals (advanced). 0: the model's "
        "own size.",
        on_page="With a margin of 0.25 the texture is 1.5 times smaller in it.",
    )
    normals: str = choice(
        (AUTO, MODEL_ONLY),
        "Where the normals come from if the model does not predict them. auto: they are computed from its depth. model only: nothing is "
        "added.",
    )


@dataclass(frozen=True)
class ShownCurvatureOptions(Options):
    """The curvature map that a command writes."""

    show: str = choice(("curvature", "edges", "cavities"), "One map of the three.")


@dataclass(frozen=True)
class DepthOcclusionOptions(Options):
    """The input of a command."""

    from_depth: bool = switch(False, "The file holds depth of an image (.npz, .exr, or with --quantity), not heights.")


@dataclass(frozen=True)
class MaterialsOptions(Options):
    """Additional material maps of a command."""

    materials: str | None = typed(
        None,
        "text",
        "Albedo without light, roughness and metallic too: simple, without a model (light and relief divided out, one roughness), or by a "
        "model (marigold-iid-appearance; needs diffusers); {orm} packs them.",
        metavar="simple|MODEL",
        otherwise="none",
    )
    roughness: float = roughness("With {materials} simple: the roughness of the whole material, 0 = a mirror, 1 = matt.")
    materials_size: int | None = typed(
        None, "positive", "Longer side of that model's input in pixels.", metavar="N", otherwise="768, as in its training"
    )
    orm: bool = switch(
        False, "With {materials}: occlusion, roughness and metallic in the red, green and blue of one file too, as game engines read them."
    )

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.materials is None:
            yield ("orm", "materials_size", "roughness"), "is of the maps of {materials}; add it, or leave this out"
        elif self.materials == SIMPLE:
            yield ("materials_size",), f"says what a model sees, and {{materials}} {SIMPLE} runs none; leave it out"
        else:
            yield ("roughness",), f"is of {{materials}} {SIMPLE}, and a model estimates it; leave it out"


@dataclass(frozen=True)
class SavedTextureOptions(Options):
    """Texture files."""

    format: str = choice(
        TEXTURE_FORMATS,
        "File format. png: 16 bits a channel, 0 to 1. exr: unchanged floats, also below 0 and above 1.",
        on_page="exr has 32 bits and needs OpenEXR.",
    )
    grey: bool = switch(
        True, "Saves one channel if red, green and blue are the same, as in height maps; game engines expect that.", flag=None
    )


@dataclass(frozen=True)
class PbrOptions(DetailOptions):
    """The maps of a material."""

    occlusion_radius: float = number(
        0.0,
        (0, MAX_REACH),
        "Distance in pixels within which things occlude the sky. 0: half of the width of shapes, at least 4.",
        step=1,
        flag="--radius",
        unit="px",
        metavar="PIXELS",
    )
    directions: int = _directions(rare=True)
    scale: float = number(2.0, (0, 512), "Width in pixels over which curvature is judged.", step=0.5, flag=None)

    def check(self) -> None:
        super().check()
        if self.occlusion_radius:
            check_range("occlusion_radius", self.occlusion_radius, 1, MAX_REACH)
