"""One pass over the whole and tiles at full size, by networks whose every answer is known, and by the model of the pack."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from depth_normal.annotators.base import Annotator
from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader import load_model
from depth_normal.model_loader.inference import tiles
from depth_normal.model_loader.inference.stages import InferenceOptions
from depth_normal.model_loader.inference.tiles import AUTO_MOST, estimate_in_tiles, mosaics, shown, tiles_along
from depth_normal.options.estimate import MOST_TILES
from depth_normal.utils import resize_map
from tests.geometry.test_devices import DEVICE, Questions

SIDE = 48


def sized(height, width):
    """As most networks: the shorter side `SIDE`, aspect kept."""
    scale = SIDE / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def make_image(height, width):
    """An image whose red is its disparity: a floor, and posts before it; green is detail of one pixel."""
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    posts = ((u * 7).frac() < 0.3) & (v > 0.2)
    red = 0.2 + 0.2 * v + torch.where(posts, 0.4 + 0.1 * u, 0)
    return torch.stack((red, v, u))[None]


class Network:
    """Says of each image its red channel at the network's size, each time in another scale and shift, as an affine network does."""

    def __init__(self, quantity=Quantity.DISPARITY, affine=True, **more):
        self.quantity, self.affine, self.more = quantity, affine, more
        self.asked = []

    def __call__(self, images, fov):
        for each in images.split(2):  # in parts, as the memory allows
            small = resize_map(each, *sized(*each.shape[-2:]))
            disparity = small[:, :1]
            for _ in each:
                self.asked.append((tuple(each.shape[-2:]), fov))
            count = len(self.asked)
            if self.affine:
                disparity = (1 + 0.3 * math.sin(count)) * disparity + 0.2 * math.cos(count)
            depth = 1 / disparity if self.quantity is Quantity.METRIC_DEPTH else disparity
            more = {name: function(small) for name, function in self.more.items()}
            yield Estimate(depth, self.quantity, **more)


def changed(network, change):
    """A network whose estimates are what `change` makes of another's."""
    return lambda images, fov: map(change, network(images, fov))


def run(network, image, tiles, **more):
    return estimate_in_tiles(network, sized, image, tiles, **more)


def near(found, image, quantity=Quantity.DISPARITY):
    """Mean error of the red channel, after one scale and shift."""
    red = resize_map(image[:, :1], found.height, found.width)
    said = 1 / found.depth if quantity is Quantity.METRIC_DEPTH else found.depth
    said = (said - said.mean()) / said.std() * red.std() + red.mean()
    return float((said - red).abs().mean())


@pytest.mark.parametrize("tiles", [(2, 2), (2, 3), (1, 4), (5, 6)])
def test_tiles_in_any_scale_and_shift_are_blended_back_to_the_truth(tiles):
    image = make_image(150, 203)
    found = run(Network(), image, tiles)
    one_pass = next(iter(Network()(image, 0.0))).resized(150, 203)
    assert near(found, image) < 0.5 * near(one_pass, image)
    assert near(found, image) < 0.03


def test_metres_stay_the_whole_passs_metres_and_relative_depth_is_brought_in_its_own_space():
    image = make_image(120, 160)
    found = run(Network(Quantity.METRIC_DEPTH, affine=False), image, (3, 3))
    truth = 1 / resize_map(image[:, :1], found.height, found.width)
    assert found.quantity is Quantity.METRIC_DEPTH
    assert ((found.depth - truth).abs() / truth).mean() < 0.03
    assert (found.depth > 0).all()
    assert near(run(Network(Quantity.RELATIVE_DEPTH), image, (3, 3)), image) < 0.02


def test_tiles_get_their_part_of_the_field_of_view():
    image = make_image(120, 160)

    def camera(small):
        return intrinsics_from_fov(60.0, *small.shape[-2:], batch=len(small))

    network = Network(intrinsics=camera)
    found = run(network, image, (2, 2), fov=60.0)
    (_, whole), *parts = network.asked
    assert whole == 60.0
    tile = math.ceil(160 / (2 - 1 / 3))
    focal_length = 160 / 2 / math.tan(math.radians(30))
    for _, fov in parts:
        assert fov == pytest.approx(2 * math.degrees(math.atan(tile / 2 / focal_length)), abs=0.5)
    expected = intrinsics_from_fov(60.0, found.height, found.width)
    torch.testing.assert_close(found.intrinsics, expected, atol=0.02, rtol=0.01)
    alone = Network()
    run(alone, image, (2, 2))
    assert {fov for _, fov in alone.asked} == {0.0}


