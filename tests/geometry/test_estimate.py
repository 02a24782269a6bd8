from dataclasses import replace

import numpy as np
import pytest
import torch

from depth_normal.geometry.assumptions import assumed_depth
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.surfaces.derive import with_normals
from tests.refusals import refuses

# Of one in 70 depths plain interpolation leaves the range by rounding, which `resized` does not.
RANDOM = torch.Generator().manual_seed(0)
DEPTH = torch.rand(2, 1, 4, 6, generator=RANDOM) + 1
NORMALS = torch.nn.functional.normalize(torch.randn(2, 3, 4, 6, generator=RANDOM), dim=1)


test_what_does_not_fit_together_is_refused = refuses(
    lambda maps: Estimate(**maps),
    ({}, "needs depth, normals or both"),
    ({"depth": DEPTH}, "go together"),
    ({"normals": NORMALS, "quantity": Quantity.DISPARITY}, "go together"),
    ({"depth": DEPTH[0], "quantity": Quantity.DISPARITY}, r"\(1, 4, 6\)"),
    ({"depth": NORMALS, "quantity": Quantity.DISPARITY}, r"depth has shape \(2, 3, 4, 6\), expected \(2, 1, 4, 6\)"),
    ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "normals": NORMALS[:1]}, "normals has shape"),
    ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "mask": DEPTH[..., :3] > 0}, "mask has shape"),
    ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "intrinsics": torch.eye(3)}, "intrinsics has shape"),
    ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "extrinsics": torch.eye(4).expand(2, 4, 4)}, r"extrinsics has shape \(2, 4, 4\)"),
    ({"normals": NORMALS, "extrinsics": torch.eye(3, 4).int().expand(2, 3, 4)}, "extrinsics has dtype"),
    ({"depth": DEPTH.int(), "quantity": Quantity.DISPARITY}, r"depth has dtype torch.int32, expected floating point"),
    ({"normals": NORMALS.to(torch.uint8)}, "normals has dtype torch.uint8"),
    ({"normals": NORMALS, "confidence": DEPTH.long()}, "confidence has dtype"),
    ({"normals": NORMALS, "intrinsics": torch.eye(3).int().expand(2, 3, 3)}, "intrinsics has dtype"),
    ({"normals": NORMALS, "mask": DEPTH}, r"mask has dtype torch.float32, expected torch.bool"),
    ({"depth": DEPTH[:0], "quantity": Quantity.DISPARITY}, "an Estimate of 0 images of 6x4 pixels is empty"),
    ({"normals": NORMALS[..., :0]}, "2 images of 0x4 pixels is empty"),
)


def full() -> Estimate:
    intrinsics = torch.tensor([[[5.0, 0, 2.5], [0, 5.0, 1.5], [0, 0, 1]]]).repeat(2, 1, 1)
    return Estimate(depth=DEPTH, quantity=Quantity.METRIC_DEPTH, normals=NORMALS, mask=DEPTH > 1.2, intrinsics=intrinsics, confidence=DEPTH)


def test_resizing_keeps_normals_unit_masks_bool_and_the_field_of_view():
    assert (same := full()).resized(4, 6) is same
    larger = full().resized(8, 18)
    assert (larger.height, larger.width) == (8, 18) and larger.mask.dtype == torch.bool
    assert torch.allclose(larger.normals.norm(dim=1), torch.ones(2, 8, 18), atol=1e-6)
    fx, fy, cx, cy = larger.intrinsics[0][[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    assert (fx, fy) == (15, 10)
    # pixel -0.5 (the left border) stays the left border, so the optical axis (cx + 0.5) / width stays where it was
    assert (cx + 0.5) / 18 == pytest.approx((2.5 + 0.5) / 6) and (cy + 0.5) / 8 == pytest.approx((1.5 + 0.5) / 4)


def test_each_image_keeps_where_its_camera_stands():
    poses = torch.eye(3, 4).repeat(2, 1, 1)
    poses[1, :, 3] = 1.0
    scene = replace(full(), extrinsics=poses)
    assert torch.equal(scene.resized(8, 18).extrinsics, poses) and torch.equal(scene.to("cpu").extrinsics, poses)
    parts = [scene.slice(0, 1), scene.slice(1, 2)]
    assert torch.equal(parts[1].extrinsics, poses[1:]) and torch.equal(Estimate.cat(parts).extrinsics, poses)
    with pytest.raises(ValueError, match=r"the first is .* confidence extrinsics of 6x4 pixels, another metric_depth .* confidence of"):
        Estimate.cat([scene, full()])


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_resized_depth_stays_in_its_range(resampling):
    depth = torch.rand(800, 1, 4, 6) + 1  # rounding leaves the range on one map in a hundred
    resized = Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH).resized(31, 17, resampling).depth
    assert (depth.amin((1, 2, 3)) <= resized.amin((1, 2, 3))).all() and (resized.amax((1, 2, 3)) <= depth.amax((1, 2, 3))).all()


test_nothing_is_resized_to_nothing = refuses(lambda *size: full().resized(*size), (0, 6, "at least 1x1"), (4, -1, "at least 1x1"))


def tilted_plane(quantity: Quantity) -> tuple[Estimate, torch.Tensor]:
    """A plane whose normal is known, seen with a field of view of 55 degrees on the longer side."""
    height, width = 48, 64
    focal = width / 2 / torch.tan(torch.deg2rad(torch.tensor(55.0)) / 2)
    v, u = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    normal = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 1.0]), dim=0)
    # the plane n . p = -3 n_z, with the camera looking along -z (OpenGL)
    inverse = (normal[2] - normal[0] * u / focal + normal[1] * v / focal) / (3 * normal[2])
    depth = 1 / inverse if quantity is Quantity.METRIC_DEPTH else inverse
    return Estimate(depth=depth[None, None], quantity=quantity), normal


