"""`Materials`: albedo, roughness and metallic of a batch of images, the maps that game engines read, and albedo without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...options.checks import check_range
from ...options.textures import ROUGHNESS
from ...utils import resize_map, without_autocast
from ..checks import check_map
from ..filters.transforms import trend_where
from ..images.srgb import linear_to_srgb, luminance, srgb_to_linear
from .height import FREE, SEAMLESS, check_maps
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
        """Concatenates parts of one size and `total` images, else ValueError; each is copied to its place before the next is computed."""
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
    """Packs occlusion, roughness and metallic (B, 1, H, W) into red, green and blue, as glTF, Unreal and Godot read them.

    Raises ValueError: the maps differ in shape, or are not (B, 1, H, W).
    """
    shapes = [tuple(each.shape) for each in (occlusion, roughness, metallic)]
    if len(set(shapes)) > 1 or shapes[0][1] != 1:
        raise ValueError(f"occlusion, roughness and metallic must be (B, 1, H, W) of one size; found {', '.join(map(str, shapes))}")
    return torch.cat((occlusion, roughness, metallic), 1)


# Scale of the trend as a share of the shorter side; floors of luminance (added) and occlusion (clamped) against noise.
_LIGHT, _DARK, _HIDDEN = 0.5, 0.005, 0.05
# Ridge on the variances of normals and of log occlusion: a flatter relief says too little about its light.
_FLAT = 1e-4


def uniform_materials(albedo: Tensor, roughness: float = ROUGHNESS) -> Materials:
    """Materials of an albedo (B, 3, H, W) sRGB with constant roughness and no metal.

    One photograph determines neither (`benchmarks/simple_materials.py`).
    """
    check_range("roughness", roughness, 0, 1)
    return Materials(albedo, torch.full_like(albedo[:, :1], roughness), torch.zeros_like(albedo[:, :1]))


def remove_light(image: Tensor, normals: Tensor, occlusion: Tensor, *, borders: str = FREE) -> Tensor:
    """Removes estimated shading from a photographed material, sRGB (B, 3, H, W) in [0, 1].

    Log luminance is fitted by three terms: a trend across the photograph, such as from a lamp to one side; the relief's log occlusion, with
    a factor in [0, 1]; and the normals' x and y. Red, green and blue are divided by the same fit, which keeps hues and exposure (the mean
    log). Cast shadows and highlights stay. A relief computed from the photograph's own brightness does not reveal the direction of light.
    Raises ValueError: wrong shapes, unknown borders, or too many pixels.

    Args:
        normals: (B, 3, H, W) unit vectors, OPENGL axes, of the relief.
        occlusion: (B, 1, H, W) in [0, 1], 1 = open.
        borders: "free" or "seamless".
    """
    check_maps(image, 3, "image", borders)
    check_map(normals, 3, "normals", like=image)
    check_map(occlusion, 1, "occlusion", like=image)
    light = srgb_to_linear(image)
    bright = (luminance(light) + _DARK).log()
    trend = trend_where(bright, torch.ones_like(bright), _LIGHT * min(image.shape[-2:]), borders == SEAMLESS)
    shade = _explained(bright - trend, occlusion.clamp(min=_HIDDEN).log(), normals[:, :2])
    lightness = trend + shade
    return linear_to_srgb((light * (lightness.mean((2, 3), keepdim=True) - lightness).exp()).clamp(0, 1))


@without_autocast
def _explained(bright: Tensor, hidden: Tensor, lean: Tensor) -> Tensor:
    """The least-squares fit of brightness (B, 1, H, W) by log occlusion and the normals' x and y."""
    causes = torch.cat((hidden, lean), 1)
    causes = causes - causes.mean((2, 3), keepdim=True)
    flat = causes.flatten(2)
    count = flat.shape[-1]
    own = flat @ flat.mT / count + _FLAT * torch.eye(3, device=flat.device, dtype=flat.dtype)
    with_bright = flat @ (bright - bright.mean((2, 3), keepdim=True)).flatten(2).mT / count
    # Inverts the 3 x 3 matrix by cross products: `torch.linalg.inv` synchronises to check for singularity.
    first, second, third = own.unbind(1)
    inverse = torch.stack([torch.linalg.cross(*rows) for rows in ((second, third), (third, first), (first, second))], 1)
    shares = inverse @ with_bright / (first * inverse[:, 0]).sum(1).view(-1, 1, 1)
    shares = torch.cat((shares[:, :1].clamp(0, 1), shares[:, 1:]), 1)
    return (causes * shares.unsqueeze(-1)).sum(1, keepdim=True)
