"""What the photograph shows: that right maps pass, in every convention, and that each fault is found and named."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.app.verify import coffee_scene, sanity_checks
from depth_normal.app.verify.sanity_checks import Grade
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity

METRES = 0.04
"""What a radius of the cup's rim may be."""


@pytest.fixture(scope="module")
def scene() -> Estimate:
    return coffee_scene.scene()


@pytest.fixture(scope="module")
def right(scene) -> Estimate:
    return replace(scene, depth=scene.depth * METRES, quantity=Quantity.METRIC_DEPTH)


def moved(estimate: Estimate, move) -> Estimate:
    return replace(estimate, **{name: move(value) for name, value in estimate.maps.items()})


def only_normals(estimate: Estimate) -> Estimate:
    return replace(estimate, depth=None, quantity=None)


def faults(estimate: Estimate) -> dict[str, str]:
    return {finding.name: finding.words for finding in sanity_checks.evaluate(estimate) if finding.grade is not Grade.SOUND}


def test_the_rebuilt_scene_is_where_the_photographs_outlines_are():
    """By colour: the white rim inside its outline and not outside, the red saucer inside its own."""
    image, points = coffee_scene.photograph()[0], coffee_scene.outlines()
    rim = points[:90]
    middle = rim.mean(0)

    def colours(share):
        x, y = (middle + share * (rim - middle)).round().long().unbind(1)
        return image[:, y, x]

    assert (colours(0.96)[2] > 0.5).float().mean() > 0.9 > 0.1 > (colours(1.06)[2] > 0.5).float().mean()
    assert image.shape[-2:] == (coffee_scene.HEIGHT, coffee_scene.WIDTH)


@pytest.mark.parametrize(("place", "normal"), [((550, 350), (0.07, 0.55, 0.83)), ((285, 160), (0.07, 0.55, 0.83))])
def test_table_and_coffee_face_up(place, normal, scene):
    column, row = place
    found = scene.normals[0, :, row, column]
    assert torch.allclose(found, torch.tensor(normal), atol=0.01)


def test_a_coarse_scene_is_the_fine_one_in_the_middle_of_its_cells(scene):
    assert torch.equal(coffee_scene.scene(8).depth, scene.depth[..., 4::8, 4::8])


@pytest.mark.parametrize("quantity", Quantity)
def test_right_depth_passes_in_every_quantity(right, quantity):
    depths = {
        Quantity.METRIC_DEPTH: right.depth,
        Quantity.SCALE_INVARIANT_DEPTH: right.depth * 50,
        Quantity.RELATIVE_DEPTH: (right.depth - 0.3) * 1.7,
        Quantity.DISPARITY: 500 / right.depth - 800,
    }
    assert faults(replace(right, depth=depths[quantity], quantity=quantity)) == {}


@pytest.mark.parametrize("axes", Axes)
def test_right_normals_pass_in_all_axes(right, axes):
    assert faults(Estimate(normals=convert_normals(right.normals, Axes.OPENGL, axes), axes=axes)) == {}


def test_a_model_that_knows_nothing_of_the_dark_floor_passes(right):
    dark = torch.zeros_like(right.depth, dtype=torch.bool)
    dark[..., :60, :70] = True
    assert faults(replace(right, depth=right.depth.masked_fill(dark, torch.inf), normals=right.normals.masked_fill(dark, torch.nan))) == {}


def test_swapped_near_and_far_are_found(right):
    found = faults(Estimate(depth=-1 / right.depth, quantity=Quantity.DISPARITY))
    assert found["near/far"].startswith("near and far are swapped: 0 of 12") and "this is not its depth" in found["likeness"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_axis_is_found(right, axis):
    signs = torch.ones(1, 3, 1, 1)
    signs[:, axis] = -1
    for estimate in (right, only_normals(right)):
        assert f"{'xyz'[axis]} flipped" in faults(replace(estimate, normals=estimate.normals * signs))["axes"]


def test_normals_of_swapped_channels_are_found(right):
    for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        assert "axes" in faults(replace(only_normals(right), normals=right.normals[:, order]))


FRAMES = {
    "mirrored": lambda map_: map_.flip(-1),
    "upside down": lambda map_: map_.flip(-2),
    "turned by 180 degrees": lambda map_: map_.flip(-1, -2),
    "moved by 12, 0 pixels": lambda map_: map_.roll(12, -1),
    "moved by 0, -12 pixels": lambda map_: map_.roll(-12, -2),
    "scaled by 0.8": lambda map_: sized(F.pad(map_, (75, 75, 50, 50), mode="replicate")),
    "scaled by 1.2": lambda map_: sized(map_[..., 33:-33, 50:-50]),
    "": lambda map_: sized(F.pad(map_, (0, 100, 0, 0), mode="replicate")),
}


def sized(map_):
    return F.interpolate(map_, size=(coffee_scene.HEIGHT, coffee_scene.WIDTH), mode="bilinear")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("words", FRAMES)
def test_a_wrong_frame_is_found(right, words):
    for estimate in (replace(right, normals=None), only_normals(right)):
        found = faults(moved(estimate, FRAMES[words]))
        assert found["frame"].startswith(words)


SLOPE = torch.linspace(0, 1, coffee_scene.HEIGHT)[:, None].expand(1, 1, -1, coffee_scene.WIDTH)
OTHERS = {
    "of the most likely order of all": SLOPE,
    "edges everywhere": torch.rand(SLOPE.shape, generator=torch.Generator().manual_seed(0)),
    "of another image": SLOPE + 0.5 * (torch.arange(coffee_scene.WIDTH) // 100 % 2),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_of_the_photograph_is_found(name):
    found = faults(Estimate(depth=OTHERS[name], quantity=Quantity.DISPARITY))
    assert {"near/far", "frame"} <= found.keys() and ("edges are not in it" in found["frame"] or name == "of another image")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_map_is_wrong_in_all_it_can_be(value):
    flat = torch.full((1, 1, coffee_scene.HEIGHT, coffee_scene.WIDTH), value)
    assert faults(Estimate(depth=flat, quantity=Quantity.DISPARITY)).keys() == {"near/far", "likeness", "frame"}
    assert "the same everywhere" in faults(Estimate(depth=flat, quantity=Quantity.DISPARITY))["near/far"]
    assert faults(Estimate(normals=F.normalize(flat.expand(-1, 3, -1, -1) + 1))).keys() >= {"axes", "frame"}


@pytest.mark.parametrize(("scale", "grade"), [(1, Grade.SOUND), (0.2, Grade.DOUBTFUL), (20, Grade.DOUBTFUL), (1000, Grade.WRONG)])
def test_metres_are_plausible_for_a_cup_on_a_table(right, scale, grade):
    found = sanity_checks.distance(replace(right, depth=right.depth * scale))
    assert found.grade is grade and f"the cup is at {0.2943 * scale:.2f} m" in found.words
    if scale == 20:
        assert sanity_checks.distance(replace(right, depth=right.depth * scale), sanity_checks.METRES_OUTDOORS).grade is Grade.SOUND


def test_depth_up_to_scale_may_have_any_unit(right):
    found = replace(right, depth=right.depth * 1000, quantity=Quantity.SCALE_INVARIANT_DEPTH)
    names = [finding.name for finding in sanity_checks.evaluate(found)]
    assert "near/far" in names and "scale" not in names
