"""The effects on a device that this machine need not have: no op mixes devices, and who waits for values says how often."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.geometry.edges import matting
from depth_normal.geometry.effects import depth_mask, depth_of_field, depths, fog, lens
from depth_normal.geometry.effects.defocus import blur_by_depth
from depth_normal.geometry.effects.lights import Light, LightPlan, light_position, placed_on, received_share, towards
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.effects.relight import relief_gloss, relight, roll_off, shine
from depth_normal.geometry.effects.shadows import cast_shadow
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.options.effects import LensOptions
from depth_normal.utils import unit_vectors, vector_lengths
from tests.geometry.test_devices import DEVICE, Questions, maps, matrices, one

SUN, LAMP = Light((0.1, 0.2, 0.3), size=0.2), Light((0.1, 0.2, 0.3), is_point=True, size=0.2)


def masked():
    return Estimate(one(), Quantity.METRIC_DEPTH, mask=one() > 0.5, intrinsics=matrices(1))


def looks():
    shares = {"mask": maps() > 0, "sky": maps() > 0, "relief": maps()[..., :1, :1]}
    return {**shares, "specular": 0.2, "shadow": 0.5, "ambient_above": (0.1, 0.2, 0.3)}


# name: how it is called, and how many times it waits for the device
CASES = {
    "depths": (lambda: depths.known_depths(masked()).share(), 1),
    "mask": (lambda: depth_mask.range_mask(depths.known_depths(masked()), 0.1, 0.5, unit="metres", feather=0.1), 1),
    # The image's levels, and with them whether something is brighter than white.
    "cut-out": (lambda: matting.cut_out(one(3), one(), 5.0).colour, 1),
    "fog": (lambda: fog.add_fog(one(3), fog.fog_transmittance(one(), matrices(1), 0.1, falloff=0.1), (1, 1, 1)), 2),
    "focus": (lambda: lens.focused(masked(), one(3), LensOptions(point=(0.5, 0.5))).circle, 6),  # most for what is near the edges
    "depth of field": (lambda: depth_of_field.depth_of_field(one(3), one(), blades=5, highlights=1.0), 3),
    "towards": (lambda: towards(LAMP, maps(3)), 0),
    "received_share": (lambda: received_share(SUN, maps(), maps()[0, 0, 0, 0]), 0),
    "unit_vectors": (lambda: unit_vectors(maps(3)), 0),
    "vector_lengths": (lambda: vector_lengths(maps(3)), 0),
    "placed_on": (lambda: placed_on((1.0, 2.0, 3.0), maps()), 0),
    "roll_off": (lambda: roll_off(maps(3), maps(3)), 0),
    "relief_gloss": (lambda: relief_gloss(maps(3), torch.ones(2, 1, 1, 1, device=DEVICE)), 1),  # its noise
    "shine": (lambda: shine(maps(3)), 0),
    "blur_by_depth": (lambda: blur_by_depth(one(3), one() + 1), 1),  # what tells of its layers
    # Depth and the camera, and how many steps the rays of all images need.
    "cast_shadow": (lambda: cast_shadow(maps(), matrices(), SUN), 2),
    "cast_shadow of a network's depth": (lambda: cast_shadow(maps(), matrices(), SUN, doubt=torch.ones(2, 1, 1, 1), blur=maps()), 2),
    "cast_shadow, every fourth pixel": (lambda: cast_shadow(torch.rand(2, 1, 200, 1920, device=DEVICE), matrices(), LAMP), 2),
    # The image's least and greatest level, depth and the camera once, how long the rays of all lamps are in all images, and noise.
    "relight without shadows": (lambda: relight(maps(3), maps(3), (SUN, LAMP), depth=maps(), intrinsics=matrices()), 2),
    "relight": (lambda: relight(maps(3), maps(3), (SUN, LAMP), depth=maps(), intrinsics=matrices(), **looks()), 4),
}


@pytest.mark.slow("follows an effect without its device")
@pytest.mark.parametrize("name", CASES)
def test_it_stays_on_the_device_and_waits_no_more_than_it_must(name):
    call, waits = CASES[name]
    with FakeTensorMode(), Questions() as questions:
        found = call()
    found = found if isinstance(found, tuple) else (found,)
    assert {each.device for each in found} == {DEVICE} and questions.asked == waits


@pytest.mark.slow("takes most of a second")
def test_the_scene_of_an_image_stays_on_the_device():
    with FakeTensorMode(), Questions():
        known = Estimate(one(), Quantity.METRIC_DEPTH, normals=one(3), intrinsics=matrices(1))
        scene = lit_scene(one(3), known, (LightPlan(), LightPlan("point")), sky=True)
        assert light_position(3.0, 4.0, 1.0, matrices(1))[2] == -1.0
        lit = relight(**vars(scene))
    assert scene.edges is not None
    made = [lit, *vars(scene).values(), *vars(scene.edges).values()]
    assert {each.device for each in made if isinstance(each, torch.Tensor)} == {DEVICE} and len(scene.light) == 2
