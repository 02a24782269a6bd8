"""The Depth Anything family's entries in the table of models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..geometry.estimate import Quantity
from . import depth_anything as da
from . import depth_anything_v3 as da3
from . import zoe_depth_anything as zoe
from .base import ModelSpec, WeightFile
from .resizing import SHORT_SIDE

_FOLDERS = ("depthanything",)
# In the repository Comfy-Org/Depth-Anything-3, which holds all four; they came one after the other
_V3_FIRST, _V3_MONO = "1aaeea516f22fb2f4c7fae761c8ed470c6cf9f93", "913d1a7ab58ddbfbf94a33bf536c4fc2ff25465d"
_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"


def _v1(
    size: str, letter: str, config: da.DepthAnythingConfig, sha256: str, length: int | None = None, about: int | None = None
) -> ModelSpec:
    file = WeightFile(
        repo_id="LiheYoung/Depth-Anything",
        repo_type="space",
        filename=f"checkpoints/depth_anything_vit{letter}14.pth",
        sha256=sha256,
        size=length,
        approximate_size=about,
        folders=_FOLDERS,
    )
    return _spec(f"depth-anything-{size}", file, _APACHE, Quantity.DISPARITY, config)


def _v2(name: str, letter: str, config: da.DepthAnythingConfig, licence: str, **published: Any) -> ModelSpec:
    file = WeightFile(
        repo_id=f"depth-anything/Depth-Anything-V2-{name.capitalize()}",
        filename=f"depth_anything_v2_vit{letter}.pth",
        aliases=tuple(f"depth_anything_v2_vit{letter}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        folders=_FOLDERS,
        **published,
    )
    return _spec(f"depth-anything-v2-{name}", file, licence, Quantity.DISPARITY, config)


def _v2_metric(scene: str, size: str, config: da.DepthAnythingConfig, revision: str, sha256: str, length: int) -> ModelSpec:
    dataset, max_depth = {"indoor": ("Hypersim", 20.0), "outdoor": ("VKITTI", 80.0)}[scene]
    name = f"depth_anything_v2_metric_{dataset.lower()}_vit{size[0]}"
    file = WeightFile(
        repo_id=f"depth-anything/Depth-Anything-V2-Metric-{dataset}-{size.capitalize()}",
        filename=f"{name}.pth",
        revision=revision,
        aliases=tuple(f"{name}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        sha256=sha256,
        size=length,
        folders=_FOLDERS,
    )
    # The hub's pages say Apache-2.0, the project's README that all base and large networks are non-commercial: the stricter holds.
    licence = _APACHE if size == "small" else _NON_COMMERCIAL
    config = replace(config, max_depth=max_depth)
    return _spec(f"depth-anything-v2-metric-{scene}-{size}", file, licence, Quantity.METRIC_DEPTH, config)


def _v1_metric(scene: str, **published: Any) -> ModelSpec:
    file = WeightFile(
        repo_id="LiheYoung/Depth-Anything",
        repo_type="space",
        filename=f"checkpoints_metric_depth/depth_anything_metric_depth_{scene}.pt",
        folders=_FOLDERS,
        **published,
    )
    spec = _spec(f"zoe-depth-anything-{scene}", file, _APACHE, Quantity.METRIC_DEPTH, da.V1_LARGE)
    return replace(spec, family="zoe-depth-anything", resizing=zoe.RESIZING, default_size=392)


def _v3(
    name: str, config: da.DepthAnythingConfig, length: int, revision: str, sha256: str | None, quantity: Quantity = Quantity.RELATIVE_DEPTH
) -> ModelSpec:
    file = WeightFile(
        repo_id="Comfy-Org/Depth-Anything-3",
        filename=f"geometry_estimation/depth_anything_3_{name.replace('-', '_')}.safetensors",
        revision=revision,
        sha256=sha256,
        size=length,
        folders=("geometry_estimation",),
    )
    spec = _spec(f"depth-anything-3-{name}", file, _APACHE, quantity, config)
    return replace(spec, family="depth-anything-3", resizing=SHORT_SIDE, default_size=504)


def _spec(model_id: str, file: WeightFile, licence: str, quantity: Quantity, config: da.DepthAnythingConfig) -> ModelSpec:
    return ModelSpec(
        id=model_id,
        family="depth-anything",
        files=(file,),
        licence=licence,
        quantity=quantity,
        multiple_of=14,
        resizing=da.RESIZING,
        default_size=518,
        config=config,
    )


# The Space of V1 names no commit that is known here: its files are held to their sha256, and without one to what the hub states.
SPECS = (
    _v1("small", "s", da.V1_SMALL, "59afe57cfd9f4284deaf5b753d954723d7136ae842fba3e068ba03537ca1e60e", about=99_200_000),
    _v1("base", "b", da.V1_BASE, "64ae214ae4e27424b644c49464c0aa243016f6f753d95097c8eb9ad0b9cb2d9b", about=390_000_000),
    _v1("large", "l", da.V1_LARGE, "6c6a383e33e51c5fdfbf31e7ebcda943973a9e6a1cbef1564afe58d7f2e8fe63", 1_341_401_882),
    _v2(
        "small",
        "s",
        da.V2_SMALL,
        _APACHE,
        revision="03876f8651c73a60fe4c2c48294e09fcb6838fcf",
        sha256="715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378",
        size=99_218_434,
    ),
    _v2(
        "base",
        "b",
        da.V2_BASE,
        _NON_COMMERCIAL,
        revision="a4e71a6c2ce52fe50df0f212066b0d4a87be9b5e",
        sha256="0d2b7002e62d39d655571c371333340bd88f67ab95050c03591555aa05645328",
        size=389_961_218,
    ),
    _v2(
        "large",
        "l",
        da.V2_LARGE,
        _NON_COMMERCIAL,
        revision="cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9",
        sha256="a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345",
        size=1_341_395_338,
    ),
    # announced by its authors, not published so far
    _v2("giant", "g", da.V2_GIANT, _NON_COMMERCIAL, approximate_size=5_030_000_000),
    _v2_metric(
        "indoor",
        "small",
        da.V2_SMALL,
        "3bc65d4e14a6786a61acec16453c50e12bf5f338",
        "b782898d8a3e8be1f639de33837ed85e9b4b73e40f8f5e5cd99067588d722545",
        99_222_290,
    ),
    _v2_metric(
        "indoor",
        "base",
        da.V2_BASE,
        "4ebcd7fd0858cbb953451619ca943ea39ec08e00",
        "9dc9e274c5eff55c6daf27b660c0ced0eca4e8593a6da90cdcb04d2b4d3f3fa2",
        389_965_138,
    ),
    _v2_metric(
        "indoor",
        "large",
        da.V2_LARGE,
        "79720800638389a78b2defc92caa885104f69974",
        "6f82ff2bc543ac02ddff4aa31fa363676a8305dd3ccf04e80e2af115a044cb6d",
        1_341_401_882,
    ),
    _v2_metric(
        "outdoor",
        "small",
        da.V2_SMALL,
        "c725b8589bdf6ab04072cab74c0467830db80d6d",
        "9203e538d35255c90dda4b7fedb47ff33fe725497bcca3b1e53b3a65ee63f0cb",
        99_221_808,
    ),
    _v2_metric(
        "outdoor",
        "base",
        da.V2_BASE,
        "e96fd0c8cedf1825a55b9c61309f754982948df0",
        "4dad67a7cc10b462bca48e6b8569c762b8eb3c1adada170a3851a6d3ba37bb3e",
        389_964_656,
    ),
    _v2_metric(
        "outdoor",
        "large",
        da.V2_LARGE,
        "070e97e4b80e317ec1d03c19927304f4091a180b",
        "239b1054a369e66da2576e9a118d6d7c12d90dc8ebe609579a9a09cd8e05fe38",
        1_341_401_064,
    ),
    _v1_metric("indoor", sha256="e25a96605a2ea2dbbe57308d024e89a803fa87fe981bd51d4cee245f1de57977", size=1_343_378_277),
    _v1_metric("outdoor", approximate_size=1_343_000_000),
    _v3("small", da3.V3_SMALL, 137_254_980, _V3_FIRST, "9c0a53d157c5b315d4c82908a43d93eeaa3a9ac3de9d15c2b4242ef46b5508ad"),
    _v3("base", da3.V3_BASE, 541_524_124, _V3_FIRST, "418c0d2ea857e2d1215fa51baa46833f499a62eb2400ec63d337aa20d326414f"),
    _v3("mono-large", da3.V3_LARGE, 1_336_748_056, _V3_MONO, "9b44eda5bedba5b4e125686fdb79d1db309c1b9785277576eb930f885b008f96"),
    _v3("metric-large", da3.V3_LARGE, 1_336_748_056, "main", None, Quantity.METRIC_DEPTH),
)
