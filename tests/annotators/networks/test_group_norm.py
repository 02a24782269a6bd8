import copy

import pytest
import torch
from torch import nn

from depth_normal.annotators.networks.layers import GroupNorm, exact_group_norms

MAPS = 3 + torch.randn(2, 32, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("groups", [1, 8, 32])
@pytest.mark.parametrize("affine", [False, True])
def test_is_as_exact_in_channels_last_memory_as_in_another(groups, affine):
    layer = GroupNorm(groups, 32, affine=affine)
    for value in layer.parameters():
        nn.init.normal_(value, 1, 0.2, generator=torch.Generator().manual_seed(1))
    ordered = MAPS.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found = layer(ordered)
        expected = copy.deepcopy(layer).double()(MAPS.double())
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).abs().max() < 3e-6  # torch's: 1e-5 to 1e-4


def test_a_librarys_layers_keep_their_parameters_and_activations():
    class WithActivation(nn.GroupNorm):
        activation: nn.Module

    layer = WithActivation(4, 32)
    layer.activation = nn.ReLU()
    nn.init.normal_(layer.weight)
    network = nn.Sequential(nn.Sequential(layer), nn.GroupNorm(8, 32))
    exact_group_norms(network)
    assert [type(each) for each in (network[0][0], network[1])] == [GroupNorm, GroupNorm]
    with torch.no_grad():
        expected = network[1](nn.functional.group_norm(MAPS, 4, layer.weight, layer.bias).relu())
        assert torch.allclose(network(MAPS.contiguous(memory_format=torch.channels_last)), expected, atol=1e-5)
    assert network[0][0].weight is layer.weight
