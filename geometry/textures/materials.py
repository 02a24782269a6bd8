"""`Materials`: albedo, roughness and metallic of a batch of images, and the maps that game engines read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...utils import resize_map
from .seamless import folded

AUTHORS_GAMMA = 2.2
"""The exponent with which Marigold's authors and their training maps encode linear values."""


@dataclass(frozen=True)
class Materials:
    """Materials of surfaces in the metallic-roughness model of glTF, Blender and game engines.

    Attributes:
        albedo: (B, 3, H, W) float in [0, 1], sRGB: the colour without lighting; for metals, the colour of their reflection.
        roughness: (B, 1, H, W) float in [0, 1], linear, 0 = a mirror.
        metallic: (B, 1, H, W) float in [0, 1], linear, 1 = metal.

    Raises:
        ValueError: A map has the wrong number of channels, or the maps do not agree in batch and size.
    """

    albedo: Tensor
    roughness: Tensor
    metallic: Tensor

    def __post_init__(self) -> None:
        batch, _, height, width = self.albedo.shape
        for name, channels in (("albedo", 3), ("roughness", 1), ("metallic", 1)):
            value, expected = getattr(self, name), (batch, channels, height, width)
            if value.shape != expected:
                raise ValueError(f"Materials.{name} has shape {tuple(value.shape)}, expected {expected}")

    @property
    def batch(self) -> int:
        """Number of images."""
        return self.albedo.shape[0]

    @property
    def maps(self) -> dict[str, Tensor]:
        """The maps by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> Materials:
        """The same maps on another device."""
        return self._map(lambda value: value.to(device))

    def resized(self, height: int, width: int) -> Materials:
        """The maps resampled to another size: averages where an axis shrinks, linear where it grows."""
        return self._map(lambda value: resize_map(value, height, width))

    def folded(self, margin: tuple[int, int]) -> Materials:
        """Converts the maps of `seamless.wrap(image, margin)` to maps of the image, whose opposite borders continue each other."""
        return self._map(lambda value: folded(value, margin))

    @staticmethod
    def cat(parts: Iterable[Materials], total: int, device: torch.device | str) -> Materials:
        """Concatenates parts of one size along the batch; each is copied to its place before the next one is computed.

        Args:
            parts: Materials of one or more images each.
            total: Total number of images.
            device: Device of the result.

        Raises:
            ValueError: The parts hold more or fewer images than `total`.
        """
        whole: dict[str, Tensor] = {}
        done = 0
        for part in parts:
            if done + part.batch > total:
                raise ValueError(f"there are materials of {done + part.batch} images to join, or more; expected {total}")
            whole = whole or {name: value.new_empty((total, *value.shape[1:]), device=device) for name, value in part.maps.items()}
            for name, value in part.maps.items():
                whole[name][done : done + part.batch] = value
            done += part.batch
        if done < total or not whole:
            raise ValueError(f"there are materials of {done} images to join; expected {total}, one for each image")
        return Materials(**whole)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Materials:
        return Materials(**{name: function(value) for name, value in self.maps.items()})


def gamma_to_linear(values: Tensor) -> Tensor:
    """Decodes values in [0, 1] from `AUTHORS_GAMMA` to linear.

    Source:
        `img_srgb2linear` of prs-eth/Marigold, by which its evaluation decodes roughness and metallicity.
    """
    return values.clamp(0, 1) ** AUTHORS_GAMMA


def pack_orm(occlusion: Tensor, roughness: Tensor, metallic: Tensor) -> Tensor:
    """Packs three maps into the channels of one, as glTF, Unreal and Godot read them.

    Args:
        occlusion: (B, 1, H, W) in [0, 1], linear, 1 = open.
        roughness: (B, 1, H, W) in [0, 1], linear.
        metallic: (B, 1, H, W) in [0, 1], linear.

    Returns:
        (B, 3, H, W): occlusion in red, roughness in green, metallic in blue.

    Raises:
        ValueError: The maps differ in shape, or are not (B, 1, H, W).
    """
    shapes = [tuple(each.shape) for each in (occlusion, roughness, metallic)]
    if len(set(shapes)) > 1 or shapes[0][1] != 1:
        raise ValueError(f"occlusion, roughness and metallic must be (B, 1, H, W) of one size; found {', '.join(map(str, shapes))}")
    return torch.cat((occlusion, roughness, metallic), 1)
