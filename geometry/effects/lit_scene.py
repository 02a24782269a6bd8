"""Prepares an image and its estimate for relighting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..conventions import convert_normals, unit_normals
from ..edges.depth_edges import edge_radius, sharpen_depth_edges
from ..edges.guided_filter import mask_at_image_edges
from ..estimate import Axes, Estimate, Quantity
from ..regions.sky import sky_of
from ..surfaces.derive import with_normals
from ..surfaces.plane_fit import by_bands
from .lights import Light, LightPlan, unit

SKY_BORDER = 0.01
"""Half the width in which the border of the sky follows the image, as a share of the longer side."""


@dataclass(frozen=True)
class LitScene:
    """One image with all that its light needs: what `relight` takes.

    Attributes:
        image: (1, 3, H, W) in [0, 1].
        normals: (1, 3, H, W), OPENGL axes; in the sky they face the viewer.
        light: The lamps in front of the camera.
        depth: (1, 1, H, W), its near end at 1; None = unknown.
        intrinsics: (1, 3, 3), pixels.
        mask: (1, 1, H, W) bool, where light is changed: where all is known, and in the sky.
        sky: (1, 1, H, W) bool, where no shadow falls.
    """

    image: Tensor
    normals: Tensor
    light: tuple[Light, ...]
    depth: Tensor | None
    intrinsics: Tensor
    mask: Tensor
    sky: Tensor


def lit_scene(image: Tensor, estimate: Estimate, plans: tuple[LightPlan, ...], sky: Tensor | bool = False) -> LitScene:
    """Brings together what the light of one image needs.

    Args:
        image: (1, 3, H, W) in [0, 1].
        estimate: Of the image, at any size.
        sky: (1, 1, H, W) bool, where the sky is; True = as `sky_of` says, with its border on the image's edges.
    """
    height, width = image.shape[-2:]
    ratio = NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None
    sized = with_normals(estimate, near_far_ratio=ratio).resized(height, width)
    normals, depth, intrinsics = _surfaces(sized)
    lit = sized.valid
    if not isinstance(sky, bool):
        share = sky.to(image)
    elif sky and depth is not None:
        share = sky_of(image, estimate)
        lit = lit | (share > 0.5)
        share = mask_at_image_edges(share, image, max(1, round(max(height, width) * SKY_BORDER)))
    else:
        share = image.new_zeros(1, 1, height, width)
    normals = _facing_where(torch.where(sized.valid, share, 1), normals)
    lights = tuple(plan.placed(intrinsics, height, width) for plan in plans)
    is_sky = share > 0.5
    return LitScene(image, normals, lights, depth, intrinsics, lit | is_sky, is_sky)


def _facing_where(share: Tensor, normals: Tensor) -> Tensor:
    """Normals that face the viewer in the sky, which has no sides: a lamp makes all of it as bright."""

    def turned(share: Tensor, normals: Tensor) -> tuple[Tensor]:
        known = normals.nan_to_num()  # masked sky may have none
        sideways, back = known[:, :2] * (1 - share), torch.lerp(known[:, 2:], torch.ones_like(share), share)
        return (torch.where(share > 0, unit(torch.cat((sideways, back), 1)), normals),)

    return by_bands(turned, 0, share, normals)[0]


def _surfaces(estimate: Estimate) -> tuple[Tensor, Tensor | None, Tensor]:
    """Normals in OPENGL axes, depth (None if unknown) and intrinsics of an estimate with normals."""
    assert estimate.normals is not None
    normals = unit_normals(convert_normals(estimate.normals, estimate.axes, Axes.OPENGL))
    depth = None if estimate.depth is None else sharpen_depth_edges(filled_depth(estimate), edge_radius(*normals.shape[-2:]))
    return normals, depth, assumed_intrinsics(estimate)
