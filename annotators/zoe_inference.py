"""ZoeDepth's pre- and post-processing, which all networks with its metric heads share."""

from __future__ import annotations

from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .base import Annotator
from .family import Request
from .graphs.graph import Signature
from .preprocessing.kernels import cubic
from .preprocessing.steps import Mirror, PadReflect, Steps, crop, undo_resize

_BORDER = PadReflect(3.0)  # the networks are worse at an image's border than elsewhere


class ZoeInference(Annotator):
    """The mean of an image and its mirror image, both with a reflected border.

    A family implements `build`.

    Convention:
        Metres, large = far. The estimate has the images' own size, as the authors' has.

    Source:
        `DepthModel.infer` in isl-org/ZoeDepth, models/depth_model.py.
    """

    bytes_per_pixel = 7200
    auto_dtypes = ("float16",)
    resampling = "bicubic"
    undoes_stretching = True

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: the border comes before the resizing, the mirror images last."""
        return (_BORDER, *super().preprocess(size), Mirror())

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`; the estimate has the images' own size."""
        height, width = request.image_size
        left, _, top, _ = _BORDER.margins(height, width)
        depth = cubic(outputs[0].contiguous(), *_BORDER.size(height, width))
        straight, mirrored = depth[:, :, top : top + height, left : left + width].chunk(2)
        return Estimate(depth=(straight + mirrored.flip(-1)) / 2, quantity=Quantity.METRIC_DEPTH)

    def signature(self) -> Signature:
        return Signature.of(self.spec, afterwards=[undo_resize(cubic), crop()], at_image_size=True)
