"""MiDaS: architectures and published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...geometry.kinds import Quantity
from ..preprocessing.kernels import cubic
from ..preprocessing.resizing import RGB, Fit, Resizing
from .base import HALF, IMAGENET_MEAN, IMAGENET_STD, ModelSpec, WeightFile


@dataclass(frozen=True)
class MidasConfig:
    """An architecture of MiDaS.

    Attributes:
        backbone: "hybrid", "vit", "swinv2" or "beit" (transformers' DPT), or "efficientnet-lite3".
        dpt: Keyword arguments of transformers' DPTConfig.
        backbone_config: Keyword arguments of the backbone's own config, where it has one.
        mean: Subtracted from the RGB values in [0, 1] ...
        std: ... before they are divided by this.
    """

    backbone: str
    dpt: Mapping[str, Any] | None = None
    backbone_config: Mapping[str, Any] | None = None
    mean: RGB = HALF
    std: RGB = HALF


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

# of the authors' run.py, by version
DPT_RESIZING = Resizing(Fit.MINIMAL, resample=cubic)
SWIN2_RESIZING = Resizing(Fit.STRETCHED, resample=cubic)
SMALL_RESIZING = Resizing(Fit.UPPER_BOUND, resample=cubic)

ANNOTATORS_COMMIT = "982e7edaec38759d914a963c48c4726685de7d96"
"""Of lllyasviel/Annotators, a collection of other authors' weights."""

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
        WeightFile(
            repo_id="lllyasviel/Annotators",
            filename="dpt_hybrid-midas-501f0c75.pt",
            aliases=("dpt_hybrid_384.pt", "dpt_hybrid-midas.safetensors"),
            revision=ANNOTATORS_COMMIT,
            sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
            size=492_757_791,
        ),
        DPT_HYBRID,
        auto_dtypes=("float32",),  # float16 is off by 5 % at random weights, ten times as much as in the others
    ),
    _spec(
        "dpt-large",
        _release(
            "v3/dpt_large_384.pt",
            aliases=("dpt_large-midas-2f21e586.pt",),
            sha256="2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69",
            size=1_376_378_527,
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
        _release("v3_1/dpt_swin2_tiny_256.pt", approximate_size=170_000_000),
        DPT_SWIN2_TINY,
        SWIN2_RESIZING,
        default_size=256,
    ),
    _spec("beit-large-512", _release("v3_1/dpt_beit_large_512.pt", approximate_size=1_580_000_000), DPT_BEIT_LARGE, default_size=512),
)
