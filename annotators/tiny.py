"""The pack's own model: disparity and normals from one picture, small enough to ship with the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..geometry.conventions import unit_normals
from ..geometry.estimate import Axes, Estimate, Quantity
from ..utils import resize_picture, round_to_multiple
from .base import Annotator, ModelSpec, fill
from .guided import guided_upsample
from .networks.names import StateDict
from .networks.tiny import TinyNetwork, untrained_counters

LONGEST_ASPECT = 4.0
LARGEST_SIZE = 256
ENLARGED = 2
GUIDE_RADIUS, GUIDE_EPSILON = 2, 0.01
# The old formula for normal maps is made for the slopes of MiDaS v2.1 small at 512. This factor gives the network's disparity the same mean
# deviation; training/evaluate.py prints both.
TO_MIDAS_SCALE = 130.0


class TinyAnnotator(Annotator):
    """The pack's own network: a preview of depth and normals, with nothing to download.

    Convention:
        Disparity: large = near, unknown scale and shift; median near 0, mean deviation near MiDaS's. Normals: OpenGL axes.
    """

    bytes_per_pixel = 400

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> TinyAnnotator:
        """See `Annotator.build`."""
        with torch.device("meta"):
            network = TinyNetwork(spec.config)
        fill(network, {**untrained_counters(network), **states["network"]}, f"not a checkpoint of {spec.id}")
        network.to(dtype=dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        return cls(spec, network)

    def network_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """As `Annotator.network_size`, in the range the network was trained for.

        The shorter side is at most `LARGEST_SIZE`; the longer one at most four times `size`, as far as the shorter one allows.
        """
        size = min(size, LARGEST_SIZE)
        short = min(height, width)
        scale = min(size / short, max(LONGEST_ASPECT * size / max(height, width), self.spec.multiple_of / short))
        return round_to_multiple(height * scale, self.spec.multiple_of), round_to_multiple(width * scale, self.spec.multiple_of)

    def run(self, images: Tensor, size: int | None) -> Estimate:
        """See `Annotator.run`. The estimate has twice the size of the network's input; its edges are the picture's."""
        height, width = self.checked_network_size(images.shape[-2], images.shape[-1], size)
        estimate = self.predict(resize_picture(images, height, width))
        red, green, blue = images.split(1, 1)
        # Written out: torch's mean over so few channels is three times as slow on a CPU.
        brightness = resize_picture((red + green).add_(blue).div_(3), ENLARGED * height, ENLARGED * width)
        assert estimate.depth is not None and estimate.normals is not None
        maps = guided_upsample(torch.cat((estimate.depth, estimate.normals), 1), brightness, GUIDE_RADIUS, GUIDE_EPSILON)
        return replace(estimate, depth=maps[:, :1], normals=unit_normals(maps[:, 1:]))

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`. The estimate has half the size of the pixels."""
        dtype = next(self.network.parameters()).dtype
        output = self.network(pixels.to(dtype).contiguous(memory_format=torch.channels_last)).contiguous()
        disparity, normals = TO_MIDAS_SCALE * output[:, :1], unit_normals(output[:, 1:])
        return Estimate(depth=disparity, quantity=Quantity.DISPARITY, normals=normals, axes=Axes.OPENGL)