def test_normals_are_unit_vectors_and_the_axes_stay():
    def normals(small):
        return F.normalize(torch.cat((small[:, 1:] - 0.5, torch.ones_like(small[:, :1])), 1), dim=1)

    image = make_image(120, 160)
    found = run(changed(Network(normals=normals), partial(replace, axes=Axes.SCANNET)), image, (3, 3))
    assert found.axes is Axes.SCANNET
    torch.testing.assert_close(found.normals.norm(dim=1), torch.ones(1, found.height, found.width), atol=1e-5, rtol=0)
    truth = normals(resize_map(image, found.height, found.width))
    assert torch.rad2deg((found.normals * truth).sum(1).clamp(-1, 1).acos()).mean() < 2


def test_normals_alone_are_blended():
    network = changed(Network(), lambda part: Estimate(normals=F.normalize(part.depth.expand(-1, 3, -1, -1), dim=1)))
    found = run(network, make_image(100, 100), (2, 2))
    assert found.depth is None and found.quantity is None and found.normals is not None


@pytest.mark.parametrize("held", [1e6, torch.nan], ids=["sky", "holes"])
def test_what_is_masked_stays_out_and_what_it_holds_spoils_nothing(held):
    def masked(part):
        outside = part.depth > 1 / 0.26
        return replace(part, depth=torch.where(outside, held, part.depth), mask=~outside)

    image = make_image(120, 160)
    found = run(changed(Network(Quantity.METRIC_DEPTH, affine=False), masked), image, (3, 3))
    red = resize_map(image[:, :1], found.height, found.width)
    told = (red > 0.29) | (red < 0.23)
    assert (found.mask == (red > 0.26))[told].float().mean() > 0.99
    clear = red > 0.29
    assert ((found.depth * red - 1).abs()[clear]).mean() < 0.05 and torch.isfinite(found.depth[found.mask]).all()
    if held == 1e6:
        assert (found.depth[red < 0.23] > 1e5).float().mean() > 0.99, "sky is far, for whoever does not ask the mask"


def test_tiles_add_no_sky_where_the_whole_image_has_none():
    inner = Network()

    def network(images, fov):
        for part in inner(images, fov):
            small = images.shape[-1] < 100
            yield Estimate(part.depth, part.quantity, mask=(part.depth > part.depth.median()) | (not small))

    found = run(network, image := make_image(120, 160), (3, 3))
    assert found.mask.all() and near(found, image) < 0.03


@pytest.mark.parametrize("quantity", [Quantity.DISPARITY, Quantity.METRIC_DEPTH])
def test_masks_that_contradict_each_other_spoil_nothing(quantity):
    inner, image = Network(quantity, affine=quantity is Quantity.DISPARITY), make_image(200, 260)

    def masked(part):
        noise = torch.rand(part.batch, 1, 4, 5, generator=torch.Generator().manual_seed(len(inner.asked)))
        return replace(part, mask=resize_map(noise, part.height, part.width) > 0.6)

    found = run(changed(inner, masked), image, (4, 5))
    red = resize_map(image[:, :1], found.height, found.width)
    counted = found.depth[found.mask]
    assert found.mask.any() and torch.isfinite(counted).all()
    if quantity is Quantity.METRIC_DEPTH:
        assert ((1 / counted - red[found.mask]).abs() < 0.25).float().mean() > 0.97
        assert counted.max() < 10


@pytest.mark.parametrize(("height", "width", "tiles"), [(7, 5, (2, 2)), (1, 300, (1, 4)), (301, 97, (3, 1)), (53, 51, (2, 2))])
def test_odd_sizes_are_covered(height, width, tiles):
    found = run(Network(), make_image(height, width), tiles)
    assert found.depth.shape[0] == 1 and torch.isfinite(found.depth).all()
    assert found.height <= height and found.width <= width


def test_a_mosaic_is_no_larger_than_what_the_network_says_of_its_tiles():
    found = run(Network(), make_image(600, 800), (2, 2))
    assert SIDE < found.height < 3 * SIDE


def test_many_tiles_are_brought_to_fewer_first():
    assert mosaics(2, 2) == [(2, 2)]
    assert mosaics(3, 1) == [(3, 1)]
    assert mosaics(3, 4) == [(2, 2), (3, 4)]
    steps = mosaics(48, 64)
    assert steps[-1] == (48, 64) and all(after[1] / before[1] <= 3.2 for before, after in zip([(1, 1), *steps], steps, strict=False))


def test_auto_takes_tiles_of_about_the_networks_size():
    assert tiles_along("auto", 48, 64, sized) == (1, 1)
    assert tiles_along("auto", 55, 73, sized) == (1, 1)
    assert tiles_along("auto", 96, 128, sized) == (2, 2)
    assert tiles_along("auto", 3000, 4000, sized) == (AUTO_MOST - 1, AUTO_MOST)
    assert tiles_along("auto", 4000, 3000, sized) == (AUTO_MOST, AUTO_MOST - 1)
    assert tiles_along(8, 20, 20, sized) == (1, 1), "smaller than a tile"
    assert tiles_along(8, 96, 96, sized) == (4, 4)


