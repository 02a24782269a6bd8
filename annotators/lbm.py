"""LBM: depth or normals reached from the image's own latents along a bridge, in one step or a few.

Source:
    Chadebec et al., "LBM: Latent Bridge Matching for Fast Image-to-Image Translation" (2025); code gojasper/LBM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..options.checks import check_range
from .diffusion import DiffusionAnnotator, DiffusionOptions, seeded_noise
from .networks.published import StateDict
from .preprocessing.kernels import by_area
from .preprocessing.resizing import PixelCount
from .preprocessing.steps import Resize, Steps
from .specs.base import ModelSpec


@dataclass(frozen=True)
class LbmOptions(DiffusionOptions):
    """Options of one call.

    Attributes:
        steps: Passes through the UNet; the authors trained for 1 to 4. With 1 the seed changes nothing.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("steps", self.steps, 1, 1000)


class LbmAnnotator(DiffusionAnnotator):
    """LBM, depth or normals.

    Convention:
        Depth in [0, 1], 0 = near, unknown scale and shift. Its normals' native axes are doubtful: published normal maps disagree about X.
        They are one field of the entry in the table (`axes`); `geometry.alignment.metrics.disagreeing_axes` finds when it is wrong.
    """

    options_type = LbmOptions

    @classmethod
    def split_states(cls, spec: ModelSpec, states: Mapping[str, StateDict]) -> Mapping[str, StateDict]:
        """The authors' single file as UNet and VAE; a bare UNet is left as it is."""
        state = states["network"]
        parts = {"network": "denoiser.", "vae": "vae.vae_model."}
        if not any(key.startswith("denoiser.") for key in state):
            return states
        used = tuple(parts.values())
        # left by training: a counter and the network of its loss
        rest = {key: value for key, value in state.items() if not key.startswith((*used, "lpips_loss.")) and key != "num_iterations"}
        split = {
            role: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            for role, prefix in parts.items()
        }
        return {**states, "network": {**split["network"], **rest}, **({"vae": split["vae"]} if split["vae"] else {})}

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: own aspect, as many pixels as a square of `size`."""
        return (Resize(PixelCount(size, self.spec.multiple_of), by_area),)

    def passes(self, options: LbmOptions) -> int:
        return options.steps

    def sample(self, latents: Tensor, options: LbmOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        """See `DiffusionAnnotator.sample`: Euler steps from the image (sigma 1) to the sample (sigma 0)."""
        noise, _ = seeded_noise((options.steps, *latents.shape[1:]), latents.shape[0], options.seed)
        for index in range(options.steps):
            sigma, next_sigma = 1 - index / options.steps, 1 - (index + 1) / options.steps
            latents = latents + (next_sigma - sigma) * self.run_unet(latents, 1000 * sigma)
            spread = self.spec.config.bridge_noise * math.sqrt(next_sigma * (1 - next_sigma))
            latents = latents + spread * noise[:, index].to(latents.device)
            step()
        yield latents

    def read_depth(self, decoded: Tensor) -> Tensor:
        return (decoded.clamp(-1, 1).mean(1, keepdim=True) + 1) / 2
