"""Fine detail without the large shape, from normals or from a photograph's brightness."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_choice, check_map, check_range
from ..conventions import convert_normals, unit_normals
from ..images.srgb import luminance
from ..kinds import Axes
from .height import BORDERS, FREE, SEAMLESS, check_size, height_to_normals, known_normals
from .transforms import blurred, trend_where

MAX_RADIUS = 2048.0
MAX_RELIEF = 100.0

AUTO, HIGH, LOW = BRIGHT = ("auto", "high", "low")
"""What bright parts of a photograph are taken for: high, low, or what the pattern says (`bright_lines`)."""
BRIGHT_JOINTS = 0.16
"""The `bright_lines` from which bright lines are taken for joints between darker stones."""

# Finer than this is grain of the image.
_GRAIN = 0.7
# Joints are looked for at these widths, in shares of the shorter side and at least so many pixels, among this share of the pixels.
_JOINTS, _NARROWEST, _LINES = (0.0065, 0.0098, 0.0147, 0.022), 1.5, 0.05
# Darker than this, relative brightness is noise.
_DARK = 0.02


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
    base = unit_normals(trend_where(own, known.to(own.dtype), radius / 2, borders == SEAMLESS))
    facing = own.new_tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1)
    return torch.where(known, subtract_normals(own, base), facing)


def bright_lines(image: Tensor) -> Tensor:
    """How much stronger the bright lines of a photograph are than its dark ones.

    Stones, bricks and tiles are fields, and joints the lines between them: bright mortar is deep although it is bright, dark crevices are
    deep and dark. Where light falls from the side, each groove has a bright and a dark line beside one another; at coarse scales they
    cancel.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].

    Returns:
        (B,) natural logarithm of the ratio of both, at the width of lines where it is clearest: 0 = as strong; from `BRIGHT_JOINTS` on,
        bright lines are taken for joints.

    Source:
        T. Lindeberg, "Edge detection and ridge detection with automatic scale selection" (1998), for lines as curvature of brightness that
        is strong across and weak along them. The rest is ours; `benchmarks/relief_sign.py` measures it.
    """
    check_map(image, 3, "image")
    check_size(*image.shape[-2:])
    brightness = (luminance(image) + _DARK).log()
    shorter = min(image.shape[-2:])
    ratios = torch.stack([_line_ratio(brightness, max(_NARROWEST, share * shorter)) for share in _JOINTS])
    return ratios.gather(0, ratios.abs().argmax(0, keepdim=True))[0]


def _line_ratio(brightness: Tensor, width: float) -> Tensor:
    smooth = F.pad(blurred(brightness, width, False), (1, 1, 1, 1), mode="replicate")
    middle = smooth[..., 1:-1, 1:-1]
    across = smooth[..., 1:-1, 2:] + smooth[..., 1:-1, :-2] - 2 * middle
    down = smooth[..., 2:, 1:-1] + smooth[..., :-2, 1:-1] - 2 * middle
    mixed = (smooth[..., 2:, 2:] + smooth[..., :-2, :-2] - smooth[..., 2:, :-2] - smooth[..., :-2, 2:]) / 4
    mean, spread = (across + down) / 2, ((across - down).square() / 4 + mixed.square()).sqrt()
    least, greatest = mean - spread, mean + spread
    bright, dark = (-least - 2 * greatest.abs()).clamp(min=0), (greatest - 2 * least.abs()).clamp(min=0)
    count = max(1, int(_LINES * bright[0].numel()))
    strengths = [lines.flatten(1).topk(count).values.mean(1) + 1e-6 for lines in (bright, dark)]
    return (strengths[0] / strengths[1]).log()


def photo_relief(image: Tensor, *, radius: float = 32.0, borders: str = FREE, bright: str = AUTO) -> Tensor:
    """The relief that light and dark of a photograph suggest: dark is deep, as in pores and weaves, or bright is, as in mortar.

    That is a guess: paint is taken for relief, and a light from the side is not seen as such. What is wider than the radius counts as light
    or paint and is left out; so does the overall contrast: each image's relief is measured by its own standard deviation.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].
        radius: Shapes wider than this many pixels are left out.
        borders: "free" or "seamless".
        bright: One of `BRIGHT`; "auto" is low for each image whose bright lines are the stronger ones (`bright_lines`), else high.

    Returns:
        (B, 1, H, W), larger = nearer, mean 0, standard deviation 1 (0 where the image is all of one brightness).
    """
    check_map(image, 3, "image")
    check_size(*image.shape[-2:])
    check_choice("borders", borders, BORDERS)
    check_choice("bright", bright, BRIGHT)
    check_range("radius", radius, 1, MAX_RADIUS)
    brightness = luminance(image)
    seamless = borders == SEAMLESS
    fine = blurred(brightness, _GRAIN, seamless) - blurred(brightness, radius / 2, seamless)
    fine = fine - fine.mean((2, 3), keepdim=True)
    spread = fine.square().mean((2, 3), keepdim=True).sqrt()
    # Highlights and single dark spots are no mountains.
    relief = torch.where(spread > 1e-4, fine / spread.clamp(min=1e-4), 0).clamp(-3, 3)
    if bright == AUTO:
        return torch.where((bright_lines(image) >= BRIGHT_JOINTS).view(-1, 1, 1, 1), -relief, relief)
    return relief if bright == HIGH else -relief


def photo_normals(image: Tensor, *, radius: float = 32.0, relief: float = 1.0, borders: str = FREE, bright: str = AUTO) -> Tensor:
    """Normals of `photo_relief`.

    Args:
        image: (B, 3, H, W), RGB in [0, 1].
        radius: As `photo_relief`.
        relief: How many pixels high one standard deviation of brightness is taken to be; negative turns it inside out, and "auto" is high.
        borders: "free" or "seamless".
        bright: As `photo_relief`.

    Returns:
        (B, 3, H, W) unit vectors, OPENGL axes.
    """
    check_range("relief", relief, -MAX_RELIEF, MAX_RELIEF)
    bright = HIGH if bright == AUTO and relief < 0 else bright
    return height_to_normals(photo_relief(image, radius=radius, borders=borders, bright=bright) * relief, borders=borders)
