"""Measures the noise of inverse depth: its level and correlation length, quantisation, and soft edges.

The noise of depth cameras is not white: matching windows, filters and resampling correlate neighbouring pixels. The second difference of
three neighbours then shows only a fraction of the noise, and a window averages less of it away than its pixel count suggests. Noise and
surfaces differ in how the median second difference |D(x - k) - 2 D(x) + D(x + k)| grows with the lag k:

- white noise: it does not grow;
- correlated noise: it grows like k^2 at first, and not beyond the correlation length;
- a curved surface: it grows like k^2; creases, and scenes of many pieces (a network's depth): like k. Both have no limit.

So when the lag doubles, a surface's second difference at least doubles, and noise's stays constant if the lag is long enough. Let s(k) be
the standard deviation implied by the second differences at lag k, n the noise and b the surface's contribution. From
s(k)^2 = n^2 + b^2 and s(2k)^2 = n^2 + (2b)^2 follows

    n(k)^2 = (4 s(k)^2 - s(2k)^2) / 3,

which is at most the noise, and 0 or less without noise. Pure noise of deviation sigma and correlation rho has
n(k)^2 = sigma^2 (1 - 16/9 rho(k) + 8/9 rho(2k) - 1/9 rho(4k)). `_white_noise_alike` fits sigma and the correlation length to the
measured n(k). Medians exclude edges.

Relief can look like noise: the second differences of pebbles, plaster and bricks also stop growing, at the lag of their size. Relief that
is taken for noise is flattened, while noise that is taken for relief only remains. So correlated noise is accepted only under these
conditions:

- It is everywhere, along rows and along columns. Blocks of the image are measured along their rows and along their columns, and only the
  quietest quarter of these measurements is used, plus those that are hardly louder. So a wall beside pebbles, or the other direction of
  a corrugated sheet, shows that there is no noise.
- It is correlated over few pixels, like sensor noise. A map that is smooth over more than `_LONGEST` pixels is a surface.
- The fit predicts the measurements. As a surface only adds to noise, the predicted s(k) may not exceed any measured one; and it must
  explain most of s(k) at lags 1 and 2, where a surface adds least. Relief under white noise fails there.

Otherwise the noise is assumed to be white, with the deviation of neighbouring pixels after removing a smooth surface (`_unshared_noise`).
Limits: noise correlated over more than 5 pixels stays, and relief as fine, irregular and omnipresent as noise (grains of up to about 8
pixels) is smoothed away.

The length L is the side of the square over which noise is shared: L^2 is the sum of rho over all neighbours. On scales above L, such noise
equals white noise of deviation L sigma averaged over L x L pixels, which suffices for fits.

Noise depends on depth: it is constant in inverse depth (stereo, structured light), proportional to it, or constant in depth (time of
flight). The near and the far half of the blocks are measured separately, which determines the exponent.

Depth of a camera that was registered to a colour camera is a staircase blurred by resampling: its second differences fit neither white nor
correlated noise, and it has many values. But its levels are still equidistant, which is a peak in the spectrum of the histogram
(`_period_of_levels`). Its noise cannot be measured; half a step, shared over three pixels, is typical.

Medians of a staircase are whole steps. A quantised source is therefore dithered by its step first; the variance of dither and
rounding, a twelfth of a squared step each, is subtracted.

Source:
    V. I. Tatarskii, "Wave propagation in a turbulent medium" (1961), for structure functions, which separate turbulence from drift in the
    same way; K. Khoshelham and S. O. Elberink, "Accuracy and resolution of Kinect depth data", Sensors 12 (2012), for the noise of depth
    cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SAMPLE_PIXELS = 2**16
# A source with fewer distinct values is quantised.
_QUANTISED_VALUES = 2048
# Largest median deviation of the gaps between a quantised source's values from their median, as a share of it. Small images with few values
# have irregular gaps: 0.69 and more.
_REGULAR_GAPS = 0.6
# Blurred levels: their least number, the bins of their histogram, and the least share of values in step.
_LEAST_LEVELS = 16
_LEVEL_BINS = 2**14
_LEVEL_CONTRAST = 0.12
# Least number of standard deviations by which this share exceeds chance, along rows and along columns. Values without levels reach it at
# one of 8192 frequencies in a billion maps (exp(-2 * 4^2) each). A small map, or one with a large flat wall, has few levels and hardly
# exceeds it.
_LEVEL_CHANCE = 4.0
# Maximum weight of a level relative to the mean, as a few levels are most of the image of a frontal wall.
_LARGEST_WEIGHT = 4.0
# Range of the median rise from one level to the next, in steps.
_LEAST_RISE, _LARGEST_RISE = 0.1, 1.5
# Least ratio of a step to the rounding of the values between levels.
_COARSER = 4.0
# Noise of cameras that make such levels, in steps, and its length.
_SENSOR_NOISE, _SENSOR_LENGTH = 0.5, 3.0
# Ratio of the median |second difference| to the standard deviation of a value, for normally distributed noise.
_BEND_PER_DEVIATION = 0.6745 * math.sqrt(6)
# Number of pixels at which second differences of all lags are sampled, along rows and along columns each.
_NOISE_SAMPLES = 2**13
_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
_NOISE_LAGS = tuple(lag for lag in _LAGS if 2 * lag in _LAGS)
# Blocks along each side of the image, the minimum number of samples in a block, and the share of quiet blocks that is used.
_BLOCKS = 4
_BLOCK_SAMPLES = 256
_QUIET_SHARE = 0.25
# Scatter of the measured loudness of the same noise between blocks, as a logarithm.
_LOUDNESS_SCATTER = 0.1
# Values this close to a limit, as a share of the distance to the next one, are blended: a hard limit would amplify rounding.
_UNDECIDED = 0.4
# Scatter of s(2)^2 / s(1)^2 of medians: growth of 16 times does not prove that a surface is free of noise.
_GROWTH_SCATTER = 0.3
# Accepted lengths of correlated noise, and the accepted factor between prediction and measurement. Noise shared over less than two
# pixels hardly differs from white noise on relief; rounded noise shows a third less at lag 1.
_SHORTEST, _LONGEST = 1.8, 5.5
_MISFIT = 1.6
# Largest ratio of the sum of absolute steps to a steady rise over five pixels, and the share of the image's range from which a rise is an
# edge instead of roughness.
_STEADY, _LARGE_RISE = 1.3, 0.15
# Minimum depth ratio of the halves for measuring how noise depends on depth.
_DEPTH_SPAN = 1.2
# Relative deviation up to which float32 rounding explains everything.
_ROUNDING = 4e-6


@dataclass(frozen=True)
class DepthNoise:
    """The noise of inverse depth.

    Attributes:
        noise: Standard deviation of a value where inverse depth is 1.
        noise_power: Exponent of the noise's growth with inverse depth: 0 for stereo and structured light, 1 for proportional noise, 2 for
            noise that is constant in depth; values in between where the data is ambiguous.
        noise_length: Side of the square of pixels over which the noise is shared; 1 for white noise.
        pixel_noise: Relative standard deviation implied by neighbouring pixels: the noise, if it is white.
        step: Distance of levels of a quantised source (8 bits, or a depth camera), else 0.
        step_power: Exponent of the step's growth with inverse depth: 0 for quantised disparity, 2 for quantised depth.
        soft: Whether edges are ramps of several pixels instead of jumps.
        ramps: As `soft`, for large steady rises only: rough surfaces, like foliage, look like jumps.
    """

    noise: float = 0.0
    noise_power: float = 1.0
    noise_length: float = 1.0
    pixel_noise: float = 0.0
    step: float = 0.0
    step_power: int = 0
    soft: bool = False
    ramps: bool = False


class _Quiet(NamedTuple):
    """Inverse depth of the quiet blocks of the nearer or the farther half, and their relative deviation s(k) for each lag."""

    value: float
    deviations: dict[int, float]


@torch.no_grad()
def measure_noise(inverse: Tensor, valid: Tensor) -> DepthNoise:
    """Measures noise, quantisation and edge softness of inverse depth (1, 1, H, W) from a sample of rows and columns.

    Synchronises the device several times. `valid` is 1 or 0; there inverse depth is positive and finite.
    """
    height, width = inverse.shape[-2:]
    row_stride = max(1, height * width // _SAMPLE_PIXELS)
    bends = [
        _bends(_every(d, row_stride), _every(v, row_stride))
        for d, v in ((inverse[0, 0], valid[0, 0]), (inverse[0, 0].T, valid[0, 0].T))
        if d.shape[1] >= 5
    ]
    if not bends:
        return DepthNoise()
    centre, bend, largest_share, staircase, steady_rise = (torch.cat(parts) for parts in zip(*bends, strict=True))
    if centre.numel() == 0:
        return DepthNoise()
    pixel_noise = float((bend / centre).median()) / _BEND_PER_DEVIATION
    stairs = float(staircase.mean()) > 0.03
    step, step_power, is_regular = _quantisation_step(centre) if stairs else (0.0, 0, False)
    blurred_step = _period_of_levels([(d[on > 0], rise[on > 0]) for d, rise, _, on, _ in bends]) if stairs else 0.0
    # If the values between the levels are few, too, the gaps show their rounding.
    if blurred_step > _COARSER * step * float(centre.median()) ** step_power:
        step, step_power = blurred_step, 0
    else:
        blurred_step = 0.0
        if not is_regular:
            step, step_power = 0.0, 0
    strong = bend > torch.clamp(centre * max(0.03, 10 * pixel_noise), min=3 * step)
    low, high = centre.quantile(centre.new_tensor((0.02, 0.98)))
    large = strong & (steady_rise > _LARGE_RISE * (high - low))
    # A jump rises in one step, a ramp in several.
    soft, ramps = (shares.numel() > 0 and float(shares.median()) < 0.75 for shares in (largest_share[strong], largest_share[large]))
    if blurred_step:
        noise, noise_power, noise_length = blurred_step * _SENSOR_NOISE, 0, _SENSOR_LENGTH
    else:
        noise, noise_power, noise_length = _noise_of_halves(inverse, valid, step, step_power)
    return DepthNoise(noise, noise_power, noise_length, pixel_noise, step, step_power, soft, ramps)


def _noise_of_halves(inverse: Tensor, valid: Tensor, step: float, step_power: int) -> tuple[float, float, float]:
    """The noise's deviation at inverse depth 1, its exponent, and its length."""
    halves = [quiet for quiet in _quiet_places(inverse, valid, step, step_power) if max(quiet.deviations.values()) > _ROUNDING]
    shared = [(quiet, noise) for quiet in halves if (noise := _shared_noise(quiet.deviations))]
    by_half = []
    # If relief hides correlated noise in one half, the other half decides for both.
    for quiet, (deviation, length) in shared or [(quiet, (_unshared_noise(quiet.deviations), 1.0)) for quiet in halves]:
        rounding = (step * quiet.value ** (step_power - 1)) ** 2 / 12
        variance = deviation**2 - 2 * rounding
        # Noise below the rounding is ignored: the step covers it.
        if variance > max(rounding, _ROUNDING**2):
            by_half.append((quiet.value, math.sqrt(variance), length))
    if len(by_half) < 2:
        # Noise hidden by a curved surface in one half is no evidence of how it depends on depth.
        _, deviation, length = by_half[0] if by_half else (1.0, 0.0, 1.0)
        return deviation, 1.0, length
    (near, near_deviation, near_length), (far, far_deviation, far_length) = by_half
    power = 1.0
    span = float(_soft_step((near / far - _DEPTH_SPAN) / (_DEPTH_SPAN - 1)))
    if span > 0:
        # Not rounded to a whole power: near a tie, a rounding error would switch it.
        power += span * min(1.0, max(-1.0, math.log(near_deviation / far_deviation) / math.log(near / far)))
    noise = math.sqrt(near_deviation * far_deviation) * math.sqrt(near * far) ** (1 - power)
    return noise, power, math.sqrt(near_length * far_length)


