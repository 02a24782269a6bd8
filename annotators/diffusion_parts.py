"""Building the networks of the diffusion families from state dicts: UNet, VAE and the embedding of a prompt that never changes."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .base import CheckpointError, ModelSpec, StateDict, checkpoint_mismatch, explain_import_error, from_transformers
from .hub import from_state_dict

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


class LatentDiffusion(nn.Module):
    """UNet, VAE and the prompt's embedding (tokens, width) in one module: what the memory manager moves."""

    prompt: Tensor | None

    def __init__(self, unet: nn.Module, vae: nn.Module, prompt: Tensor | None) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.register_buffer("prompt", prompt, persistent=False)


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


def from_diffusers(*names: str) -> tuple[Any, ...]:
    """Classes of the diffusers library, imported on first use.

    Raises:
        ImportError: The library is absent or broken; the message says how to mend it.
    """
    try:
        library = importlib.import_module("diffusers")
        return tuple(getattr(library, name) for name in names)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise ImportError(explain_import_error("diffusers", error, how_to_install())) from error


def how_to_install() -> str:
    """The command that installs what the extra `[diffusion]` lists, into the Python that runs here: ComfyUI's own, inside ComfyUI."""
    return f'run  "{sys.executable}" -m pip install "diffusers>=0.35" "scipy>=1.11"  and restart'


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
    expected = unet.state_dict()
    if mismatch := checkpoint_mismatch(expected, state):
        raise CheckpointError(f"not a UNet of {spec.id}: found {describe_unet(state)}, expected {describe_unet(expected)} ({mismatch})")
    unet.load_state_dict({key: value.to(dtype) for key, value in state.items()}, assign=True)
    return unet


def _load_vae(spec: ModelSpec, vae_class: Any, state: StateDict, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        vae = vae_class(**spec.config.vae)
    state = vae_to_diffusers(state, levels=len(spec.config.vae["block_out_channels"]))
    if mismatch := checkpoint_mismatch(vae.state_dict(), state):
        raise CheckpointError(f"given a VAE that is not the one of {spec.id}: {mismatch}")
    vae.load_state_dict({key: value.to(dtype) for key, value in state.items()}, assign=True)
    return vae


def _check_there(spec: ModelSpec, role: str, state: StateDict | None) -> None:
    part = role.replace("_", " ")
    if state is None:
        raise CheckpointError(f"used without a {part}, which {spec.id} needs: give the weights of the role {role!r}")
    dtype = next((value.dtype for value in state.values() if value.is_floating_point() and value.element_size() == 1), None)
    if dtype is not None:
        raise CheckpointError(f"given a {part} stored in {dtype}; {spec.id} takes float16, bfloat16 or float32")


_TEXT_WIDTHS = {768: "SD 1", 1024: "SD 2", 2048: "SDXL"}


def describe_unet(state: StateDict) -> str:
    """What kind of UNet a state dict holds, in words."""
    if any(key.startswith(("model.diffusion_model.", "input_blocks.", "diffusion_model.")) for key in state):
        return "a UNet with the names of the original Stable Diffusion (or a whole checkpoint) instead of diffusers'"
    if "conv_in.weight" not in state:
        return "no UNet of diffusers"
    channels = state["conv_in.weight"].shape[1]
    # keys of the middle: in a UNet without text they are as wide as its deepest level
    deepest = state.get("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    width = 0 if deepest is None else deepest.shape[1]
    text = "no text" if deepest is not None and width == deepest.shape[0] else f"text of width {width}"
    kind = f" ({_TEXT_WIDTHS[width]})" if width in _TEXT_WIDTHS else ""
    task = "a" if "class_embedding.linear_1.weight" in state else "no"
    return f"a UNet with {channels} input channels, {text}{kind} and {task} task embedding"


_VAE_RULES = (
    (r"^first_stage_model\.", ""),
    (r"^encoder\.down\.(\d)\.block\.(\d)\.", r"encoder.down_blocks.\1.resnets.\2."),
    (r"^encoder\.down\.(\d)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d)\.block\.(\d)\.", r"decoder.up_blocks.{\1}.resnets.\2."),
    (r"^decoder\.up\.(\d)\.upsample\.", r"decoder.up_blocks.{\1}.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
    # of the original, and of diffusers before 0.18
    (r"(\.attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.0)\.(?:q|query)\.", r"\1.to_q."),
    (r"(\.attentions\.0)\.(?:k|key)\.", r"\1.to_k."),
    (r"(\.attentions\.0)\.(?:v|value)\.", r"\1.to_v."),
    (r"(\.attentions\.0)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)
_VAE_TRAINING = re.compile(r"^(loss|model_ema)\.")


def vae_to_diffusers(state: StateDict, levels: int) -> dict[str, Tensor]:
    """A VAE's state dict under today's names of diffusers, from those of the original Stable Diffusion or of older versions.

    Args:
        state: Any of the layouts.
        levels: How many resolutions the VAE has.

    Returns:
        The same tensors; 1x1 convolutions of the attention as matrices; without what only training needed.
    """
    renamed = {}
    for key, value in state.items():
        if _VAE_TRAINING.match(key):
            continue
        for pattern, replacement in _VAE_RULES:
            key = re.sub(pattern, replacement, key)
        # the original counts the decoder's levels from the finest
        key = re.sub(r"\{(\d)\}", lambda match: str(levels - 1 - int(match[1])), key)
        renamed[key] = value.flatten(1) if ".attentions." in key and value.ndim == 4 else value
    return renamed
