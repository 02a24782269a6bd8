import pytest
import torch

from depth_normal.geometry.regions import boxes
from depth_normal.geometry.regions.boxes import object_in_box
from tests.geometry.regions.test_objects import HEIGHT, PAINTS, WALL, WIDTH, overlap, person, ring, room
from tests.refusals import refuses


def around(thing, number, margin):
    """The box around a thing, wider on each side by a share of its size."""
    rows, columns = (thing == number).nonzero(as_tuple=True)
    sides = []
    for places, length in ((columns, WIDTH), (rows, HEIGHT)):
        first, last = int(places.min()), int(places.max()) + 1
        more = margin * (last - first)
        sides.append((max(0, (first - more) / length), min(1, (last + more) / length)))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bend", [0.0, 0.01])
@pytest.mark.parametrize("margin", [0.05, 0.15])
def test_a_ball_comes_without_the_floor_and_the_wall(margin, bend):
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)], bend)
    box = around(thing, 1, margin)
    mask = object_in_box(depth, image, box)
    assert overlap(mask, thing == 1) > 0.9
    assert overlap(object_in_box(7.5 * depth, image, box), thing == 1) > 0.9, "of any scale"


def test_its_shadow_stays_behind():
    """A shadow falls from a ball to the right, as far as the box reaches."""
    depth, image, thing = room([(0.1, -0.65, 3.6, 0.35)])
    left, top, right, bottom = around(thing, 1, 0.15)
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) / HEIGHT, torch.arange(WIDTH) / WIDTH, indexing="ij")
    low = bottom - 0.15 * (bottom - top)
    shadow = ((columns - right) / (0.45 * (right - left))).square() + ((rows - low) / (0.1 * (bottom - top))).square() < 1
    image = torch.where(shadow & (thing == 0), 0.55 * image, image)
    mask = object_in_box(depth, image, (left, top, right + 0.4 * (right - left), bottom))[0, 0] > 0.5
    assert float((mask & shadow & (thing == 0)).sum() / (shadow & (thing == 0)).sum()) < 0.1
    assert overlap(mask[None, None].float(), thing == 1) > 0.9


def test_its_foot_is_no_shadow():
    """A flat thing in a darker shade of the floor, which rises from it in three pixels."""
    nearness, thing = torch.linspace(0.5, 1.5, 60)[:, None].repeat(1, 80), torch.zeros(60, 80, dtype=torch.bool)
    thing[20:40, 30:50] = True
    nearness[thing] += 0.02
    nearness[23:37, 33:47] += 0.08
    image = torch.where(thing, 0.5, 0.7).expand(1, 3, -1, -1)
    assert overlap(object_in_box(1 / nearness[None, None], image, (0.3, 0.25, 0.7, 0.75)), thing) > 0.95


def test_depth_alone_tells_it_apart():
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)])
    assert overlap(object_in_box(depth, torch.full_like(image, 0.5), around(thing, 1, 0.15)), thing == 1) > 0.8


def test_colour_alone_tells_it_apart():
    """A picture on a wall."""
    image = torch.full((1, 3, 60, 80), 0.7)
    image[:, :, 20:40, 30:50] = torch.tensor((0.2, 0.4, 0.8)).view(1, 3, 1, 1)
    truth = image[0, 2] > 0.75
    assert overlap(object_in_box(torch.full((1, 1, 60, 80), 2.0), image, (0.3, 0.25, 0.7, 0.75)), truth) > 0.95


def test_a_common_value_stands_out_as_well():
    """Outside, nothing is as common as the plain thing's colour: a strip of it lies above the box, on noise."""
    image = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(60, 80, dtype=torch.bool)
    truth[15:45, 20:60] = True
    image[:, :, truth], image[:, :, :8] = 0.5, 0.5
    assert overlap(object_in_box(torch.ones(1, 1, 60, 80), image, (0.25, 0.25, 0.75, 0.75)), truth) > 0.95


def test_another_thing_that_reaches_into_the_box_is_left_out():
    depth, image, thing = room([(-0.3, -0.5, 3.4, 0.45), (0.35, -0.55, 2.7, 0.4)])
    box = around(thing, 1, 0.1)
    assert (thing[:, int(box[0] * WIDTH) : int(box[2] * WIDTH)] == 2).any()
    assert overlap(object_in_box(depth, image, box), thing == 1) > 0.9


def painted(colours):
    """A picture of two stripes side by side on a wall, each 20 x 20 pixels of 60 x 80; and which pixel is of which."""
    image, stripe = torch.full((1, 3, 60, 80), 0.7), torch.zeros(60, 80, dtype=torch.int64)
    for number, colour in enumerate(colours, 1):
        stripe[20:40, 20 * number : 20 * number + 20] = number
        image[0, :, stripe == number] = torch.tensor(colour)[:, None]
    return torch.full((1, 1, 60, 80), 2.0), image, stripe


