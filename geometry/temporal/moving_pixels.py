"""Detects the independently moving pixels of a video, even if they move slowly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import brightness, kept_for_sizes, resize_map, sample_at, sent_to, to_cpu, vector_lengths, without_autocast
from ..filters.extremes import largest_within
from .camera_motion import camera_motion, moved, sampled, sampling_grid, square

# Number of pyramid levels, each half the size of the one before; steps on each; standard deviation of the window in pixels.
_LEVELS, _STEPS = 3, 2
_WINDOW = 2.5
# Negligible squared slopes of images in [0, 1]: film grain must not look like motion.
_DAMPING = (1.5 / 255) ** 2
_SHORTEST_SIDE = 16


@torch.no_grad()
def optical_flow(before: Tensor, after: Tensor) -> Tensor:
    """The motion of every pixel between two images (B, 1, H, W) in [0, 1], in torch only, so that it does not depend on OpenCV.

    Returns:
        (B, 2, H, W): x and y in pixels from a point of `after` to its position in `before`: `warped(before, flow)` looks like `after`.
        About 0 without texture. The device is not synchronised.

    Source:
        B. Lucas and T. Kanade, "An iterative image registration technique" (1981), in a Gaussian window around every pixel, coarse to fine
        as J.-Y. Bouguet, "Pyramidal implementation of the affine Lucas Kanade feature tracker" (2001).
    """
    return FlowTarget(after).flow_from(before)


class FlowTarget:
    """The target image (`after`) of several `optical_flow` computations; caches everything that depends on it alone."""

    def __init__(self, image: Tensor) -> None:
        self._levels = [_Level(image)]
        while len(self._levels) < _LEVELS and min(image.shape[-2:]) >= _SHORTEST_SIDE:
            image = _halved(image)
            self._levels.append(_Level(image))

    def flow_from(self, before: Tensor) -> Tensor:
        """As `optical_flow`."""
        pyramid = [before]
        for _ in self._levels[1:]:
            pyramid.append(_halved(pyramid[-1]))
        flow = torch.zeros_like(pyramid[-1]).expand(-1, 2, -1, -1)
        for level, first in zip(reversed(self._levels), reversed(pyramid), strict=True):
            if flow.shape[-2:] != first.shape[-2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
                flow = flow[..., : first.shape[-2], : first.shape[-1]]
            for _ in range(_STEPS):
                flow = level.step(first, flow).add_(flow)
        return flow


class _Level:
    """One size of a `FlowTarget`."""

    def __init__(self, image: Tensor) -> None:
        self._image, self._window = image, _window(image)
        self._grid, self._pixel = _grid(image)
        self._slopes = _slopes(image)
        across, down = self._slopes.split(1, 1)
        xx, xy, yy = _mean(torch.cat((across * across, across * down, down * down), 1), self._window).split(1, 1)
        xx, yy = xx.add_(_DAMPING), yy.add_(_DAMPING)
        determinant = xx * yy - xy * xy
        # The inverse of the structure tensor.
        self._own, self._other = torch.cat((yy, xx), 1) / determinant, xy / determinant

    def step(self, before: Tensor, flow: Tensor) -> Tensor:
        """The flow increment."""
        gradients = _mean(self._slopes * (self._image - _sampled(before, flow, self._grid, self._pixel)), self._window)
        return torch.addcmul(self._own * gradients, self._other, gradients.flip(1), value=-1).clamp_(-1, 1)


def texture(image: Tensor) -> Tensor:
    """The amount of texture around each pixel of an image (B, 1, H, W): in [0, 1), 0 in plain areas."""
    strength = window_mean(_slopes(image).square().sum(1, keepdim=True))
    return strength / (strength + 4 * _DAMPING)


def warped(values: Tensor, flow: Tensor) -> Tensor:
    """Warps maps (B, C, H, W) by a flow (B, 2, H, W), with replicated borders."""
    return _sampled(values, flow, *_grid(values))


@kept_for_sizes
def _grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The positions of pixels in the units of `F.grid_sample`, (H, W, 2); and the width and height of a pixel, (2,)."""
    x, y = (torch.arange(1 - side, side, 2, dtype=torch.float32, device=device) / side for side in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1), x.new_tensor((2 / width, 2 / height))


def _sampled(values: Tensor, flow: Tensor, grid: Tensor, pixel: Tensor) -> Tensor:
    """`warped` with the `_grid` of the values."""
    grid = torch.addcmul(grid, flow.movedim(1, -1), pixel)
    return sample_at(values, grid)


