"""MoGe-2: architectures and published files."""

from __future__ import annotations

from typing import Any

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import MogeConfig, VitConfig
from .base import ModelSpec, WeightFile

SMALL = MogeConfig(VitConfig(384, 12, 6, (5, 11)), (384, 256, 128, 64, 32))
BASE = MogeConfig(VitConfig(768, 12, 12, (5, 11)), (768, 256, 128, 64, 32))
_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK = VitConfig(1024, 24, 16, (5, 11, 17, 23)), (1024, 256, 128, 64, 32), (0, 2, 2, 2, 0)
LARGE = MogeConfig(_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK)
LARGE_WITHOUT_NORMALS = MogeConfig(_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK, normals=False)


def _spec(name: str, config: MogeConfig, aliases: tuple[str, ...] = (), **published: Any) -> ModelSpec:
    file = WeightFile("model.pt", repo_id=f"Ruicheng/{name}", aliases=aliases, folders=("geometry_estimation",), **published)
    return ModelSpec(
        id=name,
        family="moge",
        files=(file,),
        licence="MIT",
        quantity=Quantity.METRIC_DEPTH,
        axes=Axes.OPENCV if config.normals else None,
        multiple_of=14,
        default_size=840,
        config=config,
    )


SPECS = (
    _spec(
        "moge-2-vits-normal",
        SMALL,
        revision="679230677b4d282c6f304189a93e98e14f085902",
        sha256="79a16621928c2bf0ed04659218c55c01075e950507f40bb3332fb4c873d3e1dc",
        size=140_550_416,
    ),
    _spec(
        "moge-2-vitb-normal",
        BASE,
        revision="54ad3a693e61907ea4633d13dec6ee682fa09419",
        sha256="16b8110e86d5dc5a849db120ca96ef3a223fd30b0c9146d1d81db504073da5f6",
        approximate_size=419_100_000,
    ),
    _spec(
        "moge-2-vitl-normal",
        LARGE,
        ("moge_2_vitl_normal_fp16.safetensors",),
        revision="b135031bae30b5ac2ae141a0e68717795ce38340",
        sha256="280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01",
        size=1_323_815_904,
    ),
    _spec("moge-2-vitl", LARGE_WITHOUT_NORMALS, revision="39c4d5e957afe587e04eec59dc2bcc3be5ecd968", approximate_size=1_305_000_000),
)