@pytest.mark.parametrize(("given", "meant"), [(None, 0), (0, 0), (1, 0), ("off", 0), ("auto", "auto"), (3, 3), ("12", 12)])
def test_tiles_are_a_number_or_a_word(given, meant):
    assert InferenceOptions(tiles=given).tiles == meant


@pytest.mark.parametrize("given", [-1, 2.5, MOST_TILES + 1, "many", "", "-3", math.nan, math.inf, [2], [], True])
def test_other_tiles_are_refused_with_what_is_accepted(given):
    with pytest.raises(ValueError, match="accepted: 'auto', 'off', or how many along the longer side, up to 64"):
        InferenceOptions(tiles=given)


def test_a_part_of_an_image_is_shown_no_larger_than_a_network_can_use(monkeypatch):
    monkeypatch.setattr(tiles, "_BAND_PIXELS", 10000)  # 12 rows
    image = torch.rand(1, 3, 700, 900)
    part = shown(image, (100, 600, 50, 850), sized)
    assert part.shape == (1, 3, 2 * SIDE, 2 * round(SIDE * 1.6))
    torch.testing.assert_close(part, resize_map(image[..., 100:600, 50:850], *part.shape[-2:]), atol=1e-4, rtol=0)
    whole = shown(image[..., :60, :70], (0, 60, 0, 70), sized)
    torch.testing.assert_close(whole, image[..., :60, :70])


def test_an_array_of_bytes_is_read_in_bands():
    array = (np.random.default_rng(0).random((1, 500, 700, 3)) * 255).astype(np.uint8)
    image = torch.from_numpy(array).movedim(-1, 1).float() / 255
    places = (10, 410, 0, 700)
    torch.testing.assert_close(shown(array, places, sized), shown(image, places, sized))


@pytest.mark.slow("takes most of a second")
def test_everything_stays_on_the_networks_device_but_one_small_copy_for_each_row_of_tiles():
    """Fake tensors of a device that this machine need not have: no op mixes devices."""

    def network(images, fov):
        small = resize_map(images, *sized(*images.shape[-2:]))
        yield Estimate(small[:, :1], Quantity.METRIC_DEPTH, small, mask=small[:, :1] > 0.5)

    with FakeTensorMode(), Questions() as questions:
        found = run(network, torch.rand(1, 3, 90, 130, device=DEVICE), (2, 3))
    assert {each.device for each in found.maps.values()} == {DEVICE} and questions.asked == 2


# --- by the model of the pack ---


@pytest.fixture
def tiny():
    return load_model("tiny", "float32", "cpu")


@pytest.mark.parametrize("tiles", ["off", "auto"])
def test_without_tiles_and_at_no_more_than_the_networks_size_nothing_changes(tiny, tiles):
    images = torch.rand(1, 3, 40, 48)
    assert torch.equal(tiny.estimate(images, 64, tiles=tiles).depth, tiny.estimate(images, 64).depth)


def test_progress_counts_the_tiles_of_all_images(tiny):
    seen = []
    tiny.estimate(torch.rand(2, 3, 90, 90), 32, lambda done, total: seen.append((done, total)), tiles=2)
    assert seen[0] == (1, 10) and seen[-1] == (10, 10) and seen == sorted(seen)


def test_normals_follow_from_the_depth_of_all_tiles(tiny, monkeypatch):
    sizes = []

    def derive(estimate):
        sizes.append((estimate.height, estimate.width))
        return with_normals(estimate)

    found = tiny.estimate(torch.rand(1, 3, 300, 400), 32, derive=derive, tiles=2)
    assert found.normals.shape == (1, 3, 300, 400)
    ((height, width),) = sizes
    assert height < 300 and width < 400, "before they are enlarged"


def test_want_of_memory_makes_fewer_tiles_at_once(tiny, monkeypatch):
    most, run = [], Annotator._finished

    def finished(self, estimate, *more):
        most.append(estimate.batch)
        if estimate.batch > 1:
            raise torch.OutOfMemoryError("no room")
        return run(self, estimate, *more)

    images = torch.rand(1, 3, 90, 131)
    expected = tiny.estimate(images, 32, tiles=2)
    monkeypatch.setattr(Annotator, "_finished", finished)
    found = tiny.estimate(images, 32, tiles=2)
    assert max(most) > 1
    torch.testing.assert_close(found.depth, expected.depth, atol=1e-2, rtol=1e-4)
    tiny.unload()