def _slopes(image: Tensor) -> Tensor:
    """Central differences of (B, 1, H, W) across and down, (B, 2, H, W)."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return torch.cat((padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]), 1) / 2


def window_mean(values: Tensor) -> Tensor:
    """Gaussian blur of maps (B, C, H, W): two matrix products are faster than pooling on the CPU."""
    return _mean(values, _window(values))


@without_autocast
def _mean(values: Tensor, window: tuple[Tensor, Tensor]) -> Tensor:
    return window[0] @ values @ window[1]


@kept_for_sizes
def _window(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two blur matrices, for the rows and the columns of maps of one size."""
    return _gaussian(height, device), _gaussian(width, device).mT.contiguous()


def _gaussian(side: int, device: torch.device) -> Tensor:
    apart = torch.arange(1 - side, side, dtype=torch.float32, device=device)
    weight = torch.exp(-(apart / _WINDOW).square() / 2).unfold(0, side, 1).flip(0)
    return weight / weight.sum(1, keepdim=True)


def _halved(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 2, ceil_mode=True)


# Longer side of the compared images, number of frames between them, and the movement in their pixels at which a pixel does not move, and
# certainly moves.
_LONGEST = 160
_FRAMES = 6
_STILL, _MOVING = 0.25, 0.4
# Maximum forward-backward mismatch in pixels.
_MISMATCH = 0.5
# Dilation of moving pixels, in pixels, and hold time in frames: a turning arm is still for a moment.
_AROUND = 2
_HELD = 4
# Distance from disocclusions within which flow is not trusted.
_BORDER = 5
# Least share of the squared difference that flow must remove. Coarse levels also give flow to the background beside a moving person, which
# removes none. _NOISE is a negligible squared difference.
_NOISE, _EXPLAINED = (1 / 255) ** 2, 0.4
# Textureless areas up to twice as wide, which give no flow, move with their surroundings.
_HOLES = 6
# The camera's motion is the flow of most pixels: refinement rounds, weighted fits in each, and the scale of outliers' flow in pixels at
# half size.
_REFINED, _FITS = 3, 8
_OTHER = 0.1
# Both end when the motion changes by less than this, in pixels.
_SETTLED = 0.01
# Flow is computed for every second frame: over six frames motion changes little from frame to frame.
_EVERY = 2
# Local mean squared difference, as a share of _NOISE, that is too small for motion.
_ALIKE = 0.25
# If more than this share of the image moves, the cause is parallax of a moving camera; certainly from the second share on.
_MOST, _ALL = 0.6, 0.9


