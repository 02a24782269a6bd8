"""BAE: normals, and how sure they are, from one picture.

Source:
    Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in Surface Normal Estimation" (2021), code
    baegwangbin/surface_normal_uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.estimate import Axes, Estimate
from .base import Annotator, ModelSpec, fill
from .graph import Graph, normals_output
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
        normals, confidence = self.outputs(self.normalised(pixels))
        return Estimate(normals=normals.contiguous(), axes=Axes.SCANNET, confidence=confidence.contiguous())

    def network_outputs(self, given: Tensor, numbers: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Annotator.network_outputs`."""
        return self.network(given).split((3, 1), 1)

    def graph(self) -> Graph:
        """See `Annotator.graph`."""
        return self._graph(
            {**normals_output(Axes.SCANNET), "confidence": "of the normals: their distribution's concentration, large = sure"}
        )
