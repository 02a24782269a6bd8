"""BAE: normals and their uncertainty from one image.

Source:
    Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in Surface Normal Estimation" (2021), code
    baegwangbin/surface_normal_uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .base import Annotator
from .checkpoints import fill
from .graph import Signature
from .networks.bae import Bae
from .networks.names import StateDict
from .specs.base import ModelSpec


class BaeAnnotator(Annotator):
    """BAE.

    Convention:
        Normals in SCANNET axes, the normal map that ControlNet 1.1's normalbae was trained on. Confidence: the concentration ("kappa") of
        the distribution of normals around the one that is given, from 0.01, without an upper end.
    """

    bytes_per_pixel = 2000

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> BaeAnnotator:
        """See `Family.build`. Takes the authors' checkpoints."""
        with torch.device("meta"):
            network = Bae()
        fill(network, Bae.official_names(states["network"]), f"not a checkpoint of {spec.id}")
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
        network.set_dtype(dtype)
        return cls(spec, network)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`."""
        return self.network(inputs).split((3, 1), 1)

    def signature(self) -> Signature:
        """See `Family.signature`."""
        normals = Signature.of(self.spec).outputs
        return Signature({**normals, "confidence": "of the normals: their distribution's concentration, large = sure"})
