"""Depth Anything V1 with ZoeDepth's head: metres, indoors (NYU) and outdoors (KITTI).

Source:
    Yang et al., "Depth Anything" (2024), code LiheYoung/Depth-Anything, metric_depth; the head: Bhat et al., "ZoeDepth" (2023), code
    isl-org/ZoeDepth.
"""

from __future__ import annotations

from .depth_anything import DinoAnnotator
from .networks.zoe import ZoeDepthAnything
from .zoe import ZoeInference


class ZoeDepthAnythingAnnotator(ZoeInference, DinoAnnotator):
    """Depth Anything V1's metric networks."""

    network_class = ZoeDepthAnything
