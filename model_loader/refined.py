"""Estimates whose edges are brought to the pictures' edges as they are enlarged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.refine import refine_geometry
from ..utils import check_pictures, pictures_to_rgb


def refined_parts(
    parts: Iterable[Estimate], images: Tensor | np.ndarray, derive: Callable[[Estimate], Estimate] | None, resampling: str
) -> Iterator[Estimate]:
    """Each part of a batch at the pictures' size, refined.

    Args:
        parts: Estimates of one or more pictures, in order, at the network's size.
        images: As `Model.estimate`: what the parts are of.
        derive: As `Model.estimate`.
        resampling: As `Estimate.resized`.
    """
    batch, done = check_pictures(images), 0
    for part in parts:
        pictures = pictures_to_rgb(batch[done : done + part.batch]).to(part.device)
        done += part.batch
        if part.depth is None:
            sized = part if derive is None else derive(part)
            yield sized.resized(pictures.shape[-2], pictures.shape[-1], resampling)
        else:
            yield refine_geometry(part, pictures, derive=derive, resampling=resampling, squashed=True)
