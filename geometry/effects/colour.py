"""Colours as people write them."""

from __future__ import annotations

import re

import torch

from ..srgb import srgb_to_linear


def linear_colour(text: str) -> tuple[float, float, float]:
    """A colour as linear R, G and B.

    Args:
        text: "#rrggbb", sRGB.

    Raises:
        ValueError: Anything else.
    """
    if not isinstance(text, str) or not re.fullmatch("#[0-9a-fA-F]{6}", text.strip()):
        raise ValueError(f"the colour is {text!r}; accepted: # and six hexadecimal digits, such as #ffb46b")
    levels = torch.tensor([int(text.strip()[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    red, green, blue = srgb_to_linear(levels).tolist()
    return red, green, blue
