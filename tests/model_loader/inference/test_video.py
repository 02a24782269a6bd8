"""A video through a model: in chunks as at once, never more of it read than needed, and made stable."""

import itertools
import threading

import pytest
import torch

from depth_normal.geometry.estimate import Axes
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference.video import VideoState
from depth_normal.options.video import VideoOptions


def frames(count, height=90, width=120):
    """A still image with some noise, as from a camera."""
    random = torch.Generator().manual_seed(0)
    still = torch.rand(1, 3, 6, 8, generator=random).repeat_interleave(height // 6, 2).repeat_interleave(width // 8, 3)
    return (still + 0.01 * torch.randn(count, 3, height, width, generator=random)).clamp(0, 1)


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def depth_of(model, chunks, *options, **more):
    return torch.cat([part.depth for part in model.estimate_video(chunks, *options, size=64, **more)])


@pytest.mark.slow("takes most of a second")
def test_it_is_stable_in_any_chunks_and_can_be_asked_not_to(tiny):
    video = frames(10)
    own = tiny.estimate(video, 64, refine=False).depth
    torch.testing.assert_close(depth_of(tiny, [video], VideoOptions("none", smooth=0)), own)
    whole = depth_of(tiny, [video])
    assert whole[4:].diff(dim=0).abs().mean() < own[4:].diff(dim=0).abs().mean() / 3
    for chunks in (video.split(1), video.split([3, 7])):
        torch.testing.assert_close(depth_of(tiny, chunks), whole, rtol=1e-3, atol=1e-2)


def test_no_frame_gives_nothing_and_one_gives_its_own(tiny):
    assert list(tiny.estimate_video([])) == []
    video = frames(1)
    (part,) = tiny.estimate_video([video], size=64)
    torch.testing.assert_close(part.depth, tiny.estimate(video, 64, refine=False).depth)
    assert part.axes is Axes.OPENGL and part.normals.shape == (1, 3, 90, 120)
    (found,) = tiny.estimate_video([video], size=64, normals=False)
    assert found.normals is None and torch.equal(found.depth, part.depth)


@pytest.mark.slow("takes most of a second")
def test_an_endless_video_is_read_chunk_by_chunk(tiny):
    read, told = [], []

    def endless():
        for index in itertools.count():
            read.append(index)
            yield frames(2)

    parts = tiny.estimate_video(endless(), progress=lambda done, known: told.append((done, known)))
    assert read == []
    first = list(itertools.islice(parts, 3))
    assert read == [0, 1, 2] and [part.batch for part in first] == [2, 2, 2] and told == [(2, 2), (4, 4)]


@pytest.mark.parametrize("threads", [0, 1])
def test_another_size_in_the_middle_is_refused_after_what_was_good(tiny, threads):
    """Also where the network runs in a thread of its own."""
    parts = tiny.estimate_video([frames(3), frames(2, 96, 120)], size=64, network_threads=threads)
    assert next(parts).batch == 3
    with pytest.raises(ValueError, match=r"changes from 120x90 to 120x96 pixels after 3 frames; .* start a new video"):
        next(parts)


@pytest.mark.parametrize("chunk", [torch.rand(0, 3, 90, 120), torch.rand(3, 90, 120), torch.zeros(1, 3, 90, 120, dtype=torch.uint8)])
def test_what_is_no_chunk_is_refused(tiny, chunk):
    with pytest.raises(ValueError, match="frames"):
        next(tiny.estimate_video([chunk]))


@pytest.mark.slow("takes most of a second")
def test_normals_follow_from_the_depth_that_is_stable(tiny):
    seen = []

    def derive(estimate):
        seen.append(estimate.depth)
        return estimate

    video = frames(6)
    list(tiny.estimate_video([video], derive=derive))
    own = torch.cat([part.depth for part in tiny.estimates(video, refine=False)])
    derived = torch.cat(seen)
    assert derived.shape == own.shape, "at the network's size"
    assert derived[2:].diff(dim=0).abs().mean() < own[2:].diff(dim=0).abs().mean() / 1.5


@pytest.mark.parametrize("threads", [0, pytest.param(1, marks=pytest.mark.slow("takes most of a second"))])
def test_it_goes_on_where_it_was_stopped(tiny, threads):
    """Also where the network runs in a thread of its own, which changes nothing."""
    video, first, second = frames(6).split(2), VideoState(), VideoState()
    whole = depth_of(tiny, video)
    assert torch.equal(depth_of(tiny, video, network_threads=threads), whole)
    depth_of(tiny, video[:1], network_threads=threads, state=first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(depth_of(tiny, video[1:], network_threads=threads, state=second), whole[2:])


def test_a_network_in_a_thread_of_its_own_ends_with_the_caller(tiny):
    def endless():
        while True:
            yield frames(1)

    before = threading.active_count()
    parts = tiny.estimate_video(endless(), size=64, network_threads=1)
    next(parts)
    assert threading.active_count() == before + 1
    parts.close()
    assert threading.active_count() == before
