"""Converts estimates to and from the dictionaries of core ComfyUI's MoGe and Depth Anything 3 nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .assumptions import assumed_depth, assumed_intrinsics
from .camera import depth_to_points
from .checks import check_extrinsics, check_intrinsics, check_map
from .conventions import convert_normals, unit_normals
from .estimate import Axes, Estimate, Quantity
from .kinds import ZERO_AT_CAMERA
from .projections import need_perspective
from .valid import valid_depth

_QUANTITY = "quantity"
"""An entry that core's own dictionaries lack, and ignore."""
_SKY = 0.5
_OFF_CENTRE = 0.1


def estimate_to_moge(
    estimate: Estimate, image: Tensor, fov: float | None = None, near_far_ratio: float | None = None
) -> dict[str, Tensor | str]:
    """Converts an estimate to core's MOGE_GEOMETRY.

    Args:
        estimate: With depth or normals.
        image: (B, 3, H, W) RGB in [0, 1], the source image, which textures core's meshes.
        fov: As `assumed_intrinsics`.
        near_far_ratio: As `assumed_depth`.

    Returns:
        Tensors on the CPU. Always `image` (B, H, W, 3) and `mask` (B, H, W) bool. With depth: planar `depth` (B, H, W) and `points`
        (B, H, W, 3) in OPENCV axes, both infinite where depth is not valid, and `intrinsics` (B, 3, 3) in fractions of width and height:
        the image's corners are at 0 and 1, cx = (cx in pixels + 0.5) / W; and `quantity` (see `moge_to_estimate`).
        With normals: `normal` (B, H, W, 3) in OPENCV axes, zero where depth or normals are not valid, as MoGe does.

    Raises:
        ValueError: An image of another batch or size, or as `assumed_depth`.
    """
    need_perspective(estimate, "the conversion to MOGE_GEOMETRY")
    _check_image(image, estimate)
    estimate = estimate.to("cpu")
    converted: dict[str, Tensor | str] = {"image": image.movedim(1, -1).contiguous().cpu()}
    if estimate.depth is not None:
        depth = assumed_depth(estimate, near_far_ratio, fov)
        mask = ~torch.isnan(depth)
        depth = torch.where(mask, depth, torch.inf)
        intrinsics = assumed_intrinsics(estimate, fov)
        points = torch.where(mask, depth_to_points(depth, intrinsics), torch.inf)
        converted["depth"] = depth[:, 0]
        converted["points"] = points.movedim(1, -1).contiguous()
        converted["intrinsics"] = _normalised(intrinsics, estimate.height, estimate.width)
        converted[_QUANTITY] = _quantity_of(estimate)
    if estimate.normals is not None:
        normals = convert_normals(estimate.normals, estimate.axes, Axes.OPENCV)
        converted["normal"] = normals.where(estimate.valid, 0).movedim(1, -1).contiguous()
    valid = estimate.normals_valid if estimate.depth_valid is None else estimate.depth_valid
    assert valid is not None
    converted["mask"] = valid[:, 0]
    return converted


