"""Sparse convolutions against dense ones: the same numbers wherever there is a voxel, whatever the voxels."""

import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.networks import moge_refiner as sparse
from depth_normal.annotators.networks.moge_refiner import SubmanifoldConv, coarser_level, pixel_level

ROWS, COLUMNS, BINS = 6, 9, 12


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def random_bins(bins=BINS, seed=0):
    return torch.randint(0, bins, (ROWS, COLUMNS), generator=seeded(seed))


def random_conv(inputs=3, outputs=4):
    conv = SubmanifoldConv(inputs, outputs).double().requires_grad_(False)
    for each in (conv.weight, conv.bias):
        each.copy_(torch.randn(each.shape, generator=seeded(1)).double())
    return conv


def dense(level, features):
    """Features (1, C, rows, columns, bins), 0 where there is no voxel."""
    volume = features.new_zeros(*(level.places.amax(0) + 1).tolist(), features.shape[1])
    volume[level.places.unbind(1)] = features
    return volume.permute(3, 0, 1, 2)[None]


def by_dense_convolution(conv, level, features):
    out = F.conv3d(dense(level, features), conv.weight.unflatten(1, (3, 3, 3)).permute(0, 4, 1, 2, 3), conv.bias, padding=1)
    return out[0].permute(1, 2, 3, 0)[level.places.unbind(1)]


def levels(bins, total=4):
    found = [pixel_level(bins)]
    while len(found) < total:
        found.append(coarser_level(found[-1])[0])
    return found


@pytest.mark.parametrize(
    "bins",
    [
        *map(random_bins, (1, 2, BINS, 1000)),
        *(torch.randint(0, 3, shape, generator=seeded()) for shape in ((1, 1), (1, 7), (7, 1), (2, 2))),
    ],
    ids=lambda bins: f"{'x'.join(map(str, bins.shape))}, up to {bins.max()}",
)
def test_a_convolution_is_the_dense_one_at_the_voxels(bins):
    conv = random_conv()
    for level in levels(bins):
        features = torch.randn(len(level.places), 3, generator=seeded(2), dtype=torch.float64)
        torch.testing.assert_close(conv(features, level.pairs), by_dense_convolution(conv, level, features), rtol=0, atol=1e-12)


def test_rows_at_a_time_change_nothing(monkeypatch):
    conv, level = random_conv(), pixel_level(random_bins(3))
    features = torch.randn(len(level.places), 3, generator=seeded(2), dtype=torch.float64)
    whole = conv(features, level.pairs)
    monkeypatch.setattr(sparse, "_NUMBERS_AT_ONCE", 20)
    torch.testing.assert_close(conv(features, level.pairs), whole, rtol=0, atol=1e-12)


def test_a_coarser_voxel_is_the_mean_of_those_in_it():
    level = pixel_level(random_bins())
    coarse, coarsening = coarser_level(level)
    assert torch.equal(coarse.places, torch.unique(level.places // 2, dim=0)), "each once, in order"
    assert torch.equal(coarse.places[coarsening.parents], level.places // 2)
    features = torch.randn(len(level.places), 2, generator=seeded(3))
    means = coarsening.mean(features)
    for index, place in enumerate(coarse.places):
        inside = (level.places // 2 == place).all(1)
        torch.testing.assert_close(means[index], features[inside].mean(0))


def test_far_bins_do_not_touch():
    """Bins of a picture from a centimetre to a million metres, whose keys need 64 bits."""
    bins = torch.zeros(40, 50, dtype=torch.int64)
    bins[:, 25:] = 2**40
    found = levels(bins)
    assert sum(len(pairs.voxels) for pairs in found[0].pairs) == 2 * (40 * 24 + 39 * 25 + 2 * 39 * 24), "each half has its own"
    for level in found:
        for offset, voxels, neighbours in level.pairs:
            steps = level.places[neighbours] - level.places[voxels]
            assert (steps == torch.tensor(offset)).all()
