import functools
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from depth_normal.annotators.depth_pro import MAX_DEPTH, DepthProAnnotator
from depth_normal.annotators.networks.configs import DepthProConfig, VitConfig
from depth_normal.annotators.networks.depth_pro import DepthPro
from depth_normal.annotators.registry import find_spec
from depth_normal.geometry.camera import fov_from_intrinsics
from depth_normal.geometry.estimate import Quantity
from tests.random_weights import make_images, randomise, state_of

CONFIG = DepthProConfig(VitConfig(16, 4, 2, (0, 2, 3), grid=8, patch=4), channels=(32, 20, 24, 28), features=32)
SIZES = dict.fromkeys(("default_size", "multiple_of", "largest_size", "smallest_size"), CONFIG.side)
SPEC = replace(find_spec("depth-pro"), config=CONFIG, **SIZES)
FOV = 55.0


@functools.cache
def weights(config=CONFIG):
    """Random weights under the authors' names: inverse depths of about 0.5 / m, and a field of view of about `FOV` degrees."""
    with torch.device("meta"):
        network = DepthPro(config)
    state = state_of(network)
    state["head.4.bias"], state["fov.head.4.bias"] = torch.tensor([0.5]), torch.tensor([FOV])
    state["head.4.weight"] *= 0.3
    state["fov.head.2.bias"] += 1
    state["fov.head.4.weight"] *= 5
    return state


def annotator(state=None, dtype=torch.float32):
    return DepthProAnnotator.build(SPEC, {"network": dict(state or weights())}, dtype)


def half_tangent(degrees):
    return math.tan(math.radians(degrees) / 2)


# The estimate


@pytest.mark.slow("takes a second")
def test_metres_follow_the_focal_length():
    network = annotator()
    image = make_images(30, 50)
    found = network.estimate(image)
    assert found.quantity is Quantity.METRIC_DEPTH and found.depth.shape == (1, 1, 30, 50)
    degrees = float(fov_from_intrinsics(found.intrinsics, 30, 50)[0])
    assert 30 < degrees < 80
    twice = math.degrees(2 * math.atan(half_tangent(degrees) / 2))
    nearer = network.estimate(image, fov=twice)
    assert float(fov_from_intrinsics(nearer.intrinsics, 30, 50)[0]) == pytest.approx(twice, rel=1e-5)
    torch.testing.assert_close(nearer.depth, 2 * found.depth, rtol=1e-4, atol=0)


def test_an_upright_image_has_its_field_of_view_along_its_longer_side():
    found = annotator().estimate(make_images(50, 30), fov=60.0)
    assert float(found.intrinsics[0, 0, 0]) == pytest.approx(25 / half_tangent(60))


def test_what_has_no_inverse_depth_is_far():
    state = dict(weights())
    state["head.4.bias"], state["head.4.weight"] = torch.zeros(1), torch.zeros_like(state["head.4.weight"])
    assert torch.equal(annotator(state=state).estimate(make_images(30, 50)).depth, torch.full((1, 1, 30, 50), MAX_DEPTH))


# Beside others' code


@pytest.fixture(scope="module")
def hub_network():
    """transformers' network with random weights."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "DepthProConfig"):
        pytest.skip(f"transformers {transformers.__version__} has no Depth Pro; 4.49 is the first that has it")
    from transformers import DepthProConfig as HubConfig
    from transformers import DepthProForDepthEstimation

    vit, (first, second, third, last) = CONFIG.vit, CONFIG.channels
    transformer = {
        "model_type": "dinov2", "image_size": CONFIG.window, "patch_size": vit.patch, "hidden_size": vit.width,
        "num_hidden_layers": vit.depth, "num_attention_heads": vit.heads,
    }  # fmt: skip
    shallow, deeper, _ = vit.taken
    config = HubConfig(
        fusion_hidden_size=CONFIG.features,
        patch_size=CONFIG.window,
        intermediate_hook_ids=[deeper, shallow],
        intermediate_feature_dims=[first, first],
        scaled_images_ratios=[0.25, 0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[last, third, second],
        merge_padding_value=vit.grid // 8,
        use_fov_model=True,
        image_model_config=transformer,
        patch_model_config=transformer,
        fov_model_config=transformer,
    )
    network = randomise(DepthProForDepthEstimation(config))
    network.head.layers[4].bias.fill_(0.5)
    network.fov_model.head.layers[2].bias.add_(1)
    network.fov_model.head.layers[4].bias.fill_(FOV)
    network.fov_model.head.layers[4].weight.mul_(5)
    return network


@pytest.mark.slow("imports transformers' networks")
def test_the_network_is_transformers_and_takes_its_files_and_what_it_has_in_memory(hub_network, tmp_path):
    pixels = torch.randn(2, 3, CONFIG.side, CONFIG.side, generator=torch.Generator().manual_seed(1))
    expected = hub_network(pixels)
    hub_network.save_pretrained(tmp_path)
    for state in (load_file(tmp_path / "model.safetensors"), hub_network.state_dict()):
        inverse_depth, fov = annotator(state).network(pixels)
        assert inverse_depth.std() > 0.03 and fov.std() > 0.1
        assert (inverse_depth[:, 0] - expected.predicted_depth).abs().max() < 1e-5 * inverse_depth.max()
        assert torch.allclose(fov, expected.field_of_view, rtol=1e-6)


LARGER = replace(CONFIG, vit=VitConfig(16, 4, 2, (0, 2, 3), grid=24, patch=16))


@pytest.mark.slow("sees images of the true size")
@pytest.mark.parametrize(("height", "width", "known"), [(200, 333, 0.0), (1536, 1536, 0.0), (1700, 900, 70.0)])
def test_from_the_image_to_metres_as_the_authors(height, width, known, is_the_authors):
    """Recorded from `DepthPro.infer` of apple/ml-depth-pro, 9efe5c1; patches have 384 pixels there always."""
    ours = DepthProAnnotator.build(replace(SPEC, config=LARGER), {"network": weights(LARGER)}, torch.float32)
    found = ours.estimate((make_images(height, width) * 255).round() / 255, fov=known)
    assert found.depth.shape[-2:] == (height, width)
    case = f"depth-pro, {height}x{width}, field of view: {known:g}"
    is_the_authors(case, 1e-5, depth=found.depth, focal_length=found.intrinsics[:, 0, 0])
