"""Group normalisation in channels-last memory is as exact as in the other order."""

import pytest
import torch
from torch import nn

from depth_normal.annotators.networks.group_norm import GroupNorm, exact_group_norms


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("batch", "channels", "groups", "side"), [(2, 64, 32, 96), (1, 32, 1, 40), (1, 24, 24, 7)])
def test_channels_last_loses_no_digits(batch, channels, groups, side, affine):
    maps = (torch.randn(batch, channels, side, side + 3) + 3) * (0.5 + torch.rand(1, channels, 1, 1))
    norm = GroupNorm(groups, channels, affine=affine)
    if affine:
        norm.weight.data, norm.bias.data = torch.rand(channels) + 0.5, torch.randn(channels)
    with torch.no_grad():
        found = norm(maps.contiguous(memory_format=torch.channels_last))
        exact = nn.functional.group_norm(maps.double(), groups)
        if affine:
            exact = exact * norm.weight.double().view(1, -1, 1, 1) + norm.bias.double().view(1, -1, 1, 1)
    assert found.is_contiguous(memory_format=torch.channels_last), "convolutions go on in that order"
    assert (found - exact).abs().max() < 3e-6
    torch.testing.assert_close(norm(maps), found, atol=3e-6, rtol=0)


def test_a_librarys_norms_are_replaced_with_their_activations():
    class Activated(nn.GroupNorm):
        activation = nn.ReLU()

        def forward(self, input):
            return self.activation(super().forward(input))

    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(Activated(2, 8)), nn.GroupNorm(4, 8)).eval()
    network.load_state_dict({name: torch.randn_like(value) for name, value in network.state_dict().items()})
    images = torch.rand(1, 3, 9, 9)
    expected, weights = network(images), {id(each) for each in network.parameters()}
    exact_group_norms(network)
    assert sum(isinstance(each, GroupNorm) for each in network.modules()) == 2
    assert {id(each) for each in network.parameters()} == weights
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(images), expected)
