"""Colours as pictures code them, and as light."""

from __future__ import annotations

import re

import torch
from torch import Tensor


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Coded sRGB in [0, 1], a tensor of any shape, as linear light in [0, 1].

    Source:
        IEC 61966-2-1.
    """
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Linear light in [0, 1], a tensor of any shape, as sRGB in [0, 1]: the inverse of `srgb_to_linear`."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def hex_to_linear(colour: str, name: str = "colour") -> tuple[float, float, float]:
    """A colour as a person writes it, as linear light.

    Args:
        colour: "#rrggbb" or "#rgb", sRGB.
        name: What the error calls it.

    Returns:
        Linear R, G, B in [0, 1].

    Raises:
        ValueError: Anything else.
    """
    digits = colour.strip().removeprefix("#") if isinstance(colour, str) else ""
    if not digits or not re.fullmatch("#(?:[0-9a-fA-F]{3}){1,2}", colour.strip()):
        raise ValueError(f"{name} is {colour!r}; accepted: # and six or three hexadecimal digits, such as #ffb46b or #fff")
    pairs = [digit * 2 for digit in digits] if len(digits) == 3 else [digits[start : start + 2] for start in (0, 2, 4)]
    red, green, blue = srgb_to_linear(torch.tensor([int(pair, 16) / 255 for pair in pairs], dtype=torch.float64)).tolist()
    return red, green, blue
