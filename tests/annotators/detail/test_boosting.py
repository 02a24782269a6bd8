"""Boosting: sides, patches and merging beside the code of the ControlNet nodes, at a fraction of its sizes; LeReS++ as a whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.leres import Booster, LeresBoostAnnotator, LeresOptions, Patch, choose_patches, find_side, fit_in_float32
from depth_normal.annotators.preprocessing.resizing import cubic, linear
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.geometry.alignment.scale_shift import fit_scale_shift
from depth_normal.geometry.estimate import Quantity
from tests import leres_oracle as oracle


@pytest.fixture(scope="module")
def annotator():
    states = {"depth": oracle.relative_depth_model().state_dict(), "merge": oracle.merge_generator().state_dict()}
    return LeresBoostAnnotator.build(oracle.shrunk("leres-boost"), states, torch.float32)


class PlainDepth(torch.nn.Module):
    """A network that is cheap, and sees detail only in small images."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def depth_model(self, x):
        self.seen.append(x.shape[-1])
        grey = x.mean(1, keepdim=True)
        return F.avg_pool2d(grey, 7, 1, 3) + 0.3 * grey


def plain_merge(whole, fine):
    return (0.6 * whole + 0.4 * fine + 0.2 * (fine - F.avg_pool2d(fine, 9, 1, 4))).tanh()