def _soft_step(above: float | np.ndarray) -> np.ndarray:
    """A ramp from 0 to 1 around 0, for a relative distance above a limit."""
    return np.clip(above / _UNDECIDED + 0.5, 0, 1)


def _quiet_places(inverse: Tensor, valid: Tensor, step: float, step_power: int) -> list[_Quiet]:
    """The quietest quarter of measurements in the near and in the far half of the blocks; without an empty half."""
    lags, values, bends = _block_medians(inverse, valid, step, step_power)
    nearest = [block for block in np.argsort(-values) if np.isfinite(values[block])]
    middle = (len(nearest) + 1) // 2
    halves = []
    for half in (nearest[:middle], nearest[middle:]):
        places = bends[:, :, half].reshape(len(lags), -1)
        # As many lags as any measurement has.
        usable = int(np.isfinite(places).cumprod(0).any(1).sum())
        places, owners = places[:usable], np.tile(half, 2)
        whole = np.isfinite(places).all(0)
        if usable == 0 or not whole.any():
            continue
        places, owners = places[:, whole], owners[whole]
        loudness = np.log(places.clip(1e-12)).mean(0)
        # The quietest quarter alone is biased low by chance, so measurements that are hardly louder are used, too.
        limit = np.quantile(loudness, _QUIET_SHARE) + _LOUDNESS_SCATTER
        quiet = _soft_step((limit - loudness) / _LOUDNESS_SCATTER)
        quiet = quiet / quiet.sum()
        deviations = places @ quiet / _BEND_PER_DEVIATION
        halves.append(_Quiet(float(values[owners] @ quiet), dict(zip(lags, deviations.tolist(), strict=False))))
    return halves


