import copy
import functools

import pytest
import torch
from safetensors.torch import load_file, save_file

import depth_normal
from depth_normal.annotators.networks.configs import TINY_2
from depth_normal.annotators.networks.tiny import COUNTER, TinyNetwork
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.tiny import TinyAnnotator, sky_of, with_far_sky
from depth_normal.geometry.assumptions import assumed_depth
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.sky import predicted_sky, sky_alpha
from depth_normal.model_loader.weights.integrity import bundled_path
from depth_normal.utils import check_images, images_to_rgb, resize_image, resize_map

SPEC = MODELS["tiny"]


@functools.cache
def random_state(seed=0):
    torch.manual_seed(seed)
    return {key: value for key, value in TinyNetwork().state_dict().items() if not key.endswith(COUNTER)}


@functools.cache
def annotator():
    return TinyAnnotator.build(SPEC, {"network": random_state()}, torch.float32)


def test_without_normals_the_depth_and_the_sky_are_the_same(shipped):
    image = torch.rand(1, 3, 60, 80)
    whole, depth_alone = (shipped.annotator.estimate(image, 64, normals=normals) for normals in (True, False))
    assert whole.normals is not None and depth_alone.normals is None
    assert torch.equal(whole.depth, depth_alone.depth) and torch.equal(whole.mask, depth_alone.mask)


@pytest.mark.parametrize("shape", [(270, 480), (431, 300)])
def test_images_reduced_before_give_the_same_maps(shape):
    images, tiny = torch.rand(1, 3, *shape), annotator()
    size = tiny.reduced_size(*shape, 64)
    assert size is not None and max(size) < max(shape)
    with torch.inference_mode():
        whole, reduced = (tiny.estimate(each, 64) for each in (images, resize_map(images, *size)))
    torch.testing.assert_close(reduced.depth, whole.depth, atol=1e-3 * float(whole.depth.std()), rtol=0)
    torch.testing.assert_close(reduced.normals, whole.normals, atol=1e-3, rtol=0)
    assert tiny.reduced_size(100, 200, 64) is None, "the maps are larger"
    assert tiny.for_input_size(64, 64).reduced_size(*shape, 64) is None, "the shape would be lost"


def test_folded_normalisations_change_no_map():
    torch.manual_seed(0)
    plain = TinyNetwork(TINY_2)
    image = torch.rand(2, 3, 64, 96)
    torch.nn.init.normal_(plain.fine.last.weight)
    for _ in range(3):
        plain(image)  # means and variances that are not 0 and 1
    built = TinyAnnotator.build(
        SPEC, {"network": {key: value for key, value in plain.state_dict().items() if not key.endswith(COUNTER)}}, torch.float32
    )
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in built.network.modules())
    plain.mirrored = built.network.mirrored
    with torch.inference_mode():
        expected, found = plain.eval()(image), built.network(image)
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


@functools.cache
def second_state(sky_bias=None):
    torch.manual_seed(0)
    network = TinyNetwork(TINY_2)
    if sky_bias is not None:
        torch.nn.init.constant_(network.fine.sky.bias, sky_bias)
    return {key: value for key, value in network.state_dict().items() if not key.endswith(COUNTER)}


@pytest.mark.parametrize(("bias", "clear"), [(-3.0, True), (3.0, False)])
def test_weights_of_the_second_version_bring_a_mask(bias, clear):
    tiny = TinyAnnotator.build(SPEC, {"network": second_state(bias)}, torch.float32)
    with torch.inference_mode():
        estimate = tiny.estimate(torch.rand(2, 3, 50, 70), 64)
    assert estimate.depth is not None
    assert estimate.mask is not None
    assert estimate.depth.shape == estimate.mask.shape == (2, 1, 128, 192)
    assert torch.isfinite(estimate.depth).all()
    assert bool(estimate.mask.all()) is clear
    assert bool(estimate.mask.any()) is clear


ROWS, COLUMNS = (each.expand(1, 1, 128, 192) for each in (torch.arange(128).view(1, 1, -1, 1), torch.arange(192).view(1, 1, 1, -1)))


def sky_in(image, share):
    """What is taken for sky (1, 1, 128, 192) where the network says this share of sky."""
    tiny = TinyAnnotator.build(SPEC, {"network": second_state()}, torch.float32)
    tiny.predict = lambda inputs, numbers=(): (torch.zeros(1, 1, 128, 192), torch.ones(1, 3, 128, 192), share)
    with torch.inference_mode():
        return ~tiny.estimate(image.expand(1, 3, -1, -1).contiguous(), 128).resized(128, 192).mask


