"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(WeightFile("tiny.safetensors", sha256="3b485f92e598795565434ef79b13bdc487182b2e040c224942ee21ca5f8d82c6", size=5_887_824),),
        licence="Apache-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=192,
        config=TINY,
    ),
)
