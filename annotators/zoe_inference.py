"""ZoeDepth's way from pictures to metres, which all networks with its metric heads share."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .base import Annotator
from .kernels import cubic
from .steps import Metadata, PadReflect, Steps, crop, undo_resize

_BORDER = PadReflect(3.0)  # the networks see an image's border worse than the rest


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

    def _preprocess_steps(self, size: int) -> Steps:
        """See `Annotator.preprocess_steps`: the border comes before the resizing."""
        return (_BORDER, *super()._preprocess_steps(size))

    def preprocess_metadata(self, size: int) -> Metadata:
        """See `Annotator.preprocess_metadata`."""
        words = "the network runs on the image and on its mirror image; all maps are the mean of the first and of the second mirrored back"
        return [*super().preprocess_metadata(size), {"step": "mirror", "means": words}]

    def postprocess_metadata(self) -> Metadata:
        """See `Annotator.postprocess_metadata`."""
        return [undo_resize(cubic), crop(), *self._least_depth_metadata()]

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`; the estimate has the pictures' own size."""
        height, width = images.shape[-2:]
        left, _, top, _ = _BORDER.margins(height, width)
        pixels = self.preprocess(images, size)
        depth = self.predict(torch.cat((pixels, pixels.flip(-1)))).depth
        assert depth is not None
        depth = cubic(depth, *_BORDER.size(height, width))
        straight, mirrored = depth[:, :, top : top + height, left : left + width].chunk(2)
        return Estimate(depth=(straight + mirrored.flip(-1)) / 2, quantity=Quantity.METRIC_DEPTH)
