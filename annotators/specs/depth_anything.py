"""Depth Anything, versions 1 to 3, for videos and with ZoeDepth's head, and Distill Any Depth: architectures and published files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...geometry.kinds import Quantity
from ..networks.configs import DptConfig, VitConfig
from ..preprocessing.resizing import Fit, Resizing, cubic, linear_to_corners
from .base import ModelSpec, WeightFile, rows


@dataclass(frozen=True)
class DepthAnythingConfig:
    """An architecture of the family."""

    vit: VitConfig
    dpt: DptConfig
    max_depth: float | None = None  # metres that the metric networks end at; None for disparity


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
_V2 = {"small": V2_SMALL, "base": V2_BASE, "large": V2_LARGE, "giant": V2_GIANT}

FOLDERS = ("depthanything",)
_HUB_NAME = "model.safetensors"
_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"
_LICENCES = {"small": _APACHE, **dict.fromkeys(("base", "large", "giant"), _NON_COMMERCIAL)}
"""Of V2 and the video models, by size."""
V1_LICENCE = "https://github.com/LiheYoung/Depth-Anything/issues/15"
"""The licence of version 1's weights according to the authors; their Space states none."""
_V2_LICENCE = "https://github.com/DepthAnything/Depth-Anything-V2#license"
_DISTILLED_LICENCE = "https://github.com/Westlake-AGI-Lab/Distill-Any-Depth/issues/40"


def _v1(size: str, config: DepthAnythingConfig, sha256: str, length: int | None = None, about: int | None = None) -> ModelSpec:
    file = WeightFile(
        repo_id="LiheYoung/Depth-Anything",
        repo_type="space",
        filename=f"checkpoints/depth_anything_vit{size[0]}14.pth",
        sha256=sha256,
        size=length,
        approximate_size=about,
        folders=FOLDERS,
        conversions=(WeightFile(_HUB_NAME, f"LiheYoung/depth-anything-{size}-hf"),),
    )
    return _spec(f"depth-anything-{size}", file, _APACHE, Quantity.DISPARITY, config, licence_url=V1_LICENCE)


