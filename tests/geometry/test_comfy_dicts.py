"""Estimates as core ComfyUI's dictionaries, and back: axes, intrinsics, masks."""

import math
from dataclasses import replace

import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.comfy_dicts import da3_to_estimate, estimate_to_da3, estimate_to_moge, moge_to_estimate
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from tests.refusals import refuses

HEIGHT, WIDTH = 6, 8
IMAGE = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def metric(**more) -> Estimate:
    random = torch.Generator().manual_seed(1)
    mask = torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, 0, 0, :3] = False
    maps = {
        "normals": torch.nn.functional.normalize(torch.randn(2, 3, HEIGHT, WIDTH, generator=random), dim=1),
        "mask": mask,
        "intrinsics": intrinsics_from_fov(60, HEIGHT, WIDTH, batch=2),
    }
    return Estimate(torch.rand(2, 1, HEIGHT, WIDTH, generator=random) + 1, Quantity.METRIC_DEPTH, **(maps | more))


def test_moge_carries_what_core_lists():
    core = estimate_to_moge(metric(), IMAGE)
    plane = (2, HEIGHT, WIDTH)
    expected = {"depth": plane, "mask": plane, **dict.fromkeys(("image", "points", "normal"), (*plane, 3)), "intrinsics": (2, 3, 3)}
    assert core.pop("quantity") == "metric_depth"
    assert {key: tuple(value.shape) for key, value in core.items()} == expected
    assert core["mask"].dtype == torch.bool
    assert core["depth"][0, 0, :3].isinf().all() and core["points"][0, 0, :3].isinf().all() and torch.isfinite(core["depth"][1]).all()
    assert torch.equal(core["image"], IMAGE.movedim(1, -1))


def test_moge_points_follow_the_normalised_intrinsics():
    """MoGe's pixel centres lie at (i + 0.5) / W, so point = depth * K^-1 (u, v, 1) there."""
    core = estimate_to_moge(metric(), IMAGE)
    u, v = (3 + 0.5) / WIDTH, (4 + 0.5) / HEIGHT
    ray = torch.linalg.inv(core["intrinsics"][1]) @ torch.tensor([u, v, 1.0])
    assert torch.allclose(core["points"][1, 4, 3], ray * core["depth"][1, 4, 3], atol=1e-5)
    assert torch.allclose(core["intrinsics"][0, :2, 2], torch.tensor([0.5, 0.5])), "the axis goes through the middle"
    assert core["intrinsics"][0, 0, 0] == pytest.approx(0.5 / math.tan(math.radians(30)), abs=1e-5)


def test_da3_carries_what_core_lists_and_back_is_the_same():
    estimate, plane = metric(normals=None, confidence=torch.rand(2, 1, HEIGHT, WIDTH)), (2, HEIGHT, WIDTH)
    core = estimate_to_da3(estimate, IMAGE)
    back = da3_to_estimate(core)
    assert back.quantity is Quantity.METRIC_DEPTH and torch.equal(back.depth[estimate.mask], estimate.depth[estimate.mask])
    assert all(torch.equal(getattr(back, name), getattr(estimate, name)) for name in ("mask", "intrinsics", "confidence"))
    assert core.pop("mode") == "multiview" and core.pop("quantity") == "metric_depth"
    shapes = {"intrinsics": (1, 2, 3, 3), "extrinsics": (1, 2, 3, 4), "image": (*plane, 3)}
    shapes |= dict.fromkeys(("depth", "sky", "confidence"), plane)
    assert {key: tuple(value.shape) for key, value in core.items()} == shapes
    assert core["sky"][0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0] and core["sky"][1].sum() == 0
    assert torch.isfinite(core["depth"]).all() and (core["depth"][0, 0, :3] == core["depth"][0].max()).all()
    assert torch.equal(core["intrinsics"][0], estimate.intrinsics), "pixels, the first one's centre at 0"


