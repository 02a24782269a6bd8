import numpy as np
import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.meshes.relief import depth_to_relief, relief_heights, relief_size
from depth_normal.options.mesh import ReliefOptions
from tests.geometry.meshes.solids import open_edges, volume
from tests.refusals import refuses

HEIGHT, WIDTH = 24, 32


def ball(quantity=Quantity.METRIC_DEPTH, **more):
    """A ball before a wall, 2 to 4 m away."""
    v, u = torch.meshgrid(torch.linspace(-1.2, 1.2, HEIGHT), torch.linspace(-1.6, 1.6, WIDTH), indexing="ij")
    bump = (1 - u**2 - v**2).clamp(min=0).sqrt()
    values = bump if quantity is Quantity.DISPARITY else 4 - 2 * bump
    return Estimate(values[None, None], quantity, **more)


@pytest.mark.parametrize("quantity", list(Quantity))
@pytest.mark.parametrize("options", [ReliefOptions(), ReliefOptions(width=50, relief=4, base=1.5, detail=0, raised="far", max_points=90)])
def test_a_plate_is_closed_and_as_large_as_asked(quantity, options):
    mesh = depth_to_relief(ball(quantity), options=options)
    assert open_edges(mesh.triangles) == 0 and len(mesh.points) - len(mesh.triangles) // 2 == 2, "Euler's number: a ball without handles"
    np.testing.assert_allclose(mesh.points.min(0), 0, atol=1e-6)
    across, along, up = mesh.points.max(0)
    np.testing.assert_allclose([across, up], [options.width, options.base + options.relief], rtol=1e-5)
    assert across * along * options.base < volume(mesh) < across * along * up


def test_up_is_up_and_near_is_high():
    depth = torch.full((1, 1, 8, 8), 4.0)
    depth[..., :3, :2] = 2.0  # near at the top left
    mesh = depth_to_relief(Estimate(depth, Quantity.METRIC_DEPTH), options=ReliefOptions(detail=0))
    high = mesh.points[mesh.points[:, 2] > 11.9]
    assert len(high) == 6 and high[:, 0].max() < 20 and high[:, 1].min() > 70
    mould = depth_to_relief(Estimate(depth, Quantity.METRIC_DEPTH), options=ReliefOptions(detail=0, raised="far"))
    assert (mould.points[: 8 * 8, 2] > 11.9).sum() == 58


def test_detail_keeps_the_order_and_lowers_jumps():
    columns = torch.arange(WIDTH)
    ripple = 0.01 * torch.sin(columns * 1.3)
    profile = torch.where(columns < WIDTH // 2, 0.0, 1.0) + ripple
    estimate = Estimate(profile.expand(1, 1, HEIGHT, WIDTH).contiguous(), Quantity.DISPARITY)
    plain, fine = (relief_heights(estimate, None, ReliefOptions(detail=detail))[0][0, 0, 12] for detail in (0.0, 0.8))
    assert float(fine[:14].max() - fine[:14].min()) > 3 * float(plain[:14].max() - plain[:14].min())
    assert fine[20:].min() > fine[:14].max(), "what was nearer still is"


def test_holes_and_sky_lie_on_the_ground():
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., 8:16, 8:16] = False
    estimate = ball(mask=mask)
    estimate.depth[..., 0, 0] = torch.nan
    mesh = depth_to_relief(estimate, options=ReliefOptions(detail=0.5))
    tops = mesh.points[: HEIGHT * WIDTH, 2].reshape(HEIGHT, WIDTH)
    assert open_edges(mesh.triangles) == 0 and np.isfinite(mesh.points).all()
    assert (tops[8:16, 8:16] == 2).all() and tops[0, 0] == 2


@pytest.mark.parametrize("raised", ["near", "far"])
def test_constant_depth_is_a_flat_plate(raised):
    mesh = depth_to_relief(Estimate(torch.full((1, 1, 5, 7), 3.0), Quantity.METRIC_DEPTH), options=ReliefOptions(raised=raised))
    assert open_edges(mesh.triangles) == 0 and volume(mesh) == pytest.approx(100 * 100 * 5 / 7 * 2)


@pytest.mark.parametrize(("size", "most"), [((4000, 6000), 500_000), ((2, 2), 4), ((2, 9000), 100), ((480, 640), 4)])
def test_a_plate_has_no_more_points_than_asked(size, most):
    rows, columns = relief_size(*size, most)
    assert 2 <= rows <= size[0] and 2 <= columns <= size[1] and rows * columns <= max(4, most)


test_what_is_no_relief_is_refused = refuses(
    depth_to_relief,
    (Estimate(normals=torch.ones(1, 3, 4, 4)), "there are normals but no depth"),
    (Estimate(torch.ones(2, 1, 4, 4), Quantity.DISPARITY), "the batch has 2; make one of each"),
    (Estimate(torch.ones(1, 1, 1, 9), Quantity.DISPARITY), "at least 2x2 pixels; found 9x1"),
    (Estimate(torch.full((1, 1, 4, 4), torch.nan), Quantity.DISPARITY), "no pixel has a depth"),
)
