"""Input checks of nodes, for scripts that call them without ComfyUI's own checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from ..geometry.checks import check_alike
from ..geometry.estimate import Estimate
from ..model_loader import Model


def check_count(name: str, found: int, other: str, total: int, *, one_for_all: bool = True) -> None:
    """Raises ValueError unless a batch has as many images as the one called `other`, or, with `one_for_all`, a single one."""
    if found != total and not (one_for_all and found == 1):
        accepted = "one for all, or one each" if one_for_all else "one each"
        raise ValueError(f"{name} holds {found} images, {other} {total}; accepted: {accepted}")


def check_images_of(estimate: Estimate, images: Tensor, name: str = "geometry", *, one_for_all: bool = True) -> None:
    """Raises ValueError unless images (B, C, H, W) have an estimate's number and aspect ratio, whatever their size.

    `name` is the estimate's in the error, `one_for_all` as in `check_count`.
    """
    check_count("image", len(images), name, estimate.batch, one_for_all=one_for_all)
    check_alike(name, (estimate.height, estimate.width), (images.shape[-2], images.shape[-1]))


def check_model(value: Any) -> Model:
    """Returns an input if it is a model, else raises TypeError."""
    if not isinstance(value, Model):
        raise TypeError(f"the model input is of type {type(value).__name__}; expected a model: link the output of Load Depth Model")
    return value


def is_geometry(value: Any) -> bool:
    """Whether an input is an `Estimate`, also of another copy of this package: custom nodes may import the one that pip installed."""
    kind = type(value)
    return isinstance(value, Estimate) or (kind.__name__ == Estimate.__name__ and kind.__module__.endswith(".geometry.estimate"))


def check_geometry(value: Any) -> Estimate:
    """Returns an input in float32 if `is_geometry`, else raises TypeError: other packs have sockets of the same name."""
    if is_geometry(value):
        if not isinstance(value, Estimate):
            parts = {each.name: getattr(value, each.name) for each in fields(Estimate) if hasattr(value, each.name)}
            value = Estimate(**{name: getattr(part, "value", part) for name, part in parts.items()})
        return value.in_float32()
    kind = f"a dictionary with {', '.join(sorted(map(str, value)))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise TypeError(
        f"the geometry input is {kind}; expected this pack's GEOMETRY: link the output geometry of Depth & Normals, Depth Image to "
        "Geometry or Convert Geometry"
    )
