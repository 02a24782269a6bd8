"""What the network is trained to do."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import Batch

NEAREST, FARTHEST = 6.0, -4.0
GRADIENT_WEIGHT, NORMAL_WEIGHT, SCALES = 0.4, 0.5, 4


def normalised_target(disparity: Tensor) -> Tensor:
    """(B, 1, H, W) with median 0 and mean absolute deviation 1 a picture, clipped to [-4, 6]."""
    centred = disparity - disparity.flatten(1).median(1).values[:, None, None, None]
    return (centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-6)).clamp(FARTHEST, NEAREST)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """(B,) Pearson correlation of maps (B, 1, H, W)."""
    first, second = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (first, second))
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp(min=1e-6)


def gradient_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the slopes at four scales, each half as fine as the one before."""
    difference = prediction - target
    total = difference.new_zeros(())
    for _ in range(SCALES):
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total / SCALES


def training_loss(output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The loss of the network's output (B, 4, h, w) and its parts.

    Disparity is compared to the normalised target itself: with a fitted scale a network that starts from nothing learns to give
    zeros. Normals are compared by their angle where they are known, that is on renders without their sky.
    """
    target = normalised_target(batch.disparity)
    prediction = output[:, :1]
    parts = {
        "l1": (prediction - target).abs().mean(),
        "correlation": 1 - correlation(prediction, target).mean(),
        "gradient": GRADIENT_WEIGHT * gradient_loss(prediction, target),
    }
    known = batch.normals.square().sum(1) > 0.25
    if known.any():
        cosine = F.cosine_similarity(output[:, 1:], batch.normals, dim=1)
        parts["normal"] = NORMAL_WEIGHT * (1 - cosine)[known].mean()
    loss = torch.stack(list(parts.values())).sum()
    return loss, {name: float(value.detach()) for name, value in parts.items()}
