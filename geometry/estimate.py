"""`Estimate`: depth, normals, camera and mask of a batch of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from types import EllipsisType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import resize_map, to_cpu
from .camera import resize_intrinsics, scaled_intrinsics
from .conventions import unit_normals
from .kinds import Axes, Projection, Quantity
from .valid import are_all, valid_depth, valid_normals

_BESIDE = 4
"""Minimum number of columns that resampling a panorama needs from the opposite border."""


@dataclass(frozen=True)
class Estimate:
    """Depth and/or normals of a batch of images.

    Attributes:
        depth: (B, 1, H, W) float32, in the unit that `quantity` names.
        quantity: What `depth` holds, a member or its value; set exactly when `depth` is.
        normals: (B, 3, H, W) float32 unit vectors.
        axes: The camera axes of `normals`.
        mask: (B, 1, H, W) bool, False for sky and holes; None = True everywhere. `valid` also excludes pixels without a value.
        intrinsics: (B, 3, 3) float32, in pixels of this size, centre of the first pixel = (0, 0).
        confidence: (B, 1, H, W) float32, larger = more certain; the scale depends on the model.
        extrinsics: (B, 3, 4) float32 [R | t] from the world to each camera, where the images are views of one scene: `R @ point + t` is
            in the camera's OPENCV axes and in the unit of `depth`. None = the relative poses are unknown.
        projection: Of all images. A panorama's depth is the distance along each pixel's ray; it has no intrinsics and no extrinsics.

    Raises:
        ValueError: A map has the wrong rank, number of channels or dtype, or is empty; the maps differ in batch or size; a
            panorama has a pinhole camera; or a kind is unknown.
    """

    depth: Tensor | None = None
    quantity: Quantity | None = None
    normals: Tensor | None = None
    axes: Axes = Axes.OPENGL
    mask: Tensor | None = None
    intrinsics: Tensor | None = None
    confidence: Tensor | None = None
    extrinsics: Tensor | None = None
    projection: Projection = Projection.PERSPECTIVE

    def __post_init__(self) -> None:
        for name, kind in (("quantity", Quantity), ("axes", Axes), ("projection", Projection)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, kind(value))  # everything else compares members, which a text never is
        if self.depth is None and self.normals is None:
            raise ValueError("an Estimate needs depth, normals or both; found neither")
        if (self.depth is None) != (self.quantity is None):
            raise ValueError(f"depth and its quantity go together; found depth {self.depth is not None}, quantity {self.quantity}")
        batch, *size = shape = (self.batch, self.height, self.width)
        sizes = {name: (channels, *size) for name, channels in (("depth", 1), ("normals", 3), ("mask", 1), ("confidence", 1))}
        for name, expected in (sizes | {"intrinsics": (3, 3), "extrinsics": (3, 4)}).items():
            value = getattr(self, name)
            if value is not None and value.shape != (batch, *expected):
                raise ValueError(f"Estimate.{name} has shape {tuple(value.shape)}, expected {(batch, *expected)}")
        if self.projection is not Projection.PERSPECTIVE and not (self.intrinsics is None and self.extrinsics is None):
            raise ValueError(
                f"an Estimate of {self.projection.value} images has intrinsics or extrinsics, which are a pinhole camera's; leave out the "
                "field of view or the camera"
            )
        if 0 in shape:
            raise ValueError(f"an Estimate of {shape[0]} images of {shape[2]}x{shape[1]} pixels is empty; give at least one of one pixel")
        for name in ("depth", "normals", "intrinsics", "confidence", "extrinsics"):
            value = getattr(self, name)
            if value is not None and not value.is_floating_point():
                raise ValueError(f"Estimate.{name} has dtype {value.dtype}, expected floating point; convert it with .float()")
        if self.mask is not None and self.mask.dtype != torch.bool:
            raise ValueError(f"Estimate.mask has dtype {self.mask.dtype}, expected torch.bool; compare it, as in mask > 0.5")

    @property
    def _reference(self) -> Tensor:
        reference = self.depth if self.depth is not None else self.normals
        assert reference is not None
        if reference.ndim != 4:
            raise ValueError(f"an Estimate's maps are (B, C, H, W); found shape {tuple(reference.shape)}")
        return reference

    @property
    def batch(self) -> int:
        """Number of images."""
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
        """The device of the maps."""
        return self._reference.device

    @property
    def valid(self) -> Tensor:
        """The pixels where all maps are valid: (B, 1, H, W) bool.

        For code that needs depth and normals at a pixel (meshes, light, comparisons). Code that needs one of them uses `depth_valid`
        (finite, unmasked and, if metric, positive) or `normals_valid` (finite, unmasked, not zero), so that gaps of the other do not count.
        """
        known = [valid for valid in (self.depth_valid, self.normals_valid) if valid is not None]
        return known[0] if len(known) == 1 else known[0] & known[1]

    @property
    def depth_valid(self) -> Tensor | None:
        """The pixels with a valid depth: (B, 1, H, W) bool; None without depth."""
        return None if self.depth is None or self.quantity is None else valid_depth(self.depth, self.quantity, self.mask)

    @property
    def normals_valid(self) -> Tensor | None:
        """The pixels with valid normals: (B, 1, H, W) bool; None without normals."""
        return None if self.normals is None else valid_normals(self.normals, self.mask)

    @property
    def maps(self) -> dict[str, Tensor]:
        """All tensors by name, including intrinsics and extrinsics."""
        return {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), Tensor)}

    def __repr__(self) -> str:
        """Shapes and ranges, such as "Estimate(depth (1, 1, 480, 640) metric_depth 1.2 to 8.4, ...)"."""
        parts = []
        for name, values in self.maps.items():
            kind = {"depth": self.quantity, "normals": self.axes}.get(name)
            words = [name, str(tuple(values.shape)), *([kind.value] if kind else [])]
            if name == "depth" and self.depth_valid is not None and (seen := values[self.depth_valid]).numel():
                words.append(f"{seen.min().item():.4g} to {seen.max().item():.4g}")
            parts.append(" ".join(words))
        return f"Estimate({', '.join(parts)}{'' if self.projection is Projection.PERSPECTIVE else f', {self.projection.value}'})"

    def slice(self, start: int, stop: int) -> Estimate:
        """Images `start` to `stop` (exclusive), sharing memory."""
        return self._map(lambda value: value[start:stop])

    def split(self) -> Iterator[Estimate]:
        """One estimate per image, sharing memory."""
        return (self.slice(index, index + 1) for index in range(self.batch))

    def known_depth(self) -> tuple[Tensor, Quantity, Tensor]:
        """`depth`, `quantity` and `depth_valid`, for callers that need depth. Raises ValueError if there are only normals."""
        if self.depth is None or self.quantity is None:
            raise ValueError("there are normals but no depth, and depth is needed here; use a model that gives depth")
        return self.depth, self.quantity, valid_depth(self.depth, self.quantity, self.mask)

    def to(self, device: torch.device | str, *, copy: bool = False) -> Estimate:
        """The same estimate on another device; on its own it shares memory, unless `copy`."""
        if torch.device(device).type == "cpu" and self.device.type != "cpu":
            return replace(self, **to_cpu(self.maps))
        return self._map(lambda value: value.to(device, copy=copy))

    def in_float32(self) -> Estimate:
        """Converts to float32; returns itself if it already is."""
        if all(value.dtype in (torch.float32, torch.bool) for value in self.maps.values()):
            return self
        return self._map(lambda value: value.float() if value.is_floating_point() else value)

    def where_known(self, known: Tensor | None) -> Estimate:
        """Removes the values where `known`, (B or 1, 1, H, W) bool, is False; None = keeps all.

        The mask is left alone: it also marks predicted sky, whereas a pixel without a value is just unknown.
        """
        if known is None:
            return self
        known = known.to(self.device)
        depth = None if self.depth is None else torch.where(known, self.depth, torch.nan)
        normals = None if self.normals is None else torch.where(known, self.normals, 0)
        return replace(self, depth=depth, normals=normals)

    def expanded(self, batch: int) -> Estimate:
        """Repeats an estimate of one image `batch` times, sharing memory. Raises ValueError if it holds more than one."""
        if self.batch != 1:
            raise ValueError(f"an estimate of {self.batch} images cannot stand for {batch}; expected one of a single image")
        return self._map(lambda value: value.expand(batch, *value.shape[1:]))

    def resized(self, height: int, width: int, resampling: str = "bilinear", *, checked: bool = False) -> Estimate:
        """Resamples to another size: area average along axes that shrink, interpolation along axes that grow.

        Invalid pixels do not contribute to valid ones. A new pixel is valid if at least half of its weight comes from valid old ones.
        An invalid pixel takes the nearest old value, or NaN if that value would make it valid.
        Normals are renormalised (facing the viewer where opposite ones cancel), intrinsics scaled. Pixel centres, corners not aligned.
        Raises ValueError: a side below 1.

        Args:
            height, width: New size in pixels.
            resampling: For depth where it grows, "bilinear" or "bicubic" (clamped to the range of the map).
            checked: All unmasked pixels are known to be valid and the intrinsics to be a camera's, as in a model's fresh output. Avoids
                synchronising a GPU.
        """
        if min(height, width) < 1:
            raise ValueError(f"an estimate cannot be resized to {width}x{height} pixels; at least 1x1 is needed")
        if (height, width) == (self.height, self.width):
            return self
        if self.projection is Projection.EQUIRECTANGULAR and width != self.width:
            return self._resized_around(height, width, resampling)
        size = (height, width)
        # One synchronisation costs less than treating every map as one with holes.
        trusted = checked and self.device.type != "cpu"
        valid = None if trusted and self.mask is None else self.valid
        # For which values of "valid everywhere" there are images.
        without_holes = {True} if valid is None or are_all(valid) else set(valid.flatten(1).all(1).tolist())
        if len(without_holes) > 1:
            # Image by image, so that each result is bit-identical whatever else is in the batch.
            return Estimate.cat((each.resized(height, width, resampling, checked=checked) for each in self.split()), self.batch)
        mask, intrinsics, scaled = self.mask, self.intrinsics, scaled_intrinsics if trusted else resize_intrinsics
        if without_holes == {True}:
            mask = None if mask is None else mask.new_ones(self.batch, 1, *size)
            depth = None if self.depth is None else _resized_whole(self.depth, size, resampling)
            normals = None if self.normals is None else unit_normals(resize_map(self.normals, *size), self.axes)
            confidence = None if self.confidence is None else _resized_whole(self.confidence, size)
        else:
            mask = None if mask is None else _resized_mask(mask, size)
            depth, normals, confidence = self._maps_with_holes(size, resampling, mask)
        return replace(
            self,
            depth=depth,
            normals=normals,
            mask=mask,
            intrinsics=None if intrinsics is None else scaled(intrinsics, (self.height, self.width), size),
            confidence=confidence,
        )

    def _resized_around(self, height: int, width: int, resampling: str) -> Estimate:
        """Resamples a panorama to another width, wrapping around its left and right borders."""
        step = self.width // math.gcd(self.width, width)  # the smallest number of columns that maps to a whole number of columns
        beside = min(self.width, step * math.ceil(_BESIDE / step))
        added = beside * width // self.width
        wide = replace(self, projection=Projection.PERSPECTIVE)._map(lambda x: torch.cat((x[..., -beside:], x, x[..., :beside]), -1))
        resized = wide.resized(height, width + 2 * added, resampling)._map(lambda x: x[..., added : added + width].contiguous())
        return replace(resized, projection=self.projection)

    def _maps_with_holes(
        self, size: tuple[int, int], resampling: str, mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Depth, normals and confidence at another size; `mask` is the resampled one."""
        depth, normals, confidence = self.depth, self.normals, self.confidence
        if depth is not None:
            depth, quantity, valid = self.known_depth()
            mean, usable, nearest = _resized_with_holes(depth, valid, size, resampling)
            # The mask is resampled separately and may be True at a pixel that was masked before.
            depth = torch.where(usable, mean, nearest.masked_fill(valid_depth(nearest, quantity, mask), torch.nan))
        if normals is not None:
            mean, usable, nearest = _resized_with_holes(normals, valid_normals(normals, self.mask), size)
            nearest = nearest.masked_fill(valid_normals(nearest, mask), torch.nan)
            normals = torch.where(usable, unit_normals(mean, self.axes), nearest)
        if confidence is not None:
            mean, usable, nearest = _resized_with_holes(confidence, self.valid, size)
            confidence = torch.where(usable, mean, nearest)
        return depth, normals, confidence

    @staticmethod
    def cat(parts: Iterable[Estimate], total: int | None = None, device: torch.device | str | None = None) -> Estimate:
        """Concatenates estimates along the batch.

        Parts may lack a mask, which means True everywhere; all other maps must be in all parts. Extrinsics are concatenated
        unchanged: parts of one scene share its world.

        Args:
            parts: Estimates of one or more images each, of one kind and size. Each is copied before the next one is requested, so a
                generator holds the batch in memory only once.
            total: Number of images of all parts; None = counted, which keeps all parts in memory.
            device: Device of the result; None = the first part's.

        Raises:
            ValueError: No parts, more or fewer images than `total`, or parts that differ in size, quantity, the
                axes of their normals, or which maps they hold (masks aside).
        """
        if total is None:
            parts = tuple(parts)
            total = sum(part.batch for part in parts)
        kind: _Kind | None = None
        maps: dict[str, Tensor] = {}
        undivided, filled = None, 0
        for part in parts:
            own = _Kind.of(part)
            kind, device = kind or own, device or part.device
            if own != kind:
                raise ValueError(
                    f"estimates of different kinds cannot be joined: the first is {kind}, another {own}; "
                    "expected one size, quantity, axes, projection and set of maps"
                )
            start, filled = filled, filled + part.batch
            if filled > total:
                raise ValueError(f"there are {filled} estimates to join, or more; expected {total}, one for each image")
            if part.batch == total:
                undivided = part.to(device)
                continue
            for name, value in part.maps.items():
                if name not in maps:
                    # Images without a mask leave it True. Every row of the other maps is written, as all parts have them.
                    maps[name] = (value.new_ones if name == "mask" else value.new_empty)((total, *value.shape[1:]), device=device)
                maps[name] = maps[name].to(torch.promote_types(maps[name].dtype, value.dtype))
                maps[name][start:filled] = value
        if kind is None:
            raise ValueError("nothing to join: the list of estimates is empty")
        if filled < total:
            raise ValueError(f"there are {filled} estimates to join; expected {total}, one for each image")
        return undivided or Estimate(quantity=kind.quantity, axes=kind.axes or Axes.OPENGL, projection=kind.projection, **maps)

    def cut(self, window: tuple[EllipsisType, slice, slice]) -> Estimate:
        """Crops the maps to a window of rows and columns and drops the camera."""
        return replace(self, intrinsics=None, extrinsics=None)._map(lambda each: each[window])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        return replace(self, **{name: function(value) for name, value in self.maps.items()})


