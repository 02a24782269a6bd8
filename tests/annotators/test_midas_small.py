import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from depth_normal.annotators.midas import MidasAnnotator
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Quantity
from depth_normal.utils import check_images, images_to_rgb
from tests.exactness import assert_as_exact
from tests.random_weights import make_images, random_midas_small, randomise

SPEC = MODELS["midas-v2.1-small"]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def build(state):
    return MidasAnnotator.build(SPEC, {"network": state}, torch.float32)


@pytest.fixture(scope="module")
def random_state():
    return random_midas_small().state_dict()


@pytest.mark.slow("takes a second")
def test_it_is_as_exact_as_the_authors(monkeypatch):
    timm = pytest.importorskip("timm", reason="the oracle's encoder is timm's (extra 'test')")
    reason = "the oracle is controlnet-aux (extra 'test')"
    oracles = pytest.importorskip("controlnet_aux.midas.midas.midas_net_custom", reason=reason)
    encoder = timm.create_model("tf_efficientnet_lite3")
    encoder.act1 = torch.nn.Identity()  # timm >= 0.9 has the activation in bn1
    monkeypatch.setattr(torch.hub, "load", lambda *_args, **_options: encoder)
    oracle = randomise(oracles.MidasNet_small(None))
    oracle.scratch.output_conv[4].bias.fill_(10)  # above what the last ReLU cuts
    state = oracle.state_dict()
    assert len(state) == 482
    images = make_images(64, 96)
    estimate = build(state).infer_resized(images)
    assert estimate.quantity is Quantity.DISPARITY and estimate.depth.min() > 0

    def predicted(network, dtype):
        return network((images.to(dtype) - MEAN) / STD)

    assert_as_exact(estimate.depth[:, 0], oracle, predicted)


def test_disparity_is_never_negative(random_state):
    state = {**random_state, "scratch.output_conv.4.bias": torch.tensor([-1e6])}
    assert torch.equal(build(state).infer_resized(make_images(32, 32)).depth, torch.zeros(1, 1, 32, 32))


# The authors' code with the same weights, from their run.py's resizing on: (row, column) of 256 x 256
GOLDEN = {
    "face": ((50, 112), 479.7426),
    "helmet": ((200, 200), 510.6427),
    "sleeve": ((240, 60), 452.2136),
    "chest": ((128, 112), 346.9991),
    "flag": ((100, 20), 166.8379),
    "wall beside the rocket": ((60, 180), 46.0989),
    "wall behind the head": ((30, 150), 16.2717),
}


def test_golden_values_on_a_photograph(partial_midas_small, photo):
    depth = build(load_file(partial_midas_small)).estimate(images_to_rgb(check_images(photo))).depth
    assert depth.shape == (1, 1, 256, 256)
    found = {name: depth[0, 0, row, column].item() for name, ((row, column), _) in GOLDEN.items()}
    assert found == pytest.approx({name: value for name, (_, value) in GOLDEN.items()}, rel=1e-3, abs=0.05)
    assert depth.max().item() == pytest.approx(520.6233, rel=1e-3)
    assert depth.mean().item() == pytest.approx(282.8545, rel=1e-3)
    assert depth.std().item() == pytest.approx(138.2312, rel=1e-3)


@pytest.fixture(scope="module")
def motorcycle():
    """An image (500, 741, 3) and its true disparity with the pixels that have one, Middlebury 2014."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the image")
    left, _, disparity = data.stereo_motorcycle()
    return left, disparity, np.isfinite(disparity) & (disparity > 0)


def published_run(network, image, height, width):
    """MiDaS's run.py for an image (H, W, 3) uint8, from the size that its `Resize` gives on."""
    resized = cv2.resize(image / 255.0, (width, height), interpolation=cv2.INTER_CUBIC)
    normalised = (resized - MEAN.numpy()[:, 0, 0]) / STD.numpy()[:, 0, 0]
    with torch.no_grad():
        disparity = network(torch.from_numpy(normalised.transpose(2, 0, 1)).float()[None])
    enlarged = F.interpolate(disparity, size=image.shape[:2], mode="bicubic", align_corners=False)
    # the pack lets no cubic overshoot out: disparity stays positive
    return enlarged.clamp(disparity.min(), disparity.max())


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [(slice(0, 500), slice(37, 704), (192, 256)), (slice(0, 417), slice(0, 741), (160, 256)), (slice(0, 500), slice(0, 333), (256, 160))],
    ids=["4:3", "16:9", "portrait"],
)
def test_the_whole_way_is_that_of_the_authors_run(midas_small, motorcycle, rows, columns, size):
    image = np.ascontiguousarray(motorcycle[0][rows, columns])
    annotator = build(load_file(midas_small))
    found = annotator.estimate(images_to_rgb(check_images(image))).resized(*image.shape[:2], annotator.resampling).depth
    expected = published_run(annotator.network, image, *size)
    apart = (found - expected).abs().max() / expected.max()
    print(f"from image to map: {apart:.1e} of the largest value apart")
    assert apart < 1e-4
