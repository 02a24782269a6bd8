"""Makes per-frame estimates of a video temporally stable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...options.video import VideoOptions
from ...utils import resize_map, sent_to, to_cpu, vector_lengths
from ..alignment.scale_shift import fit_robustly
from ..checks import check_map
from ..conventions import unit_normals
from ..estimate import Estimate
from ..filters.box import box_means
from ..filters.extremes import largest_within
from ..kinds import ZERO_AT_CAMERA, Quantity
from ..valid import are_all, valid_normals
from .camera_motion import camera_motion, sampled, sampling_grid
from .moving_pixels import MovingPixels
from .shot_cuts import CutDetector

# Maximum number of frames in the mean.
_MEMORY = 16
# From this shorter side on, in pixels, half-size images are compared: a local mean decides whether a pixel changed, so they suffice.
_HALVED_FROM = 160
# Change detection, without and with halved images, which show less of a change: the image difference at which the weight of a pixel's
# past falls to 1/e; the radius over which differences are averaged; and the radius within which a change may affect the network's depth.
_CHANGE, _BLUR, _AROUND = {False: 6 / 255, True: 3.5 / 255}, {False: 3, True: 2}, {False: 9, True: 5}
# Weight of changed pixels in the fit: the changed share to this power, so that they matter only if nearly all pixels changed.
_URGENCY = 8
# The share of previous frames with sky must pass one half by this to turn land into sky, or sky into land.
_DOUBT = 0.2
# A mean restarts where this number of consecutive frames deviates in the same direction: by more than this share of the values' spread,
# averaged within this radius. Depth beside a person who walks away changes in each frame; the mean would keep patches of it.
_ON_END, _OTHERWISE, _WINDOW = 3, 0.05, 2
# Share of the metric correction that is undone each frame, so that metres follow the network in the long run.
_LEASH = 1 / 64
# Least number of pixels in the fit of scale and shift; smaller maps are fitted whole.
_SAMPLES = 2**13
_TINY = 1e-12


class VideoAligner:
    """Aligns and smooths the estimates of a video, frame by frame. Each frame uses only the frames before it.

    A single-image model gives each frame another scale and shift, and its depth of still objects flickers. For each frame:

    1. The state, means over previous frames, is warped by the camera's pan, roll and zoom (`camera_motion`; parallax is not followed).
       Metric depth shrinks as the image is magnified.
    2. Each pixel gets a weight in [0, 1] for how unchanged it is: by the similarity of its blurred image to the previous frames, and 0
       where it moves independently (`MovingPixels`), as a mean over a slowly moving object lags behind it in patches.
    3. A robust fit (`fit_robustly`) over the unchanged pixels, or over all pixels if nearly all changed, aligns the frame to the mean:
       disparity and relative depth by scale and shift, the logarithm of metric depth by a shift.
    4. The mean is updated: at each pixel, over up to 16 frames that left it unchanged. Where the image changed, the mean is the frame's
       own value. Where three consecutive frames deviate from it in the same direction, it restarts.
    5. The result is the frame's value and the mean, mixed by `smooth`. A masked sky that is predicted in some frames only appears or
       disappears when clearly more than half of the frames agree.

    A cut (`CutDetector`) resets the state. Metric depth returns to the network's own scale in the long run; a zooming lens is taken for an
    approaching camera. Disparity and relative depth keep their scale whatever the camera does. The model's normals are averaged as its
    depth is; normals computed from depth have to be computed after the alignment.

    Source:
        R. Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020), for scale and shift as the ambiguity of single images;
        S. Chen et al., "Video Depth Anything" (2025), for their alignment along a video; N. Bonneel et al., "Blind Video Temporal
        Consistency" (2015), for the images as evidence of real change. The mean as reference, the fit of two noisy maps, and the
        constants are our own.
    """

    def __init__(self, options: VideoOptions | None = None) -> None:
        self._options = options or VideoOptions()
        self._cuts = CutDetector()
        self._guide: _Mean | None = None
        self._depth: _Mean | None = None
        self._normals: _Mean | None = None
        self._sky: _Mean | None = None  # the share of frames with sky, and whether the pixel is sky
        self._moving = MovingPixels()

    @torch.no_grad()
    def push(self, frames: Tensor, estimate: Estimate) -> Estimate:
        """Aligns the next frames.

        Args:
            frames: (B, 3, H, W) in [0, 1], the images in order; any size, on any device.
            estimate: The model's estimate of these frames; quantity and size must not change within a video.

        Returns:
            The aligned estimate of the same frames. Invalid pixels keep their values. Masked sky, invalid pixels at the farthest depth, is
            an exception unless depth is metric: it gets the farthest aligned depth, or the mean's depth where it becomes land. Each frame
            synchronises a GPU a few times.

        Raises:
            ValueError: The numbers of frames and estimates differ, or the maps' size, or which maps there are, changed within the video.
        """
        check_map(frames, 3, "frames")
        if frames.shape[0] != estimate.batch:
            raise ValueError(f"there are {frames.shape[0]} frames and estimates of {estimate.batch}; each frame needs its own")
        guides = resize_map(frames.to(estimate.device), *_guide_size(estimate.height, estimate.width))
        cuts = self._cuts.push(guides)
        self._check_kind(estimate)
        return Estimate.cat([self._next(guides[i : i + 1], cuts[i], estimate.slice(i, i + 1)) for i in range(estimate.batch)])

    def _check_kind(self, estimate: Estimate) -> None:
        """Initialises the state from the first estimate. Raises ValueError if the maps' size, or which maps there are, changes later."""
        if self._guide is None:
            like = estimate.depth if estimate.depth is not None else estimate.normals
            assert like is not None
            self._guide = _Mean.empty(like, 3, _guide_size(estimate.height, estimate.width))
            self._depth = None if estimate.depth is None else _Mean.empty(like, 1)
            self._normals = None if estimate.normals is None else _Mean.empty(like, 3)
        kept = self._depth or self._normals
        assert kept is not None
        size, new_size = kept.value.shape[-2:], (estimate.height, estimate.width)
        if size != new_size:
            raise ValueError(
                f"the video's estimates had {size[1]}x{size[0]} pixels, the next has {new_size[1]}x{new_size[0]}; begin a new video"
            )
        if (self._depth is None) != (estimate.depth is None) or (self._normals is None) != (estimate.normals is None):
            raise ValueError("the video's estimates differ in what they hold, depth or normals; use one model for all frames")

    def _next(self, guide: Tensor, cut: Tensor, estimate: Estimate) -> Estimate:
        assert self._guide is not None
        moving = self._moving.push(guide, cut if self._options.cuts else None)
        self._follow(guide, cut, estimate.quantity)
        unchanged = _unchanged(guide, self._guide, guide.shape[-2:] != (estimate.height, estimate.width))
        self._guide = self._guide.updated(guide, None, unchanged)
        unchanged = resize_map(unchanged * (1 - moving), estimate.height, estimate.width)
        depth, mask = self._aligned_depth(estimate, unchanged)
        normals = self._smoothed_normals(estimate, mask, unchanged)
        return replace(estimate, depth=depth, normals=normals, mask=mask)

    def _aligned_depth(self, estimate: Estimate, unchanged: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """A frame's aligned and smoothed depth, and its mask with a temporally stable sky."""
        depth, mask = estimate.depth, estimate.mask
        if depth is None or self._depth is None or estimate.quantity is None:
            return depth, mask
        _, quantity, valid = estimate.known_depth()
        is_metric = quantity in ZERO_AT_CAMERA
        holes = None if are_all(valid) else valid
        values = depth if holes is None else depth.where(valid, 1)
        if is_metric:
            values = values.log()  # a change of scale is a shift of the logarithm
        if self._options.align != "none":
            scale, shift = _fit(values, valid, self._depth, unchanged, quantity)
            if is_metric:
                self._depth, shift = replace(self._depth, value=self._depth.value - _LEASH * shift), shift * (1 - _LEASH)
            values = (scale * values).add_(shift)
        spread = (values - values.mean()).abs().mean().clamp(min=_TINY).view(1, 1, 1, 1)
        self._depth = self._depth.updated(values, holes, unchanged, spread)
        values = torch.lerp(values, self._depth.value, self._options.smooth)
        if is_metric:
            return torch.where(valid, values.exp(), depth), mask
        if holes is None and self._sky is None:
            return values, mask
        sign = 1 if quantity is Quantity.DISPARITY else -1
        sky = _masked_sky(depth, valid, sign)
        if mask is not None and self._options.smooth:
            sky, land = self._stable_sky(sky, valid, unchanged)
            values, valid, mask = torch.where(valid, values, self._depth.value), land, (mask & ~sky) | land
        return _with_far_sky(values, valid, depth, sky, sign), mask

    def _smoothed_normals(self, estimate: Estimate, mask: Tensor | None, unchanged: Tensor) -> Tensor | None:
        """A frame's smoothed normals. Pixels that the stable mask (`_aligned_depth`) adds as land get the mean's normals."""
        normals = estimate.normals
        if normals is None or self._normals is None:
            return normals
        valid = valid_normals(normals, estimate.mask)
        self._normals = self._normals.updated(normals.where(valid, 0), valid, unchanged, 1.0)
        mean = torch.lerp(normals, self._normals.value, self._options.smooth)
        if mask is not None and mask is not estimate.mask:
            land = mask & ~valid & (self._normals.count > 0)
            mean, valid = torch.where(land, self._normals.value, mean), valid | land
        return torch.where(valid, unit_normals(mean, estimate.axes), normals)

    def _stable_sky(self, sky: Tensor, valid: Tensor, unchanged: Tensor) -> tuple[Tensor, Tensor]:
        """Updates the share of frames with sky at each pixel. Returns sky and land, (1, 1, h, w) bool each; other pixels are holes."""
        assert self._guide is not None
        assert self._depth is not None
        before = self._sky
        if before is None:  # until the first frame with sky, all was land
            count = resize_map(self._guide.count - 1, sky.shape[-2], sky.shape[-1]).clamp_(min=0)
            before = _Mean(sky.to(unchanged).expand(-1, 2, -1, -1) * 0, count)
        mean = before.updated(sky.to(unchanged).expand(-1, 2, -1, -1), None, unchanged)
        share, was_sky = mean.value[:, :1], before.value[:, 1:]
        is_sky = torch.where((share - 0.5).abs() > _DOUBT, share, was_sky) > 0.5
        self._sky = replace(mean, value=torch.cat((share, is_sky.to(share)), 1))
        land = ~is_sky & (valid | (sky & (self._depth.count > 0)))
        return ~land & (sky | (is_sky & valid)), land

    def _follow(self, guide: Tensor, cut: Tensor, quantity: Quantity | None) -> None:
        """Warps the state by the camera's motion to the next frame, or resets it at a cut."""
        assert self._guide is not None
        motion = camera_motion(self._guide.value, guide, self._moving.motion) if self._guide.begun else None
        if motion is not None and self._depth is not None and quantity in ZERO_AT_CAMERA:
            # Twice as large means half as far: an approaching camera is more common than a zooming lens.
            (a, b), (c, d) = (row[:2].unbind() for row in motion[0].unbind())
            self._depth = replace(self._depth, value=self._depth.value + (a * d - b * c).clamp(min=_TINY).log() / 2)
        if motion is not None and _is_none(motion):
            motion = None
        keep = ~cut if self._options.cuts else None
        (self._guide,) = _followed([self._guide], motion, keep)
        kept = (self._depth, self._normals, self._sky)
        followed = iter(_followed([each for each in kept if each is not None], motion, keep))
        self._depth, self._normals, self._sky = (each and next(followed) for each in kept)

    def state_dict(self) -> dict[str, Any]:
        """The state after the frames so far, for `torch.save`."""
        means = {"guide": self._guide, "depth": self._depth, "normals": self._normals, "sky": self._sky}
        return {name: mean and mean.maps for name, mean in means.items()} | {
            "cuts": self._cuts.state_dict(),
            "moving": self._moving.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the `state_dict` of another aligner with the same options."""
        kept = (state[name] and _Mean(*state[name]) for name in ("guide", "depth", "normals", "sky"))
        self._guide, self._depth, self._normals, self._sky = kept
        self._cuts.load_state_dict(state["cuts"])
        self._moving.load_state_dict(state["moving"])


@dataclass(frozen=True)
class _Mean:
    """A running mean of maps, at each pixel over the frames that left it unchanged.

    Attributes:
        value: (1, C, h, w); finite everywhere.
        count: (1, 1, h, w): number of frames in the mean, at most `_MEMORY`; 0 = no frame.
        against: (1, C, h, w): vector in the direction in which recent frames deviate; its length is the number of consecutive frames, at
            most `_ON_END`. None = unknown.
        begun: Whether it holds any frame.
    """

    value: Tensor
    count: Tensor
    against: Tensor | None = None
    begun: bool = True

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """`value`, `count` and, unless None, `against`."""
        return (self.value, self.count) if self.against is None else (self.value, self.count, self.against)

    @staticmethod
    def empty(like: Tensor, channels: int, size: tuple[int, int] | None = None) -> _Mean:
        """A mean without frames, with the device and dtype of `like` and, unless given, its size. The count is float32."""
        count = like.new_zeros(1, 1, *(size or like.shape[-2:]), dtype=torch.float32)
        return _Mean(count.expand(-1, channels, -1, -1), count, begun=False)

    def moved(self, maps: Tensor, count: Tensor) -> _Mean:
        """Replaces `value` and, if there is one, `against`, by the channels of `maps` (1, C or 2 * C, h, w), and `count`."""
        channels = self.value.shape[1]
        return replace(self, value=maps[:, :channels], against=None if self.against is None else maps[:, channels:], count=count)

    def updated(self, values: Tensor, valid: Tensor | None, unchanged: Tensor, spread: Tensor | float | None = None) -> _Mean:
        """Adds one frame of finite values (1, C, h, w).

        Args:
            valid: (1, 1, h, w) bool, where they are valid; None = everywhere.
            unchanged: (1, 1, h, w) in [0, 1]: the weight of each pixel's past.
            spread: Typical deviation of values from each other, (1, 1, 1, 1) or a number; the mean then restarts where consecutive frames
                deviate by more than a share of it. None = it does not.
        """
        against = None
        if spread is not None:
            against, gives_way = self._contradicted(values, valid, unchanged, spread)
            unchanged = unchanged * (1 - gives_way)
        count = self.count.clamp(max=_MEMORY - 1).mul_(unchanged)
        if valid is None:
            step = count.add_(1).reciprocal()
        else:
            valid = valid.to(unchanged)  # arithmetic with bools takes torch several times as long
            step = valid / count.add_(valid).clamp(min=1)
        return _Mean(torch.lerp(self.value, values, step), count, against)

    def _contradicted(self, values: Tensor, valid: Tensor | None, unchanged: Tensor, spread: Tensor | float) -> tuple[Tensor, Tensor]:
        """`against` after the next frame, and how far the mean restarts, (1, 1, h, w) in [0, 1]."""
        apart = (values - self.value) * unchanged
        if valid is not None:
            apart = apart * valid
        apart = box_means(apart, _WINDOW) / (_OTHERWISE * spread)
        length = vector_lengths(apart)
        says = apart * ((length - 1).clamp(0, 1) / length.clamp(min=1))
        if self.against is None:
            return says, torch.zeros_like(length)
        agrees = ((says * self.against).sum(1, keepdim=True) / vector_lengths(self.against).clamp(min=_TINY)).clamp(0, 1)
        against = says + agrees * self.against
        gives_way = (vector_lengths(against) - (_ON_END - 1)).clamp(0, 1)
        return against * (1 - gives_way), gives_way


def _guide_size(height: int, width: int) -> tuple[int, int]:
    """The size at which images are compared, for maps of this height and width."""
    return (height // 2, width // 2) if min(height, width) >= _HALVED_FROM else (height, width)


def _is_none(motion: Tensor) -> bool:
    """True if the motion is the identity. False on other devices than a CPU, to avoid synchronising."""
    return motion.device.type == "cpu" and torch.equal(motion, torch.eye(2, 3, dtype=motion.dtype, device="cpu")[None])


def _followed(means: list[_Mean], motion: Tensor | None, keep: Tensor | None) -> list[_Mean]:
    """Warps means of one size by a motion; None = no warp. Sets their counts to 0 where `keep` is False; None = keep all."""
    if motion is not None:
        grid = sampling_grid(motion, *means[0].value.shape[-2:])
        # All maps at once, so that sampling positions are computed once.
        maps = [torch.cat((each.value, *each.maps[2:]), 1) for each in means]
        maps = sampled(torch.cat(maps, 1), grid).split([each.shape[1] for each in maps], 1)
        counts = sampled(torch.cat([each.count for each in means], 1), grid, "zeros").split(1, 1)
        means = [each.moved(values, count) for each, values, count in zip(means, maps, counts, strict=True)]
    return means if keep is None or are_all(keep) else [replace(each, count=each.count * keep) for each in means]


def _masked_sky(depth: Tensor, valid: Tensor, sign: int) -> Tensor:
    """Invalid pixels at least as far as any valid one: (1, 1, h, w) bool. `sign` is 1 if large is near, -1 if large is far."""
    farthest = torch.where(valid, sign * depth, torch.inf).amin()
    return ~valid & (sign * depth <= farthest) & torch.isfinite(farthest)


def _with_far_sky(values: Tensor, valid: Tensor, before_alignment: Tensor, sky: Tensor, sign: int) -> Tensor:
    """Values where they are valid, the farthest valid value in the sky, and elsewhere the values before alignment."""
    farthest = torch.where(valid, sign * values, torch.inf).amin()
    return torch.where(sky & torch.isfinite(farthest), sign * farthest, torch.where(valid, values, before_alignment))


def _unchanged(guide: Tensor, before: _Mean, is_halved: bool) -> Tensor:
    """(1, 1, h, w): similarity of each pixel's surroundings to the previous frames, from 0 (different or unknown) to 1."""
    red, green, blue = box_means(guide - before.value, _BLUR[is_halved]).abs_().split(1, 1)
    largest = largest_within(torch.maximum(red, green).maximum(blue), _AROUND[is_halved])
    return largest.div_(_CHANGE[is_halved]).square_().neg_().exp_().mul_(before.count.sign())


def _fit(values: Tensor, valid: Tensor, before: _Mean, unchanged: Tensor, quantity: Quantity) -> tuple[Tensor, Tensor]:
    """Scale and shift that align a frame with the previous mean, (1, 1, 1, 1) each; fitted to a grid of pixels on the CPU."""
    stride = max(1, int((values.shape[-2] * values.shape[-1] / _SAMPLES) ** 0.5))
    maps = {"values": values, "target": before.value, "count": before.count, "unchanged": unchanged, "valid": valid}
    device = values.device
    values, target, count, unchanged, valid = to_cpu({name: each[..., ::stride, ::stride] for name, each in maps.items()}).values()
    known = valid & (count > 0)
    total = known.sum().clamp(min=1)
    changed = 1 - (unchanged * known).sum() / total
    weight = known * (unchanged + (1 - unchanged) * changed**_URGENCY)
    noise_ratio = float((weight / count.clamp(min=1)).sum() / weight.sum().clamp(min=1e-12))
    scale, shift = fit_robustly(values, target, weight, noise_ratio, with_scale=quantity not in ZERO_AT_CAMERA)
    return sent_to(device, scale), sent_to(device, shift)
