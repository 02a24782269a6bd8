"""Slopes of a height field, their adjoint and their inverse, all by the same discrete derivative.

A slope is a height's change a pixel, (to the right, downwards). At free borders the height goes on as a mirror image and the slope of the
outermost pixels is scaled so that planes keep theirs; at seamless ones it goes on at the opposite border.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...utils import kept_constants
from ..filters.transforms import dct, dst, frequencies, idct, idst

CENTRAL, SPLINE = DERIVATIVES = ("central", "spline")
"""central: half the difference of both neighbours. spline: that of the cubic spline through all pixels, true to the fourth order."""

# Slopes at pixels cannot determine a height that alternates from pixel to pixel, and hardly what nearly does: 1 % of the coefficients.
_UNSEEN = 0.05


def slopes_of(height: Tensor, seamless: bool, derivative: str = CENTRAL) -> Tensor:
    """The slopes of a height.

    Args:
        height: (B, 1, H, W) in pixels.
        seamless: Whether it continues at its opposite border.
        derivative: One of `DERIVATIVES`.

    Returns:
        (B, 2, H, W): change a pixel to the right, and downwards.
    """
    return mirrored_slopes(height, seamless, derivative) / border_share(height, seamless, derivative)


def mirrored_slopes(height: Tensor, seamless: bool, derivative: str) -> Tensor:
    """The same, but at free borders those of the mirrored height: what `adjoint` is the adjoint of."""
    return torch.cat([_derived(height, dim, seamless, derivative) for dim in (-1, -2)], 1)


def adjoint(slopes: Tensor, seamless: bool, derivative: str) -> Tensor:
    """The transpose of `mirrored_slopes`, (B, 2, H, W) to (B, 1, H, W)."""
    right, down = slopes.split(1, 1)
    return _transposed(right, -1, seamless, derivative) + _transposed(down, -2, seamless, derivative)


def border_share(like: Tensor, seamless: bool, derivative: str) -> Tensor:
    """(1, 2, H, W) or one that broadcasts to it: what the mirror leaves of a plane's slope; 1 but for free borders."""
    height, width = like.shape[-2:]
    if seamless:
        return like.new_ones(1, 1, 1, 1)
    right, down = (_slope_of_ramp(like, length, derivative, like.dtype) for length in (width, height))
    return torch.cat((right.expand(1, 1, height, width), down.mT.expand(1, 1, height, width)), 1)


@kept_constants
def _slope_of_ramp(length: int, derivative: str, dtype: torch.dtype) -> Tensor:
    """(1, 1, 1, N): the slope of 0, 1, 2, ... by a derivative that mirrors it at its ends."""
    ramp = torch.arange(length, dtype=dtype).view(1, 1, 1, -1)
    return _derived(ramp, -1, False, derivative) if length > 1 else torch.ones_like(ramp)


def integrated(slopes: Tensor, seamless: bool, derivative: str, screening: float = 0.0) -> Tensor:
    """The height whose `mirrored_slopes` are nearest to these in the sense of least squares; its mean is 0.

    Args:
        slopes: (B, 2, H, W).
        seamless, derivative: As `slopes_of`.
        screening: What heights cost beside errors of the slopes (screened Poisson).

    Returns:
        (B, 1, H, W).
    """
    return solved(adjoint(slopes, seamless, derivative), seamless, derivative, screening=screening)


def solved(values: Tensor, seamless: bool, *derivatives: str, screening: float = 0.0) -> Tensor:
    """The heights h for which adjoint(mirrored_slopes(h)) + screening h is given; of their mean nothing is known, it is 0.

    Args:
        values: (B, N, H, W).
        seamless: As `slopes_of`.
        derivatives: N of them, one for each channel.
        screening: As `integrated`.

    Returns:
        (B, N, H, W).
    """
    power = _power(values, seamless, derivatives, screening)
    if seamless:
        return torch.fft.irfft2(torch.fft.rfft2(values) * (1 / power), s=values.shape[-2:])
    return idct(idct(dct(dct(values, -1), -2) / power, -2), -1)


def _power(like: Tensor, seamless: bool, derivatives: tuple[str, ...], screening: float) -> Tensor:
    """(N, H, W or half of it): the squared symbols of derivatives, bounded where slopes say nothing; infinite where nothing is known."""
    height, width = like.shape[-2:]
    down, right = frequencies(height, seamless, like)[:, None], frequencies(width, seamless, like)
    of_down, of_right = (_symbols(like, length, seamless, derivatives, like.dtype) for length in (height, width))
    right, of_right = (each[..., : width // 2 + 1] if seamless else each for each in (right, of_right))
    power = of_down[..., None].square() + of_right[:, None].square()
    fine = torch.maximum(down.abs(), right.abs()) > math.pi / 2
    power = torch.where(fine, power.clamp(min=_UNSEEN), power) + screening
    return torch.where(power > 0, power, torch.inf)


@kept_constants
def _symbols(length: int, seamless: bool, derivatives: tuple[str, ...], dtype: torch.dtype) -> Tensor:
    """(N, length) `_symbol` of derivatives."""
    like = torch.empty((), dtype=dtype)
    return torch.stack([_symbol(like, length, seamless, derivative, dtype) for derivative in derivatives])


@kept_constants
def _symbol(length: int, seamless: bool, derivative: str, dtype: torch.dtype) -> Tensor:
    """The derivative's factor for each coefficient, without the imaginary unit."""
    frequency = frequencies(length, seamless, torch.empty((), dtype=dtype))
    sine = frequency.sin()
    # The sine of the highest frequency is 0, but not in floating point.
    sine = torch.where(frequency.abs() > math.pi * (1 - 1e-6), 0, sine)
    return sine if derivative == CENTRAL else 3 * sine / (2 + frequency.cos())


def _derived(height: Tensor, dim: int, seamless: bool, derivative: str) -> Tensor:
    """Along one axis; at free borders of the mirrored height."""
    if derivative == CENTRAL:
        before, after = _beside(height, dim, seamless, 1.0)
        return (after - before).mul_(0.5)
    symbol = _axis(_symbol(height, height.shape[dim], seamless, derivative, height.dtype), dim)
    if seamless:
        spectrum = torch.fft.fft(height, dim=dim)
        return torch.fft.ifft(torch.complex(-spectrum.imag * symbol, spectrum.real * symbol), dim=dim).real
    return idst(dct(height, dim) * -symbol, dim)


def _transposed(slopes: Tensor, dim: int, seamless: bool, derivative: str) -> Tensor:
    if derivative == CENTRAL:
        before, after = _beside(slopes, dim, seamless, -1.0)
        return (before - after).mul_(0.5)
    if seamless:
        return -_derived(slopes, dim, seamless, derivative)
    symbol = _axis(_symbol(slopes, slopes.shape[dim], False, derivative, slopes.dtype), dim)
    return idct(dst(slopes, dim) * -symbol, dim)


def _beside(values: Tensor, dim: int, seamless: bool, mirror: float) -> tuple[Tensor, Tensor]:
    """The neighbours before and after each pixel along an axis; beyond free borders the border's own value times `mirror`."""
    if seamless:
        return values.roll(1, dim), values.roll(-1, dim)
    length = values.shape[dim]
    first, last = values.narrow(dim, 0, 1) * mirror, values.narrow(dim, length - 1, 1) * mirror
    return torch.cat((first, values.narrow(dim, 0, length - 1)), dim), torch.cat((values.narrow(dim, 1, length - 1), last), dim)


def _axis(row: Tensor, dim: int) -> Tensor:
    return row if dim == -1 else row[:, None]
