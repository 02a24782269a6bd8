"""Lotus: depth, disparity or normals painted by Stable Diffusion 2 in a single pass, which predicts the answer itself.

Source:
    He et al., "Lotus: Diffusion-based Visual Foundation Model for High-quality Dense Prediction" (2024); code EnVision-Research/Lotus,
    which has no pipeline in diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import cos, sin
from typing import Any

import torch
from torch import Tensor

from ..geometry.estimate import Axes, Quantity
from .base import ModelSpec, WeightFile
from .diffusion import DiffusionAnnotator, DiffusionOptions, seeded_noise
from .diffusion_parts import SD2_SIZES, SD2_TEXT_ENCODER, SD2_UNET, SD_VAE, DiffusionConfig

TIMESTEP = 999
_UNET = {**SD2_UNET, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
LOTUS_D = DiffusionConfig(_UNET, SD_VAE, SD2_TEXT_ENCODER)
LOTUS_G = DiffusionConfig({**_UNET, "in_channels": 8}, SD_VAE, SD2_TEXT_ENCODER)


class LotusAnnotator(DiffusionAnnotator):
    """Lotus D (the answer follows from the picture) and G (it follows from the picture and the seed's noise).

    Convention:
        Depth and disparity in [0, 1], unknown scale and shift: depth models 0 = near, disparity models 1 = near.
    """

    def sample(self, latents: Tensor, options: DiffusionOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        """See `DiffusionAnnotator.sample`."""
        if self.spec.config.unet["in_channels"] == 2 * latents.shape[1]:
            noise, _ = seeded_noise(latents.shape[1:], latents.shape[0], options.seed)
            latents = torch.cat([latents, noise.to(latents.device)], 1)
        # the task (1, 0): depth or normals; (0, 1) would give the picture back
        task = torch.tensor([sin(1), sin(0), cos(1), cos(0)], device=latents.device, dtype=next(self.network.parameters()).dtype)
        answer = self.run_unet(latents, TIMESTEP, task.expand(latents.shape[0], -1))
        step()
        yield answer

    def read_depth(self, decoded: Tensor) -> Tensor:
        """See `DiffusionAnnotator.read_depth`."""
        return (decoded / 2 + 0.5).clamp(0, 1).mean(1, keepdim=True)


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
        auto_dtypes=(torch.float16,),
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
