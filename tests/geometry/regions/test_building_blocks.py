import torch

from depth_normal.geometry.regions.connected import regions_with
from depth_normal.geometry.regions.parts import watershed
from depth_normal.geometry.regions.selections import Pixels


def test_a_square_around_a_point_ends_half_way_to_one_of_the_other_kind():
    inside, outside, far = (10, 10), (12, 13), (10, 25)
    around = Pixels([inside, far], [outside]).around(inside, torch.Size((30, 40)))
    row, column = torch.meshgrid(torch.arange(30), torch.arange(40), indexing="ij")
    square = torch.maximum((row - 10).abs(), (column - 10).abs()) <= 3
    assert torch.equal(around, square & (torch.hypot(row - 10.0, column - 10.0) < torch.hypot(row - 12.0, column - 13.0) - 1e-4))


def test_regions_with_a_seed(monkeypatch):
    cells, seeds = torch.zeros(6, 8, dtype=torch.bool), torch.zeros(6, 8, dtype=torch.bool)
    cells[1:3, 1:4] = cells[4, 0:8] = cells[0, 6:8] = True
    seeds[2, 2] = seeds[0, 7] = seeds[5, 5] = True
    expected = cells.clone()
    expected[4] = False
    assert torch.equal(regions_with(cells, seeds), expected)
    monkeypatch.setattr("depth_normal.geometry.regions.connected.opencv", lambda: None)
    assert torch.equal(regions_with(cells, seeds), expected)


def test_basins_of_a_map_meet_at_its_ridges():
    columns = torch.arange(30.0).expand(8, -1)
    labels = watershed((columns - 5).abs().minimum((columns - 22).abs()))
    assert labels.unique().tolist() == [0, 1]
    assert (labels[:, :13] == labels[0, 0]).all() and (labels[:, 14:] == labels[0, -1]).all() and labels[0, 0] != labels[0, -1]
