"""Measures the noise of inverse depth: its level and correlation length, quantisation, and soft edges.

The noise of depth cameras is not white. Matching windows, filters and resampling make neighbouring pixels share their error: the
second difference of three neighbours shows a fraction of it, and a window averages less of it away than its pixels promise. What
tells noise from a surface is how the median second difference |D(x - k) - 2 D(x) + D(x + k)| grows with the lag k:

- white noise: it does not;
- correlated noise: like k^2 at first; no more where k is longer than the correlation;
- a curved surface: like k^2; creases, and scenes of many pieces (a network's depth): like k. Both go on.

A surface at least doubles when the lag doubles; noise stays as it is, once the lag is long enough. Let s(k) be the deviation of a
value that the second differences at lag k speak of. From s(k)^2 = n^2 + b^2 and s(2k)^2 = n^2 + (2b)^2 follows

    n(k)^2 = (4 s(k)^2 - s(2k)^2) / 3,

what noise there is beside a surface, and nothing where all is surface. Noise of deviation sigma and correlation rho alone has
n(k)^2 = sigma^2 (1 - 16/9 rho(k) + 8/9 rho(2k) - 1/9 rho(4k)). The sigma and the length of correlation that come closest to the
measured n(k) are the best guess (`_white_noise_alike`). Medians keep edges out of it.

Relief can look like noise: pebbles, plaster and bricks stop growing too, at the lag of their size. To take relief for noise flattens
it; to take noise for relief only leaves the noise. So shared noise is believed only where nothing speaks against it:

- Noise is everywhere, along rows and along columns; relief need not be. Only the quiet quarter of all places counts, with those that are
  hardly louder; a place is a block of the image seen along its rows or along its columns. A wall beside pebbles, or the other
  direction of a corrugated sheet, shows that there is no noise.
- Noise of sensors is shared over a few pixels. What stays smooth over more than `_LONGEST` of them is a surface.
- The guess must foretell what is measured. Noise adds to the surface, so s(k) of the noise alone may nowhere be above the measured one;
  and it must explain most of it at lags 1 and 2, where a surface adds least. Relief under white noise fails there.

What is not believed is white noise, as strong as neighbouring pixels show without the part of a smooth surface (`_unshared_noise`).
The limits: noise shared over more than 5 pixels stays, and relief that is as fine, as irregular and as omnipresent as noise (grains
of up to about 8 pixels) goes.

Length means the side L of the square over which noise is shared: L^2 is the sum of rho over all neighbours. On scales above L such
noise is white noise of deviation L sigma, averaged over L x L pixels; which is all that a fit has to know of it.

Depth cameras differ in how noise depends on depth: it is the same everywhere in inverse depth (stereo, structured light), a share of
it, or the same everywhere in depth (time of flight). The near and the far half of the blocks, each measured for itself, tell which.

A depth camera's file that was registered to a colour camera is a staircase blurred by resampling: its second differences are neither
those of white noise nor of shared noise, and its values are many. Its levels still are equally far apart: a peak in the spectrum of the
values' histogram (`_period_of_levels`). Its noise cannot be measured; half a step, shared over three pixels, is usual.

Medians of a staircase are whole steps. A quantised source is therefore dithered by its step first; the variance of the dither and of
the rounding, a twelfth of a squared step each, is taken off again.

Source:
    Structure functions tell turbulence from drift in the same way (V. I. Tatarskii, "Wave propagation in a turbulent medium", 1961).
    Noise of depth cameras: K. Khoshelham and S. O. Elberink, "Accuracy and resolution of Kinect depth data", Sensors 12, 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SAMPLE_PIXELS = 2**16
# A source of fewer distinct values is a quantised one.
_QUANTISED_VALUES = 2048
# How far the gaps between the values of a quantised source are from their median, at most, as a share of it: half of them. Values that
# are few because the image is small have gaps of any size, half of which are 0.69 and more of the median off.
_REGULAR_GAPS = 0.6
# Levels that resampling has blurred: the fewest, the bins of their histogram, the least share of values that must be in step, and how
# many steps the median rise from one to the next may have.
_LEAST_LEVELS = 16
_LEVEL_BINS = 2**14
_LEVEL_CONTRAST = 0.12
# How many deviations of chance that share exceeds, along rows and along columns: values without levels do at one frequency of 8192 in a
# billion maps (exp(-2 * 4^2) each). A small map, or one with a large flat wall, has few levels, and hardly more than that to show.
_LEVEL_CHANCE = 4.0
# How many times the mean weight of a level one may have: of a frontal wall, a few levels are most of the image.
_LARGEST_WEIGHT = 4.0
_LEAST_RISE, _LARGEST_RISE = 0.1, 1.5
# How many times a step must exceed what the values between the levels are rounded to.
_COARSER = 4.0
# The noise of the cameras that make such levels, in steps, and its length.
_SENSOR_NOISE, _SENSOR_LENGTH = 0.5, 3.0
# The deviation of a value is the median |second difference| divided by this, for normally distributed noise.
_BEND_PER_DEVIATION = 0.6745 * math.sqrt(6)
# Places at which second differences of all lags are taken, along rows and along columns each.
_NOISE_SAMPLES = 2**13
_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
_NOISE_LAGS = tuple(lag for lag in _LAGS if 2 * lag in _LAGS)
# Blocks a side that the image is cut into, the places a block should have at least, and the share of quiet places that is used.
_BLOCKS = 4
_BLOCK_SAMPLES = 256
_QUIET_SHARE = 0.25
# By how much the same noise may seem louder in one place than in another, as a logarithm.
_LOUDNESS_SCATTER = 0.1
# What lies closer to a limit than this share of the distance to the next is between the two: a limit itself is a matter of rounding.
_UNDECIDED = 0.4
# By how much s(2)^2 / s(1)^2 of medians scatters: a surface that grows 16 times is not known to be free of noise.
_GROWTH_SCATTER = 0.3
# Shared noise is believed between these lengths, and up to this factor between what it foretells and what is measured. Noise that is
# shared over less than two pixels hardly differs from white noise on relief; rounded noise shows a third less at lag 1 than others.
_SHORTEST, _LONGEST = 1.8, 5.5
_MISFIT = 1.6
# How many times a steady rise over five pixels may be exceeded by the sum of its steps, and from what share of the image's range on it is
# an edge, and no roughness.
_STEADY, _LARGE_RISE = 1.3, 0.15
# How many times nearer the near half must be to tell how noise depends on depth.
_DEPTH_SPAN = 1.2
# A deviation that is no larger share of the value is that of float32, and tells nothing of noise.
_ROUNDING = 4e-6


@dataclass(frozen=True)
class DepthNoise:
    """The noise of inverse depth.

    Attributes:
        noise: Standard deviation of a value where inverse depth is 1.
        noise_power: How the noise grows with inverse depth: 0 for stereo and structured light, 1 for a share of the value, 2 for
            noise that is the same in depth; between them where nothing tells two of them apart.
        noise_length: Side of the square of pixels over which the noise is shared; 1 for white noise.
        pixel_noise: Standard deviation that neighbouring pixels seem to have, as a share of the value: the noise, where it is white.
        step: Distance of neighbouring levels where the values are few (an 8-bit source) or gather at levels (a depth camera), else 0.
        step_power: How the step grows with inverse depth: 0 for quantised disparity, 2 for quantised depth.
        soft: Whether edges are ramps of several pixels instead of jumps.
        ramps: The same of large steady rises alone: rough surfaces, like foliage, look like jumps.
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
    """The value of the quiet places of the nearer or the farther half, and the deviation s(k) for each lag as a share of it."""

    value: float
    deviations: dict[int, float]


