"""Depth Pro: architecture and published file."""

from __future__ import annotations

from ...geometry.kinds import Quantity
from ..networks.configs import DepthProConfig, VitConfig
from .base import ModelSpec, WeightFile

LARGE = DepthProConfig(VitConfig(1024, 24, 16, (5, 11, 23), grid=24, patch=16))

SPECS = (
    ModelSpec(
        id="depth-pro",
        family="depth-pro",
        files=(
            WeightFile(
                "model.safetensors",
                repo_id="apple/DepthPro-mixin",
                sha256="8cf414ab41135c007626ebde7013252279628de1de2bc9579cce5bc49127d33f",
                size=1_904_109_940,
                aliases=("depth_pro.fp16.safetensors", "depth_pro.safetensors", "depth_pro.pt"),
                copies=(
                    "3eb35ca68168ad3d14cb150f8947a4edf85589941661fdb2686259c80685c0ce",
                    "9c6811e3165485b9a94a204329860cb333a79877e757eb795a179a4ea34bbcf7",
                ),
                folders=("depth",),
            ),
        ),
        licence="Apple-AMLR (research only)",
        commercial="no",
        quantity=Quantity.METRIC_DEPTH,
        multiple_of=LARGE.side,
        default_size=LARGE.side,
        largest_size=LARGE.side,
        smallest_size=LARGE.side,
        config=LARGE,
        knows_camera=True,
    ),
)
