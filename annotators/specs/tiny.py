"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY_2
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(WeightFile("tiny.safetensors", sha256="8ba999a85bdb72f58bbf562db17e524af7824c8ced04f18e33e9c6564607a044", size=7_377_820),),
        licence="Apache-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=224,
        config=TINY_2,
    ),
)
