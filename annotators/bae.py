"""BAE: normals, and how sure they are, from one picture.

Source:
    Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in Surface Normal Estimation" (2021), code
    baegwangbin/surface_normal_uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..geometry.estimate import Axes, Estimate
from .base import Annotator, ModelSpec, fill
from .networks.bae import Bae
from .networks.names import StateDict


class BaeAnnotator(Annotator):
    """BAE.

    Convention:
        Normals in SCANNET axes, the picture that ControlNet 1.1's normalbae was trained on. Confidence: the concentration ("kappa") of
        the distribution of normals around the one that is given, from 0.01, without an upper end.
    """

    bytes_per_pixel = 2000

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> BaeAnnotator:
        """See `Annotator.build`. Takes the authors' checkpoints."""
        with torch.device("meta"):
            network = Bae()
        fill(network, Bae.official_names(states["network"]), f"not a checkpoint of {spec.id}")
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
        network.set_dtype(dtype)
        return cls(spec, network)

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        normals, confidence = self.network(self.normalised(pixels)).split((3, 1), 1)
        return Estimate(normals=normals.contiguous(), axes=Axes.SCANNET, confidence=confidence.contiguous())
