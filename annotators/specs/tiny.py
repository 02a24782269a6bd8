"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY_2
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(WeightFile("tiny.safetensors", sha256="1c0630894f479c58b6dd8236aebb750efa9eeb2dd26ea8324ec3611e5c810894", size=7_377_820),),
        licence="Apache-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=192,
        config=TINY_2,
    ),
)
