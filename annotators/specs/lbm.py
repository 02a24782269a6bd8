"""LBM: architecture and published files."""

from __future__ import annotations

from dataclasses import dataclass

from ...geometry.kinds import Axes, Quantity
from .base import ModelSpec, WeightFile
from .diffusion import SD_VAE, DiffusionConfig


@dataclass(frozen=True)
class LbmConfig(DiffusionConfig):
    """An architecture of LBM.

    Attributes:
        bridge_noise: Between steps, noise of this times sqrt(sigma (1 - sigma)) as standard deviation is added.
    """

    bridge_noise: float = 0.005


LBM = LbmConfig(
    unet={
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        # each level's own width: attention to the image itself in place of a text
        "cross_attention_dim": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
    },
    vae={**SD_VAE, "scaling_factor": 0.13025},
    # SDXL's VAE gives NaN in float16
    float16_vae=False,
)


def _spec(kind: str, quantity: Quantity | None, axes: Axes | None) -> ModelSpec:
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


SPECS = (
    _spec("depth", Quantity.RELATIVE_DEPTH, None),
    # doubtful: X is to the left in images of the released model, to the right in the paper's figure
    _spec("normals", None, Axes.SCANNET),
)
