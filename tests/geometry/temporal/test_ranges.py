"""One range for a video: as it runs, and for all of it."""

import pytest
import torch

from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.levels import measure_range
from depth_normal.geometry.temporal.ranges import ClipRange, RunningRange


def ramp(low=0.0, high=1.0, seed=0):
    """(1, 1, 40, 50) from `low` to `high`, scattered in another way for each seed."""
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(seed))
    return (low + (high - low) * order / 1999).view(1, 1, 40, 50)


def test_a_running_range_follows_slowly_and_a_cut_starts_it_anew():
    frames = torch.cat([ramp(0, 1)] * 30 + [ramp(0, 2)] * 30 + [ramp(5, 9, seed=1)] * 2)
    low, high = RunningRange().update(frames)
    assert high.shape == (62, 1, 1, 1) and high[29].item() == pytest.approx(1)
    steps = high[30:60].flatten().diff()
    assert (steps > 0).all() and steps.max() < 0.05 and 1.6 < high[59] < 1.9
    assert (low[60].item(), high[60].item()) == pytest.approx((5, 9)), "another scene"


def test_a_running_range_moves_little_where_a_shot_begins():
    """As a pan's does, whose first frames would otherwise pulse by half of what each brings in."""
    _, high = RunningRange().update(torch.cat([ramp(0, 1), ramp(0, 2), ramp(0, 1)] + [ramp(0, 2)] * 40))
    assert high.diff(dim=0).abs().max() < 1 / 8 and high[-1] > 1.7


def test_noise_that_averages_out_moves_no_range():
    """A running mean of a still scene: its extremes shrink, its values keep their grey."""
    noise = 0.01 * torch.randn(60, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    frames = ramp() ** 3 + noise.cumsum(0) / torch.arange(1, 61).view(-1, 1, 1, 1)
    least = measure_range(frames, frames.isfinite())[0].flatten()
    assert least[-1] - least[0] > 0.015, "or the test shows nothing"
    means = 255 * depth_to_image(frames, "disparity", normalisation="running").mean((1, 2, 3))
    assert (means - means[0]).abs().max() < 0.5


@pytest.mark.parametrize(("frame", "settled"), [((0.03, 0.97), (0, 1)), ((-0.01, 1.02), (-0.01, 1.02)), ((0.2, 1), (0.165, 1))])
def test_a_running_range_holds_all_values_and_is_little_wider(frame, settled):
    low, high = RunningRange().update(torch.cat([ramp(0, 1)] + [ramp(*frame)] * 300))
    assert (low[-1].item(), high[-1].item()) == pytest.approx(settled, abs=0.002)


def test_cuts_can_be_told():
    frames = torch.cat([ramp(0, 1)] * 3 + [ramp(0, 2)] * 3)
    cuts = torch.tensor([False, False, False, True, False, False])
    assert RunningRange().update(frames, cuts=cuts)[1].flatten().tolist() == pytest.approx([1, 1, 1, 2, 2, 2])


def test_a_running_range_knows_no_later_frame_and_takes_parts():
    frames = torch.cat([ramp(0, 1 + 0.1 * t) for t in range(9)])
    whole, running = RunningRange().update(frames)[1], RunningRange()
    assert torch.equal(whole, torch.cat([running.update(frames[a:b])[1] for a, b in ((0, 1), (1, 4), (4, 9))]))


def test_frames_without_a_value_are_shown_by_the_range_before():
    frames = torch.cat((ramp(0, 1), ramp(0, 1) * torch.nan, ramp(0, 1)))
    low, high = RunningRange().update(frames)
    assert low.flatten().tolist() == [0, 0, 0] and high.flatten().tolist() == [1, 1, 1]
    images = depth_to_image(torch.full((2, 1, 4, 4), torch.nan), "disparity", normalisation="running")
    assert images.eq(0).all(), "nothing at all is black"


def test_per_image_flickers_and_running_does_not():
    """One stray pixel a frame, each time farther out: the rest of the image pulses with it, or does not."""
    video = ramp().repeat(20, 1, 1, 1)
    video[:, 0, 0, 0] = torch.arange(20) % 2 * 0.5 + 1
    change = {
        name: depth_to_image(video, "disparity", normalisation=name)[10:, :, 1:].diff(dim=0).abs().mean()
        for name in ("per_image", "running", "per_clip")
    }
    assert change["per_clip"] == 0 and change["running"] < change["per_image"] / 8


@pytest.mark.parametrize("percentiles", [(0.0, 100.0), (2.0, 85.0)])
def test_a_clip_in_parts_has_the_range_of_the_whole(percentiles):
    frames = torch.cat([ramp(t, t + 2, seed=t) for t in range(9)])
    valid = torch.rand(frames.shape, generator=torch.Generator().manual_seed(0)) > 0.3
    clip = ClipRange()
    for a, b in ((0, 2), (2, 3), (3, 9)):
        clip.add(frames[a:b].where(valid[a:b], torch.nan), valid[a:b])
    found, true = clip.ends(frames, valid, percentiles), measure_range(frames, valid, percentiles, per_clip=True)
    assert torch.stack(found).flatten().tolist() == pytest.approx(torch.stack(true).flatten().tolist())


def test_a_long_clip_is_sampled_evenly_and_does_not_grow():
    clip, sizes = ClipRange(), []
    for t in range(1000):
        clip.add(torch.full((1, 1, 64, 64), float(t)), torch.ones(1, 1, 64, 64, dtype=torch.bool))
        sizes.append(sum(sample.numel() for sample in clip._samples))
    low, high = clip.ends(torch.zeros(1), torch.zeros(1), (25.0, 75.0))
    assert max(sizes) <= 2**20 and low.item() == pytest.approx(250, abs=13) and high.item() == pytest.approx(750, abs=13)


def test_nothing_added_is_said():
    with pytest.raises(ValueError, match="before any"):
        ClipRange().ends(ramp(), ramp() > 0)
