"""Input checks of nodes. ComfyUI checks widgets too, but scripts call the nodes without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..geometry.checks import check_range
from ..geometry.estimate import Estimate
from ..model_loader import Model
from .widgets import MAX_FOV, MAX_NETWORK_SIZE, MAX_RATIO, MAX_RESOLUTION, MIN_RESOLUTION


def check_short_side(resolution: int) -> None:
    """Refuses what `short_side_widget` cannot say.

    Raises:
        ValueError: No whole number, or one out of range.
    """
    if not isinstance(resolution, int):
        raise ValueError(f"resolution is {resolution!r}; accepted: whole numbers from {MIN_RESOLUTION} to {MAX_RESOLUTION}")
    check_range("resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)


def check_network_side(resolution: int) -> None:
    """Refuses what `network_side_widget` cannot say.

    Raises:
        ValueError: Out of range.
    """
    check_range("resolution", resolution, 0, MAX_RESOLUTION)


def check_network_size(network_size: int) -> None:
    """Refuses what `network_size_widget` cannot say.

    Raises:
        ValueError: Out of range.
    """
    check_range("network_size", network_size, 0, MAX_NETWORK_SIZE)


def check_camera(fov: float, near_far_ratio: float = 0.0) -> None:
    """Refuses what `fov_widget` and `near_far_ratio_widget` cannot say.

    Raises:
        ValueError: Out of range.
    """
    check_range("fov", fov, 0, MAX_FOV)
    check_range("near_far_ratio", near_far_ratio, 0, MAX_RATIO)


def check_count(name: str, found: int, other: str, total: int, *, one_for_all: bool = True) -> None:
    """Refuses a batch that does not go with another.

    Args:
        name: What the error calls it.
        found: How many it holds.
        other: What the error calls the other batch.
        total: How many that holds.
        one_for_all: Whether a single one goes with all of them.

    Raises:
        ValueError: Says how many there are of each.
    """
    if found != total and not (one_for_all and found == 1):
        accepted = "one for all, or one each" if one_for_all else "one each"
        raise ValueError(f"{name} holds {found} images, {other} {total}; accepted: {accepted}")


def check_model(value: Any) -> Model:
    """Refuses what a script puts in the place of a model.

    Raises:
        TypeError: Not a `Model`.
    """
    if not isinstance(value, Model):
        raise TypeError(f"the model input is of type {type(value).__name__}; expected what Load Depth/Normal Model gives: link that node")
    return value


def check_geometry(value: Any) -> Estimate:
    """Refuses what another pack sends through a socket of the same name.

    Raises:
        TypeError: Not an `Estimate`.

    Returns:
        The estimate, its numbers float32: those of a script may be others.
    """
    if isinstance(value, Estimate):
        return value.in_float32()
    found = f"a dictionary with {', '.join(sorted(map(str, value)))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise TypeError(
        f"the geometry input is {found}; expected GEOMETRY of this pack, as Estimate Geometry, Depth Image to Geometry, "
        "MoGe to Geometry and Depth Anything 3 to Geometry give it"
    )
