"""Slopes of a height field, their adjoint and their inverse, all with the same discrete derivative.

A slope is the change of height per pixel, (to the right, downwards). At free borders the height is mirrored, and the slopes of the
outermost pixels are scaled so that a plane has the same slope everywhere. At seamless borders it continues at the opposite border.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...options.textures import CENTRAL
from ...utils import constant, kept_constants
from ..filters.transforms import dct, dst, frequencies, idct, idst

# Least squared symbol at high frequencies. Slopes at pixels do not determine heights that alternate from pixel to pixel, and hardly those
# that nearly do; this bounds the amplification of 1 % of the coefficients.
_UNSEEN = 0.05


def slopes_of(height: Tensor, seamless: bool, derivative: str = CENTRAL) -> Tensor:
    """The slopes (B, 2, H, W) of a height (B, 1, H, W) in pixels, by one of `DERIVATIVES`: change to the right and downwards."""
    return mirrored_slopes(height, seamless, derivative) / border_share(height, seamless, derivative)


def mirrored_slopes(height: Tensor, seamless: bool, derivative: str) -> Tensor:
    """`slopes_of` without the scaling at free borders: the linear operator whose transpose is `adjoint`."""
    return torch.cat([_derived(height, dim, seamless, derivative) for dim in (-1, -2)], 1)


def adjoint(slopes: Tensor, seamless: bool, derivative: str) -> Tensor:
    """The transpose of `mirrored_slopes`: slopes (B, 2, H, W) to (B, 1, H, W)."""
    right, down = slopes.split(1, 1)
    return _transposed(right, -1, seamless, derivative) + _transposed(down, -2, seamless, derivative)


def border_share(like: Tensor, seamless: bool, derivative: str) -> Tensor:
    """The factor of a plane's slope in `mirrored_slopes`: (1, 2, H, W), or (1, 1, 1, 1); 1 except near free borders."""
    height, width = like.shape[-2:]
    if seamless:
        return like.new_ones(1, 1, 1, 1)
    right, down = (_slope_of_ramp(like, length, derivative, like.dtype) for length in (width, height))
    return torch.cat((right.expand(1, 1, height, width), down.mT.expand(1, 1, height, width)), 1)


@kept_constants
def _slope_of_ramp(length: int, derivative: str, dtype: torch.dtype) -> Tensor:
    """(1, 1, 1, length): the derivative of the ramp 0, 1, 2, ..., mirrored at its ends."""
    ramp = torch.arange(length, dtype=dtype).view(1, 1, 1, -1)
    return _derived(ramp, -1, False, derivative) if length > 1 else torch.ones_like(ramp)


def integrated(slopes: Tensor, seamless: bool, derivative: str, screening: float = 0.0) -> Tensor:
    """The height (B, 1, H, W), with mean 0, whose `mirrored_slopes` fit slopes (B, 2, H, W) best by least squares.

    `screening` is the weight of squared heights relative to squared slope errors (screened Poisson).
    """
    return solved(adjoint(slopes, seamless, derivative), seamless, derivative, screening=screening)


def solved(values: Tensor, seamless: bool, *derivatives: str, screening: float = 0.0) -> Tensor:
    """Solves adjoint(mirrored_slopes(h)) + screening * h = values, (B, N, H, W), for heights h of mean 0, with N `derivatives`."""
    power = _power(values, seamless, derivatives, screening)
    if seamless:
        return torch.fft.irfft2(torch.fft.rfft2(values) * (1 / power), s=values.shape[-2:])
    return idct(idct(dct(dct(values, -1), -2) / power, -2), -1)


def _power(like: Tensor, seamless: bool, derivatives: tuple[str, ...], screening: float) -> Tensor:
    """The symbol of the left side in `solved`: (N, H, W) cosine or (N, H, W // 2 + 1) Fourier coefficients.

    At high frequencies it is at least `_UNSEEN`. Where it would be 0 it is infinite, so that the coefficient becomes 0.
    """
    height, width = like.shape[-2:]
    (of_down, down), (of_right, right) = (_powers(like, length, seamless, derivatives, like.dtype) for length in (height, width))
    of_right, right = (each[..., : width // 2 + 1] if seamless else each for each in (of_right, right))
    power = of_down[..., None] + of_right[:, None]
    power = torch.where(down[:, None] | right, power.clamp(min=_UNSEEN), power)
    power = power + screening if screening else power
    return torch.where(power > 0, power, constant(power, torch.inf))


@kept_constants
def _powers(length: int, seamless: bool, derivatives: tuple[str, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(N, length): the squared `_symbol` of each derivative; and (length,) bool: high frequencies."""
    like = torch.empty((), dtype=dtype)
    squares = torch.stack([_symbol(like, length, seamless, derivative, dtype).square() for derivative in derivatives])
    return squares, frequencies(length, seamless, like).abs() > math.pi / 2


@kept_constants
def _symbol(length: int, seamless: bool, derivative: str, dtype: torch.dtype) -> Tensor:
    """(length,): the derivative's factor for each Fourier or cosine coefficient, without the imaginary unit."""
    frequency = frequencies(length, seamless, torch.empty((), dtype=dtype))
    sine = frequency.sin()
    # The sine of the highest frequency is 0, but not in floating point.
    sine = torch.where(frequency.abs() > math.pi * (1 - 1e-6), 0, sine)
    return sine if derivative == CENTRAL else 3 * sine / (2 + frequency.cos())


def _derived(height: Tensor, dim: int, seamless: bool, derivative: str) -> Tensor:
    """The derivative along an axis; at free borders, of the mirrored height."""
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
    """The previous and the next value of each pixel along an axis; beyond free borders, the border's value times `mirror`."""
    if seamless:
        return values.roll(1, dim), values.roll(-1, dim)
    length = values.shape[dim]
    first, last = values.narrow(dim, 0, 1) * mirror, values.narrow(dim, length - 1, 1) * mirror
    wider = torch.cat((first, values, last), dim)
    return wider.narrow(dim, 0, length), wider.narrow(dim, 2, length)


def _axis(row: Tensor, dim: int) -> Tensor:
    return row if dim == -1 else row[:, None]
