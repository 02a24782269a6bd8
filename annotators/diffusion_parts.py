"""Building the networks of the diffusion families from state dicts: UNet, VAE and the embedding of a prompt that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .base import CheckpointError, ModelSpec, fill
from .libraries import from_diffusers, from_state_dict, from_transformers
from .networks.latent_diffusion import LatentDiffusion, describe_unet, vae_to_diffusers
from .networks.names import StateDict

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
"""What CLIP's tokenizer makes of "" without padding, as Marigold and Lotus want it: the tokens for start and end."""


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


def build_network(spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LatentDiffusion:
    """The parts of a spec, built on the CPU from their state dicts, strictly.

    Args:
        spec: Its `config` is a `DiffusionConfig`.
        states: By role: "network" (the UNet), "vae", and "text_encoder" where the UNet takes a prompt.
        dtype: What it computes in; the VAE in float32 where its values leave float16.

    Raises:
        CheckpointError: A part is absent, in float8, or of another architecture; the message says which.
    """
    config: DiffusionConfig = spec.config
    for role in ("network", "vae", *(("text_encoder",) if config.text_encoder else ())):
        _check_there(spec, role, states.get(role))
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    unet = _load_unet(spec, unet_class, states["network"], dtype)
    vae = _load_vae(spec, vae_class, states["vae"], torch.float32 if dtype == torch.float16 and not config.float16_vae else dtype)
    prompt = prompt_embedding(spec, states["text_encoder"]).to(dtype) if config.text_encoder else None
    return LatentDiffusion(unet, vae, prompt)


def prompt_embedding(spec: ModelSpec, state: StateDict) -> Tensor:
    """(tokens, width) float32: what the text encoder of a spec makes of its prompt.

    Raises:
        CheckpointError: The tensors are not those of the text encoder.
    """
    model_class, config_class = from_transformers("CLIPTextModel", "CLIPTextConfig")
    # published files have the prefix, those that transformers 5 saves have not; position_ids is a buffer that older ones hold
    used = {key.removeprefix("text_model."): value.float() for key, value in state.items() if not key.endswith("position_ids")}
    prefixed = {f"text_model.{key}": value for key, value in used.items()}
    try:
        encoder = from_state_dict(model_class, config_class(**spec.config.text_encoder), prefixed, f"the text encoder of {spec.id}")
    except CheckpointError as error:
        raise CheckpointError(f"given a text encoder that does not fit: {error}") from error
    with torch.no_grad():
        return encoder.eval()(torch.tensor([spec.config.prompt]))[0][0]


def _load_unet(spec: ModelSpec, unet_class: Any, state: StateDict, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        unet = unet_class(**spec.config.unet)
    found, expected = describe_unet(state), describe_unet(unet.state_dict())
    fill(unet, _in(dtype, state), f"not a UNet of {spec.id}: found {found}, expected {expected}")
    return unet


def _load_vae(spec: ModelSpec, vae_class: Any, state: StateDict, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        vae = vae_class(**spec.config.vae)
    state = vae_to_diffusers(state, levels=len(spec.config.vae["block_out_channels"]))
    fill(vae, _in(dtype, state), f"given a VAE that is not the one of {spec.id}")
    return vae


def _in(dtype: torch.dtype, state: StateDict) -> StateDict:
    return {key: value.to(dtype) for key, value in state.items()}


def _check_there(spec: ModelSpec, role: str, state: StateDict | None) -> None:
    part = role.replace("_", " ")
    if state is None:
        raise CheckpointError(f"used without a {part}, which {spec.id} needs: give the weights of the role {role!r}")
    dtype = next((value.dtype for value in state.values() if value.is_floating_point() and value.element_size() == 1), None)
    if dtype is not None:
        raise CheckpointError(f"given a {part} stored in {dtype}; {spec.id} takes float16, bfloat16 or float32")
