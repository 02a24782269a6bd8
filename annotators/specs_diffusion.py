"""The table's entries of Marigold, Lotus and LBM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..geometry.estimate import Axes, Quantity
from .base import ModelSpec, WeightFile
from .lbm import LBM
from .lotus import LOTUS_D, LOTUS_G
from .marigold import MARIGOLD_LCM, MARIGOLD_V1_1, MarigoldConfig

_UNET_FOLDERS = ("diffusers", "diffusion_models", "unet")
_MARIGOLD_DEPTH, _MARIGOLD_NORMALS = "9571e7123e258cf052b4e54241f17971c290e9a8", "09cfdd258cb281fa006cf1afcd2284376d16687d"
_RAIL = "https://github.com/prs-eth/Marigold/blob/main/LICENSE-MODEL.txt"
# the models' pages and the README of their code disagree
_LCM_LICENCE = "Apache-2.0 or OpenRAIL++-M"
_LBM_LICENCE = "https://github.com/gojasper/LBM/blob/main/LICENCE.txt"


# Bytes by the number of parameters, in float16
_UNET, _VAE, _TEXT_ENCODER = 1_735_000_000, 167_300_000, 681_000_000


def _marigold(model_id: str, repo_id: str, licence: str, config: MarigoldConfig, revision: str = "main") -> ModelSpec:
    depth = "depth" in model_id
    names = {
        "network": ("unet/diffusion_pytorch_model.fp16.safetensors", _UNET),
        "vae": ("vae/diffusion_pytorch_model.fp16.safetensors", _VAE),
        "text_encoder": ("text_encoder/model.fp16.safetensors", _TEXT_ENCODER),
    }
    return ModelSpec(
        id=model_id,
        family="marigold",
        files=tuple(
            WeightFile(name, repo_id, revision=revision, role=role, folders=("diffusers",), approximate_size=size)
            for role, (name, size) in names.items()
        ),
        licence=licence,
        licence_url=_RAIL,
        quantity=Quantity.RELATIVE_DEPTH if depth else None,
        axes=None if depth else Axes.OPENGL,
        auto_dtypes=(torch.float16,),
        multiple_of=8,
        default_size=768,
        config=config,
    )


# One VAE and one text encoder, those of Stable Diffusion 2, serve all of Lotus: its smallest repository's (float16), 0.85 GB in all.
_LOTUS_PARTS = (
    WeightFile(
        "vae/diffusion_pytorch_model.safetensors",
        "jingheya/lotus-depth-d-v1-1",
        aliases=("vae-ft-mse-840000-ema-pruned.safetensors", "vae-ft-mse-840000-ema-pruned.ckpt"),
        role="vae",
        folders=("diffusers", "vae"),
        approximate_size=_VAE,
    ),
    WeightFile(
        "text_encoder/model.safetensors",
        "jingheya/lotus-depth-d-v1-1",
        role="text_encoder",
        folders=("diffusers",),
        approximate_size=_TEXT_ENCODER,
    ),
)


def _lotus(model_id: str, repo: str, *aliases: str, **published: Any) -> ModelSpec:
    unet = WeightFile(
        "unet/diffusion_pytorch_model.safetensors",
        f"jingheya/{repo}",
        aliases=aliases,
        folders=_UNET_FOLDERS,
        **(published or {"approximate_size": 2 * _UNET}),
    )
    return ModelSpec(
        id=model_id,
        family="lotus",
        files=(unet, *_LOTUS_PARTS),
        licence="Apache-2.0",
        quantity=None if "normal" in repo else Quantity.DISPARITY if "disparity" in repo else Quantity.RELATIVE_DEPTH,
        axes=Axes.SCANNET if "normal" in repo else None,
        auto_dtypes=(torch.float16,),
        multiple_of=8,
        default_size=768,
        config=LOTUS_G if "-g-" in repo else LOTUS_D,
    )


def _lbm(kind: str, quantity: Quantity | None, axes: Axes | None) -> ModelSpec:
    return ModelSpec(
        id=f"lbm-{kind}",
        family="lbm",
        files=(
            WeightFile(
                "model.safetensors",
                f"jasperai/LBM_{kind}",
                aliases=(f"LBM_{kind}.safetensors",),
                folders=("diffusion_models", "diffusers"),
                approximate_size=5_020_000_000,
            ),
        ),
        licence="CC-BY-NC-4.0",
        licence_url=_LBM_LICENCE,
        quantity=quantity,
        axes=axes,
        auto_dtypes=(torch.bfloat16,),
        multiple_of=8,
        default_size=1024,
        config=LBM,
    )


def _specs() -> Iterator[ModelSpec]:
    yield _marigold("marigold-depth", "prs-eth/marigold-depth-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _MARIGOLD_DEPTH)
    yield _marigold("marigold-normals", "prs-eth/marigold-normals-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _MARIGOLD_NORMALS)
    yield _marigold("marigold-depth-lcm", "prs-eth/marigold-depth-lcm-v1-0", _LCM_LICENCE, MARIGOLD_LCM)
    yield _marigold("marigold-normals-lcm", "prs-eth/marigold-normals-lcm-v0-1", _LCM_LICENCE, MARIGOLD_LCM)
    yield _lotus(
        "lotus-depth-d",
        "lotus-depth-d-v1-1",
        "lotus-depth-d-v1-1.safetensors",
        "lotus-depth-d-v-1-1-fp16.safetensors",
        approximate_size=_UNET,
    )
    yield _lotus("lotus-depth-g", "lotus-depth-g-v1-0", "lotus-depth-g-v1-0-fp16.safetensors", "lotus-depth-g-v1-0.safetensors")
    yield _lotus("lotus-disparity-d", "lotus-depth-d-v2-0-disparity")
    yield _lotus("lotus-disparity-g", "lotus-depth-g-v2-1-disparity")
    yield _lotus(
        "lotus-normals-d",
        "lotus-normal-d-v1-1",
        revision="1d4d52149432060efabb0827e0a9fe4a0b63e817",
        sha256="91bf02e9b19d5702e5825ce7ac461ff8b4af5830240b159cfbdae985159b053a",
        size=3_470_311_272,
    )
    yield _lotus("lotus-normals-g", "lotus-normal-g-v1-1")
    yield _lotus("lotus-normals-d-v1.0", "lotus-normal-d-v1-0", "lotus-normal-d-v1-0-fp16.safetensors", "lotus-normal-d-v1-0.safetensors")
    yield _lotus("lotus-normals-g-v1.0", "lotus-normal-g-v1-0", "lotus-normal-g-v1-0-fp16.safetensors", "lotus-normal-g-v1-0.safetensors")
    yield _lbm("depth", Quantity.RELATIVE_DEPTH, None)
    # doubtful: X is to the left in pictures of the released model, to the right in the paper's figure
    yield _lbm("normals", None, Axes.SCANNET)


SPECS = tuple(_specs())
