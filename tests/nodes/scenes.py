"""What effects are made of in their nodes' tests."""

import torch


def make_image(batch=1, size=48):
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(0))


def depth_image(size=48):
    """A near square in the middle of a far wall, near = white."""
    image = torch.zeros(1, size, size, 3)
    image[:, size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    return image
