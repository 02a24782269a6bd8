"""ZoeDepth against the authors' networks, at the same random weights, and its head on Depth Anything against transformers'."""

import contextlib
import importlib
import io
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators import zoe
from depth_normal.annotators.building import from_transformers
from depth_normal.annotators.networks.dpt import DptConfig
from depth_normal.annotators.networks.vit import VitConfig
from depth_normal.annotators.networks.zoe import ZoeDepthAnything, official_to_hub
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs.base import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, WeightFile
from depth_normal.annotators.specs.depth_anything import DepthAnythingConfig
from depth_normal.annotators.specs.midas import ZOE_KITTI, ZOE_NYU, ZOE_NYU_KITTI
from depth_normal.annotators.specs.midas import ZOE_SPECS as SPECS
from depth_normal.annotators.specs.midas import zoe_resizing as resizing
from depth_normal.annotators.zoe import ZoeDepthAnythingAnnotator
from depth_normal.geometry.estimate import Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from tests import graph_families as SHRUNK
from tests import midas_oracle
from tests.exactness import assert_as_exact
from tests.random_weights import make_images, randomise

pytestmark = pytest.mark.filterwarnings("ignore")

FEATURES = midas_oracle.SmallBeit.features
BACKBONE = {**midas_oracle.BLOCKS, "image_size": 96, "use_relative_position_bias": True, "reshape_hidden_states": False}
PUBLISHED = {"nyu": ZOE_NYU, "kitti": ZOE_KITTI, "nyu-kitti": ZOE_NYU_KITTI}


def tiny_config(name):
    return replace(PUBLISHED[name], backbone=BACKBONE, neck=(32, 48, 64, 64), features=FEATURES)


def build(state, name="nyu", dtype=torch.float32):
    config = tiny_config(name)
    spec = ModelSpec("tiny", "zoedepth", (WeightFile("tiny.pt"),), "MIT", config=config, resizing=resizing(config), default_size=64)
    return zoe.ZoeAnnotator.build(spec, {"network": state}, dtype)


def authors_core():
    """MiDaS on a BEiT of four blocks, as the authors' networks have it."""
    with contextlib.redirect_stdout(io.StringIO()):
        core = midas_oracle.authors("midas").MidasCore(
            midas_oracle.SmallBeit(96), fetch_features=True, keep_aspect_ratio=True, img_size=(64, 85)
        )
    core.output_channels = [FEATURES] * 5
    return core


def by_network(annotator, images):
    """The network's output for images of its size, without the mirror images."""
    return annotator.run_network(annotator.normalised(images))[0]


@pytest.fixture(scope="module", params=PUBLISHED)
def oracle(request):
    """The authors' network and its name; its frame is a sixth of theirs: 64 high, and 85.3 or (KITTI) 128 wide."""
    core = authors_core()
    core.prep.resizer._Resize__width = 64 * (2 if request.param == "kitti" else 4 / 3)
    package = importlib.import_module("controlnet_aux.zoe.zoedepth.utils.config")
    models = "controlnet_aux.zoe.zoedepth.models"
    name = request.param
    if name == "nyu-kitti":
        config = package.get_config("zoedepth_nk", "infer")
        network = importlib.import_module(f"{models}.zoedepth_nk.zoedepth_nk_v1").ZoeDepthNK(core, **config)
    else:
        config = package.get_config("zoedepth", "infer")
        if name == "kitti":
            config.update(bin_centers_type="normed", max_depth=80, min_depth=1e-3)
        network = importlib.import_module(f"{models}.zoedepth.zoedepth_v1").ZoeDepth(core, **config)
    return randomise(network), name


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("size", [(48, 64), (54, 96), (75, 50)], ids=str)
def test_it_is_as_exact_as_the_authors(oracle, size):
    """`-s` prints how far both are from float64; docs/parity.md has the figures."""
    (network, name), images = oracle, make_images(*size)
    estimate = build(network.state_dict(), name).estimate(images)
    assert estimate.quantity == Quantity.METRIC_DEPTH
    assert_as_exact(estimate.depth, network, lambda authors, dtype: authors.infer(images.to(dtype)))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", PUBLISHED)
def test_hub_files_load(name, tmp_path):
    (network_class,) = from_transformers("ZoeDepthForDepthEstimation")
    model = randomise(network_class(zoe.transformers_config(tiny_config(name))))
    model.save_pretrained(tmp_path)
    annotator = build(read_checkpoint(tmp_path / "model.safetensors"), name)
    images = make_images(64, 96)
    torch.testing.assert_close(by_network(annotator, images)[:, 0], model(2 * images - 1).predicted_depth, rtol=1e-5, atol=0)


@pytest.fixture(scope="module")
def both_scenes():
    """A network for both kinds of scene that takes some of `different_images` for one and some for the other."""
    (network_class,) = from_transformers("ZoeDepthForDepthEstimation")
    model = randomise(network_class(zoe.transformers_config(tiny_config("nyu-kitti"))))
    seen = [model(2 * image[None] - 1).domain_logits[0] for image in different_images()]
    votes = torch.stack([logits[0] - logits[1] for logits in seen])
    model.metric_head.mlp_classifier.linear2.bias[1] += (votes.min() + votes.max()) / 2
    return build(model.state_dict(), "nyu-kitti")


