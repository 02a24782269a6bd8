"""What geometry functions refuse, and that the refusal says what was found and what is accepted."""

import torch

from depth_normal.geometry.camera import depth_to_points
from depth_normal.geometry.checks import check_depth, check_extrinsics, check_intrinsics, check_map, check_mask
from depth_normal.options.checks import check_choice, check_range
from tests.refusals import refusals

K = torch.tensor([[[500.0, 0.0, 319.5], [0.0, 480.0, 239.5], [0.0, 0.0, 1.0]]])
POSE = torch.eye(3, 4)[None]
MAP = torch.ones(2, 1, 4, 6)


test_what_does_not_fit_is_named = refusals(
    (lambda: check_map(MAP[0], 1, "depth"), r"depth has shape \(1, 4, 6\); expected \(batch, 1, height, width\)"),
    (lambda: check_map(MAP, 3, "normals"), r"normals has shape \(2, 1, 4, 6\); expected \(batch, 3, height, width\)"),
    (lambda: check_map(MAP[:, :, :0], 1, "depth"), "depth is empty"),
    (lambda: check_map(MAP.int(), 1, "depth"), "int32; expected floating point"),
    (lambda: check_map(MAP, 1, "depth", like=torch.ones(2, 3, 4, 5)), r"\(2, 1, 4, 6\); expected \(2, 1, 4, 5\).*resize one of them"),
    (lambda: check_map(MAP, 1, "depth", like=torch.ones(1, 3, 4, 6)), r"\(2, 1, 4, 6\); expected \(1, 1, 4, 6\)"),
    (lambda: check_depth(MAP, like=torch.ones(2, 3, 8, 6)), r"expected \(2, 1, 8, 6\)"),
    (lambda: check_depth(MAP * 0), "not positive and finite"),
    (lambda: check_depth(MAP * float("nan")), "not positive and finite"),
    (lambda: check_depth(MAP * float("inf")), "not positive and finite"),
    (lambda: check_mask(MAP, MAP), "torch.float32.*expected.*torch.bool"),
    (lambda: check_mask(MAP[:1] > 0, MAP), r"\(1, 1, 4, 6\).*expected shape \(2, 1, 4, 6\)"),
    (lambda: check_mask((MAP > 0).to("meta"), MAP), "on meta; expected .* on cpu"),
    (lambda: check_intrinsics(K[0]), r"\(3, 3\); expected \(batch, 3, 3\)"),
    (lambda: check_intrinsics(K[..., :2]), r"\(1, 3, 2\)"),
    (lambda: check_intrinsics(K, 2), r"\(1, 3, 3\); expected \(2, 3, 3\)"),
    (lambda: check_intrinsics(K, 1, MAP.to("meta")), "on cpu, the map on meta"),
    (lambda: check_intrinsics(K * float("nan")), "not a camera's"),
    (lambda: check_intrinsics(-K), "fx and fy > 0"),
    (lambda: check_extrinsics(POSE[0]), r"\(3, 4\); expected \(batch, 3, 4\)"),
    (lambda: check_extrinsics(POSE, 2), r"\(1, 3, 4\); expected \(2, 3, 4\)"),
    (lambda: check_extrinsics(POSE, 1, MAP.to("meta")), "on cpu, the map on meta"),
    (lambda: check_extrinsics(POSE * float("nan")), "do not place a camera"),
    (lambda: check_extrinsics(POSE * 1.1), "do not place a camera"),
    (lambda: check_extrinsics(POSE * torch.tensor([-1.0, 1, 1, 1])), "R a rotation"),
    (lambda: check_range("share", 1.5, 0, 1), "share is 1.5; accepted: 0 to 1"),
    (lambda: check_range("share", float("nan"), 0, 1), "share is nan; accepted: 0 to 1"),
    (lambda: check_choice("near", "grey", ("white", "black")), "near is 'grey'; accepted: white, black"),
)


test_what_is_no_tensor_is_named = refusals(
    (lambda: check_map(MAP.numpy(), 1, "depth"), r"depth is of type ndarray; expected a tensor \(batch, 1, height, width\)"),
    (lambda: depth_to_points(MAP, None), r"are None; expected a tensor \(2, 3, 3\); `intrinsics_from_fov` makes them of a field"),
    (lambda: check_extrinsics(None), r"extrinsics are None; expected a tensor \(batch, 3, 4\)"),
    error=TypeError,
)
