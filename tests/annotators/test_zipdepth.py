from dataclasses import replace

import pytest
import torch

from depth_normal.annotators.networks.configs import ZipDepthConfig
from depth_normal.annotators.networks.zipdepth import ZipDepth
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.zipdepth import ZipDepthAnnotator
from depth_normal.geometry.estimate import Quantity
from tests.random_weights import make_images

IDS = ("zipdepth-base", "zipdepth-base-npu")
SMALL = ZipDepthConfig((8, 8, 16, 16), (1, 1, 2, 1), decoder=8, half=8)


def spec_of(model_id, config=None):
    spec = MODELS[model_id]
    return replace(spec, config=replace(config or spec.config, convex=spec.config.convex))


def weights(model_id="zipdepth-base", config=None):
    """Random weights as the published file has them, of numbers that are the same on every processor; the disparity is positive."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = ZipDepth(spec_of(model_id, config).config)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    state = {"mean": mean.view(1, 3, 1, 1), "std": std.view(1, 3, 1, 1)}
    for name, value in network.state_dict().items():
        noise = 2 * torch.rand(value.shape, generator=generator) - 1
        if not value.is_floating_point():
            state[name] = torch.tensor(1000)
        elif value.ndim > 1:
            state[name] = noise * (3 / value[0].numel()) ** 0.5
        else:
            state[name] = float(name.endswith(("weight", "running_var"))) + 0.3 * noise
    state["decoder.head_half.weight"] *= 0.2 if config is None else 5  # so that the disparity of both has a deviation of about 1
    state["decoder.head_half.bias"] += 12
    return state


def annotator(model_id="zipdepth-base", config=SMALL, dtype=torch.float32):
    return ZipDepthAnnotator.build(spec_of(model_id, config), {"network": weights(model_id, config)}, dtype)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", IDS)
@pytest.mark.parametrize(("height", "width"), [(384, 512), (672, 384)])
def test_from_the_image_to_disparity_as_the_authors(model_id, height, width, is_the_authors):
    """Recorded from `DepthInference.infer_image` of fabiotosi92/ZipDepth, a302e54."""
    fused = annotator(model_id, None)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in fused.network.modules())
    found = fused.estimate((255 * make_images(height, width)).round() / 255)
    assert found.quantity is Quantity.DISPARITY and found.depth.dtype == torch.float32
    is_the_authors(f"{model_id}, {height}x{width}", 1e-5, disparity=found.depth)


def test_disparity_is_never_negative():
    state, images = weights(config=SMALL), make_images(64, 96, 2)
    state["decoder.head_half.bias"] -= 1000
    depth = ZipDepthAnnotator.build(spec_of("zipdepth-base", SMALL), {"network": state}, torch.float32).infer_resized(images).depth
    assert torch.equal(depth, torch.zeros(2, 1, 64, 96))


# Files


def test_names_of_a_network_trained_on_several_gpus_or_compiled_are_taken():
    state = {f"module._orig_mod.{name}": value for name, value in weights(config=SMALL).items()}
    spec = spec_of("zipdepth-base", SMALL)
    assert ZipDepthAnnotator.could_be(spec, state) and not ZipDepthAnnotator.could_be(spec, ["decoder.conv_in.weight"])
    found = ZipDepthAnnotator.build(spec, {"network": state}, torch.float32).infer_resized(make_images(64, 96)).depth
    assert torch.equal(found, annotator().infer_resized(make_images(64, 96)).depth)
