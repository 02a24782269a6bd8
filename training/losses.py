"""Losses, and teacher networks that label the training windows (`--teach` of `train`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal.annotators.specs.single import TINY_LARGEST_SIZE
from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.conventions import unit_normals
from depth_normal.utils import resize_image, resize_map

from .batches import Batch
from .evaluate import load_tiny
from .export import read_state

SKY = 4  # its channel of the network's output; disparity is the first, normals follow
NEAREST, FARTHEST = 6.0, -4.0
GRADIENT_WEIGHT, NORMAL_WEIGHT, SKY_WEIGHT, STEADY_WEIGHT, FEATURE_WEIGHT, SCALES = 0.4, 0.8, 0.6, 2.0, 0.5, 4
PLAIN_STEADY_WEIGHT = 0.5


def normalised_target(disparity: Tensor, inside: Tensor | None = None, pairs: int = 0) -> Tensor:
    """(B, 1, H, W) with median 0 and mean absolute deviation 1 per image, clipped to [-4, 6].

    Args:
        disparity: (B, 1, H, W).
        inside: Valid pixels, as `Batch.inside`; None = all.
        pairs: As `Batch.pairs`; the second view of a pair is normalised with the first one's statistics.
    """
    counted = disparity if inside is None else disparity.masked_fill(~inside, torch.nan)
    middle = counted.flatten(1).nanmedian(1).values[:, None, None, None]
    deviation = (counted - middle).abs().nanmean((1, 2, 3), keepdim=True).clamp(min=1e-6)
    like = torch.arange(len(disparity), device=disparity.device)
    like[pairs : 2 * pairs] = like[:pairs].clone()
    return ((disparity - middle[like]) / deviation[like]).nan_to_num().clamp(FARTHEST, NEAREST)


def mean_inside(values: Tensor, inside: Tensor) -> Tensor:
    """Mean of the valid values."""
    return (values * inside).sum() / inside.expand_as(values).sum().clamp(min=1)


def correlation(first: Tensor, second: Tensor, inside: Tensor | None = None) -> Tensor:
    """(B,) Pearson correlation of maps (B, 1, H, W) over valid pixels."""
    weight = torch.ones_like(first).flatten(1) if inside is None else inside.to(first).flatten(1)
    count = weight.sum(1, keepdim=True).clamp(min=1)
    first, second = ((x := values.flatten(1)) - (x * weight).sum(1, keepdim=True) / count for values in (first, second))
    first, second = first * weight, second * weight
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp(min=1e-6)


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W) of vectors (B, C, H, W). Written out: torch's own is ten times slower over so few channels on a CPU."""
    lengths = first.square().sum(1, keepdim=True) * second.square().sum(1, keepdim=True)
    return (first * second).sum(1, keepdim=True) * lengths.clamp(min=1e-12).rsqrt()


