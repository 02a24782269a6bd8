"""Truth: floors, walls and boxes whose joins are known, sharp and as networks soften them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.meshes.mesh_cuts import Joins, _without_skins, cut_grid, find_joins, grid_triangles, noise_within, step_edges

HEIGHT, WIDTH, HORIZON = 192, 256, 40
EVERYWHERE = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)


def box_of(value, inside=1.0, rows=slice(60, 140), columns=slice(100, 160)):
    """Inverse depth (H, W) of a box before what is given, and where it is."""
    box = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    box[rows, columns] = True
    return torch.where(box, inside, value), box


def floor_and_box():
    """Inverse depth of a floor that reaches the horizon, a box before it, and where each is."""
    rows = torch.arange(HEIGHT, dtype=torch.float32)[:, None].expand(HEIGHT, WIDTH)
    inverse, box = box_of(((rows - HORIZON) / (HEIGHT - HORIZON)).clamp(min=0), 1.2)
    return inverse, rows > HORIZON, box


def cut(inverse, edges="soft", valid=EVERYWHERE, image=None):
    """Inverse depth (H, W) as `cut_grid` leaves it, and the joins."""
    depth, joins = cut_grid(1 / inverse[None, None], valid, image, edges)
    return 1 / depth[0, 0], joins


def test_a_floor_stays_whole_to_the_horizon_and_a_box_is_cut_out():
    inverse, valid, box = floor_and_box()
    joins = find_joins(1 / inverse, valid)
    assert inverse[HORIZON + 1, 0] < 0.015, "a jump of 100 % to the next row"
    for joined, along in ((joins.across, 1), (joins.down, 0)):
        size = joined.shape[along]
        pairs = [each.narrow(along, start, size) for each in (valid, box) for start in (0, 1)]
        expected = pairs[0] & pairs[1] & (pairs[2] == pairs[3])
        assert torch.equal(joined, expected)


def test_what_does_not_count_is_joined_to_nothing_and_proves_no_plane():
    inverse, valid, _ = floor_and_box()
    depth = torch.where(valid, 1 / inverse, torch.nan)
    valid[60, 10] = False
    joins = find_joins(depth, valid)
    assert not joins.across[60, 9:11].any() and not joins.down[59:61, 10].any()


def grown(mask):
    return F.max_pool2d(mask.float()[None, None], 9, 1, 4)[0, 0] > 0


def softened(inverse, by=4):
    small = F.interpolate(inverse[None, None], scale_factor=1 / by, mode="area")
    return F.interpolate(small, inverse.shape, mode="bilinear")[0, 0]


@pytest.mark.parametrize("with_image", [False, True])
def test_ramps_become_steps_and_floors_stay(with_image):
    inverse, valid, box = floor_and_box()
    soft = softened(inverse.clamp(min=0.004))
    image = torch.where(box, 0.9, 0.2).expand(1, 3, -1, -1) if with_image else None
    depth, radius = step_edges(1 / soft[None, None], valid[None, None], image, "soft")
    stepped = 1 / depth[0, 0]
    assert radius == 3

    def between(values):
        """Pixels that are neither the box nor the floor."""
        off = torch.minimum((values - 1.2).abs(), (values - inverse.clamp(max=1)).abs().where(~box, 9)) > 0.1
        return int((off & valid).sum())

    assert between(stepped) < between(soft) / 4
    plain = (slice(HORIZON + 8, None), slice(80))  # floor beside which nothing stands
    torch.testing.assert_close(stepped[plain], soft[plain])


def test_sharp_depth_stays_as_it_is():
    inverse, valid, _ = floor_and_box()
    depth = torch.where(valid, 1 / inverse, 1)[None, None]
    for edges in ("auto", "sharp"):
        same, radius = step_edges(depth, valid[None, None], None, edges)
        assert radius == 0 and torch.equal(same, depth)
    nothing = torch.zeros_like(valid)[None, None]
    assert torch.equal(step_edges(depth, nothing, None, "soft")[0], depth)


@pytest.mark.parametrize(
    ("inverse", "common"),
    [
        ([[1.0, 1.0], [1.0, 0.7]], {1, 2}),  # the fold runs from the bottom left to the top right
        ([[1.0, 1.0], [0.7, 1.0]], {0, 3}),
        ([[1.0, 1.105], [1.0, 1.1]], {1, 2}),  # noise decides nothing
    ],
)
def test_a_cell_is_cut_along_the_clearly_smaller_jump(inverse, common):
    joins = Joins(torch.ones(2, 1, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool))
    _, triangles = grid_triangles(1 / np.array(inverse, np.float32), joins)
    assert set(map(int, triangles[0])) & set(map(int, triangles[1])) == common


def test_slivers_and_crumbs_of_soft_depth_join_the_surface_beside_them():
    """A wall with a soft box before it, and a crumb and a block that float between: no hole where the crumb was, and no skin."""
    inverse = softened(box_of(0.2)[0])
    inverse[20:23, 20:23], inverse[150:170, 20:40] = 0.5, 0.5
    stepped, joins = cut(inverse)
    torch.testing.assert_close(stepped[20:23, 20:23], torch.full((3, 3), 0.2))
    assert joins.across[18:25, 18:25].all() and joins.down[18:25, 18:25].all(), "no hole in the wall"
    assert joins.across[152:168, 22:37].all()
    assert float(inverse_jumps(stepped)[joins.across].max()) < 0.05
    sharp, all_joins = cut(inverse, "sharp")
    assert all_joins.across[20:23, 20:22].all() and torch.equal(sharp, 1 / (1 / inverse))


def test_no_skin_hangs_at_a_soft_box_and_the_floor_beside_it_has_no_hole():
    """What is left of a ramp, 2 to 5 % a pixel, is neither kept as a skin nor left out of the floor or the box."""
    inverse, valid, box = floor_and_box()
    valid[: HORIZON + 8] = False
    stepped, joins = cut(softened(inverse.clamp(min=0.004)), valid=valid[None, None])
    near = F.max_pool2d(F.pad((box[:, 1:] != box[:, :-1]).float(), (0, 1))[None, None], 25, 1, 12)[0, 0, :, :-1] > 0
    assert int((joins.across & near & (inverse_jumps(stepped) > 0.02)).sum()) < 20
    used, _ = grid_triangles(torch.where(valid, 1 / stepped, 1).numpy(), joins)
    assert used[valid.numpy()].mean() > 0.999


def test_the_rim_of_a_soft_box_is_as_deep_in_every_row():
    """Ramps that waver leave another part of them in each row: seen from aside, the rim would be torn into strips."""
    ends = 100 + torch.randn(HEIGHT, 1, generator=torch.Generator().manual_seed(1)) * 2
    stepped, joins = cut(1 - 0.7 * ((torch.arange(float(WIDTH)) - ends) / 8 + 0.5).clamp(0, 1), "auto")
    near = stepped > 0.65
    for side, value in ((near, 1), (~near, 0.3)):
        assert float((value - stepped[side]).square().mean().sqrt()) < 0.004
    within = near[:, :-1] == near[:, 1:]
    assert float((within & ~joins.across).float().mean()) < 1e-4, "cut at the silhouette alone"


def test_ramps_beside_foliage_are_found():
    """Rough surfaces look like jumps; what rises steadily beside them shows ramps."""
    leaves = torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    for inverse, has_ramps in ((noisy_wall_and_box(0)[0], True), (box_of(0.3)[0], False)):
        rough = torch.where(torch.arange(HEIGHT)[:, None] > 100, inverse * (1 + 0.05 * leaves), inverse)
        assert (step_edges(1 / rough[None, None], EVERYWHERE)[1] > 0) is has_ramps


def test_rough_leaves_are_one_surface_and_stay_apart_from_the_wall():
    """Depth of a tree differs from leaf to leaf by more than a cut needs; that of the wall behind it by far more."""
    inverse, box = noisy_wall_and_box(0)
    leaves = torch.rand(1, 1, HEIGHT // 2 + 2, WIDTH // 2 + 2, generator=torch.Generator().manual_seed(1)) * 0.2 - 0.1
    leaves = F.interpolate(leaves, (HEIGHT, WIDTH), mode="bicubic", align_corners=True)[0, 0]
    inverse, inner = torch.where(inverse > 0.5, inverse * (1 + leaves), inverse), ~grown(~box)
    inside = inner[:, :-1] & inner[:, 1:]
    assert float((inverse_jumps(inverse)[inside] > 0.05).float().mean()) > 0.2, "the scene shows the fault"
    stepped, joins = cut(inverse)
    assert float(joins.across[inside].float().mean()) > 0.96
    assert float(inverse_jumps(stepped)[joins.across].max()) < 0.5, "nothing is stretched between the tree and the wall"


def test_wires_close_together_are_no_rough_surface():
    wires = (torch.arange(WIDTH) % 6 < 2).expand(HEIGHT, WIDTH) | (torch.arange(HEIGHT) % 6 < 2)[:, None]
    _, joins = cut(torch.where(wires, 0.5, 0.25 + 0.1 * torch.linspace(0, 1, WIDTH)), "auto")
    assert torch.equal(joins.across, wires[:, :-1] == wires[:, 1:])


def test_near_things_do_not_take_pixels_of_what_is_behind_them():
    """Of a soft box the mesh is cut where the image has its edge, though parallax lets near things grow."""
    inverse, box = box_of(0.3)
    stepped, _ = cut(softened(inverse), image=torch.where(box, 0.9, 0.2).expand(1, 3, -1, -1))
    assert torch.equal((stepped > 0.6)[80:120], box[80:120])


def test_a_crack_that_reaches_no_cut_is_closed():
    """One steep pair beside a silhouette, but not at it, is no skin: it would be a speck without triangles."""
    inverse = torch.where(torch.arange(40) < 20, 1.0, 0.3).expand(40, 40).clone()
    inverse[10, 24] = inverse[10, 23] * 1.03
    valid = torch.ones_like(inverse, dtype=torch.bool)
    joins = find_joins(1 / inverse, valid)
    found = _without_skins(joins, 1 / inverse, valid, 4, torch.zeros_like(inverse))
    assert torch.equal(found.across, joins.across) and torch.equal(found.down, joins.down)
    inverse[10, 20] *= 0.97
    assert not _without_skins(joins, 1 / inverse, valid, 4, torch.zeros_like(inverse)).across[10, 20], "at the silhouette"


def inverse_jumps(inverse):
    first, second = inverse[:, :-1], inverse[:, 1:]
    return (first - second).abs() / torch.minimum(first, second)


def noisy_wall_and_box(noise):
    """Inverse depth of a far wall near 0 and a soft box before it, with noise that is a large share of the wall's, and where the box is."""
    inverse, box = box_of(1 / 30)
    noisy = softened(inverse) + noise * torch.randn(inverse.shape, generator=torch.Generator().manual_seed(1))
    return noisy.clamp(min=1 / 300), box


