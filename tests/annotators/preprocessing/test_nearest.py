"""Metric depth of 0 from a network: near the camera and no hole, for every family that gives metric depth."""

import itertools
import math

import pytest
import torch
from torch import nn

from depth_normal.annotators.base import LEAST_METRES, LEAST_UP_TO_SCALE, Annotator
from depth_normal.annotators.preprocessing.resizing import Fit, Resizing
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.annotators.specs.base import ModelSpec, WeightFile
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.kinds import ZERO_AT_CAMERA
from depth_normal.geometry.surfaces.derive import with_normals
from tests import tiny_depth as TINY

# Distances of panoramas are exponentials, which are never 0, and panoramas have no field of view. Of models that differ in size, one.
GIVING_METRES = [spec for spec in MODELS.values() if spec.quantity in ZERO_AT_CAMERA and not spec.for_panoramas]
METRIC = {(spec.family, spec.quantity, spec.axes, spec.multiple_of, spec.resizing): spec.id for spec in GIVING_METRES}.values()
FAR = 3.0
HEIGHT, WIDTH = 60, 84


def images():
    """Dark on the left, bright on the right; and a wholly dark one."""
    found = torch.zeros(2, 3, HEIGHT, WIDTH)
    found[0, :, :, WIDTH // 2 :] = 1
    return found


def depth_maps(pixels, nearest=0.0):
    """What a network predicts: `nearest` in the dark, `FAR` in the light."""
    return torch.where(pixels.mean(1, keepdim=True) > 0, FAR, nearest)


def outputs_of(spec: ModelSpec, nearest=0.0):
    """The outputs of a network of the spec's family, made without one; `Annotator.outputs` takes them as those of any runtime."""

    def network(pixels, *_):
        depth = depth_maps(pixels, nearest)
        ones, batch = torch.ones_like(depth), len(pixels)
        if spec.family == "metric3d":
            return depth, ones, facing(pixels)
        if spec.family == "depth-anything-3":
            return (depth, 0 * ones) if spec.config.dpt.sky else (depth, ones, torch.ones(batch, 2))
        if spec.family == "depth-pro":
            return torch.where(depth.isfinite(), 1 / depth.clamp(min=1e-9), depth), torch.full((batch,), 50.0)
        if spec.family == "moge":
            rows, columns = (torch.linspace(-0.5, 0.5, side) for side in pixels.shape[-2:])
            plane = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None].expand(batch, -1, -1, -1)
            logarithm = torch.where(depth.isfinite(), depth.clamp(min=1e-30), torch.nan).log()
            found = torch.cat((plane, logarithm), 1), ones, torch.ones(batch)
            return (*found, facing(pixels)) if spec.axes else found
        return (depth,)

    return network


def facing(pixels):
    return torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(len(pixels), -1, *pixels.shape[-2:])


def annotator(model, nearest=0.0):
    spec = MODELS[model]
    return FAMILIES[spec.family](spec, nn.Conv2d(1, 1, 1)).with_engine(outputs_of(spec, nearest))


