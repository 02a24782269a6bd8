"""Depth Anything, versions 1 and 2, and Distill Any Depth on version 2's networks: architectures and published files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...geometry.kinds import Quantity
from ..networks.configs import DptConfig, VitConfig
from ..preprocessing.kernels import cubic
from ..preprocessing.resizing import Fit, Resizing
from .base import ModelSpec, WeightFile


@dataclass(frozen=True)
class DepthAnythingConfig:
    """An architecture of the family.

    Attributes:
        vit: The transformer.
        dpt: The head.
        max_depth: Metres that the metric networks end at; None for disparity.
    """

    vit: VitConfig
    dpt: DptConfig
    max_depth: float | None = None


RESIZING = Resizing(Fit.LOWER_BOUND, resample=cubic)

_LAST_OF_12, _SPREAD_OF_12 = (8, 9, 10, 11), (2, 5, 8, 11)
_DPT_SMALL = DptConfig((48, 96, 192, 384), 64)
_DPT_BASE = DptConfig((96, 192, 384, 768), 128)
_DPT_LARGE = DptConfig((256, 512, 1024, 1024), 256)

V1_SMALL = DepthAnythingConfig(VitConfig(384, 12, 6, _LAST_OF_12), _DPT_SMALL)
V1_BASE = DepthAnythingConfig(VitConfig(768, 12, 12, _LAST_OF_12), _DPT_BASE)
V1_LARGE = DepthAnythingConfig(VitConfig(1024, 24, 16, (20, 21, 22, 23)), _DPT_LARGE)
V2_SMALL = DepthAnythingConfig(VitConfig(384, 12, 6, _SPREAD_OF_12), _DPT_SMALL)
V2_BASE = DepthAnythingConfig(VitConfig(768, 12, 12, _SPREAD_OF_12), _DPT_BASE)
V2_LARGE = DepthAnythingConfig(VitConfig(1024, 24, 16, (4, 11, 17, 23)), _DPT_LARGE)
V2_GIANT = DepthAnythingConfig(VitConfig(1536, 40, 24, (9, 19, 29, 39), swiglu=True), DptConfig((1536, 1536, 1536, 1536), 384))

FOLDERS = ("depthanything",)
_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"
V1_LICENCE = "https://github.com/LiheYoung/Depth-Anything/issues/15"
"""The authors' statement of the licence of version 1's weights: their Space has none."""
_V2_LICENCE = "https://github.com/DepthAnything/Depth-Anything-V2#license"
_DISTILLED_LICENCE = "https://github.com/Westlake-AGI-Lab/Distill-Any-Depth/issues/40"


def _v1(size: str, letter: str, config: DepthAnythingConfig, sha256: str, length: int | None = None, about: int | None = None) -> ModelSpec:
    file = WeightFile(
        repo_id="LiheYoung/Depth-Anything",
        repo_type="space",
        filename=f"checkpoints/depth_anything_vit{letter}14.pth",
        sha256=sha256,
        size=length,
        approximate_size=about,
        folders=FOLDERS,
    )
    return _spec(f"depth-anything-{size}", file, _APACHE, Quantity.DISPARITY, config, licence_url=V1_LICENCE)


def _v2(name: str, letter: str, config: DepthAnythingConfig, licence: str, **published: Any) -> ModelSpec:
    file = WeightFile(
        repo_id=f"depth-anything/Depth-Anything-V2-{name.capitalize()}" if published.get("published", True) else None,
        filename=f"depth_anything_v2_vit{letter}.pth",
        aliases=tuple(f"depth_anything_v2_vit{letter}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        folders=FOLDERS,
        **published,
    )
    stated = None if file.published else _V2_LICENCE
    return _spec(f"depth-anything-v2-{name}", file, licence, Quantity.DISPARITY, config, licence_url=stated)


def _v2_metric(scene: str, size: str, config: DepthAnythingConfig, revision: str, sha256: str, length: int) -> ModelSpec:
    dataset, max_depth = {"indoor": ("Hypersim", 20.0), "outdoor": ("VKITTI", 80.0)}[scene]
    name = f"depth_anything_v2_metric_{dataset.lower()}_vit{size[0]}"
    file = WeightFile(
        repo_id=f"depth-anything/Depth-Anything-V2-Metric-{dataset}-{size.capitalize()}",
        filename=f"{name}.pth",
        revision=revision,
        aliases=tuple(f"{name}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        sha256=sha256,
        size=length,
        folders=FOLDERS,
    )
    # Some of the hub's pages say Apache-2.0 and some nothing, the project's README that all base and large networks are non-commercial:
    # the stricter holds.
    licence = _APACHE if size == "small" else _NON_COMMERCIAL
    config = replace(config, max_depth=max_depth)
    return _spec(f"depth-anything-v2-metric-{scene}-{size}", file, licence, Quantity.METRIC_DEPTH, config, licence_url=_V2_LICENCE)


def _distilled(name: str, config: DepthAnythingConfig, **published: Any) -> ModelSpec:
    alias = f"distill_any_depth_vit{name[0]}.safetensors"
    file = WeightFile(f"{name}/model.safetensors", repo_id="xingyang1/Distill-Any-Depth", aliases=(alias,), folders=FOLDERS, **published)
    # The hub's page says Apache-2.0 of all; base and large were begun from Depth Anything V2's weights, which are non-commercial.
    doubt = {} if name == "small" else {"licence_url": _DISTILLED_LICENCE, "commercial": "unclear"}
    return _spec(f"distill-any-depth-{name}", file, _APACHE, Quantity.DISPARITY, config, **doubt)


def _spec(model_id: str, file: WeightFile, licence: str, quantity: Quantity, config: DepthAnythingConfig, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=model_id,
        family="depth-anything",
        files=(file,),
        licence=licence,
        quantity=quantity,
        multiple_of=14,
        resizing=RESIZING,
        default_size=518,
        config=config,
        **more,
    )


# The Space of V1 names no commit that is known here: its files are held to their sha256, and without one to what the hub states.
SPECS = (
    _v1("small", "s", V1_SMALL, "59afe57cfd9f4284deaf5b753d954723d7136ae842fba3e068ba03537ca1e60e", about=99_200_000),
    _v1("base", "b", V1_BASE, "64ae214ae4e27424b644c49464c0aa243016f6f753d95097c8eb9ad0b9cb2d9b", about=390_000_000),
    _v1("large", "l", V1_LARGE, "6c6a383e33e51c5fdfbf31e7ebcda943973a9e6a1cbef1564afe58d7f2e8fe63", 1_341_401_882),
    _v2(
        "small",
        "s",
        V2_SMALL,
        _APACHE,
        revision="03876f8651c73a60fe4c2c48294e09fcb6838fcf",
        sha256="715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378",
        size=99_218_434,
    ),
    _v2(
        "base",
        "b",
        V2_BASE,
        _NON_COMMERCIAL,
        revision="a4e71a6c2ce52fe50df0f212066b0d4a87be9b5e",
        sha256="0d2b7002e62d39d655571c371333340bd88f67ab95050c03591555aa05645328",
        size=389_961_218,
    ),
    _v2(
        "large",
        "l",
        V2_LARGE,
        _NON_COMMERCIAL,
        revision="cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9",
        sha256="a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345",
        size=1_341_395_338,
    ),
    # announced by its authors
    _v2("giant", "g", V2_GIANT, _NON_COMMERCIAL, approximate_size=5_030_000_000, published=False),
    _v2_metric(
        "indoor",
        "small",
        V2_SMALL,
        "3bc65d4e14a6786a61acec16453c50e12bf5f338",
        "b782898d8a3e8be1f639de33837ed85e9b4b73e40f8f5e5cd99067588d722545",
        99_222_290,
    ),
    _v2_metric(
        "indoor",
        "base",
        V2_BASE,
        "4ebcd7fd0858cbb953451619ca943ea39ec08e00",
        "9dc9e274c5eff55c6daf27b660c0ced0eca4e8593a6da90cdcb04d2b4d3f3fa2",
        389_965_138,
    ),
    _v2_metric(
        "indoor",
        "large",
        V2_LARGE,
        "79720800638389a78b2defc92caa885104f69974",
        "6f82ff2bc543ac02ddff4aa31fa363676a8305dd3ccf04e80e2af115a044cb6d",
        1_341_401_882,
    ),
    _v2_metric(
        "outdoor",
        "small",
        V2_SMALL,
        "c725b8589bdf6ab04072cab74c0467830db80d6d",
        "9203e538d35255c90dda4b7fedb47ff33fe725497bcca3b1e53b3a65ee63f0cb",
        99_221_808,
    ),
    _v2_metric(
        "outdoor",
        "base",
        V2_BASE,
        "e96fd0c8cedf1825a55b9c61309f754982948df0",
        "4dad67a7cc10b462bca48e6b8569c762b8eb3c1adada170a3851a6d3ba37bb3e",
        389_964_656,
    ),
    _v2_metric(
        "outdoor",
        "large",
        V2_LARGE,
        "070e97e4b80e317ec1d03c19927304f4091a180b",
        "239b1054a369e66da2576e9a118d6d7c12d90dc8ebe609579a9a09cd8e05fe38",
        1_341_401_064,
    ),
    _distilled(
        "small",
        V2_SMALL,
        revision="38095a41cca1e28a28e8bb6372c68df721455a2d",
        sha256="56a173c0e1b5045bf6296a5c1fb16eace0bbde2eddc24b37532cb1774ac09caa",
        size=99_165_428,
    ),
    _distilled("base", V2_BASE, approximate_size=390_000_000),
    _distilled("large", V2_LARGE, approximate_size=1_341_000_000),
)
