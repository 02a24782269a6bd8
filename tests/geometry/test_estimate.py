import pytest
import torch

from depth_normal.geometry.derive import with_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity

DEPTH = torch.rand(2, 1, 4, 6) + 1
NORMALS = torch.nn.functional.normalize(torch.randn(2, 3, 4, 6), dim=1)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, "needs depth, normals or both"),
        ({"depth": DEPTH}, "go together"),
        ({"normals": NORMALS, "quantity": Quantity.DISPARITY}, "go together"),
        ({"depth": DEPTH[0], "quantity": Quantity.DISPARITY}, r"\(1, 4, 6\)"),
        ({"depth": NORMALS, "quantity": Quantity.DISPARITY}, r"depth has shape \(2, 3, 4, 6\), expected \(2, 1, 4, 6\)"),
        ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "normals": NORMALS[:1]}, "normals has shape"),
        ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "mask": DEPTH[..., :3] > 0}, "mask has shape"),
        ({"depth": DEPTH, "quantity": Quantity.DISPARITY, "intrinsics": torch.eye(3)}, "intrinsics has shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        Estimate(**maps)


def full() -> Estimate:
    intrinsics = torch.tensor([[[5.0, 0, 2.5], [0, 5.0, 1.5], [0, 0, 1]]]).repeat(2, 1, 1)
    return Estimate(depth=DEPTH, quantity=Quantity.METRIC_DEPTH, normals=NORMALS, mask=DEPTH > 1.2, intrinsics=intrinsics, confidence=DEPTH)


def test_resizing_keeps_normals_unit_masks_bool_and_the_field_of_view():
    larger = full().resized(8, 18)
    assert (larger.height, larger.width) == (8, 18) and larger.mask.dtype == torch.bool
    assert torch.allclose(larger.normals.norm(dim=1), torch.ones(2, 8, 18), atol=1e-6)
    fx, fy, cx, cy = larger.intrinsics[0][[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    assert (fx, fy) == (15, 10)
    # pixel -0.5 (the left border) stays the left border, so the optical axis (cx + 0.5) / width stays where it was
    assert (cx + 0.5) / 18 == pytest.approx((2.5 + 0.5) / 6) and (cy + 0.5) / 8 == pytest.approx((1.5 + 0.5) / 4)


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_resized_depth_stays_in_its_range(resampling):
    resized = full().resized(31, 17, resampling).depth
    assert DEPTH.min() <= resized.min() and resized.max() <= DEPTH.max()


def test_the_same_size_is_the_same_estimate():
    estimate = full()
    assert estimate.resized(4, 6) is estimate


def test_joining():
    estimate = full()
    joined = Estimate.cat([estimate, estimate])
    assert joined.batch == 4 and joined.quantity is Quantity.METRIC_DEPTH and torch.equal(joined.depth[2:], DEPTH)
    with pytest.raises(ValueError, match="different kinds"):
        Estimate.cat([estimate, Estimate(depth=DEPTH, quantity=Quantity.DISPARITY)])
    with pytest.raises(ValueError, match="empty"):
        Estimate.cat([])


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


def test_normals_of_metric_depth_are_those_of_its_plane():
    estimate, normal = tilted_plane(Quantity.METRIC_DEPTH)
    derived = with_normals(estimate)
    assert derived.axes is Axes.OPENGL
    angle = torch.rad2deg(torch.acos((derived.normals[0] * normal[:, None, None]).sum(0).clamp(-1, 1)))
    assert angle.max() < 0.1


def test_normals_of_disparity_lean_the_way_the_plane_does():
    """Scale and shift are unknown, so only the direction of the tilt is sure: this floor faces up and to the right."""
    estimate, _ = tilted_plane(Quantity.DISPARITY)
    normals = with_normals(estimate).normals
    assert (normals[:, 0] > 0).all() and (normals[:, 1] > 0).all() and (normals[:, 2] > 0).all()


@pytest.mark.parametrize("estimate", [full(), Estimate(depth=DEPTH, quantity=Quantity.RELATIVE_DEPTH)], ids=["known", "relative"])
def test_known_normals_are_kept_and_relative_depth_gives_none(estimate):
    assert with_normals(estimate) is estimate
