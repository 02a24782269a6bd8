"""The effects' names, options, results and texts, of which commands and nodes are made; `geometry.effects.makers` implements each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .estimate import AUTO
from .fields import DISTANCES_IN_METRES, NeedsMetres, Options, choice, colour_text, image_point, number, whole
from .masks import SKIES, CutoutOptions, MaskOptions, SkyOptions
from .values import MAX_DISTANCE, METRES, UNITS, Point, check_limit


@dataclass(frozen=True)
class FogOptions(Options):
    """Fog that fills a scene: light decays with distance as in real air."""

    colour: str = colour_text("#c4ccd4", "Colour of the fog: #c4ccd4 morning, #d9b38c dust, #20242c night.")
    density: float = number(
        0.1,
        (0, 100),
        "How thick the fog is: exp(-density) of the light is left after each metre. 0.1: 37 % are left after 10 m. Without metres the "
        "near end of the scene is at 1.",
        on_command="The far end is at 3, or at 10 where the model marks the sky.",
        step=0.01,
        open=True,
    )
    start: float = number(0.0, (0, MAX_DISTANCE), "Distance from the camera at which the fog begins.", open=True)
    height_falloff: float = number(
        0.0,
        (0, 10),
        "How fast the fog thins with height above the camera: by exp(-height_falloff) a metre. 0: equally thick everywhere. Above 0: it "
        "lies in hollows.",
        step=0.01,
        open=True,
    )
    sky: str = choice(
        SKIES,
        "How the sky is treated. auto: regions that look like sky are infinitely far, so they are fully fogged. none: there is no sky; "
        "choose it indoors.",
        flag=None,
        advanced=True,
    )


MAX_BLADES = 16
MAX_BLUR = 20.0
MAX_STOPS = 4.0

_F_NUMBER = NeedsMetres("{f_number}", "give {blur} in its place")


@dataclass(frozen=True)
class LensOptions(Options):
    """The focus and the aperture of a lens."""

    focus: float = number(30.0, (0, MAX_DISTANCE), "Distance that is in focus, in the unit below; ignored if a point is set.", open=True)
    unit: str = choice(
        UNITS, "Unit of focus. percent: 0 the near end of the scene, 100 its far end, for any depth. metres: for metric depth."
    )
    point: Point | None = image_point("Point in focus{by_click}; {focus} is then ignored.")
    blur: float = number(
        2.0,
        (0, MAX_BLUR),
        "Strength of the blur if {f_number} is 0: diameter of a far point's circle with the near end in focus, in percent of the longer "
        "side.",
        unit="percent",
        metavar="PERCENT",
    )
    f_number: float = number(
        0.0,
        (0, 64),
        "F-number of a real lens, for metric depth: 1.4 wide open, 16 almost everything sharp. 0: {blur} sets the strength.",
        metavar="N",
        open=True,
    )
    focal_length: float = number(
        0.0,
        (0, 2000),
        "Focal length of the real lens in millimetres. 0: computed from the camera's field of view and the sensor.",
        step=1,
        unit="mm",
        metavar="LENGTH",
        open=True,
    )
    sensor: float = number(
        36.0,
        (1, 200),
        "Longer side of the real camera's sensor in millimetres: 36 full frame, 23.5 APS-C, 9.8 a phone.",
        unit="mm",
        metavar="LENGTH",
        rare=True,
        open=True,
    )
    blades: int = whole(
        0, (0, MAX_BLADES), "Number of aperture blades: 5 to 9 make highlights polygons, 0 makes them discs.", metavar="N", rare=True
    )
    rotation: float = number(0.0, (-360, 360), "Rotation of the aperture blades in degrees.", step=1, metavar="DEGREES", rare=True)
    highlights: float = number(
        1.0,
        (0, MAX_STOPS),
        "How many stops brighter than white clipped highlights are assumed to be: lights out of focus become bright discs instead of "
        "grey ones.",
        metavar="STOPS",
    )

    def check(self) -> None:
        if self.point is None:
            check_limit(self.focus, self.unit, "focus")

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.point is not None:
            yield ("focus",), "has no effect beside {point}, which takes its place; leave one of them out"
        if self.f_number:
            yield ("blur",), "has no effect beside {f_number}, which takes its place; leave one of them out"
        else:
            yield ("focal_length", "sensor"), "is of a real lens; give its {f_number} too, or leave it out"
        if not self.blades:
            yield ("rotation",), "turns the blades of the shutter; give their number with {blades}, or leave it out"

    def needs_metres(self) -> NeedsMetres | None:
        if self.f_number:
            return _F_NUMBER
        return DISTANCES_IN_METRES if self.unit == METRES and self.point is None else None


class Result(NamedTuple):
    """The kind of an effect's result: the type of the node's output, and file extensions that can hold it."""

    kind: str
    extensions: tuple[str, ...]


MASK = Result("MASK", (".png",))
IMAGE = Result("IMAGE", (".png", ".jpg", ".jpeg"))
CUTOUT = Result("IMAGE", (".png",))
"""An image with a transparent background."""


@dataclass(frozen=True, kw_only=True)
class EffectSpec:
    """An effect.

    Attributes:
        task: What it does, in words that follow "to".
        ending: The suffix of its result's file name.
        node_id: Its node's id in saved graphs.
        title: Its node's display name.
        description: What its node does, in sentences.
        search: Search words for the node, in English, Chinese and Japanese, comma-separated.
        outputs: Tooltips of the node's outputs, by name. A second output is the effect's mask.
        image, geometry, depth: Tooltips of the node's inputs.
        needs_image: Whether the node needs an image; else it can show the result on depth alone.
        panoramas: Whether it supports panoramas; else they are rejected.
        mask: Tooltip of a mask input that replaces a selection; "" = no such input.
        sky: How it treats the sky, in words that follow "it", if it has the option `sky` and a mask input for it; "" = no such input.
    """

    name: str
    task: str
    options: type[Options]
    result: Result
    ending: str
    node_id: str
    title: str
    description: str
    search: str
    outputs: Mapping[str, str]
    image: str = "The image, or a batch."
    geometry: str = "Depth as numbers, e.g. from Depth & Normals. If linked, depth is ignored."
    depth: str = "Depth map, if geometry is not linked."
    needs_image: bool = True
    panoramas: bool = False
    mask: str = ""
    sky: str = ""


EFFECTS = (
    EffectSpec(
        name="mask",
        task="make a mask of what lies between two distances, around a point or in a box",
        options=MaskOptions,
        result=MASK,
        ending="_mask.png",
        node_id="DepthNormal_DepthMask",
        title="Depth Mask",
        description="Makes a mask of everything between two distances, in metres or percent of the way from near to far, or of the "
        "surface or the whole object at a point of the image, or the object in a box. Takes any pack's depth map, or this pack's "
        "geometry.",
        search="mask by depth, mask from depth, depth range, depth threshold, select by distance, segment, segmentation, "
        "foreground mask, matte, 按深度遮罩, 深度でマスク, 深度遮罩, 距离选区, 蒙版, 分割, デプスマスク, セグメンテーション",
        outputs={"MASK": "The mask: 1 = selected. It has the image's size, or without an image the depth's."},
        image="Image that the node shows the mask on; the mask gets its size.",
        needs_image=False,
        panoramas=True,
    ),
    EffectSpec(
        name="cutout",
        task="cut out the foreground, with a transparent background",
        options=CutoutOptions,
        result=CUTOUT,
        ending="_cutout.png",
        node_id="DepthNormal_ForegroundCutout",
        title="Foreground Cut-out",
        description="Cuts the foreground out of an image by depth, around a point, in a box, or by a mask: transparent background, a "
        "soft border that follows the image, and no fringe in the colours of the old background.",
        search="remove background, rembg, cutout, matting, alpha, transparent, rgba, foreground, 去背景, 去背, 抠像, 抠图, 背景除去, "
        "背景透過, 切り抜き",
        outputs={
            "cutout": "The foreground on a transparent background (four channels), for Save Image or for compositing.",
            "mask": "Opacity of each pixel of the foreground.",
        },
        image="The image to cut, or a batch. Its transparent pixels stay transparent.",
        geometry="Depth as numbers, if no mask is linked, e.g. from Depth & Normals. If linked, depth is ignored.",
        depth="Depth map, if neither geometry nor a mask is linked.",
        panoramas=True,
        mask="Mask of the foreground, of any size, e.g. from Depth Mask. If linked, unit, near, far, feather, the points, tolerance, "
        "select and the box are ignored.",
    ),
    EffectSpec(
        name="sky",
        task="make a mask of the sky, with a soft border that follows the image",
        options=SkyOptions,
        result=MASK,
        ending="_sky.png",
        node_id="DepthNormal_SkyMask",
        title="Sky Mask",
        description="Makes a mask of the sky, with a soft border that follows roofs, leaves and hair of the image: to replace the sky, "
        "or, mended by hand, for Fog and Relight. Takes any pack's depth map, or this pack's geometry; models that see skies find more "
        "of them.",
        search="sky, sky replacement, replace sky, sky segmentation, horizon, clouds, 天空, 换天, 空, 空の差し替え",
        outputs={"MASK": "The mask: 1 = sky. Black where no sky was found. It has the image's size."},
        panoramas=True,
    ),
    EffectSpec(
        name="fog",
        task="add fog that grows with distance",
        options=FogOptions,
        result=IMAGE,
        ending="_fog.png",
        node_id="DepthNormal_Fog",
        title="Fog",
        description="Fills a scene with fog, haze or smoke: light is lost with distance as in real air, in linear light. Takes any "
        "pack's depth map, or this pack's geometry; distances are metres if the depth is metric.",
        search="fog, mist, haze, smoke, atmosphere, aerial perspective, weather, depth fog, 雾, 雾气, 薄雾, 霧, もや, かすみ",
        outputs={"image": "The image in fog.", "fog": "Share of fog in each pixel."},
        image="The image, or a batch. Values above 1 (HDR) stay above 1 where they shine through.",
        geometry="Depth as numbers and the camera, e.g. from Depth & Normals. If linked, depth is ignored.",
        sky="is infinitely far, so it is fully fogged",
    ),
    EffectSpec(
        name="depth-of-field",
        task="blur what is out of focus, as a lens with a wide aperture does",
        options=LensOptions,
        result=IMAGE,
        ending="_dof.png",
        node_id="DepthNormal_DepthOfField",
        title="Depth of Field",
        description="Gives an image the depth of field of a large lens: sharp at a point or a distance, soft in front of and behind it, "
        "lights as discs or polygons. Near things blur over those behind them, and sharp things keep a clean outline. Takes any pack's "
        "depth map, or geometry.",
        search="depth of field, dof, bokeh, lens blur, depth blur, blur background, portrait mode, defocus, aperture, tilt shift, "
        "景深, 虚化, 背景虚化, 散景, 焦外, ボケ, ぼかし, 背景ぼかし",
        outputs={"IMAGE": "The image through the lens. Parts in focus do not change."},
        image="The image, or a batch. Values above 1 (HDR) are treated as brighter than white and are kept.",
        geometry="Depth as numbers, and its camera if f_number is used, e.g. from Depth & Normals. If linked, depth is ignored.",
    ),
)


AS_THEY_ARE = "as they are"
MAX_STRENGTH, MAX_RADIUS = 2.0, 64


@dataclass(frozen=True)
class RefineOptions(Options):
    """Alignment of depth and normal edges to the image's."""

    strength: float = number(
        1.0,
        (0, MAX_STRENGTH),
        "How much the image's colours decide where an edge lies, relative to the middle of the depth's own ramp. 0: the image is ignored. "
        "Above 1: for clean images and very soft depth.",
        step=0.05,
        metavar="N",
    )
    radius: int = whole(
        0,
        (0, MAX_RADIUS),
        "Half the width of the depth's soft edges in pixels of the image. 0: measured for each image.",
        unit="px",
        metavar="PIXELS",
    )
    normals: str = choice(
        (AUTO, AS_THEY_ARE),
        f"Whether missing normals are added. auto: they are computed from the depth. {AS_THEY_ARE}: nothing is added.",
        flag=None,
    )
