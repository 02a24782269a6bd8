"""sRGB to linear light and back."""

from __future__ import annotations

import re

import torch
from torch import Tensor

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""The shares of red, green and blue in the luminance of linear light (ITU-R BT.709)."""

# Pickers add two digits of opacity, which a colour of light or fog has not.
_HEXADECIMAL = re.compile("#([0-9a-fA-F]{3}|[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?)")
_NUMBERS = re.compile(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")


def luminance(image: Tensor) -> Tensor:
    """The luminance of linear light (B, 3, H, W), (B, 1, H, W); of sRGB its luma. Written out: a CPU sums over channels slowly."""
    (red, green, blue), (of_red, of_green, of_blue) = image.split(1, 1), LUMINANCE
    return (green * of_green).add_(red, alpha=of_red).add_(blue, alpha=of_blue)


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Coded sRGB in [0, 1], a tensor of any shape, as linear light in [0, 1].

    Source:
        IEC 61966-2-1.
    """
    curve = colour.clamp(min=0).add_(0.055).div_(1.055).pow_(2.4)
    return _chosen(colour <= 0.04045, colour / 12.92, curve)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Linear light in [0, 1], a tensor of any shape, as sRGB in [0, 1]: the inverse of `srgb_to_linear`."""
    curve = light.clamp(min=0.0031308).pow_(1 / 2.4).mul_(1.055).sub_(0.055)
    return _chosen(light <= 0.0031308, light * 12.92, curve)


def _chosen(is_dark: Tensor, line: Tensor, curve: Tensor) -> Tensor:
    """`torch.where` of finite numbers, in a fifth of its time on a CPU: there it is not vectorised."""
    return curve.lerp_(line, is_dark.to(line))


LAMP_COLOURS = {"warm": "#ffcea6", "cool": "#c9e2ff", "candle": "#ffb46b", "moon": "#9ec3ff"}
"""Names of lamps' colours, besides the names of CSS."""


def colour_to_linear(colour: str, name: str = "colour") -> tuple[float, float, float]:
    """A colour as a person writes it, as linear light.

    Args:
        colour: "#rrggbb", "#rgb", a name that CSS has ("white"), one of `LAMP_COLOURS` ("warm"), or red, green
            and blue from 0 to 255 ("255,180,107"); sRGB.
        name: What the error calls it.

    Returns:
        Linear R, G, B in [0, 1].

    Raises:
        ValueError: Anything else.
    """
    red, green, blue = srgb_to_linear(torch.tensor(_levels(colour, name), dtype=torch.float64) / 255).tolist()
    return red, green, blue


def _levels(colour: str, name: str) -> tuple[int, ...]:
    """Red, green and blue from 0 to 255."""
    from PIL import ImageColor

    text = colour.strip() if isinstance(colour, str) else ""
    text = LAMP_COLOURS.get(text.lower(), text)
    levels: tuple[int, ...] = ()
    if numbers := _NUMBERS.fullmatch(text):
        levels = tuple(int(number) for number in numbers.groups())
    elif _HEXADECIMAL.fullmatch(text) or text.lower() in ImageColor.colormap:
        levels = ImageColor.getrgb(text)[:3]
    if not levels or max(levels) > 255:
        raise ValueError(
            f"{name} is {colour!r}; accepted: # and six or three hexadecimal digits, such as #ffb46b or #fff, a name such as white or "
            f"warm ({', '.join(LAMP_COLOURS)} are lamps'), or red, green and blue from 0 to 255, such as 255,180,107"
        )
    return levels