@torch.no_grad()
def measure_noise(inverse: Tensor, valid: Tensor) -> DepthNoise:
    """Noise, quantisation and softness of edges, from some rows and columns. Synchronises the device several times.

    Args:
        inverse: (1, 1, H, W) inverse depth, positive and finite.
        valid: (1, 1, H, W), 1 where it can be trusted, 0 elsewhere.
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
    # Where values between the levels are few too, the gaps show what they were rounded to.
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
    """The noise's deviation where inverse depth is 1, the power of inverse depth it grows with, and its length."""
    halves = [quiet for quiet in _quiet_places(inverse, valid, step, step_power) if max(quiet.deviations.values()) > _ROUNDING]
    shared = [(quiet, noise) for quiet in halves if (noise := _shared_noise(quiet.deviations))]
    by_half = []
    # Where relief hides in one half that noise is shared, the other half speaks for both.
    for quiet, (deviation, length) in shared or [(quiet, (_unshared_noise(quiet.deviations), 1.0)) for quiet in halves]:
        rounding = (step * quiet.value ** (step_power - 1)) ** 2 / 12
        variance = deviation**2 - 2 * rounding
        # Noise that is weaker than the rounding is left to the step, or none.
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
        # Not rounded: halves between two powers would be one or the other by a rounding error.
        power += span * min(1.0, max(-1.0, math.log(near_deviation / far_deviation) / math.log(near / far)))
    noise = math.sqrt(near_deviation * far_deviation) * math.sqrt(near * far) ** (1 - power)
    return noise, power, math.sqrt(near_length * far_length)


