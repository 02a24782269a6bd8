import pytest
import torch

from depth_normal.geometry.filters import transforms
from tests.torch_calls import Largest


def surface(height, width):
    """A map of three channels that rises and falls, and where it is known: not in a hole, nor in single pixels."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, 3, height, width, generator=generator).cumsum(2) / height
    weight = (torch.rand(1, 1, height, width, generator=generator) > 0.1).float()
    weight[..., height // 2 :, width // 2 : width // 2 + 4] = 0
    return values, weight


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("sigma", [3.0, 15.9, 20.0])
def test_a_trend_does_not_depend_on_the_bands(sigma, monkeypatch):
    values, weight = surface(490, 12)
    whole = transforms.trend_where(values, weight, sigma)
    monkeypatch.setattr(transforms, "_BAND", 1000)
    assert (transforms.trend_where(values, weight, sigma) - whole).abs().max() < 1e-6


@pytest.mark.parametrize("seamless", [False, True])
def test_a_trend_takes_no_more_memory_than_its_map(seamless, monkeypatch):
    monkeypatch.setattr(transforms, "_BAND", 1000)
    values, weight = surface(600, 32)
    with Largest() as largest:
        transforms.trend_where(values, weight, 3.0, seamless)
    assert largest.bytes <= values.numel() * values.element_size()


def test_a_plane_is_its_own_trend_up_to_the_border(monkeypatch):
    monkeypatch.setattr(transforms, "_BAND", 1000)
    rows, columns = torch.meshgrid(torch.arange(400.0), torch.arange(50.0), indexing="ij")
    plane = (0.01 * rows - 0.02 * columns)[None, None]
    found = transforms.trend_where(plane, torch.ones_like(plane), 5.0)
    assert (found - plane).abs().max() < 0.01
