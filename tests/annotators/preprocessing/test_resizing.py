"""The sizes at which the networks run, by the rules of their authors."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from depth_normal.annotators.preprocessing.resizing import SHORT_SIDE, CutToMultiple, Fit, OwnSize, Resizing, cubic, linear_to_corners
from depth_normal.annotators.registry import FAMILIES, MODELS
from tests.pretend import stand_in

# height x width of the images: 4:3, 3:2, 16:9 and a portrait
IMAGES = ((480, 640), (400, 600), (1080, 1920), (640, 480))
DPT = ((384, 512), (384, 576), (384, 672), (512, 384))
NYU = ((384, 512), (384, 544), (384, 672), (672, 512))
INDOOR = ((392, 518), (392, 574), (392, 672), (672, 518))
LOWER_BOUND = ((518, 686), (518, 784), (518, 924), (686, 518))
LONG_SIDE = ((576, 768), (512, 768), (432, 768), (768, 576))
# computed with the authors' own code
SIZES = {
    "midas-dpt-hybrid": DPT,
    "midas-dpt-large": DPT,
    "midas-v2.1-small": ((192, 256), (160, 256), (128, 256), (256, 192)),
    "midas-swin2-tiny": ((256, 256), (256, 256), (256, 256), (256, 256)),
    "midas-beit-large-512": ((512, 672), (352, 512), (512, 896), (672, 512)),
    "zoedepth-nyu": NYU,
    "zoedepth-kitti": ((576, 768), (544, 768), (448, 768), (992, 768)),
    "zoedepth-nyu-kitti": NYU,
    "zoe-depth-anything-indoor": INDOOR,
    "zoe-depth-anything-outdoor": INDOOR,
    # 2500 tokens of 14 x 14, before the transformer's own rounding
    "moge-vitl": ((606, 808), (571, 857), (525, 933), (808, 606)),
    "tiny": ((224, 288), (224, 352), (224, 384), (288, 224)),
}
# of the other models of a family at one default size
BY_FAMILY = {
    ("depth-anything", 518): LOWER_BOUND,
    ("video-depth-anything", 518): LOWER_BOUND,
    ("depth-anything-3", 504): ((378, 504), (336, 504), (280, 504), (504, 378)),
    # 3600 tokens of 14 x 14 at the image's aspect
    ("moge", 840): ((728, 966), (686, 1022), (630, 1120), (966, 728)),
    ("metric3d", 616): ((616, 1064),) * 4,
    ("leres", 448): ((448, 448),) * 4,
    # the largest that whatever is found in an image may ask for
    ("leres-boost", 1024): ((1600, 1600),) * 4,
    ("bae", 480): ((480, 640), (480, 704), (480, 864), (640, 480)),
    # the sides are padded to 32 later
    ("dsine", 480): ((480, 640), (480, 720), (480, 853), (640, 480)),
    ("marigold", 768): LONG_SIDE,
    ("lotus", 768): LONG_SIDE,
    # as many pixels as 1024 x 1024, in place of the nearest of the authors' eleven shapes
    ("lbm", 1024): ((888, 1184), (840, 1256), (768, 1368), (1184, 888)),
}


assert set(BY_FAMILY) <= {(spec.family, spec.default_size) for spec in MODELS.values()}, "a default size that changed is recorded anew"
RECORDED = {spec.id: SIZES.get(spec.id) or BY_FAMILY.get((spec.family, spec.default_size)) for spec in MODELS.values()}


@pytest.mark.parametrize(("model_id", "expected"), [(name, sizes) for name, sizes in RECORDED.items() if sizes])
def test_each_network_runs_at_its_authors_size(model_id, expected):
    spec = MODELS[model_id]
    annotator = FAMILIES[spec.family](spec, nn.Identity())
    assert tuple(annotator.network_size(*size, spec.default_size) for size in IMAGES) == expected


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
