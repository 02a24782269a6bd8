"""The old depth nodes: each family's range and look, images known in advance, and LeReS's beside the old pack's code."""

import math

import cv2
import numpy as np
import pytest
import torch

import depth_normal
from depth_normal.annotators.choices import NODES, worded
from depth_normal.annotators.leres import LeresOptions
from depth_normal.annotators.preprocessing.resizing import SHORT_SIDE
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.nodes import depth_maps, normal_maps
from depth_normal.nodes.depth_maps import LeresDepthMap
from depth_normal.utils import resize_image
from tests import leres_oracle as oracle

ZOE, V2, METRIC3D = depth_maps.ZoeDepthMap, depth_maps.DepthAnythingV2Map, normal_maps.Metric3dDepthMap
QUANTITY = {
    depth_maps.MidasDepthMap: Quantity.DISPARITY,
    depth_maps.DepthAnythingMap: Quantity.DISPARITY,
    V2: Quantity.DISPARITY,
    LeresDepthMap: Quantity.RELATIVE_DEPTH,
    depth_maps.DepthAnythingV2MetricMap: Quantity.METRIC_DEPTH,
    ZOE: Quantity.METRIC_DEPTH,
    depth_maps.ZoeDepthAnythingMap: Quantity.METRIC_DEPTH,
}
"""What the nodes' models give; Metric3D's have greys of their own."""


def random_depth(count=2, height=64, width=96, low=0.5, high=9.0):
    coarse = torch.rand(count, 1, 8, 12, generator=torch.Generator().manual_seed(3))
    return low + (high - low) * torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


def run(node, count=1, **widgets):
    return node().execute(torch.rand(count, 64, 96, 3), **{"resolution": 64, **widgets})[0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("node", "quantity"), QUANTITY.items(), ids=[node.NODE_ID for node in QUANTITY])
def test_each_image_spans_its_known_depth_near_is_white(node, quantity, masked, pretend):
    """ZoeDepth's from the 2nd to the 85th percentile of its metres. What is masked is black and sets no range."""
    depth, mask = random_depth(), torch.ones(2, 1, 64, 96, dtype=torch.bool)
    mask[..., :20, :] = not masked
    model = pretend(depth.where(mask, 500.0), quantity, mask=mask if masked else None)
    images = run(node, 2).numpy()
    assert model.spec.quantity is quantity and (images[:, :20] == 0).all() == masked
    for image, values in zip(images, depth[:, 0].numpy().astype(np.float64), strict=True):
        known = values[20 * masked :]
        ends = np.percentile(known, [2, 85] if node.NODE_ID.startswith("Zoe") else [0, 100])
        white, black = ends[::-1] if quantity is Quantity.DISPARITY else ends
        assert np.abs(image[20 * masked :] - ((known - black) / (white - black)).clip(0, 1)[..., None]).max() < 1e-5


def test_max_depth_changes_nothing_as_in_the_old_node(pretend):
    pretend(random_depth(), Quantity.METRIC_DEPTH)
    near, far = (run(depth_maps.DepthAnythingV2MetricMap, max_depth=metres) for metres in (20.0, 80.0))
    assert torch.equal(near, far)


@pytest.mark.parametrize("node", [V2, ZOE], ids=["disparity", "metres"])
def test_a_video_can_have_one_range(pretend, node):
    """Two frames of which the second spans twice as much: alone each is stretched; as a clip the first stays within its part."""
    ramp = torch.linspace(1, 2, 64 * 96).view(1, 1, 64, 96)
    pretend(torch.cat((ramp, 2 * ramp - 1)), QUANTITY[node])
    made = {name: run(node, 2, normalisation=name)[0] for name in ("per_image", "per_clip", "running")}
    spans = {name: (image.amax() - image.amin()).item() for name, image in made.items()}
    assert spans["per_image"] == pytest.approx(1) and spans["per_clip"] < 0.75 and spans["running"] == pytest.approx(1)


# --- MiDaS ---


@pytest.fixture
def small(midas_small, monkeypatch):
    """The nodes with a MiDaS network behind every model name."""
    load = depth_normal.load_model
    monkeypatch.setattr(
        depth_maps, "load_model", lambda _model, precision, _advice: load("midas-v2.1-small", precision, weights=midas_small)
    )
    return load("midas-v2.1-small", weights=midas_small)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("node", (depth_maps.MidasNormalMap, depth_maps.MidasDepthMap))
def test_the_networks_short_side_is_the_resolution_whatever_its_authors_do(small, node, monkeypatch):
    seen, infer = [], type(small.annotator).infer_resized
    monkeypatch.setattr(
        type(small.annotator), "infer_resized", lambda self, pixels, asked: seen.append((self.spec, pixels)) or infer(self, pixels, asked)
    )
    image = torch.rand(1, 120, 180, 3, generator=torch.Generator().manual_seed(0))
    node().execute(image, resolution=64)
    small.estimate(image.movedim(-1, 1), 64)
    (_, old), (spec, new) = seen
    torch.testing.assert_close(old, resize_image(image.movedim(-1, 1), 64, 96), rtol=0, atol=0)
    assert tuple(new.shape[-2:]) == (32, 64), "upper bound 64: 42.7 x 64"
    assert spec is small.spec and small.resampling == "bicubic"


