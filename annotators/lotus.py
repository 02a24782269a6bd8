"""Lotus: depth, disparity or normals by Stable Diffusion 2 in a single pass, which predicts the sample itself.

Source:
    He et al., "Lotus: Diffusion-based Visual Foundation Model for High-quality Dense Prediction" (2024); code EnVision-Research/Lotus,
    which has no pipeline in diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import cos, sin

import torch
from torch import Tensor

from .diffusion import DiffusionAnnotator, DiffusionOptions, seeded_noise

TIMESTEP = 999


class LotusAnnotator(DiffusionAnnotator):
    """Lotus D (the sample depends on the image alone) and G (on the image and the seed's noise).

    Convention:
        Depth and disparity in [0, 1], unknown scale and shift: depth models 0 = near, disparity models 1 = near.
    """

    def sample(self, latents: Tensor, options: DiffusionOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        if self.spec.config.unet["in_channels"] == 2 * latents.shape[1]:
            noise, _ = seeded_noise(latents.shape[1:], latents.shape[0], options.seed)
            latents = torch.cat([latents, noise.to(latents.device)], 1)
        # the task (1, 0): depth or normals; (0, 1) would reconstruct the image
        task = torch.tensor([sin(1), sin(0), cos(1), cos(0)], device=latents.device, dtype=next(self.network.parameters()).dtype)
        sample = self.run_unet(latents, TIMESTEP, task.expand(latents.shape[0], -1))
        step()
        yield sample

    def read_depth(self, decoded: Tensor) -> Tensor:
        return (decoded / 2 + 0.5).clamp(0, 1).mean(1, keepdim=True)
