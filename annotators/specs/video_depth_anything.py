"""Video Depth Anything: published files. The architectures are those of Depth Anything V2."""

from __future__ import annotations

from typing import Any

from ...geometry.kinds import Quantity
from .base import ModelSpec, WeightFile
from .depth_anything import FOLDERS, V2_BASE, V2_LARGE, V2_SMALL, DepthAnythingConfig

_APACHE, _NON_COMMERCIAL = "Apache-2.0", "CC-BY-NC-4.0"


def _spec(name: str, config: DepthAnythingConfig, licence: str, metric: bool = False, **published: Any) -> ModelSpec:
    repository, prefix = ("Metric-", "metric_") if metric else ("", "")
    stem = f"{prefix}video_depth_anything_vit{name[0]}"
    file = WeightFile(
        repo_id=f"depth-anything/{repository}Video-Depth-Anything-{name.capitalize()}",
        filename=f"{stem}.pth",
        aliases=(f"{stem}.safetensors",),
        folders=("videodepthanything", *FOLDERS),
        **published,
    )
    return ModelSpec(
        id=f"video-depth-anything-{'metric-' if metric else ''}{name}",
        family="video-depth-anything",
        files=(file,),
        licence=licence,
        licence_url="https://github.com/DepthAnything/Video-Depth-Anything#license" if metric and licence == _NON_COMMERCIAL else None,
        quantity=Quantity.METRIC_DEPTH if metric else Quantity.DISPARITY,
        multiple_of=14,
        default_size=518,
        config=config,
    )


# The project's README says that base and large are non-commercial. The hub's pages of the metric ones were not read: the same is assumed.
SPECS = (
    _spec(
        "small",
        V2_SMALL,
        _APACHE,
        revision="256875362cff76724b920335dfb4b29dd611f66e",
        sha256="13379300b739e659f076a59d52e9801bd8d38c541a7e71f73bbca4dcfb013609",
        size=116_440_756,
    ),
    _spec(
        "base",
        V2_BASE,
        _NON_COMMERCIAL,
        revision="7231d0c6e260f54f103eba5005d01f6efa4f43db",
        sha256="775e578e8f9431ec0496514aa466bd0a1f67c28d0f518267809f35a43c04329b",
        size=458_247_082,
    ),
    _spec(
        "large",
        V2_LARGE,
        _NON_COMMERCIAL,
        revision="7aafbcb5c6af0bac741aad2b6471894fb4761afa",
        sha256="43df27c6b396042ba34ff7b798ab279f64d204d2e86d7a373968f8fa36d0e6fa",
        size=1_538_392_012,
    ),
    _spec(
        "small",
        V2_SMALL,
        _APACHE,
        metric=True,
        revision="273d090f2ce17df50c2872d82c8322c45da5b4dd",
        sha256="3c28432b4e1f0d7bb31cad5151b6313b49457db5aa58d82e85bfb0f8b1311b33",
        size=116_444_063,
    ),
    _spec(
        "base",
        V2_BASE,
        _NON_COMMERCIAL,
        metric=True,
        revision="f6a245abad4b5a5b0d26722c8e1767ef310c547d",
        sha256="f6f58576b9680a112f2428d4f39aff92656d3ae85745b0164675ace8d5b1fade",
        size=458_249_567,
    ),
    _spec(
        "large",
        V2_LARGE,
        _NON_COMMERCIAL,
        metric=True,
        revision="607fcdbd454b95c3bd39abbd3054142869a527d3",
        sha256="24eba25342e7ee0f054be25da6a852ebd7cfa40cd6bf41a353ecb6abfe24e620",
        size=1_538_348_216,
    ),
)
