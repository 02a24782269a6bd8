"""Enumerations: the quantity of depth values, the axes of normals, and the projection of images."""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn


class Kind(str, Enum):
    """Members that files and users name by their value."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()
        raise ValueError(f"{name} is {value!r}; accepted: {', '.join(each.value for each in cls)}")


class Quantity(Kind):
    """Meanings of the numbers in `Estimate.depth`."""

    METRIC_DEPTH = "metric_depth"
    """Metres along the optical axis; large = far. Where nothing tells metres (MoGe-1, Depth Anything 3's networks for views of scenes,
    core's geometry of both): up to scale, with its zero at the camera all the same, so that points and normals have their true shape."""
    RELATIVE_DEPTH = "relative_depth"
    """Depth up to an unknown scale and shift; large = far."""
    DISPARITY = "disparity"
    """Inverse depth up to an unknown scale and shift; large = near."""


class Axes(Kind):
    """Camera axes in which normals are expressed. All are relative to the camera that took the image.

    Of a panorama they are those of a camera that looks at the panorama's middle, so +Y of OPENGL is up in the world.
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
    """How the pixels of an image belong to directions."""

    PERSPECTIVE = "perspective"
    """A pinhole camera, as photos and renders have. `Estimate.depth` is measured along the optical axis."""
    EQUIRECTANGULAR = "equirectangular"
    """A panorama of the whole sphere: columns are equal steps of longitude, rows of latitude. `Estimate.depth` is the distance from the
    camera along each pixel's ray, or its inverse (`DISPARITY`)."""
