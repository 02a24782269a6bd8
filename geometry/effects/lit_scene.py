"""Prepares an image and its estimate for relighting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_depth
from ..conventions import convert_normals, unit_normals
from ..edges.depth_edges import edge_radius, sharpen_depth_edges
from ..edges.guided_filter import box_means
from ..estimate import Axes, Estimate, Quantity
from ..projections import need_perspective
from ..regions.sky import predicted_sky, sky_alpha
from ..surfaces.derive import with_normals
from ..surfaces.plane_fit import by_bands
from .lights import Light, LightPlan, unit

# A change of depth by which a pixel was on a ramp.
_MOVED = 0.01


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
        sky: (1, 1, H, W) in [0, 1], the share of each pixel on which no shadow falls.
        glossy: (1, 1, h, w) in [0, 1], smaller than the image: the share of highlights that is kept. 0 at the soft edges between near
            and far things, where a network's normals lead from one to the other and would catch any light. None = all of it.
    """

    image: Tensor
    normals: Tensor
    light: tuple[Light, ...]
    depth: Tensor | None
    intrinsics: Tensor
    mask: Tensor
    sky: Tensor
    glossy: Tensor | None


def lit_scene(image: Tensor, estimate: Estimate, plans: tuple[LightPlan, ...], sky: Tensor | bool = False) -> LitScene:
    """Brings together what the light of one image needs.

    Args:
        image: (1, 3, H, W) in [0, 1].
        estimate: Of the image, at any size.
        sky: (1, 1, H, W) bool, where the sky is; True = `sky_alpha`, False = nowhere.
    """
    need_perspective(estimate, "relighting")
    height, width = image.shape[-2:]
    ratio = NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None
    sized = with_normals(estimate, near_far_ratio=ratio).resized(height, width)
    normals, depth, intrinsics, glossy = _surfaces(sized)
    share, known = image.new_zeros(1, 1, height, width), sized.valid
    if not isinstance(sky, bool):
        share = sky.to(image)
    elif sky and depth is not None:
        share = sky_alpha(image, estimate)
        # Things that the network's coarse sky covers have no sides known, but are lit as the sky is, not left bright beside it.
        covered = resize_map(predicted_sky(estimate).to(image), height, width, "nearest-exact") > 0.5
        known = known | covered
        normals = _facing_where(covered.to(image), normals)
    normals = _facing_where(share, normals)
    lights = tuple(plan.placed(intrinsics, height, width) for plan in plans)
    return LitScene(image, normals, lights, depth, intrinsics, known | (share > 0.5), share, glossy)


def _facing_where(share: Tensor, normals: Tensor) -> Tensor:
    """Normals that face the viewer in the sky, which has no sides: a lamp makes all of it as bright."""
    if not bool(share.any()):
        return normals

    def turned(share: Tensor, normals: Tensor) -> tuple[Tensor]:
        known = normals.nan_to_num()  # masked sky may have none
        sideways, back = known[:, :2] * (1 - share), torch.lerp(known[:, 2:], torch.ones_like(share), share)
        return (torch.where(share > 0, unit(torch.cat((sideways, back), 1)), normals),)

    return by_bands(turned, 0, share, normals)[0]


def _surfaces(estimate: Estimate) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Normals in OPENGL axes, depth (None if unknown), intrinsics, and where highlights are kept, of an estimate with normals."""
    assert estimate.normals is not None
    normals = unit_normals(convert_normals(estimate.normals, estimate.axes, Axes.OPENGL))
    intrinsics = assumed_intrinsics(estimate)
    if estimate.depth is None:
        return normals, None, intrinsics, None
    soft, radius = filled_depth(estimate), edge_radius(*normals.shape[-2:])
    depth = sharpen_depth_edges(soft, radius)
    return normals, depth, intrinsics, _outside_ramps(soft, depth, radius)


def _outside_ramps(soft: Tensor, sharp: Tensor, radius: int) -> Tensor:
    """1 where sharpening left the depth as it was, down to 0 around ramps that became steps: (B, 1, h, w), a pixel a third of a radius.

    Depth that has steps already, rendered or measured, has no ramps.
    """
    pitch = max(1, radius // 3)
    soft, sharp = (each[..., pitch // 2 :: pitch, pitch // 2 :: pitch] for each in (soft, sharp))
    ramps = ((sharp / soft - 1).abs() > _MOVED).to(soft)
    reach, blur = (max(1, round(share * radius / pitch)) for share in (1, 0.5))
    ramps = F.max_pool2d(ramps, 2 * reach + 1, 1, reach)
    for _ in range(2):
        ramps = box_means(ramps, blur)
    return 1 - ramps
