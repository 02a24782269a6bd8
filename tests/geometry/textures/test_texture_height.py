import math

import numpy as np
import pytest
import torch

from depth_normal.geometry.conventions import convert_normals, encode_normal_map, unit_normals
from depth_normal.geometry.filters.transforms import blurred
from depth_normal.geometry.kinds import Axes
from depth_normal.geometry.textures import slopes
from depth_normal.geometry.textures.height import (
    BORDERS,
    MAX_SLOPE,
    height_to_image,
    height_to_normals,
    image_to_height,
    normals_to_height,
    normals_to_slopes,
    slopes_to_normals,
)
from depth_normal.options.textures import DERIVATIVES
from tests.refusals import refuses

EVERY_WAY = [(borders, derivative) for borders in BORDERS for derivative in DERIVATIVES]


def rough(height=61, width=48, sigma=1.5, seamless=False, seed=0):
    """A height of 10 pixels or so in float64."""
    values = torch.rand(1, 1, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 60 * blurred(values, sigma, seamless)


def centred(height):
    return height - height.mean((2, 3), keepdim=True)


def grid(height, width):
    return torch.meshgrid(torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij")


@pytest.mark.parametrize(("borders", "derivative"), EVERY_WAY)
def test_height_comes_back_from_its_normals_and_they_from_it(borders, derivative):
    height = rough(seamless=borders == "seamless")
    normals = height_to_normals(height, borders=borders, derivative=derivative)
    back = normals_to_height(normals, borders=borders, derivative=derivative)
    assert (back - centred(height)).abs().max() < 2e-3 * height.std()
    assert (height_to_normals(back, borders=borders, derivative=derivative) - normals).abs().max() < 1e-3
    assert torch.equal(back, normals_to_height(normals, borders=borders)), "the derivative that made the normals is found"


def test_waves_of_a_rendered_normal_map_keep_their_height():
    """8 and 16 pixels long, by their formula: half the difference of neighbours would make them 8 % too high."""
    y, x = (each.double() * (2 * math.pi / 8) for each in grid(64, 64))
    height = (2 * x.sin() * (y / 2).cos())[None, None]
    right, down = x.cos() * (y / 2).cos(), -x.sin() * (y / 2).sin() / 2
    normals = slopes_to_normals(torch.stack((right, down))[None] * (4 * math.pi / 8))
    assert (normals_to_height(normals, borders="seamless") - height).abs().max() < 0.02


@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_a_tilted_plane_stays_one_up_to_the_border(derivative):
    y, x = grid(40, 56)
    plane = (0.3 * x - 0.2 * y)[None, None]
    normals = height_to_normals(plane, derivative=derivative)
    expected = torch.tensor([-0.3, -0.2, 1.0], dtype=torch.float64) / math.sqrt(1.13)
    assert (normals - expected.view(1, 3, 1, 1)).abs().max() < 1e-9
    assert (normals_to_height(normals, derivative=derivative) - centred(plane)).abs().max() < 2e-3


@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_a_ball_is_as_high_as_it_is(derivative):
    y, x = grid(96, 96)
    across, up = (x - 47.5) / 60, (47.5 - y) / 60
    z = (1 - across**2 - up**2).clamp(min=0.05).sqrt()
    inside = (across**2 + up**2 < 0.9)[None, None]
    error = (normals_to_height(torch.stack((across, up, z))[None], weight=inside, derivative=derivative) - 60 * z)[inside]
    assert (error - error.mean()).abs().max() < 0.3, "of 41 pixels of height"


def test_it_is_the_least_squares_solution():
    """Of normals that no surface has, against a dense solve of the same equations."""
    noise = torch.randn(1, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    normals = unit_normals(noise * 0.3 + torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1))
    found = normals_to_height(normals, derivative="central")
    eye = torch.eye(42, dtype=torch.float64).view(42, 1, 7, 6)
    matrix = slopes.mirrored_slopes(eye, False, "central").flatten(1).T
    target = (normals_to_slopes(normals) * slopes.border_share(normals, False, "central")).flatten()
    best = torch.from_numpy(np.linalg.lstsq(matrix.numpy(), target.numpy(), rcond=None)[0])

    def misfit(height):
        return (matrix @ height.flatten() - target).square().sum()

    # equal but for rounding, which depends on the number of threads
    assert misfit(best) * (1 - 1e-9) <= misfit(found) < misfit(best) * 1.15, "the bound on checkerboards costs something"


def test_holes_do_not_reach_what_is_around_them():
    height = rough(64, 48, 2.0)
    known = torch.ones(1, 1, 64, 48, dtype=torch.bool)
    known[..., 20:40, 20:30] = False
    wild = torch.where(known, height_to_normals(height), torch.nan)
    error = (normals_to_height(wild, weight=known) - height)[known]
    assert (error - error.mean()).abs().max() < 0.02 * height.std()
    assert normals_to_height(wild).isfinite().all() and not normals_to_height(torch.full((1, 3, 5, 4), torch.nan)).any()


def test_what_faces_away_is_as_steep_as_anything_gets():
    vectors = torch.tensor([[1.0, 0, -0.2], [0, -1, 0], [0, 0, -1], [0.1, 0, 1]]).T.reshape(1, 3, 1, 4)
    found = normals_to_slopes(vectors)[0, :, 0].T
    expected = torch.tensor([[-MAX_SLOPE, 0], [0, -MAX_SLOPE], [0, 0], [-0.1, 0]])
    assert torch.allclose(found, expected, atol=1e-5)
    assert normals_to_height(vectors.expand(1, 3, 6, 4)).isfinite().all()


@pytest.mark.parametrize("axes", list(Axes))
def test_the_axes_do_not_matter(axes):
    normals = height_to_normals(rough(12, 14))
    assert torch.allclose(normals_to_height(convert_normals(normals, Axes.OPENGL, axes), axes), normals_to_height(normals))


@pytest.mark.parametrize(("size", "borders"), [(size, borders) for size in [(1, 1), (1, 7), (5, 1), (2, 2), (3, 2)] for borders in BORDERS])
def test_small_and_odd_maps(size, borders):
    height = rough(*size)
    back = normals_to_height(height_to_normals(height, borders=borders), borders=borders, level=True)
    assert back.shape == height.shape and back.isfinite().all()


def test_seamless_normals_that_lean_are_refused_with_what_to_do():
    leaning = unit_normals(torch.tensor([0.2, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"lean by 11\.3 degrees .*slope -0\.200 to the right.*level.*free borders"):
        normals_to_height(leaning, borders="seamless")
    assert normals_to_height(leaning, borders="seamless", level=True).abs().max() < 1e-5


def test_a_tile_in_eight_bits_is_no_leaning_one():
    normals = height_to_normals(rough(seamless=True).float(), borders="seamless")
    stored = (encode_normal_map(normals) * 255).round() / 255
    assert normals_to_height(unit_normals(2 * stored - 1), borders="seamless").isfinite().all()


@pytest.mark.parametrize(("length", "flatten", "expected"), [(32, 16, 2), (4, 64, 4)])
def test_flattening_halves_a_shape_of_its_width_and_keeps_a_finer_one(length, flatten, expected):
    wave = 4 * (grid(64, 64)[1] * (2 * math.pi / length)).cos()[None, None]
    flattened = normals_to_height(height_to_normals(wave, borders="seamless"), borders="seamless", flatten=flatten)
    assert flattened.max() == pytest.approx(expected, rel=0.01)


def test_a_batch_shares_one_range_that_holes_do_not_stretch_and_flat_is_grey():
    heights = torch.stack([torch.zeros(1, 3, 4), torch.linspace(-2, 6, 12).view(1, 3, 4)])
    image, span = height_to_image(heights)
    assert span == 8 and image[0].unique().tolist() == [0.25] and image[1].min() == 0 and image[1].max() == 1
    image, span = height_to_image(torch.full((1, 1, 2, 2), 7.0))
    assert span == 0 and bool((image == 0.5).all())
    assert torch.allclose(image_to_height(torch.full((1, 3, 1, 1), 0.5), 8.0), torch.tensor(4.0))
    holed = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])[None, None]
    image, span = height_to_image(holed)
    assert span == 2 and image.isfinite().all()
    assert height_to_image(holed, torch.zeros_like(holed, dtype=torch.bool))[0].isfinite().all()


test_what_is_not_known_is_refused = refuses(
    lambda options: normals_to_height(torch.ones(1, 3, 4, 4), **options),
    ({"borders": "wrap"}, "free, seamless"),
    ({"derivative": "sobel"}, "auto, central, spline"),
    ({"flatten": -1.0}, "flatten is -1"),
)