def small_size(model):
    """A few patches; Depth Pro takes no less than its 1536 pixels."""
    multiple = MODELS[model].multiple_of
    return max(56, 4 * multiple) if multiple < 56 else multiple


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("fov", [0.0, 50.0])
@pytest.mark.parametrize("nearest", [0.0, -2.0], ids=["zero", "behind"])
@pytest.mark.parametrize("model", METRIC)
def test_depth_of_zero_is_near_and_no_hole(model, nearest, fov):
    estimate = annotator(model, nearest).estimate(images(), small_size(model), fov=fov)
    least = LEAST_METRES if MODELS[model].quantity is Quantity.METRIC_DEPTH else LEAST_UP_TO_SCALE
    assert estimate.depth.amin() >= least
    trusted = torch.ones_like(estimate.valid) if estimate.mask is None else estimate.mask
    assert torch.equal(estimate.valid, trusted), "holes are what the mask leaves out"
    third = estimate.width // 3
    if MODELS[model].family != "moge":  # which looks for the distance at which its points belong to a camera
        assert trusted.all()
        torch.testing.assert_close(estimate.depth[..., :third].amax(), torch.tensor(least))
        assert (estimate.depth[:1, ..., -third:] > 10 * least).all()
    for sides in ((HEIGHT, WIDTH), (2 * HEIGHT + 1, 3 * WIDTH), (HEIGHT // 3, WIDTH // 2)):
        sized = with_normals(estimate).resized(*sides, annotator(model).resampling)
        assert torch.isfinite(sized.depth).all() and torch.isfinite(sized.normals).all()
        assert (sized.valid.all() if estimate.mask is None else torch.equal(sized.valid, sized.mask)) and sized.depth.amin() >= least


def test_what_is_not_finite_is_an_error_as_before():
    for model, nearest in zip(METRIC, itertools.cycle((math.nan, -math.inf, math.inf)), strict=False):
        with pytest.raises(ArithmeticError, match="not finite"):
            annotator(model, nearest).estimate(images(), small_size(model))


class Stretched(Annotator):
    """A family whose input is stretched to a square, and whose network predicts what it sees."""

    @classmethod
    def build(cls, spec, states, dtype):
        return cls(spec, nn.Conv2d(1, 1, 1))

    def infer_resized(self, pixels, request=None):
        (depth,) = self.run_network(self.as_inputs(pixels))
        return Estimate(depth, Quantity.METRIC_DEPTH)


def stretched(engine):
    files = (WeightFile("s.pt"),)
    spec = ModelSpec("s", "s", files, "MIT", Quantity.METRIC_DEPTH, default_size=32, resizing=Resizing(Fit.STRETCHED))
    return Stretched.build(spec, {}, torch.float32).with_engine(engine)


def test_stretched_depth_comes_back_without_holes():
    estimate = stretched(lambda pixels: (depth_maps(pixels),)).estimate(images())
    assert (estimate.height, estimate.width) == (HEIGHT, WIDTH)
    assert estimate.depth.amin() == pytest.approx(LEAST_METRES) and estimate.valid.all()


def test_stretching_back_hides_nothing_that_is_not_finite():
    def one_bad_pixel(pixels):
        depth = depth_maps(pixels) + 1
        depth[..., 5, 5] = float("nan")
        return (depth,)

    with pytest.raises(ArithmeticError, match="not finite"):
        stretched(one_bad_pixel).estimate(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("model", ["depth-anything-v2-small", "video-depth-anything-small"])
def test_disparity_of_zero_stays_zero(model):
    estimate = annotator(model).estimate(images(), 56)
    assert estimate.quantity is Quantity.DISPARITY and estimate.depth.amin() == 0 and estimate.valid.all()


def with_last_layer(model, bias):
    """A small network of the model's family, whose last layer for depth gives one number everywhere."""
    spec = TINY.shrunk(MODELS[model])
    states = TINY.random_states(spec)
    (last,) = {"depth_head.scratch.output_conv2.2", "head.scratch.output_conv2.2"} & {key.rpartition(".")[0] for key in states["network"]}
    states["network"][f"{last}.weight"][:1], states["network"][f"{last}.bias"][:1] = 0, bias
    return FAMILIES[spec.family].build(spec, states, torch.float32)


def test_a_video_whose_network_gives_zeros_has_no_holes():
    network = with_last_layer("video-depth-anything-metric-small", -1.0)
    for part in network.estimate_video([images()], 56, fov=0.0, is_cut=None, in_chunks=lambda step, total: step(0, total)):
        assert part.valid.all() and (part.depth == torch.tensor(LEAST_METRES)).all()
        assert torch.isfinite(with_normals(part).resized(2 * HEIGHT, 2 * WIDTH).normals).all()


def test_views_of_a_scene_whose_network_gives_zeros_have_no_holes():
    found = with_last_layer("depth-anything-3-small", -200.0).estimate_scene(images(), 56)
    assert found.valid.all() and (found.depth == torch.tensor(LEAST_UP_TO_SCALE)).all()
    assert found.resized(HEIGHT, WIDTH).valid.all()