def test_moge_and_back_is_the_same():
    estimate = metric()
    back = moge_to_estimate(estimate_to_moge(estimate, IMAGE))
    assert back.quantity is Quantity.METRIC_DEPTH and back.axes is Axes.OPENCV
    trusted = estimate.mask
    assert torch.equal(back.mask, trusted)
    assert torch.equal(back.depth[trusted], estimate.depth[trusted])
    flipped = estimate.normals * torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    assert torch.allclose(back.normals.where(trusted, 0), flipped.where(trusted, 0), atol=1e-6)
    assert torch.allclose(back.intrinsics, estimate.intrinsics, atol=1e-4)


@pytest.mark.parametrize("ways", [(estimate_to_moge, moge_to_estimate), (estimate_to_da3, da3_to_estimate)], ids=["moge", "da3"])
def test_depth_without_a_unit_comes_back_without_one(ways):
    """Core's own dictionaries do not say; of those, MoGe 1's are without normals."""
    to_core, back = ways
    for found in (replace(metric(), quantity=Quantity.SCALE_INVARIANT_DEPTH), Estimate(metric().depth, Quantity.DISPARITY)):
        assert back(to_core(found, IMAGE)).quantity is Quantity.SCALE_INVARIANT_DEPTH
    cores_own = {name: value for name, value in to_core(metric(normals=None), IMAGE).items() if name != "quantity"}
    assert back(cores_own).quantity is Quantity.SCALE_INVARIANT_DEPTH
    assert back(cores_own, "metric_depth").quantity is Quantity.METRIC_DEPTH


def test_moge_of_normals_alone():
    core = estimate_to_moge(Estimate(normals=metric().normals), IMAGE)
    assert set(core) == {"image", "mask", "normal"} and core["mask"].all()
    back = moge_to_estimate(core)
    assert back.depth is None and back.axes is Axes.OPENCV


def test_disparity_becomes_positive_depth_in_the_asked_ratio():
    """An even ramp: 2nd and 98th percentile lie 2 % inside; beyond them inverse depth goes on evenly."""
    disparity = torch.linspace(0, 1, HEIGHT * WIDTH).view(1, 1, HEIGHT, WIDTH) * 700 + 50
    core = estimate_to_moge(Estimate(disparity, Quantity.DISPARITY), IMAGE[:1], near_far_ratio=5.0)
    inverse = 1 / core["depth"].flatten()
    assert torch.allclose(inverse.diff(), inverse.diff()[:1], atol=1e-5), "inverse depth of a ramp is a ramp"
    assert torch.quantile(inverse, 0.98) / torch.quantile(inverse, 0.02) == pytest.approx(5, rel=1e-3)
    assert core["intrinsics"][0, 0, 0] == pytest.approx(0.5 / math.tan(math.radians(27.5)), abs=1e-5), "55 degrees where nothing is known"


def test_relative_depth_needs_a_ratio():
    relative = Estimate(torch.linspace(-3, 9, HEIGHT * WIDTH).view(1, 1, HEIGHT, WIDTH), Quantity.RELATIVE_DEPTH)
    with pytest.raises(ValueError, match=r"relative depth.*near_far_ratio"):
        estimate_to_moge(relative, IMAGE[:1])
    depth = estimate_to_moge(relative, IMAGE[:1], near_far_ratio=4.0)["depth"].flatten()
    ordered = depth.sort().values
    assert torch.equal(ordered, depth) and ordered[1] == 1 and ordered[-2] == pytest.approx(4, abs=1e-5)
    with pytest.raises(ValueError, match=r"above 1"):
        estimate_to_moge(relative, IMAGE[:1], near_far_ratio=0.5)