@pytest.mark.parametrize("estimate", [full(), Estimate(depth=DEPTH, quantity=Quantity.RELATIVE_DEPTH)], ids=["known", "relative"])
def test_known_normals_are_kept_and_relative_depth_gives_none(estimate):
    assert with_normals(estimate) is estimate


@pytest.mark.parametrize("hole", [float("nan"), float("inf"), 0.0, -3.0])
def test_a_depth_counts_where_it_is_finite_positive_if_metric_and_unmasked(hole):
    depth = torch.full((1, 1, 2, 3), 5.0)
    depth[..., 0, 0] = hole
    mask = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    mask[..., 1, 2] = False
    metric = Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH, mask=mask).valid
    assert metric.flatten().tolist() == [False, True, True, True, True, False]
    finite = Estimate(depth=depth, quantity=Quantity.DISPARITY).valid
    assert finite.flatten().tolist() == [hole in (0.0, -3.0), True, True, True, True, True]


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), 0.0])
def test_a_broken_map_takes_nothing_from_the_other(broken):
    normals = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 3)
    normals[..., 0] = broken
    depth = torch.tensor([1.0, float("nan"), 1.0]).view(1, 1, 1, 3)
    estimate = Estimate(depth=depth, quantity=Quantity.METRIC_DEPTH, normals=normals)
    valid = [each.flatten().tolist() for each in (estimate.depth_valid, estimate.normals_valid, estimate.valid)]
    assert valid == [[True, False, True], [False, True, True], [False, False, True]]
    assert Estimate(normals=normals).depth_valid is None


def weights(old, new):
    """(new, old): what each old pixel of an axis gives to each new one; the mean of an interval where the axis shrinks."""
    share = np.zeros((new, old))
    for i in range(new):
        if new <= old:
            start, end = i * old / new, (i + 1) * old / new
            share[i] = [max(0.0, min(end, j + 1) - max(start, j)) for j in range(old)]
        else:
            at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            share[i] = [max(0.0, 1 - abs(at - j)) for j in range(old)]
    return share / share.sum(1, keepdims=True)


@pytest.mark.parametrize(("masked", "missing"), [(0.0, 0.0), (0.0, 0.4), (0.2, 0.0), (0.5, 0.55)])
@pytest.mark.parametrize("size", [(8, 6), (1, 1), (7, 11), (23, 29), (48, 60), (31, 37), (9, 45)])
def test_resizing_is_the_mean_of_what_counts_and_nothing_else_counts(size, missing, masked):
    height, width = 24, 30
    random = np.random.default_rng(round(100 * (missing + masked)) + sum(size))
    depth = random.uniform(1, 5, (height, width))
    mask = random.random((height, width)) >= masked
    depth[~mask] = 100
    depth[random.random((height, width)) < missing] = np.nan
    estimate = Estimate(
        torch.tensor(depth, dtype=torch.float32)[None, None], Quantity.METRIC_DEPTH, mask=torch.tensor(mask)[None, None] if masked else None
    )
    resized = estimate.resized(*size)
    valid = mask & np.isfinite(depth)

    def resample(values):
        return weights(height, size[0]) @ values @ weights(width, size[1]).T

    counts = resample(valid.astype(float)) >= 0.499
    assert np.array_equal(resized.depth_valid[0, 0].numpy(), counts)
    mean = resample(np.where(valid, depth, 0))[counts] / resample(valid.astype(float))[counts]
    np.testing.assert_allclose(resized.depth[0, 0].numpy()[counts], mean, rtol=2e-5)
    if masked:
        trusted = resample(mask.astype(float)) >= 0.499
        assert np.array_equal(resized.mask[0, 0].numpy(), trusted)
        assert np.isnan(resized.depth[0, 0].numpy()[trusted & ~counts]).all()


