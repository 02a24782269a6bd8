"""LeReS, affine-invariant depth from one image; and LeReS++, in more detail, from an image at several sizes and patch by patch.

Source:
    Yin et al., "Learning to Recover 3D Scene Shape from a Single Image" (2021); code aim-uofa/AdelaiDepth, folder LeReS.
    Yin et al. (see `leres`) and Miangoleh et al. (see `boosting`), put together as in the ControlNet nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.alignment.scale_shift import fit_scale_shift
from ..geometry.estimate import Estimate, Quantity
from ..utils import resize_image
from .base import Annotator
from .building import build_published, fill
from .detail.boosting import CELL, UPSCALING, Booster, fit_in_float32
from .family import Request, progress_of_part
from .networks.leres import Leres, MergeNetwork
from .networks.published import StateDict
from .preprocessing.kernels import cubic, linear
from .preprocessing.resizing import Size, scale_short_side
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


_MIN_SIDE = 64


class _Networks(nn.Module):
    def __init__(self, depth: nn.Module, merge: MergeNetwork) -> None:
        super().__init__()
        self.depth = depth
        self.merge = merge


class LeresBoostAnnotator(LeresAnnotator):
    """LeReS++.

    Its `size` is the shorter side of the image in which it looks for detail, and of the estimate; the network's own input is up to
    1600 pixels square. An image takes from three passes to hundreds, and is computed by itself.

    Convention:
        Relative depth: large = far, about 0 to 1.
    """

    network: _Networks
    needs_by_size = False

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LeresBoostAnnotator:
        """See `Family.build`. The merging network computes in float32 always: its output is the depth."""
        config, complaint = spec.config, f"not a checkpoint of {spec.id}"
        depth = build_published(lambda: Leres(config.leres), states["depth"], dtype, complaint)
        with torch.device("meta"):
            merge = MergeNetwork(config.merge)
        complaint += f" (its file {spec.files[1].name} is not the merging network's)"
        fill(merge, MergeNetwork.official_names(states["merge"], config.merge), complaint)
        return cls(spec, _Networks(depth, merge.float()))

    def network_size(self, height: int, width: int, size: int) -> Size:
        """The largest input that the network may get, whatever is found in the image, or the image itself, whichever is larger."""
        config, boosted = self.spec.config, _boosted_size(height, width, size)
        side = max(2 * config.field, min(config.greatest_side, UPSCALING * max(boosted)) // CELL * CELL)
        return max((side, side), boosted, key=math.prod)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`: LeReS alone."""
        return (self.network.depth(inputs),)

    def infer(self, request: Request) -> Estimate:
        """See `Annotator.infer`; the estimate's shorter side is `request.size`."""
        size, config = _boosted_size(*request.image_size, request.size), self.spec.config
        fit = fit_in_float32 if request.options.old_node else fit_scale_shift

        def estimate(image: Tensor, side: int) -> Tensor:
            depth = self.infer_resized(linear(image, side, side), request).depth
            assert depth is not None
            return cubic(depth, *image.shape[-2:])

        booster = Booster(estimate, self._merge, config.field, config.merge_side, config.greatest_side, fit)
        images = resize_image(request.images, *size).split(1)
        depth = [
            booster.depth(image, progress_of_part(request.progress, index, index + 1, len(images))) for index, image in enumerate(images)
        ]
        return Estimate(depth=torch.cat(depth), quantity=Quantity.RELATIVE_DEPTH)

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        return "it runs on an image many times, at sizes that depend on the image"

    def _merge(self, whole: Tensor, fine: Tensor) -> Tensor:
        return self.network.merge(torch.cat((whole, fine), 1))


def _boosted_size(height: int, width: int, size: int) -> Size:
    """(height, width) at which an image is boosted; below `_MIN_SIDE` no detail would be left to find."""
    return scale_short_side(height, width, max(size, _MIN_SIDE))
