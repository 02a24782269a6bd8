import numpy as np
import pytest
import torch

from depth_normal.annotators.leres import LeresAnnotator, LeresOptions
from depth_normal.annotators.networks.configs import LeresConfig, MergeConfig
from depth_normal.annotators.networks.leres import Leres, MergeNetwork
from depth_normal.annotators.preprocessing.resizing import SHORT_SIDE
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from tests import leres_oracle as oracle
from tests.random_weights import make_images


@pytest.fixture(scope="module")
def authors():
    return oracle.relative_depth_model()


@pytest.fixture
def annotator(authors):
    return LeresAnnotator.build(oracle.shrunk("leres"), {"network": unwrapped(authors)}, torch.float32)


def unwrapped(model):
    return {key.removeprefix("module."): value for key, value in oracle.published(model)["depth_model"].items()}


def test_the_published_architecture_has_the_authors_tensors():
    """By name and shape, and as many as were counted in res101.pth."""
    generator = oracle.authors(".pix2pix.models.networks")
    modules = oracle.authors(".leres.network_auxi")
    with torch.device("meta"):
        theirs = torch.nn.Module()
        theirs.encoder_modules, theirs.decoder_modules = modules.resnext101_stride32x8d(), modules.Decoder()
        merging = generator.UnetGenerator(2, 1, 10, 64, norm_layer=lambda _: generator.Identity())
        ours, merge = Leres(LeresConfig()), MergeNetwork(MergeConfig())
    shapes = [
        {key: value.shape for key, value in state.items()}
        for state in (Leres.official_names(theirs.state_dict()), ours.state_dict(), merging.state_dict(), merge.state_dict())
    ]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 712
    assert sum(parameter.numel() for parameter in ours.parameters()) == 115_360_833
    renamed = MergeNetwork.official_names(merging.state_dict(), MergeConfig())
    assert {key: value.shape for key, value in renamed.items()} == shapes[3]
    size = MODELS["leres-boost"].files[1].approximate_size
    assert 0 < size - 4 * sum(parameter.numel() for parameter in merge.parameters()) < 20_000


@pytest.mark.parametrize(("height", "width"), [(96, 130), (130, 70), (64, 64)])
def test_the_whole_way_is_the_authors(authors, annotator, height, width):
    """Their test_depth.py: stretched to a square by OpenCV, RGB in [0, 1]; the least depth is 0.01; enlarged to the image's size."""
    cv2 = pytest.importorskip("cv2", reason="the oracle resizes with OpenCV (extra 'test')")
    image = make_images(height, width)
    square = cv2.resize(image[0].permute(1, 2, 0).numpy(), (64, 64))
    normalised = (square - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    raw = authors.depth_model(torch.from_numpy(normalised).permute(2, 0, 1)[None].float())
    wanted = cv2.resize((raw - raw.min() + 0.01)[0, 0].numpy(), (width, height))
    found = annotator.estimate(image)
    assert found.quantity is Quantity.RELATIVE_DEPTH and found.depth.shape == (1, 1, height, width)
    difference = found.depth[0, 0].numpy() - wanted
    assert np.ptp(difference) < 2e-5 * np.ptp(wanted)


def test_the_old_nodes_input_is_reversed_and_not_scaled(authors, annotator):
    """`estimateleres` of the ControlNet nodes, on an image of 8-bit levels."""
    depthmap = oracle.authors(".leres.depthmap")
    levels = (make_images(64, 96)[0].permute(1, 2, 0) * 255).round()
    wanted = depthmap.estimateleres(levels.numpy().astype(np.uint8), authors, 96, 64)
    images = (levels / 255).permute(2, 0, 1)[None]
    found = annotator.with_resizing(SHORT_SIDE).estimate(images, 64, options=LeresOptions(old_node=True)).depth[0, 0].numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.ptp(wanted)
    plain = annotator.with_resizing(SHORT_SIDE).estimate(images, 64).depth[0, 0].numpy()
    assert np.abs(plain - wanted).max() > 0.05 * np.ptp(wanted), "the two inputs are not the same"


def test_the_layouts_of_file_give_the_same_network(authors, annotator, tmp_path):
    whole = oracle.published(authors, ("shift_model", "focal_model"))
    bare = {key.removeprefix("module."): value for key, value in whole["depth_model"].items()}
    wanted = annotator.network.state_dict()
    for layout in (whole, {"depth_model": bare}, bare):
        torch.save(layout, tmp_path / "res101.pth")
        state = read_checkpoint(tmp_path / "res101.pth")
        found = LeresAnnotator.build(oracle.shrunk("leres"), {"network": state}, torch.float32).network.state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
