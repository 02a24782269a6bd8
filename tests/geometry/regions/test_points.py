import torch

from depth_normal.geometry.regions.points import Pixels


def test_a_square_around_a_point_ends_half_way_to_one_of_the_other_kind():
    inside, outside, far = (10, 10), (12, 13), (10, 25)
    around = Pixels([inside, far], [outside]).around(inside, torch.Size((30, 40)))
    row, column = torch.meshgrid(torch.arange(30), torch.arange(40), indexing="ij")
    square = torch.maximum((row - 10).abs(), (column - 10).abs()) <= 3
    assert torch.equal(around, square & (torch.hypot(row - 10.0, column - 10.0) < torch.hypot(row - 12.0, column - 13.0) - 1e-4))
