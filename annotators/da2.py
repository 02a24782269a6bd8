"""DA²: distances of panoramas, by a network for the whole sphere.

Source:
    Li et al., "DA²: Depth Anything in Any Direction" (2025), code EnVision-Research/DA-2.
"""

from __future__ import annotations

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.kinds import Projection
from .base import Annotator
from .family import Request
from .networks.da2 import Da2
from .networks.vit import PATCH
from .preprocessing.resizing import WholeSphere, linear_antialiased
from .preprocessing.steps import Resize, Steps


class Da2Annotator(Annotator):
    """DA².

    Its `size` is the width of the network's input: 1092, as trained. The authors' code keeps a panorama's size if it has about as many
    pixels; for other sizes, it does not give each patch its own direction.

    Convention:
        Distance along each pixel's ray, up to scale: 1 at the 98th percentile. The network does not know that the left and right border
        adjoin; `inference.panorama` removes the seam.
    """

    bytes_per_pixel = 1500
    network_class = Da2
    tensors = r"\.prompt_camera\."
    no_graph = "it takes panoramas, which exported files do not describe"

    def preprocess(self, size: int) -> Steps:
        return (Resize(WholeSphere(size, PATCH), linear_antialiased),)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        return Estimate(outputs[0].contiguous(), self.spec.quantity, projection=Projection.EQUIRECTANGULAR)