def _soft_step(above: float | np.ndarray) -> np.ndarray:
    """0 below 0 and 1 above, with a ramp around it; for what is as far above a limit, as a share of the distance to the next."""
    return np.clip(above / _UNDECIDED + 0.5, 0, 1)


def _quiet_places(inverse: Tensor, valid: Tensor, step: float, step_power: int) -> list[_Quiet]:
    """The quiet quarter of the places in the near and in the far half of the blocks; fewer where a half is empty."""
    lags, values, bends = _block_medians(inverse, valid, step, step_power)
    nearest = [block for block in np.argsort(-values) if np.isfinite(values[block])]
    middle = (len(nearest) + 1) // 2
    halves = []
    for half in (nearest[:middle], nearest[middle:]):
        places = bends[:, :, half].reshape(len(lags), -1)
        # As many lags as some place has.
        usable = int(np.isfinite(places).cumprod(0).any(1).sum())
        places, owners = places[:usable], np.tile(half, 2)
        whole = np.isfinite(places).all(0)
        if usable == 0 or not whole.any():
            continue
        places, owners = places[:, whole], owners[whole]
        loudness = np.log(places.clip(1e-12)).mean(0)
        # The quietest by chance alone would underestimate the noise: those hardly louder are used too.
        limit = np.quantile(loudness, _QUIET_SHARE) + _LOUDNESS_SCATTER
        quiet = _soft_step((limit - loudness) / _LOUDNESS_SCATTER)
        quiet = quiet / quiet.sum()
        deviations = places @ quiet / _BEND_PER_DEVIATION
        halves.append(_Quiet(float(values[owners] @ quiet), dict(zip(lags, deviations.tolist(), strict=False))))
    return halves