def test_the_told_sky_reaches_the_border_and_the_images_own_edge():
    """The network's answer is dim around the image and soft at the ridge; the sky begins where the image brightens."""
    # three pixels too low, and its threshold is passed over eight
    share = ((64 + 4 - ROWS.float()) / 8).clamp(0, 1)
    share[..., :2, :] = share[..., :2] = share[..., -2:] = 0.3
    assert torch.equal(sky_in(torch.where(ROWS < 61, 0.9, 0.3), share), ROWS < 61)


def test_a_dark_part_of_a_thing_with_a_bright_one_is_no_sky():
    """A lantern before a dusky sky: brightness alone says that what is darker than the lamp is sky."""
    lamp = ((ROWS - 60).abs() < 14) & ((COLUMNS - 96).abs() < 14)
    top = (ROWS >= 30) & (ROWS <= 46) & ((COLUMNS - 96).abs() < 6)
    things = lamp | top | (ROWS >= 110)
    sky = sky_in(torch.where(lamp, 0.95, torch.where(things, 0.05, 0.4)), torch.where(things, 0.02, 0.9))
    assert not sky[top | lamp].any() and sky[~things].float().mean() > 0.98


def test_the_sky_is_as_far_as_it_is_said_to_be_where_the_land_is_nearer():
    disparity = torch.full((2, 1, 64, 64), 5.0)
    clear = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    clear[:, :, :32] = False
    disparity[:, :, :16], disparity[:, :, 16:32] = -2.0, -1.0
    disparity[1, :, 32:48] = -3.0
    farther = with_far_sky(disparity, clear)
    near, far = farther[0, 0, :32].unique(), farther[1, 0, :32].unique()
    assert near.numel() == far.numel() == 1
    assert near.item() == -1.5 and far.item() == -3
    assert torch.equal(farther[:, :, 32:], disparity[:, :, 32:])


def test_the_sky_is_one_value_as_far_as_anything_gets():
    disparity = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    clear = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    clear[0, :, :20] = False
    farther = with_far_sky(disparity, clear)
    assert farther[0, 0, :20].unique().numel() == 1
    assert farther[0].amin() == farther[0, 0, 0, 0] < 0.1
    assert torch.equal(farther[1], disparity[1]), "without sky nothing changes"
    assert torch.equal(with_far_sky(disparity, ~clear)[1], disparity[1]), "nor where all is sky"
    estimate = Estimate(farther, Quantity.DISPARITY, mask=clear)
    depth = assumed_depth(estimate)
    far, near = depth[0][clear[0]].amax(), depth[0][clear[0]].amin()
    assert far / near > 10, "the rule of landscapes"


@pytest.fixture(scope="module")
def shipped():
    """The pack's own weights, loaded as everybody does."""
    return depth_normal.load_model("tiny", "float32", "cpu")


def test_images_give_the_same_bits_however_they_lie_in_memory(shipped):
    """A worker's copy of an image lies otherwise than what was read from a file; the files written must be the same."""
    image = torch.rand(1, 3, 240, 320, generator=torch.Generator().manual_seed(0))
    maps = [shipped.estimate(image.contiguous(memory_format=layout), size=96) for layout in (torch.contiguous_format, torch.channels_last)]
    assert torch.equal(maps[0].depth, maps[1].depth) and torch.equal(maps[0].normals, maps[1].normals)


SURE, UNSURE, FAINT = (
    torch.tensor(rows).view(1, 1, 10, 1).expand(1, 1, 10, 10)
    for rows in (
        [0.9, 0.9, 0.6, 0.6, 0.6, 0.3, 0.3, 0, 0, 0],
        [0.9, 0.7, 0.6, 0.6, 0.6, 0.3, 0.3, 0, 0, 0],
        [0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.3, 0, 0, 0],
    )
)
GREY, BLUE, BLUE_EVERYWHERE = (
    torch.tensor(rows).view(1, 3, -1, 1).expand(1, 3, -1, 20)
    for rows in ([[0.5] * 20] * 3, [[0.2] * 14 + [0.3] * 6, [0.3] * 20, [0.4] * 14 + [0.3] * 6], [[0.2] * 20, [0.3] * 20, [0.4] * 20])
)


