"""The pack's own model: its file."""

from __future__ import annotations

from ...geometry.kinds import Axes, Quantity
from ..networks.configs import TINY_2
from .base import ModelSpec, WeightFile

LARGEST_SIZE = 256
"""The largest size that the network was trained for."""

SPECS = (
    ModelSpec(
        id="tiny",
        family="tiny",
        files=(
            WeightFile("tiny.safetensors", sha256="be1f1c979dc891ff2ca052e6cf54a046694037a5eacc68584ad0daf760cef1a3", size=7_378_374),
            WeightFile(
                "tiny_sharp.safetensors",
                sha256="deb1e3a23032ca1683ef21b95650cb78b27ceeebaea2da2b88360025d6e41f0f",
                size=1_424_176,
                role="sharp",
                fits_published=True,
            ),
        ),
        licence="Apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        quantity=Quantity.DISPARITY,
        axes=Axes.OPENGL,
        default_size=224,
        largest_size=LARGEST_SIZE,
        config=TINY_2,
    ),
)
