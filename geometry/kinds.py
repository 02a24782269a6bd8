"""What the numbers of depth and of normals mean."""

from __future__ import annotations

from enum import Enum


class Quantity(str, Enum):
    """What the numbers of `Estimate.depth` mean."""

    METRIC_DEPTH = "metric_depth"
    """Metres along the optical axis; large = far."""
    RELATIVE_DEPTH = "relative_depth"
    """Depth up to an unknown scale and shift; large = far."""
    DISPARITY = "disparity"
    """Inverse depth up to an unknown scale and shift; large = near."""


class Axes(str, Enum):
    """Camera axes in which normals are expressed. All are seen from the camera, looking at the picture."""

    OPENGL = "opengl"
    """+X right, +Y up, +Z towards the viewer. The pack's default; Blender's and Marigold's."""
    DIRECTX = "directx"
    """+X right, +Y down, +Z towards the viewer."""
    OPENCV = "opencv"
    """+X right, +Y down, +Z away from the viewer."""
    SCANNET = "scannet"
    """+X left, +Y up, +Z towards the viewer: what ControlNet's normalbae, Lotus and LBM use."""
