"""The value that travels through the pack: what a network, a file or a renderer says of depth and normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera import resize_intrinsics


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


@dataclass(frozen=True)
class Estimate:
    """Depth and/or normals of a batch of pictures, as numbers.

    Attributes:
        depth: (B, 1, H, W) float32, in the unit that `quantity` names; None where only normals are known.
        quantity: What `depth` holds; given exactly when `depth` is.
        normals: (B, 3, H, W) float32 unit vectors; None where only depth is known.
        axes: The camera axes of `normals`.
        mask: (B, 1, H, W) bool, True where the values can be trusted (False: sky, holes); None = everywhere.
        intrinsics: (B, 3, 3) float32, in pixels of this size, centre of the first pixel = (0, 0).
        confidence: (B, 1, H, W) float32, larger = surer; the scale is the model's own.

    Raises:
        ValueError: A map has the wrong rank or number of channels, or the maps do not agree in batch and size.
    """

    depth: Tensor | None = None
    quantity: Quantity | None = None
    normals: Tensor | None = None
    axes: Axes = Axes.OPENGL
    mask: Tensor | None = None
    intrinsics: Tensor | None = None
    confidence: Tensor | None = None

    def __post_init__(self) -> None:
        if self.depth is None and self.normals is None:
            raise ValueError("an Estimate needs depth, normals or both; found neither")
        if (self.depth is None) != (self.quantity is None):
            raise ValueError(f"depth and its quantity go together; found depth {self.depth is not None}, quantity {self.quantity}")
        shape = (self.batch, self.height, self.width)
        for name, channels in (("depth", 1), ("normals", 3), ("mask", 1), ("confidence", 1)):
            value = getattr(self, name)
            if value is not None and value.shape != (shape[0], channels, *shape[1:]):
                expected = (shape[0], channels, *shape[1:])
                raise ValueError(f"Estimate.{name} has shape {tuple(value.shape)}, expected {expected}")
        if self.intrinsics is not None and self.intrinsics.shape != (shape[0], 3, 3):
            raise ValueError(f"Estimate.intrinsics has shape {tuple(self.intrinsics.shape)}, expected {(shape[0], 3, 3)}")

    @property
    def _reference(self) -> Tensor:
        reference = self.depth if self.depth is not None else self.normals
        assert reference is not None
        if reference.ndim != 4:
            raise ValueError(f"an Estimate's maps are (B, C, H, W); found shape {tuple(reference.shape)}")
        return reference

    @property
    def batch(self) -> int:
        """Number of pictures."""
        return self._reference.shape[0]

    @property
    def height(self) -> int:
        """Height of the maps in pixels."""
        return self._reference.shape[2]

    @property
    def width(self) -> int:
        """Width of the maps in pixels."""
        return self._reference.shape[3]

    @property
    def device(self) -> torch.device:
        """Where the maps are."""
        return self._reference.device

    def to(self, device: torch.device | str) -> Estimate:
        """The same estimate on another device."""
        return self._map(lambda value: value.to(device))

    def resized(self, height: int, width: int, resampling: str = "bilinear") -> Estimate:
        """The estimate resampled to another size: values smoothly, mask nearest, normals made unit again, intrinsics scaled.

        Args:
            height: New height in pixels.
            width: New width in pixels.
            resampling: For depth, "bilinear" or "bicubic" (the latter never leaves the range of the map).

        Convention:
            Pixel centres, corners not aligned; the intrinsics follow the same mapping.
        """
        if (height, width) == (self.height, self.width):
            return self
        size = (height, width)

        def smooth(value: Tensor | None, mode: str = "bilinear") -> Tensor | None:
            if value is None:
                return None
            resampled = F.interpolate(value, size=size, mode=mode, align_corners=False)
            if mode == "bilinear":
                return resampled
            return torch.maximum(torch.minimum(resampled, value.amax((2, 3), keepdim=True)), value.amin((2, 3), keepdim=True))

        normals = smooth(self.normals)
        return replace(
            self,
            depth=smooth(self.depth, resampling),
            normals=None if normals is None else F.normalize(normals, dim=1),
            mask=None if self.mask is None else F.interpolate(self.mask.float(), size=size, mode="nearest-exact") > 0.5,
            intrinsics=None if self.intrinsics is None else resize_intrinsics(self.intrinsics, (self.height, self.width), size),
            confidence=smooth(self.confidence),
        )

    @staticmethod
    def cat(parts: Sequence[Estimate]) -> Estimate:
        """Joins estimates of the same kind and size along the batch.

        Raises:
            ValueError: Nothing to join, or the parts differ in quantity, axes or which maps they hold.
        """
        if not parts:
            raise ValueError("nothing to join: the list of estimates is empty")
        first = parts[0]
        if len(parts) == 1:
            return first
        kinds = {(p.quantity, p.axes, tuple(getattr(p, f.name) is None for f in fields(p))) for p in parts}
        if len(kinds) > 1:
            raise ValueError(f"estimates of different kinds cannot be joined: {sorted(str(kind[:2]) for kind in kinds)}")
        tensors = {
            f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(first) if isinstance(getattr(first, f.name), Tensor)
        }
        return replace(first, **tensors)

    def _map(self, function) -> Estimate:
        return replace(self, **{f.name: function(v) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)})