@pytest.mark.parametrize(
    ("share", "image", "rows"),
    [
        (SURE, GREY, 5),
        (SURE, BLUE, 5),
        (UNSURE, GREY, 0),  # the sure part is a fifth of the sky, and not more
        (UNSURE, BLUE, 7),
        (UNSURE, BLUE_EVERYWHERE, 0),
        (FAINT, BLUE, 0),
        (torch.full_like(SURE, 0.6), BLUE, 0),  # it would be all of the image
        (torch.zeros_like(SURE), BLUE, 0),
        (torch.ones_like(SURE), BLUE, 10),
    ],
)
def test_a_sky_of_which_the_network_is_unsure_is_blue(share, image, rows):
    expected = (torch.arange(10) < rows).view(1, 1, 10, 1).expand(1, 1, 10, 10)
    assert torch.equal(sky_of(share, image), expected)
    together = sky_of(torch.cat((SURE, share, UNSURE)), torch.cat((GREY, image, BLUE)))
    assert torch.equal(together[1:2], expected), "whatever else is in the batch"


@pytest.mark.parametrize(("colour", "is_sky"), [((0.77, 0.83, 0.69), False), ((0.75, 0.89, 0.87), True), ((0.94, 0.94, 0.88), True)])
def test_a_green_wall_is_no_sky_however_sure_the_network_is(colour, is_sky):
    """The mean colours of a wall behind a kitten, and of two skies, of photographs."""
    image = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 20, 20)
    sky = sky_of(SURE.expand(2, -1, -1, -1), torch.cat((image, BLUE)))
    assert bool(sky[0].any()) == is_sky and sky[1].any()


def test_a_thing_before_a_sky_of_which_the_network_is_unsure_is_no_sky():
    """What is suspected without being likely has to be blue or pale; a speck goes with what is around it."""
    share = UNSURE.repeat_interleave(8, -2).repeat_interleave(8, -1)
    image = BLUE.repeat_interleave(8, -2).repeat_interleave(8, -1)
    image[..., :112, :32], image[..., :112, 128:] = 0.3, 0.85  # a dark thing, and haze
    image[..., 96, 64], image[..., 96, 8] = 0.3, image[0, :, 0, 64]  # a dark speck in the blue, and a blue one in the thing
    sky = sky_of(share, image)[0, 0]
    assert sky[:37].all(), "what is likely sky"
    assert not sky[43:56, :14].any()
    assert sky[43:53, 18:].all()
    assert not sky[57:].any()


@pytest.mark.slow("takes most of a second")
def test_a_sky_at_dusk_is_found_and_a_table_has_none(shipped):
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photographs")
    images = torch.cat([resize_image(images_to_rgb(check_images(each())), 427, 640) for each in (data.rocket, data.coffee)])
    estimate = shipped.estimate(images)
    dusk, table = sky_alpha(images, estimate) > 0.5
    assert dusk[0, :220, 180:290].float().mean() > 0.95, "all between the masts"
    assert not dusk[0, 400:].any(), "the ground"
    assert dusk[0, 135:160, 316:332].float().mean() < 0.1, "the rocket's tip"
    assert not table.any() and not predicted_sky(estimate)[1].any()
    assert torch.equal(estimate.mask[:1], shipped.estimate(images[:1]).mask), "whatever else is in the batch"


def test_normals_have_no_band_along_the_border(shipped):
    """A plain grey image: over the outermost pixels normals change as evenly as further inside."""
    normals = shipped.estimate(torch.full((1, 3, 224, 224), 0.5)).normals[0]
    across = normals[..., 100:-100].diff(2, dim=-2).abs().amax((0, 2))
    assert across[:24].max() < 3 * across[24:-24].max().clamp(min=1e-3), (across[:24].max(), across[24:-24].max())


def test_weights_from_before_the_scene_had_a_layer_still_load(tmp_path):
    state = load_file(bundled_path(MODELS["tiny"].file))
    save_file({name: value for name, value in state.items() if not name.startswith("fine.scene.")}, tmp_path / "own.safetensors")
    estimate = depth_normal.load_model("tiny", weights=tmp_path / "own.safetensors").estimate(torch.full((1, 3, 64, 96), 0.5))
    assert estimate.mask is not None


