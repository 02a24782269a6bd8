"""Depth Mask, Foreground Cut-out, Sky Mask, Fog and Depth of Field as ComfyUI calls them: what is chosen, batches, words."""

from pathlib import Path

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import effects
from depth_normal.nodes.live import KEY
from tests.nodes.scenes import depth_image, make_image

ROOT = Path(__file__).parents[2]
MASK, CUTOUT, SKY, FOG, LENS = (effects.NODE_OF[name] for name in ("mask", "cutout", "sky", "fog", "depth-of-field"))
OF_IMAGES = [node for node in effects.NODES if node is not MASK]
BOX = {"box_left": 0.2, "box_top": 0.2, "box_right": 0.8, "box_bottom": 0.8}


def metres(size=48):
    """The same, 2 m before a wall at 6 m."""
    return Estimate(6 - 4 * depth_image(size)[..., :1].movedim(-1, 1), Quantity.METRIC_DEPTH)


def test_a_mask_around_a_point_and_of_the_images_size():
    (mask,) = MASK().execute(depth=depth_image(), image=make_image(size=96), point_x=0.5, point_y=0.5, feather=0.0)
    assert mask.shape == (1, 96, 96) and mask[0, 48, 48] == 1 and mask[0, 5, 5] == 0
    (outside,) = MASK().execute(depth=depth_image(), point_x=0.05, point_y=0.05, feather=0.0)
    assert outside[0, 24, 24] == 0 and outside[0, 2, 2] == 1


@pytest.mark.slow("takes most of a second")
def test_more_points_and_points_that_are_not_in_the_mask():
    at = {"depth": depth_image(), "image": make_image(), "point_x": 0.5, "point_y": 0.5}
    (whole,) = MASK().execute(**at, more_points=" 0.05,0.05  0.9,0.05")
    assert whole.min() == 1
    boxed, without = (MASK().execute(**at, not_points=each, **BOX)[0] for each in ("", "0.5,0.5"))
    assert boxed[0, 24, 24] > 0.5 > without[0, 24, 24], "further points correct what is in a box"
    for text in ("0.5 0.5", "0.5,", "a,b"):
        with pytest.raises(ValueError, match=r"more_points holds .*; accepted: x,y of each point"):
            CUTOUT().execute(make_image(), depth=depth_image(), point_x=0.5, point_y=0.5, more_points=text)
        CUTOUT().execute(make_image(), mask=torch.ones(1, 48, 48), more_points=text)  # which takes the place of all points


def test_the_object_in_a_box_takes_the_place_of_the_point():
    (mask,) = MASK().execute(depth=depth_image(), image=make_image(), point_x=0.05, point_y=0.05, **BOX)
    truth = depth_image()[..., 0] > 0.5
    assert mask[truth].min() > 0.5 and mask[0, :8].max() == 0
    _, alpha = CUTOUT().execute(make_image(), depth=depth_image(), **BOX)
    assert alpha[0, 24, 24] == 1 and alpha[0, 4, 4] == 0


def test_a_cutout_is_of_the_whole_thing_that_stands_out_and_saved_graphs_keep_their_band():
    cutout, mask = CUTOUT().execute(make_image(), depth=depth_image(20))
    assert cutout.shape == (1, 48, 48, 4) and torch.equal(cutout[..., 3], mask)
    assert mask[0, 24, 24] > 0.9 and mask[0, 0, 0] == 0 and mask[0, -1, -1] == 0
    assert torch.equal(cutout[:, 22:26, 22:26, :3], make_image()[:, 22:26, 22:26])
    bands = [CUTOUT().execute(make_image(), depth=depth_image(20), far=far)[1] for far in (40.0, 99.0)]
    assert not torch.equal(*bands)


