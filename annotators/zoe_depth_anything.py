"""Depth Anything V1 with ZoeDepth's head: metres, indoors (NYU) and outdoors (KITTI).

Source:
    Yang et al., "Depth Anything" (2024), code LiheYoung/Depth-Anything, metric_depth; the head: Bhat et al., "ZoeDepth" (2023), code
    isl-org/ZoeDepth.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .base import ModelSpec, WeightFile
from .depth_anything import FOLDERS, V1_LARGE, DinoAnnotator
from .networks.zoe_depth_anything import ZoeDepthAnything
from .resizing import Fit, Resizing, linear_to_corners
from .zoe_inference import ZoeInference


class ZoeDepthAnythingAnnotator(ZoeInference, DinoAnnotator):
    """Depth Anything V1's metric networks."""

    network_class = ZoeDepthAnything

    def predict(self, pixels: Tensor) -> Estimate:
        """See `Annotator.predict`."""
        return Estimate(depth=self.network(self.normalised(pixels)).contiguous(), quantity=Quantity.METRIC_DEPTH)


def _spec(scene: str, **published: Any) -> ModelSpec:
    return ModelSpec(
        id=f"zoe-depth-anything-{scene}",
        family="zoe-depth-anything",
        files=(
            WeightFile(
                repo_id="LiheYoung/Depth-Anything",
                repo_type="space",
                filename=f"checkpoints_metric_depth/depth_anything_metric_depth_{scene}.pt",
                folders=FOLDERS,
                **published,
            ),
        ),
        licence="Apache-2.0",
        quantity=Quantity.METRIC_DEPTH,
        multiple_of=14,
        resizing=Resizing(Fit.MINIMAL, 518 / 392, linear_to_corners),
        default_size=392,
        config=V1_LARGE,
    )


SPECS = (
    _spec("indoor", sha256="e25a96605a2ea2dbbe57308d024e89a803fa87fe981bd51d4cee245f1de57977", size=1_343_378_277),
    _spec("outdoor", approximate_size=1_343_000_000),
)
