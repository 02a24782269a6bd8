import io
import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from depth_normal.annotators.networks import layers
from depth_normal.annotators.preprocessing.resizing import round_to_multiple, scale_short_side
from depth_normal.utils import (
    check_images,
    images_to_rgb,
    in_float32,
    kept_constants,
    kept_for_sizes,
    opencv_for,
    resize_image,
    resize_map,
    sample_at,
    to_image,
    to_images,
    to_rgb,
    unit_vectors,
    vector_lengths,
    whole_numbers,
    without_autocast,
)


def test_maps_of_any_types_are_computed_in_the_widest_and_at_least_in_float32():
    @in_float32
    def squares(factor, image, mask=None):
        asked.append((image.dtype, mask.dtype))
        return image * image * factor

    asked, types = [], (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for dtype, other in itertools.product(types, types):
        image, mask = torch.full((1,), 3e-4, dtype=dtype), torch.zeros(1, dtype=other)
        for squared in (squares(1e8, image, mask=mask), squares(1e8, image=image, mask=mask)):
            assert squared.dtype == dtype and squared > 8
            assert asked.pop() == (torch.float64 if torch.float64 in (dtype, other) else torch.float32,) * 2
    wide = torch.eye(3, dtype=torch.float64)[None]
    assert squares(wide, torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)).dtype == torch.float32 and asked == [(torch.float32,) * 2]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'image'"):
        squares(1.0)


def test_autocast_stays_the_callers_between_the_items_of_a_generator():
    @without_autocast
    def products():
        try:
            while True:
                yield ones @ ones
        finally:
            ended.append(True)

    ones, ended = torch.ones(2, 2), []
    with torch.autocast("cpu", torch.bfloat16):
        found = products()
        for product, _ in zip(found, range(2), strict=False):
            assert product.dtype == torch.float32 and (ones @ ones).dtype == torch.bfloat16
        found.close()
    assert ended and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_vectors_have_torchs_lengths(channels):
    vectors = torch.randn(2, channels, 5, 7, generator=torch.Generator().manual_seed(0))
    vectors[1, :, 2, 3] = 0
    assert torch.allclose(vector_lengths(vectors), torch.linalg.vector_norm(vectors, dim=1, keepdim=True), rtol=1e-6)
    for dtype in (torch.float16, torch.bfloat16):
        half = (100 * vectors).to(dtype)
        assert torch.equal(vector_lengths(half), vector_lengths(half.float()).to(dtype))
    for scaled in (unit_vectors, layers.unit_vectors):
        assert torch.allclose(scaled(vectors), F.normalize(vectors, dim=1), atol=1e-6)
        assert not scaled(vectors)[1, :, 2, 3].any()
        assert torch.allclose(scaled((1000 * vectors).half()).float(), F.normalize(vectors, dim=1), atol=1e-3)  # their squares overflow


class NamedMps(torch.Tensor):
    device = SimpleNamespace(type="mps")


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_places_beyond_the_border_get_its_values_also_without_such_borders(mode):
    """As on Apple's GPUs, whose name a tensor on the CPU bears here."""
    values, places = torch.rand(2, 3, 5, 7), torch.randn(2, 8, 9, 2)
    expected = F.grid_sample(values, places, mode, "border", align_corners=False)
    torch.testing.assert_close(sample_at(values, places, mode), expected, atol=1e-6, rtol=0)
    found = sample_at(values.as_subclass(NamedMps), places, mode).as_subclass(torch.Tensor)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_opencv_gets_no_empty_maps_and_none_that_are_compiled(monkeypatch):
    assert opencv_for(torch.zeros(1, 1, 4, 4)) is not None
    assert opencv_for(torch.zeros(0, 1, 4, 4)) is None
    for size in ((2, 2), (8, 8), (3, 9)):
        assert resize_map(torch.zeros(0, 1, 4, 4), *size).shape == (0, 1, *size)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert opencv_for(torch.zeros(1, 1, 4, 4)) is None


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((1080, 1920), 512, (512, 910)),
        ((60, 40), 128, (192, 128)),
        ((1, 1), 64, (64, 64)),
        ((7, 5000), 64, (64, 45714)),
        ((5000, 3), 1, (1667, 1)),
    ],
)
def test_the_short_side_becomes_what_is_asked(size, short_side, expected):
    assert scale_short_side(*size, short_side) == expected


@pytest.mark.parametrize(("length", "expected"), [(910, 896), (912.1, 928), (1, 32), (48, 64), (47.9, 32)])
def test_rounding_never_gives_nothing(length, expected):
    assert round_to_multiple(length, 32) == expected