def make_image(height, width, detail, seed=0):
    """Soft colours, and texture in one part."""
    generator = torch.Generator().manual_seed(seed)
    soft = F.interpolate(torch.rand(1, 3, 3, 4, generator=generator), size=(height, width), mode="bilinear")
    fine = F.interpolate(torch.rand(1, 3, height // 4, width // 4, generator=generator), size=(height, width))
    inside = torch.zeros(1, 1, height, width)
    inside[..., height // 8 : height // 2, width // 3 : -width // 3] = 1
    return 0.35 + 0.3 * soft + detail * inside * (fine - 0.5)


def booster(network, config, merge=plain_merge):
    mean, deviation = (torch.tensor(value)[:, None, None] for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def estimate(image, side):
        fed = (linear(image.flip(1) * 255, side, side) - mean) / deviation
        return cubic(network.depth_model(fed), *image.shape[-2:])

    return Booster(estimate, merge, config)


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize(
    ("height", "width", "detail", "patches"), [(160, 208, 0.5, True), (96, 144, 0.4, False), (144, 144, 0.0, False), (208, 160, 0.3, True)]
)
def test_depth_is_that_of_the_old_nodes(height, width, detail, patches):
    image = make_image(height, width, detail)
    theirs, ours, told = PlainDepth(), PlainDepth(), []
    levels = image[0].permute(1, 2, 0).double().numpy() * 255
    with torch.no_grad():
        wanted = oracle.estimate_boosted(levels, theirs, plain_merge)
        found = booster(ours, oracle.BOOST).depth(image, lambda *step: told.append(step))[0, 0].numpy()
    assert ours.seen == theirs.seen and (len(ours.seen) > 2) == patches
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)] and bool(told) == patches
    assert wanted.std() > 0.05 and found.shape == (height, width)
    assert np.abs(found - wanted).max() < 2e-5


@pytest.mark.quick_cases(1)
@pytest.mark.filterwarnings("ignore:Polyfit may be poorly conditioned")
@pytest.mark.parametrize(("spread", "is_lost"), [(0.05, True), (0.3, True), (1.0, False)])
def test_the_old_nodes_fit_is_numpys_in_float32(spread, is_lost):
    """What deviates little loses half of its contrast there, and nothing here."""
    values = 0.5 + spread * (torch.rand(1, 1, 1024, 1024, generator=torch.Generator().manual_seed(0)) - 0.5)
    target = 0.8 * values + 0.1
    wanted = np.polyfit(values.flatten().numpy(), target.flatten().numpy(), deg=1)
    scale, shift = (each.item() for each in fit_in_float32(values, target))
    assert (scale, shift) == pytest.approx(tuple(wanted), rel=1e-3)
    assert (scale < 0.6) == is_lost
    assert [each.item() for each in fit_scale_shift(values, target)] == pytest.approx([0.8, 0.1], rel=1e-4)


@pytest.mark.parametrize(
    ("height", "width", "detail"), [(512, 640, 0.05), (640, 512, 0.5), (330, 210, 0.1), (161, 700, 0.3), (512, 512, 0.0)]
)
def test_the_side_is_the_old_nodes_at_its_own_sizes(height, width, detail):
    """In 512x640, halves that rounding could decide make a difference."""
    image = make_image(height, width, detail)
    levels = image[0].permute(1, 2, 0).double().numpy() * 255
    side, share = oracle.authors(".leres.depthmap").calculateprocessingres(levels, 448, 0.2, 3, 1600)
    assert find_side(image, 448, 1600) == (side, pytest.approx(share, abs=1e-9))


def test_patches_lie_where_detail_is_and_the_largest_comes_first():
    slopes = torch.full((1, 1, 300, 400), 0.01)
    slopes[..., 100:, 180:] = 1
    patches = choose_patches(slopes, 64, 32)
    assert patches and all(patch.left + patch.side <= 400 and patch.top + patch.side <= 300 for patch in patches)
    assert all(patch.left + patch.side > 180 for patch in patches) and min(patch.side for patch in patches) >= 128
    assert [patch.side for patch in patches] == sorted((patch.side for patch in patches), reverse=True)
    assert choose_patches(torch.zeros(1, 1, 300, 400), 64, 32) == [], "nothing is to be found in a constant image"
    assert Patch(0, 0, 128) not in patches


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("old_node", [False, True])
def test_the_networks_together_give_what_the_old_nodes_give(annotator, old_node):
    image = make_image(96, 144, 0.4)
    model, merge = oracle.relative_depth_model(), oracle.merge_generator()
    levels = image[0].permute(1, 2, 0).double().numpy() * 255
    if not old_node:  # grey, so that their code's reversed channels are no others
        image = image.mean(1, keepdim=True).expand(1, 3, 96, 144)
        levels = image[0].permute(1, 2, 0).double().numpy()
    wanted = oracle.estimate_boosted(levels, model, lambda whole, fine: merge(torch.cat((whole, fine), 1)))
    found = annotator.estimate(image, 96, options=LeresOptions(old_node=old_node))
    assert found.quantity is Quantity.RELATIVE_DEPTH
    assert np.abs(found.depth[0, 0].numpy() - wanted).max() < 1e-4


def test_sizes_and_progress(annotator):
    told = []
    found = annotator.estimate(make_image(80, 120, 0.4), 96, fov=50.0, progress=lambda done, total: told.append(done / total))
    assert found.depth.shape == (1, 1, 96, 144) and found.intrinsics is not None
    assert told == sorted(told) and (not told or told[-1] <= 1)
    assert annotator.network_size(1080, 1920, 64) == (256, 256), "the largest that the network may get, for the memory"
    assert annotator.network_size(1080, 1920, 540) == (540, 960)
    with pytest.raises(ValueError, match="lower size"):
        annotator.estimate(make_image(80, 120, 0.4), 16384)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("height", "width"), [(3, 900), (900, 3), (2, 1999)])
def test_a_strip_has_no_room_for_patches(annotator, height, width):
    """At the side in which patches are looked for it would be one pixel high, or none."""
    found = annotator.estimate(torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)), 64)
    assert min(found.height, found.width) == 64 and torch.isfinite(found.depth).all()


def test_a_file_of_another_network_is_refused_and_named():
    states = {"depth": oracle.relative_depth_model().state_dict(), "merge": oracle.merge_generator().state_dict()}
    swapped = {"depth": states["depth"], "merge": states["depth"]}
    with pytest.raises(CheckpointError, match=r"latest_net_G\.pth is not the merging network's"):
        LeresBoostAnnotator.build(oracle.shrunk("leres-boost"), swapped, torch.float32)
