"""Stable Diffusion's parts, of which the diffusion families are built, and the description of an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SD2_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
# sample_size only sets the tiles' size
SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
SD2_TEXT_ENCODER = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 512,
    "vocab_size": 49408,
}
SD2_SIZES = {"network": 1_735_000_000, "vae": 167_300_000, "text_encoder": 681_000_000}
"""Bytes of the parts by role, from the number of their parameters, in float16."""
EMPTY_PROMPT = (49406, 49407)
"""The tokens of "" by CLIP's tokenizer without padding, as Marigold and Lotus want it: start and end."""


@dataclass(frozen=True)
class DiffusionConfig:
    """An architecture.

    Attributes:
        unet: Keyword arguments of diffusers' UNet2DConditionModel.
        vae: Keyword arguments of diffusers' AutoencoderKL.
        text_encoder: Keyword arguments of transformers' CLIPTextConfig; None where the UNet takes no text.
        prompt: The tokens of the prompt, which is always the same.
        float16_vae: Whether the VAE's activations stay within float16.
    """

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any] | None = None
    prompt: tuple[int, ...] = EMPTY_PROMPT
    float16_vae: bool = True
