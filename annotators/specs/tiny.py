"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY_2
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(WeightFile("tiny.safetensors", sha256="ea62048bba912b4f425a83551926a8c0bda12d6b1a41ed2e2d186cd100619ae9", size=7_377_820),),
        licence="Apache-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=224,
        config=TINY_2,
    ),
)
