"""Fourier, cosine and sine transforms of maps, chosen by how the map continues at its border; blurring and solving systems with them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, counted, exact_dtype, kept_constants

# Trends: values per sigma; least total weight; ridge on the variance of positions, in squared sigmas.
_VALUES_A_SIGMA, _NOTHING, _FLAT = 8, 1e-6, 1e-3
# Values of a trend per batch, and the margin around them in sigmas: a billionth of the weight lies beyond.
_BAND, _REACH = 1 << 20, 6


def frequencies(length: int, seamless: bool, like: Tensor) -> Tensor:
    """The frequency of each coefficient along an axis in radians per pixel: of `torch.fft.fft` if `seamless`, otherwise of `dct`."""
    return _frequencies(like, length, seamless, like.dtype)


@kept_constants
def _frequencies(length: int, seamless: bool, dtype: torch.dtype) -> Tensor:
    if seamless:
        return torch.fft.fftfreq(length, dtype=dtype) * (2 * math.pi)
    return torch.arange(length, dtype=dtype) * (math.pi / length)


def dct(values: Tensor, dim: int) -> Tensor:
    """The cosine transform (type 2, unscaled) along an axis: sum over n of x_n cos(pi (n + 1/2) k / N).

    Source:
        J. Makhoul, "A fast cosine transform in one and two dimensions" (1980): a Fourier transform of the same length.
    """
    rows = values.movedim(dim, -1)
    length = rows.shape[-1]
    turned = torch.fft.rfft(torch.cat((rows[..., ::2], rows[..., 1::2].flip(-1)), -1)) * _turns(rows, length, rows.dtype, False)
    return torch.cat((turned.real, -turned.imag[..., 1 : (length + 1) // 2].flip(-1)), -1).movedim(-1, dim)


def idct(coefficients: Tensor, dim: int) -> Tensor:
    """The inverse of `dct`."""
    rows = coefficients.movedim(dim, -1)
    length = rows.shape[-1]
    half = length // 2 + 1
    mirrored = torch.cat((_zero(rows), rows[..., length - half + 1 :].flip(-1)), -1)
    mixed = torch.fft.irfft(torch.complex(rows[..., :half].contiguous(), -mirrored) * _turns(rows, length, rows.dtype, True), length)
    values = torch.empty_like(mixed)
    middle = (length + 1) // 2
    values[..., ::2], values[..., 1::2] = mixed[..., :middle], mixed[..., middle:].flip(-1)
    return values.movedim(-1, dim)


def dst(values: Tensor, dim: int) -> Tensor:
    """The sine transform along an axis: sum over n of x_n sin(pi (n + 1/2) k / N), for k from 0 to N - 1, as in `dct`."""
    rows = values.movedim(dim, -1)
    all_but_first = dct(rows * _alternating(rows, rows.shape[-1], rows.dtype), -1).flip(-1)[..., :-1]
    return torch.cat((_zero(rows), all_but_first), -1).movedim(-1, dim)


def idst(coefficients: Tensor, dim: int) -> Tensor:
    """The inverse of `dst`, for values whose coefficient at k = N is 0."""
    rows = coefficients.movedim(dim, -1)
    shifted = torch.cat((rows[..., 1:], _zero(rows)), -1).flip(-1)
    return (idct(shifted, -1) * _alternating(rows, rows.shape[-1], rows.dtype)).movedim(-1, dim)


def blurred(values: Tensor, sigma: float, seamless: bool = False) -> Tensor:
    """A Gaussian blur of maps (B, C, H, W), mirrored or seamless at borders, in a time that does not depend on `sigma` (0 = no blur)."""
    if sigma <= 0:
        return values
    height, width = values.shape[-2:]
    down, right = frequencies(height, seamless, values), frequencies(width, seamless, values)
    if seamless:
        right = right[: width // 2 + 1]
    fade = torch.exp(-0.5 * sigma * sigma * (down * down))[:, None] * torch.exp(-0.5 * sigma * sigma * (right * right))
    if seamless:
        return torch.fft.irfft2(torch.fft.rfft2(values) * fade, s=(height, width))
    return idct(idct(dct(dct(values, -1), -2) * fade, -2), -1)


def blurred_where(values: Tensor, weight: Tensor, sigma: float, seamless: bool = False) -> Tensor:
    """A Gaussian blur of maps (B, C, H, W), weighted by (B, 1, H, W) in [0, 1]: means that fade to 0 far from any weight.

    Values must be finite even where the weight is 0.
    """
    share = blurred(weight, sigma, seamless).clamp(min=1e-4)
    return blurred(values * weight, sigma, seamless) / share


def conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    target: Tensor,
    inverse: Callable[[Tensor], Tensor],
    most: int,
    tolerance: float,
    start: Tensor | None = None,
) -> Tensor:
    """Solves `system`(x) = `target` from x = `start` (None = 0) on, in `most` steps at most, to a relative residual of `tolerance`.

    The system is symmetric and positive definite; `inverse` is that of a similar one that a transform makes diagonal.
    """
    x, residual = (torch.zeros_like(target), target) if start is None else (start, target - system(start))
    step = inverse(residual)
    energy = (residual * step).sum()
    end = tolerance**2 * (energy if start is None else (target * inverse(target)).sum())
    least = torch.finfo(target.dtype).tiny
    for _ in range(most):
        # Reading this from a GPU takes less time than launching another step.
        if not bool(energy > end):
            break
        moved = system(step)
        length = energy / (step * moved).sum().clamp(min=least)
        x, residual = x + length * step, residual - length * moved
        nearer = inverse(residual)
        energy, before = (residual * nearer).sum(), energy
        step = nearer + energy / before.clamp(min=least) * step
    return x


def trend_where(values: Tensor, weight: Tensor, sigma: float, seamless: bool = False) -> Tensor:
    """The low frequencies of a map: at each position, the value of the plane that fits best under Gaussian and pixel weights.

    Far from borders it equals `blurred_where`, whose arguments it has. Beside a border or a hole, with pixels on one side only, a mean is
    biased on slopes, and a plane is not. It is computed on a smaller map, with about eight values per sigma.

    Source:
        W. S. Cleveland, "Robust locally weighted regression" (1979); H. Knutsson and C.-F. Westin, "Normalized and differential
        convolution" (1993).
    """
    if seamless:
        return torch.cat([blurred_where(each, weight, sigma, seamless) for each in values.split(1, 1)], 1)
    height, width = values.shape[-2:]
    step = max(1, int(sigma / _VALUES_A_SIGMA))
    rows, columns = -(-height // step), -(-width // step)
    reach = math.ceil(_REACH * sigma / step)
    size = max(4 * reach, _BAND // (columns * values.shape[0]))
    trend = values.new_empty(*values.shape[:2], rows, columns)
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        first, last = max(start - reach, 0), min(stop + reach, rows)
        inside = slice(first * step, last * step)
        band = _band_trend(values[..., inside, :], weight[..., inside, :], sigma, step)
        trend[..., start:stop, :] = band[..., start - first : stop - first, :]
    if step > 1:
        trend = F.interpolate(trend, scale_factor=step, mode="bilinear")
    return trend[..., :height, :width]


def _band_trend(values: Tensor, weight: Tensor, sigma: float, step: int) -> Tensor:
    """`trend_where` of some rows, one value per cell of `step` x `step` pixels; weights beyond their border are 0."""
    height, width = values.shape[-2:]
    rows, columns = -(-height // step), -(-width // step)
    fill = (0, columns * step - width, 0, rows * step - height)
    share = F.avg_pool2d(F.pad(weight, fill), step).to(exact_dtype(values.device))
    margin = 4 * math.ceil(sigma / step)
    y, x = (counted(share, count).to(share) * (step / sigma) for count in (rows, columns))
    y = y[:, None]

    def around(map_: Tensor) -> Tensor:
        wide = F.pad(map_, (margin, margin, margin, margin))
        return blurred(wide, sigma / step)[..., margin : margin + rows, margin : margin + columns]

    # Blurred sums of weights, and of weighted values, times 1, x, y and their products.
    total, by_x, by_y, by_xx, by_xy, by_yy = (around(share * each) for each in (x * 0 + 1, x, y, x * x, x * y, y * y))
    mean_x, mean_y = (each / total.clamp(min=_NOTHING) for each in (by_x, by_y))
    xx, xy, yy = (
        each / total.clamp(min=_NOTHING) - product
        for each, product in ((by_xx, mean_x * mean_x), (by_xy, mean_x * mean_y), (by_yy, mean_y * mean_y))
    )
    xx, yy = xx + _FLAT, yy + _FLAT
    scale = xx * yy - xy * xy
    trends = []
    for channel in values.split(1, 1):
        means = F.avg_pool2d(F.pad(channel * weight, fill), step).to(share)
        mean, of_x, of_y = (around(means * each) / total.clamp(min=_NOTHING) for each in (x * 0 + 1, x, y))
        of_x, of_y = of_x - mean * mean_x, of_y - mean * mean_y
        slope_x, slope_y = (yy * of_x - xy * of_y) / scale, (xx * of_y - xy * of_x) / scale
        trends.append((mean + slope_x * (x - mean_x) + slope_y * (y - mean_y)).to(values))
    return torch.cat(trends, 1)


@kept_constants
def _turns(length: int, dtype: torch.dtype, back: bool) -> Tensor:
    """exp(-i pi k / 2N) for the coefficients of a real Fourier transform, or its inverse."""
    angle = torch.arange(length // 2 + 1, dtype=dtype) * (-math.pi / (2 * length))
    return torch.complex(angle.cos(), -angle.sin() if back else angle.sin())


def _zero(rows: Tensor) -> Tensor:
    return constant(rows, 0.0).expand(rows[..., :1].shape)


@kept_constants
def _alternating(length: int, dtype: torch.dtype) -> Tensor:
    """(N,): 1, -1, 1, ..."""
    return 1 - 2 * (torch.arange(length) % 2).to(dtype)
