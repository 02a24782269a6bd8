"""ZipDepth: the authors' network with the same weights, recorded and anew, its fusing, its files, and its sizes."""

from dataclasses import replace

import pytest
import torch

from depth_normal.annotators.networks.configs import ZipDepthConfig
from depth_normal.annotators.networks.zipdepth import ZipDepth
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError
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


# What the network of fabiotosi92/ZipDepth (a302e54) gave at these weights: disparity at the places, its mean, its deviation
PLACES = ((0, 0), (0, 95), (63, 0), (63, 95), (31, 47), (32, 48), (10, 70), (50, 20))
RECORDED = {
    "zipdepth-base": (14.35663, 15.03363, 12.98381, 15.96244, 16.05105, 16.36638, 13.65285, 16.55351, 15.79049, 1.22868),
    "zipdepth-base-npu": (14.31738, 15.0344, 12.96549, 13.97542, 16.12718, 16.32242, 13.70096, 16.4628, 15.79764, 1.20317),
}


@pytest.mark.parametrize("model_id", IDS)
def test_parity_with_what_the_authors_network_gave(model_id):
    estimate = annotator(model_id, None).infer_resized(make_images(64, 96, seed=1))
    assert estimate.quantity is Quantity.DISPARITY
    depth = estimate.depth[0, 0]
    assert depth.shape == (64, 96) and depth.dtype == torch.float32
    assert [*(depth[place].item() for place in PLACES), depth.mean().item(), depth.std().item()] == pytest.approx(
        RECORDED[model_id], rel=1e-5
    )


@pytest.mark.slow("runs the authors' code")
@pytest.mark.parametrize("model_id", IDS)
def test_from_the_image_to_disparity_as_the_authors(model_id, clone_of_the_authors, tmp_path):
    clone_of_the_authors("DEPTH_NORMAL_ZIPDEPTH", "fabiotosi92/ZipDepth")
    from zipdepth.inference.predictor import DepthInference

    torch.save({"model_state_dict": weights(model_id)}, tmp_path / "authors.pth")
    options = {"device": "cpu", "warmup_iters": 0, "upsample_unfold": not model_id.endswith("npu")}
    theirs, ours = DepthInference(str(tmp_path / "authors.pth"), **options), annotator(model_id, None)
    for height, width in ((384, 512), (672, 384)):
        levels = (255 * make_images(height, width)).round()
        expected = torch.from_numpy(theirs.infer_image(levels[0].flip(0).movedim(0, -1).byte().numpy()))
        found = ours.estimate(levels / 255).depth[0, 0]
        print(f"{model_id}: {expected.min():.3g} to {expected.max():.3g}, largest {(found - expected).abs().max() / expected.max():.2g}")
        assert expected.std() > 0.1 and (found - expected).abs().max() < 1e-5 * expected.max()


@torch.no_grad()
@pytest.mark.parametrize("model_id", IDS)
def test_fused_blocks_compute_what_their_branches_do(model_id):
    spec, state = spec_of(model_id, SMALL), weights(model_id, SMALL)
    whole, images = ZipDepth(spec.config).eval(), make_images(64, 96, 2)
    whole.load_state_dict(ZipDepth.official_names(state))
    fused = ZipDepthAnnotator.build(spec, {"network": state}, torch.float32)
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in fused.network.modules())
    expected = ZipDepthAnnotator(spec, whole).infer_resized(images).depth
    torch.testing.assert_close(fused.infer_resized(images).depth, expected, rtol=0, atol=1e-4 * expected.std().item())


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


def test_the_file_of_the_other_upsampling_is_refused():
    words = r"not a checkpoint of zipdepth-base-npu: 8 unexpected keys \(first: decoder.convex_up.mask_pred.0.weight\)"
    with pytest.raises(CheckpointError, match=words):
        ZipDepthAnnotator.build(spec_of("zipdepth-base-npu", SMALL), {"network": weights(config=SMALL)}, torch.float32)
