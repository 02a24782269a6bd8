"""What disturbs inverse depth: noise, how far it is shared between neighbours, quantisation, and soft edges.

A depth camera's noise is not white. Its matching windows, its filters and resampling make neighbouring pixels share their error, so
that the second difference of three neighbours shows only a fraction of it, and a mean over n pixels is not as calm as n pixels' mean
should be. Taken for clean, such depth gives normals like orange peel. What tells noise from a surface is how second differences
|D(x-k) - 2 D(x) + D(x+k)| grow with the lag k:

- white noise: not at all;
- correlated noise: like k^2 at first, then not at all once k leaves the correlation behind;
- a curved surface: like k^2, a crease, or a scene of many pieces (a network's depth): like k, however large k gets.

So a surface at least doubles when the lag doubles, and noise, at a lag long enough, does not. With s(k) the deviation of second
differences at lag k, a surface that doubles and noise that stays add up to s(k)^2 = n^2 + b^2 and s(2k)^2 = n^2 + 4 b^2, and

    n(k)^2 = (4 s(k)^2 - s(2k)^2) / 3

is the noise without the surface, nothing where all of it is a surface. For noise of deviation sigma and correlation rho(k) the same
expression is sigma^2 (4 g(k) - g(2k)) / 3 with g(k) = 1 - 4/3 rho(k) + 1/3 rho(2k). `_plateau` finds the sigma and the length of the correlation that
explain n(k) best. All deviations come from medians: edges and objects are few.

A correlation is described by the side L of the square that the noise is shared in: the sum of rho over all neighbours is L^2. Seen from
far, such noise is white noise of L times the deviation which has been averaged over L x L pixels. That is all that a fit needs to know.

How the noise depends on depth comes from comparing near and far pixels: the same in inverse depth (stereo, structured light),
proportional to it, or the same in depth (time of flight).

Source:
    Structure functions of atmospheric optics (Tatarskii 1961) and the Allan variance of clocks separate noise from drift in this way;
    sensor noise: K. Khoshelham and S. Elberink, "Accuracy and resolution of Kinect depth data", Sensors 12 (2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SAMPLE_PIXELS = 2**16
_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
# Lags whose double is among the lags.
_NOISE_LAGS = (1, 2, 3, 4, 6, 8)
_LENGTHS = tuple(1.1**i for i in range(27))
# Deviation of a value = median |second difference| / this.
_MEDIAN_BEND = 0.6745 * math.sqrt(6)
# A source of fewer distinct values is a quantised one.
_QUANTISED_VALUES = 2048


@dataclass(frozen=True)
class Disturbance:
    noise: float
    jitter: float
    correlation: float
    power: int
    step: float
    step_power: int
    soft: bool

CLEAN = Disturbance(0.0, 0.0, 1.0, 1, 0.0, 0, False)


@torch.no_grad()
def measure_disturbance(inverse: Tensor, valid: Tensor) -> Disturbance:
    """Noise, quantisation and softness of edges, from some rows and columns.

    Args:
        inverse: (1, 1, H, W) inverse depth, positive.
        valid: (1, 1, H, W), 1 where it can be trusted, 0 elsewhere.
    """
    height, width = inverse.shape[-2:]
    row_stride = max(1, height * width // _SAMPLE_PIXELS)
    lines = []
    for d, v in ((inverse[0, 0], valid[0, 0]), (inverse[0, 0].T, valid[0, 0].T)):
        offset = min(row_stride // 2, d.shape[0] - 1)
        lines.append((d[offset::row_stride], v[offset::row_stride]))
    bends = [_bends(d, v) for d, v in lines if d.shape[1] >= 5]
    if not bends:
        return CLEAN
    centre, bend, largest_share, staircase = (torch.cat(parts) for parts in zip(*bends, strict=True))
    if centre.numel() == 0:
        return CLEAN
    jitter = float((bend / centre).median()) / _MEDIAN_BEND
    step, power = _quantisation_step(centre) if float(staircase.mean()) > 0.03 else (0.0, 0)
    strong = bend > torch.clamp(centre * max(0.03, 10 * jitter), min=3 * step)
    shares = largest_share[strong]
    # A jump rises in one step, a ramp in several.
    soft = shares.numel() > 0 and float(shares.median()) < 0.75
    noise, correlation, noise_power = _noise(inverse, valid, step, power)
    return Disturbance(noise, jitter, correlation, noise_power, step, power, soft)

LOG = None
DITHER = True
_NOISE_SAMPLES = 2**13


def _noise(inverse, valid, step, step_power):
    """."""
    height, width = inverse.shape[-2:]
    stride = round(math.sqrt(height * width / _NOISE_SAMPLES)) | 1
    inverse = torch.where(valid > 0, inverse, math.nan)[0, 0]
    lines = [m[min(stride // 2, m.shape[0] - 1) :: stride] for m in (inverse, inverse.T)]
    if step and DITHER:
        lines = [d + d**step_power * step * _dither(d) for d in lines]
    middle = torch.cat([d[:, ::stride].flatten() for d in lines]).nanmedian()
    medians = []
    for lag in _LAGS:
        parts = [_relative_bends(d, lag, stride) for d in lines if d.shape[1] > 2 * lag]
        if not parts:
            medians += [middle.new_zeros(())] * 2
            continue
        centre, bend = (torch.cat(p) for p in zip(*parts, strict=True))
        if lag == 1:
            centres = [torch.where((centre > middle) == b, centre, math.nan).nanmedian() for b in (True, False)]
        medians += [torch.where((centre > middle) == b, bend, math.nan).nanmedian() for b in (True, False)]
    cn, cf, *medians = torch.stack(centres + medians).nan_to_num().tolist()
    near, far = medians[::2], medians[1::2]
    a = _plateau(near, DITHER * step * cn ** (step_power - 1) / math.sqrt(6))
    b = _plateau(far, DITHER * step * cf ** (step_power - 1) / math.sqrt(6) if step else 0)
    if LOG is not None:
        LOG.append((a, b, cn, cf))
    if not (a[0] > 0 and b[0] > 0):
        s = max(a, b)
        return (s[0], s[1], 1)
    expo = 1 + math.log(a[0] / b[0]) / math.log(cn / cf) if cn > cf * 1.2 else 1
    p = min(2, max(0, round(expo)))
    if LOG is not None:
        LOG.append(expo)
    noise = math.sqrt(a[0] * cn ** (1 - p) * b[0] * cf ** (1 - p))
    return noise, math.sqrt(a[1] * b[1]), p


def _dither(d):
    return torch.rand(d.shape, generator=torch.Generator().manual_seed(0)).to(d) - 0.5


def _relative_bends(lines, lag, stride):
    end = lines.shape[1] - 2 * lag
    before, centre, after = (lines[:, i : i + end : stride] for i in (0, lag, 2 * lag))
    bend = (before + after - 2 * centre).abs() / centre
    return torch.where(bend.isnan(), math.nan, centre).flatten(), bend.flatten()


def _plateau(medians, known):
    s = {k: (m / _MEDIAN_BEND) ** 2 for k, m in zip(_LAGS, medians)}
    n = [max(0.0, (4 * s[k] - s[2 * k]) / 3) for k in _NOISE_LAGS]
    best = (math.inf, 0.0, 1.0)
    for length in _LENGTHS:
        h = []
        for k in _NOISE_LAGS:
            rho = lambda x: math.exp(-math.pi * x * x / length**2) if length > 1 else 0.0
            g = lambda x: 1 - 4 / 3 * rho(x) + rho(2 * x) / 3
            h.append((4 * g(k) - g(2 * k)) / 3)
        h = [max(0.0, x) for x in h]
        w = [1 / k for k in _NOISE_LAGS]
        var = sum(a * b * c for a, b, c in zip(n, h, w)) / sum(a * a * c for a, c in zip(h, w))
        err = sum((a - var * b) ** 2 * c for a, b, c in zip(n, h, w))
        best = min(best, (err, var, length))
    return math.sqrt(max(0.0, best[1] - known**2)), best[2]


def _bends(lines: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What bends along lines (N, L).

    Returns:
        Values of usable pixels, all (M,): themselves, |second differences|, the share of the largest step in the rise over five
        pixels, and 1 where an equal neighbour faces an unequal one.
    """
    before2, before, centre, after, after2 = (lines[:, i : lines.shape[1] - 4 + i] for i in range(5))
    usable = valid.unfold(1, 5, 1).amin(-1) > 0
    bend = (2 * centre - before - after).abs()
    steps = lines.diff(dim=1).abs().unfold(1, 4, 1).amax(-1)
    largest_share = steps / (after2 - before2).abs().clamp(min=1e-12)
    staircase = ((before == centre) != (centre == after)).to(lines)
    return centre[usable], bend[usable], largest_share[usable], staircase[usable]


def _quantisation_step(values: Tensor) -> tuple[float, int]:
    """The step between the distinct values, and the power of the value it grows with; (0, 0) where they are many."""
    distinct = torch.unique(values)
    if not 3 <= distinct.numel() < _QUANTISED_VALUES:
        return 0.0, 0
    gaps, middle = distinct.diff(), (distinct[1:] + distinct[:-1]) / 2
    best = (math.inf, 0.0, 0)
    for power in (0, 2):
        scaled = gaps / middle**power
        step = scaled.median()
        spread = float(((scaled - step).abs() / step).median())
        best = min(best, (spread, float(step), power))
    return best[1], best[2]