class _Kind(NamedTuple):
    """Properties that all parts of a batch share. Masks are not among them: none means True everywhere."""

    quantity: Quantity | None
    axes: Axes | None
    maps: tuple[str, ...]
    size: tuple[int, int]
    projection: Projection

    @classmethod
    def of(cls, part: Estimate) -> _Kind:
        maps = tuple(name for name in part.maps if name != "mask")
        return cls(part.quantity, None if part.normals is None else part.axes, maps, (part.height, part.width), part.projection)

    def __str__(self) -> str:
        words = (*(each.value for each in (self.quantity, self.axes) if each is not None), *self.maps)
        words = words if self.projection is Projection.PERSPECTIVE else (self.projection.value, *words)
        return f"{' '.join(words)} of {self.size[1]}x{self.size[0]} pixels"


def _resized_whole(values: Tensor, size: tuple[int, int], growing: str = "bilinear") -> Tensor:
    # Clamps the overshoot of "bicubic" and rounding. Both ends together take a CPU three times as long.
    if values.device.type != "cpu":
        low, high = values.flatten(2).aminmax(dim=2)
        return resize_map(values, *size, growing).clamp_(low[..., None, None], high[..., None, None])
    return resize_map(values, *size, growing).clamp_min_(values.amin((2, 3), keepdim=True)).clamp_max_(values.amax((2, 3), keepdim=True))


def _resized_with_holes(values: Tensor, valid: Tensor, size: tuple[int, int], growing: str = "bilinear") -> tuple[Tensor, Tensor, Tensor]:
    """The weighted mean of valid pixels, where it is valid, and the nearest old values for the other pixels.

    Near holes the mean is bilinear, whose weights are all positive.
    """
    filled, weight = values.where(valid, 0), valid.to(values)
    mean = resize_map(filled, *size) / resize_map(weight, *size)
    if growing != "bilinear":
        inside = resize_map(weight, *size, growing)
        mean = torch.where(inside > 0.5, resize_map(filled, *size, growing) / inside, mean)
    low = values.where(valid, torch.inf).amin((2, 3), keepdim=True)
    high = values.where(valid, -torch.inf).amax((2, 3), keepdim=True)
    return mean.clamp(low, high), _resized_mask(valid, size), F.interpolate(values, size=size, mode="nearest-exact")


def _resized_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_map(mask.float(), *size) >= 0.499  # a half, however it is rounded