def test_a_cutout_takes_a_mask_of_any_size_and_keeps_what_is_transparent():
    for mask, share in ((torch.ones(1, 9, 7), 1), (torch.zeros(48, 48), 0)):
        _, alpha = CUTOUT().execute(make_image(2), mask=mask)
        assert alpha.shape == (2, 48, 48) and (alpha - share).abs().max() < 1e-3
    alpha = torch.ones(1, 48, 48, 1)
    alpha[:, :, :20], alpha[:, :, 20:24] = 0, 0.5
    cutout, mask = CUTOUT().execute(torch.cat((make_image(), alpha), -1), mask=torch.ones(48, 48))
    assert torch.equal(cutout[..., 3], mask) and (mask[0] - alpha[0, ..., 0]).abs().max() < 1e-3
    assert torch.equal(cutout[0, ..., :3], make_image()[0]), "the colours are not mixed with white"


def meadow():
    """A photograph of blue sky above a meadow, its disparity, and where the sky is."""
    is_sky = torch.arange(96).view(1, 96, 1, 1) < 40
    image = torch.where(is_sky, torch.tensor((0.6, 0.75, 0.95)), torch.tensor((0.35, 0.35, 0.25))).expand(1, 96, 128, 3)
    ramp = torch.linspace(-0.5, 1, 96).clamp(min=0.01).view(1, 1, 96, 1).expand(1, 1, 96, 128)
    return image.contiguous(), Estimate(ramp.contiguous(), Quantity.DISPARITY), is_sky[..., 0].expand(1, 96, 128)


def test_a_sky_mask_is_the_sky():
    image, estimate, is_sky = meadow()
    (mask,) = SKY().execute(image, estimate)
    assert ((mask > 0.5) == is_sky).float().mean() > 0.97
    (none,) = SKY().execute(make_image(size=96), metres(96))
    assert none.max() == 0


def test_fog_takes_a_mask_of_the_sky_in_place_of_its_own():
    image, estimate, _ = meadow()
    left = torch.zeros(1, 48, 64)
    left[..., :32] = 1
    for sky in ("auto", "none"):
        _, fog = FOG().execute(image, estimate, density=0.1, sky=sky, sky_mask=left)
        assert fog[..., :62].min() > 0.99 and fog[:, 60:, 66:].max() < 0.5
    _, half = FOG().execute(image, estimate, density=0.1, sky_mask=left / 2)
    assert 0.5 < half[0, 95, 5] < 0.6, "a mask is soft"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("node", OF_IMAGES)
def test_a_batch_is_its_images_and_maps_may_have_other_sizes(node):
    chosen = {"far": 40.0} if node is CUTOUT else {}
    both = node().execute(make_image(2), metres(20), **chosen)
    assert all(each.shape[:3] == (2, 48, 48) and torch.isfinite(each).all() for each in both)
    assert torch.allclose(both[0][1:], node().execute(make_image(2)[1:], metres(20), **chosen)[0], atol=1e-6)


@pytest.mark.parametrize("node", OF_IMAGES)
def test_constant_depth_and_one_pixel(node):
    for result in node().execute(torch.rand(1, 1, 1, 3), Estimate(torch.ones(1, 1, 1, 1), Quantity.METRIC_DEPTH)):
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("node", effects.NODES)
def test_the_page_shows_what_an_effect_makes(node):
    """By its point, or by its id: names of groups are translated before the page's script sees them."""
    script = (ROOT / "web" / "views.mjs").read_text(encoding="utf-8")
    assert "point_x" in node.INPUT_TYPES()["optional"] or f"  {node.NODE_ID}: PlainView," in script, "add it to VIEWS in the script"


def test_the_node_says_what_it_did_in_metres(comfyui):
    shown = MASK().execute(metres(), unit="metres", near=0.8, far=2.4, feather=0.0)
    assert shown["ui"]["text"] == ["mask 0.8 to 2.4 m, 11 % of the image"] and torch.equal(shown["result"][0], depth_image()[..., 0])
    shown = LENS().execute(make_image(2), metres(), focus=2, unit="metres", f_number=2)["ui"]
    assert len(shown["text"]) == len(shown[KEY]) == 2 and shown["text"][0].startswith("focus 2 m, sharp from 1.")
    assert all((comfyui / "temp" / each["image"]["filename"]).is_file() for each in shown[KEY]), "which the page shows"
    assert FOG().execute(make_image(), metres())["ui"]["text"][0].startswith("fog over 2 to 6 m, ")
