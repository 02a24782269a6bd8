"""Albedo without a model of materials: the light that a photograph's own trend and its relief explain is divided out."""

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

# The light's spread in shares of the shorter side; luminance and occlusion below these are noise.
_LIGHT, _DARK, _HIDDEN = 0.5, 0.005, 0.05
# The variance of normals, or of occlusion's logarithm, below which the relief is too flat to tell its light.
_FLAT = 1e-4


def uniform_materials(albedo: Tensor, roughness: float = ROUGHNESS) -> Materials:
    """One roughness everywhere, and no metal: one photograph tells neither (`benchmarks/simple_materials.py`).

    Args:
        albedo: (B, 3, H, W), sRGB in [0, 1].
        roughness: In [0, 1].
    """
    check_range("roughness", roughness, 0, 1)
    return Materials(albedo, torch.full_like(albedo[:, :1], roughness), torch.zeros_like(albedo[:, :1]))


def remove_light(image: Tensor, normals: Tensor, occlusion: Tensor, *, borders: str = FREE) -> Tensor:
    """The colours of a photographed material without the light that can be estimated from them.

    The logarithm of luminance is explained by three things, each as far as the photograph shows it: a trend across the whole photograph, as
    of a lamp to one side; the relief's occlusion, by at most its full amount; and the direction in which the normals are brighter. That is
    divided out of red, green and blue alike, so that hues stay, and so does the mean of the logarithm, the exposure. Cast shadows and
    highlights stay. Of a relief that was made of the photograph's own brightness no direction of light can be estimated.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1].
        normals: (B, 3, H, W) unit vectors, OPENGL axes, of the relief.
        occlusion: (B, 1, H, W) in [0, 1], 1 = open.
        borders: "free" or "seamless".

    Returns:
        (B, 3, H, W), sRGB in [0, 1].

    Raises:
        ValueError: Wrong shapes, an unknown word, or too many pixels.
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
    """The part of brightness (B, 1, H, W) that occlusion's logarithm and normals explain by least squares."""
    causes = torch.cat((hidden, lean), 1)
    causes = causes - causes.mean((2, 3), keepdim=True)
    flat = causes.flatten(2)
    count = flat.shape[-1]
    own = flat @ flat.mT / count + _FLAT * torch.eye(3, device=flat.device, dtype=flat.dtype)
    with_bright = flat @ (bright - bright.mean((2, 3), keepdim=True)).flatten(2).mT / count
    # The inverse of a matrix of 3 x 3 by the products of its rows: no device has to be asked whether there is one.
    first, second, third = own.unbind(1)
    inverse = torch.stack([torch.linalg.cross(*rows) for rows in ((second, third), (third, first), (first, second))], 1)
    shares = inverse @ with_bright / (first * inverse[:, 0]).sum(1).view(-1, 1, 1)
    shares = torch.cat((shares[:, :1].clamp(0, 1), shares[:, 1:]), 1)
    return (causes * shares.unsqueeze(-1)).sum(1, keepdim=True)