def _block_medians(inverse: Tensor, valid: Tensor, step: float, step_power: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Medians of blocks, which leave the device together; NaN where a block has hardly any pixels.

    Returns:
        The lags that fit into the image, the blocks' values (N,), and their second differences as a share of the value,
        (lags, 2, N), along rows and along columns.
    """
    height, width = inverse.shape[-2:]
    # Odd: patterns that repeat every second pixel are met in both phases.
    stride = round(math.sqrt(height * width / _NOISE_SAMPLES)) | 1
    blocks = min(_BLOCKS, max(1, math.isqrt(height * width // stride**2 // _BLOCK_SAMPLES)))
    trusted = torch.where(valid > 0, inverse, math.nan)[0, 0]
    rows, columns = _every(trusted, stride), _every(trusted.T, stride)
    if step:
        noise = torch.Generator().manual_seed(0)
        rows, columns = (d + d**step_power * step * (torch.rand(d.shape, generator=noise).to(d) - 0.5) for d in (rows, columns))
    lags = [lag for lag in _LAGS if 2 * lag < max(height, width)]
    medians = [_medians(rows[:, ::stride], blocks)]
    for lag in lags:
        medians.append(_medians(_relative_bends(rows, lag, stride), blocks))
        medians.append(_medians(_relative_bends(columns, lag, stride), blocks).T)
    values, *bends = torch.stack(medians).flatten(1).tolist()
    return lags, np.array(values), np.array(bends).reshape(len(lags), 2, -1)


def _relative_bends(lines: Tensor, lag: int, stride: int) -> Tensor:
    """|Second differences| as a share of the value at every stride-th place of lines (N, L); NaN where one of the three is."""
    before, centre, after = (lines[:, i * lag : max(0, lines.shape[1] - (2 - i) * lag) : stride] for i in range(3))
    return (before + after - 2 * centre).abs() / centre


def _medians(samples: Tensor, blocks: int) -> Tensor:
    """Medians (blocks, blocks) of samples (N, M) cut into so many parts a side; NaN where few of a part's samples are numbers."""
    height, width = (max(1, -(-size // blocks)) for size in samples.shape)
    padded = F.pad(samples, (0, width * blocks - samples.shape[1], 0, height * blocks - samples.shape[0]), value=math.nan)
    parts = padded.view(blocks, height, blocks, width).transpose(1, 2).flatten(2)
    counts = parts.isfinite().sum(-1)
    return torch.where(counts * 4 >= counts.to(parts).mean(), parts.nanmedian(-1).values, math.nan)


def _shared_noise(measured: dict[int, float]) -> tuple[float, float] | None:
    """Deviation and length of the noise that explains deviations s(k), if nothing of what the head of this file names denies it."""
    deviation, length = _white_noise_alike(measured)
    if not _SHORTEST < length < _LONGEST:
        return None
    foretold = {k: deviation * math.sqrt(max(0.0, 1 - (4 * _shared(k, length) - _shared(2 * k, length)) / 3)) for k in measured}
    possible = all(foretold[k] <= _MISFIT * measured[k] for k in measured)
    explained = all(foretold[k] * _MISFIT >= measured[k] for k in (1, 2))
    return (deviation, length) if possible and explained else None


def _unshared_noise(measured: dict[int, float]) -> float:
    """Deviation of the white noise that neighbouring pixels show.

    From s(1)^2 = n^2 + b^2 and s(2)^2 = n^2 + (4 b)^2, a smooth surface, follows n^2 = (16 s(1)^2 - s(2)^2) / 15. More than four times
    s(1) at lag 2 is no smooth surface but jumps, which lag 1 meets less often: the more of them, the less there is to take off.
    """
    first = measured[1]
    if first == 0:
        return 0.0
    growth = (measured.get(2, first) / first) ** 2
    return first * math.sqrt(min(1.0, math.hypot(16 - growth, _GROWTH_SCATTER) / 15))


def _shared(distance: float, length: float) -> float:
    """Correlation of values `distance` pixels apart in noise of that length: a Gaussian whose sum over all neighbours is length^2."""
    return math.exp(-math.pi * (distance / length) ** 2)


def _white_noise_alike(deviations: dict[int, float]) -> tuple[float, float]:
    """Standard deviation and side of the square of the noise that explains deviations s(k) best; see the module's docstring."""
    lags = [k for k in _NOISE_LAGS if 2 * k in deviations]
    if not lags:
        return min(deviations.values()), 1.0
    variances = np.array([max(0.0, (4 * deviations[k] ** 2 - deviations[2 * k] ** 2) / 3) for k in lags])
    shapes = _NOISE_SHAPES[:, : len(lags)]
    # What is left of the surface grows with the lag: longer lags weigh less.
    weights = 1 / np.array(lags)
    scales = shapes @ (weights * variances) / (shapes**2 @ weights).clip(1e-12)
    misfits = (variances - scales[:, None] * shapes) ** 2 @ weights
    best = min(max(int(misfits.argmin()), 1), len(_LENGTHS) - 2)
    # Where the parabola through the best three is lowest: a rounding error in the image must not turn the choice visibly.
    left, lowest, right = misfits[best - 1 : best + 2].tolist()
    bend = left - 2 * lowest + right
    place = best + (min(1.0, max(-1.0, (left - right) / (2 * bend))) if bend > 0 else 0.0)
    variance, length = (float(np.interp(place, range(len(_LENGTHS)), values)) for values in (scales, _LENGTHS))
    return math.sqrt(variance), max(1.0, length)


def _noise_shapes(lengths: np.ndarray) -> np.ndarray:
    """n(k)^2 for each length and lag, of noise of deviation 1 whose correlation is a Gaussian of the sum length^2."""
    rho, rho2, rho4 = (np.exp(-math.pi * (times * np.array(_NOISE_LAGS) / lengths[:, None]) ** 2) for times in (1, 2, 4))
    return (1 - (16 * rho - 8 * rho2 + rho4) / 9).clip(0)


# From less than a pixel, which is white noise, to twelve.
_LENGTHS = 0.5 * 1.02 ** np.arange(161)
_NOISE_SHAPES = _noise_shapes(_LENGTHS)


def _every(lines: Tensor, stride: int) -> Tensor:
    """Every stride-th of the lines (N, L), at least one."""
    return lines[min(stride // 2, lines.shape[0] - 1) :: stride]


def _bends(lines: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
    """Second differences along lines (N, L).

    Returns:
        Values of usable pixels, all (M,): themselves, |second differences|, the share of the largest step in the rise over five
        pixels, 1 where an equal neighbour faces an unequal one, and that rise where hardly any step in it goes back, else 0.
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
    """The median gap between the distinct values, the power of the value it grows with, and whether the gaps are regular; 0 of many."""
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
    """The period at which values are frequent, or 0: the step of a source that was quantised, then resampled and rounded again.

    Levels at equal distances are a peak in the spectrum of the values' histogram, whatever lies between them. The rows of an upright
    camera's floor and the columns of a wall are such levels too, but in one direction alone.

    Args:
        treads: Values that have an equal neighbour on one side, and how far off the neighbour on the other side is, both (N,); along
            rows and along columns.
    """
    values = torch.cat([each for each, _ in treads]).cpu().double()
    if len(treads) < 2 or values.numel() < _LEAST_LEVELS:
        return 0.0
    levels = torch.unique(values)
    low, high = levels[0], levels[int(0.99 * (levels.numel() - 1))]
    spectra = [_levels_spectrum(each.cpu().double(), low, high) for each, _ in treads]
    spectrum = torch.minimum(*spectra)
    # Other frequencies are those of the histogram's shape, which may be stronger.
    steps = float(high - low) * 2 / torch.arange(len(spectrum))
    rise = float(torch.cat([rise for _, rise in treads]).median())
    spectrum[(steps * _LEAST_RISE >= rise) | (steps * _LARGEST_RISE <= rise)] = 0
    strongest = float(spectrum.max())
    if strongest < _LEVEL_CONTRAST:
        return 0.0
    # Multiples of the frequency may be as strong: the lowest is the step's, at the top of its peak.
    first = int((spectrum >= 0.7 * strongest).int().argmax())
    first += int(spectrum[first : first + 4].argmax())
    return float(steps[first])


def _levels_spectrum(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The share (0 to 1) of the values (N,) that is in step, for each half of a number of steps between low and high."""
    levels, counts = torch.unique(values[values < high], return_counts=True)
    if levels.numel() < _LEAST_LEVELS:
        return values.new_zeros(_LEVEL_BINS // 2)
    # The root and the limit keep a few large walls from outweighing all else.
    weights = counts.double().sqrt()
    weights = weights.clamp(max=_LARGEST_WEIGHT * weights.mean())
    weights = weights / weights.sum()
    place = ((levels - low) / (high - low) * _LEVEL_BINS).long().clamp(0, _LEVEL_BINS - 1)
    histogram = torch.bincount(place, weights, minlength=_LEVEL_BINS)
    # As many zeros again: a period between two frequencies must not be missed.
    spectrum = torch.fft.rfft(histogram, 2 * _LEVEL_BINS).abs()[: _LEVEL_BINS // 2]
    spectrum[: 2 * _LEAST_LEVELS] = 0  # fewer levels are the shape of the histogram
    return torch.where(spectrum > _LEVEL_CHANCE * weights.square().sum().sqrt(), spectrum, 0)
