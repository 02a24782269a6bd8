"""Depth Anything V1 with ZoeDepth's head: published files."""

from __future__ import annotations

from typing import Any

from ...geometry.kinds import Quantity
from ..preprocessing.kernels import linear_to_corners
from ..preprocessing.resizing import Fit, Resizing
from .base import ModelSpec, WeightFile
from .depth_anything import FOLDERS, V1_LARGE, V1_LICENCE


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
        licence_url=V1_LICENCE,
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
