"""Marigold, Lotus and LBM: architectures from Stable Diffusion's networks, and published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...geometry.kinds import Axes, Quantity
from .base import ModelSpec, WeightFile

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
"""Bytes of the networks by role, estimated from their parameters in float16."""
EMPTY_PROMPT = (49406, 49407)
"""The tokens of "" by CLIP's tokenizer without padding, as Marigold and Lotus expect: start and end."""


@dataclass(frozen=True)
class DiffusionConfig:
    """An architecture."""

    unet: Mapping[str, Any]  # keyword arguments of diffusers' UNet2DConditionModel
    vae: Mapping[str, Any]  # keyword arguments of diffusers' AutoencoderKL
    text_encoder: Mapping[str, Any] | None = None  # keyword arguments of transformers' CLIPTextConfig; None where the UNet takes no text
    prompt: tuple[int, ...] = EMPTY_PROMPT  # the tokens of the prompt, which is always the same
    float16_vae: bool = True  # whether the VAE's activations stay within float16


_LEADING = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# v1.0's files say "leading"; the authors' newest code recommends "trailing" for them too, and with "leading" few steps fail
_TRAILING = {**_LEADING, "timestep_spacing": "trailing"}
_ZERO_SNR = {**_TRAILING, "rescale_betas_zero_snr": True}


@dataclass(frozen=True, kw_only=True)
class MarigoldConfig(DiffusionConfig):
    """An architecture of Marigold."""

    scheduler: str  # name of diffusers' scheduler
    schedule: Mapping[str, Any]  # its keyword arguments
    steps: int  # how many the authors recommend


_MARIGOLD_PARTS: dict[str, Any] = {"unet": {**SD2_UNET, "in_channels": 8}, "vae": SD_VAE, "text_encoder": SD2_TEXT_ENCODER}
MARIGOLD_V1_1 = MarigoldConfig(**_MARIGOLD_PARTS, scheduler="DDIMScheduler", schedule=_ZERO_SNR, steps=4)
MARIGOLD_V1_0 = MarigoldConfig(**_MARIGOLD_PARTS, scheduler="DDIMScheduler", schedule=_TRAILING, steps=10)
MARIGOLD_IID = MarigoldConfig(
    # two images at once, albedo and material, each in latents of 4 channels
    **{**_MARIGOLD_PARTS, "unet": {**SD2_UNET, "in_channels": 12, "out_channels": 8}},
    scheduler="DDIMScheduler",
    schedule=_ZERO_SNR,
    steps=4,
)
MARIGOLD_LCM = MarigoldConfig(**_MARIGOLD_PARTS, scheduler="LCMScheduler", schedule=_LEADING, steps=1)

_DEPTH_COMMIT, _NORMALS_COMMIT = "9571e7123e258cf052b4e54241f17971c290e9a8", "09cfdd258cb281fa006cf1afcd2284376d16687d"
_RAIL = "https://github.com/prs-eth/Marigold/blob/main/LICENSE-MODEL.txt"
# the models' pages and the README of their code disagree
_OLD_LICENCE = "Apache-2.0 or OpenRAIL++-M"


def _marigold(model_id: str, repo_id: str, licence: str, config: MarigoldConfig, revision: str = "main") -> ModelSpec:
    depth = "depth" in model_id
    names = {"network": "unet/diffusion_pytorch_model", "vae": "vae/diffusion_pytorch_model", "text_encoder": "text_encoder/model"}
    return ModelSpec(
        id=model_id,
        family="marigold",
        files=tuple(
            WeightFile(
                f"{name}.fp16.safetensors",
                repo_id,
                revision=revision,
                role=role,
                folders=("diffusers",),
                approximate_size=SD2_SIZES[role],
                conversions=(WeightFile(f"{name}.safetensors", repo_id, revision=revision),),
            )
            for role, name in names.items()
        ),
        licence=licence,
        licence_url=_RAIL,
        quantity=Quantity.RELATIVE_DEPTH if depth else None,
        axes=None if depth else Axes.OPENGL,
        auto_dtypes=("float16",),
        multiple_of=8,
        default_size=768,
        config=config,
    )


