"""MoGe, versions 1 to 3: architectures and published files."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import Moge1Config, MogeConfig, RefinerConfig, VitConfig
from .base import ModelSpec, WeightFile, rows

SMALL = MogeConfig(VitConfig(384, 12, 6, (5, 11)), (384, 256, 128, 64, 32))
BASE = MogeConfig(VitConfig(768, 12, 12, (5, 11)), (768, 256, 128, 64, 32))
_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK = VitConfig(1024, 24, 16, (5, 11, 17, 23)), (1024, 256, 128, 64, 32), (0, 2, 2, 2, 0)
LARGE = MogeConfig(_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK)
LARGE_WITHOUT_NORMALS = MogeConfig(_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK, normals=False)
V3_LARGE = MogeConfig(_LARGE_VIT, _LARGE_CHANNELS, _LARGE_NECK, refiner=RefinerConfig())
# These widths give the published 1.25 billion parameters; a file's own widths take precedence (`annotators.moge`).
V3_GIANT = MogeConfig(VitConfig(1536, 40, 24, (9, 19, 29, 39), swiglu=True), (1536, 512, 128, 64, 32), _LARGE_NECK, refiner=RefinerConfig())
V1_LARGE = Moge1Config(VitConfig(1024, 24, 16, (20, 21, 22, 23)))


# name, bytes (0: unknown), commit, sha256
_FILES = {
    name: (int(size), revision, sha256)
    for name, size, revision, sha256 in rows("""
    2-vits-normal 140_550_416 679230677b4d282c6f304189a93e98e14f085902 79a16621928c2bf0ed04659218c55c01075e950507f40bb3332fb4c873d3e1dc
    2-vitb-normal 419_110_160 54ad3a693e61907ea4633d13dec6ee682fa09419 16b8110e86d5dc5a849db120ca96ef3a223fd30b0c9146d1d81db504073da5f6
    2-vitl-normal 1_323_815_904 b135031bae30b5ac2ae141a0e68717795ce38340 280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01
    2-vitl 1_305_030_700 39c4d5e957afe587e04eec59dc2bcc3be5ecd968 3eefd4abb2102f38f12b2d1992e5ff15e4923e5431c67dd494afe157e0111cd5
    3-vitl 1_481_333_394 184008f877d7ad1ad4c2cd2182a9bd1f63d0e5be 9b41b7b9f65ad80aab7ad686f5e9cc0d1fd33f1964022618dfbcd52fc1fb7925
    3-vitg 0 6ef26c5a4b4148dab5ccaacdb08b72dc66380475 ce7c15417e9105c2ace7b4272e2cc69e36940921211eb7fa05d4d0bb03f0a00c
    vitl 1_256_823_446 979e84da9415762c30e6c0cf8dc0962896c793df da96b09a0485a3c45a5aa455e67743c8b4efc4dd8437c1f2aa93c2b4303d957f
    """)
}


def _spec(name: str, config: MogeConfig | Moge1Config, aliases: tuple[str, ...] = (), copies: tuple[str, ...] = ()) -> ModelSpec:
    size, revision, sha256 = _FILES[name]
    is_first = isinstance(config, Moge1Config)
    file = WeightFile(
        "model.pt",
        repo_id=f"Ruicheng/moge-{name}",
        revision=revision,
        sha256=sha256,
        size=size or None,
        approximate_size=None if size else 5_000_000_000,
        aliases=aliases,
        copies=copies,
        folders=("geometry_estimation", "MoGe"),
    )
    return ModelSpec(
        id=f"moge-{name}",
        family="moge",
        files=(file,),
        licence="Apache-2.0" if is_first else "MIT",
        quantity=Quantity.SCALE_INVARIANT_DEPTH if is_first else Quantity.METRIC_DEPTH,
        axes=Axes.OPENCV if not is_first and config.normals else None,
        multiple_of=1 if is_first else 14,
        default_size=700 if is_first else 840,
        config=config,
        knows_camera=True,
    )


# with the names of files repackaged for ComfyUI, and their sha256
SPECS = (
    _spec("2-vits-normal", SMALL),
    _spec("2-vitb-normal", BASE),
    _spec(
        "2-vitl-normal",
        LARGE,
        ("moge_2_vitl_normal_fp16.safetensors",),
        ("cb1a692d03235671e959e81360d7b4d9f44aefadb1f852d6ca6aa17799d5e31f",),
    ),
    _spec("2-vitl", LARGE_WITHOUT_NORMALS),
    _spec("3-vitl", V3_LARGE, ("moge_3_vitl_fp16.safetensors",), ("52ad9a13037a28fd65003cae7df056c8f903f5aed2c3a5c802be0f5c74a6a7b8",)),
    _spec("3-vitg", V3_GIANT, ("moge_3_vitg_fp16.safetensors",)),
    _spec(
        "vitl",
        V1_LARGE,
        ("moge_1_vitl_fp16.safetensors", "MoGe_ViT_L_fp16.safetensors", "MoGe_ViT_L_fp32.safetensors"),
        ("34cab296d0474b02ab477fcef0cc3deee859f3edd4fd6f947d8ff096760a3d56",),
    ),
)