def test_a_cubic_takes_nothing_from_holes_and_is_as_without_them_elsewhere():
    depth, hole = torch.full((1, 1, 12, 16), 5.0), torch.zeros(1, 1, 12, 16, dtype=torch.bool)
    depth[..., 8:, 8:] = 9 * torch.rand(4, 8, generator=torch.Generator().manual_seed(0)) + 1
    hole[..., 1:5, 1:4] = True
    whole = Estimate(depth, Quantity.METRIC_DEPTH).resized(24, 32, "bicubic").depth
    counts = (~hole).repeat_interleave(2, 2).repeat_interleave(2, 3)
    for holed in ({"depth": depth.where(~hole, torch.nan)}, {"depth": depth.where(~hole, 9), "mask": ~hole}):
        found = Estimate(**holed, quantity=Quantity.METRIC_DEPTH).resized(24, 32, "bicubic").depth
        torch.testing.assert_close(found[counts], whole[counts])


def test_what_was_masked_is_not_trusted_among_holes():
    depth = torch.tensor([[2.0, torch.nan], [torch.nan, 1e9]])[None, None]
    normals = torch.tensor([0.0, 0.6, 0.8]).view(1, 3, 1, 1) * torch.isfinite(depth)
    shrunk = Estimate(depth, Quantity.METRIC_DEPTH, normals=normals, mask=depth != 1e9).resized(1, 1)
    assert shrunk.mask.all() and shrunk.depth.isnan().all() and shrunk.normals.isnan().all() and not shrunk.valid.any()
    masked = Estimate(depth, Quantity.METRIC_DEPTH, mask=depth.isnan()).resized(3, 3)
    assert masked.depth[..., -1, -1] == 1e9 and not masked.mask[..., -1, -1], "behind the mask the number stays"


@pytest.mark.parametrize("hole", [0.0, float("inf")])
def test_what_is_no_depth_by_itself_stays_what_it_is(hole):
    depth = torch.full((1, 1, 4, 4), 3.0)
    depth[..., :2, :] = hole
    assert Estimate(depth, Quantity.METRIC_DEPTH).resized(8, 8).depth.unique().tolist() == sorted((hole, 3.0))


def test_opposite_normals_beside_a_hole_face_the_viewer():
    normals = torch.zeros(1, 3, 2, 4)
    normals[:, 0, :, 0], normals[:, 0, :, 1] = 1, -1
    shrunk = Estimate(normals=normals).resized(1, 2)
    assert shrunk.normals[0, :, 0, 0].tolist() == [0, 0, 1] and shrunk.valid.flatten().tolist() == [True, False]


def test_who_needs_depth_is_told_that_there_is_none():
    depth, quantity, valid = full().known_depth()
    assert depth is DEPTH and quantity is Quantity.METRIC_DEPTH and torch.equal(valid, DEPTH > 1.2)
    with pytest.raises(ValueError, match="there are normals but no depth"):
        Estimate(normals=NORMALS).known_depth()


@pytest.mark.parametrize("ratio", [2.0, 30.0])
def test_a_ratio_says_how_deep_the_scene_is_that_normals_are_derived_from(ratio):
    """This floor faces up and to the right. Relative depth says as much as disparity then."""
    estimate, _ = tilted_plane(Quantity.DISPARITY)
    assert (with_normals(estimate).normals > 0).all()
    found = with_normals(estimate, near_far_ratio=ratio).normals
    assert torch.equal(found, with_normals(Estimate(assumed_depth(estimate, ratio), Quantity.METRIC_DEPTH)).normals)
    relative = Estimate(depth=-estimate.depth, quantity=Quantity.RELATIVE_DEPTH)
    assert with_normals(relative, near_far_ratio=ratio).normals is not None and with_normals(relative).normals is None


