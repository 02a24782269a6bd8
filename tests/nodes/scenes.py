"""What effects are made of in their nodes' tests."""

import torch


def make_image(batch=1, size=48):
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(0))


def ball(height=48, width=48):
    """Unit normals (1, 3, H, W) in OPENGL axes of a ball before a wall that faces the viewer."""
    y, x = torch.meshgrid(torch.linspace(1.2, -1.2, height), torch.linspace(-1.2, 1.2, width) * width / height, indexing="ij")
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    return torch.where(z > 0, torch.stack((x, y, z)), torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1))[None]


def depth_image(size=48):
    """A near square in the middle of a far wall, near = white."""
    image = torch.zeros(1, size, size, 3)
    image[:, size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 1
    return image
