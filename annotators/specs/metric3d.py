"""Metric3D v2: architectures and published files."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import Metric3dConfig, VitConfig
from .base import ModelSpec, WeightFile

SMALL = Metric3dConfig(VitConfig(384, 12, 6, (11,), registers=4), (96, 192, 384, 768), (96, 192, 384, 384), 48, 4)
LARGE = Metric3dConfig(VitConfig(1024, 24, 16, (23,), registers=4), (256, 512, 1024, 1024), (256, 512, 1024, 1024), 128, 8)
GIANT = Metric3dConfig(
    VitConfig(1536, 40, 24, (9, 19, 29, 39), swiglu=True, registers=4), (384, 768, 1536, 1536), (384, 768, 1536, 1536), 192, 8
)


def _spec(name: str, config: Metric3dConfig, length: int, sha256: str) -> ModelSpec:
    file = WeightFile(f"metric_depth_vit_{name}_800k.pth", repo_id="JUGGHM/Metric3D", sha256=sha256, size=length)
    return ModelSpec(
        id=f"metric3d-vit-{name}",
        family="metric3d",
        files=(file,),
        licence="BSD-2-Clause",
        licence_url="https://github.com/YvanYin/Metric3D",
        commercial="unclear",  # the licence is that of the code; the page of the weights states none
        quantity=Quantity.METRIC_DEPTH,
        axes=Axes.OPENCV,
        multiple_of=28,
        default_size=616,
        config=config,
        knows_camera=True,  # an assumed one
    )


SPECS = (
    _spec("small", SMALL, 150_120_967, "b34b2a2be9148054991cef7e417930e1320602ba7bc503b0ee4e7888543728f6"),
    _spec("large", LARGE, 1_647_972_663, "15328ffc42b528b95f188687418f6f03b3f123eb34ccdbd686c112abbea6d972"),
    _spec("giant2", GIANT, 5_510_989_187, "22d64c4dec098fa56eb17b6f22b1fb7d16b4742c66a9c8ee73e7dae61c0d2a1b"),
)