def different_images():
    return torch.stack([torch.zeros(3, 64, 96), torch.ones(3, 64, 96), make_images(64, 96)[0]])


@pytest.mark.slow("takes most of a second")
def test_the_kind_of_scene_is_each_images_own(both_scenes):
    images = different_images()
    kinds = {int(both_scenes.network(2 * image[None] - 1).domain_logits.argmax()) for image in images}
    assert kinds == {0, 1}, "the test needs images of both kinds"
    together = by_network(both_scenes, images)
    for index in range(len(images)):
        torch.testing.assert_close(together[index : index + 1], by_network(both_scenes, images[index : index + 1]))


@pytest.mark.slow("takes a second")
def test_a_mirrored_image_gives_the_mirrored_depth():
    annotator, images = SHRUNK.annotator("zoedepth-nyu"), make_images(40, 60, 2)
    torch.testing.assert_close(annotator.estimate(images.flip(-1)).depth, annotator.estimate(images).depth.flip(-1), rtol=1e-5, atol=0)


def test_ranges_are_those_of_the_data_that_a_model_is_named_after():
    for spec in SPECS:
        assert "-".join(name for name, _ in spec.config.ranges) == spec.id.removeprefix("zoedepth-")
        assert dict(spec.config.ranges).get("kitti", 80.0) == 80.0 and spec.quantity is Quantity.METRIC_DEPTH


DINO = DepthAnythingConfig(VitConfig(32, 4, 2, (0, 1, 2, 3), grid=5), DptConfig((16, 24, 32, 40), FEATURES))


def dino_spec():
    return replace(find_spec("zoe-depth-anything-indoor"), default_size=56, config=DINO)


@pytest.fixture(scope="module")
def dino_state():
    network = randomise(ZoeDepthAnything(DINO.vit, DINO.dpt))
    state = {key.replace("core.", "core.core.", 1): value for key, value in network.state_dict().items()}
    state["core.core.pretrained.mask_token"] = torch.zeros(1, 32)
    state["core.core.depth_head.scratch.refinenet4.resConfUnit1.conv1.bias"] = torch.zeros(FEATURES)
    state["conditional_log_binomial.log_binomial_transform.k_idx"] = torch.arange(64)
    state["conditional_log_binomial.log_binomial_transform.K_minus_1"] = torch.tensor([63.0])
    return state


def dino_annotator(state, dtype=torch.float32):
    return ZoeDepthAnythingAnnotator.build(dino_spec(), {"network": state}, dtype)


def test_the_metric_head_on_depth_anything_is_transformers(dino_state):
    (config_class,) = from_transformers("ZoeDepthConfig")
    modeling = importlib.import_module("transformers.models.zoedepth.modeling_zoedepth")
    oracle = modeling.ZoeDepthMetricDepthEstimationHead(config_class(fusion_hidden_size=FEATURES, bottleneck_features=FEATURES)).eval()
    renamed = official_to_hub({key: value for key, value in dino_state.items() if not key.startswith("core.")})
    oracle.load_state_dict({key.removeprefix("metric_head."): value for key, value in renamed.items()})
    network = dino_annotator(dino_state).network
    pixels = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(2))
    head = network.core.depth_head
    bottleneck, *blocks = head.pyramid(network.core.pretrained(pixels)[0], 56, 84)
    features = F.relu(head.scratch.output_conv2[0](head.full_size(blocks[-1], 56, 84)))
    relative = F.relu(head.scratch.output_conv2[2](features))[:, 0]
    with torch.no_grad():
        expected, _ = oracle(features, bottleneck, blocks, relative)
    torch.testing.assert_close(network(pixels), expected, rtol=1e-5, atol=0)
    assert expected.std() > 1e-3


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [(48, 64), (54, 96), (75, 50)], ids=str)
def test_depth_anything_infers_as_the_authors_do(dino_state, size):
    package = "controlnet_aux.zoe.zoedepth.models"
    pytest.importorskip(package, reason="the oracle is controlnet-aux (extra 'test')")
    base = importlib.import_module(f"{package}.depth_model").DepthModel
    resize = importlib.import_module(f"{package}.base_models.midas").Resize
    annotator = dino_annotator(dino_state)
    mean, std = (torch.tensor(value)[:, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))

    class Authors(base):
        """Their `infer`, and their core's resizing and normalisation, around a network that is compared by itself above."""

        def __init__(self):
            super().__init__()
            with contextlib.redirect_stdout(io.StringIO()):
                # their frame is 392 x 518
                self.resize = resize(56 * 518 / 392, 56, keep_aspect_ratio=True, ensure_multiple_of=14, resize_method="minimal")

        def forward(self, x):
            return {"metric_depth": annotator.network((self.resize(x) - mean) / std)}

    images = make_images(*size)
    expected, estimate = Authors().infer(images), annotator.estimate(images)
    assert estimate.quantity == Quantity.METRIC_DEPTH and estimate.depth.shape == expected.shape == (1, 1, *size)
    assert (estimate.depth - expected).abs().max() < min(1e-5 * expected.max(), 1e-3 * expected.std())
