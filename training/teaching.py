"""Networks that are asked about the very windows that are learned from; see `--teach` of `train`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from depth_normal.annotators.specs.single import TINY_LARGEST_SIZE
from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.conventions import unit_normals
from depth_normal.utils import resize_image, resize_map

from .batches import Batch
from .evaluate import load_tiny
from .export import read_state
from .losses import SKY, normalised_target


def file_and_size(value: str) -> tuple[Path, int]:
    """FILE@SIZE of the command line."""
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
    """Networks that answer by images and their mirror images, of any version."""
    teachers = [load_tiny(path, size, mirrored=True) for path, size in files]
    for teacher in teachers:
        teacher.network.to(device)
    return teachers


@torch.no_grad()
def taught(batch: Batch, teachers: list[TinyAnnotator], label_share: float = 0.0) -> Batch:
    """The batch with what the teachers say, on average, of its photographs before anything happened to them.

    Args:
        batch: As it was drawn.
        teachers: Whose answers are averaged; none = the batch stays as it is.
        label_share: Of the photographs' disparity, 0 to 1: what was kept; the rest is the answer.
    """
    if not teachers or not len(batch.photographs):
        return batch
    asked, disparities, directions = batch.clean[batch.photographs], [], []
    for teacher in teachers:
        seen = resize_image(asked, *teacher.network_size(*asked.shape[2:], teacher.spec.default_size))
        with torch.autocast(asked.device.type, torch.bfloat16):
            maps = resize_map(teacher.network(seen)[:, :SKY].float(), *asked.shape[2:])
        disparities.append(maps[:, :1])
        if teacher.network.fine is not None:  # the first version's normals are far behind
            directions.append(unit_normals(maps[:, 1:]))
    no_sky = batch.sky[batch.photographs] <= 0
    normals = unit_normals(torch.stack(directions).sum(0)) * no_sky if directions else torch.zeros_like(asked)
    disparity = torch.stack(disparities).mean(0)
    if label_share:  # of the whole window, as the answers are, whatever is set before it
        kept = normalised_target(batch.disparity, pairs=batch.pairs)[batch.photographs]
        disparity = disparity.lerp(kept, label_share)
    return replace(
        batch,
        disparity=batch.disparity.index_copy(0, batch.photographs, disparity),
        normals=batch.normals.index_copy(0, batch.photographs, normals),
        scaled=batch.scaled.index_fill(0, batch.photographs, True),
    )
