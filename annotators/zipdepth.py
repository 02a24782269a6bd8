"""ZipDepth: disparity from one image, by a small convolutional network distilled from Depth Anything V2.

Source:
    Tosi et al., "ZipDepth: Bringing Lightweight Zero-Shot Monocular Depth Anywhere, on Any Device" (2026), code fabiotosi92/ZipDepth.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .base import Annotator
from .networks.published import StateDict
from .networks.zipdepth import ZipDepth
from .specs.base import ModelSpec


class ZipDepthAnnotator(Annotator):
    """ZipDepth.

    Convention:
        Disparity: large = near, unknown scale and shift, never negative.
    """

    bytes_per_pixel = 300
    network_class = ZipDepth
    tensors = r"decoder\.convex_up\."

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> ZipDepthAnnotator:
        """See `Family.build`. Fuses the branches of the network's blocks."""
        annotator = super().build(spec, states, torch.float32)
        annotator.network.fuse()
        annotator.network.set_dtype(dtype)
        return annotator

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        super().build(spec, {spec.file.role: state}, torch.float32)  # meta tensors cannot be fused
