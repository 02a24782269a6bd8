"""sRGB to linear light and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from ...options.values import colour_levels
from ...utils import as_numbers, constant, is_above

BT_709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
"""x and y of red, green, blue and white, also sRGB's."""

BT_2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
"""As `BT_709`."""

_P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
# By the numbers of ITU-T H.273; 11 and 12 are DCI-P3 and Display P3.
_PRIMARIES = {1: BT_709, 9: BT_2020, 11: (*_P3, 0.314, 0.351), 12: (*_P3, 0.3127, 0.329)}

# What colour adaptation scales (Bradford).
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in linear light's luminance (ITU-R BT.709)."""


def numbered_primaries(number: int, hdr: bool) -> tuple[float, ...]:
    """Primaries (as `BT_709`) by a number of ITU-T H.273; of another number BT.2020's in HDR, else BT.709's."""
    return _PRIMARIES.get(number, BT_2020 if hdr else BT_709)


def luminance(image: Tensor) -> Tensor:
    """The luminance (B, 1, H, W) of linear light (B, 3, H, W), or the luma of sRGB. Unrolled: a CPU sums over channels slowly."""
    (red, green, blue), (of_red, of_green, of_blue) = image.split(1, 1), LUMINANCE
    return (green * of_green).add_(red, alpha=of_red).add_(blue, alpha=of_blue)


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Converts sRGB in [0, 1], of any shape, to linear light in [0, 1] (IEC 61966-2-1)."""
    if colour.device.type != "cpu":
        curve = torch.add(constant(colour, 0.055 / 1.055), colour, alpha=1 / 1.055).pow_(2.4)
        return torch.where(colour <= 0.04045, colour / 12.92, curve)
    curve = colour.clamp(min=0).add_(0.055).div_(1.055).pow_(2.4)
    return _chosen(is_above(colour, 0.04045), curve, colour / 12.92)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Converts linear light in [0, 1], of any shape, to sRGB: the inverse of `srgb_to_linear`."""
    if light.device.type != "cpu":
        curve = torch.add(constant(light, -0.055), light.pow(1 / 2.4), alpha=1.055)
        return torch.where(light <= 0.0031308, light * 12.92, curve)
    curve = light.clamp(min=0.0031308).pow_(1 / 2.4).mul_(1.055).sub_(0.055)
    return _chosen(is_above(light, 0.0031308), curve, light * 12.92)


def _chosen(is_bright: Tensor, curve: Tensor, line: Tensor) -> Tensor:
    """`torch.where` for finite values, ten times as fast on a CPU, where it is not vectorised."""
    return line.lerp_(curve, as_numbers(is_bright, line))


def rgb_to_xyz(chromaticities: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) from linear RGB of these primaries (as `BT_709`) to CIE XYZ, and the white point's XYZ."""
    x, y = np.reshape(chromaticities, (4, 2)).T
    xyz = np.stack((x / y, np.ones(4), (1 - x - y) / y))
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3]), xyz[:, 3]


def matrix_to_709(chromaticities: Sequence[float]) -> np.ndarray:
    """(3, 3) from linear RGB of these primaries (as `BT_709`) to BT.709's; the identity if they are these or meaningless."""
    with suppress(np.linalg.LinAlgError, ValueError, TypeError), np.errstate(all="ignore"):
        (own, own_white), (wanted, white) = rgb_to_xyz(chromaticities), rgb_to_xyz(BT_709)
        adapted = np.linalg.inv(_CONES) @ np.diag(_CONES @ white / (_CONES @ own_white)) @ _CONES
        matrix = np.linalg.solve(wanted, adapted @ own)
        if np.isfinite(matrix).all() and not np.allclose(matrix, np.eye(3), atol=1e-3):
            return matrix
    return np.eye(3)


def colour_to_linear(colour: str) -> tuple[float, float, float]:
    """A colour as a person writes it, in sRGB, as linear R, G, B in [0, 1].

    "#rrggbb", "#rgb", a name that CSS has ("white"), one of `options.values.LAMP_COLOURS` ("warm"), or red, green and blue from 0 to 255
    ("255,180,107"). Raises ValueError for anything else.
    """
    red, green, blue = srgb_to_linear(torch.tensor(colour_levels(colour, "colour"), dtype=torch.float64) / 255).tolist()
    return red, green, blue
