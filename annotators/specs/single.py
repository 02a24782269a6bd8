"""Families of one to three published files: BAE, DA², Depth Pro, DSINE, LeReS, Metric3D v2, ZipDepth, and the pack's own."""

from __future__ import annotations

from dataclasses import replace

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import (
    TINY_2,
    BoostConfig,
    Da2Config,
    DepthProConfig,
    DsineConfig,
    LeresConfig,
    Metric3dConfig,
    VitConfig,
    ZipDepthConfig,
)
from ..preprocessing.resizing import Fit, Resizing, linear
from .base import ModelSpec, WeightFile
from .midas import annotators_file

BAE_SPECS = (
    ModelSpec(
        id="bae-normal",
        family="bae",
        files=(annotators_file("scannet.pt", "03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209", 290_767_728),),
        licence="other (code MIT, trained on ScanNet)",
        licence_url="https://github.com/baegwangbin/surface_normal_uncertainty",
        commercial="unclear",
        axes=Axes.SCANNET,
        default_size=480,  # the authors' test.py runs at 640 x 480
    ),
)


DA2_LARGE = Da2Config(VitConfig(1024, 24, 16, (5, 11, 17, 23), norm_eps=1e-5, block_eps=1e-5, position_offset=0.0))

DA2_SPECS = (
    ModelSpec(
        id="da2",
        family="da2",
        files=(
            WeightFile(
                "model.safetensors",
                repo_id="haodongli/DA-2",
                revision="0d55ccb5e46b8ed4715fae3a4c04fc897f1689f3",
                sha256="d8ea568fc3dfb7d7432e5b763de499dd03fb6dc1c2020d84639f35e2dfa4f78e",
                size=1_378_513_064,
            ),
        ),
        licence="Apache-2.0",
        quantity=Quantity.SCALE_INVARIANT_DEPTH,
        multiple_of=14,
        default_size=1092,
        config=DA2_LARGE,
        for_panoramas=True,
    ),
)


DEPTH_PRO_LARGE = DepthProConfig(VitConfig(1024, 24, 16, (5, 11, 23), grid=24, patch=16))

DEPTH_PRO_SPECS = (
    ModelSpec(
        id="depth-pro",
        family="depth-pro",
        files=(
            WeightFile(
                "model.safetensors",
                repo_id="apple/DepthPro-mixin",
                sha256="8cf414ab41135c007626ebde7013252279628de1de2bc9579cce5bc49127d33f",
                size=1_904_109_940,
                aliases=("depth_pro.fp16.safetensors", "depth_pro.safetensors", "depth_pro.pt"),
                copies=(
                    "3eb35ca68168ad3d14cb150f8947a4edf85589941661fdb2686259c80685c0ce",
                    "9c6811e3165485b9a94a204329860cb333a79877e757eb795a179a4ea34bbcf7",
                ),
                conversions=(WeightFile("model.safetensors", "apple/DepthPro-hf"),),
                folders=("depth",),
            ),
        ),
        licence="Apple-AMLR (research only)",
        commercial="no",
        quantity=Quantity.METRIC_DEPTH,
        multiple_of=DEPTH_PRO_LARGE.side,
        default_size=DEPTH_PRO_LARGE.side,
        largest_size=DEPTH_PRO_LARGE.side,
        smallest_size=DEPTH_PRO_LARGE.side,
        config=DEPTH_PRO_LARGE,
        knows_camera=True,
    ),
)


DSINE_SPECS = (
    ModelSpec(
        id="dsine",
        family="dsine",
        files=(WeightFile("dsine.pt", repo_id="hr16/Diffusion-Edge", approximate_size=291_200_000),),
        licence="Imperial College London, non-commercial",
        licence_url="https://github.com/baegwangbin/DSINE/blob/main/LICENSE",
        commercial="no",
        axes=Axes.SCANNET,
        multiple_of=32,
        default_size=480,
        config=DsineConfig(),
    ),
)


LERES_LICENCE = "https://github.com/aim-uofa/AdelaiDepth/blob/main/LeReS/LICENSE"

_DEPTH = annotators_file("res101.pth", "1d696b2ef3e8336b057d0c15bc82d2fecef821bfebe5ef9d7671a5ec5dde520b", 530_760_553)
_MERGE = annotators_file(
    "latest_net_G.pth", "50ec735d74ed6499562d898f41b49343e521808b8dae589aa3c2f5c9ac9f7462", approximate_size=318_268_000, role="merge"
)

