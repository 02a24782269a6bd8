import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.preprocessing.resizing import SHORT_SIDE, CutToMultiple, Fit, OwnSize, Resizing, cubic, linear_to_corners
from tests.pretend import stand_in


def published_size(height, width, frame, multiple, method, keep_aspect):
    """MiDaS's `Resize.get_size`, from its description: bounds hold after the rounding."""
    scales = np.array(frame) / (height, width)
    if keep_aspect:
        chosen = {"lower_bound": scales.max(), "upper_bound": scales.min(), "minimal": scales[np.abs(1 - scales).argmin()]}[method]
        scales = np.array((chosen, chosen))
    sides = scales * (height, width) / multiple
    nearest = np.round(sides)
    if method == "lower_bound":
        nearest = np.where(nearest * multiple < frame, np.ceil(sides), nearest)
    if method == "upper_bound":
        nearest = np.where(nearest * multiple > frame, np.floor(sides), nearest)
    return tuple(int(side) * multiple for side in nearest)


@pytest.mark.parametrize(
    ("fit", "method", "keep_aspect"),
    [
        (Fit.LOWER_BOUND, "lower_bound", True),
        (Fit.UPPER_BOUND, "upper_bound", True),
        (Fit.MINIMAL, "minimal", True),
        (Fit.STRETCHED, "minimal", False),
    ],
)
@pytest.mark.parametrize(("size", "aspect", "multiple"), [(384, 4 / 3, 32), (384, 2, 32), (256, 1, 32), (520, 1, 14)])
def test_sizes_are_those_of_the_published_rule(fit, method, keep_aspect, size, aspect, multiple):
    generator = np.random.default_rng(0)
    for height, width in generator.integers(60, 3000, (300, 2)).tolist():
        expected = published_size(height, width, (size, size * aspect), multiple, method, keep_aspect)
        if min(expected) > 0:  # the authors' code fails at 0
            assert Resizing(fit, aspect).rule(size, multiple).size(height, width) == expected, (height, width)


@pytest.mark.parametrize("fit", Fit)
def test_a_side_is_never_less_than_one_multiple(fit):
    assert min(Resizing(fit).rule(64, 32).size(1, 4000)) >= 32


@pytest.mark.parametrize(
    ("image", "network"), [((61, 83), (56, 70)), ((70, 84), (70, 84)), ((5, 13), (14, 14)), ((1080, 1920), (1078, 1918))]
)
def test_own_size_cuts_both_sides_whatever_the_size(image, network):
    assert OwnSize().rule(518, 14).size(*image) == OwnSize().rule(64, 14).size(*image) == network
    assert OwnSize().rule(518, 14) == CutToMultiple(14)


def test_cubic_is_opencvs():
    image = torch.rand(1, 3, 61, 83, generator=torch.Generator().manual_seed(1))
    for height, width in ((42, 98), (20, 24), (130, 170)):
        expected = cv2.resize(image[0].permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_CUBIC)
        assert expected.max() > 1, "the overshoot is kept, as the authors keep it"
        np.testing.assert_allclose(cubic(image, height, width)[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_linear_to_corners_keeps_the_corners():
    image = torch.rand(1, 3, 7, 9)
    resized = linear_to_corners(image, 25, 33)
    torch.testing.assert_close(resized[..., ::24, ::32], image[..., ::6, ::8])
    torch.testing.assert_close(resized[..., ::4, ::4], image)


def columns_of(pixels):
    return torch.linspace(0, 1, pixels.shape[-1]).expand(len(pixels), 1, *pixels.shape[-2:]).contiguous()


def test_a_stretched_images_estimate_has_the_images_own_size():
    ramp = stand_in(columns_of, default_size=64, resizing=Resizing(Fit.STRETCHED, resample=cubic))
    expected = F.interpolate(torch.linspace(0, 1, 64).expand(1, 1, 64, 64), size=(90, 160), mode="bilinear", align_corners=False)
    torch.testing.assert_close(ramp.estimate(torch.rand(1, 3, 90, 160)).depth, expected)


def test_the_same_network_with_another_rule():
    ramp = stand_in(columns_of, default_size=64, resizing=Resizing(Fit.STRETCHED))
    other = ramp.with_resizing(SHORT_SIDE)
    assert other.network is ramp.network
    assert other.estimate(torch.rand(1, 3, 90, 160)).depth.shape == (1, 1, 64, 128)
    assert ramp.network_size(90, 160, 64) == (64, 64), "the first is as it was"
