"""Dense optical flow between two small grey images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import kept_for_sizes, sample_at, without_autocast

# Number of pyramid levels, each half the size of the one before; steps on each; standard deviation of the window in pixels.
_LEVELS, _STEPS = 3, 2
_WINDOW = 2.5
# Negligible squared slopes of images in [0, 1]: film grain must not look like motion.
_DAMPING = (1.5 / 255) ** 2
_SHORTEST_SIDE = 16


@torch.no_grad()
def optical_flow(before: Tensor, after: Tensor) -> Tensor:
    """The motion of every pixel between two images, in torch only, so that it does not depend on OpenCV.

    Args:
        before: (B, 1, H, W) in [0, 1].
        after: The same shape.

    Returns:
        (B, 2, H, W): x and y in pixels from a point of `after` to its position in `before`: `warped(before, flow)` looks like `after`.
        About 0 without texture. The device is not synchronised.

    Source:
        B. Lucas and T. Kanade, "An iterative image registration technique" (1981), in a Gaussian window around every pixel, coarse to
        fine as J.-Y. Bouguet, "Pyramidal implementation of the affine Lucas Kanade feature tracker" (2001).
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
