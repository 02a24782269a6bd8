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


def test_a_running_range_widens_at_once_and_narrows_slowly_and_a_cut_starts_it_anew():
    frames = torch.cat([ramp(0, 1)] * 30 + [ramp(0, 2)] * 5 + [ramp(0, 1)] * 30 + [ramp(5, 9, seed=1)] * 2)
    low, high = RunningRange().update(frames)
    assert high.shape == (67, 1, 1, 1) and high[29].item() == pytest.approx(1)
    assert 1.99 < high[30] <= 2 and (high[30:35] <= 2).all()
    steps = high[35:65].flatten().diff()
    assert (steps < 0).all() and steps.min() > -0.005 and high[64] > 1.85
    assert (low[65].item(), high[65].item()) == pytest.approx((5, 9)), "another scene"


def test_somebody_who_enters_is_not_clipped_and_the_room_keeps_its_grey():
    """Noise and a stray pixel move nothing; a thousandth of the pixels may be beyond the ends."""
    random = torch.Generator().manual_seed(0)
    frames = torch.cat([ramp(0, 1)] * 90) + 0.004 * torch.randn(90, 1, 40, 50, generator=random)
    frames[20, 0, 0, 0] = 40.0
    for index in range(30, 60):
        frames[index, :, 5:, : min(20, 2 * (index - 29))] = ramp(1.2, 1.6)[..., 5:, :20][..., : min(20, 2 * (index - 29))]
    grey = depth_to_image(frames, "disparity", normalisation="running")
    room = 255 * grey[..., 30:].mean((1, 2, 3))
    assert (grey == 1).float().mean((1, 2, 3)).max() <= 0.002 and (grey == 0).float().mean((1, 2, 3)).max() <= 0.002
    assert room[:20].max() - room[:20].min() < 1 and room[40:60].max() - room[40:60].min() < 1, "while nobody comes or goes"
    assert room[60:].diff().abs().max() < 0.3, "and where somebody left"


def test_noise_that_averages_out_moves_no_range():
    """A running mean of a still scene: its extremes shrink, its values keep their grey."""
    noise = 0.01 * torch.randn(60, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    frames = ramp() ** 3 + noise.cumsum(0) / torch.arange(1, 61).view(-1, 1, 1, 1)
    least = measure_range(frames, frames.isfinite())[0].flatten()
    assert least[-1] - least[0] > 0.015, "or the test shows nothing"
    means = 255 * depth_to_image(frames, "disparity", normalisation="running").mean((1, 2, 3))
    assert (means - means[0]).abs().max() < 0.5


@pytest.mark.parametrize(("frame", "settled"), [((0.03, 0.97), (0, 1)), ((-0.01, 1.02), (-0.01, 1.02)), ((0.2, 1), (0.12, 1))])
def test_a_running_range_holds_all_values_and_is_little_wider(frame, settled):
    low, high = RunningRange().update(torch.cat([ramp(0, 1)] + [ramp(*frame)] * 300))
    assert (low[-1].item(), high[-1].item()) == pytest.approx(settled, abs=0.005)


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
