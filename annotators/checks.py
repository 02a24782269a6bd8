"""Checks of what goes into a network and of what comes out of it."""

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
"""The largest ratio of an image's sides. Of a longer strip, most of the input would come from rounding its sides."""

LEAST_METRES, LEAST_UP_TO_SCALE = 0.01, 1e-6
"""The least metric depth in an estimate: in metres, and where the unit is unknown.

A prediction at the camera or behind it (the 0 of a ReLU, a cubic's undershoot) is near and not a hole: holes are what the mask leaves out.
A centimetre is nearer than what photographs show, and 1 / depth of it, 100, leaves other pixels a share of the range. Without a unit, a
typical depth is about 1; `depth_to_normals` too ignores less than a millionth of the median depth.
"""


def check_network_size(spec: ModelSpec, image: Size, size: int, network: Size) -> None:
    """Refuses an input that no machine holds, and an image that is a mere line.

    Args:
        image: Height and width of the image.
        size: The requested `size`.
        network: Height and width of the network's input.

    Raises:
        ValueError: The message says what was asked for, and what to do.
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
    """Refuses views of one scene that no machine holds in one batch.

    Raises:
        ValueError: They are more than MAX_NETWORK_PIXELS in all.
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

    Args:
        network: Its network, for the message.
        maps: By name, for the message.

    Raises:
        ArithmeticError: The message names the first such map.
    """
    check_ends(spec, network, dict(zip(maps, ends_of(maps).tolist(), strict=True)))  # waits for a GPU, once it has all its work


def ends_of(maps: Mapping[str, Tensor]) -> Tensor:
    """(N, 2): the least and the greatest value of each map. NaN is both of what holds it; one pass, and nothing as large as the map."""
    return torch.stack([end for value in maps.values() for end in value.aminmax()]).view(-1, 2)


def check_ends(spec: ModelSpec, network: nn.Module, ends: Mapping[str, Sequence[float]]) -> None:
    """As `check_finite`, of the `ends_of` maps by name, fetched together with other values of the device."""
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
    """Says that a model does not run at the requested size; empty if it does."""
    if not size or (used := spec.used_size(size)) == size:
        return ""
    which = "only one" if spec.smallest_size == spec.largest_size else "largest" if size > used else "smallest"
    return f"{spec.id} runs at size {used}, its {which}, in place of {size}"


def log_used_size(spec: ModelSpec, size: int) -> None:
    """Logs once for each size if a model does not run at the requested size."""
    if words := other_size(spec, size):
        _log_once(words)


@functools.lru_cache(maxsize=64)
def _log_once(text: str) -> None:
    logger.warning(text)
