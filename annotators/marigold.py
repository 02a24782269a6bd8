"""Marigold: depth or normals painted by Stable Diffusion 2, in a few steps, from noise beside the picture.

Source:
    Ke et al., "Marigold: Affordable Adaptation of Diffusion-Based Image Generators for Image Analysis" (2025); code prs-eth/Marigold and
    diffusers' MarigoldDepthPipeline and MarigoldNormalsPipeline, to which the numbers are equal.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry.checks import check_range
from ..geometry.estimate import Axes, Quantity
from .base import ModelSpec, WeightFile
from .diffusion import DiffusionAnnotator, DiffusionOptions, seeded_noise
from .diffusion_parts import SD2_SIZES, SD2_TEXT_ENCODER, SD2_UNET, SD_VAE, DiffusionConfig
from .libraries import from_diffusers, how_to_install_diffusion

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
MARIGOLD_LCM = MarigoldConfig(**_PARTS, scheduler="LCMScheduler", schedule=_LEADING, steps=1)


@dataclass(frozen=True)
class MarigoldOptions(DiffusionOptions):
    """What can be chosen anew for each picture.

    Attributes:
        steps: Passes through the UNet; None = as the authors recommend.
        ensemble_size: How many answers to merge into one; more than 1 gives a confidence too, from 3 on a better answer.
    """

    steps: int | None = None
    ensemble_size: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None:
            check_range("steps", self.steps, 1, 1000)
        check_range("ensemble_size", self.ensemble_size, 1, 100)


class MarigoldAnnotator(DiffusionAnnotator):
    """Marigold, depth or normals.

    Convention:
        Depth in [0, 1], 0 = near, unknown scale and shift. The confidence is 1 minus diffusers' uncertainty: the members' median deviation
        as a share of the depth's range, or their mean angle to the mean normal as a share of 180 degrees.
    """

    options_type = MarigoldOptions

    def passes(self, options: MarigoldOptions) -> int:
        """See `DiffusionAnnotator.passes`."""
        return (options.steps or self.spec.config.steps) * options.ensemble_size

    def sample(self, latents: Tensor, options: MarigoldOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        """See `DiffusionAnnotator.sample`."""
        config: MarigoldConfig = self.spec.config
        if options.ensemble_size > 1 and self.spec.quantity is not None:
            _check_scipy()
        (scheduler_class,) = from_diffusers(config.scheduler)
        scheduler = scheduler_class(**config.schedule)
        noise, generators = seeded_noise((options.ensemble_size, *latents.shape[1:]), latents.shape[0], options.seed)
        # rounding differs with the size of a batch, and merging magnifies it: one by one, a picture of a batch merges as it does alone
        at_once = latents.shape[0] if options.ensemble_size == 1 else 1
        for member in noise.to(latents.device).unbind(1):
            scheduler.set_timesteps(options.steps or config.steps, device=latents.device)
            for timestep in scheduler.timesteps:
                velocity = torch.cat([self.run_unet(part, timestep) for part in torch.cat([latents, member], 1).split(at_once)])
                member = scheduler.step(velocity, timestep, member, generator=generators).prev_sample
                step()
            yield member

    def read_depth(self, decoded: Tensor) -> Tensor:
        """See `DiffusionAnnotator.read_depth`."""
        return (decoded.mean(1, keepdim=True).clamp(-1, 1) + 1) / 2

    def merge(self, members: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """See `DiffusionAnnotator.merge`."""
        if len(members) == 1:
            return members[0], None
        depth_pipeline, normals_pipeline = from_diffusers("MarigoldDepthPipeline", "MarigoldNormalsPipeline")
        merge = depth_pipeline.ensemble_depth if self.spec.quantity is not None else normals_pipeline.ensemble_normals
        values, uncertainties = zip(*(merge(picture, output_uncertainty=True) for picture in torch.stack(members, 1)), strict=True)
        return torch.cat(values), 1 - torch.cat(uncertainties)


def _check_scipy() -> None:
    try:
        importlib.import_module("scipy")
    except ImportError as error:
        raise ImportError(f"merging an ensemble of depths needs scipy ({error}): {how_to_install_diffusion()}") from error


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
        auto_dtypes=(torch.float16,),
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
