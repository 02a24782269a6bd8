"""Eyes beside the centre of an equirectangular image, and their projection.

Convention: OPENCV axes of the image's middle (+X right, +Y down, +Z away), as `sphere`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import exact_dtype

NEAREST = 0.125
"""Maximum ratio of an eye's offset to a point's distance: 63 mm eye distance at 25 cm. Nearer points are clamped."""

TAPER = (60.0, 80.0)
"""Degrees of latitude over which the eye distance tapers to 0, as no direction is sideways at the poles."""


class SphericalEye(NamedTuple):
    """An eye that sees a part of the sphere; a `forward_warp.Camera`, whose inverse depth is the inverse distance from the centre.

    Attributes:
        offset: Offset of the eye from the centre to the right, in the unit of distance; negative for the left eye.
        around: True: the eye rotates with each column, on the viewing circle of omnidirectional stereo. False: it stands still.
        height, width: Size of the image of the whole sphere in pixels.
        row, column: First row and column of the part, in the image of the whole sphere.

    Source:
        Google, "Rendering Omni-directional Stereo Content" (2016), for the viewing circle: the ray of each column touches it.
    """

    offset: float
    around: bool
    height: int
    width: int
    row: int
    column: int

    @property
    def views(self) -> int:
        """1: the same view for all images."""
        return 1

    @property
    def sideways(self) -> bool:
        """False: near points also move slightly up or down."""
        return False

    @property
    def stretch(self) -> int:
        """2 pixels, as in `stereo`."""
        return 2

    def targets(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.targets`."""
        longitude, latitude = self._angles(inverse, rows, columns)
        sine, cosine = latitude.sin(), latitude.cos()
        moved = self._moved(latitude, cosine, inverse)
        if self.around:
            # The ray to the point touches the circle: offset / level distance is the sine of the angle between the two longitudes.
            around = torch.asin(moved / cosine)
            above = torch.atan2(sine, (cosine * cosine - moved * moved).clamp(min=0).sqrt())
            return columns - around * self._per_column + 0.5, rows - (above - latitude) * self._per_row + 0.5
        x, z = cosine * longitude.sin(), cosine * longitude.cos()
        above = torch.atan2(sine, torch.hypot(x - moved, z))
        # The eye distance depends on the row where the point lands, which is another one.
        moved = self._moved(above, above.cos(), inverse)
        across, above = torch.atan2(x - moved, z), torch.atan2(sine, torch.hypot(x - moved, z))
        return columns + (across - longitude) * self._per_column + 0.5, rows - (above - latitude) * self._per_row + 0.5

    def sources(self, inverse: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """As `Camera.sources`."""
        longitude, latitude = self._angles(inverse, rows, columns)
        sine, cosine = latitude.sin(), latitude.cos()
        moved = self._moved(latitude, cosine, inverse)
        if self.around:
            along = (1 - moved * moved).sqrt()
            turned = torch.atan2(moved, along * cosine)
            above = torch.atan2(along * sine, torch.hypot(moved, along * cosine))
            return columns + turned * self._per_column, rows - (above - latitude) * self._per_row
        x, z = cosine * longitude.sin(), cosine * longitude.cos()
        along = (1 - moved * moved * (1 - x * x)).sqrt() - moved * x
        x, z = along * x + moved, along * z
        across, above = torch.atan2(x, z), torch.atan2(along * sine, torch.hypot(x, z))
        return columns + (across - longitude) * self._per_column, rows - (above - latitude) * self._per_row

    def of_pixels(self, image: Tensor) -> SphericalEye:
        """As `Camera.of_pixels`: the eye itself, which is the same for all images."""
        return self

    @property
    def _per_column(self) -> float:
        return self.width / (2 * math.pi)

    @property
    def _per_row(self) -> float:
        return self.height / math.pi

    def _angles(self, like: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Longitudes and latitudes of the part's columns and rows, in radians, positive to the right and up."""
        exact = exact_dtype(like.device)
        longitude = ((columns + self.column).to(exact) + 0.5) / self._per_column - math.pi
        latitude = math.pi / 2 - ((rows + self.row).to(exact) + 0.5) / self._per_row
        return longitude.to(like), latitude.to(like)

    def _moved(self, latitude: Tensor, cosine: Tensor, inverse: Tensor) -> Tensor:
        """The eye's offset at each pixel's latitude, in units of its distance."""
        start, end = (math.radians(degrees) for degrees in TAPER)
        taper = (1 + (((latitude.abs() - start) / (end - start)).clamp(0, 1) * math.pi).cos()) / 2
        most = NEAREST * cosine
        return torch.minimum(torch.maximum(self.offset * taper * inverse, -most), most)
