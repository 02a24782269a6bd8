import pytest
import torch
import torch.nn.functional as F
from torch import nn

from depth_normal.annotators.networks.folding import RepeatedBorder, add_transposed_then_conv, bilinear_then_conv, folds, then_pointwise

SIZES = [(1, 1), (1, 5), (4, 1), (2, 2), (5, 7)]


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def conv(*arguments, **options):
    """A convolution that repeats the border."""
    return nn.Conv2d(*arguments, padding=1, padding_mode="replicate", **options)


def padded(x):
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_border_repeats_the_pixels_beside_it(height, width):
    maps = draw(2, 3, height, width)
    border = RepeatedBorder(maps)
    assert torch.equal(border.around(maps), padded(maps))
    assert torch.equal(border.around_positive(-maps), padded(F.relu(-maps)))
    assert RepeatedBorder(maps.bfloat16(), torch.float32).around(maps.bfloat16()).dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_enlarging_and_a_convolution_are_one(height, width):
    x, layer = draw(2, 3, height, width), conv(3, 5, 3)
    expected = layer(F.interpolate(x, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(bilinear_then_conv(padded(x), layer.weight, layer.bias), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_transposed_convolution_and_a_convolution_are_one(height, width, dtype):
    x, first, second = draw(2, 6, height, width), nn.ConvTranspose2d(6, 4, 2, 2), conv(4, 5, 3)
    total = draw(2, 5, 2 * height, 2 * width)
    expected = total + second(first(x))
    got = total.to(dtype)
    add_transposed_then_conv(got, x.to(dtype), first.to(dtype), second.to(dtype))
    exact = dtype == torch.float32
    torch.testing.assert_close(got.float(), expected, rtol=1e-5 if exact else 0.02, atol=1e-6 if exact else 0.03)


@torch.no_grad()
def test_a_convolution_and_a_pointwise_one_are_one():
    x, first, second = draw(2, 3, 5, 7), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
    weight, bias = then_pointwise(first, second.weight)
    torch.testing.assert_close(F.conv2d(x, weight, bias + second.bias), second(first(x)), rtol=1e-5, atol=1e-6)


def test_gradients_and_other_devices_take_the_layers_one_by_one():
    assert folds(torch.zeros(1))
    assert not folds(torch.zeros(1, requires_grad=True))
    assert not folds(torch.zeros(1, device="meta"))