def test_points_correct_what_is_in_a_box():
    box, left, right, wall = (0.2, 0.25, 0.8, 0.75), (0.375, 0.5), (0.625, 0.5), (0.22, 0.3)
    depth, image, stripe = painted([(0.2, 0.4, 0.8), (0.8, 0.2, 0.1)])
    assert overlap(object_in_box(depth, image, box), stripe > 0) > 0.95
    for not_point, kept in ((left, 2), (right, 1)):
        assert overlap(object_in_box(depth, image, box, not_points=[not_point]), stripe == kept) > 0.95
    assert torch.equal(object_in_box(depth, image, box, not_points=[(0.1, 0.5)]), object_in_box(depth, image, box)), "outside the box"
    depth, image, stripe = painted([(0.2, 0.4, 0.8), (0.7, 0.7, 0.698)])
    assert overlap(object_in_box(depth, image, box), stripe == 1) > 0.95, "the colour of the wall to less than a level"
    assert object_in_box(depth, image, box, [right])[0, 0, 30, 50] > 0.5
    assert object_in_box(depth, image, box, [right], [wall])[0, 0, 18, 18] < 0.5


def test_a_part_of_nearly_the_walls_colour_is_found():
    """Ten levels of 8 bits, on a picture without grain."""
    depth, image, stripe = painted([(0.2, 0.4, 0.8), (0.7, 0.7, 0.66)])
    assert overlap(object_in_box(depth, image, (0.2, 0.25, 0.8, 0.75)), stripe > 0) > 0.95


def test_points_are_sure_where_there_is_nothing_to_see():
    depth, image, _ = painted([])
    image[..., 40:] += 0.001
    mask = object_in_box(depth, image, (0.1, 0.1, 0.9, 0.9), [(0.25, 0.5)], [(0.75, 0.5)])[0, 0]
    assert mask[30, 20] > 0.5 > mask[30, 60]


@pytest.mark.parametrize("behind", ["floor", "far waves", "spot"])
def test_a_hole_in_it_is_closed_unless_something_else_is_seen_through_it(behind):
    v, u, floor, inside, image = ring()
    nearness = torch.where(inside, floor + 0.2, floor)
    if behind == "far waves":  # which are no plane
        nearness = torch.where(inside, 0.9, 0.1 + 0.06 * torch.sin(u / 9) * torch.cos(v / 11))
    if behind == "spot":  # of the floor's colour, on a disc
        inside = torch.hypot(u, v) < 36
        nearness = torch.where(inside, floor + 0.2, floor)
    assert overlap(object_in_box(1 / nearness[None, None], image, (0.2, 0.1, 0.8, 0.9)), inside) > 0.9


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_part_in_the_colour_of_the_background_is_not_lost(part):
    """Depth that is certain counts more than colour."""
    depth, image, parts = person(PAINTS, WALL, part)
    mask = object_in_box(depth, image, around(parts > 0, True, 0.05))[0, 0] > 0.5
    assert mask[parts == part].float().mean() > 0.95
    assert overlap(mask[None, None].float(), parts > 0) > 0.9


@pytest.mark.slow("takes a large image")
@pytest.mark.parametrize("box", [(0.2, 0.2, 0.9, 1.0), (0.0, 0.0, 0.5, 1.0), (0.5, 0.5, 0.5001, 0.5001), (0.0, 0.0, 1.0, 0.999)])
def test_any_box_of_a_small_or_large_image(box):
    depth, image, _ = room([(0.0, -0.4, 2.5, 0.6)])
    for side in (4, 9, 700):
        sized = torch.nn.functional.interpolate(torch.cat((depth, image), 1), (side, side))
        mask = object_in_box(sized[:, :1], sized[:, 1:], box)
        assert mask.shape == (1, 1, side, side) and mask.min() >= 0 and mask.max() <= 1


def test_a_large_image_costs_no_more_than_what_is_around_the_box(monkeypatch):
    sizes = []
    monkeypatch.setattr(boxes, "mask_at_image_edges", lambda mask, image, radius: sizes.append(image.shape[-2:]) or mask)
    mask = object_in_box(torch.ones(1, 1, 600, 900), torch.rand(1, 3, 600, 900), (0.4, 0.4, 0.5, 0.5))
    assert mask.shape == (1, 1, 600, 900)
    assert all(height <= 110 and width <= 160 for height, width in sizes), sizes


test_what_is_no_box_is_refused = refuses(
    lambda box, *points: object_in_box(torch.ones(1, 1, 8, 8), torch.rand(1, 3, 8, 8), box, points),
    *((box, "the box is from") for box in ((0.5, 0, 0.4, 1), (-0.1, 0, 0.5, 0.5), (0, 0, 1, 1), (0.1, 0.1, float("nan"), 0.5))),
    *(((0.2, 0.2, 0.8, 0.8), point, "of the object is outside the box") for point in ((0.1, 0.5), (0.5, 0.9))),
)