def test_a_wall_whose_far_depth_is_noisy_is_whole_and_a_box_before_it_is_cut_out():
    """Noise of a 400th of the range: neighbours on the wall differ by more than 5 %, which is no reason for holes."""
    inverse, box = noisy_wall_and_box(1 / 400)
    assert float((inverse_jumps(inverse[:40]) > 0.05).float().mean()) > 0.5, "the scene shows the fault"
    stepped, joins = cut(inverse, "auto")
    assert float(joins.across[:40].float().mean()) > 0.999 and float(joins.down[:39].float().mean()) > 0.999
    torch.testing.assert_close(stepped[:40], inverse[:40])
    used, triangles = grid_triangles((1 / stepped).numpy(), joins)
    assert used.mean() > 0.999
    corners = np.nonzero(used.ravel())[0][triangles]
    for inside in (~grown(~box), ~grown(box)):
        assert inside.numpy().ravel()[corners].all(1).any()
    assert np.ptp(stepped.numpy().ravel()[corners], axis=1).max() < 0.1, "nothing is stretched between the wall and the box"


def test_noise_within_is_that_of_the_values_and_silhouettes_are_none():
    inverse, _ = noisy_wall_and_box(1 / 400)
    valid = torch.ones_like(inverse, dtype=torch.bool)
    (noise,) = noise_within(1 / inverse, valid)
    assert 2 / 400 < float(noise.median()) < 8 / 400 and float(noise.max()) <= 0.02
    still, _ = noisy_wall_and_box(0)
    assert float(noise_within(1 / still, valid)[0].max()) < 1e-6
    slope = torch.linspace(0.1, 1, WIDTH).expand(HEIGHT, WIDTH) + torch.linspace(0, 0.3, HEIGHT)[:, None]
    levels = (slope * 255).round() / 255
    assert float(noise_within(1 / levels, valid)[0].min()) == pytest.approx(1.5 / 255, rel=0.05)
    for shape in ((1, 1), (1, 9), (4, 40), (6, 7)):
        assert noise_within(torch.ones(shape), torch.ones(shape, dtype=torch.bool), (1, 3))[1].shape == shape
    assert not noise_within(1 / inverse, ~valid)[0].any()
