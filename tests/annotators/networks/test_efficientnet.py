import pytest
import torch

from depth_normal.annotators.networks.efficientnet import SameConv2d


@torch.no_grad()
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(64, 96), (70, 51), (5, 1)], ids=str)
def test_images_of_any_size_are_padded_as_timm_pads_them(kernel, size):
    layers = pytest.importorskip("timm.layers", reason="the oracle is timm (extra 'test')")
    theirs, ours = (each(2, 3, kernel, 2, bias=False) for each in (layers.Conv2dSame, SameConv2d))
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(images), theirs(images))
