"""What the nodes of raw depth and normals share: their sockets, and widgets that several have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..geometry.estimate import Estimate
from ..model_loader.host import image_placement, throw_if_interrupted
from ..utils import to_image

CATEGORY = "Depth & Normals"
GEOMETRY, DEPTH_NORMAL_MODEL = "GEOMETRY", "DEPTH_NORMAL_MODEL"
MAX_FOV, MAX_RATIO = 175.0, 10000.0


def fov_widget() -> tuple[str, dict[str, Any]]:
    """The widget that says how wide the camera sees."""
    tooltip = "Field of view of the picture's longer side in degrees. 0: the camera the geometry knows, else 55."
    return "FLOAT", {"default": 0.0, "min": 0.0, "max": MAX_FOV, "step": 0.1, "tooltip": tooltip}


def near_far_ratio_widget() -> tuple[str, dict[str, Any]]:
    """The widget that says how deep a scene of unknown depth is."""
    tooltip = (
        "How many times farther the far end of the scene is than the near end; above 1. Fixes the unknown zero of disparity and relative "
        "depth; metric depth does not need it. 0 (automatic): 3, or 30 where sky is seen; relative depth needs a number."
    )
    return "FLOAT", {"default": 0.0, "min": 0.0, "max": MAX_RATIO, "step": 0.1, "tooltip": tooltip}


def check_geometry(value: Any) -> Estimate:
    """Refuses what another pack sends through a socket of the same name.

    Raises:
        TypeError: Not an `Estimate`.
    """
    if isinstance(value, Estimate):
        return value
    found = f"a dictionary with {', '.join(sorted(map(str, value)))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise TypeError(
        f"the geometry input is {found}; expected GEOMETRY of this pack, as Estimate Geometry, Depth Image to Geometry, "
        "MoGe to Geometry and Depth Anything 3 to Geometry give it"
    )


def one_by_one(estimate: Estimate, device: torch.device | None = None) -> Iterator[Estimate]:
    """Each picture of a batch, on `device` (None = where it is): a long clip at once would not fit there. Stops where the user cancels."""
    maps = {field.name: value for field in fields(estimate) if isinstance(value := getattr(estimate, field.name), Tensor)}
    for index in range(estimate.batch):
        throw_if_interrupted()
        own = {name: value[index : index + 1].to(device or value.device) for name, value in maps.items()}
        yield replace(estimate, **own)


def to_output(planar: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) in [0, 1] as the IMAGE that nodes hand on."""
    return to_image(planar).to(*image_placement())


def geometry_input(tooltip: str) -> tuple[str, dict[str, Any]]:
    """The input for raw depth and normals."""
    return GEOMETRY, {"tooltip": tooltip}
