"""Checks of network inputs and outputs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from .choices import wording
from .preprocessing.resizing import Size
from .specs.base import ModelSpec

logger = logging.getLogger(__name__)

MAX_NETWORK_PIXELS = 64 * 2**20
MAX_ASPECT = 1000
"""The largest aspect ratio of an image. Beyond it, rounding of the shorter side would dominate the input."""

LEAST_METRES, LEAST_UP_TO_SCALE = 0.01, 1e-6
"""Lower bounds of metric depth in an estimate: in metres, and where the unit is unknown.

A prediction at or behind the camera (a ReLU's 0, a cubic's undershoot) means near, not a hole: holes are marked by the mask.
Photographs show nothing nearer than a centimetre, and its 1 / depth of 100 still leaves other pixels a share of the range.
Without a unit, a typical depth is about 1; `depth_to_normals`, too, ignores depths below a millionth of the median.
"""


def check_network_size(spec: ModelSpec, image: Size, size: int, network: Size) -> None:
    """Refuses inputs too large for any machine, and images of extreme aspect ratio.

    Args:
        image: Height and width of the image.
        size: The requested `size`.
        network: Height and width of the network's input.

    Raises:
        ValueError: The message says what was requested and how to fix it.
    """
    height, width = image
    if network[0] * network[1] > MAX_NETWORK_PIXELS:
        raise ValueError(
            f"an image of {width}x{height} at resolution {size} makes {spec.id} run at {network[1]}x{network[0]}, "
            f"more than {MAX_NETWORK_PIXELS // 2**20} megapixels: {wording().lower_size} or crop the image"
        )
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"an image of {width}x{height} has one side more than {MAX_ASPECT} times as long as the other: crop it, or cut it in pieces"
        )


def check_scene_size(spec: ModelSpec, views: int, network: Size) -> None:
    """Refuses more views of one scene than any machine can process in one batch.

    Raises:
        ValueError: They exceed MAX_NETWORK_PIXELS in total.
    """
    height, width = network
    if views * height * width > MAX_NETWORK_PIXELS:
        raise ValueError(
            f"{views} views of one scene, which {spec.id} processes in one batch at {width}x{height} each, are more than "
            f"{MAX_NETWORK_PIXELS // 2**20} megapixels: give at most {MAX_NETWORK_PIXELS // (height * width)} views, "
            f"or {wording().lower_size}"
        )


def check_finite(spec: ModelSpec, network: nn.Module, maps: Mapping[str, Tensor]) -> None:
    """Refuses maps that hold NaN or infinity.

    Raises:
        ArithmeticError: The message names the first such map and the network's dtype.
    """
    check_ends(spec, network, dict(zip(maps, ends_of(maps).tolist(), strict=True)))  # synchronises a GPU, after all work is queued


def ends_of(maps: Mapping[str, Tensor]) -> Tensor:
    """(N, 2): minimum and maximum of each map, both NaN if it contains NaN. One pass, no map-sized temporaries."""
    return torch.stack([end for value in maps.values() for end in value.aminmax()]).view(-1, 2)


def check_ends(spec: ModelSpec, network: nn.Module, ends: Mapping[str, Sequence[float]]) -> None:
    """`check_finite` for values of `ends_of` that the caller fetched along with others."""
    name = next((name for name, pair in ends.items() if not all(map(isfinite, pair))), "")
    if not name:
        return
    dtype = next(network.parameters()).dtype
    remedy = "check the weights file" if dtype == torch.float32 else "use float32, or check the weights file"
    raise ArithmeticError(f"{spec.id} in {dtype} gave {name} that is not finite: {remedy}")


def least_depth(spec: ModelSpec) -> float:
    """The least metric depth in a model's estimates: see `LEAST_METRES`."""
    return LEAST_METRES if spec.in_metres else LEAST_UP_TO_SCALE


def other_size(spec: ModelSpec, size: int | None) -> str:
    """A message if a model cannot run at the requested size, else empty."""
    if not size or (used := spec.used_size(size)) == size:
        return ""
    which = "only one" if spec.smallest_size == spec.largest_size else "largest" if size > used else "smallest"
    return f"{spec.id} runs at size {used}, its {which}, in place of {size}"


def log_used_size(spec: ModelSpec, size: int) -> None:
    """Warns once per size if a model cannot run at the requested size."""
    if words := other_size(spec, size):
        _log_once(words)


@functools.lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    logger.warning(text)
