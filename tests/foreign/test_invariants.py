"""What holds for any value: round trips and symmetries, with values that hypothesis chooses."""

import pytest
import torch

from depth_normal.app.commands.option_table import add_options, chosen_options, option_names
from depth_normal.app.console.parser import Parser
from depth_normal.geometry.assumptions import assumed_depth
from depth_normal.geometry.camera import crop_intrinsics, depth_to_points, intrinsics_from_fov
from depth_normal.geometry.conventions import convert_normals
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import read_npz, read_pfm, write_npz, write_pfm
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.surfaces.normals import depth_to_normals
from depth_normal.options.fields import Box, Choice, Colour, Number, Point, Switch, Whole, options_of
from depth_normal.options.textures import MaterialsOptions
from depth_normal.utils import resize_map
from tests.options.test_options import SUBJECTS

hypothesis = pytest.importorskip("hypothesis", reason="python tests/foreign/install.py HOME, and DEPTH_NORMAL_FOREIGN=HOME")
given, st = hypothesis.given, hypothesis.strategies
pytestmark = [pytest.mark.foreign, pytest.mark.slow("tries many values")]

ONCE = hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
seeds, sides, axes = st.integers(0, 2**16), st.integers(5, 40), st.sampled_from(list(Axes))


def maps(seed, height, width, channels=1, batch=1):
    """Positive values whose neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, channels, 3, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0.05, 2) + 1


@ONCE
@given(seeds, sides, sides, axes, axes)
def test_axes_round_trip(seed, height, width, first, second):
    normals = maps(seed, height, width, 3) - 1.5
    assert torch.equal(convert_normals(convert_normals(normals, first, second), second, first), normals)


@ONCE
@given(seeds, sides, sides, st.floats(0.1, 50))
def test_normals_do_not_depend_on_the_unit(seed, height, width, scale):
    depth, camera = maps(seed, height, width), intrinsics_from_fov(60, height, width)
    found, scaled = depth_to_normals(depth, camera), depth_to_normals(depth * scale, camera)
    assert (found - scaled).abs().max() < 2e-3


@ONCE
@given(seeds, sides, sides)
def test_a_mirrored_map_has_the_mirrored_normals(seed, height, width):
    depth, camera = maps(seed, height, width), intrinsics_from_fov(60, height, width)
    mirrored = depth_to_normals(depth.flip(3), camera).flip(3) * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1)
    assert (depth_to_normals(depth, camera) - mirrored).abs().mean() < 1e-3


@ONCE
@given(seeds, sides, sides, st.integers(2, 4))
def test_a_batch_equals_its_images(seed, height, width, count):
    batch, camera = maps(seed, height, width, batch=count), intrinsics_from_fov(60, height, width, batch=count)
    one_by_one = torch.cat([depth_to_normals(depth, camera[:1]) for depth in batch.split(1)])
    assert torch.equal(depth_to_normals(batch, camera), one_by_one)
    disparity = Estimate(batch, Quantity.DISPARITY)
    assert torch.equal(assumed_depth(disparity), torch.cat([assumed_depth(disparity.slice(i, i + 1)) for i in range(count)]))


@ONCE
@given(seeds, sides, sides, st.floats(0.01, 100), st.floats(-50, 50), st.floats(1.5, 40))
def test_assumed_depth_knows_neither_scale_nor_shift(seed, height, width, scale, shift, ratio):
    disparity = maps(seed, height, width)
    found = [assumed_depth(Estimate(each.double(), Quantity.DISPARITY), ratio) for each in (disparity, disparity * scale + shift)]
    assert torch.allclose(found[0], found[1], rtol=1e-2)


@ONCE
@given(seeds, sides, sides, sides, sides)
def test_resized_values_stay_in_their_range(seed, height, width, rows, columns):
    values = maps(seed, height, width)
    resized = resize_map(values, rows, columns)
    assert resized.shape[-2:] == (rows, columns)
    assert values.min() - 1e-5 <= resized.min() and resized.max() <= values.max() + 1e-5
    assert torch.allclose(resize_map(torch.full_like(values, 3.0), rows, columns), torch.tensor(3.0))


@ONCE
@given(seeds, sides, sides, st.sampled_from(list(Quantity)))
def test_depth_images_are_in_range_and_near_is_white(seed, height, width, quantity):
    depth = maps(seed, height, width)
    image = depth_to_image(depth, quantity)
    assert image.min() >= 0 and image.max() <= 1
    flat, shown = depth.flatten(), image[:, :1].flatten()
    near, far = (flat.argmax(), flat.argmin()) if quantity is Quantity.DISPARITY else (flat.argmin(), flat.argmax())
    assert shown[near] >= shown[far]


@ONCE
@given(seeds, sides, sides, st.sampled_from(list(Quantity)), axes, st.booleans())
def test_npz_round_trips(tmp_path_factory, seed, height, width, quantity, axes, masked):
    normals = torch.nn.functional.normalize(maps(seed + 1, height, width, 3) - 1.5, dim=1)
    mask = maps(seed + 2, height, width) > 1.3 if masked else None
    estimate = Estimate(maps(seed, height, width), quantity, normals=normals, axes=axes, mask=mask)
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    write_npz(path, estimate)
    found = read_npz(path)
    assert found.quantity is quantity and found.axes is axes
    for name, values in estimate.maps.items():
        assert torch.equal(getattr(found, name), values), name


@ONCE
@given(seeds, sides, sides)
def test_pfm_round_trips(tmp_path_factory, seed, height, width):
    depth = maps(seed, height, width)
    path = tmp_path_factory.mktemp("pfm") / "x.pfm"
    write_pfm(path, depth[0])
    assert torch.equal(read_pfm(path).view(1, 1, height, width), depth)


@ONCE
@given(seeds, sides, sides, st.integers(0, 4), st.integers(0, 4))
def test_a_crop_has_the_points_that_it_had(seed, height, width, left, top):
    depth, camera = maps(seed, height, width), intrinsics_from_fov(60, height, width)
    here = (..., slice(top, None), slice(left, None))
    cropped = depth_to_points(depth[here], crop_intrinsics(camera, left, top))
    assert torch.allclose(cropped, depth_to_points(depth, camera)[here], atol=1e-4)


shares = st.floats(0, 1)


def typed_values(option):
    """Values of an option, each with how it is typed; None: of a kind that is tried elsewhere."""
    match option:
        case Choice(check_with=None):
            return st.sampled_from(option.choices).map(lambda value: (value.replace("_", "-"), value))
        case Colour():
            return st.integers(0, 2**24 - 1).map(lambda value: (f"#{value:06x}",) * 2)
        case Point() | Box():
            numbers = st.tuples(*[shares] * (2 if isinstance(option, Point) else 4))
            return numbers.map(lambda value: (",".join(map(repr, value)), value))
        case Whole():
            return st.integers(option.low, option.high).map(lambda value: (str(value), value))
        case Number():
            return st.floats(option.low, option.high if option.most is None else option.most).map(lambda value: (repr(value), value))
    return None


@pytest.mark.parametrize("subject", [each for each in SUBJECTS if each is not MaterialsOptions])  # each of its options needs a model
@ONCE
@given(data=st.data())
def test_options_come_back_from_the_command_line(subject, data):
    parser, names = Parser(prog="depth-normal x"), option_names(subject)
    add_options(parser, subject)
    options = {name: option for name, option in options_of(subject).items() if option.flag is not None}
    of_words = {name: found for name, option in options.items() if (found := typed_values(option)) is not None}
    switches = [name for name, option in options.items() if isinstance(option, Switch)]
    words, values = [], {}
    for name in data.draw(st.sets(st.sampled_from([*of_words, *switches]), max_size=3)) if of_words or switches else ():
        text, values[name] = data.draw(of_words[name]) if name in of_words else (None, not getattr(subject(), name))
        words += [names[name]] if text is None else [names[name], text]
    try:
        wanted, arguments = subject(**values), parser.parse_args(words)
        arguments.parser = parser
        found = chosen_options(arguments, subject)
    except ValueError:  # what one of them says against another is tried elsewhere
        hypothesis.reject()
    assert found == wanted, words