def test_da3_keeps_where_the_cameras_stand():
    poses = torch.tensor([[[0.0, -1, 0, 0.1], [1, 0, 0, -2], [0, 0, 1, 7]], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
    core = estimate_to_da3(metric(extrinsics=poses), IMAGE)
    assert core["mode"] == "multiview" and torch.equal(core["extrinsics"], poses[None])
    assert torch.equal(core["depth"][1], metric().depth[1, 0]), "depth and poses have one unit"
    assert torch.equal(da3_to_estimate(core).extrinsics, poses)
    assert da3_to_estimate(estimate_to_da3(metric(), IMAGE)).extrinsics is None, "all at the origin: nothing is known of them"


def test_da3_cameras_that_core_did_not_find_are_none():
    cameras = {"intrinsics": torch.eye(3).repeat(1, 2, 1, 1), "extrinsics": torch.eye(4).repeat(1, 2, 1, 1)}
    found = da3_to_estimate({"depth": torch.rand(2, 8, 12) + 1, **cameras})
    assert found.intrinsics is None and found.extrinsics is None and found.quantity is Quantity.RELATIVE_DEPTH


def test_da3_mono_is_relative_depth_with_its_sky_masked():
    sky = torch.zeros(1, HEIGHT, WIDTH)
    sky[0, 0] = 0.9
    core = {"depth": torch.rand(1, HEIGHT, WIDTH) + 1, "image": torch.rand(1, HEIGHT, WIDTH, 3), "mode": "mono", "sky": sky}
    estimate = da3_to_estimate(core)
    assert estimate.quantity is Quantity.RELATIVE_DEPTH and estimate.intrinsics is None
    assert not estimate.mask[0, 0, 0].any() and estimate.mask[0, 0, 1:].all()
    assert da3_to_estimate(core, "metric_depth").quantity is Quantity.METRIC_DEPTH
    with pytest.raises(ValueError, match=r"large where it is far"):
        da3_to_estimate(core, "disparity")


def test_da3_intrinsics_of_the_networks_size_are_brought_to_the_images():
    """Core leaves them at the network's size, where its camera looks at the middle: here 4 x 3 beside maps of 8 x 6."""
    small = torch.tensor([[3.0, 0.0, 2.0], [0.0, 3.0, 1.5], [0.0, 0.0, 1.0]])
    core = {"depth": torch.ones(1, HEIGHT, WIDTH), "mode": "multiview", "intrinsics": small[None, None]}
    assert da3_to_estimate(core).intrinsics[0].tolist() == [[6, 0, 4], [0, 6, 3], [0, 0, 1]]
    cropped = torch.tensor([[6.0, 0.0, 1.0], [0.0, 6.0, 2.5], [0.0, 0.0, 1.0]])
    assert torch.equal(da3_to_estimate({**core, "intrinsics": cropped[None, None]}).intrinsics[0], cropped), "off in one direction: a crop"


test_what_is_not_cores_is_named = refuses(
    lambda convert, bad: convert(bad),
    (moge_to_estimate, None, "NoneType.*expected the dictionary"),
    (moge_to_estimate, {"image": torch.rand(1, 4, 4, 3)}, "neither depth nor normals; it has image"),
    (moge_to_estimate, {"depth": torch.rand(4, 4)}, r"shape \(4, 4\); expected a tensor with 3 axes"),
    (moge_to_estimate, {"depth": torch.rand(1, 4, 4), "normal": torch.rand(1, 5, 4, 3)}, "Estimate.normals has shape"),
    (da3_to_estimate, {"mode": "mono"}, "no depth; it has mode"),
    (da3_to_estimate, {"depth": torch.rand(1, 4, 4), "extrinsics": torch.zeros(1, 1, 3, 4)}, "do not place a camera"),
    (lambda image: estimate_to_moge(metric(), image), IMAGE[:, :, 1:], r"\(2, 3, 5, 8\); expected \(2, 3, 6, 8\)"),
    (moge_to_estimate, {"depth": torch.rand(1, 4, 4), "points": torch.rand(1, 4, 4, 3)}, "panorama"),
    (da3_to_estimate, {"depth": [1, 2]}, "is a list"),
    (da3_to_estimate, {"depth": torch.rand(1, 4, 4), "intrinsics": torch.zeros(1, 1, 3, 3)}, "not a camera's"),
)
