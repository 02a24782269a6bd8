"""Depth Mask, Foreground Cut-out, Fog and Depth of Field as ComfyUI calls them: contract, any maps, batches, errors, words."""

from pathlib import Path

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import effects

ROOT = Path(__file__).parents[2]
MASK, CUTOUT, SKY, FOG, LENS = (effects.NODE_OF[name] for name in ("mask", "cutout", "sky", "fog", "depth-of-field"))
OF_IMAGES = [node for node in effects.NODES if node is not MASK]


def make_image(batch=1, size=48):
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(0))


def depth_image(size=48, batch=1):
    """A near square in the middle of a far wall, near = white."""
    image = torch.zeros(batch, size, size, 3)
    image[:, size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    return image


def metres(size=48):
    """The same, 2 m before a wall at 6 m."""
    return Estimate(6 - 4 * depth_image(size)[..., :1].movedim(-1, 1), Quantity.METRIC_DEPTH)


def test_a_mask_between_metres():
    (mask,) = MASK().execute(metres(), unit="metres", near=1.0, far=3.0, feather=0.0)
    assert mask.shape == (1, 48, 48) and torch.equal(mask, depth_image()[..., 0])
    (inverted,) = MASK().execute(metres(), unit="metres", near=1.0, far=3.0, feather=0.0, invert=True)
    assert torch.equal(inverted, 1 - mask)


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
    stripe = torch.full((1, 48, 48, 3), 0.5)
    stripe[:, :, 32:] = 0.8
    both = {**at, "image": stripe, "select": "object", "more_points": "0.9,0.5"}
    alone, without = (MASK().execute(**both, not_points=each)[0] for each in ("", "0.9,0.95"))
    assert alone[0, [24, 2, 46], [24, 43, 43]].min() > 0.99
    assert without[0, 24, 24] > 0.99 and without[0, 46, 43] < 0.01
    box = {"box_left": 0.2, "box_top": 0.2, "box_right": 0.8, "box_bottom": 0.8}
    boxed, without = (MASK().execute(**at, not_points=each, **box)[0] for each in ("", "0.5,0.5"))
    assert boxed[0, 24, 24] > 0.5 > without[0, 24, 24], "further points correct what is in a box"
    for text in ("0.5 0.5", "0.5,", "a,b"):
        with pytest.raises(ValueError, match=r"more_points holds .*; accepted: x,y of each point"):
            CUTOUT().execute(make_image(), depth=depth_image(), point_x=0.5, point_y=0.5, more_points=text)
        CUTOUT().execute(make_image(), mask=torch.ones(1, 48, 48), more_points=text)  # which takes the place of all points


def test_the_object_in_a_box_takes_the_place_of_the_point():
    box = {"box_left": 0.2, "box_top": 0.2, "box_right": 0.8, "box_bottom": 0.8}
    (mask,) = MASK().execute(depth=depth_image(), image=make_image(), point_x=0.05, point_y=0.05, **box)
    truth = depth_image()[..., 0] > 0.5
    assert mask[truth].min() > 0.5 and mask[0, :8].max() == 0
    _, alpha = CUTOUT().execute(make_image(), depth=depth_image(), **box)
    assert alpha[0, 24, 24] == 1 and alpha[0, 4, 4] == 0
    with pytest.raises(ValueError, match="the box lacks box_right, box_bottom"):
        MASK().execute(depth=depth_image(), box_left=0.2, box_top=0.2)
    with pytest.raises(ValueError, match=r"left smaller than right, top smaller than bottom, all of them 0 to 1 of the image$"):
        MASK().execute(depth=depth_image(), **{**box, "box_right": 0.1})


def test_a_cutout_without_a_choice_is_of_the_whole_thing_that_stands_out():
    cutout = CUTOUT()
    mask = cutout.execute(make_image(), depth=depth_image(20))[1][0]
    assert mask[24, 24] > 0.9 and mask[0, 0] == 0 and mask[-1, -1] == 0
    band = cutout.execute(make_image(), depth=depth_image(20), far=40.0)[1][0]
    assert not torch.equal(band, cutout.execute(make_image(), depth=depth_image(20), far=99.0)[1][0]), "saved graphs keep their band"


def test_a_cutout_has_four_channels_and_takes_a_mask_of_any_size():
    cutout, mask = CUTOUT().execute(make_image(), depth=depth_image(20))
    assert cutout.shape == (1, 48, 48, 4) and torch.equal(cutout[..., 3], mask)
    assert torch.equal(cutout[:, 22:26, 22:26, :3], make_image()[:, 22:26, 22:26]) and mask[0, 0, 0] == 0
    _, mask = CUTOUT().execute(make_image(2), mask=torch.ones(1, 9, 7))
    assert mask.shape == (2, 48, 48) and (mask > 0.999).all()
    _, mask = CUTOUT().execute(make_image(), mask=torch.zeros(48, 48))
    assert (mask < 1e-3).all(), "an empty mask is an empty cut-out"


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
    with pytest.raises(ValueError, match="sky_mask is black and 64x64, as Load Image gives it"):
        FOG().execute(image, estimate, sky_mask=torch.zeros(1, 64, 64))
    _, half = FOG().execute(image, estimate, density=0.1, sky_mask=left / 2)
    assert 0.5 < half[0, 95, 5] < 0.6, "a mask is soft"


def test_fog_hides_the_far_more_than_the_near():
    fogged, thickness = FOG().execute(make_image(), metres(), density=0.3, sky="none")
    assert thickness[0, 0, 0] > thickness[0, 24, 24] > 0.4 and fogged.shape == (1, 48, 48, 3)
    (clear, none) = FOG().execute(make_image(), metres(), density=0.0)
    assert torch.equal(clear, make_image()) and none.max() == 0


def test_what_is_at_the_point_stays_sharp():
    (soft,) = LENS().execute(make_image(), depth=depth_image(), point_x=0.5, point_y=0.5, blur=15)
    assert torch.equal(soft[:, 18:30, 18:30], make_image()[:, 18:30, 18:30])
    assert soft[:, :12].std() < 0.5 * make_image()[:, :12].std()


def test_hdr_stays_hdr_and_other_images_stay_within_white():
    bright = make_image() * 4
    (soft,) = LENS().execute(bright, depth=depth_image(), focus=0, blur=15)
    assert soft.max() > 1.5
    (soft,) = LENS().execute(make_image(), depth=depth_image(), focus=0, blur=15, highlights=4)
    assert soft.max() <= 1
    fogged, _ = FOG().execute(bright, metres(), density=0.01)
    assert fogged.max() > 1.5, "light that shines through stays brighter than white"
    assert FOG().execute(make_image(), metres(), density=0.3)[0].max() <= 1


def test_what_is_transparent_in_the_image_stays_so():
    alpha = torch.ones(1, 48, 48, 1)
    alpha[:, :, :20], alpha[:, :, 20:24] = 0, 0.5
    cutout, mask = CUTOUT().execute(torch.cat((make_image(), alpha), -1), mask=torch.ones(48, 48))
    assert torch.equal(cutout[..., 3], mask) and (mask[0] - alpha[0, ..., 0]).abs().max() < 1e-3
    assert torch.equal(cutout[0, ..., :3], make_image()[0]), "the colours are not mixed with white"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("node", OF_IMAGES)
def test_batches_and_maps_of_other_sizes(node):
    results = node().execute(make_image(2), depth=depth_image(30))
    assert all(each.shape[:3] == (2, 48, 48) and torch.isfinite(each).all() for each in results)
    chosen = {"far": 40.0} if node is CUTOUT else {}
    alone = node().execute(make_image(2)[1:], metres(20), **chosen)
    both = node().execute(make_image(2), metres(20), **chosen)
    assert torch.allclose(both[0][1:], alone[0], atol=1e-6)


@pytest.mark.parametrize("node", OF_IMAGES)
def test_constant_depth_and_one_pixel(node):
    for result in node().execute(torch.rand(1, 1, 1, 3), Estimate(torch.ones(1, 1, 1, 1), Quantity.METRIC_DEPTH)):
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("node", effects.NODES)
def test_the_page_shows_what_an_effect_makes(node):
    """By its point, or by its id: names of groups are translated before the page's script sees them."""
    script = (ROOT / "web" / "depth_normal.js").read_text(encoding="utf-8")
    assert "point_x" in node.INPUT_TYPES()["optional"] or f"  {node.NODE_ID}: PlainView," in script, "add it to VIEWS in the script"


def test_an_f_number_without_metres_is_refused():
    with pytest.raises(ValueError, match="f-number needs depth in metres"):
        LENS().execute(make_image(), depth=depth_image(), f_number=2.0)


def test_the_node_says_what_it_did_in_metres(monkeypatch):
    said = {}

    def shown_on_node(result, payloads, **ui):
        said.update(ui)
        return result

    monkeypatch.setattr(effects, "shown_on_node", shown_on_node)
    MASK().execute(metres(), unit="metres", near=0.8, far=2.4, feather=0.0)
    assert said["text"] == ["mask 0.8 to 2.4 m, 11 % of the image"]
    LENS().execute(make_image(2), metres(), focus=2, unit="metres", f_number=2)
    assert len(said["text"]) == 2 and said["text"][0].startswith("focus 2 m, sharp from 1.")
    FOG().execute(make_image(), metres())
    assert said["text"][0].startswith("fog over 2 to 6 m, ")
