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
from ..kinds import Quantity
from ..valid import are_all, valid_normals
from .camera_motion import camera_motion, sampled, sampling_grid
from .moving_pixels import MovingPixels
from .shot_cuts import CutDetector

# Maximum number of frames in the mean.
_MEMORY = 16
# Maps with a shorter side from this size on are compared by half-size images: whether a pixel changed is a local mean.
_HALVED_FROM = 160
# A difference of images at which a pixel has changed for the most part, the pixels around it of whose differences that is the mean, and how
# far around it the network may see the change. All by whether the images have half the map's size: they show less of a change.
_CHANGE, _BLUR, _AROUND = {False: 6 / 255, True: 3.5 / 255}, {False: 3, True: 2}, {False: 9, True: 5}
# Weight of changed pixels in the fit when few are unchanged: the changed share to this power.
_URGENCY = 8
# Majority beyond one half of the previous frames that turns land into sky, or sky into land.
_DOUBT = 0.2
# A mean over frames gives way to a network that says otherwise in so many frames on end: by more than this share of how far values are
# spread, over so many pixels around. What is beside somebody who leaves has other depth in each frame, and would keep it in patches.
_ON_END, _OTHERWISE, _WINDOW = 3, 0.05, 2
# Share of the metric correction that is undone each frame, so that metres follow the network in the long run.
_LEASH = 1 / 64
_SAMPLES = 2**13
_TINY = 1e-12


class VideoAligner:
    """Aligns the estimates of a video's frames with those before, frame by frame, without later frames.

    A single-image model gives each frame another scale and shift, and makes still objects flicker. Here

    0. what is known is brought to where the camera, panned, turned or zoomed, sees it now (`camera_motion`; parallax is not followed);
       metres become less as what is seen becomes larger;
    1. a pixel counts as unchanged by as much as its image, blurred, is that of the frames before, and not at all where it moves by itself
       (`MovingPixels`): a mean over something that moves slowly lags behind it in patches;
    2. scale and shift bring the frame's disparity (or relative depth; of metres the logarithm, by a shift alone) to the mean of the
       frames before over the unchanged pixels, by a fit that what moves cannot pull (`fit_robustly`); where everything moves, over all;
    3. the mean goes on: at each pixel over as many of the last 16 frames as left it unchanged, so that one bad frame moves little;
       where the network says otherwise in three frames on end, as of the wall beside somebody who leaves, it begins anew;
    4. `smooth` of that mean stands for the frame's own value. Where the image changed, the mean is the frame's own value. A masked sky
       that a network sees in some frames only stays, or stays away, until clearly more than half of those frames say otherwise;
    5. a cut (`CutDetector`) starts everything anew.

    Metres are led back to the network's own in the long run; a lens that zooms is taken for a camera that comes nearer. Disparity and
    relative depth keep their scale whatever the camera does. Normals that the model gives are averaged as the depth is; normals that are
    to follow from depth follow from this one.

    Source:
        Scale and shift as what single images leave open: R. Ranftl et al., "Towards Robust Monocular Depth Estimation" (2020), and
        aligned along a video: S. Chen et al., "Video Depth Anything" (2025), whose windows share frames. The unprocessed images as what
        tells which change is real: N. Bonneel et al., "Blind Video Temporal Consistency" (2015). The mean as the reference, the fit
        of noisy maps and the numbers are our own.
    """

    def __init__(self, options: VideoOptions | None = None) -> None:
        self._options = options or VideoOptions()
        self._cuts = CutDetector()
        self._guide: _Mean | None = None
        self._depth: _Mean | None = None
        self._normals: _Mean | None = None
        self._sky: _Mean | None = None  # the share of the frames that see sky, and whether it is sky
        self._moving = MovingPixels()

    def push(self, frames: Tensor, estimate: Estimate) -> Estimate:
        """Aligns the next frames.

        Args:
            frames: (B, 3, H, W) in [0, 1], the images in order; any size, on any device.
            estimate: What a model says of them, of one kind and size throughout the video.

        Returns:
            The estimate of the same frames, brought to those before. Invalid pixels stay as they are; but those that were as
            far as any of the others, as a masked sky is, still are, or are land as they were before, unless it is metres. The device is
            not synchronised.

        Raises:
            ValueError: Another number of frames than of estimates, or another size or kind than before.
        """
        check_map(frames, 3, "frames")
        if frames.shape[0] != estimate.batch:
            raise ValueError(f"there are {frames.shape[0]} frames and estimates of {estimate.batch}; each frame needs its own")
        guides = resize_map(frames.to(estimate.device), *_guide_size(estimate.height, estimate.width))
        cuts = self._cuts.push(guides)
        self._check_kind(estimate)
        return Estimate.cat([self._next(guides[i : i + 1], cuts[i], estimate.slice(i, i + 1)) for i in range(estimate.batch)])

    def _check_kind(self, estimate: Estimate) -> None:
        """Initialises the state by the first estimate; refuses later ones of another size or kind."""
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
        """A frame's depth, aligned and smoothed, and its mask, with a stable sky."""
        depth, mask = estimate.depth, estimate.mask
        if depth is None or self._depth is None or estimate.quantity is None:
            return depth, mask
        _, quantity, valid = estimate.known_depth()
        is_metric = quantity is Quantity.METRIC_DEPTH
        holes = None if are_all(valid) else valid
        values = depth if holes is None else depth.where(valid, 1)
        if is_metric:
            values = values.log()  # frames differ by a shift of it
        if self._options.align != "none":
            scale, shift = _fit(values, valid, self._depth, unchanged, quantity)
            if is_metric:
                self._depth, shift = replace(self._depth, value=self._depth.value - _LEASH * shift), shift * (1 - _LEASH)
            values = (scale * values).add_(shift)
        self._depth = self._depth.updated(values, holes, unchanged, _spread(values))
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
        """A frame's normals, smoothed; where its mask is stable (`_aligned_depth`), land that it lost has those of the frames before."""
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
        """The sky and the land after this frame; pixels of neither are holes."""
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
        if motion is not None and self._depth is not None and quantity is Quantity.METRIC_DEPTH:
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
        self._guide, self._depth, self._normals = (state[name] and _Mean(*state[name]) for name in ("guide", "depth", "normals"))
        if self._guide is not None and (kept := self._depth or self._normals):
            # Older versions kept the images at the map's size.
            size = _guide_size(*kept.value.shape[-2:])
            self._guide = replace(self._guide, value=resize_map(self._guide.value, *size), count=resize_map(self._guide.count, *size))
        self._sky = state.get("sky") and _Mean(*state["sky"])  # the states of older versions have none
        self._cuts.load_state_dict(state["cuts"])
        self._moving.load_state_dict(state.get("moving", {}))  # the states of older versions have none


