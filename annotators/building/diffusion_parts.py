"""Building the networks of the diffusion families from state dicts: UNet, VAE and the embedding of a prompt that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.group_norm import exact_group_norms
from ..networks.latent_diffusion import LatentDiffusion, describe_unet, vae_to_diffusers
from ..networks.published import StateDict
from ..specs.base import CheckpointError, ModelSpec
from ..specs.diffusion import DiffusionConfig
from .checkpoints import fill
from .libraries import from_diffusers, from_state_dict, from_transformers


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
    for part in (unet, vae):
        exact_group_norms(part)
    return LatentDiffusion(unet, vae, prompt)


def check_network(spec: ModelSpec, states: Mapping[str, StateDict]) -> None:
    """Refuses the UNet of a spec, and the VAE where the file has one, as `build_network` does; names and shapes are enough.

    Raises:
        CheckpointError: As `build_network`.
    """
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    for role in states:
        _check_there(spec, role, states[role])
    _load_unet(spec, unet_class, states["network"], torch.float32)
    if "vae" in states:
        _load_vae(spec, vae_class, states["vae"], torch.float32)


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
        return encoder.train(False)(torch.tensor([spec.config.prompt]))[0][0]


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
