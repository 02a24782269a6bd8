"""Regions that merge until every border is strong."""

import torch

from depth_normal.geometry.regions.merging import merged_regions, watershed


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
