"""The diffusion families' UNet and VAE as one module, and functions that interpret their parameter names.

The two networks themselves are those of the diffusers library.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from .layers import Rule, StateDict, rename


class LatentDiffusion(nn.Module):
    """UNet, VAE and the prompt's embedding (tokens, width) in one module for the memory manager."""

    prompt: Tensor | None

    def __init__(self, unet: nn.Module, vae: nn.Module, prompt: Tensor | None) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.register_buffer("prompt", prompt, persistent=False)


_TEXT_WIDTHS = {768: "SD 1", 1024: "SD 2", 2048: "SDXL"}


def describe_unet(state: StateDict) -> str:
    """Describes the kind of UNet in a state dict."""
    if any(key.startswith(("model.diffusion_model.", "input_blocks.", "diffusion_model.")) for key in state):
        return "a UNet with the names of the original Stable Diffusion (or a whole checkpoint) instead of diffusers'"
    if "conv_in.weight" not in state:
        return "no UNet of diffusers"
    channels = state["conv_in.weight"].shape[1]
    # attention keys of the middle block: in a UNet without text they are as wide as its deepest level
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
    # names of the original, and of diffusers before 0.18
    (r"(\.attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.0)\.(?:q|query)\.", r"\1.to_q."),
    (r"(\.attentions\.0)\.(?:k|key)\.", r"\1.to_k."),
    (r"(\.attentions\.0)\.(?:v|value)\.", r"\1.to_v."),
    (r"(\.attentions\.0)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)
_VAE_TRAINING = re.compile(r"^(loss|model_ema)\.")


def vae_to_diffusers(state: StateDict, levels: int) -> dict[str, Tensor]:
    """Renames a VAE's state dict from the original Stable Diffusion or old diffusers to current diffusers.

    Args:
        state: Any of the layouts.
        levels: Number of the VAE's resolutions.

    Returns:
        The tensors, with the attention's 1x1 convolutions as matrices, without training-only entries.
    """
    # the original counts the decoder's levels from the finest
    from_the_finest: Rule = (r"\{(\d)\}", lambda match: str(levels - 1 - int(match[1])))
    renamed = {}
    for key, value in state.items():
        if _VAE_TRAINING.match(key):
            continue
        key = rename(key, (*_VAE_RULES, from_the_finest))
        renamed[key] = value.flatten(1) if ".attentions." in key and value.ndim == 4 else value
    return renamed
