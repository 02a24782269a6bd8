"""A sky takes in clouds beside it, and nothing else that a network suspects to be sky."""

import pytest
import torch

from depth_normal.annotators.detail import grown_sky
from depth_normal.utils import resize_image

HEIGHT, WIDTH = 256, 320
ROWS, COLUMNS = torch.arange(HEIGHT).view(1, 1, -1, 1), torch.arange(WIDTH).view(1, 1, 1, -1)
FOUND, CLOUDS, LAND = (each.expand(1, 1, HEIGHT, WIDTH) for each in (ROWS < 80, (ROWS >= 80) & (ROWS < 176), ROWS >= 176))
"""What is found of a sky, the rest of it, which is suspected, and what is below."""
PALE, DARK = torch.tensor((0.7, 0.75, 0.82)).view(3, 1, 1), torch.tensor((0.3, 0.28, 0.22)).view(3, 1, 1)


def clouded(colour=PALE, contrast=0.08):
    """(1, 3, H, W): clouds of one mean colour above dark land; they are soft, 60 pixels wide."""
    noise = resize_image(torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0)), HEIGHT, WIDTH) - 0.5
    return torch.where(LAND, DARK, colour + contrast * noise).clamp(0, 1)


def texture(amplitude):
    """(1, 1, H, W), as of leaves: another value every two pixels."""
    fine = torch.rand(1, 1, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(1)) - 0.5
    return amplitude * fine.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_clouds_beside_a_sky_are_part_of_it():
    grown = grown_sky(FOUND, FOUND | CLOUDS, clouded())
    assert grown[FOUND].all() and not grown[LAND].any()
    assert grown[CLOUDS].float().mean() > 0.97


def test_the_sky_takes_the_edges_of_the_image():
    """A tower before the clouds, which the network suspects to be sky as well."""
    tower = (COLUMNS - 160).abs().expand_as(FOUND) < 31
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
