"""One batch of many parts: the same whichever way it was cut, and never a number that nobody gave."""

import weakref
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch

from depth_normal.geometry.edges.refine import refine_geometry
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.surfaces.derive import with_normals

HEIGHT, WIDTH = 12, 16
NAN = float("nan")


def plane(seed, hole=None, masked=None):
    """One image's metric depth, a slanted plane; with a pixel of another value, with a mask, or both."""
    random = torch.Generator().manual_seed(seed)
    slope = torch.rand(2, generator=random)
    rows, columns = torch.arange(HEIGHT) / HEIGHT, torch.arange(WIDTH) / WIDTH
    depth = (2 + slope[0] * rows[:, None] + slope[1] * columns)[None, None]
    if hole is not None:
        depth[..., 3:5, 2:6] = hole
    mask = None if masked is None else torch.full((1, 1, HEIGHT, WIDTH), True)
    if masked:
        mask[..., 7:9, 5:9] = False
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=mask)


MIXED = [plane(0), plane(1, hole=NAN), plane(2, masked=True), plane(3), plane(4, masked=False), plane(5, hole=NAN, masked=True)]


def cuts(images):
    """Every way to cut a batch into parts."""
    for ends in product((False, True), repeat=len(images) - 1):
        places = [0, *(index + 1 for index, is_end in enumerate(ends) if is_end), len(images)]
        yield [Estimate.cat(images[start:stop]) for start, stop in pairwise(places)]


def assert_same(found, expected):
    assert found.maps.keys() == expected.maps.keys()
    for name, value in expected.maps.items():
        torch.testing.assert_close(found.maps[name], value, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def poisoned():
    """Memory that nobody wrote to reads as NaN, or as False in a mask."""
    new_empty = torch.Tensor.new_empty

    def poison(like, *size, **kind):
        return new_empty(like, *size, **kind).fill_(0 if like.dtype == torch.bool else NAN)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", poison)
        yield


@pytest.mark.parametrize("order", [MIXED, MIXED[::-1], MIXED[2:] + MIXED[:2]])
def test_masks_that_some_parts_have_are_neither_lost_nor_invented(order, poisoned):
    whole = Estimate.cat(order)
    for index, image in enumerate(order):
        expected = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool) if image.mask is None else image.mask
        assert torch.equal(whole.mask[index : index + 1], expected)
        assert torch.equal(whole.valid[index : index + 1], image.valid)
    for parts in cuts(order):
        assert_same(Estimate.cat(iter(parts), len(order), "cpu"), whole)
        assert_same(Estimate.cat(parts), whole)


def test_where_no_part_has_a_mask_the_batch_has_none():
    assert Estimate.cat([plane(0), plane(1)]).mask is None
    assert Estimate.cat(iter([plane(0), plane(1, hole=NAN)]), 2).mask is None


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    "step",
    [
        with_normals,
        lambda estimate: estimate.resized(19, 25, "bicubic"),
        lambda estimate: with_normals(estimate).resized(5, 7),
        lambda estimate: with_normals(estimate).resized(31, 40),
        lambda estimate: refine_geometry(estimate, torch.full((1, 3, 24, 32), 0.5).expand(estimate.batch, -1, -1, -1), derive=with_normals),
    ],
    ids=["derive", "enlarge", "derive and shrink", "derive and enlarge", "refine"],
)
def test_a_step_done_part_by_part_is_the_step_done_at_once(step):
    images = [plane(0), plane(1, hole=NAN), plane(2), plane(3)]
    whole = step(Estimate.cat(images))
    for parts in cuts(images):
        assert_same(Estimate.cat(map(step, parts), len(images)), whole)


def test_each_part_is_let_go_when_it_is_in_its_place():
    """So the batch is in memory only once; and to the end, where whoever makes the parts learns that the last one was taken."""
    made, alive = [], []

    def parts():
        for image in MIXED:
            image = replace(image)
            made.append(weakref.ref(image))
            yield image
            del image
            alive.append(sum(each() is not None for each in made))

    Estimate.cat(parts(), len(MIXED))
    assert alive == [1] * len(MIXED), "the last one"


def test_a_batch_in_one_part_is_not_copied_and_keeps_its_projection_and_dtype():
    image = replace(MIXED[2], projection=Projection.EQUIRECTANGULAR)
    assert Estimate.cat([image]).depth is image.depth and Estimate.cat(iter([image]), 1, "cpu").mask is image.mask
    assert Estimate.cat([image, image]).projection is Projection.EQUIRECTANGULAR
    half = replace(plane(0), depth=plane(0).depth.half())
    assert Estimate.cat([half, plane(1)]).depth.dtype == Estimate.cat([plane(1), half]).depth.dtype == torch.float32, "the larger dtype"


@pytest.mark.parametrize("total", [1, 2, 4, 7])
def test_a_wrong_number_of_images_is_told(total):
    with pytest.raises(ValueError, match=rf"there are [23] estimates to join.*; expected {total}"):
        Estimate.cat(iter([plane(0), plane(1), plane(2)]), total)
    with pytest.raises(ValueError, match="empty"):
        Estimate.cat([])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(plane(1), confidence=torch.ones(1, 1, HEIGHT, WIDTH)), "another metric_depth depth confidence of 16x12"),
        (replace(plane(1), intrinsics=torch.eye(3)[None]), "depth intrinsics of 16x12"),
        (with_normals(plane(1)), "metric_depth opengl depth normals"),
        (replace(plane(1), quantity=Quantity.DISPARITY), "another disparity"),
        (replace(plane(1), projection=Projection.EQUIRECTANGULAR), "another equirectangular metric_depth"),
        (plane(1).resized(6, 8), "of 16x12 pixels, another metric_depth depth of 8x6 pixels"),
    ],
)
def test_other_maps_that_some_parts_have_are_refused(other, words):
    for parts in ([plane(0), other], [other, plane(0)]):
        with pytest.raises(ValueError, match="cannot be joined"):
            Estimate.cat(parts)
    with pytest.raises(ValueError, match=words):
        Estimate.cat(iter([plane(0), other]), 2)


def test_axes_are_asked_of_normals_alone():
    assert Estimate.cat([plane(0), replace(plane(1), axes=Axes.OPENCV)]).batch == 2
    normals = with_normals(plane(0))
    with pytest.raises(ValueError, match=r"opengl .* another metric_depth opencv"):
        Estimate.cat([normals, replace(normals, axes=Axes.OPENCV)])
