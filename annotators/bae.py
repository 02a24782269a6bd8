"""BAE: normals and their uncertainty from one image.

Source:
    Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in Surface Normal Estimation" (2021), code
    baegwangbin/surface_normal_uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .base import Annotator
from .graphs import Signature
from .networks.bae import Bae
from .specs.base import ModelSpec


class BaeAnnotator(Annotator):
    """BAE.

    Convention:
        Normals in SCANNET axes, as in the normal maps that ControlNet 1.1's normalbae was trained on. Confidence: the concentration
        ("kappa") of the distribution of normals, from 0.01, unbounded above.
    """

    bytes_per_pixel = 2000

    @classmethod
    def network_of(cls, spec: ModelSpec) -> Bae:
        return Bae()

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        return self.network(inputs).split((3, 1), 1)

    def signature(self) -> Signature:
        normals = Signature.of(self.spec).outputs
        return Signature({**normals, "confidence": "of the normals: their distribution's concentration, large = sure"})