@dataclass(frozen=True)
class _Mean:
    """A running mean of maps: at each pixel over the frames that left it unchanged.

    Attributes:
        value: (1, C, h, w); finite everywhere.
        count: (1, 1, h, w): how many frames it is of, at most `_MEMORY`; 0 = none.
        against: (1, C, h, w): in how many frames on end, at most `_ON_END`, the values said otherwise, as a vector towards them; None =
            nothing is known.
        begun: Whether any frame was taken in.
    """

    value: Tensor
    count: Tensor
    against: Tensor | None = None
    begun: bool = True

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """The value, the count, and `against` where there is one."""
        return (self.value, self.count) if self.against is None else (self.value, self.count, self.against)

    @staticmethod
    def empty(like: Tensor, channels: int, size: tuple[int, int] | None = None) -> _Mean:
        """Of no frame yet, on the device of a map and at its size or another."""
        count = like.new_zeros(1, 1, *(size or like.shape[-2:]), dtype=torch.float32)
        return _Mean(count.expand(-1, channels, -1, -1), count, begun=False)

    def moved(self, maps: Tensor, count: Tensor) -> _Mean:
        """With the values and what is against them elsewhere, (1, C or 2 * C, h, w), and the count."""
        channels = self.value.shape[1]
        return replace(self, value=maps[:, :channels], against=None if self.against is None else maps[:, channels:], count=count)

    def updated(self, values: Tensor, valid: Tensor | None, unchanged: Tensor, spread: Tensor | float | None = None) -> _Mean:
        """With one frame more.

        Args:
            values: (1, C, h, w), finite.
            valid: (1, 1, h, w), where they are valid; None = everywhere.
            unchanged: (1, 1, h, w): how unchanged each is, 0 to 1.
            spread: How far values are from one another, (1, 1, 1, 1) or a number, where the mean gives way to what says otherwise on end.
        """
        against = None
        if spread is not None:
            against, gives_way = self._contradicted(values, valid, unchanged, spread)
            unchanged = unchanged * (1 - gives_way)
        count = self.count.clamp(max=_MEMORY - 1).mul_(unchanged)
        if valid is None:
            step = count.add_(1).reciprocal()
        else:
            valid = valid.to(unchanged)  # mixed with bools, torch takes several times as long
            step = valid / count.add_(valid).clamp(min=1)
        return _Mean(torch.lerp(self.value, values, step), count, against)

    def _contradicted(self, values: Tensor, valid: Tensor | None, unchanged: Tensor, spread: Tensor | float) -> tuple[Tensor, Tensor]:
        """`against` after the next frame, and by how much the mean gives way to it, (1, 1, h, w) in [0, 1]."""
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


