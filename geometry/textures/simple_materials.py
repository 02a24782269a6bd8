"""Albedo without a network: divides out the light that a photograph's trend and its relief explain."""

from __future__ import annotations

import torch
from torch import Tensor

from ...options.checks import check_choice, check_range
from ...options.textures import ROUGHNESS
from ...utils import without_autocast
from ..checks import check_map
from ..filters.transforms import trend_where
from ..images.srgb import linear_to_srgb, luminance, srgb_to_linear
from .height import BORDERS, FREE, SEAMLESS, check_size
from .materials import Materials

# Scale of the trend as a share of the shorter side; floors of luminance (added) and occlusion (clamped) against noise.
_LIGHT, _DARK, _HIDDEN = 0.5, 0.005, 0.05
# Ridge on the variances of normals and of log occlusion: a flatter relief says too little about its light.
_FLAT = 1e-4


def uniform_materials(albedo: Tensor, roughness: float = ROUGHNESS) -> Materials:
    """Materials with constant roughness and no metal, as one photograph determines neither (`benchmarks/simple_materials.py`).

    Args:
        albedo: (B, 3, H, W), sRGB in [0, 1].
        roughness: In [0, 1].
    """
    check_range("roughness", roughness, 0, 1)
    return Materials(albedo, torch.full_like(albedo[:, :1], roughness), torch.zeros_like(albedo[:, :1]))


def remove_light(image: Tensor, normals: Tensor, occlusion: Tensor, *, borders: str = FREE) -> Tensor:
    """Removes estimated shading from a photographed material.

    Log luminance is fitted by three terms: a trend across the photograph, such as from a lamp to one side; the relief's log occlusion, with
    a factor in [0, 1]; and the normals' x and y. Red, green and blue are divided by the same fit, which keeps hues and exposure (the mean
    log). Cast shadows and highlights stay. A relief computed from the photograph's own brightness does not reveal the direction of light.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1].
        normals: (B, 3, H, W) unit vectors, OPENGL axes, of the relief.
        occlusion: (B, 1, H, W) in [0, 1], 1 = open.
        borders: "free" or "seamless".

    Returns:
        (B, 3, H, W), sRGB in [0, 1].

    Raises:
        ValueError: Wrong shapes, unknown borders, or too many pixels.
    """
    check_map(image, 3, "image")
    check_size(*image.shape[-2:])
    check_map(normals, 3, "normals", like=image)
    check_map(occlusion, 1, "occlusion", like=image)
    check_choice("borders", borders, BORDERS)
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
