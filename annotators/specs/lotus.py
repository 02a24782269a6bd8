"""Lotus: architectures and published files."""

from __future__ import annotations

from typing import Any

from ...geometry.kinds import Axes, Quantity
from .base import ModelSpec, WeightFile
from .diffusion import SD2_SIZES, SD2_TEXT_ENCODER, SD2_UNET, SD_VAE, DiffusionConfig

_UNET = {**SD2_UNET, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
LOTUS_D = DiffusionConfig(_UNET, SD_VAE, SD2_TEXT_ENCODER)
LOTUS_G = DiffusionConfig({**_UNET, "in_channels": 8}, SD_VAE, SD2_TEXT_ENCODER)

# All of Lotus uses the VAE and the text encoder of Stable Diffusion 2. They come from its smallest repository: float16, 0.85 GB together.
_PARTS = (
    WeightFile(
        "vae/diffusion_pytorch_model.safetensors",
        "jingheya/lotus-depth-d-v1-1",
        aliases=("vae-ft-mse-840000-ema-pruned.safetensors", "vae-ft-mse-840000-ema-pruned.ckpt"),
        role="vae",
        folders=("diffusers", "vae"),
        approximate_size=SD2_SIZES["vae"],
    ),
    WeightFile(
        "text_encoder/model.safetensors",
        "jingheya/lotus-depth-d-v1-1",
        role="text_encoder",
        folders=("diffusers",),
        approximate_size=SD2_SIZES["text_encoder"],
    ),
)


def _spec(model_id: str, repo: str, *aliases: str, **published: Any) -> ModelSpec:
    unet = WeightFile(
        "unet/diffusion_pytorch_model.safetensors",
        f"jingheya/{repo}",
        aliases=aliases,
        folders=("diffusers", "diffusion_models", "unet"),
        **(published or {"approximate_size": 2 * SD2_SIZES["network"]}),
    )
    return ModelSpec(
        id=model_id,
        family="lotus",
        files=(unet, *_PARTS),
        licence="Apache-2.0",
        quantity=None if "normal" in repo else Quantity.DISPARITY if "disparity" in repo else Quantity.RELATIVE_DEPTH,
        axes=Axes.SCANNET if "normal" in repo else None,
        auto_dtypes=("float16",),
        multiple_of=8,
        default_size=768,
        config=LOTUS_G if "-g-" in repo else LOTUS_D,
    )


SPECS = (
    _spec(
        "lotus-depth-d",
        "lotus-depth-d-v1-1",
        "lotus-depth-d-v1-1.safetensors",
        "lotus-depth-d-v-1-1-fp16.safetensors",
        approximate_size=SD2_SIZES["network"],
    ),
    _spec("lotus-depth-g", "lotus-depth-g-v1-0", "lotus-depth-g-v1-0-fp16.safetensors", "lotus-depth-g-v1-0.safetensors"),
    _spec("lotus-disparity-d", "lotus-depth-d-v2-0-disparity"),
    _spec("lotus-disparity-g", "lotus-depth-g-v2-1-disparity"),
    _spec(
        "lotus-normals-d",
        "lotus-normal-d-v1-1",
        revision="1d4d52149432060efabb0827e0a9fe4a0b63e817",
        sha256="91bf02e9b19d5702e5825ce7ac461ff8b4af5830240b159cfbdae985159b053a",
        size=3_470_311_272,
    ),
    _spec("lotus-normals-g", "lotus-normal-g-v1-1"),
    _spec("lotus-normals-d-v1.0", "lotus-normal-d-v1-0", "lotus-normal-d-v1-0-fp16.safetensors", "lotus-normal-d-v1-0.safetensors"),
    _spec("lotus-normals-g-v1.0", "lotus-normal-g-v1-0", "lotus-normal-g-v1-0-fp16.safetensors", "lotus-normal-g-v1-0.safetensors"),
)