def _spread(values: Tensor) -> Tensor:
    """Mean absolute deviation, (1, 1, 1, 1)."""
    return (values - values.mean()).abs().mean().clamp(min=_TINY).view(1, 1, 1, 1)


def _guide_size(height: int, width: int) -> tuple[int, int]:
    """The size of the images that are compared for maps of a size."""
    return (height // 2, width // 2) if min(height, width) >= _HALVED_FROM else (height, width)


def _is_none(motion: Tensor) -> bool:
    """True if nothing moves. False on other devices than a CPU, to avoid synchronising."""
    return motion.device.type == "cpu" and torch.equal(motion, torch.eye(2, 3)[None])


def _followed(means: list[_Mean], motion: Tensor | None, keep: Tensor | None) -> list[_Mean]:
    """The same means, all of one size, where a motion has brought them; means of nothing where `keep` is False."""
    if motion is not None:
        grid = sampling_grid(motion, *means[0].value.shape[-2:])
        # All maps at once: where a pixel is taken from is computed once.
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
    """The values where they are valid, the farthest of them in the sky, and elsewhere those before alignment."""
    farthest = torch.where(valid, sign * values, torch.inf).amin()
    return torch.where(sky & torch.isfinite(farthest), sign * farthest, torch.where(valid, values, before_alignment))


def _unchanged(guide: Tensor, before: _Mean, is_halved: bool) -> Tensor:
    """(1, 1, h, w): similarity of each pixel to the previous frames, from 0 (different or unknown) to 1."""
    red, green, blue = box_means(guide - before.value, _BLUR[is_halved]).abs_().split(1, 1)
    largest = largest_within(torch.maximum(red, green).maximum(blue), _AROUND[is_halved])
    return largest.div_(_CHANGE[is_halved]).square_().neg_().exp_().mul_(before.count.sign())


def _fit(values: Tensor, valid: Tensor, before: _Mean, unchanged: Tensor, quantity: Quantity) -> tuple[Tensor, Tensor]:
    """Scale and shift that align a frame with the previous mean, (1, 1, 1, 1) each; fitted to a few pixels on the CPU."""
    stride = max(1, int((values.shape[-2] * values.shape[-1] / _SAMPLES) ** 0.5))
    maps = {"values": values, "target": before.value, "count": before.count, "unchanged": unchanged, "valid": valid}
    device = values.device
    values, target, count, unchanged, valid = to_cpu({name: each[..., ::stride, ::stride] for name, each in maps.items()}).values()
    known = valid & (count > 0)
    total = known.sum().clamp(min=1)
    changed = 1 - (unchanged * known).sum() / total
    weight = known * (unchanged + (1 - unchanged) * changed**_URGENCY)
    noise_ratio = float((weight / count.clamp(min=1)).sum() / weight.sum().clamp(min=1e-12))
    scale, shift = fit_robustly(values, target, weight, noise_ratio, with_scale=quantity is not Quantity.METRIC_DEPTH)
    return sent_to(device, scale), sent_to(device, shift)
