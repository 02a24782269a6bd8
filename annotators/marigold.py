"""Marigold: depth, normals or materials by Stable Diffusion 2, denoised in a few steps, conditioned on the image.

Source:
    Ke et al., "Marigold: Affordable Adaptation of Diffusion-Based Image Generators for Image Analysis" (2025); code prs-eth/Marigold and
    diffusers' MarigoldDepthPipeline, MarigoldNormalsPipeline and MarigoldIntrinsicsPipeline, whose results it reproduces.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..geometry.textures.materials import Materials, gamma_to_linear
from ..options.checks import check_whole
from .base import check_finite
from .building import from_diffusers, how_to_install_diffusion
from .diffusion import DiffusionAnnotator, DiffusionOptions, seeded_noise
from .family import Progress, Request
from .specs.base import no_geometry
from .specs.diffusion import MarigoldConfig


@dataclass(frozen=True)
class MarigoldOptions(DiffusionOptions):
    """Options of one call.

    Attributes:
        steps: UNet passes; None = the authors' recommendation.
        ensemble_size: Number of samples to merge; 2 or more give a confidence too, 3 or more a better result.
    """

    steps: int | None = None
    ensemble_size: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None:
            check_whole("steps", self.steps, 1, 1000)
        check_whole("ensemble_size", self.ensemble_size, 1, 100)


class MarigoldAnnotator(DiffusionAnnotator):
    """Marigold, depth or normals.

    Convention:
        Depth in [0, 1], 0 = near, unknown scale and shift. Confidence is 1 minus diffusers' uncertainty: the members' median deviation
        relative to the depth's range, or their mean angle to the mean normal relative to 180 degrees.
    """

    options_type = MarigoldOptions

    def passes(self, options: MarigoldOptions) -> int:
        return (options.steps or self.spec.config.steps) * options.ensemble_size

    def sample(self, latents: Tensor, options: MarigoldOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        config: MarigoldConfig = self.spec.config
        if options.ensemble_size > 1 and self.spec.quantity is not None:
            _check_scipy()
        (scheduler_class,) = from_diffusers(config.scheduler)
        scheduler = scheduler_class(**config.schedule)
        shape = (options.ensemble_size, config.unet["out_channels"], *latents.shape[2:])
        noise, generators = seeded_noise(shape, latents.shape[0], options.seed)
        # rounding depends on the batch size, and merging magnifies it: one by one, an image merges in a batch as it does alone
        batch = latents.shape[0] if options.ensemble_size == 1 else 1
        for member in noise.to(latents.device).unbind(1):
            scheduler.set_timesteps(options.steps or config.steps, device=latents.device)
            for timestep in scheduler.timesteps:
                velocity = torch.cat([self.run_unet(part, timestep) for part in torch.cat([latents, member], 1).split(batch)])
                member = scheduler.step(velocity, timestep, member, generator=generators).prev_sample
                step()
            yield member

    def read_depth(self, decoded: Tensor) -> Tensor:
        return (decoded.mean(1, keepdim=True).clamp(-1, 1) + 1) / 2

    def merge(self, members: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        if len(members) == 1:
            return members[0], None
        depth_pipeline, normals_pipeline = from_diffusers("MarigoldDepthPipeline", "MarigoldNormalsPipeline")
        merge = depth_pipeline.ensemble_depth if self.spec.quantity is not None else normals_pipeline.ensemble_normals
        values, uncertainties = zip(*(merge(image, output_uncertainty=True) for image in torch.stack(members, 1)), strict=True)
        return torch.cat(values), 1 - torch.cat(uncertainties)


class MarigoldMaterialsAnnotator(MarigoldAnnotator):
    """Marigold IID Appearance: albedo, roughness and metallic, without depth or normals.

    The UNet predicts two images at once: the albedo, and one with roughness in red and metallicity in green.

    Convention:
        All predictions are encoded with gamma 2.2, like the training maps. The albedo stays encoded, which is about sRGB; roughness and
        metallic are decoded to linear. (The published configuration calls these two "linear"; the authors' training and evaluation code
        encodes them.)
    """

    def estimate(self, *_: Any, **__: Any) -> NoReturn:
        """Raises a ValueError: the model has neither depth nor normals."""
        raise ValueError(no_geometry(self.spec))

    def estimate_materials(
        self, images: Tensor, size: int | None = None, *, options: MarigoldOptions | None = None, progress: Progress | None = None
    ) -> Materials:
        """Estimates the materials of a batch of images.

        Arguments and errors are as in `Annotator.estimate`.

        Returns:
            Materials at the network's size, float32 and finite.
        """
        checked = self._checked_options(options)
        height, width = images.shape[-2:]
        self.checked_network_size(height, width, size)
        request = Request(images, size or self.spec.default_size, 0.0, checked, progress)
        members = [(decoded.clamp(-1, 1) + 1) / 2 for decoded in self.decoded_members(self.resize_images(images, request.size), request)]
        median = members[0] if len(members) == 1 else torch.stack(members).median(0).values
        check_finite(self.spec, self.network, {"materials": median})
        return Materials(median[:, :3], gamma_to_linear(median[:, 3:4]), gamma_to_linear(median[:, 4:5]))


def _check_scipy() -> None:
    try:
        importlib.import_module("scipy")
    except ImportError as error:
        raise ImportError(f"merging an ensemble of depths needs scipy ({error}): {how_to_install_diffusion()}") from error
