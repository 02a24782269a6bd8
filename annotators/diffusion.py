"""Families on Stable Diffusion's networks: the shared base, Lotus (one pass), and LBM (a bridge from the image's own latents).

The networks are diffusers'. Its pipelines are not used: they lack a seed per image, progress, and tiling when memory runs out.

Source:
    He et al., "Lotus: Diffusion-based Visual Foundation Model for High-quality Dense Prediction" (2024); code EnVision-Research/Lotus,
    which has no pipeline in diffusers.
    Chadebec et al., "LBM: Latent Bridge Matching for Fast Image-to-Image Translation" (2025); code gojasper/LBM.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, sin
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.conventions import convert_normals
from ..geometry.estimate import Axes, Estimate
from ..options.checks import check_whole, checked_switch
from ..utils import unit_vectors
from .base import Annotator, is_out_of_memory
from .building import LatentDiffusion, build_network, check_network, from_diffusers
from .family import Request, counted
from .networks.layers import faster_products
from .networks.published import StateDict
from .preprocessing.resizing import LongSideCut, PixelCount, by_area, linear_antialiased
from .preprocessing.steps import Resize, Steps
from .specs.base import ModelSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiffusionOptions:
    """Options of one call.

    Attributes:
        seed: Seed of the noise. Every image gets the same noise, so that batches and videos equal their images one by one.
        tiled: Encode and decode in tiles: less memory, faint differences between tiles. Automatic when memory runs out.

    Raises:
        ValueError: A value outside its range.
    """

    seed: int = 0
    tiled: bool = False

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0, 2**64 - 1)
        checked_switch("tiled", self.tiled)


class DiffusionAnnotator(Annotator):
    """A family that samples depth or normals in a VAE's latent space.

    Subclasses implement `sample` and `read_depth`, and `merge` if they sample more than once.

    Convention:
        Depth if its entry has a quantity, else normals, converted from the entry's native axes to OPENGL.
    """

    network: LatentDiffusion
    # measured: the VAE's decoder 4100 to 5800, the UNet 950
    bytes_per_pixel = 6000
    tensors = r"^((model\.)?denoiser\.)?conv_in\.weight$"
    no_graph = "its VAE and its UNet are networks of their own, with noise and steps between them"
    options_type: ClassVar[type | None] = DiffusionOptions

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> DiffusionAnnotator:
        """See `Family.build`. Roles: "network" (the UNet), "vae", and "text_encoder" if the UNet takes a prompt.

        The VAE may have diffusers' names or those of the original Stable Diffusion (as in ComfyUI's `models/vae`). The text encoder is
        released after computing the prompt's embedding.
        """
        return cls(spec, build_network(spec, cls.split_states(spec, states), dtype))

    @classmethod
    def check_requirements(cls, spec: ModelSpec) -> None:
        from_diffusers("UNet2DConditionModel")

    @classmethod
    def claims(cls, name: str) -> Mapping[str, str]:
        """See `Family.claims`: what is estimated; nothing in a name of both depth and normals."""
        said = [kind for kind in ("relighting", "disparity", "normal", "depth") if kind in name.lower()]
        return {"kind": said[0]} if said and not {*said} >= {"depth", "normal"} else {}

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        """See `Family.check_network`. The UNet's file suffices: the other parts are found separately."""
        check_network(spec, cls.split_states(spec, {"network": state}))

    @classmethod
    def split_states(cls, spec: ModelSpec, states: Mapping[str, StateDict]) -> Mapping[str, StateDict]:
        """State dicts by role, if one file of the family holds several parts."""
        return states

    @abstractmethod
    def sample(self, latents: Tensor, options: Any, step: Callable[[], None]) -> Iterator[Tensor]:
        """Samples the latents of depth or normals; calls `step` after each UNet pass.

        Args:
            latents: (B, 4, h, w) float32: the encoded images, scaled for the UNet.
            options: Of the family's `options_type`.

        Yields:
            (B, 4 T, h, w) float32 for each ensemble member; T = 1 unless the UNet predicts several images.
        """

    @abstractmethod
    def read_depth(self, decoded: Tensor) -> Tensor:
        """The depth (B, 1, H, W) in a decoded image (B, 3, H, W) of about [-1, 1]."""

    def read(self, decoded: Tensor) -> Tensor:
        """The map in a decoded image: depth, or normals (B, 3, H, W) in the entry's native axes."""
        if self.spec.quantity is not None:
            return self.read_depth(decoded)
        return unit_vectors(decoded.clamp(-1, 1))

    def passes(self, options: Any) -> int:
        """The number of UNet passes for one image."""
        return 1

    def merge(self, members: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Merges an ensemble into one map and its confidence."""
        return members[0], None

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: longer side `size`, aspect kept; `infer_resized` pads to the spec's multiple."""
        return (Resize(LongSideCut(size), linear_antialiased),)

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        """See `Annotator.infer_resized`; reports progress after each UNet pass."""
        value, confidence = self.merge([self.read(decoded) for decoded in self.decoded_members(pixels, request)])
        if self.spec.quantity is not None:
            return Estimate(depth=value, quantity=self.spec.quantity, confidence=confidence)
        assert self.spec.axes is not None
        return Estimate(normals=convert_normals(value, self.spec.axes, Axes.OPENGL), confidence=confidence)

    def decoded_members(self, pixels: Tensor, request: Request | None = None) -> Iterator[Tensor]:
        """Samples and decodes; arguments and progress as `infer_resized`.

        Yields:
            (B, 3 T, h, w) float32, about [-1, 1], for each ensemble member; T as in `sample`.
        """
        request = request or self._request_of(pixels)
        options = request.options
        height, width = pixels.shape[-2:]
        multiple = self.spec.multiple_of
        padded = F.pad(pixels * 2 - 1, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        step = counted(request.progress, self.passes(options))
        for latents in self.sample(self._encode(padded, options.tiled), options, step):
            yield self._decode(latents, options.tiled)[..., :height, :width]

    def run_unet(self, latents: Tensor, timestep: Tensor | float, class_labels: Tensor | None = None) -> Tensor:
        """The UNet's output (B, 4, h, w), float32, for latents (B, C, h, w)."""
        unet, prompt = self.network.unet, self.network.prompt
        text = None if prompt is None else prompt.expand(latents.shape[0], -1, -1)
        first = next(unet.parameters())
        latents = latents.to(first.dtype)
        with faster_products(latents):
            return unet(latents, timestep, text, class_labels=class_labels, return_dict=False)[0].float()

    def _encode(self, pixels: Tensor, tiled: bool) -> Tensor:
        vae: Any = self.network.vae
        # the mode: some authors sample the distribution, but an image should always give the same map
        return self._run_vae(lambda part: vae.encode(part).latent_dist.mode(), pixels, tiled) * vae.config.scaling_factor

    def _decode(self, latents: Tensor, tiled: bool) -> Tensor:
        vae: Any = self.network.vae
        images = (latents / vae.config.scaling_factor).unflatten(1, (-1, vae.config.latent_channels)).flatten(0, 1)
        decoded = self._run_vae(lambda part: vae.decode(part, return_dict=False)[0], images, tiled)
        return decoded.unflatten(0, (latents.shape[0], -1)).flatten(1, 2)

    def _run_vae(self, run: Callable[[Tensor], Tensor], batch: Tensor, tiled: bool) -> Tensor:
        """Runs the VAE, which needs the most memory, image by image, and in tiles if one does not fit."""
        vae: Any = self.network.vae
        vae.use_tiling = tiled
        outputs = []
        for part in batch.to(next(vae.parameters()).dtype).split(1):
            output = None
            try:
                output = run(part)
            except RuntimeError as error:
                if vae.use_tiling or not is_out_of_memory(error):
                    raise
                logger.warning("%s: not enough memory for the VAE at once: going on in tiles", self.spec.id)
                vae.use_tiling = True
            if output is None:  # outside the handler, whose error keeps the failed attempt's memory alive
                output = run(part)
            outputs.append(output.float())
        return torch.cat(outputs)


def seeded_noise(shape: Sequence[int], images: int, seed: int) -> tuple[Tensor, list[torch.Generator]]:
    """The same noise for each image, (images, *shape) float32 on the CPU, whatever the device; and a generator per image."""
    generators = [torch.Generator().manual_seed(seed) for _ in range(images)]
    noise = [torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu") for generator in generators]
    return torch.stack(noise), generators


TIMESTEP = 999


class LotusAnnotator(DiffusionAnnotator):
    """Lotus D (deterministic) and G (also depends on the seed's noise).

    Convention:
        Depth and disparity in [0, 1], unknown scale and shift: depth models 0 = near, disparity models 1 = near.
    """

    def sample(self, latents: Tensor, options: DiffusionOptions, step: Callable[[], None]) -> Iterator[Tensor]:
        if self.spec.config.unet["in_channels"] == 2 * latents.shape[1]:
            noise, _ = seeded_noise(latents.shape[1:], latents.shape[0], options.seed)
            latents = torch.cat([latents, noise.to(latents.device)], 1)
        # the task embedding of (1, 0): depth or normals; (0, 1) would reconstruct the image
        task = torch.tensor([sin(1), sin(0), cos(1), cos(0)], device=latents.device, dtype=next(self.network.parameters()).dtype)
        sample = self.run_unet(latents, TIMESTEP, task.expand(latents.shape[0], -1))
        step()
        yield sample

    def read_depth(self, decoded: Tensor) -> Tensor:
        return (decoded / 2 + 0.5).clamp(0, 1).mean(1, keepdim=True)


@dataclass(frozen=True)
class LbmOptions(DiffusionOptions):
    """Options of one call.

    Attributes:
        steps: UNet passes; trained for 1 to 4. With 1 the seed has no effect.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("steps", self.steps, 1, 1000)


class LbmAnnotator(DiffusionAnnotator):
    """LBM, depth or normals.

    Convention:
        Depth in [0, 1], 0 = near, unknown scale and shift. Its normals' native axes are uncertain: published normal maps disagree about X.
        They are the entry's field `axes`; `geometry.alignment.metrics.disagreeing_axes` detects wrong ones.
    """

    options_type = LbmOptions

    @classmethod
    def split_states(cls, spec: ModelSpec, states: Mapping[str, StateDict]) -> Mapping[str, StateDict]:
        """Splits the authors' single file into UNet and VAE; a bare UNet is left as it is."""
        # the authors' training saves .ckpt files with this prefix
        state = {key.removeprefix("model."): value for key, value in states["network"].items()}
        parts = {"network": "denoiser.", "vae": "vae.vae_model."}
        if not any(key.startswith("denoiser.") for key in state):
            return states
        used = tuple(parts.values())
        # training leftovers: a counter, and the loss's network
        rest = {key: value for key, value in state.items() if not key.startswith((*used, "lpips_loss.")) and key != "num_iterations"}
        split = {
            role: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            for role, prefix in parts.items()
        }
        return {**states, "network": {**split["network"], **rest}, **({"vae": split["vae"]} if split["vae"] else {})}

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: the image's aspect, as many pixels as a square of `size`."""
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