def old_midas(network, image, resolution):
    """The old node's levels of an image (H, W, 3) uint8: resized, padded to multiples of 64, truncated."""
    height, width = (round(side * resolution / min(image.shape[:2])) for side in image.shape[:2])
    kernel = cv2.INTER_CUBIC if resolution > min(image.shape[:2]) else cv2.INTER_AREA
    resized = cv2.resize(image, (width, height), interpolation=kernel)
    padded = np.pad(resized, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    disparity = network(torch.from_numpy(padded).movedim(-1, 0)[None] / 255)[0].numpy()
    disparity -= disparity.min()
    return (disparity / disparity.max() * 255).astype(np.uint8)[:height, :width]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("height", "width", "resolution", "same"),
    [(256, 384, 256, True), (256, 352, 256, False), (300, 400, 300, False), (512, 384, 256, False)],
    ids=["multiples of 64", "multiples of 32", "others", "reduced"],
)
def test_midass_image_is_the_old_one_at_multiples_of_64(small, photo, height, width, resolution, same):
    """Prints how many levels apart they are otherwise; docs/parity.md has the figures."""
    levels = np.ascontiguousarray(photo[:height, 100 : 100 + width])
    old = old_midas(lambda images: small.annotator.infer_resized(images).depth[0], levels, resolution)
    image = torch.from_numpy(levels)[None] / 255
    (found,) = depth_maps.MidasDepthMap().execute(image, resolution=resolution)
    apart = np.abs(found[0, ..., 0].numpy() * 255 - old)
    print(f"{height}x{width} at {resolution}: {apart.mean():.1f} levels on average")
    assert (apart.max() < 1.01) == same, "no more than what cutting off to bytes loses"


def test_an_absurdly_long_image_is_refused_with_what_to_do(small):
    with worded(NODES), pytest.raises(ValueError, match=r"5000x7 .*lower the resolution or crop"):
        depth_maps.MidasDepthMap().execute(torch.rand(1, 7, 5000, 3))


# --- Metric3D ---


def metric3d_greys(depth):
    """An image (H, W) of bytes, as matplotlib makes it with vmax = 1.1."""
    colormaps = pytest.importorskip("matplotlib", reason="the oracle is matplotlib (extra 'test')").colormaps
    return colormaps["Greys"](depth / (depth.max() + 1e-8) / 1.1, bytes=True)[..., 0]


def test_metric3ds_image_is_the_old_one(pretend):
    """As ComfyUI saves it, to within one of 255 levels."""
    metres = random_depth(high=40.0)
    pretend(metres, Quantity.METRIC_DEPTH)
    for image, depth in zip(run(METRIC3D, 2).numpy(), metres[:, 0].numpy(), strict=True):
        expected = metric3d_greys(depth)[..., None].astype(int)
        assert np.abs((image * 255).astype(np.uint8).astype(int) - expected).max() <= 1
        assert np.abs(image * 255 - expected).max() < 1.8 and np.abs(image * 255 - expected).mean() < 0.7


@pytest.mark.parametrize("pixels", [slice(0, 20), slice(None)], ids=["some", "all"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, "masked"])
def test_metric3ds_pixels_without_depth_are_black_and_set_no_range(value, pixels, pretend):
    whole = random_depth(1, high=40.0)
    depth, mask = whole.clone(), torch.ones_like(whole, dtype=torch.bool)
    depth[..., pixels, :] = 5000.0 if value == "masked" else value
    mask[..., pixels, :] = value != "masked"
    pretend(depth, Quantity.METRIC_DEPTH, mask=mask)
    shown = run(METRIC3D)
    assert (shown[:, pixels] == 0).all()
    if pixels.stop:
        assert np.abs(shown[0, 20:, :, 0].numpy() * 255 - metric3d_greys(whole[0, 0, 20:].numpy())).max() < 1.8


def test_metric3ds_video_can_have_one_range(pretend):
    """Two frames of which the second reaches twice as far."""
    ramp = torch.linspace(1, 2, 64 * 96).view(1, 1, 64, 96)
    pretend(torch.cat((ramp, 2 * ramp)), Quantity.METRIC_DEPTH)
    darkest = {name: run(METRIC3D, 2, normalisation=name).amin((1, 2, 3)) for name in ("per_image", "per_clip", "running")}
    assert darkest["per_image"][0] == pytest.approx(darkest["per_image"][1].item()), "each to its own end"
    assert darkest["per_clip"][0] > darkest["per_clip"][1] + 0.3, "both to the farthest of all"
    assert darkest["running"][0] == pytest.approx(darkest["per_image"][0].item(), abs=0.02)


# --- LeReS ---


@pytest.fixture(scope="module")
def leres_files(tmp_path_factory):
    """A folder with both files, tiny, and the authors' networks in them."""
    folder = tmp_path_factory.mktemp("leres")
    return folder, *oracle.write_files(folder)