LERES_SPECS = (
    ModelSpec(
        id="leres",
        family="leres",
        files=(_DEPTH,),
        licence="Adobe Research (non-commercial)",
        licence_url=LERES_LICENCE,
        commercial="no",
        quantity=Quantity.RELATIVE_DEPTH,
        resizing=Resizing(Fit.STRETCHED, resample=linear),
        default_size=448,
        config=LeresConfig(),
    ),
)
LERES_BOOST_SPECS = (
    ModelSpec(
        id="leres-boost",
        family="leres-boost",
        files=(replace(_DEPTH, role="depth"), _MERGE),
        licence="Adobe Research (non-commercial); academic use only",
        licence_url=LERES_LICENCE,
        commercial="no",
        quantity=Quantity.RELATIVE_DEPTH,
        default_size=1024,
        config=BoostConfig(),
    ),
)


METRIC3D_SMALL = Metric3dConfig(VitConfig(384, 12, 6, (11,), registers=4), (96, 192, 384, 768), (96, 192, 384, 384), 48, 4)
METRIC3D_LARGE = Metric3dConfig(VitConfig(1024, 24, 16, (23,), registers=4), (256, 512, 1024, 1024), (256, 512, 1024, 1024), 128, 8)
METRIC3D_GIANT = Metric3dConfig(
    VitConfig(1536, 40, 24, (9, 19, 29, 39), swiglu=True, registers=4), (384, 768, 1536, 1536), (384, 768, 1536, 1536), 192, 8
)


def _metric3d(name: str, config: Metric3dConfig, length: int, sha256: str) -> ModelSpec:
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


METRIC3D_SPECS = (
    _metric3d("small", METRIC3D_SMALL, 150_120_967, "b34b2a2be9148054991cef7e417930e1320602ba7bc503b0ee4e7888543728f6"),
    _metric3d("large", METRIC3D_LARGE, 1_647_972_663, "15328ffc42b528b95f188687418f6f03b3f123eb34ccdbd686c112abbea6d972"),
    _metric3d("giant2", METRIC3D_GIANT, 5_510_989_187, "22d64c4dec098fa56eb17b6f22b1fb7d16b4742c66a9c8ee73e7dae61c0d2a1b"),
)


_ZIPDEPTH = "https://github.com/fabiotosi92/ZipDepth"
_ZIPDEPTH_COMMIT = "a302e5437bc58f15c4efd41d3e8222bf24f7d470"


def _zipdepth(name: str, config: ZipDepthConfig, sha256: str, size: int) -> ModelSpec:
    filename = f"zipdepth_{name.replace('-', '_')}.pth"
    return ModelSpec(
        id=f"zipdepth-{name}",
        family="zipdepth",
        files=(WeightFile(filename, url=f"{_ZIPDEPTH}/raw/{_ZIPDEPTH_COMMIT}/checkpoints/{filename}", sha256=sha256, size=size),),
        licence="MIT",
        licence_url=_ZIPDEPTH,
        quantity=Quantity.DISPARITY,
        resizing=Resizing(Fit.LOWER_BOUND, resample=linear),
        config=config,
    )


# The authors state neither size nor sha256. Independent projects report these for the files at this commit.
ZIPDEPTH_SPECS = (
    _zipdepth("base", ZipDepthConfig(), "a55910bb0b99c8c5e641cb9206e810b269690ad94e8a2ef08c827c4679391a65", 27_298_978),
    _zipdepth("base-npu", ZipDepthConfig(convex=False), "627c04fda584133ead4310074884a4a037061b4c01ba86e73e492ea30fab570d", 27_295_474),
)


TINY_LARGEST_SIZE = 256
"""The largest size that the network was trained for."""

TINY_SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(
            WeightFile("tiny.safetensors", sha256="be1f1c979dc891ff2ca052e6cf54a046694037a5eacc68584ad0daf760cef1a3", size=7_378_374),
            WeightFile(
                "tiny_sharp.safetensors",
                sha256="deb1e3a23032ca1683ef21b95650cb78b27ceeebaea2da2b88360025d6e41f0f",
                size=1_424_176,
                role="sharp",
                fits_published=True,
            ),
        ),
        licence="Apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=224,
        largest_size=TINY_LARGEST_SIZE,
        config=TINY_2,
    ),
)
