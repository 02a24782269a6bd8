"""Colours as people write them."""

from __future__ import annotations

import re

from .checks import InvalidArgumentError

# Colour pickers append two digits of opacity, which is ignored.
_HEXADECIMAL = re.compile("#([0-9a-fA-F]{3}|[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?)")
_NUMBERS = re.compile(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")

LAMP_COLOURS = {"warm": "#ffcea6", "cool": "#c9e2ff", "candle": "#ffb46b", "moon": "#9ec3ff"}
"""Names of lamp colours, besides those of CSS."""


def colour_levels(colour: str, name: str = "colour") -> tuple[int, ...]:
    """Parses a colour to sRGB levels from 0 to 255.

    Raises:
        InvalidArgumentError: The message has the text and what is accepted.
    """
    from PIL import ImageColor

    text = colour.strip() if isinstance(colour, str) else ""
    text = LAMP_COLOURS.get(text.lower(), text)
    levels: tuple[int, ...] = ()
    if numbers := _NUMBERS.fullmatch(text):
        levels = tuple(int(number) for number in numbers.groups())
    elif _HEXADECIMAL.fullmatch(text) or text.lower() in ImageColor.colormap:
        levels = ImageColor.getrgb(text)[:3]
    if not levels or max(levels) > 255:
        raise InvalidArgumentError(
            name,
            f"is {colour!r}; accepted: # and six or three hexadecimal digits, such as #ffb46b or #fff, a name such as white or "
            f"warm ({', '.join(LAMP_COLOURS)} are lamps'), or red, green and blue from 0 to 255, such as 255,180,107",
        )
    return levels
