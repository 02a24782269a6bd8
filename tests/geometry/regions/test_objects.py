import numpy as np
import pytest
import torch

from depth_normal import load_model
from depth_normal.geometry.effects.depths import known_depths
from depth_normal.geometry.filters.extremes import largest_within
from depth_normal.geometry.regions.boxes import object_in_box
from depth_normal.geometry.regions.objects import _region, foreground_object, object_around
from tests.ray_traced_scenes import ball, plane

HEIGHT, WIDTH = 120, 160
V, U = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")


def room(balls, bend=0.0):
    """A floor before a wall, with balls (x, y, z, radius) in metres on or over the floor at y = -1; depth, image, number of the thing."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack(((u - WIDTH / 2 + 0.5) / WIDTH, (v - HEIGHT / 2 + 0.5) / WIDTH, np.ones(u.shape)), -1)
    things = [plane((0, 1, 0), (0, 1, 0)), *(ball((x, -y, z), radius) for x, y, z, radius in balls), plane((0, 0, 6), (0, 0, 1))]
    depths = np.stack([hit(rays)[0] for hit in things])
    depth, thing = depths.min(0), depths.argmin(0)
    thing[thing == len(balls) + 1] = -1
    colours = [(0.6, 0.5, 0.4), (0.2, 0.5, 0.8), (0.8, 0.3, 0.2), (0.7, 0.7, 0.65)]
    return coloured(depth * (1 + bend * np.sin(u / 40) * np.cos(v / 30)), colours, thing, 0.1)


def coloured(depth, colours, number, waves):
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    image = np.array(colours)[number] * (1 + waves * np.sin(u / 5) * np.cos(v / 7))[..., None]
    return torch.from_numpy(depth)[None, None].float(), torch.from_numpy(image).movedim(-1, 0)[None].float(), torch.from_numpy(number)


def person(own, wall, part=None):
    """A hat, a head, a collar and a body in colours of their own, far before a wall of one colour; depth, image, number of the part.

    One part can be in the colour of the wall.
    """
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (u - WIDTH / 2 + 0.5) / WIDTH, (HEIGHT / 2 - v - 0.5) / WIDTH
    depth, number = np.full((HEIGHT, WIDTH), 5.0), np.zeros((HEIGHT, WIDTH), int)
    parts = ((0.24, 0.12, 0.06), (0.12, 0.1, 0.15), (-0.02, 0.13, 0.06), (-0.32, 0.3, 0.33))
    for each, (middle, wide, high) in enumerate(parts, 1):
        bulge = 1 - (x / wide) ** 2 - ((y - middle) / high) ** 2
        nearer = np.where(bulge > 0, 1.3 - 0.12 * np.sqrt(np.maximum(bulge, 0)), np.inf)
        number[nearer < depth] = each
        depth = np.minimum(depth, nearer)
    colours = [wall if each == part else paint for each, paint in enumerate([wall, *own])]
    return coloured(depth, colours, number, 0.05)


PAINTS = [(0.1, 0.1, 0.12), (0.8, 0.6, 0.5), (0.9, 0.9, 0.85), (0.15, 0.2, 0.5)]
WALL = (0.35, 0.6, 0.9)


def place(thing, number):
    rows, columns = (thing == number).nonzero(as_tuple=True)
    return (float(columns.float().mean()) + 0.5) / WIDTH, (float(rows.float().mean()) + 0.5) / HEIGHT


def overlap(mask, truth):
    mask = mask[0, 0] > 0.5
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bend", [0.0, 0.01])
def test_a_ball_comes_without_the_floor_and_the_wall(bend):
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)], bend)
    assert overlap(object_around(depth, image, *place(thing, 1)), thing == 1) > 0.9
    assert overlap(object_around(7.5 * depth, image, *place(thing, 1)), thing == 1) > 0.9, "of any scale"


def test_a_point_of_the_wall_takes_the_wall():
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)])
    assert overlap(object_around(depth, image, 0.1, 0.1), thing == -1) > 0.8


BESIDE = [(-0.45, -0.5, 2.8, 0.5), (0.45, -0.5, 2.8, 0.5)]  # two balls that touch
ANIMAL = [(0.0, -0.55, 2.6, 0.45), (0.35, -0.15, 2.4, 0.25), (-0.6, -0.8, 2.6, 0.2)]  # a body, and a head and a tail that touch it
ON_ANOTHER = [(-0.1, -0.65, 3.0, 0.35), (-0.1, -0.05, 3.0, 0.35), (0.65, -0.65, 3.0, 0.35)]  # without feet, as a coat on trousers
APART = [(-0.5, -0.6, 2.8, 0.4), (0.3, -0.6, 2.8, 0.4), (-0.1, -0.2, 3.1, 0.45)]


def of_one_colour(depth, image, thing):
    return depth, torch.where(thing > 0, torch.tensor((0.2, 0.5, 0.8)).view(3, 1, 1), image), thing


def without_colours(depth, image, thing):
    return depth, torch.ones_like(image), thing


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(
    ("scene", "things", "least"),
    [
        (room(BESIDE), [(1,), (2,)], 0.85),
        (of_one_colour(*room(ANIMAL)), [(1, 2, 3)], 0.95),
        (room(ON_ANOTHER), [(1, 2), (3,)], 0.9),
        (without_colours(*room(APART)), [(1,), (2,), (3,)], 0.9),
        (without_colours(*room(APART, 0.01)), [(1,), (2,), (3,)], 0.9),
    ],
    ids=["balls that touch", "parts of one colour", "what stands on a part", "by depth alone", "by bent depth alone"],
)
def test_things_are_told_apart_and_their_parts_hold_together(scene, things, least):
    depth, image, balls = scene
    for of_thing in things:
        whole = torch.isin(balls, torch.tensor(of_thing))
        for number in of_thing:
            assert overlap(object_around(depth, image, *place(balls, number)), whole) > least


@pytest.mark.slow("takes most of a second")
def test_a_further_point_adds_what_is_there():
    depth, image, thing = room(BESIDE)
    one, other = place(thing, 1), place(thing, 2)
    assert overlap(object_around(depth, image, *one, [other]), thing > 0) > 0.9
    apart = room([(-0.9, -0.7, 3.0, 0.3), (0.5, -0.6, 2.8, 0.4)])
    points = [place(apart[2], number) for number in (1, 2)]
    assert overlap(object_around(*apart[:2], *points[0], points[1:]), apart[2] > 0) > 0.9, "also what is not connected"


@pytest.mark.slow("takes most of a second")
def test_a_point_that_is_not_of_it_removes_what_is_there():
    depth, image, thing = of_one_colour(*room(ANIMAL))
    one, other, floor = (*(place(thing, number) for number in (1, 2)), (0.1, 0.9))
    rest = (thing == 1) | (thing == 3)
    assert overlap(object_around(depth, image, *one, not_points=[other]), rest) > 0.9
    assert overlap(object_around(depth, image, *other, not_points=[one]), thing == 2) > 0.85
    assert torch.equal(object_around(depth, image, *one, not_points=[floor]), object_around(depth, image, *one)), "nothing is there"
    assert overlap(object_around(7.5 * depth, image, *one, not_points=[other]), rest) > 0.9, "of any scale"


@pytest.mark.slow("takes more than a second")
def test_a_point_beside_the_border_moves_the_border_alone():
    """A missing sliver belongs to the floor's or wall's patches, and all of these would come with it."""
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)])
    (x, y), radius = place(thing, 1), float((thing == 1).sum() / torch.pi) ** 0.5 / WIDTH
    outside, inside = (x + radius + 0.75 / WIDTH, y), (x - radius + 0.75 / WIDTH, y)
    assert overlap(object_around(depth, image, x, y, [outside]), thing == 1) > 0.9
    assert overlap(object_around(depth, image, x, y, not_points=[inside]), thing == 1) > 0.9


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(("point", "not_point"), [(82, 81), (83, 81), (84, 82)])
def test_a_point_beside_the_border_leaves_those_of_the_other_kind(point, not_point):
    """A box of columns 80 to 239 of 320, before a wall."""
    box = (torch.arange(320) >= 80) & (torch.arange(320) < 240)
    depth = torch.where(box, 1.0, 3.0).expand(1, 1, 240, 320).contiguous()
    image = torch.where(box, 0.8, 0.3).expand(1, 3, 240, 320).contiguous()
    mask = object_around(depth, image, (point + 0.5) / 320, 0.5, not_points=[((not_point + 0.5) / 320, 0.5)])[0, 0]
    assert mask[120, point] > 0.5 > mask[120, not_point]


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize("part", [1, 2, 4])
def test_a_point_on_a_sliver_of_background_leaves_the_rest(part):
    """A person of one depth with the wall beside them, as a network smears it: colours alone part both, and the person's parts, too."""
    depth, image, number = person(PAINTS, WALL)
    near = largest_within((number > 0)[None, None].float(), 8)[0, 0] > 0
    sliver = near & (number == 0) & (torch.arange(WIDTH) > WIDTH // 2) & (torch.arange(HEIGHT) < 75)[:, None]
    depth[0, 0][(number > 0) | sliver] = 1.25
    row, column = 40, int(sliver[40].nonzero().float().mean())
    not_point = (column + 0.5) / WIDTH, (row + 0.5) / HEIGHT
    assert overlap(object_around(depth, image, *place(number, part)), (number > 0) | sliver) > 0.95
    mask = object_around(depth, image, *place(number, part), not_points=[not_point])
    assert overlap(mask, number > 0) > 0.85 and mask[0, 0, row, column] < 0.5
    assert mask[0, 0][number > 0].mean() > 0.99


@pytest.mark.slow("takes most of a second")
def test_a_hole_stays_open_where_a_point_says_so():
    """A spot of another colour on a disc: part of it at first, and not closed as a hole when it is taken out."""
    away = torch.hypot(U * WIDTH / HEIGHT, V)
    colours = torch.stack((torch.full_like(U, 0.3), 0.2 + 0.6 * (away < 0.6), 0.8 - 0.7 * (away < 0.2)))[None]
    depth = torch.where(away < 0.6, 1.0, 4.0)[None, None] * (1 + 0.02 * torch.where(away < 0.2, 1, 0))
    point = (0.5 + 0.2, 0.5)
    assert object_around(depth, colours, *point)[0, 0, HEIGHT // 2, WIDTH // 2] > 0.5
    assert overlap(object_around(depth, colours, *point, not_points=[(0.5, 0.5)]), (away < 0.6) & (away > 0.2)) > 0.85


@pytest.mark.slow("takes most of a second")
def test_points_of_one_patch_part_it_between_them():
    """In an image without any edge, all that tells the thing from the rest is which point is nearer."""
    depth, image = torch.full((1, 1, HEIGHT, WIDTH), 2.0), torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    mask = object_around(depth, image, 0.25, 0.5, not_points=[(0.75, 0.5)])[0, 0]
    assert mask[:, : WIDTH // 2 - 4].min() > 0.5 and mask[:, WIDTH // 2 + 4 :].max() < 0.5
    same = object_around(depth, image, 0.25, 0.5, not_points=[(0.2501, 0.5)])
    assert torch.equal(same, object_around(depth, image, 0.25, 0.5)), "of two points in one pixel, that of the thing counts"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("part", [None, 1, 3])
def test_a_person_of_many_colours_comes_whole(part):
    """Before something far behind, the valleys between hat, face, collar and coat are no borders."""
    depth, image, parts = person(PAINTS, WALL, part)
    for number in (1, 2, 4):
        assert overlap(object_around(depth, image, *place(parts, number)), parts > 0) > 0.9


def test_colours_part_a_thing_from_the_floor_that_it_has_merged_with():
    """As where feet have the floor's depth; colours alone end nothing else."""
    thing = (U / 0.5).square() + (V / 0.4).square() < 1
    paints = torch.where(thing, torch.tensor((0.85, 0.8, 0.75)).view(3, 1, 1), torch.tensor((0.4, 0.5, 0.2)).view(3, 1, 1))
    image = (paints * (1 + 0.05 * torch.sin(40 * U) * torch.cos(30 * V)))[None]
    nothing = torch.zeros_like(thing)
    for floors, expected in ((~thing, thing), (nothing, ~nothing)):
        found = _region(0.5 + 0.4 * V, image, nothing, floors, 0.0, None, HEIGHT // 2, WIDTH // 2)
        assert overlap(found[None, None], expected) > 0.9


def test_the_foreground_is_what_stands_out():
    depth, image, thing = room([(0.6, -0.7, 4.5, 0.3), (-0.3, -0.5, 2.8, 0.45)])
    (x, y), mask = foreground_object(depth, image)
    assert thing[int(y * HEIGHT), int(x * WIDTH)] == 2
    assert torch.equal(mask, object_around(depth, image, x, y))


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(
    ("name", "point", "inside", "outside"),
    [
        ("coffee", (0.3, 0.8), [(0.2, 0.6), (0.75, 0.62), (0.5, 0.93)], [(0.1, 0.9), (0.9, 0.8)]),  # the saucer, on a table
        ("chelsea", (0.5, 0.4), [(0.6, 0.93), (0.2, 0.7), (0.75, 0.5)], [(0.9, 0.6)]),  # a cat's face with its chin
        ("astronaut", (0.45, 0.75), [(0.3, 0.65), (0.4, 0.1), (0.45, 0.42), (0.78, 0.85)], [(0.65, 0.2)]),  # with head, collar and helmet
    ],
)
def test_slices_of_round_things_are_no_floors(name, point, inside, outside):
    """By the depth of a network, in which rounded things have broad slices that lie near a plane, and tables are bent."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photographs")
    image = torch.from_numpy(getattr(data, name)()).movedim(-1, 0)[None] / 255
    mask = object_around(known_depths(load_model("tiny").estimate(image)).depth, image, *point)[0, 0] > 0.5
    height, width = mask.shape
    for places, is_inside in ((inside, True), (outside, False)):
        assert all(bool(mask[int(y * height), int(x * width)]) == is_inside for x, y in places)


def test_a_face_that_fills_the_image_is_not_taken_for_a_wall():
    nose = 0.06 * torch.exp(-(U.square() + V.square()) / 0.02)
    nearness = torch.where(U.abs() < 0.9, 1 + nose - 0.05 * (U.square() + V.square()), 0.3)
    mask = object_around(1 / nearness[None, None], torch.full((1, 3, HEIGHT, WIDTH), 0.5), 0.5, 0.5)
    assert overlap(mask, U.abs() < 0.9) > 0.95


def ring():
    """Rows and columns from the middle, the nearness of a slanted floor, a ring of 18 to 36 pixels, and an image of it."""
    v, u = torch.meshgrid(torch.arange(HEIGHT) - 60.0, torch.arange(WIDTH) - 80.0, indexing="ij")
    away = torch.hypot(u, v)
    inside = (away > 18) & (away < 36)
    return v, u, 0.2 + 0.001 * (v + 60), inside, torch.where(inside, 0.8, 0.3).expand(1, 3, -1, -1)


def test_a_ring_stays_open_and_a_dent_is_closed():
    v, u, floor, inside, image = ring()
    mask = object_around(1 / (floor + 0.2 * inside)[None, None], image, 0.5 + 27 / WIDTH, 0.5)
    assert overlap(mask, inside) > 0.9
    dented = torch.where((torch.hypot(u - 27, v) < 3), 0.05, 0.2) * inside  # neither the ring's surface nor the floor
    mask = object_around(1 / (floor + dented)[None, None], image, 0.5, 0.5 + 27 / HEIGHT)
    assert mask[0, 0, 60, 80 + 27] > 0.9


@pytest.mark.slow("takes most of a second")
def test_flat_and_broken_depth():
    random = torch.Generator().manual_seed(0)
    for height, width in ((30, 40), (37, 53), (1, 1)):
        for distance in (1.0, 1.37, 1e30):  # of which not all have an inverse that resizing leaves as it is
            depth = torch.full((1, 1, height, width), distance)
            assert object_around(depth, torch.rand(1, 3, height, width, generator=random), 0.5, 0.5).mean() > 0.9


def test_an_image_that_is_not_finite_or_of_another_size_is_refused():
    depth, image, thing = room([(0.2, -0.6, 3.0, 0.4)])
    for value in (torch.nan, torch.inf):
        image[0, 1, HEIGHT // 2, WIDTH // 2] = value
        for find in (lambda: object_around(depth, image, *place(thing, 1)), lambda: object_in_box(depth, image, (0.4, 0.4, 0.8, 0.9))):
            with pytest.raises(ValueError, match=r"1 NaN or infinite values of .*in \[0, 1\]"):
                find()
    with pytest.raises(ValueError, match="image"):
        object_around(depth, torch.rand(1, 3, HEIGHT, 20), 0.5, 0.5)
