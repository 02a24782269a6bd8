"""Marigold, Lotus and LBM with networks of a few hundred kB instead of gigabytes, and their files in the published layouts.

Copied into a ComfyUI server's `custom_nodes`, this file is a node pack as well: its node makes the server's table of models as tiny.
Only the sizes in the entries change; ids, file names, roles, licences and everything the pack does with them stay the published ones.
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path

UNET = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": (2, 4),
    "norm_num_groups": 8,
}
LBM_UNET = {
    "block_out_channels": (8, 16, 32),
    "cross_attention_dim": (8, 16, 32),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (1, 2, 4),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
VAE = {"block_out_channels": (8, 8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 32}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "projection_dim": 8,
    "vocab_size": 64,
}
PROMPT = (62, 63)
FAMILIES = ("marigold", "lotus", "lbm", "marigold-materials")


def shrunk(spec):
    """An entry of the table with a tiny architecture."""
    config = spec.config
    unet = {**config.unet, **(UNET if config.text_encoder else LBM_UNET)}
    text = {"text_encoder": TEXT, "prompt": PROMPT} if config.text_encoder else {}
    return replace(spec, config=replace(config, unet=unet, vae={**config.vae, **VAE}, **text))


def random_states(spec) -> dict:
    """State dicts of a shrunk entry by role, as its published files hold them."""
    states = {role: dict(part.state_dict()) for role, part in random_parts(spec).items()}
    if spec.config.text_encoder:
        return states
    prefixes = {"network": "denoiser.", "vae": "vae.vae_model."}
    return {"network": {prefix + key: value for role, prefix in prefixes.items() for key, value in states[role].items()}}


def random_parts(spec) -> dict:
    """The networks of a shrunk entry by role."""
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    parts = {"network": diffusers.UNet2DConditionModel(**spec.config.unet).eval(), "vae": random_vae(spec.config.vae).eval()}
    if spec.config.text_encoder:
        parts["text_encoder"] = CLIPTextModel(CLIPTextConfig(**spec.config.text_encoder)).eval()
    return parts


def random_vae(config: dict):
    """An autoencoder whose images have contrast."""
    import diffusers
    import torch

    vae = diffusers.AutoencoderKL(**config)
    with torch.no_grad():
        vae.encoder.conv_out.weight *= 4  # random weights alone give a flat image
        vae.decoder.conv_out.weight *= 4
    return vae


def write_files(spec, folder: Path) -> None:
    """Writes a shrunk entry's files below a model folder, in folders named like the repositories."""
    from safetensors.torch import save_file

    states = random_states(spec)
    for file in spec.files:
        path = folder / file.repo_id.rsplit("/", 1)[-1] / file.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in states[file.role].items()}, path)


class UseTinyModels:
    """Replaces the diffusion models of the running server's table by tiny ones, and notes what its progress bars show in its log."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "execute", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def execute(self):
        registry = next(module for name, module in list(sys.modules.items()) if name.endswith(".annotators.registry"))
        for table in (registry.MODELS, registry.MATERIAL_MODELS):
            for spec in [spec for spec in table.values() if spec.family in FAMILIES]:
                table[spec.id] = shrunk(spec)
        note_progress()
        return ()


def note_progress() -> None:
    bar = sys.modules["comfy.utils"].ProgressBar
    show = bar.update_absolute

    def note_and_show(self, value, total=None, *more):
        logging.info("progress: %s of %s", value, total)
        show(self, value, total, *more)

    bar.update_absolute = note_and_show


NODE_CLASS_MAPPINGS = {"Test_UseTinyModels": UseTinyModels}