@pytest.mark.parametrize(("height", "width"), [(50, 100), (33, 64), (1, 1), (107, 64), (50, 211)])
def test_shrinking_is_opencvs_area_average_for_images_and_maps(height, width):
    image = torch.rand(2, 3, 107, 211, generator=torch.Generator().manual_seed(0))
    ours = resize_image(image, height, width)
    assert torch.equal(resize_map(image, height, width), ours)
    for mine, source in zip(ours, image, strict=True):
        reference = cv2.resize(source.movedim(0, -1).numpy().copy(), (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(mine.movedim(0, -1).numpy() - reference).max() < 1e-5


def test_enlarging_is_opencvs_cubic_without_its_overshoot():
    image = torch.rand(1, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    reference = cv2.resize(image[0].movedim(0, -1).numpy().copy(), (75, 96), interpolation=cv2.INTER_CUBIC)
    assert reference.max() > 1.01, "the test image must make it overshoot"
    assert np.abs(resize_image(image, 96, 75)[0].movedim(0, -1).numpy() - reference.clip(0, 1)).max() < 1e-4


@pytest.mark.parametrize("size", [(96, 75), (20, 13)])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_function_resizes_what_it_is_given(size):
    """What OpenCV makes of the example is no constant of the graph."""
    example, image = torch.rand(2, 1, 2, 40, 30, generator=torch.Generator().manual_seed(0))
    traced = torch.jit.trace(lambda values: resize_map(values, *size), (example,))
    torch.testing.assert_close(traced(image), resize_map(image, *size))


def test_images_of_any_channels_and_range_become_rgb():
    assert to_rgb(torch.tensor([[[[0.2, 0.4, 0.6, 0.25]]]])).flatten().tolist() == pytest.approx([0.8, 0.85, 0.9])
    assert to_rgb(torch.tensor([[[[0.7]]]])).flatten().tolist() == pytest.approx([0.7] * 3)
    planar = to_rgb(torch.tensor([[[[-1.0, 0.5, 2.0]]]], dtype=torch.float16))
    assert planar.dtype == torch.float32 and planar.flatten().tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("size", [(11, 17), (16, 16), (8, 16), (24, 24)])
@pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf])
def test_maps_grow_as_torch_enlarges_them(size, value):
    """What is not finite spreads as there, too."""
    for shape in ((1, 3, 4, 6), (2, 2, 8, 8), (3, 1, 1, 4)):
        maps = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        maps[0, 0, shape[2] // 3, shape[3] // 3] = value
        for layout in (torch.contiguous_format, torch.channels_last):
            expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
            found = resize_map(maps.contiguous(memory_format=layout), *size)
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("size", [(20, 30), (8, 60), (40, 20)])
def test_whole_squares_are_averaged_alike_in_any_precision(size):
    values = torch.rand(2, 3, 40, 60)
    torch.testing.assert_close(resize_map(values.double(), *size).float(), resize_map(values, *size), atol=1e-6, rtol=0)


def test_nodes_images_are_clamped_and_not_copied_where_there_is_nothing_to_clamp():
    image = torch.rand(2, 5, 7, 3)
    assert to_images(image).data_ptr() == image.data_ptr() and to_images(image).shape == (2, 3, 5, 7)
    hdr = torch.tensor([[[[-1.0, 0.5, 3.0]]]], dtype=torch.float16)
    assert to_images(hdr).flatten().tolist() == [0, 0.5, 1] and hdr.flatten().tolist() == [-1, 0.5, 3]
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="1 NaN or infinite values of 6"):
            to_images(torch.tensor([[[[0.2, 0.5, 3.0]]], [[[0.2, bad, 3.0]]]]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_of_any_kind_mean_the_same(dtype):
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
    array = (np.array([[[0.0, 0.2, 1.0]]]) * scale).astype(dtype)
    assert images_to_rgb(check_images(array)).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0], abs=0.002)


def test_a_tensor_is_planar_and_an_array_is_not():
    assert images_to_rgb(check_images(torch.rand(2, 3, 5, 7))).shape == (2, 3, 5, 7)
    assert images_to_rgb(check_images(np.random.default_rng(0).random((5, 7, 3)))).shape == (1, 3, 5, 7)
    grey = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    assert torch.equal(images_to_rgb(check_images(grey)), torch.from_numpy(grey).expand(1, 3, 5, 7)), "(H, W) is grey"


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(3, 5, 7), ValueError, r"shape \(3, 5, 7\); expected a tensor \(B, C, H, W\) .* tensor\[None\]"),
        (torch.rand(2, 5, 7, 3), ValueError, r"shape \(2, 5, 7, 3\); expected a tensor \(B, C, H, W\) .* tensor.movedim\(-1, 1\)"),
        (torch.rand(0, 3, 5, 7), ValueError, r"empty \(shape \(0, 3, 5, 7\)\)"),
        (np.zeros((5, 7, 2)), ValueError, r"shape \(5, 7, 2\); expected an array .* with C = 1, 3 or 4"),
        (np.zeros((3, 5, 7)), ValueError, r"shape \(3, 5, 7\); expected an array .* transpose\(1, 2, 0\)"),
        (np.zeros(7), ValueError, r"shape \(7,\); expected an array \(H, W\)"),
        ([np.zeros((5, 7, 3))] * 2, TypeError, r"are a list; .*numpy.stack"),
        (b"\x89PNG", TypeError, r"are a bytes; .*takes a path, or an image of PIL: .*PIL.Image.open\(io.BytesIO\(data\)\) of bytes"),
        (io.BytesIO(), TypeError, r"BytesIO; .*takes a path, or an image of PIL: PIL.Image.open\(file\)"),
        (np.zeros((5, 7, 3), np.int32), TypeError, "int32"),
        (np.zeros((5, 7, 3), np.uint32), TypeError, "uint32; expected uint8, uint16 or floats"),
        (torch.zeros(1, 3, 5, 7, dtype=torch.uint8), TypeError, "uint8"),
        (np.zeros((5, 7, 3), bool), TypeError, "array of bool; expected uint8, uint16 or floats"),
        (np.zeros((5, 7, 3), complex), TypeError, "array of complex128"),
        (np.zeros((5, 7, 3), object), TypeError, "array of object"),
        (torch.zeros(1, 3, 5, 7, dtype=torch.complex64), TypeError, "complex64"),
        (np.full((5, 7, 3), 200.0, np.float32), ValueError, "from 200 to 200; expected .* divide what is 0..255 by 255"),
        (torch.full((1, 3, 5, 7), 200.0), ValueError, "divide what is 0..255 by 255"),
        (torch.full((1, 3, 5, 7), -1.0), ValueError, "make -1..1"),
        (torch.full((1, 3, 5, 7), torch.nan), ValueError, "NaN"),
        (np.zeros((0, 7, 3)), ValueError, "empty"),
        (Image.new("RGB", (7, 5)), TypeError, r"PIL.Image.Image; .*takes one image of PIL"),
        ("photo.jpg", TypeError, r"are a str; .*depth_normal\.read_image"),
    ],
)
def test_what_is_no_image_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        check_images(images)


