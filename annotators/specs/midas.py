"""MiDaS, and ZoeDepth on its transformer: architectures and published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...geometry.kinds import Quantity
from ..preprocessing.resizing import RGB, Fit, Resizing, cubic, linear_to_corners
from .base import HALF, IMAGENET_MEAN, IMAGENET_STD, ModelSpec, WeightFile


@dataclass(frozen=True)
class MidasConfig:
    """An architecture of MiDaS."""

    backbone: str  # "hybrid", "vit", "swinv2" or "beit" (transformers' DPT), or "efficientnet-lite3"
    dpt: Mapping[str, Any] | None = None  # keyword arguments of transformers' DPTConfig
    backbone_config: Mapping[str, Any] | None = None  # keyword arguments of the backbone's own config, where it has one
    mean: RGB = HALF  # subtracted from the RGB values in [0, 1] ...
    std: RGB = HALF  # ... before they are divided by this


DPT_HYBRID = MidasConfig(
    backbone="hybrid",
    dpt={"is_hybrid": True, "hidden_size": 768, "reassemble_factors": [1, 1, 1, 0.5], "neck_hidden_sizes": [256, 512, 768, 768]},
)
DPT_LARGE = MidasConfig(
    backbone="vit",
    dpt={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "backbone_out_indices": [5, 11, 17, 23],
        "neck_hidden_sizes": [256, 512, 1024, 1024],
    },
)
DPT_SWIN2_TINY = MidasConfig(
    backbone="swinv2",
    dpt={"neck_hidden_sizes": [96, 192, 384, 768]},
    backbone_config={
        "image_size": 256,
        "embed_dim": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "window_size": 16,
        "pretrained_window_sizes": (0, 0, 0, 0),
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
)
DPT_BEIT_LARGE = MidasConfig(
    backbone="beit",
    dpt={"neck_hidden_sizes": [256, 512, 1024, 1024]},
    backbone_config={
        "image_size": 512,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "out_features": ["stage6", "stage12", "stage18", "stage24"],
    },
)
MIDAS_SMALL = MidasConfig(backbone="efficientnet-lite3", mean=IMAGENET_MEAN, std=IMAGENET_STD)

# from the authors' run.py, by version
DPT_RESIZING = Resizing(Fit.MINIMAL, resample=cubic)
SWIN2_RESIZING = Resizing(Fit.STRETCHED, resample=cubic)
SMALL_RESIZING = Resizing(Fit.UPPER_BOUND, resample=cubic)


def annotators_file(filename: str, sha256: str, size: int | None = None, **published: Any) -> WeightFile:
    """A file of lllyasviel/Annotators, a collection of other authors' weights."""
    revision = "982e7edaec38759d914a963c48c4726685de7d96"
    return WeightFile(filename, "lllyasviel/Annotators", revision=revision, sha256=sha256, size=size, **published)


def _converted(repository: str) -> tuple[WeightFile, ...]:
    """The file that the transformers library downloads."""
    return (WeightFile("model.safetensors", f"Intel/{repository}"),)


_RELEASES = "https://github.com/isl-org/MiDaS/releases/download"


def _release(path: str, **published: Any) -> WeightFile:
    return WeightFile(url=f"{_RELEASES}/{path}", filename=path.rsplit("/", 1)[-1], **published)


def _spec(name: str, file: WeightFile, config: MidasConfig, resizing: Resizing = DPT_RESIZING, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=f"midas-{name}",
        family="midas",
        files=(file,),
        licence="MIT",
        licence_url="https://github.com/isl-org/MiDaS",  # also of the file that lies in lllyasviel/Annotators, tagged "other"
        quantity=Quantity.DISPARITY,
        resizing=resizing,
        config=config,
        **more,
    )


