"""Marigold: architectures and published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...geometry.kinds import Axes, Quantity
from .base import ModelSpec, WeightFile
from .diffusion import SD2_SIZES, SD2_TEXT_ENCODER, SD2_UNET, SD_VAE, DiffusionConfig

_LEADING = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
_TRAILING = {**_LEADING, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}


@dataclass(frozen=True, kw_only=True)
class MarigoldConfig(DiffusionConfig):
    """An architecture of Marigold.

    Attributes:
        scheduler: Name of diffusers' scheduler.
        schedule: Its keyword arguments.
        steps: How many the authors recommend.
    """

    scheduler: str
    schedule: Mapping[str, Any]
    steps: int


_PARTS: dict[str, Any] = {"unet": {**SD2_UNET, "in_channels": 8}, "vae": SD_VAE, "text_encoder": SD2_TEXT_ENCODER}
MARIGOLD_V1_1 = MarigoldConfig(**_PARTS, scheduler="DDIMScheduler", schedule=_TRAILING, steps=4)
MARIGOLD_IID = MarigoldConfig(
    # two images at once, albedo and material, each in latents of 4 channels
    **{**_PARTS, "unet": {**SD2_UNET, "in_channels": 12, "out_channels": 8}},
    scheduler="DDIMScheduler",
    schedule=_TRAILING,
    steps=4,
)
MARIGOLD_LCM = MarigoldConfig(**_PARTS, scheduler="LCMScheduler", schedule=_LEADING, steps=1)

_DEPTH_COMMIT, _NORMALS_COMMIT = "9571e7123e258cf052b4e54241f17971c290e9a8", "09cfdd258cb281fa006cf1afcd2284376d16687d"
_RAIL = "https://github.com/prs-eth/Marigold/blob/main/LICENSE-MODEL.txt"
# the models' pages and the README of their code disagree
_LCM_LICENCE = "Apache-2.0 or OpenRAIL++-M"


def _spec(model_id: str, repo_id: str, licence: str, config: MarigoldConfig, revision: str = "main") -> ModelSpec:
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


SPECS = (
    _spec("marigold-depth", "prs-eth/marigold-depth-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _DEPTH_COMMIT),
    _spec("marigold-normals", "prs-eth/marigold-normals-v1-1", "OpenRAIL++-M", MARIGOLD_V1_1, _NORMALS_COMMIT),
    _spec("marigold-depth-lcm", "prs-eth/marigold-depth-lcm-v1-0", _LCM_LICENCE, MARIGOLD_LCM),
    _spec("marigold-normals-lcm", "prs-eth/marigold-normals-lcm-v0-1", _LCM_LICENCE, MARIGOLD_LCM),
)

_IID = "marigold-iid-appearance"
_IID_PUBLISHED = {
    "network": ("6c7ab00d751edc8ac26a56d6d5bdcef600f2577b7ec708bea9cbac3fb12eda39", None),
    "vae": ("3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a", 167_335_342),
    "text_encoder": ("bc1827c465450322616f06dea41596eac7d493f4e95904dcb51f0fc745c4e13f", 680_820_392),
}
_COMMON = _spec(_IID, f"prs-eth/{_IID}-v1-1", "OpenRAIL++-M", MARIGOLD_IID, "e7280a0a0fc5a0df0b36050882b3d8b77da22fd9")
MATERIAL_SPECS = (
    replace(
        _COMMON,
        family="marigold-materials",
        axes=None,
        materials=("albedo", "roughness", "metallic"),
        files=tuple(replace(file, **dict(zip(("sha256", "size"), _IID_PUBLISHED[file.role], strict=True))) for file in _COMMON.files),
    ),
)
