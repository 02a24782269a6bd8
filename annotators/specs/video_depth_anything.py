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


# The digests and commits of two metric files are not known here. Of base and large, the project's README says that they are
# non-commercial; the pages of the metric ones were not seen, and the stricter holds.
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
        approximate_size=458_000_000,
    ),
    _spec(
        "large",
        V2_LARGE,
        _NON_COMMERCIAL,
        revision="7aafbcb5c6af0bac741aad2b6471894fb4761afa",
        sha256="43df27c6b396042ba34ff7b798ab279f64d204d2e86d7a373968f8fa36d0e6fa",
        approximate_size=1_540_000_000,
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
    _spec("base", V2_BASE, _NON_COMMERCIAL, metric=True, approximate_size=458_000_000),
    _spec("large", V2_LARGE, _NON_COMMERCIAL, metric=True, approximate_size=1_540_000_000),
)
