import math

import pytest
import torch
import torch.nn.functional as F

from depth_normal.geometry.alignment.mosaic import Mosaic, align_mask, align_normals, align_values, cells_of, lay_tiles, sample, windows
from depth_normal.utils import resize_map


def truth(height=120, width=160):
    """Disparity of a floor with a box in front of it."""
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    box = ((u - 0.5).abs() < 0.2) & ((v - 0.5).abs() < 0.25)
    return (1 + v + torch.where(box, 1.5 + 0.3 * torch.sin(20 * u), 0))[None, None]


def ones(values):
    return torch.ones_like(values[:, :1])


def brought_to(whole, tiles, weight=None):
    """Tiles of the whole map, aligned with it at 64 x 48 pixels."""
    small = resize_map(whole, 48, 64)
    return align_values(tiles, ones(tiles) if weight is None else weight, small, ones(small))


@pytest.mark.parametrize(("length", "count", "overlap"), [(1, 3, 0.5), (7, 2, 0.0), (1001, 7, 1 / 3)])
def test_tiles_cover_the_map_and_their_windows_add_up_to_one(length, count, overlap):
    grid = lay_tiles(length, length, count, count, overlap)
    total = torch.zeros(length)
    for start, window in zip(grid.tops, windows(grid.tops, grid.tile_height, torch.device("cpu")), strict=True):
        total[start : start + grid.tile_height] += window
    assert grid.tops[0] == 0 and grid.tops[-1] + grid.tile_height == length
    torch.testing.assert_close(total, torch.ones(length))


def test_windows_of_overlapping_tiles_are_smooth():
    grid = lay_tiles(1001, 1001, 7, 7, 1 / 3)
    assert windows(grid.tops, grid.tile_height, torch.device("cpu")).diff().abs().max() < 0.05


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (4, 1)])
def test_tiles_of_a_map_become_that_map(rows, columns):
    whole = torch.randn(1, 4, 61, 83)
    grid = lay_tiles(61, 83, rows, columns, 1 / 3)
    mosaic = Mosaic(grid, 4, whole.device)
    for row in mosaic.rows():
        for tile in grid.row(row):
            top, left = int(tile.top), int(tile.left)
            mosaic.add(whole[..., top : top + grid.tile_height, left : left + grid.tile_width])
    torch.testing.assert_close(mosaic.result, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.01, 5.0), (300.0, -40.0)])
def test_scale_and_shift_of_a_tile_are_undone_exactly(scale, shift):
    whole = truth()
    brought = brought_to(whole, (whole - shift) / scale)
    assert (brought - whole).abs().max() < 2e-3


def test_a_tilt_that_a_network_gave_a_tile_is_taken_away():
    whole = truth()
    tilted = whole + torch.linspace(-0.5, 0.5, 160)
    brought = brought_to(whole, tilted)
    assert (brought - whole).abs().mean() < 0.1 * (tilted - whole).abs().mean()


def test_what_does_not_count_changes_nothing():
    whole, holes = truth(), torch.ones(1, 1, 120, 160)
    holes[..., :40] = 0
    spoilt = torch.where(holes > 0, whole * 3 + 1, 1e6)
    brought = brought_to(whole, spoilt, holes)
    assert ((brought - whole).abs() * holes).max() < 0.02
    assert torch.isfinite(brought_to(whole, whole, 0 * holes)).all()


def test_tiles_without_shape_are_brought_to_the_whole():
    brought = align_values(torch.full((2, 1, 20, 20), 7.0), torch.ones(2, 1, 20, 20), torch.full((2, 1, 8, 8), 3.0), torch.ones(2, 1, 8, 8))
    torch.testing.assert_close(brought, torch.full((2, 1, 20, 20), 3.0))
    one = align_values(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(one, torch.full((1, 1, 1, 1), 3.0))


def turned(normals, degrees):
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    x, y, z = normals.split(1, 1)
    return torch.cat((cosine * x + sine * z, y, cosine * z - sine * x), 1)


def test_normals_that_lean_because_the_camera_seemed_turned_are_turned_back():
    v, u = torch.meshgrid(torch.linspace(-1, 1, 90), torch.linspace(-1, 1, 90), indexing="ij")
    whole = F.normalize(torch.stack((0.5 * u, 0.5 * v + 0.1 * torch.sin(30 * u), torch.ones_like(u)))[None], dim=1)
    small = F.normalize(resize_map(whole, 30, 30), dim=1)
    brought = align_normals(turned(whole, 20.0), ones(whole), small, torch.ones(1, 1, 30, 30))
    torch.testing.assert_close(brought.norm(dim=1), torch.ones(1, 90, 90), atol=1e-5, rtol=0)
    angle = torch.rad2deg((brought * whole).sum(1).clamp(-1, 1).acos())
    assert angle.mean() < 1.5 and angle.max() < 6


def test_a_tile_of_nothing_but_sky_is_sky_where_the_whole_says_so():
    sky = torch.zeros(1, 1, 40, 40)
    assert (align_mask(1 - sky, sky[..., ::2, ::2]) <= 0.5).all()
    edge = (torch.arange(40) >= 13).float().expand(1, 1, 40, 40).contiguous()
    assert ((align_mask(edge, resize_map(edge, 20, 20)) > 0.5) == (edge > 0.5)).all()


def seam(values, columns, apart=6):
    """Bends across the columns, by those beside them."""
    bent = values.diff(n=2, dim=-1).abs().mean((0, 1, 2))
    on = torch.stack([bent[column - 2 : column].mean() for column in columns]).mean()
    beside = torch.stack([bent[column - 2 + side : column + side].mean() for column in columns for side in (-apart, apart)]).mean()
    return float(on / beside)


def test_no_seam_is_left_of_tiles_that_do_not_agree_and_one_is_without_alignment():
    whole = (truth(96, 240) + 0.02 * torch.sin(torch.arange(240.0) / 3)).contiguous()
    grid = lay_tiles(96, 240, 1, 4, 1 / 3)
    plain, ours = Mosaic(grid, 1, whole.device), Mosaic(grid, 1, whole.device)
    cut = whole.clone()
    for _ in zip(plain.rows(), ours.rows(), strict=True):
        for index, tile in enumerate(grid.row(0)):
            left = int(tile.left)
            part = whole[..., left : left + grid.tile_width]
            seen = (1 + 0.2 * index) * part + 0.3 * index  # as a network's scale and shift differ from tile to tile
            known = sample(resize_map(whole, 24, 60), [tile], (96, 240), *cells_of(24, grid.tile_width / 4))
            plain.add(seen)
            ours.add(align_values(seen, ones(seen), known, ones(known)))
            cut[..., left : left + grid.tile_width] = seen
    lines = [*grid.lefts[1:]]
    assert seam(cut, lines) > 5
    assert seam(ours.result, lines) < 1.3
    assert (ours.result - whole).abs().max() < 0.05 < (plain.result - whole).abs().max()


def test_values_of_several_tiles_are_brought_as_one_by_one():
    wholes = torch.cat((truth(), truth().flip(-1)))
    tiles = wholes * torch.tensor([2.0, 0.5])[:, None, None, None]
    alone = [brought_to(*each) for each in zip(wholes.split(1), tiles.split(1), strict=True)]
    torch.testing.assert_close(brought_to(wholes, tiles), torch.cat(alone))
