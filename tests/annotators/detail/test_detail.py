import pytest
import torch

from depth_normal.annotators.detail import grown_sky, guided_detail, guided_upsample, sky_by_colours, with_clouds, without_border_lines
from depth_normal.utils import resize_image, resize_map

# Lines along the border

CHANGED = 14  # pixels along each border


def plane(height=48, width=64):
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (0.7 * y - 0.4 * x + 0.2)[None, None]


def bends(depth):
    """Second differences down the columns, away from the left and the right border."""
    return depth.diff(2, dim=-2)[..., CHANGED:-CHANGED].abs()


@pytest.mark.parametrize("shape", [(28, 28), (32, 300), (48, 64)])
def test_a_plane_stays_what_it_is(shape):
    torch.testing.assert_close(without_border_lines(plane(*shape)), plane(*shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize("row", [0, 1, 3, 6])
@pytest.mark.parametrize("axis", [-2, -1])
@pytest.mark.parametrize("far", [False, True])
def test_a_line_along_any_border_is_smoothed(row, axis, far):
    lined = plane()
    lined.select(axis, -1 - row if far else row).add_(0.03)
    found = without_border_lines(lined)
    before, after = (bends(each if axis == -2 else each.mT).max() for each in (lined, found))
    assert after < before / 4
    assert (found - plane()).abs().max() < (lined - plane()).abs().max()


def test_the_inside_stays_to_the_bit():
    depth = torch.randn(2, 1, 48, 64, generator=torch.Generator().manual_seed(0))
    inside = ..., slice(CHANGED, -CHANGED), slice(CHANGED, -CHANGED)
    found = without_border_lines(depth)
    assert torch.equal(found[inside], depth[inside])
    assert not torch.equal(found, depth)


@pytest.mark.parametrize("row", [3, 6, 10])
def test_an_edge_of_the_scene_along_the_border_stays(row):
    stepped = plane()
    stepped[..., :row, :] += 2
    assert (without_border_lines(stepped) - stepped).abs().max() < 0.02 * 2


def test_what_crosses_the_border_stays_sharp():
    stepped = plane()
    stepped[..., 30:] += 2
    torch.testing.assert_close(without_border_lines(stepped), stepped, atol=1e-5, rtol=0)


# Guided upsampling


def test_each_image_of_a_batch_is_smoothed_by_itself():
    depth = torch.randn(3, 1, 40, 32, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([without_border_lines(each) for each in depth[:, None]])
    torch.testing.assert_close(without_border_lines(depth), alone)
    torch.testing.assert_close(without_border_lines(depth.mT.movedim(0, 1)), alone.mT.movedim(0, 1))  # and each channel


def test_guided_upsampling_follows_the_edges_of_the_image():
    image = torch.zeros(1, 1, 64, 96)
    image[..., 47:] = 0.8
    small = resize_image(image, 16, 24)
    sharp = guided_upsample(3 * small + 1, image, 2, 1e-5)
    torch.testing.assert_close(sharp, 3 * image + 1, atol=0.1, rtol=0)
    smooth = resize_map(3 * small + 1, 64, 96)
    assert (smooth - 3 * image - 1).abs().max() > 0.5, "what it is better than"


def test_guided_upsampling_leaves_texture_out():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 24)[None, None, None].expand(1, 2, 16, 24)
    texture = 0.5 + 0.1 * (torch.rand(1, 1, 64, 96, generator=generator) - 0.5)
    found = guided_upsample(ramp, texture, 2, 0.01)
    assert found.shape == (1, 2, 64, 96)
    steps = found[..., 20:-20].diff(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 23 / 4), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 96)])
def test_guided_upsampling_of_a_constant_is_constant(shape):
    found = guided_upsample(torch.full((2, 1, 3, 5), 7.0), torch.rand(2, 1, *shape), 2, 0.01)
    torch.testing.assert_close(found, torch.full((2, 1, *shape), 7.0), atol=1e-4, rtol=0)


