"""ZoeDepth's way from pictures to metres, which all networks with its metric heads share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .base import Annotator

_PADDING = 3.0  # the border is sqrt(side / 2) times this wide; the networks see a picture's border worse than the rest


class ZoeInference(Annotator):
    """The mean of a picture and its mirror image, both with a reflected border.

    A family implements `build` and `predict`.

    Convention:
        Metres, large = far. The estimate has the pictures' own size, as the authors' has.

    Source:
        `DepthModel.infer` in isl-org/ZoeDepth, models/depth_model.py.
    """

    bytes_per_pixel = 7200
    auto_dtypes = ("float16",)
    resampling = "bicubic"

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """Size of the network's input, border included."""
        top, left = _border(height, width)
        return super().network_size(height + 2 * top, width + 2 * left, size)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`; the estimate has the pictures' own size."""
        height, width = images.shape[-2:]
        top, left = _border(height, width)
        network_size = self.checked_network_size(height, width, size)
        padded = F.pad(images, (left, left, top, top), mode="reflect")
        pixels = self.resize(padded, *network_size)
        depth = self.predict(torch.cat((pixels, pixels.flip(-1)))).depth
        assert depth is not None
        depth = F.interpolate(depth, size=padded.shape[-2:], mode="bicubic", align_corners=False)
        straight, mirrored = depth[:, :, top : top + height, left : left + width].chunk(2)
        return Estimate(depth=(straight + mirrored.flip(-1)) / 2, quantity=Quantity.METRIC_DEPTH)


def _border(height: int, width: int) -> tuple[int, int]:
    """Pixels above and below, left and right; a reflection cannot be as long as the picture."""
    rows, columns = (min(int((side / 2) ** 0.5 * _PADDING), side - 1) for side in (height, width))
    return rows, columns
