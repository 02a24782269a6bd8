"""What every family of models keeps to, whatever its network: batches, sizes, half precision, files that differ, options."""

import re
from unittest import mock

import pytest
import torch

from depth_normal.annotators.specs.base import CheckpointError
from tests import graph_families as SHRUNK
from tests.random_weights import make_images

annotator = SHRUNK.annotator
NAMES = [each for each in (*SHRUNK.DINO, *SHRUNK.OTHERS) if each != "tiny-edges"]
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
EXACT = {
    "da": r"(core\.)?depth_head\.scratch\.(sky_)?output_conv2\.|cam_dec\.",
    "zoe-depth-anything": r"(?!core\.(pretrained|depth_head\.(?!scratch\.output_conv2)))",
    "leres": r"decoder\.head\.",
    "bae": r"decoder\.out_conv_res(8|\d\.6)\.",
    "moge": r"(mask|normal|points)_head\.output_blocks\.4\.|scale_head\.|head\.output_block\.\d\.2\.",
    "metric3d": r"decoder\.",
    "zipdepth": r"decoder\.head_half\.",
    "midas": r"scratch\.output_conv\.[24]\.",
}
EXACT |= dict.fromkeys(("depth-anything", "depth-anything-3", "video-depth-anything"), EXACT.pop("da"))
"""By family: the parameters that stay in float32 in half precision, with as many digits as the file has; else none."""
NEAR = {torch.float16: 0.01, torch.bfloat16: 0.05}
"""The mean error that is allowed, in means of the map."""


@pytest.fixture(scope="module", params=[*NAMES, pytest.param("midas-v2.1-small", marks=pytest.mark.slow("at its true size"))])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return annotator(name)


def size_of(model):
    return 64 if model.spec.default_size > 64 else None


@pytest.mark.quick_cases(4)
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(model):
    images = make_images(40, 70, 3)
    together = model.estimate(images, size_of(model))
    for index in range(3):
        alone = model.estimate(images[index : index + 1], size_of(model))
        for map_name, value in alone.maps.items():
            limit = 1e-5 * value.float().abs().clamp(max=1e4).max().item() + 1e-5
            torch.testing.assert_close(together.maps[map_name][index : index + 1].float(), value.float(), atol=limit, rtol=1e-5)


@pytest.mark.quick_cases(5)
@torch.no_grad()
def test_images_of_any_size_and_of_one_colour_give_finite_maps(model):
    for images in (make_images(37, 61, 2), make_images(64, 20), torch.zeros(1, 3, 1, 1), torch.full((1, 3, 40, 50), 0.5)):
        batch, _, height, width = images.shape
        found = model.estimate(images, size_of(model)).resized(height, width)
        assert (found.batch, found.height, found.width) == (batch, height, width)
        assert all(torch.isfinite(value).all() for value in found.maps.values())
        if found.normals is not None:
            assert (found.normals.norm(dim=1) - 1).abs().max() < 1e-4


@pytest.mark.quick_cases(8)
@HALF
@torch.no_grad()
def test_half_precision_is_near_and_ends_in_float32(name, model, dtype):
    exact, half = model, annotator(name, dtype)
    parameters = dict(half.network.named_parameters())
    kept = {key for key, value in parameters.items() if value.dtype == torch.float32}
    assert kept == {key for key in parameters if re.match(EXACT.get(exact.spec.family, r"(?!)"), key)}
    weights = (parameters[key] for key in kept if parameters[key].ndim > 1)
    if exact.spec.family != "moge":  # which rounds its file first, and then computes in float32
        assert not any(torch.equal(value, value.to(dtype)) for value in weights), "not rounded on the way"
    expected, found = (each.estimate(make_images(40, 70), size_of(exact)) for each in (exact, half))
    for map_name, value in expected.maps.items():
        other = found.maps[map_name]
        assert other.dtype == value.dtype, "float32 in any case"
        if value.is_floating_point():
            both = value.isfinite() & other.isfinite()
            assert (other - value)[both].abs().mean() < NEAR[dtype] * value[both].abs().mean(), map_name


@pytest.mark.quick_cases(4)
def test_a_file_that_differs_is_refused_by_name(name, model):
    build = type(model).build

    def refused(spec, states, dtype):
        network = states["network"]
        key = [each for each, value in network.items() if value.ndim == 1 and value.is_floating_point()][-1]
        for words, state in (
            ("1 missing keys", {each: value for each, value in network.items() if each != key}),
            ("1 unexpected keys .first: .*stranger", network | {"stranger.weight": torch.zeros(3)}),
            ("1 tensors of another shape", network | {key: torch.zeros(len(network[key]) + 3)}),
        ):
            with pytest.raises(CheckpointError, match=f"not a checkpoint of .*: {words}"):
                build(spec, {**states, "network": state}, dtype)

    with mock.patch.object(type(model), "build", side_effect=refused) as asked:
        annotator(name)
    asked.assert_called_once()


@pytest.mark.quick_cases(4)
def test_options_of_another_family_are_refused(model):
    with pytest.raises(TypeError, match=rf"{model.spec.id} takes .*; found dict"):
        model.estimate(make_images(40, 50), size_of(model), options={})
