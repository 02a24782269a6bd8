"""The old depth node of LeReS: its contract, and its images beside the old pack's code."""

import numpy as np
import pytest
import torch

from depth_normal.annotators.leres import LeresOptions
from depth_normal.annotators.preprocessing.resizing import SHORT_SIDE
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.nodes import leres as nodes
from tests import leres_oracle as oracle

NODE = nodes.LeresDepthMap


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with both files, tiny, and the authors' networks in them."""
    folder = tmp_path_factory.mktemp("leres")
    return folder, *oracle.write_files(folder)


@pytest.fixture
def tiny(files, monkeypatch):
    """The node's models are the tiny ones; gives the authors' networks."""
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(files[0]))
    for model_id in ("leres", "leres-boost"):
        monkeypatch.setitem(MODELS, model_id, oracle.shrunk(model_id))
    return files[1:]


def random_depth(height=64, width=96):
    coarse = torch.randn(1, 1, 8, 12, generator=torch.Generator().manual_seed(3))
    return 5 * torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


def levels_of(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_image(levels):
    return torch.from_numpy(levels.astype(np.float32) / 255)[None]


@pytest.mark.parametrize(
    ("widgets", "model_id", "size", "old", "resizing"),
    [
        ({}, "leres", None, False, None),
        ({"resolution": 768}, "leres", None, False, None),
        ({"network_size": 640}, "leres", 640, False, None),
        ({"input": "old node"}, "leres", 512, True, SHORT_SIDE),
        ({"input": "old node", "network_size": 320}, "leres", 320, True, SHORT_SIDE),
        ({"boost": "enable"}, "leres-boost", 512, False, None),
        ({"boost": "enable", "input": "old node", "resolution": 768}, "leres-boost", 768, True, None),
    ],
)
def test_what_each_widget_asks_of_the_model(pretend, widgets, model_id, size, old, resizing):
    model = pretend(random_depth(), Quantity.RELATIVE_DEPTH)
    NODE().execute(torch.rand(1, 64, 96, 3), precision="bfloat16", **widgets)
    assert model.asked == [(model_id, "bfloat16")] and (model.sizes, model.options) == ([size], LeresOptions(old_node=old))
    assert model.resizing is resizing


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64)])
def test_near_is_white_and_the_range_is_each_images_own(pretend, height, width):
    depth = torch.linspace(-3, 4, width).expand(1, 1, height, width)
    pretend(depth, Quantity.RELATIVE_DEPTH)
    image = NODE().execute(torch.rand(1, height, width, 3), resolution=64)[0]
    assert image.shape == (1, height, width, 3)
    assert image[..., 0, :].min() == 1 and image[..., -1, :].max() == 0, "LeReS's depth is large where it is far"


@pytest.mark.parametrize(
    "widgets", [{"normalisation": "per_clip"}, {"normalisation": "running"}, {"rm_nearest": 100.0}, {"rm_background": 100.0}]
)
def test_no_widget_makes_a_constant_image_anything_but_constant(pretend, widgets):
    pretend(torch.full((1, 1, 64, 96), 2.0), Quantity.RELATIVE_DEPTH)
    image = NODE().execute(torch.rand(1, 64, 96, 3), resolution=64, **widgets)[0]
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
    depth = random_depth(64, 128)
    detector = oracle.authors("").LeresDetector(Given(depth), None)
    old = detector(levels_of(64, 128), near, far, detect_resolution=64, image_resolution=64, output_type="np")
    pretend(depth, Quantity.RELATIVE_DEPTH)
    found = NODE().execute(torch.rand(1, 64, 128, 3), near, far, resolution=64)[0][0].numpy()
    difference = np.abs(found - old / 255)
    # a level of 16 bits that the old node cuts off moves one pixel in 257 across a threshold
    assert np.quantile(difference, 0.99) < 1.01 / 255 and difference.max() < 1.01 / 255 + max(near, far) / 100
    assert (near, far) != (0, 0) or difference.max() < 1.01 / 255


def test_the_old_nodes_image(tiny):
    levels = levels_of(64, 128)
    detector = oracle.authors("").LeresDetector(tiny[0], None)
    for near, far in ((0, 0), (15, 25)):
        old = detector(levels, near, far, detect_resolution=64, image_resolution=64, output_type="np")
        found = NODE().execute(as_image(levels), near, far, resolution=64, input="old node", precision="float32")[0][0].numpy()
        assert old.std() > 10
        assert np.quantile(np.abs(found - old / 255), 0.99) < 1.01 / 255
    plain = NODE().execute(as_image(levels), resolution=64, precision="float32")[0][0].numpy()
    assert np.abs(plain - old / 255).mean() > 0.02, "as the authors feed it, the image is another"


@pytest.mark.slow("takes most of a second")
def test_the_old_nodes_boosted_image(tiny):
    """Through both files, from the widget to the image; an image of one colour has nothing that boosting could find."""
    soft = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1)), size=(64, 96), mode="bilinear"
    )
    levels = (soft[0].permute(1, 2, 0) * 200 + 20).round().numpy()
    model, merge = tiny
    depth = oracle.estimate_boosted(levels.astype(np.float64), model, lambda whole, fine: merge(torch.cat((whole, fine), 1)))
    wanted = 1 - (depth - depth.min()) / (depth.max() - depth.min())
    found = NODE().execute(as_image(levels), boost="enable", resolution=64, input="old node", precision="float32")[0][0].numpy()
    assert wanted.std() > 0.05 and np.abs(found[..., 0] - wanted).max() < 1 / 255
    constant = NODE().execute(torch.full((2, 64, 96, 3), 0.5), boost="enable", resolution=64, precision="float32")[0]
    assert constant.shape == (2, 64, 96, 3) and torch.isfinite(constant).all()
