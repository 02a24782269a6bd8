"""Estimates that come in parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from ..annotators.base import Progress
from ..geometry.estimate import Estimate


def joined(parts: Iterable[Estimate], total: int, device: torch.device) -> Estimate:
    """One estimate of all parts on a device. Each goes to its place as it comes: a long batch is never held twice."""
    whole: Estimate | None = None
    done = 0
    for part in parts:
        if part.batch == total:
            # On to the end of `parts` all the same: there it is told that the last picture is done.
            whole = part.to(device)
            continue
        if whole is None:
            whole = replace(part, **{name: value.new_empty((total, *value.shape[1:]), device=device) for name, value in part.maps.items()})
        for name, value in part.maps.items():
            whole.maps[name][done : done + part.batch] = value
        done += part.batch
    assert whole is not None, "the batch is not empty"
    return whole


def scaled(progress: Progress | None, done: int, chunk: int, total: int) -> Progress | None:
    """Progress within a part of the batch as progress of the whole."""
    if progress is None:
        return None
    return lambda passes, of_passes: progress(done * of_passes + passes * chunk, total * of_passes)