def gradient_loss(prediction: Tensor, target: Tensor, inside: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the gradients at four scales, each half as fine as the one before."""
    difference = prediction - target
    counts = torch.ones_like(difference) if inside is None else inside.to(difference)
    total = difference.new_zeros(())
    for _ in range(SCALES):
        for axis in (-1, -2):
            length = counts.shape[axis] - 1
            both = counts.narrow(axis, 0, length) * counts.narrow(axis, 1, length)
            total = total + mean_inside(difference.diff(dim=axis).abs(), both)
        difference, counts = F.avg_pool2d(difference, 2), (F.avg_pool2d(counts, 2) > 0.99).to(counts)
    return total / SCALES


def steady_loss(prediction: Tensor, target: Tensor, inside: Tensor, pairs: int) -> Tensor:
    """Consistency of two views of one place: difference of predicted and true change, under noise, displacement or between frames."""
    changes = (values[pairs : 2 * pairs] - values[:pairs] for values in (prediction, target))
    both = inside[pairs : 2 * pairs] & inside[:pairs]
    return mean_inside((next(changes) - next(changes)).abs(), both)


def feature_loss(seen: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Mean squared error of the teacher's features, 0 to about 1, where they are known and `inside`: the mean over layers."""
    parts = []
    for name, values in seen.items():
        truth: Tensor = getattr(batch, name)
        clear = F.adaptive_avg_pool2d(batch.inside.float(), truth.shape[-2:]) > 0.99
        known = truth.abs().amax((1, 2, 3), keepdim=True) > 0
        parts.append(mean_inside((values - truth).square(), clear & known))
    return torch.stack(parts).mean()


def training_loss(
    output: Tensor, batch: Batch, seen: Mapping[str, Tensor] | None = None, steady_weight: float = STEADY_WEIGHT
) -> tuple[Tensor, dict[str, float]]:
    """The loss of the network's output (B, 5, H, W) and of its predictions of the teacher's features, and its parts.

    Disparity is compared to the normalised target directly: with a fitted scale, an untrained network would learn to predict zeros. Normals
    are compared by angle where known, from a render's ground truth, an ensemble or teachers, except in the sky; the sky where it is known.
    Disparity that `taught` predicted (`Batch.scaled`) is compared as it is.
    """
    target = normalised_target(batch.disparity, batch.inside, batch.pairs)
    target = torch.where(batch.scaled[:, None, None, None], batch.disparity.clamp(FARTHEST, NEAREST), target)
    prediction, inside = output[:, :1], batch.inside
    parts = {
        "l1": mean_inside((prediction - target).abs(), inside),
        "correlation": 1 - correlation(prediction, target, inside).mean(),
        "gradient": GRADIENT_WEIGHT * gradient_loss(prediction, target, inside),
    }
    if batch.pairs:
        parts["steady"] = steady_weight * steady_loss(prediction, target, inside, batch.pairs)
    known = (batch.normals.square().sum(1, keepdim=True) > 0.25) & inside
    cosine = cosine_similarity(output[:, 1:SKY], batch.normals)
    parts["normal"] = NORMAL_WEIGHT * mean_inside(1 - cosine, known)
    told = (batch.sky >= 0) & inside
    parts["sky"] = SKY_WEIGHT * mean_inside(
        F.binary_cross_entropy_with_logits(output[:, SKY:], batch.sky.clamp(min=0), reduction="none"), told
    )
    if seen:
        parts["features"] = FEATURE_WEIGHT * feature_loss(seen, batch)
    return torch.stack(list(parts.values())).sum(), {name: float(value.detach()) for name, value in parts.items()}


def file_and_size(value: str) -> tuple[Path, int]:
    """FILE@SIZE of the command line; a type for argparse."""
    name, _, size = value.rpartition("@")
    if not Path(name).is_file() or not size.isdecimal() or not 32 <= int(size) <= TINY_LARGEST_SIZE:
        known = f"such as annotators/tiny.safetensors@224; sizes are 32 to {TINY_LARGEST_SIZE}"
        raise argparse.ArgumentTypeError(f"{value!r} is not FILE@SIZE with a file that is there, {known}")
    try:
        read_state(Path(name))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(name), int(size)


def load_teachers(files: Iterable[tuple[Path, int]], device: torch.device) -> list[TinyAnnotator]:
    """Networks of any version, averaged over images and mirror images."""
    teachers = [load_tiny(path, size, mirrored=True) for path, size in files]
    for teacher in teachers:
        teacher.network.to(device)
    return teachers


@torch.no_grad()
def taught(batch: Batch, teachers: list[TinyAnnotator], label_share: float = 0.0) -> Batch:
    """Labels a batch's clean photographs with the teachers' mean predictions.

    Args:
        batch: As drawn.
        teachers: Their predictions are averaged; none = the batch is unchanged.
        label_share: Weight of the stored labels in the photographs' disparity, 0 to 1; the rest is the teachers'.
    """
    if not teachers or not len(batch.photographs):
        return batch
    asked, disparities, directions = batch.clean[batch.photographs], [], []
    for teacher in teachers:
        seen = resize_image(asked, *teacher.network_size(*asked.shape[2:], teacher.spec.default_size))
        with torch.autocast(asked.device.type, torch.bfloat16):
            maps = resize_map(teacher.network(seen)[:, :SKY].float(), *asked.shape[2:])
        disparities.append(maps[:, :1])
        if teacher.network.fine is not None:  # the first version's normals are much worse
            directions.append(unit_normals(maps[:, 1:]))
    no_sky = batch.sky[batch.photographs] <= 0
    normals = unit_normals(torch.stack(directions).sum(0)) * no_sky if directions else torch.zeros_like(asked)
    disparity = torch.stack(disparities).mean(0)
    if label_share:  # of the whole window, like the predictions, whatever is pasted into it
        kept = normalised_target(batch.disparity, pairs=batch.pairs)[batch.photographs]
        disparity = disparity.lerp(kept, label_share)
    return replace(
        batch,
        disparity=batch.disparity.index_copy(0, batch.photographs, disparity),
        normals=batch.normals.index_copy(0, batch.photographs, normals),
        scaled=batch.scaled.index_fill(0, batch.photographs, True),
    )