def test_what_resampling_leaves_beyond_the_range_is_clamped():
    assert images_to_rgb(check_images(np.float64([[[-0.1, 0.5, 1.1]]]))).flatten().tolist() == [0.0, 0.5, 1.0]
    assert images_to_rgb(check_images(np.array([[[0.0, 0.5, 1.0]]], ">f4"))).flatten().tolist() == [0.0, 0.5, 1.0], "of another byte order"


def test_images_go_back_channel_last():
    assert to_image(torch.rand(2, 1, 4, 6)).shape == (2, 4, 6, 3)


def test_a_map_may_shrink_along_one_side_and_grow_along_the_other():
    values = torch.rand(2, 3, 107, 211, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(resize_image(values, 107, 100), (300, 100), mode="bilinear")
    torch.testing.assert_close(resize_map(values, 300, 100), expected)


@pytest.mark.parametrize(("old", "new"), [(16384, 8192), (16384, 8191), (5000, 4999), (4999, 3), (7, 6)])
def test_every_source_pixel_counts_by_its_share(old, new):
    ramp = torch.arange(old, dtype=torch.float32).view(1, 1, 1, -1)
    middles = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5
    overlap_is_exact = old % new == 0
    shrunk = resize_map(ramp, 1, new)[0, 0, 0].double()
    # The mean of a staircase over an interval is off the straight line's by at most an eighth of a step for each of its two ends.
    assert (shrunk - middles).abs().max() < (1e-3 if overlap_is_exact else 0.25 + 1e-3)
    assert shrunk.mean() == pytest.approx((old - 1) / 2, rel=1e-6), "nothing is lost, nothing counted twice"


def test_a_missing_value_spoils_only_the_pixels_that_cover_it():
    values = torch.ones(1, 1, 9, 50)
    values[..., 20] = float("nan")
    assert resize_map(values, 9, 21).isnan()[0, 0, 0].sum() <= 2


def test_what_is_kept_for_a_size_can_be_used_wherever_it_was_made_first():
    made = []

    @kept_for_sizes
    def grid(height, width, device):
        made.append((height, width))
        return torch.ones(height, width, device=device)

    images = torch.zeros(2, 3, 4, 5)
    with FakeTensorMode():
        assert type(grid(torch.zeros(1, 1, 4, 5))) is FakeTensor
    with torch.inference_mode():
        first = grid(images)
    assert type(first) is torch.Tensor and first.shape == (4, 5) and grid(images) is first
    images.requires_grad_()
    (grid(images) * images).sum().backward()
    assert made == [(4, 5), (4, 5)]


def test_constants_are_kept_but_not_those_without_numbers():
    made = []

    @kept_constants
    def numbers(count):
        made.append(count)
        return torch.arange(count), torch.ones(count)

    like = torch.zeros(2)
    with FakeTensorMode():
        assert all(type(each) is FakeTensor for each in numbers(torch.zeros(2), 3))
    with torch.inference_mode():
        first = numbers(like, 3)
    assert all(kept is each for kept, each in zip(numbers(like, 3), first, strict=True)) and not first[1].is_inference()
    assert numbers(like, 4)[0].tolist() == [0, 1, 2, 3] and made == [3, 3, 4]


@pytest.mark.slow("torch.compile takes most of a second")
def test_constants_can_be_compiled():
    compiled = torch.compile(lambda x: x + whole_numbers(x, 1, 3), backend="eager", fullgraph=True)
    assert compiled(torch.zeros(2)).tolist() == [1, 2]
