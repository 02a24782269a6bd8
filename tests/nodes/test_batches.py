"""Batches on their way through a node."""

import weakref

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import batches


def clip(images=3):
    depth = torch.arange(1.0, images + 1).view(-1, 1, 1, 1).expand(-1, 1, 2, 4)
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=depth > 0, intrinsics=torch.eye(3).expand(images, 3, 3))


def test_each_image_comes_with_all_of_its_maps_in_order():
    parts = list(batches.one_by_one(clip()))
    assert [part.batch for part in parts] == [1, 1, 1]
    joined = Estimate.cat(parts)
    assert joined.quantity is Quantity.METRIC_DEPTH
    assert all(torch.equal(value, clip().maps[name]) for name, value in joined.maps.items())


def test_room_is_made_where_images_are_moved_to_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(batches, "make_room", lambda device, needed: asked.append((device.type, needed)))
    assert len(list(batches.one_by_one(clip()))) == 3 and asked == []
    assert len(list(batches.one_by_one(clip(), torch.device("meta")))) == 3
    assert asked == [("meta", 2 * 4 * 600)]  # of one image: the others come after it


def test_a_cancelled_clip_stops_between_two_images(monkeypatch):
    asked = []

    def cancel_the_second():
        asked.append(True)
        if len(asked) == 2:
            raise InterruptedError

    monkeypatch.setattr(batches, "throw_if_interrupted", cancel_the_second)
    parts = batches.one_by_one(clip())
    assert next(parts).batch == 1
    with pytest.raises(InterruptedError):
        next(parts)


def test_the_bar_moves_when_an_item_is_done_and_not_when_it_begins(monkeypatch):
    moves = []
    monkeypatch.setattr(batches, "progress_bar", lambda _total: lambda done, total: moves.append((done, total)))
    items = batches.with_progress("ab", 2)
    assert next(items) == "a" and moves == []
    assert next(items) == "b" and moves == [(1, 2)]
    assert list(items) == [] and moves == [(1, 2), (2, 2)]


def test_outside_comfyui_there_is_no_bar_to_move():
    assert list(batches.with_progress("ab", 2)) == ["a", "b"]


def test_a_long_clip_is_in_memory_once():
    made, alive = [], []

    def outputs():
        for number in range(5):
            alive.append(sum(part() is not None for part in made))
            image = torch.full((1, 2, 3), float(number))
            made.append(weakref.ref(image))
            yield image, image[..., 0]
            del image

    images, masks = batches.join_outputs(outputs(), 5)
    assert images.shape == (5, 2, 3) and torch.equal(images[:, 0, 0], torch.arange(5.0)) and torch.equal(masks, images[..., 0])
    assert max(alive) <= 1, "what an image gave goes once it is in its place"
    with pytest.raises(ValueError, match="no image"):
        batches.join_outputs(iter(()), 0)


@pytest.mark.parametrize(("found", "words"), [(2, "outputs of 2 of the 3 images"), (4, "more outputs than the 3 images")])
def test_outputs_of_another_number_of_images_are_refused(found, words):
    with pytest.raises(ValueError, match=words):
        batches.join_outputs(((torch.ones(1, 2, 2, 3),) for _ in range(found)), 3)


def test_a_mask_takes_one_number_a_pixel_and_belongs_to_nobody_else():
    for planar in (torch.rand(2, 1, 3, 4) * 2 - 0.5, torch.rand(2, 1, 3, 4) > 0.5):
        before = planar.clone()
        mask = batches.mask_output(planar)
        assert mask.dtype == torch.float32 and torch.equal(mask, planar[:, 0].float().clamp(0, 1))
        assert mask.untyped_storage().nbytes() == 4 * mask.numel()
        mask.zero_()
        assert torch.equal(planar, before)
