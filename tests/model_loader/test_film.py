"""A film through a model: in chunks as at once, never more of it read than needed, and held still."""

import itertools

import pytest
import torch

from depth_normal.geometry.estimate import Axes
from depth_normal.geometry.temporal import FilmOptions
from depth_normal.model_loader import load_model
from depth_normal.model_loader.film import EstimationState, estimate_film


def frames(count, height=90, width=120):
    """A still picture with some noise, as from a camera."""
    random = torch.Generator().manual_seed(0)
    still = torch.rand(1, 3, 6, 8, generator=random).repeat_interleave(height // 6, 2).repeat_interleave(width // 8, 3)
    return (still + 0.01 * torch.randn(count, 3, height, width, generator=random)).clamp(0, 1)


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def depth_of(model, chunks, *options, **more):
    return torch.cat([part.depth for part in estimate_film(model, chunks, *options, size=96, **more)])


@pytest.mark.slow("takes most of a second")
def test_in_chunks_and_at_once_are_the_same(tiny):
    film = frames(7)
    whole = depth_of(tiny, [film])
    assert whole.shape == (7, 1, 90, 120) and whole.dtype == torch.float32
    torch.testing.assert_close(depth_of(tiny, film.split(1)), whole, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(depth_of(tiny, film.split([2, 5])), whole, rtol=1e-3, atol=1e-2)


@pytest.mark.slow("takes most of a second")
def test_it_holds_still_and_can_be_asked_not_to(tiny):
    film = frames(10)
    own = tiny.estimate(film, 96).depth
    torch.testing.assert_close(depth_of(tiny, [film], FilmOptions("none", smooth=0)), own)
    change = [each[4:].diff(dim=0).abs().mean() for each in (depth_of(tiny, [film]), own)]
    assert change[0] < change[1] / 3


def test_no_frame_gives_nothing_and_one_gives_its_own(tiny):
    assert list(estimate_film(tiny, [])) == []
    film = frames(1)
    (part,) = estimate_film(tiny, [film])
    torch.testing.assert_close(part.depth, tiny.estimate(film).depth)
    assert part.axes is Axes.OPENGL and part.normals.shape == (1, 3, 90, 120)


@pytest.mark.slow("takes most of a second")
def test_an_endless_film_is_read_chunk_by_chunk(tiny):
    read, told = [], []

    def endless():
        for index in itertools.count():
            read.append(index)
            yield frames(2)

    parts = estimate_film(tiny, endless(), progress=lambda done, known: told.append((done, known)))
    assert read == []
    first = list(itertools.islice(parts, 3))
    assert read == [0, 1, 2] and [part.batch for part in first] == [2, 2, 2] and told == [(2, 2), (4, 4)]


def test_another_size_in_the_middle_is_refused_after_what_was_good(tiny):
    parts = estimate_film(tiny, [frames(3), frames(2, 96, 120)])
    assert next(parts).batch == 3
    with pytest.raises(ValueError, match=r"changes from 120x90 to 120x96 pixels after 3 frames; .* begin a new film"):
        next(parts)


@pytest.mark.parametrize("chunk", [torch.rand(0, 3, 90, 120), torch.rand(3, 90, 120), torch.zeros(1, 3, 90, 120, dtype=torch.uint8)])
def test_what_is_no_chunk_is_refused(tiny, chunk):
    with pytest.raises(ValueError, match="frames"):
        next(estimate_film(tiny, [chunk]))


@pytest.mark.slow("takes most of a second")
def test_normals_follow_from_the_depth_that_holds_still(tiny):
    seen = []

    def derive(estimate):
        seen.append(estimate.depth)
        return estimate

    film = frames(6)
    list(estimate_film(tiny, [film], derive=derive))
    own = torch.cat([part.depth for part in tiny.estimates(film)])
    derived = torch.cat(seen)
    assert derived.shape == own.shape, "at the network's size"
    assert derived[2:].diff(dim=0).abs().mean() < own[2:].diff(dim=0).abs().mean() / 2


def test_it_goes_on_where_it_was_stopped(tiny):
    film, first, second = frames(6), EstimationState(), EstimationState()
    whole = depth_of(tiny, film.split(3))
    depth_of(tiny, [film[:3]], state=first)
    second.load_state_dict(first.state_dict())
    assert torch.equal(depth_of(tiny, [film[3:]], state=second), whole[3:])
