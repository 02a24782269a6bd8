import numpy as np
import pytest
import torch

from depth_normal.geometry.regions.boxes import cheapest_region, path_costs
from depth_normal.geometry.regions.connected import holes_of, regions_with
from depth_normal.geometry.regions.mixtures import fit_mixture
from depth_normal.geometry.regions.parts import merged_regions, watershed
from depth_normal.geometry.regions.planes import image_places, largest_plane
from depth_normal.geometry.regions.selections import Pixels


def test_a_square_around_a_point_ends_half_way_to_one_of_the_other_kind():
    inside, outside, far = (10, 10), (12, 13), (10, 25)
    around = Pixels([inside, far], [outside]).around(inside, torch.Size((30, 40)))
    row, column = torch.meshgrid(torch.arange(30), torch.arange(40), indexing="ij")
    square = torch.maximum((row - 10).abs(), (column - 10).abs()) <= 3
    assert torch.equal(around, square & (torch.hypot(row - 10.0, column - 10.0) < torch.hypot(row - 12.0, column - 13.0) - 1e-4))


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


def strength_of(borders):
    return borders.strength[:, 0]


def test_basins_of_a_map_meet_at_its_ridges():
    columns = torch.arange(30.0).expand(8, -1)
    labels = watershed((columns - 5).abs().minimum((columns - 22).abs()))
    assert labels.unique().tolist() == [0, 1]
    assert (labels[:, :13] == labels[0, 0]).all() and (labels[:, 14:] == labels[0, -1]).all() and labels[0, 0] != labels[0, -1]


def test_a_constant_map_is_one_basin_and_merges_to_itself():
    labels = watershed(torch.zeros(6, 9))
    assert (labels == 0).all()
    assert (merged_regions(labels, torch.zeros(1, 6, 9), torch.zeros(1, 6, 9), strength_of, 1.0) == 0).all()


def test_a_gap_in_a_border_does_not_join_regions():
    labels = torch.arange(20).div(5, rounding_mode="floor").expand(20, -1).contiguous()
    strength = torch.zeros(1, 20, 20)
    strength[0, :18, 9:11] = 1.0  # between the second and the third stripe, but for its end
    merged = merged_regions(labels, torch.zeros(1, 20, 20), strength, strength_of, 0.5)
    assert (merged[:, :10] == merged[0, 0]).all() and (merged[:, 10:] == merged[0, -1]).all() and merged[0, 0] != merged[0, -1]
    assert (merged_regions(labels, torch.zeros(1, 20, 20), strength, strength_of, 0.95) == 0).all()


def test_the_weakest_borders_go_first_and_values_are_compared_by_their_means():
    """Stripes of 0, 0.4, 1 and 1: the last two merge; then 0 and 0.4, which are 0.4 apart, but not 0.2 and 1."""
    labels = torch.arange(20).div(5, rounding_mode="floor").expand(4, -1).contiguous()
    values = torch.tensor((0.0, 0.4, 1.0, 1.0))[labels][None]
    merged = merged_regions(labels, values, torch.zeros(1, 4, 20), lambda borders: borders.apart[:, 0], 0.7)
    assert merged[0].tolist() == [int(merged[0, 0])] * 10 + [int(merged[0, -1])] * 10 and merged[0, 0] != merged[0, -1]


def test_regions_that_are_all_alike_merge_in_few_rounds():
    labels, rounds = torch.arange(60 * 60).view(60, 60), []

    def cost(borders):
        rounds.append(len(borders.first))
        return torch.zeros(len(borders.first))

    merged = merged_regions(labels, torch.zeros(1, 60, 60), torch.zeros(1, 60, 60), cost, 1.0)
    assert (merged == merged[0, 0]).all()
    assert len(rounds) < 60


def test_what_rounding_orders_merges_at_once():
    """Squares that cost alike to merge, and more once they are larger: pairs of them would be those of rounding."""
    rows, columns = torch.arange(48)[:, None] // 4, torch.arange(48) // 4
    random = torch.Generator().manual_seed(0)

    def cost(borders):
        return borders.smaller / (borders.smaller + 16) * (1 + 1e-6 * torch.rand(len(borders.first), generator=random))

    assert (merged_regions(12 * rows + columns, torch.zeros(1, 48, 48), torch.zeros(1, 48, 48), cost, 0.6) == 0).all()


def test_a_mixture_finds_its_parts():
    values = torch.cat((torch.randn(400, 2) * 0.1, torch.randn(200, 2) * 0.1 + 3))
    mixture = fit_mixture(values, 2, 0.01)
    order = (-mixture.weights).argsort()
    assert mixture.weights[order].tolist() == pytest.approx([2 / 3, 1 / 3], abs=0.02)
    assert mixture.means[order] == pytest.approx(np.array(((0.0, 0.0), (3.0, 3.0))), abs=0.05)
    far, near = mixture.log_likelihood(torch.tensor(((1.5, 1.5), (3.0, 3.0))))
    assert near > far + 10
    assert fit_mixture(torch.zeros(1, 3), 5, 0.1).log_likelihood(torch.zeros(1, 3)).isfinite().all(), "one value"


def test_the_cheapest_region_weighs_pixels_against_the_border():
    cost = torch.ones(20, 20)
    cost[5:15, 5:15] = -1
    cost[10, 10] = 0.5  # less than the border around it
    cost[2, 2] = torch.inf
    across, down = torch.full((20, 19), 0.5), torch.full((19, 20), 0.5)
    found = cheapest_region(cost, across, down, torch.zeros_like(cost), 300) > 0.5
    assert found[6:14, 6:14].all() and not found[:4].any() and int(found.sum()) in range(90, 101)
    assert not (cheapest_region(cost, 40 * across, 40 * down, torch.zeros_like(cost), 300) > 0.5).any(), (
        "the border costs more than it gains"
    )


def test_the_largest_plane_is_fitted_to_most_pixels():
    places = image_places(30, 40)
    plane = torch.tensor((0.1, -0.2, 0.5), dtype=torch.float64)
    nearness = places @ plane
    nearness[:10] = 0.9
    found = largest_plane(places, nearness, torch.ones(30, 40, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert torch.allclose(found, plane, atol=1e-2)


def test_holes_are_what_the_border_does_not_reach():
    region = torch.from_numpy(np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]], bool))
    assert holes_of(region).nonzero().tolist() == [[1, 1]]


def test_regions_with_a_seed(monkeypatch):
    cells, seeds = torch.zeros(6, 8, dtype=torch.bool), torch.zeros(6, 8, dtype=torch.bool)
    cells[1:3, 1:4] = cells[4, 0:8] = cells[0, 6:8] = True
    seeds[2, 2] = seeds[0, 7] = seeds[5, 5] = True
    expected = cells.clone()
    expected[4] = False
    assert torch.equal(regions_with(cells, seeds), expected)
    monkeypatch.setattr("depth_normal.geometry.regions.connected.opencv", lambda: None)
    assert torch.equal(regions_with(cells, seeds), expected)