def _v2(name: str, **published: Any) -> ModelSpec:
    repo_id = f"depth-anything/Depth-Anything-V2-{name.capitalize()}" if published.get("published", True) else None
    file = WeightFile(
        repo_id=repo_id,
        filename=f"depth_anything_v2_vit{name[0]}.pth",
        aliases=tuple(f"depth_anything_v2_vit{name[0]}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        conversions=(WeightFile(_HUB_NAME, f"{repo_id}-hf"),) if repo_id else (),
        folders=FOLDERS,
        **published,
    )
    stated = None if file.published else _V2_LICENCE
    return _spec(f"depth-anything-v2-{name}", file, _LICENCES[name], Quantity.DISPARITY, _V2[name], licence_url=stated)


def _v2_metric(scene: str, size: str, length: int, revision: str, sha256: str) -> ModelSpec:
    dataset, max_depth = {"indoor": ("Hypersim", 20.0), "outdoor": ("VKITTI", 80.0)}[scene]
    name = f"depth_anything_v2_metric_{dataset.lower()}_vit{size[0]}"
    file = WeightFile(
        repo_id=f"depth-anything/Depth-Anything-V2-Metric-{dataset}-{size.capitalize()}",
        filename=f"{name}.pth",
        revision=revision,
        aliases=tuple(f"{name}_{dtype}.safetensors" for dtype in ("fp32", "fp16")),
        conversions=(WeightFile(_HUB_NAME, f"depth-anything/Depth-Anything-V2-Metric-{scene.capitalize()}-{size.capitalize()}-hf"),),
        sha256=sha256,
        size=length,
        folders=FOLDERS,
    )
    # Some hub pages say Apache-2.0 and some nothing; the project's README says that all base and large networks are non-commercial:
    # the stricter statement is used.
    config = replace(_V2[size], max_depth=max_depth)
    return _spec(f"depth-anything-v2-metric-{scene}-{size}", file, _LICENCES[size], Quantity.METRIC_DEPTH, config, licence_url=_V2_LICENCE)


def _distilled(name: str, **published: Any) -> ModelSpec:
    titled = f"Distill-Any-Depth-{name.capitalize()}"
    file = WeightFile(
        f"{name}/model.safetensors",
        repo_id="xingyang1/Distill-Any-Depth",
        aliases=(f"distill_any_depth_vit{name[0]}.safetensors", f"{titled}.safetensors"),
        conversions=(WeightFile(_HUB_NAME, f"xingyang1/{titled}-hf"),),
        folders=(*FOLDERS, "distill_any_depth"),
        **published,
    )
    # The hub's page says Apache-2.0 for all; base and large were initialised with Depth Anything V2's non-commercial weights.
    doubt = {} if name == "small" else {"licence_url": _DISTILLED_LICENCE, "commercial": "unclear"}
    return _spec(f"distill-any-depth-{name}", file, _APACHE, Quantity.DISPARITY, _V2[name], **doubt)


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


# name, bytes, commit, sha256
_V2_FILES = """
    small 99_218_434 03876f8651c73a60fe4c2c48294e09fcb6838fcf 715fade13be8f229f8a70cc02066f656f2423a59effd0579197bbf57860e1378
    base 389_961_218 a4e71a6c2ce52fe50df0f212066b0d4a87be9b5e 0d2b7002e62d39d655571c371333340bd88f67ab95050c03591555aa05645328
    large 1_341_395_338 cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9 a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345
"""
_V2_METRIC_FILES = """
    indoor small 99_222_290 3bc65d4e14a6786a61acec16453c50e12bf5f338 b782898d8a3e8be1f639de33837ed85e9b4b73e40f8f5e5cd99067588d722545
    indoor base 389_965_138 4ebcd7fd0858cbb953451619ca943ea39ec08e00 9dc9e274c5eff55c6daf27b660c0ced0eca4e8593a6da90cdcb04d2b4d3f3fa2
    indoor large 1_341_401_882 79720800638389a78b2defc92caa885104f69974 6f82ff2bc543ac02ddff4aa31fa363676a8305dd3ccf04e80e2af115a044cb6d
    outdoor small 99_221_808 c725b8589bdf6ab04072cab74c0467830db80d6d 9203e538d35255c90dda4b7fedb47ff33fe725497bcca3b1e53b3a65ee63f0cb
    outdoor base 389_964_656 e96fd0c8cedf1825a55b9c61309f754982948df0 4dad67a7cc10b462bca48e6b8569c762b8eb3c1adada170a3851a6d3ba37bb3e
    outdoor large 1_341_401_064 070e97e4b80e317ec1d03c19927304f4091a180b 239b1054a369e66da2576e9a118d6d7c12d90dc8ebe609579a9a09cd8e05fe38
"""

# No commit of V1's Space is known here: its files are verified by sha256, or else by what the hub states.
SPECS = (
    _v1("small", V1_SMALL, "59afe57cfd9f4284deaf5b753d954723d7136ae842fba3e068ba03537ca1e60e", about=99_200_000),
    _v1("base", V1_BASE, "64ae214ae4e27424b644c49464c0aa243016f6f753d95097c8eb9ad0b9cb2d9b", about=390_000_000),
    _v1("large", V1_LARGE, "6c6a383e33e51c5fdfbf31e7ebcda943973a9e6a1cbef1564afe58d7f2e8fe63", 1_341_401_882),
    *(_v2(name, size=int(size), revision=revision, sha256=sha256) for name, size, revision, sha256 in rows(_V2_FILES)),
    # announced by its authors
    _v2("giant", approximate_size=5_030_000_000, published=False),
    *(_v2_metric(scene, name, int(size), revision, sha256) for scene, name, size, revision, sha256 in rows(_V2_METRIC_FILES)),
    _distilled(
        "small",
        revision="38095a41cca1e28a28e8bb6372c68df721455a2d",
        sha256="56a173c0e1b5045bf6296a5c1fb16eace0bbde2eddc24b37532cb1774ac09caa",
        size=99_165_428,
    ),
    _distilled("base", approximate_size=390_000_000),
    _distilled("large", approximate_size=1_341_000_000),
)


_LAST_ODD = (5, 7, 9, 11)
V3_SMALL = DepthAnythingConfig(
    VitConfig(384, 12, 6, _LAST_ODD, alternating_from=4, norm_eps=1e-5), DptConfig((48, 96, 192, 384), 64, outputs=2, positions=True)
)
V3_BASE = DepthAnythingConfig(
    VitConfig(768, 12, 12, _LAST_ODD, alternating_from=4, norm_eps=1e-5), DptConfig((96, 192, 384, 768), 128, outputs=2, positions=True)
)
V3_SETS_LARGE = DepthAnythingConfig(
    VitConfig(1024, 24, 16, (11, 15, 19, 23), alternating_from=8, norm_eps=1e-5),
    DptConfig((256, 512, 1024, 1024), 256, outputs=2, positions=True),
)
V3_LARGE = DepthAnythingConfig(VitConfig(1024, 24, 16, (4, 11, 17, 23), norm_eps=1e-5), DptConfig((256, 512, 1024, 1024), 256, sky=True))

_V3_FOLDERS = ("geometry_estimation", "depthanything3")

# of the repository, which got its four files one after the other
_FIRST, _MONO = "1aaeea516f22fb2f4c7fae761c8ed470c6cf9f93", "913d1a7ab58ddbfbf94a33bf536c4fc2ff25465d"


def _v3(
    name: str,
    config: DepthAnythingConfig,
    length: int,
    revision: str,
    sha256: str | None,
    quantity: Quantity = Quantity.SCALE_INVARIANT_DEPTH,
) -> ModelSpec:
    kind, _, size = name.rpartition("-")
    file = WeightFile(
        repo_id="Comfy-Org/Depth-Anything-3",
        filename=f"geometry_estimation/depth_anything_3_{name.replace('-', '_')}.safetensors",
        revision=revision,
        sha256=sha256,
        size=length,
        aliases=(f"da3{kind}_{size}.safetensors",),
        conversions=(WeightFile(_HUB_NAME, f"depth-anything/DA3{kind.upper()}-{size.upper()}"),),
        folders=_V3_FOLDERS,
    )
    return _v3_of(name, file, config, "Apache-2.0", quantity)


def _v3_of(name: str, file: WeightFile, config: DepthAnythingConfig, licence: str, quantity: Quantity) -> ModelSpec:
    return ModelSpec(
        id=f"depth-anything-3-{name}",
        family="depth-anything-3",
        files=(file,),
        licence=licence,
        licence_url="https://github.com/ByteDance-Seed/Depth-Anything-3",
        quantity=quantity,
        multiple_of=14,
        default_size=504,
        config=config,
        knows_camera=quantity is not Quantity.RELATIVE_DEPTH,  # estimated, or for the metric network assumed
    )


# The networks for views of one scene were trained on depth normalised by the scene's size, without a shift.
V3_SPECS = (
    _v3("small", V3_SMALL, 137_254_980, _FIRST, "9c0a53d157c5b315d4c82908a43d93eeaa3a9ac3de9d15c2b4242ef46b5508ad"),
    _v3("base", V3_BASE, 541_524_124, _FIRST, "418c0d2ea857e2d1215fa51baa46833f499a62eb2400ec63d337aa20d326414f"),
    _v3(
        "mono-large",
        V3_LARGE,
        1_336_748_056,
        _MONO,
        "9b44eda5bedba5b4e125686fdb79d1db309c1b9785277576eb930f885b008f96",
        Quantity.RELATIVE_DEPTH,
    ),
    # The hub's page says Apache-2.0, the project's README non-commercial: the stricter is used.
    _v3_of(
        "large",
        WeightFile(
            "model.safetensors",
            repo_id="depth-anything/DA3-LARGE-1.1",
            revision="0e109ae307c5982f319a67cf6f9f99ccdc0ec97c",
            sha256="739905c423cf0d6ccaf9e61a8401d82ba1ac32d7f4d3ee6dca8f92b377633f64",
            size=1_643_843_860,
            aliases=("da3_large.safetensors",),
            folders=_V3_FOLDERS,
        ),
        V3_SETS_LARGE,
        "CC-BY-NC-4.0",
        Quantity.SCALE_INVARIANT_DEPTH,
    ),
    _v3("metric-large", V3_LARGE, 1_336_748_056, "main", None, Quantity.METRIC_DEPTH),
)


def _video(model: str, **published: Any) -> ModelSpec:
    metric, name = model.startswith("metric-"), model.removeprefix("metric-")
    stem = f"{'metric_' if metric else ''}video_depth_anything_vit{name[0]}"
    file = WeightFile(
        repo_id=f"depth-anything/{'Metric-' if metric else ''}Video-Depth-Anything-{name.capitalize()}",
        filename=f"{stem}.pth",
        aliases=(f"{stem}.safetensors",),
        folders=("videodepthanything", *FOLDERS),
        **published,
    )
    return ModelSpec(
        id=f"video-depth-anything-{model}",
        family="video-depth-anything",
        files=(file,),
        licence=_LICENCES[name],
        licence_url="https://github.com/DepthAnything/Video-Depth-Anything#license" if metric and name != "small" else None,
        quantity=Quantity.METRIC_DEPTH if metric else Quantity.DISPARITY,
        multiple_of=14,
        default_size=518,
        config=_V2[name],
    )


# The project's README says that base and large are non-commercial. The hub's pages of the metric ones were not read: the same is assumed.
_VIDEO_FILES = """
    small 116_440_756 256875362cff76724b920335dfb4b29dd611f66e 13379300b739e659f076a59d52e9801bd8d38c541a7e71f73bbca4dcfb013609
    base 458_247_082 7231d0c6e260f54f103eba5005d01f6efa4f43db 775e578e8f9431ec0496514aa466bd0a1f67c28d0f518267809f35a43c04329b
    large 1_538_392_012 7aafbcb5c6af0bac741aad2b6471894fb4761afa 43df27c6b396042ba34ff7b798ab279f64d204d2e86d7a373968f8fa36d0e6fa
    metric-small 116_444_063 273d090f2ce17df50c2872d82c8322c45da5b4dd 3c28432b4e1f0d7bb31cad5151b6313b49457db5aa58d82e85bfb0f8b1311b33
    metric-base 458_249_567 f6a245abad4b5a5b0d26722c8e1767ef310c547d f6f58576b9680a112f2428d4f39aff92656d3ae85745b0164675ace8d5b1fade
    metric-large 1_538_348_216 607fcdbd454b95c3bd39abbd3054142869a527d3 24eba25342e7ee0f054be25da6a852ebd7cfa40cd6bf41a353ecb6abfe24e620
"""
VIDEO_SPECS = tuple(_video(name, size=int(size), revision=revision, sha256=sha256) for name, size, revision, sha256 in rows(_VIDEO_FILES))


def _zoe(scene: str, **published: Any) -> ModelSpec:
    return ModelSpec(
        id=f"zoe-depth-anything-{scene}",
        family="zoe-depth-anything",
        files=(
            WeightFile(
                repo_id="LiheYoung/Depth-Anything",
                repo_type="space",
                filename=f"checkpoints_metric_depth/depth_anything_metric_depth_{scene}.pt",
                folders=FOLDERS,
                **published,
            ),
        ),
        licence="Apache-2.0",
        licence_url=V1_LICENCE,
        quantity=Quantity.METRIC_DEPTH,
        multiple_of=14,
        resizing=Resizing(Fit.MINIMAL, 518 / 392, linear_to_corners),
        default_size=392,
        config=V1_LARGE,
    )


ZOE_SPECS = (
    _zoe("indoor", sha256="e25a96605a2ea2dbbe57308d024e89a803fa87fe981bd51d4cee245f1de57977", size=1_343_378_277),
    _zoe("outdoor", approximate_size=1_343_000_000),
)
