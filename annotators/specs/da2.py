"""DA²: architecture and published file."""

from __future__ import annotations

from ...geometry.kinds import Quantity
from ..networks.configs import Da2Config, VitConfig
from .base import ModelSpec, WeightFile

LARGE = Da2Config(VitConfig(1024, 24, 16, (5, 11, 17, 23), norm_eps=1e-5, block_eps=1e-5, position_offset=0.0))

SPECS = (
    ModelSpec(
        id="da2",
        family="da2",
        files=(
            WeightFile(
                "model.safetensors",
                repo_id="haodongli/DA-2",
                revision="0d55ccb5e46b8ed4715fae3a4c04fc897f1689f3",
                sha256="d8ea568fc3dfb7d7432e5b763de499dd03fb6dc1c2020d84639f35e2dfa4f78e",
                size=1_378_513_064,
            ),
        ),
        licence="Apache-2.0",
        quantity=Quantity.METRIC_DEPTH,
        up_to_scale=True,
        multiple_of=14,
        default_size=1092,
        config=LARGE,
        for_panoramas=True,
    ),
)
