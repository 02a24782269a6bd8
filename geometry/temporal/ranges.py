"""The value ranges of a video, updated chunk by chunk or measured over the whole clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..levels import MeasureRange, measure_range, measure_range_of_samples, sample_stride
from ..valid import are_all, are_finite
from .shot_cuts import CutDetector

# Frames in which the excess of the range shrinks to 1/e, ten seconds or so. Were it faster, the grey levels of a
# still scene would swing each time that somebody passes.
_WINDOW = 240
# Share by which the range may exceed a frame's own. Extremes contain noise, which shrinks with averaging; following
# it would change the grey levels of a still scene.
_SLACK = 0.04
# Percentage of a frame's valid pixels that may be beyond each end: stray pixels move nothing.
_CLIPPED = 0.1
_MOST_SAMPLES = 2**20
_Ends: TypeAlias = tuple[Tensor, Tensor]


class RunningRange:
    """A range that follows a video. It starts as the first frame's range, and restarts at cuts.

    It widens at once: at most a thousandth of a frame's valid pixels is beyond each end, or the share that the
    percentiles leave out. It narrows within some ten seconds, and at each end only while it exceeds the frame's
    own range by 4 %, so that still scenes keep their grey levels. It is causal. The renderer has to clip values
    beyond the range. The state is two numbers and a thumbnail.

    Args:
        measure: Function that measures the range of a shot's first frame.

    Example:
        >>> running = RunningRange()
        >>> for part in parts:
        ...     image = depth_to_image(part.depth, part.quantity, normalisation=running.update)
    """

    def __init__(self, measure: MeasureRange = measure_range) -> None:
        self._measure = measure
        self._detector = CutDetector()
        self._ends: Tensor | None = None
        self._restarts: Tensor | None = None

    def update(
        self, values: Tensor, valid: Tensor | None = None, percentiles: tuple[float, float] = (0.0, 100.0), cuts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns low and high of the next frames, (B, 1, 1, 1); infinite until the first valid value.

        The device is not synchronised.

        Args:
            values: (B, 1, H, W), one or more frames in order.
            valid: (B, 1, H, W) bool; None = where finite.
            percentiles: As `measure_range`.
            cuts: (B,) bool, which frames begin a shot, from a `CutDetector` of the images; None = detected in
                the values.
        """
        valid = values.abs() < torch.inf if valid is None else valid  # twice as fast as torch.isfinite
        low, high = self._measure(values, valid, percentiles)
        if cuts is None:
            share = (values - low).div_(high - low)
            known = are_finite(share)
            if not (are_all(known) and are_all(valid)):
                share = share.where(valid & known, 0)
            cuts = self._detector.push(share.clamp_(0, 1))
        cuts = cuts.to(values.device).view(-1, 1, 1, 1)
        least, most = _bounds(values, valid, percentiles, (low, high))
        first = torch.minimum(torch.cat((-low, high), 1), most)
        finite = torch.isfinite(first).all(1, keepdim=True)
        ends, restarts = self._ends, self._restarts
        if ends is None or restarts is None:
            ends, restarts = first[:1], torch.ones_like(cuts[:1])
        ends_of_frames = []
        frames = zip(*(each.split(1) for each in (least, most, first, cuts, finite)), strict=True)
        for at_least, at_most, start, cut, is_finite in frames:
            restarts = restarts | cut
            ahead = torch.maximum(ends, at_least)
            ahead = ahead - (ahead - at_most).clamp(min=0) / _WINDOW
            # A frame without valid values keeps the previous range, even after a cut, where no range is better.
            ends = torch.where(is_finite, torch.where(restarts, start, ahead), ends)
            restarts = restarts & ~is_finite
            ends_of_frames.append(ends)
        self._ends, self._restarts = ends, restarts
        low, high = torch.cat(ends_of_frames).split(1, 1)
        return -low, high

    def state_dict(self) -> dict[str, Any]:
        """The state after the frames so far, for `torch.save`."""
        return {"ends": self._ends, "restarts": self._restarts, "cuts": self._detector.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the `state_dict` of another range."""
        self._ends, self._restarts = state["ends"], state["restarts"]
        self._detector.load_state_dict(state["cuts"])


def _bounds(values: Tensor, valid: Tensor, percentiles: tuple[float, float], own: _Ends) -> _Ends:
    """The least and the greatest range for each frame: -low and high, (B, 2, 1, 1) each.

    `own` is the frames' own range, low and high, for those of which a sparse grid finds no valid value.
    """
    shares = sorted((max(percentiles[0], _CLIPPED), min(percentiles[1], 100 - _CLIPPED)))
    inner = measure_range_of_samples(values, valid, (shares[0], shares[1]))
    sampled = inner[1] < torch.inf
    low, high = (torch.where(sampled, *each) for each in zip(inner, own, strict=True))
    # The difference of products stays finite for huge ranges.
    slack = _SLACK * high - _SLACK * low
    return torch.cat((-low, high), 1), torch.cat((slack - low, high + slack), 1)


class ClipRange:
    """One range for a whole video, in two passes: first all parts are added, then each is rendered with `ends`.

    The extremes are exact. Percentiles are those of evenly spaced samples, about a million at most, however long the video is.

    Example:
        >>> clip = ClipRange()
        >>> for part in parts:
        ...     clip.add(depth_to_nearness(part.depth, part.quantity), part.depth_valid)
        >>> for part in parts:
        ...     image = depth_to_image(part.depth, part.quantity, normalisation=clip.ends)
    """

    def __init__(self) -> None:
        self._extremes: tuple[Tensor, Tensor] | None = None
        self._samples: list[Tensor] = []
        self._every, self._count_so_far = 1, 0

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Adds frames: values (B, 1, H, W) and valid (B, 1, H, W) bool."""
        low, high = measure_range(values, valid, per_clip=True)
        if self._extremes is not None:
            low, high = torch.minimum(low, self._extremes[0]), torch.maximum(high, self._extremes[1])
        self._extremes = low, high
        stride = sample_stride(values.shape[-2] * values.shape[-1])
        sparse = values.where(valid, torch.nan)[..., ::stride, ::stride].float()
        for frame in sparse:
            if self._count_so_far % self._every == 0:
                self._samples.append(frame.flatten())
            self._count_so_far += 1
            if len(self._samples) * frame.numel() > _MOST_SAMPLES and len(self._samples) > 1:
                self._samples = self._samples[::2]
                self._every *= 2

    def ends(self, values: Tensor, _valid: Tensor, percentiles: tuple[float, float] = (0.0, 100.0)) -> tuple[Tensor, Tensor]:
        """The range of all added frames, for `depth_to_image`: low and high, (1, 1, 1, 1), on the device of the rendered `values`.

        Infinite if no value was valid. Raises ValueError: no frames were added.
        """
        if self._extremes is None:
            raise ValueError("the range of a clip is asked for before any of its frames was added; add them all first")
        low, high = self._extremes
        if percentiles != (0.0, 100.0):
            samples = torch.cat(self._samples)[None, None, None]
            low, high = measure_range(samples, ~samples.isnan(), percentiles)
        return low.to(values), high.to(values)