def moge_to_estimate(geometry: Mapping[str, Any], quantity: Quantity | str | None = None) -> Estimate:
    """Converts core's MOGE_GEOMETRY, of which `image` is ignored and other entries may be missing, to an estimate.

    Depth and/or normals in OPENCV axes, with mask and intrinsics. `quantity` None is what the dictionary says, if it
    is this pack's, else metric depth where there are normals. Without them it is scale-invariant: MoGe 1 predicts
    neither metres nor normals. Raises ValueError: neither depth nor normals, tensors that do not fit, another
    quantity, or a panorama, whose depth is not planar.
    """
    _check_mapping(geometry, "MOGE_GEOMETRY")
    if "points" in geometry and "intrinsics" not in geometry:
        raise ValueError(
            "the MoGe geometry is a panorama's (points without intrinsics), whose depth is a distance on a sphere; "
            "accepted: geometry of flat images, as Run MoGe Inference gives it"
        )
    depth = _plane(geometry, "depth", "MOGE_GEOMETRY")
    normals = None
    if geometry.get("normal") is not None:
        normals = unit_normals(_tensor(geometry, "normal", 4, "MOGE_GEOMETRY").float().movedim(-1, 1).contiguous(), Axes.OPENCV)
    if depth is None and normals is None:
        raise ValueError(f"the MoGe geometry has neither depth nor normals; it has {', '.join(sorted(geometry))}")
    mask = _plane(geometry, "mask", "MOGE_GEOMETRY")
    mask = None if mask is None else mask > 0
    stated = None
    if depth is not None:
        usual = Quantity.SCALE_INVARIANT_DEPTH if normals is None else Quantity.METRIC_DEPTH
        stated = Quantity(quantity or geometry.get(_QUANTITY) or usual)
        if stated not in ZERO_AT_CAMERA:
            accepted = ", ".join(ZERO_AT_CAMERA)
            raise ValueError(f"MoGe's depth is 0 at the camera, and {stated.value} is not; accepted: {accepted}")
        mask = valid_depth(depth, stated, mask)
    estimate = Estimate(depth=depth, quantity=stated, normals=normals, axes=Axes.OPENCV, mask=mask)
    if geometry.get("intrinsics") is None:
        return estimate
    intrinsics = _in_pixels(_tensor(geometry, "intrinsics", 3, "MOGE_GEOMETRY").float(), estimate.height, estimate.width)
    check_intrinsics(intrinsics, estimate.batch)
    return replace(estimate, intrinsics=intrinsics)


def estimate_to_da3(
    estimate: Estimate, image: Tensor, fov: float | None = None, near_far_ratio: float | None = None
) -> dict[str, Tensor | str]:
    """Converts an estimate with depth to core's DA3_GEOMETRY. Arguments and errors as `estimate_to_moge`.

    Returns:
        Tensors on the CPU: `depth` (B, H, W), the farthest value where masked; `image` (B, H, W, 3); `sky` (B, H, W), 1 where masked;
        `intrinsics` (1, B, 3, 3) in pixels; `extrinsics` (1, B, 3, 4), identity where the poses are unknown; `confidence` (B, H, W) if
        known. And `mode` = "multiview", the only mode in which core reads the camera, and `quantity` as
        `estimate_to_moge`.
    """
    _check_image(image, estimate)
    estimate = estimate.to("cpu")
    depth = assumed_depth(estimate, near_far_ratio, fov)
    masked = torch.isnan(depth)
    farthest = torch.where(masked, 0, depth).amax((1, 2, 3), keepdim=True)
    poses = torch.eye(3, 4).expand(estimate.batch, 3, 4) if estimate.extrinsics is None else estimate.extrinsics
    converted: dict[str, Tensor | str] = {
        "depth": torch.where(masked, farthest, depth)[:, 0],
        "image": image.movedim(1, -1).contiguous().cpu(),
        "mode": "multiview",
        "sky": masked[:, 0].float(),
        "intrinsics": assumed_intrinsics(estimate, fov)[None],
        "extrinsics": poses[None].contiguous(),
        _QUANTITY: _quantity_of(estimate),
    }
    if estimate.confidence is not None:
        converted["confidence"] = estimate.confidence[:, 0]
    return converted


