"""How far pixels are from others along the easiest path."""

import torch

from depth_normal.geometry.regions.paths import path_costs


def test_a_path_goes_through_the_gap_of_a_wall():
    """Three rows of five; between the columns 2 and 3 there is a wall with a gap in the last row."""
    across, down = torch.full((3, 4), 1.0), torch.full((2, 5), 1.0)
    across[:2, 2] = 100.0
    start = torch.zeros(3, 5, dtype=torch.bool)
    start[0, 0] = True
    expected = torch.tensor([[0, 1, 2, 7, 8], [1, 2, 3, 6, 7], [2, 3, 4, 5, 6]]).double()
    assert torch.allclose(path_costs(start, across, down), expected)


def test_the_nearest_beginning_counts_and_without_one_nothing_is_reached():
    across, down = torch.full((1, 5), 1.0), torch.zeros(0, 6)
    start = torch.tensor([[True, False, False, False, False, True]])
    assert path_costs(start, across, down).tolist() == [[0, 1, 2, 2, 1, 0]]
    assert path_costs(~start & start, across, down).isinf().all()


def test_the_cheapest_of_many_turns_is_the_same_as_step_by_step():
    random = torch.Generator().manual_seed(0)
    across, down = torch.rand(20, 29, generator=random), torch.rand(19, 30, generator=random)
    start = torch.zeros(20, 30, dtype=torch.bool)
    start[7, 11] = True
    costs = torch.where(start, 0.0, torch.inf)
    for _ in range(600):
        for one, other, steps in ((costs[:, :-1], costs[:, 1:], across), (costs[:-1], costs[1:], down)):
            torch.minimum(other, one + steps, out=other)
            torch.minimum(one, other + steps, out=one)
    assert torch.allclose(path_costs(start, across, down).float(), costs, atol=1e-4)