def test_its_depth_steps_where_the_image_does_and_walls_stay_plain():
    model = depth_normal.load_model("tiny", device="cpu")
    v, u = torch.meshgrid(torch.linspace(0, 1, 480), torch.linspace(0, 1, 640), indexing="ij")
    ball = (v - 0.45).square() + (1.33 * (u - 0.5)).square() < 0.09
    image = torch.where(ball, 0.75 - 0.4 * v, torch.where(v > 0.7, 0.35, 0.2)).expand(1, 3, -1, -1).contiguous()
    sharp, plain = (model.estimate(image, refine=refine).depth[0, 0] for refine in (None, False))
    row, edge = 216, 176  # where the ball's left side is
    within = [(each[row, edge + 2] - each[row, edge - 3]) / (each[row, edge + 30] - each[row, edge - 30]) for each in (sharp, plain)]
    assert within[0] > 0.7 > within[1] + 0.1
    torch.testing.assert_close(sharp[40:100, 40:100], plain[40:100, 40:100], rtol=0, atol=0.03 * float(plain.max() - plain.min()))


def photo_with_sky(height, width):
    """A blue gradient above a hill, texture below it."""
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    texture = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    land = 0.4 * resize_image(texture, height, width) + torch.tensor((0.15, 0.2, 0.08)).view(3, 1, 1)
    return torch.where(v < 0.5 + 0.06 * torch.sin(9 * u), torch.stack((0.35 + 0.4 * v, 0.6 + 0.3 * v, 0.95 - 0.05 * v)), land)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [(241, 357), (480, 460)], ids=["smaller than its maps", "larger"])
def test_the_edge_network_changes_neither_normals_nor_sky(shipped, size):
    image = photo_with_sky(*size)
    sharp, plain = (shipped.estimate(image, refine=refine) for refine in (None, False))
    assert 0.3 < plain.mask.float().mean() < 0.7 and not torch.equal(sharp.depth, plain.depth)
    assert torch.equal(sharp.mask, plain.mask)
    torch.testing.assert_close(sharp.normals, plain.normals, rtol=0, atol=1e-5)


def test_edges_are_the_images_with_an_engine_too():
    annotator, image = depth_normal.load_model("tiny", device="cpu").annotator, torch.rand(2, 3, 60, 80)
    graph = annotator.graph()
    by_engine = annotator.with_engine(lambda pixels: graph.module(pixels))
    for sharp in (True, False):
        found, expected = (each.estimate(image, 64, sharp=sharp).depth for each in (by_engine, annotator))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=0.1)


def test_other_weights_have_no_head_that_was_trained_for_these(small_tiny, tmp_path):
    save_file(load_file(bundled_path(MODELS["tiny"].file)), tmp_path / "own.safetensors")
    own, image = depth_normal.load_model("tiny", weights=tmp_path / "own.safetensors"), torch.rand(1, 3, 60, 80)
    published = depth_normal.load_model("tiny")
    assert torch.equal(own.estimate(image).depth, published.estimate(image, refine=False).depth)
    assert not torch.equal(own.estimate(image).depth, published.estimate(image).depth)


def test_frames_of_a_video_keep_the_plain_map(small_tiny):
    model, frames = depth_normal.load_model("tiny"), torch.rand(2, 3, 60, 80)
    (found,) = model.estimate_video([frames], at_network_size=True)
    (expected,) = model.varied(lambda annotator: _without_head(annotator)).estimate_video([frames], at_network_size=True)
    assert torch.equal(found.depth, expected.depth)


def _without_head(annotator):
    found = copy.copy(annotator)
    found.network = copy.copy(annotator.network)
    found.network.sharp = None
    return found


def test_a_map_that_shrinks_to_its_photo_is_averaged(shipped):
    """Where authors pick by bilinear weights. Prints how far apart both are, of the map's range; docs/parity.md has the figures."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photographs")
    for name in ("chelsea", "coffee", "astronaut"):
        photo = torch.from_numpy(getattr(data, name)()).movedim(-1, 0)[None] / 255
        small = resize_image(photo, 90, 120)
        whole = shipped.annotator.infer_resized(shipped.annotator.resize_images(small, SPEC.default_size))
        picked = torch.nn.functional.interpolate(whole.depth, (90, 120), mode="bilinear")
        apart = (whole.resized(90, 120).depth - picked).abs() / (picked.max() - picked.min())
        print(f"{name}: {whole.width}x{whole.height} to 120x90: {apart.max():.1e} at most, {apart.mean():.1e} on average")
        assert 0 < apart.mean() < 5e-3 and apart.max() < 0.2