def test_broken_normals_stay_where_they_are():
    normals = torch.nn.functional.normalize(torch.tensor([0.3, 0.2, 0.9]), dim=0).view(1, 3, 1, 1).repeat(1, 1, 6, 8)
    normals[..., 2:4, 2:5] = float("nan")
    estimate = Estimate(depth=torch.ones(1, 1, 6, 8), quantity=Quantity.DISPARITY, normals=normals)
    for size in ((12, 16), (3, 4), (7, 5)):
        resized = estimate.resized(*size)
        valid = resized.normals_valid
        assert valid.any() and not valid.all() and resized.depth_valid.all()
        found = resized.normals.movedim(1, -1)[valid[:, 0]]
        torch.testing.assert_close(found, normals[0, :, 0, 0].expand_as(found))


def test_shrinking_averages_instead_of_picking_lines():
    stripes = ((torch.arange(518) // 3) % 2).float().expand(1, 1, 518, 518)
    for resampling in ("bilinear", "bicubic"):
        shrunk = Estimate(depth=stripes, quantity=Quantity.DISPARITY).resized(64, 64, resampling).depth
        assert shrunk.std() < 0.12, "one line of each would leave 0.44"
    one_way = Estimate(depth=stripes, quantity=Quantity.DISPARITY).resized(700, 64).depth
    torch.testing.assert_close(one_way, shrunk[..., :1, :].expand(1, 1, 700, 64))


def test_confidence_grows_as_depth_does():
    resized = Estimate(depth=DEPTH, quantity=Quantity.METRIC_DEPTH, confidence=DEPTH).resized(9, 12)
    assert torch.equal(resized.confidence, resized.depth)


def test_some_of_its_images_share_its_memory():
    whole = Estimate.cat([full(), full(), full()])
    part = whole.slice(1, 3)
    assert part.maps.keys() == whole.maps.keys()
    assert all(value.data_ptr() == whole.maps[name][1:].data_ptr() for name, value in part.maps.items())


def test_one_for_all_shares_its_memory():
    one = Estimate(depth=DEPTH[:1], quantity=Quantity.METRIC_DEPTH, mask=DEPTH[:1] > 1.2)
    many = one.expanded(50)
    assert many.batch == 50 and many.depth.data_ptr() == one.depth.data_ptr() and torch.equal(many.mask[49], one.mask[0])
    with pytest.raises(ValueError, match="single image"):
        full().expanded(3)


def test_normals_made_up_in_holes_are_masked_and_do_not_spread():
    estimate, normal = tilted_plane(Quantity.METRIC_DEPTH)
    holes = torch.zeros(1, 1, 48, 64, dtype=torch.bool)
    holes[..., 10:20, 10:30] = True
    derived = with_normals(Estimate(depth=estimate.depth.masked_fill(holes, float("nan")), quantity=Quantity.METRIC_DEPTH))
    assert derived.axes is Axes.OPENGL and torch.equal(derived.mask, ~holes) and with_normals(estimate).mask is None
    larger = derived.resized(96, 128)
    cosine = (larger.normals[0] * normal[:, None, None]).sum(0)[larger.valid[0, 0]]
    assert torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).max() < 0.1


def test_kinds_may_be_named_by_their_values():
    for quantity in Quantity:
        estimate = Estimate(DEPTH - 1.2, quantity.value, NORMALS, axes="directx", projection="equirectangular")
        assert (estimate.quantity, estimate.axes, estimate.projection) == (quantity, Axes.DIRECTX, Projection.EQUIRECTANGULAR)
        assert torch.equal(estimate.valid, Estimate(DEPTH - 1.2, quantity).valid)
    for unknown in ({"quantity": "metres"}, {"quantity": Quantity.DISPARITY, "axes": "maya"}):
        with pytest.raises(ValueError, match="accepted: "):
            Estimate(DEPTH, **unknown)


def test_an_estimate_prints_as_shapes_kinds_and_ranges():
    depth = torch.linspace(1, 8, 12).view(1, 1, 3, 4)
    mask = depth > 2
    estimate = Estimate(depth, Quantity.METRIC_DEPTH, mask=mask, intrinsics=torch.eye(3)[None])
    assert str(estimate) == (
        f"Estimate(depth (1, 1, 3, 4) metric_depth {depth[mask].min().item():.4g} to 8, mask (1, 1, 3, 4), intrinsics (1, 3, 3))"
    )
    hidden = Estimate(depth, Quantity.DISPARITY, mask=mask & False)
    assert str(hidden) == "Estimate(depth (1, 1, 3, 4) disparity, mask (1, 1, 3, 4))"