SPECS = (
    _spec(
        "dpt-hybrid",
        annotators_file(
            "dpt_hybrid-midas-501f0c75.pt",
            "501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
            492_757_791,
            aliases=("dpt_hybrid_384.pt", "dpt_hybrid-midas.safetensors"),
            conversions=_converted("dpt-hybrid-midas"),
        ),
        DPT_HYBRID,
        auto_dtypes=("float32",),  # with random weights, float16 is off by 5 %, ten times as much as for the others
    ),
    _spec(
        "dpt-large",
        _release(
            "v3/dpt_large_384.pt",
            aliases=("dpt_large-midas-2f21e586.pt",),
            sha256="2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69",
            size=1_376_378_527,
            conversions=_converted("dpt-large"),
        ),
        DPT_LARGE,
    ),
    _spec(
        "v2.1-small",
        _release(
            "v2_1/midas_v21_small_256.pt",
            aliases=("midas_v21_small-70d6b9c8.pt",),
            sha256="70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca",
            size=85_761_505,
        ),
        MIDAS_SMALL,
        SMALL_RESIZING,
        default_size=256,
        auto_dtypes=("float32",),
    ),
    _spec(
        "swin2-tiny",
        _release("v3_1/dpt_swin2_tiny_256.pt", approximate_size=170_000_000, conversions=_converted("dpt-swinv2-tiny-256")),
        DPT_SWIN2_TINY,
        SWIN2_RESIZING,
        default_size=256,
    ),
    _spec(
        "beit-large-512",
        _release("v3_1/dpt_beit_large_512.pt", approximate_size=1_580_000_000, conversions=_converted("dpt-beit-large-512")),
        DPT_BEIT_LARGE,
        default_size=512,
    ),
)


@dataclass(frozen=True)
class ZoeConfig:
    """An architecture of ZoeDepth."""

    bin_centres: str  # "softplus" (unbounded) or "normed" (between the ranges' ends)
    ranges: tuple[tuple[str, float], ...]  # name and greatest depth in metres of each kind of scene
    backbone: Mapping[str, Any]  # keyword arguments of transformers' BeitConfig
    neck: tuple[int, int, int, int] = (256, 512, 1024, 1024)  # channels of the neck's four levels
    features: int = 256  # channels of the fusion path
    frame: tuple[int, int] = (384, 512)  # height and width that images are fitted to


_BEIT_LARGE_384 = {**(DPT_BEIT_LARGE.backbone_config or {}), "image_size": 384}
ZOE_NYU = ZoeConfig("softplus", (("nyu", 10.0),), _BEIT_LARGE_384)
# 80 m as in the authors' evaluation; their default, and the Hugging Face configuration, cut off everything beyond 10 m
ZOE_KITTI = ZoeConfig("normed", (("kitti", 80.0),), _BEIT_LARGE_384, frame=(384, 768))
ZOE_NYU_KITTI = ZoeConfig("softplus", (("nyu", 10.0), ("kitti", 80.0)), _BEIT_LARGE_384)


def zoe_resizing(config: ZoeConfig) -> Resizing:
    """The authors' resizing of images for the network."""
    return Resizing(Fit.MINIMAL, config.frame[1] / config.frame[0], linear_to_corners)


_ZOE_RELEASE = "https://github.com/isl-org/ZoeDepth/releases/download/v1.0"


def _zoe(name: str, file: WeightFile, config: ZoeConfig) -> ModelSpec:
    return ModelSpec(
        id=f"zoedepth-{name}",
        family="zoedepth",
        files=(replace(file, conversions=_converted(f"zoedepth-{name}")),),
        licence="MIT",
        licence_url="https://github.com/isl-org/ZoeDepth",  # also of the file that lies in lllyasviel/Annotators, tagged "other"
        quantity=Quantity.METRIC_DEPTH,
        resizing=zoe_resizing(config),
        config=config,
    )


def _zoe_release(letters: str, sha256: str, size: int) -> WeightFile:
    filename = f"ZoeD_M12_{letters}.pt"
    return WeightFile(url=f"{_ZOE_RELEASE}/{filename}", filename=filename, sha256=sha256, size=size)


ZOE_SPECS = (
    _zoe(
        "nyu", annotators_file("ZoeD_M12_N.pt", "c97f94c4d53c5b788af46c5da0462262aebb37ea116fd70014bcbba93146c33b", 1_443_406_099), ZOE_NYU
    ),
    _zoe("kitti", _zoe_release("K", "2f8e54f8de353c8e745ee2c8de03bf2181b7828c32211bb9efd7254a57a2df16", 1_443_421_075), ZOE_KITTI),
    _zoe("nyu-kitti", _zoe_release("NK", "5d26daa15d420eb2908f1f486a37cc84e7a91751b44ce4b4d104eb8e433f9813", 1_448_574_259), ZOE_NYU_KITTI),
)
