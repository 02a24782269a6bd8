"""The effects: names, options, results, and the texts of their nodes.

Commands (`app/commands/effect.py`) and nodes (`nodes/effects.py`) are generated from them; `geometry.effects.makers` implements each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .fields import Options
from .fog import FogOptions
from .lens import LensOptions
from .masks import CutoutOptions, MaskOptions, SkyOptions


class Result(NamedTuple):
    """The kind of an effect's result.

    Attributes:
        kind: The type of the node's output.
        extensions: File extensions that can hold it.
    """

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
        search="mask by depth, mask from depth, depth range, depth threshold, select by distance, segment, foreground mask, matte, "
        "按深度遮罩, 深度でマスク, 深度遮罩, 距离选区, 蒙版, デプスマスク",
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
        sky="is infinitely far, so it is all fog",
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
        search="depth of field, dof, bokeh, lens blur, blur background, portrait mode, defocus, aperture, tilt shift, 景深, 虚化, "
        "背景虚化, 散景, 焦外, ボケ, ぼかし, 背景ぼかし",
        outputs={"IMAGE": "The image through the lens. Parts in focus do not change."},
        image="The image, or a batch. Values above 1 (HDR) are treated as brighter than white and are kept.",
        geometry="Depth as numbers, and its camera if f_number is used, e.g. from Depth & Normals. If linked, depth is ignored.",
    ),
)
