"""DSINE: the published file."""

from __future__ import annotations

from ...geometry.kinds import Axes
from ..networks.configs import DsineConfig
from .base import ModelSpec, WeightFile

SPECS = (
    ModelSpec(
        id="dsine",
        family="dsine",
        files=(WeightFile("dsine.pt", repo_id="hr16/Diffusion-Edge", approximate_size=291_200_000),),
        licence="Imperial College London, non-commercial",
        licence_url="https://github.com/baegwangbin/DSINE/blob/main/LICENSE",
        commercial="no",
        axes=Axes.SCANNET,
        multiple_of=32,
        default_size=480,
        config=DsineConfig(),
    ),
)
