"""LeReS: affine-invariant depth from one image.

Source:
    Yin et al., "Learning to Recover 3D Scene Shape from a Single Image" (2021); code aim-uofa/AdelaiDepth, folder LeReS.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..geometry.estimate import Estimate
from .base import Annotator
from .family import Request
from .networks.leres import Leres
from .specs.base import ModelSpec


@dataclass(frozen=True)
class LeresOptions:
    """Options of one call.

    Attributes:
        old_node: Whether the network is fed as the old ControlNet nodes feed it: blue, green, red between 0 and 255, of which the mean
            and deviation of RGB in [0, 1] are taken. LeReS++ also fits its patches as there (`boosting.fit_in_float32`).
    """

    old_node: bool = False


class LeresAnnotator(Annotator):
    """LeReS.

    Convention:
        Relative depth: large = far, unknown scale and shift, of either sign. Its authors add what makes the least of it 0.01. They
        stretch images to a square, in training too; the estimate has the images' own size.
    """

    bytes_per_pixel = 1100
    options_type = LeresOptions

    @classmethod
    def network_of(cls, spec: ModelSpec) -> Leres:
        """See `Family.network_of`: of the authors' checkpoint, the depth network alone."""
        return Leres(spec.config)

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        as_old_node = request is not None and request.options.old_node
        return super().infer_resized(pixels.flip(1) * 255 if as_old_node else pixels, request)
