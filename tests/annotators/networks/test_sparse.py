"""Voxels of MoGe-3's refiner, beside what test_moge_3.py compares with the authors'."""

import torch

from depth_normal.annotators.networks import moge_refiner as sparse
from depth_normal.annotators.networks.moge_refiner import SubmanifoldConv, coarser_level, pixel_level
from tests.random_weights import randomise


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def levels(bins, total=4):
    found = [pixel_level(bins)]
    while len(found) < total:
        found.append(coarser_level(found[-1])[0])
    return found


def test_rows_at_a_time_change_nothing(monkeypatch):
    conv, level = randomise(SubmanifoldConv(3, 4)).double(), pixel_level(torch.randint(0, 3, (6, 9), generator=seeded()))
    features = torch.randn(len(level.places), 3, generator=seeded(2), dtype=torch.float64)
    whole = conv(features, level.pairs)
    monkeypatch.setattr(sparse, "_NUMBERS_AT_ONCE", 20)
    torch.testing.assert_close(conv(features, level.pairs), whole, rtol=0, atol=1e-12)


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