def _block_medians(inverse: Tensor, valid: Tensor, step: float, step_power: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Medians of blocks, fetched from the device in one copy; NaN where a block has hardly any pixels.

    The lags that fit into the image, the blocks' values (N,), and their relative second differences (lags, 2, N), along rows and columns.
    """
    height, width = inverse.shape[-2:]
    # Odd, so that patterns of period 2 are sampled in both phases.
    stride = round(math.sqrt(height * width / _NOISE_SAMPLES)) | 1
    blocks = min(_BLOCKS, max(1, math.isqrt(height * width // stride**2 // _BLOCK_SAMPLES)))
    trusted = torch.where(valid > 0, inverse, math.nan)[0, 0]
    rows, columns = _every(trusted, stride), _every(trusted.T, stride)
    if step:
        noise = partial(torch.rand, generator=torch.Generator().manual_seed(0), device="cpu")
        rows, columns = (d + d**step_power * step * (noise(d.shape, dtype=torch.float32).to(d) - 0.5) for d in (rows, columns))
    lags = [lag for lag in _LAGS if 2 * lag < max(height, width)]
    medians = [_medians(rows[:, ::stride], blocks)]
    for lag in lags:
        medians.append(_medians(_relative_bends(rows, lag, stride), blocks))
        medians.append(_medians(_relative_bends(columns, lag, stride), blocks).T)
    values, *bends = torch.stack(medians).flatten(1).tolist()
    return lags, np.array(values), np.array(bends).reshape(len(lags), 2, -1)


def _relative_bends(lines: Tensor, lag: int, stride: int) -> Tensor:
    """Relative |second differences| at every stride-th pixel of lines (N, L); NaN where any of the three values is NaN."""
    before, centre, after = (lines[:, i * lag : max(0, lines.shape[1] - (2 - i) * lag) : stride] for i in range(3))
    return (before + after - 2 * centre).abs() / centre


def _medians(samples: Tensor, blocks: int) -> Tensor:
    """Medians (blocks, blocks) of samples (N, M); NaN where a block has few finite samples."""
    height, width = (max(1, -(-size // blocks)) for size in samples.shape)
    padded = F.pad(samples, (0, width * blocks - samples.shape[1], 0, height * blocks - samples.shape[0]), value=math.nan)
    parts = padded.view(blocks, height, blocks, width).transpose(1, 2).flatten(2)
    counts = parts.isfinite().sum(-1)
    return torch.where(counts * 4 >= counts.to(parts).mean(), parts.nanmedian(-1).values, math.nan)


def _shared_noise(measured: dict[int, float]) -> tuple[float, float] | None:
    """Deviation and length of correlated noise, if deviations s(k) pass the checks in the module's docstring."""
    deviation, length = _white_noise_alike(measured)
    if not _SHORTEST < length < _LONGEST:
        return None
    foretold = {k: deviation * math.sqrt(max(0.0, 1 - (4 * _shared(k, length) - _shared(2 * k, length)) / 3)) for k in measured}
    possible = all(foretold[k] <= _MISFIT * measured[k] for k in measured)
    explained = all(foretold[k] * _MISFIT >= measured[k] for k in (1, 2))
    return (deviation, length) if possible and explained else None


def _unshared_noise(measured: dict[int, float]) -> float:
    """Deviation of white noise, from neighbouring pixels.

    On a smooth surface s(1)^2 = n^2 + b^2 and s(2)^2 = n^2 + (4 b)^2, so n^2 = (16 s(1)^2 - s(2)^2) / 15. If s(2) exceeds four times
    s(1), the cause is jumps, which lag 1 meets less often: the more jumps, the less is subtracted.
    """
    first = measured[1]
    if first == 0:
        return 0.0
    growth = (measured.get(2, first) / first) ** 2
    return first * math.sqrt(min(1.0, math.hypot(16 - growth, _GROWTH_SCATTER) / 15))


def _shared(distance: float, length: float) -> float:
    """Correlation at `distance` pixels of noise of that length: a Gaussian whose sum over all neighbours is length^2."""
    return math.exp(-math.pi * (distance / length) ** 2)


def _white_noise_alike(deviations: dict[int, float]) -> tuple[float, float]:
    """Standard deviation and length of the noise that fits deviations s(k) best; see the module's docstring."""
    lags = [k for k in _NOISE_LAGS if 2 * k in deviations]
    if not lags:
        return min(deviations.values()), 1.0
    variances = np.array([max(0.0, (4 * deviations[k] ** 2 - deviations[2 * k] ** 2) / 3) for k in lags])
    shapes = _NOISE_SHAPES[:, : len(lags)]
    # The remainder of the surface grows with the lag, so longer lags weigh less.
    weights = 1 / np.array(lags)
    scales = shapes @ (weights * variances) / (shapes**2 @ weights).clip(1e-12)
    misfits = (variances - scales[:, None] * shapes) ** 2 @ weights
    best = min(max(int(misfits.argmin()), 1), len(_LENGTHS) - 2)
    # Minimum of the parabola through the best three, so that rounding errors cannot switch the result visibly.
    left, lowest, right = misfits[best - 1 : best + 2].tolist()
    bend = left - 2 * lowest + right
    place = best + (min(1.0, max(-1.0, (left - right) / (2 * bend))) if bend > 0 else 0.0)
    variance, length = (float(np.interp(place, range(len(_LENGTHS)), values)) for values in (scales, _LENGTHS))
    return math.sqrt(variance), max(1.0, length)


# From less than a pixel (white noise) to twelve.
_LENGTHS = 0.5 * 1.02 ** np.arange(161)
_RHO, _RHO_2, _RHO_4 = (np.exp(-math.pi * (times * np.array(_NOISE_LAGS) / _LENGTHS[:, None]) ** 2) for times in (1, 2, 4))
# n(k)^2 for each length and lag, for noise of deviation 1 with Gaussian correlation of the sum length^2.
_NOISE_SHAPES = (1 - (16 * _RHO - 8 * _RHO_2 + _RHO_4) / 9).clip(0)


def _every(lines: Tensor, stride: int) -> Tensor:
    """Every stride-th of the lines (N, L), at least one."""
    return lines[min(stride // 2, lines.shape[0] - 1) :: stride]


def _bends(lines: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
    """Second differences along lines (N, L).

    For usable pixels, all (M,): value, |second difference|, the share of the largest step in the rise over five pixels, 1 where exactly one
    neighbour is equal, and that rise if it is nearly monotonic, else 0.
    """
    before2, before, centre, after, after2 = (lines[:, i : lines.shape[1] - 4 + i] for i in range(5))
    usable = valid.unfold(1, 5, 1).amin(-1) > 0
    bend = (2 * centre - before - after).abs()
    steps, rise = lines.diff(dim=1).abs().unfold(1, 4, 1), (after2 - before2).abs()
    largest_share = steps.amax(-1) / rise.clamp(min=1e-12)
    steady_rise = torch.where(steps.sum(-1) <= _STEADY * rise, rise, 0)
    staircase = ((before == centre) != (centre == after)).to(lines)
    return centre[usable], bend[usable], largest_share[usable], staircase[usable], steady_rise[usable]


def _quantisation_step(values: Tensor) -> tuple[float, int, bool]:
    """The median gap between distinct values, its exponent, and whether the gaps are regular; 0 if there are many values."""
    distinct = torch.unique(values)
    if not 3 <= distinct.numel() < _QUANTISED_VALUES:
        return 0.0, 0, False
    gaps, middle = distinct.diff(), (distinct[1:] + distinct[:-1]) / 2
    best = (math.inf, 0.0, 0)
    for power in (0, 2):
        scaled = gaps / middle**power
        step = scaled.median()
        spread = float(((scaled - step).abs() / step).median())
        best = min(best, (spread, float(step), power))
    spread, step, power = best
    return step, power, spread < _REGULAR_GAPS


def _period_of_levels(treads: list[tuple[Tensor, Tensor]]) -> float:
    """The step of a source that was quantised, then resampled and rounded again: the period at which values are frequent, or 0.

    Equidistant levels are a peak in the spectrum of the histogram. The rows of an upright camera's floor and the columns of a wall are such
    levels too, but in one direction only. `treads` are values with an equal neighbour on one side, and the distance to the neighbour on the
    other side, both (N,); along rows and along columns.
    """
    values = torch.cat([each for each, _ in treads]).cpu().double()
    if len(treads) < 2 or values.numel() < _LEAST_LEVELS:
        return 0.0
    levels = torch.unique(values)
    low, high = levels[0], levels[int(0.99 * (levels.numel() - 1))]
    spectra = [_levels_spectrum(each.cpu().double(), low, high) for each, _ in treads]
    spectrum = torch.minimum(*spectra)
    # Other frequencies belong to the histogram's shape, and may be stronger.
    steps = float(high - low) * 2 / torch.arange(len(spectrum))
    rise = float(torch.cat([rise for _, rise in treads]).median())
    spectrum[(steps * _LEAST_RISE >= rise) | (steps * _LARGEST_RISE <= rise)] = 0
    strongest = float(spectrum.max())
    if strongest < _LEVEL_CONTRAST:
        return 0.0
    # Harmonics may be as strong: the lowest frequency is the step's, at the top of its peak.
    first = int((spectrum >= 0.7 * strongest).int().argmax())
    first += int(spectrum[first : first + 4].argmax())
    return float(steps[first])


def _levels_spectrum(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The share (0 to 1) of the values (N,) that are in step, for each half-integer number of steps between `low` and `high`."""
    levels, counts = torch.unique(values[values < high], return_counts=True)
    if levels.numel() < _LEAST_LEVELS:
        return values.new_zeros(_LEVEL_BINS // 2)
    # Root and limit keep a few large walls from dominating.
    weights = counts.double().sqrt()
    weights = weights.clamp(max=_LARGEST_WEIGHT * weights.mean())
    weights = weights / weights.sum()
    place = ((levels - low) / (high - low) * _LEVEL_BINS).long().clamp(0, _LEVEL_BINS - 1)
    histogram = torch.bincount(place, weights, minlength=_LEVEL_BINS)
    # Zero-padded, to resolve periods between two frequencies.
    spectrum = torch.fft.rfft(histogram, 2 * _LEVEL_BINS).abs()[: _LEVEL_BINS // 2]
    spectrum[: 2 * _LEAST_LEVELS] = 0  # fewer levels are the histogram's shape
    return torch.where(spectrum > _LEVEL_CHANCE * weights.square().sum().sqrt(), spectrum, 0)
