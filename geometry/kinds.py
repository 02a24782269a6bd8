"""Enumerations: the quantity of depth values, the axes of normals, and the projection of images."""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn


class Kind(str, Enum):
    """Enumerations whose values appear in files and in user input."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()
        raise ValueError(f"{name} is {value!r}; accepted: {', '.join(each.value for each in cls)}")


class Quantity(Kind):
    """What `Estimate.depth` holds."""

    METRIC_DEPTH = "metric_depth"
    """Metres along the optical axis; large = far."""
    SCALE_INVARIANT_DEPTH = "scale_invariant_depth"
    """Depth along the optical axis in an unknown unit. Zero is at the camera, so points and normals have their true
    shape; large = far."""
    RELATIVE_DEPTH = "relative_depth"
    """Depth up to an unknown scale and shift; large = far."""
    DISPARITY = "disparity"
    """Inverse depth up to an unknown scale and shift; large = near."""


ZERO_AT_CAMERA = (Quantity.METRIC_DEPTH, Quantity.SCALE_INVARIANT_DEPTH)
"""The quantities whose ratios are known, and so shapes; the others have an unknown shift too."""


class Axes(Kind):
    """Camera axes of normals, relative to the camera that took the image.

    A panorama's camera looks at the middle of the panorama, so +Y of OPENGL is up in the world.
    """

    OPENGL = "opengl"
    """+X right, +Y up, +Z towards the viewer. The pack's default; Blender's and Marigold's."""
    DIRECTX = "directx"
    """+X right, +Y down, +Z towards the viewer."""
    OPENCV = "opencv"
    """+X right, +Y down, +Z away from the viewer."""
    SCANNET = "scannet"
    """+X left, +Y up, +Z towards the viewer: what ControlNet's normalbae, Lotus and LBM use."""


class Projection(Kind):
    """How pixels map to directions."""

    PERSPECTIVE = "perspective"
    """A pinhole camera, as photos and renders have. `Estimate.depth` is measured along the optical axis."""
    EQUIRECTANGULAR = "equirectangular"
    """A panorama of the whole sphere: columns are equal steps of longitude, rows of latitude. `Estimate.depth` is the distance from the
    camera along each pixel's ray, or its inverse (`DISPARITY`)."""