def test_sharp_maps_keep_what_they_are_and_gain_the_images_finer_edge():
    image = torch.zeros(1, 1, 64, 96)
    image[..., 47:] = 0.8
    sharp = 3 * resize_image(image, 32, 48) + 1
    found = guided_detail(sharp, image, 2, 1e-5)
    expected = 3 * image + 1
    assert (found - expected).abs().mean() < 0.5 * (resize_map(sharp, 64, 96) - expected).abs().mean()
    plain = torch.full_like(image, 0.5)
    torch.testing.assert_close(guided_detail(sharp, plain, 2, 0.01), resize_map(sharp, 64, 96), atol=1e-5, rtol=0)


# A sky of which the network is unsure: colours decide, beside the sky and the land of which it is sure

HEIGHT, WIDTH = 256, 320
ROWS = torch.arange(HEIGHT).view(1, 1, -1, 1).expand(1, 1, HEIGHT, WIDTH)
COLUMNS = torch.arange(WIDTH).view(1, 1, 1, -1).expand(1, 1, HEIGHT, WIDTH)
SKY, UNSURE, LAND = ROWS < 100, (ROWS >= 100) & (ROWS < 140), ROWS >= 140
BLUE, DARK = (torch.tensor(each).view(3, 1, 1) for each in ((0.5, 0.65, 0.85), (0.25, 0.22, 0.15)))


def shares(unsure):
    return torch.where(SKY, 0.95, torch.where(UNSURE, unsure, 0.02))


def image(unsure):
    noise = 0.03 * torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return (torch.where(SKY, BLUE, torch.where(UNSURE, unsure, DARK)) + noise).clamp(0, 1)


def test_what_looks_like_the_sky_is_sky():
    found = sky_by_colours(shares(0.4), image(BLUE))
    assert (found > 0.5)[UNSURE].float().mean() > 0.95
    assert (found > 0.5)[SKY].all() and (found < 0.1)[LAND].all()


def test_what_looks_like_the_land_is_none():
    found = sky_by_colours(shares(0.7), image(DARK))
    assert (found < 0.5)[UNSURE].float().mean() > 0.95
    assert (found > 0.5)[SKY].all()


@pytest.mark.parametrize("share", [0.05, 0.95])
def test_the_network_is_believed_where_it_is_sure(share):
    found = sky_by_colours(shares(share), image(DARK if share > 0.5 else BLUE))
    assert ((found > 0.5) == (share > 0.5))[UNSURE].all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_without_the_other_side_nothing_changes(share):
    even = torch.full((2, 1, 40, 56), share)
    assert torch.equal(sky_by_colours(even, torch.rand(2, 3, 90, 120)), even)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype):
    share = shares(0.3)
    expected, found = sky_by_colours(share, image(BLUE)), sky_by_colours(share.to(dtype), image(BLUE).to(dtype))
    assert found.dtype == dtype and (found.float() - expected).abs().mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 300)])
def test_any_size(size):
    found = sky_by_colours(torch.rand(2, 1, *size), torch.rand(2, 3, 17, 11))
    assert found.shape == (2, 1, *size) and ((found >= 0) & (found <= 1)).all()


def boxes(*sides):
    """(1, 1, H, W) bool: rectangles of rows and columns, and land from row 200 on."""
    found = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    found[..., 200:, :] = True
    for top, bottom, left, right in sides:
        found[..., top:bottom, left:right] = True
    return found


CLOUD, BIRD, TWIG, TOWER = (30, 50, 40, 120), (30, 60, 200, 240), (100, 102, 0, 90), (120, 200, 250, 270)


