"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY_2
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(WeightFile("tiny.safetensors", sha256="dc960c2258955eaa3e6eb82bca461e299e6eca6349635fb14942f2edb6a1ef74", size=7_377_820),),
        licence="Apache-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=224,
        config=TINY_2,
    ),
)