MARIGOLD_SPECS = (
    _marigold("marigold-depth", "prs-eth/marigold-depth-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _DEPTH_COMMIT),
    _marigold("marigold-normals", "prs-eth/marigold-normals-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _NORMALS_COMMIT),
    _marigold("marigold-depth-lcm", "prs-eth/marigold-depth-lcm-v1-0", _OLD_LICENCE, MARIGOLD_LCM),
    _marigold("marigold-normals-lcm", "prs-eth/marigold-normals-lcm-v0-1", _OLD_LICENCE, MARIGOLD_LCM),
    _marigold("marigold-depth-v1.0", "prs-eth/marigold-depth-v1-0", _OLD_LICENCE, MARIGOLD_V1_0),
    _marigold("marigold-normals-v0.1", "prs-eth/marigold-normals-v0-1", _OLD_LICENCE, MARIGOLD_V1_0),
)

_IID = "marigold-iid-appearance"
_IID_PUBLISHED = {
    "network": ("6c7ab00d751edc8ac26a56d6d5bdcef600f2577b7ec708bea9cbac3fb12eda39", None),
    "vae": ("3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a", 167_335_342),
    "text_encoder": ("bc1827c465450322616f06dea41596eac7d493f4e95904dcb51f0fc745c4e13f", 680_820_392),
}
_IID_COMMON = _marigold(_IID, f"prs-eth/{_IID}-v1-1", "OpenRAIL++-M", MARIGOLD_IID, "e7280a0a0fc5a0df0b36050882b3d8b77da22fd9")
MARIGOLD_MATERIAL_SPECS = (
    replace(
        _IID_COMMON,
        family="marigold-materials",
        axes=None,
        materials=("albedo", "roughness", "metallic"),
        files=tuple(replace(file, **dict(zip(("sha256", "size"), _IID_PUBLISHED[file.role], strict=True))) for file in _IID_COMMON.files),
    ),
)


_LOTUS_UNET = {**SD2_UNET, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}
LOTUS_D = DiffusionConfig(_LOTUS_UNET, SD_VAE, SD2_TEXT_ENCODER)
LOTUS_G = DiffusionConfig({**_LOTUS_UNET, "in_channels": 8}, SD_VAE, SD2_TEXT_ENCODER)

# All Lotus models use Stable Diffusion 2's VAE and text encoder, here from its smallest repository: float16, 0.85 GB together.
_LOTUS_PARTS = (
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


def _lotus(model_id: str, repo: str, *aliases: str, **published: Any) -> ModelSpec:
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
        files=(unet, *_LOTUS_PARTS),
        licence="Apache-2.0",
        quantity=None if "normal" in repo else Quantity.DISPARITY if "disparity" in repo else Quantity.RELATIVE_DEPTH,
        axes=Axes.SCANNET if "normal" in repo else None,
        auto_dtypes=("float16",),
        multiple_of=8,
        default_size=768,
        config=LOTUS_G if "-g-" in repo else LOTUS_D,
    )


LOTUS_SPECS = (
    _lotus(
        "lotus-depth-d",
        "lotus-depth-d-v1-1",
        "lotus-depth-d-v1-1.safetensors",
        "lotus-depth-d-v-1-1-fp16.safetensors",
        approximate_size=SD2_SIZES["network"],
    ),
    _lotus("lotus-depth-g", "lotus-depth-g-v1-0", "lotus-depth-g-v1-0-fp16.safetensors", "lotus-depth-g-v1-0.safetensors"),
    _lotus("lotus-disparity-d", "lotus-depth-d-v2-0-disparity"),
    _lotus("lotus-disparity-g", "lotus-depth-g-v2-1-disparity", "lotus-depth-g-v2-1-disparity-fp16.safetensors"),
    _lotus(
        "lotus-normals-d",
        "lotus-normal-d-v1-1",
        revision="1d4d52149432060efabb0827e0a9fe4a0b63e817",
        sha256="91bf02e9b19d5702e5825ce7ac461ff8b4af5830240b159cfbdae985159b053a",
        size=3_470_311_272,
    ),
    _lotus("lotus-normals-g", "lotus-normal-g-v1-1"),
    _lotus("lotus-normals-d-v1.0", "lotus-normal-d-v1-0", "lotus-normal-d-v1-0-fp16.safetensors", "lotus-normal-d-v1-0.safetensors"),
    _lotus("lotus-normals-g-v1.0", "lotus-normal-g-v1-0", "lotus-normal-g-v1-0-fp16.safetensors", "lotus-normal-g-v1-0.safetensors"),
)


@dataclass(frozen=True)
class LbmConfig(DiffusionConfig):
    """An architecture of LBM."""

    bridge_noise: float = 0.005  # between steps, noise of this times sqrt(sigma (1 - sigma)) as standard deviation is added


LBM = LbmConfig(
    unet={
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        # each level's own width: attention to the image itself instead of text
        "cross_attention_dim": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
    },
    vae={**SD_VAE, "scaling_factor": 0.13025},
    # SDXL's VAE gives NaN in float16
    float16_vae=False,
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
        licence_url="https://github.com/gojasper/LBM/blob/main/LICENCE.txt",
        quantity=quantity,
        axes=axes,
        auto_dtypes=("bfloat16",),
        multiple_of=8,
        default_size=1024,
        config=LBM,
    )


LBM_SPECS = (
    _lbm("depth", Quantity.RELATIVE_DEPTH, None),
    # uncertain: X points left in images of the released model, right in the paper's figure
    _lbm("normals", None, Axes.SCANNET),
)