@pytest.fixture
def authors_networks(leres_files, monkeypatch):
    """The node's models are the tiny ones of the files."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(leres_files[0]))
    for model_id in ("leres", "leres-boost"):
        monkeypatch.setitem(MODELS, model_id, oracle.shrunk(model_id))
    return leres_files[1:]


def levels_of(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def leres(levels, *ends, **widgets):
    image = torch.from_numpy(levels.astype(np.float32) / 255)[None]
    return LeresDepthMap().execute(image, *ends, **{"resolution": 64, "precision": "float32", **widgets})[0][0].numpy()


@pytest.mark.parametrize(
    ("widgets", "model_id", "size", "old", "resizing"),
    [
        ({"resolution": 768}, "leres", None, False, None),
        ({"network_size": 640}, "leres", 640, False, None),
        ({"input": "old node"}, "leres", 512, True, SHORT_SIDE),
        ({"input": "old node", "network_size": 320}, "leres", 320, True, SHORT_SIDE),
        ({"boost": "enable"}, "leres-boost", 512, False, None),
        ({"boost": "enable", "input": "old node", "resolution": 768}, "leres-boost", 768, True, None),
    ],
)
def test_what_each_widget_asks_of_leres(pretend, widgets, model_id, size, old, resizing):
    model = pretend(random_depth(1), Quantity.RELATIVE_DEPTH)
    LeresDepthMap().execute(torch.rand(1, 64, 96, 3), precision="bfloat16", **widgets)
    assert model.asked == [(model_id, "bfloat16")] and (model.sizes, model.options) == ([size], LeresOptions(old_node=old))
    assert model.resizing is resizing


@pytest.mark.parametrize(
    "widgets", [{"normalisation": "per_clip"}, {"normalisation": "running"}, {"rm_nearest": 100.0}, {"rm_background": 100.0}]
)
def test_no_widget_makes_a_constant_image_anything_but_constant(pretend, widgets):
    pretend(torch.full((1, 1, 64, 96), 2.0), Quantity.RELATIVE_DEPTH)
    image = run(LeresDepthMap, **widgets)
    assert torch.isfinite(image).all() and image.std() == 0


class Given(torch.nn.Module):
    """A network of the authors that says what it is told."""

    def __init__(self, depth):
        super().__init__()
        self.depth, self.unused = depth, torch.nn.Parameter(torch.zeros(1))

    def depth_model(self, _pixels):
        return self.depth


@pytest.mark.parametrize(("near", "far"), [(0, 0), (20, 0), (0, 30), (12.5, 40), (99.9, 0), (0.3, 0.3), (60, 60)])
def test_the_ends_are_cut_as_by_the_old_node(pretend, near, far):
    """The same depth through both, and no pixel farther off than the old node's own rounding."""
    depth = random_depth(1, 64, 128)
    detector = oracle.authors("").LeresDetector(Given(depth), None)
    old = detector(levels_of(64, 128), near, far, detect_resolution=64, image_resolution=64, output_type="np")
    pretend(depth, Quantity.RELATIVE_DEPTH)
    difference = np.abs(leres(levels_of(64, 128), near, far) - old / 255)
    # a level of 16 bits that the old node cuts off moves one pixel in 257 across a threshold
    assert np.quantile(difference, 0.99) < 1.01 / 255 and difference.max() < 1.01 / 255 + max(near, far) / 100
    assert (near, far) != (0, 0) or difference.max() < 1.01 / 255


def test_the_old_nodes_image(authors_networks):
    levels = levels_of(64, 128)
    detector = oracle.authors("").LeresDetector(authors_networks[0], None)
    for near, far in ((0, 0), (15, 25)):
        old = detector(levels, near, far, detect_resolution=64, image_resolution=64, output_type="np")
        assert old.std() > 10
        assert np.quantile(np.abs(leres(levels, near, far, input="old node") - old / 255), 0.99) < 1.01 / 255
    assert np.abs(leres(levels) - old / 255).mean() > 0.02, "as the authors feed it, the image is another"


@pytest.mark.slow("takes most of a second")
def test_the_old_nodes_boosted_image(authors_networks):
    """Through both files, from the widget to the image; an image of one colour has nothing that boosting could find."""
    soft = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1)), size=(64, 96), mode="bilinear"
    )
    levels = (soft[0].permute(1, 2, 0) * 200 + 20).round().numpy()
    model, merge = authors_networks
    depth = oracle.estimate_boosted(levels.astype(np.float64), model, lambda whole, fine: merge(torch.cat((whole, fine), 1)))
    wanted = 1 - (depth - depth.min()) / (depth.max() - depth.min())
    found = leres(levels, boost="enable", input="old node")
    assert wanted.std() > 0.05 and np.abs(found[..., 0] - wanted).max() < 1 / 255
    constant = LeresDepthMap().execute(torch.full((2, 64, 96, 3), 0.5), boost="enable", resolution=64, precision="float32")[0]
    assert constant.shape == (2, 64, 96, 3) and torch.isfinite(constant).all()