def da3_to_estimate(geometry: Mapping[str, Any], quantity: Quantity | str | None = None) -> Estimate:
    """Converts core's DA3_GEOMETRY, of which only `depth` is required, to an estimate.

    Depth is masked where `sky` is 0.5 or more, with confidence, intrinsics and extrinsics if present. Identity poses for all cameras mean
    unknown ones. `quantity` None is what the dictionary says, if it is this pack's, else scale-invariant depth where
    there is a camera, and relative depth where there is none. Raises ValueError: no depth, tensors that do not fit,
    or disparity requested: Depth Anything 3 gives depth.
    """
    _check_mapping(geometry, "DA3_GEOMETRY")
    depth = _plane(geometry, "depth", "DA3_GEOMETRY")
    if depth is None:
        raise ValueError(f"the Depth Anything 3 geometry has no depth; it has {', '.join(sorted(geometry))}")
    sky, intrinsics, extrinsics = _plane(geometry, "sky", "DA3_GEOMETRY"), None, None
    if geometry.get("intrinsics") is not None:
        matrices = _tensor(geometry, "intrinsics", 4, "DA3_GEOMETRY").float()[0]
        check_intrinsics(matrices, depth.shape[0])
        # core's intrinsics where its model found no camera
        unknown = bool((matrices == torch.eye(3).to(matrices)).all())
        intrinsics = None if unknown else _of_this_size(matrices, *depth.shape[-2:])
    if geometry.get("extrinsics") is not None:
        poses = _tensor(geometry, "extrinsics", 4, "DA3_GEOMETRY").float()[0, :, :3]
        check_extrinsics(poses, depth.shape[0])
        extrinsics = None if bool((poses == torch.eye(3, 4).to(poses)).all()) else poses
    usual = Quantity.RELATIVE_DEPTH if intrinsics is None else Quantity.SCALE_INVARIANT_DEPTH
    quantity = Quantity(quantity or geometry.get(_QUANTITY) or usual)
    if quantity is Quantity.DISPARITY:
        accepted = ", ".join(each for each in Quantity if each is not quantity)
        raise ValueError(f"Depth Anything 3's depth is large where it is far; accepted: {accepted}")
    mask = valid_depth(depth, quantity, None if sky is None else sky < _SKY)
    return Estimate(
        depth=depth,
        quantity=quantity,
        # A mask that is True everywhere would mean that there is no sky.
        mask=None if sky is None and bool(mask.all()) else mask,
        intrinsics=intrinsics,
        confidence=_plane(geometry, "confidence", "DA3_GEOMETRY"),
        extrinsics=extrinsics,
    )


def _quantity_of(estimate: Estimate) -> str:
    """The quantity of `assumed_depth`."""
    is_metric = estimate.quantity is Quantity.METRIC_DEPTH
    return (Quantity.METRIC_DEPTH if is_metric else Quantity.SCALE_INVARIANT_DEPTH).value


def _normalised(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Converts intrinsics from pixels (first centre = 0) to fractions of width and height (corners = 0 and 1)."""
    scale = intrinsics.new_tensor([[1 / width] * 3, [1 / height] * 3, [1.0] * 3])
    return (intrinsics + intrinsics.new_tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])) * scale


def _in_pixels(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `_normalised`."""
    scale = intrinsics.new_tensor([[width] * 3, [height] * 3, [1.0] * 3])
    return intrinsics * scale - intrinsics.new_tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def _of_this_size(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Intrinsics in pixels of this size.

    Core resizes the depth to the image but leaves the intrinsics at the network's size. Its principal points are in the middle of
    the image, so a centre that is off by the same factor in both directions gives the ratio of the two sizes.
    """
    centre = intrinsics[:, :2, 2]
    middle = intrinsics.new_tensor([width / 2, height / 2])
    scale = middle / centre
    centred = bool(((centre - middle).abs() < _OFF_CENTRE * middle + 0.5).all())
    if centred or not bool(((centre > 0) & ((scale / scale.flip(1) - 1).abs() < _OFF_CENTRE)).all()):
        return intrinsics
    return torch.cat((intrinsics[:, :2] * scale[..., None], intrinsics[:, 2:]), 1)


def _check_image(image: Tensor, estimate: Estimate) -> None:
    check_map(image, 3, "image", like=estimate.depth if estimate.depth is not None else estimate.normals)


def _check_mapping(geometry: Any, name: str) -> None:
    if not isinstance(geometry, Mapping):
        raise ValueError(f"the {name} input is a {type(geometry).__name__}; expected the dictionary that core's nodes pass on")


def _plane(geometry: Mapping[str, Any], key: str, name: str) -> Tensor | None:
    """(B, H, W) as (B, 1, H, W) float32; None if absent."""
    return None if geometry.get(key) is None else _tensor(geometry, key, 3, name).float()[:, None].contiguous()


def _tensor(geometry: Mapping[str, Any], key: str, rank: int, name: str) -> Tensor:
    value = geometry[key]
    if not isinstance(value, Tensor) or value.ndim != rank:
        kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{name}['{key}'] is {kind}; expected a tensor with {rank} axes")
    return value
