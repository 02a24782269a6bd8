"""Where `effects.relight` was; its names are still found here."""

from .effects.lights import Light, light_direction, light_position
from .effects.relight import relight
from .effects.shadows import cast_shadow
from .images.srgb import linear_to_srgb, srgb_to_linear

__all__ = ["Light", "cast_shadow", "light_direction", "light_position", "linear_to_srgb", "relight", "srgb_to_linear"]