def test_a_cloud_of_which_the_network_is_unsure_is_sky_and_what_else_is_before_it_is_none():
    sky = ~boxes(CLOUD, BIRD, TWIG, TOWER)
    share = torch.where(sky, 0.9, 0.3)
    share[..., 40:50, 210:220] = share[..., 210:, :] = 0.02
    assert torch.equal(with_clouds(sky, share), ~boxes(BIRD, TWIG, TOWER))
    assert torch.equal(with_clouds(sky, share - 0.25), sky), "nothing is a cloud where the network is sure of all"


# A sky takes in clouds beside it, and nothing else that a network suspects to be sky

FOUND, CLOUDS, BELOW = ROWS < 80, (ROWS >= 80) & (ROWS < 176), ROWS >= 176
"""What is found of a sky, the rest of it, which is suspected, and what is below."""
PALE = torch.tensor((0.7, 0.75, 0.82)).view(3, 1, 1)


def clouded(colour=PALE, contrast=0.08):
    """(1, 3, H, W): clouds of one mean colour above dark land; they are soft, 60 pixels wide."""
    noise = resize_image(torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0)), HEIGHT, WIDTH) - 0.5
    return torch.where(BELOW, DARK, colour + contrast * noise).clamp(0, 1)


def texture(amplitude):
    """(1, 1, H, W), as of leaves: another value every two pixels."""
    fine = torch.rand(1, 1, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(1)) - 0.5
    return amplitude * fine.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_clouds_beside_a_sky_are_part_of_it():
    grown = grown_sky(FOUND, FOUND | CLOUDS, clouded())
    assert grown[FOUND].all() and not grown[BELOW].any()
    assert grown[CLOUDS].float().mean() > 0.97


def test_the_sky_takes_the_edges_of_the_image():
    """A tower before the clouds, which the network suspects to be sky as well."""
    tower = (COLUMNS - 160).abs() < 31
    image = torch.where(tower & ~FOUND, DARK, clouded())
    grown = grown_sky(FOUND, FOUND | CLOUDS, image)[CLOUDS]
    assert (grown == ~tower[CLOUDS]).float().mean() > 0.97


@pytest.mark.parametrize("beside", ["another colour", "fine texture", "beyond a ridge", "not suspected", "a rim"])
def test_what_is_no_cloud_stays_out(beside):
    image, suspected = clouded(), FOUND | CLOUDS
    if beside == "another colour":
        image = torch.where(CLOUDS, image - 0.15, image)
    elif beside == "fine texture":
        image = torch.where(CLOUDS, image + texture(0.08), image)
    elif beside == "beyond a ridge":
        ridge = (ROWS >= 80) & (ROWS < 112)
        image = torch.where(ridge, DARK, image)
    elif beside == "not suspected":
        suspected = FOUND
    else:
        suspected = FOUND | (ROWS < 96)
    assert torch.equal(grown_sky(FOUND, suspected, image), FOUND)


@pytest.mark.parametrize("wall", [(0.96, 0.96, 0.96), (1.0, 1.0, 1.0), (0.95, 0.9, 0.75)], ids=["white", "burnt out", "lit"])
def test_what_may_be_a_wall_does_not_grow(wall):
    image = clouded(torch.tensor(wall).view(3, 1, 1), 0)
    assert torch.equal(grown_sky(FOUND, FOUND | CLOUDS, image), FOUND)


def test_without_sky_there_is_none():
    assert not grown_sky(torch.zeros_like(FOUND), FOUND | CLOUDS, clouded()).any()


def test_an_image_of_a_batch_is_as_it_is_alone():
    skies = torch.cat((FOUND, FOUND, torch.zeros_like(FOUND)))
    suspected, images = (FOUND | CLOUDS).expand(3, -1, -1, -1), torch.cat((clouded(), clouded(PALE - 0.3, 0.04), clouded()))
    alone = [grown_sky(*maps) for maps in zip(skies.split(1), suspected.split(1), images.split(1), strict=True)]
    assert torch.equal(grown_sky(skies, suspected, images), torch.cat(alone))
    assert (alone[0] & ~FOUND).any() and not alone[2].any()
