import pytest
import torch

from depth_normal.annotators.networks.efficientnet import B5_CHANNELS, EfficientNetB5
from tests.random_weights import randomise


@pytest.fixture(scope="module")
def timms():
    timm = pytest.importorskip("timm", reason="the oracle is timm (extra 'test')")
    return randomise(timm.create_model("tf_efficientnet_b5"), gain=1.3)


@pytest.fixture(scope="module")
def ours(timms):
    network = EfficientNetB5().eval().requires_grad_(False)
    network.load_state_dict(EfficientNetB5.without_unused(timms.state_dict()))
    return network


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (70, 51)], ids=["multiples of 32", "any size"])
def test_parity_with_timm(timms, ours, height, width):
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    expected = []
    x = timms.bn1(timms.conv_stem(images))
    for number, stage in enumerate(timms.blocks):
        x = stage(x)
        expected += [x] if number in (0, 1, 2, 4) else []
    expected.append(timms.conv_head(x))
    found = ours(images)
    assert [each.shape[1] for each in found] == list(B5_CHANNELS)
    for level, (a, b) in enumerate(zip(found, expected, strict=True), 1):
        assert a.shape[-2:] == (-(-height // 2**level), -(-width // 2**level))
        assert b.std() > 0.05
        assert (a - b).abs().max() < 1e-5 * b.abs().max()