class MovingPixels:
    """Detects the pixels of each frame that move independently, by optical flow over 6 frames with a forward-backward check.

    From frame to frame, grain hides a slow motion; over six frames it does not. The camera's motion, refined by the flow of most pixels, is
    removed first. If almost the whole image moves differently, no pixel counts as moving. `motion` is the `camera_motion` from the previous
    to the last frame; None before the second.

    Flow is computed for every second frame. The state is seven thumbnails.
    """

    def __init__(self) -> None:
        self.motion: Tensor | None = None
        self._frames = 0
        self._thumbnails: Tensor | None = None
        self._motions: Tensor | None = None
        self._held: Tensor | None = None

    @without_autocast
    def push(self, frame: Tensor, cut: Tensor | None = None) -> Tensor:
        """Processes the next frame (1, 3, H, W) in [0, 1]: confidence (1, 1, H, W) in [0, 1] that each pixel moves.

        `cut` is () bool: whether the frame begins a shot; None = no. Thumbnails are compared on the CPU, with one synchronisation of a GPU.
        """
        fetched = to_cpu({"now": _thumbnail(frame)} if cut is None else {"now": _thumbnail(frame), "cut": cut})
        now, cut = fetched["now"], fetched.get("cut")
        identity = torch.eye(3, dtype=now.dtype, device=now.device)[None]
        thumbnails, motions, held = self._thumbnails, self._motions, self._held
        if thumbnails is None or motions is None or held is None:
            thumbnails, motions, held = now.expand(_FRAMES, -1, -1, -1), identity.expand(_FRAMES, -1, -1), torch.zeros_like(now)
            self.motion = None
        else:
            # Between thumbnails, not means over frames: these lag behind moving objects, which would look like camera motion.
            self.motion = camera_motion(thumbnails[-1:], now)
            motions, held = motions @ square(self.motion), moved(held, self.motion, "zeros")
        if cut is not None:
            # As if the shot had always looked like its first frame: nothing moves, and nothing synchronises.
            thumbnails, motions, held = torch.where(cut, now, thumbnails), torch.where(cut, identity, motions), held * ~cut
        if self._frames % _EVERY == 0:
            held = torch.maximum(_moving(thumbnails[:1], now, motions[:1, :2]), held - _EVERY / _HELD)
        self._frames += 1
        self._thumbnails, self._motions, self._held = torch.cat((thumbnails[1:], now)), torch.cat((motions[1:], identity)), held
        by_itself = held * ((_ALL - held.mean()) / (_ALL - _MOST)).clamp(0, 1)
        height, width = frame.shape[-2:]
        return resize_map(sent_to(frame.device, by_itself), height, width)

    def state_dict(self) -> dict[str, Any]:
        """The state after the frames so far, for `torch.save`."""
        return {"thumbnails": self._thumbnails, "motions": self._motions, "held": self._held, "frames": self._frames}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the `state_dict` of another instance."""
        kept = (state[name] for name in ("thumbnails", "motions", "held"))
        self._thumbnails, self._motions, self._held = (each if each is None else each.cpu() for each in kept)
        self._frames = state["frames"]


def _thumbnail(frame: Tensor) -> Tensor:
    """The brightness of a frame (1, 3, H, W) as a thumbnail (1, 1, h, w)."""
    height, width = frame.shape[-2:]
    scale = min(1.0, _LONGEST / max(height, width))
    return resize_map(brightness(frame.float()), max(16, round(height * scale)), max(16, round(width * scale)))


def _moving(before: Tensor, after: Tensor, motion: Tensor) -> Tensor:
    """(1, 1, h, w) in [0, 1]: independent motion between two thumbnails, given the approximate camera motion."""
    if window_mean((moved(before, motion) - after).square_()).amax() < _ALIKE * _NOISE:  # too similar to show motion
        return torch.zeros_like(after)
    refined = _Refined(before, after)
    for _ in range(_REFINED):
        last, motion = motion, refined.of(motion)
        if (motion - last).abs().amax() < 2 * _SETTLED / before.shape[-1]:
            break
    unknown = (moved(torch.ones_like(before), motion, "zeros") < 0.5).float()
    before = moved(before, motion)
    forward, backward = optical_flow(torch.cat((before, after)), torch.cat((after, before))).split(1)
    believed = vector_lengths(forward + warped(backward, forward)) < _MISMATCH
    moving = ((vector_lengths(forward) - _STILL) / (_MOVING - _STILL)).clamp(0, 1) * believed * (1 - largest_within(unknown, _BORDER))
    wrong = torch.cat([(each - after).square() for each in (before, warped(before, forward))])
    standing, explained = window_mean(wrong).split(1)
    moving = moving * ((standing - explained) / (standing + _NOISE) / _EXPLAINED).clamp(0, 1)
    filled = largest_within(moving, _HOLES + _AROUND)
    return -largest_within(-filled, _HOLES)


class _Refined:
    """Refines a `camera_motion` between two thumbnails by the flow of most pixels."""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self._before, self._everywhere = before, torch.ones_like(before)
        after = F.avg_pool2d(after, 2)
        self._target, self._texture = FlowTarget(after), texture(after)
        height, width = after.shape[-2:]
        x, y = ((torch.arange(side, dtype=after.dtype, device=after.device) + 0.5) * (2 / side) - 1 for side in (width, height))
        x, y = x.expand(height, width), y[:, None].expand(height, width)
        self._basis = torch.stack((x, y, torch.ones_like(x))).flatten(1)
        self._damping = 1e-3 * torch.eye(3, dtype=after.dtype, device=after.device)
        self._pixel = after.new_tensor((2 / width, 2 / height))[:, None]

    @without_autocast
    def of(self, motion: Tensor) -> Tensor:
        """Refines the motion by an affine fit to the remaining flow, weighted as in `fit_robustly`."""
        grid = sampling_grid(motion, *self._before.shape[-2:])
        before, known = (F.avg_pool2d(each, 2) for each in (sampled(self._before, grid), sampled(self._everywhere, grid, "zeros")))
        flow = self._target.flow_from(before)[0].flatten(1)
        basis, trusted = self._basis, ((known > 0.99) * self._texture).flatten()
        fit = F.pad(flow.median(1, keepdim=True).values, (2, 0))
        for _ in range(_FITS):
            weighted = basis * (trusted / (1 + (flow - fit @ basis).square().sum(0) / _OTHER**2).square())
            last, fit = fit, torch.linalg.solve_ex(weighted @ basis.T + self._damping, weighted @ flow.T).result.T
            if (fit - last).abs().amax() < _SETTLED:
                break
        return (square(motion) + square(motion) @ F.pad((fit * self._pixel)[None], (0, 0, 0, 1)))[:, :2]
