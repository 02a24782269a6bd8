"""Fine detail without the large shape, from normals or from a photograph's brightness."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_choice, check_map, check_range
from ..conventions import convert_normals, unit_normals
from ..kinds import Axes
from .height import BORDERS, FREE, SEAMLESS, check_size, height_to_normals, known_normals
from .transforms import blurred, blurred_where

MAX_RADIUS = 2048.0
MAX_RELIEF = 100.0

_LUMINANCE = (0.2126, 0.7152, 0.0722)
# Finer than this is grain of the image.
_GRAIN = 0.7


def subtract_normals(normals: Tensor, base: Tensor) -> Tensor:
    """The detail that `conventions.blend_normals` lays on a base to give these normals: its exact inverse.

    Args:
        normals: (B, 3, H, W) unit vectors, OPENGL axes.
        base: The same, of the large shape.

    Returns:
        (B, 3, H, W) unit vectors as seen from the base: (0, 0, 1) where both are the same.

    Raises:
        ValueError: Shapes that are not (B, 3, H, W) or not the same.
    """
    check_map(normals, 3, "normals")
    check_map(base, 3, "base", like=normals)
    # Reoriented normal mapping mirrors the detail's opposite at t; so does the way back.
    x, y, z = base.split(1, 1)
    t = torch.cat((x, y, (z + 1).clamp(min=1e-6)), 1)
    mirrored = t * ((t * normals).sum(1, keepdim=True) * 2 / (t * t).sum(1, keepdim=True)) - normals
    return unit_normals(mirrored * normals.new_tensor((-1.0, -1.0, 1.0)).view(1, 3, 1, 1))


def detail_normals(
    normals: Tensor, axes: Axes | str = Axes.OPENGL, *, radius: float = 32.0, weight: Tensor | None = None, borders: str = FREE
) -> Tensor:
    """Normals of what is finer than a radius, measured from the larger shape as if that were flat.

    Args:
        normals: (B, 3, H, W) unit vectors.
        radius: Shapes wider than this many pixels are taken out.
        weight: (B, 1, H, W) bool, where they can be trusted; None = wherever they have a direction.
        borders: "free" or "seamless".

    Returns:
        (B, 3, H, W) unit vectors, OPENGL axes; (0, 0, 1) where there is no normal.
    """
    check_range("radius", radius, 1, MAX_RADIUS)
    known = known_normals(normals, weight, borders)
    own = unit_normals(convert_normals(torch.where(known, normals, 0), axes, Axes.OPENGL))
    base = unit_normals(blurred_where(own, known.to(own.dtype), radius / 2, borders == SEAMLESS))
    facing = own.new_tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1)
    return torch.where(known, subtract_normals(own, base), facing)


def photo_relief(image: Tensor, *, radius: float = 32.0, borders: str = FREE) -> Tensor:
    """The relief that light and dark of a photograph suggest: dark is deep, as in joints, pores and weaves.

    That is a guess: paint is taken for relief, and a light from the side is not seen as such. What is wider than the radius counts as light
    or paint and is left out; so does the overall contrast: each image's relief is measured by its own standard deviation.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].
        radius: Shapes wider than this many pixels are left out.
        borders: "free" or "seamless".

    Returns:
        (B, 1, H, W), larger = nearer, mean 0, standard deviation 1 (0 where the image is all of one brightness).
    """
    check_map(image, 3, "image")
    check_size(*image.shape[-2:])
    check_choice("borders", borders, BORDERS)
    check_range("radius", radius, 1, MAX_RADIUS)
    luminance = (image * image.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    seamless = borders == SEAMLESS
    fine = blurred(luminance, _GRAIN, seamless) - blurred(luminance, radius / 2, seamless)
    fine = fine - fine.mean((2, 3), keepdim=True)
    spread = fine.square().mean((2, 3), keepdim=True).sqrt()
    # Highlights and single dark spots are no mountains.
    return torch.where(spread > 1e-4, fine / spread.clamp(min=1e-4), 0).clamp(-3, 3)


def photo_normals(image: Tensor, *, radius: float = 32.0, relief: float = 1.0, borders: str = FREE) -> Tensor:
    """Normals of `photo_relief`.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].
        radius: As `photo_relief`.
        relief: How many pixels high one standard deviation of brightness is taken to be.
        borders: "free" or "seamless".

    Returns:
        (B, 3, H, W) unit vectors, OPENGL axes.
    """
    check_range("relief", relief, -MAX_RELIEF, MAX_RELIEF)
    return height_to_normals(photo_relief(image, radius=radius, borders=borders) * relief, borders=borders)
