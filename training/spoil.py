"""Degrades images as the world does: colours, frames, captions, vignettes, blur, noise and JPEG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CLEAN = 0.4  # share of unchanged images: most inputs in use are photographs as taken
PERMUTED = 0.1  # share of the others with permuted colour channels
FRAMED, CAPTIONED, VIGNETTED, BLURRED, NOISY, COMPRESSED = 0.3, 0.15, 0.15, 0.25, 0.4, 0.35
WIDEST_FRAME = 0.16  # of the side
DARKEST_NOISE, MOST_NOISE = 0.003, 0.05
BLOCK = 8


def spoil(images: Tensor, random: torch.Generator, pairs: int = 0, clean: float = CLEAN) -> tuple[Tensor, Tensor]:
    """Degrades images at random.

    Args:
        images: (B, 3, H, W) in [0, 1], on any device.
        random: The only source of randomness; on the CPU.
        pairs: Offset from each of the first images to its second view, which gets the same colours, frame, caption and vignette, but
            its own blur, noise and JPEG.
        clean: Share of unchanged images.

    Returns:
        Images, and where they are neither frame nor caption: (B, 1, H, W) bool.
    """
    like = torch.arange(len(images))
    like[pairs : 2 * pairs] = like[:pairs]
    spared = _draw(1, random, like, images)[0] < clean
    spoiled = vignette(recolour(images, random, like), random, like)
    spoiled, inside = frame(spoiled, random, like)
    spoiled, clear = caption(spoiled, random, like)
    spoiled = compress(add_noise(blur(spoiled, random), random), random)
    return torch.where(spared, images, spoiled), spared | inside & clear


def _draw(count: int, random: torch.Generator, like: Tensor, on: Tensor) -> list[Tensor]:
    """`count` uniform numbers per image, (B, 1, 1, 1) each."""
    return list(torch.rand(count, len(like), 1, 1, 1, generator=random)[:, like].to(on.device).unbind(0))


def recolour(images: Tensor, random: torch.Generator, like: Tensor) -> Tensor:
    """Random brightness, contrast, gamma, saturation, tint and, in some images, order of the colour channels."""
    draw = _draw(5, random, like, images)
    images = images.clamp(1e-4, 1) ** torch.exp((draw[0] - 0.5) * 0.8)
    order = torch.rand(len(images), 3, generator=random).argsort(1)
    order[torch.rand(len(images), generator=random) >= PERMUTED] = torch.arange(3)
    images = images.gather(1, order[like].to(images.device)[:, :, None, None].expand_as(images))
    grey = images.mean(1, keepdim=True)
    saturation = torch.where(draw[1] < 0.08, torch.zeros_like(draw[1]), 0.6 + 0.7 * draw[2])
    images = grey + (images - grey) * saturation
    middle = images.mean((1, 2, 3), keepdim=True)
    images = middle + (images - middle) * (0.7 + 0.6 * draw[3]) + (draw[4] - 0.5) * 0.25
    tint = 1 + (torch.rand(len(images), 3, 1, 1, generator=random) - 0.5) * 0.2
    return (images * tint[like].to(images.device)).clamp(0, 1)


def vignette(images: Tensor, random: torch.Generator, like: Tensor) -> Tensor:
    """Darkens the corners of some."""
    chosen, strength = _draw(2, random, like, images)
    y, x = _places(images)
    dark = 1 - (0.3 + 0.6 * strength) * ((x * x + y * y) / 2).square()
    return torch.where(chosen < VIGNETTED, images * dark, images)


def frame(images: Tensor, random: torch.Generator, like: Tensor) -> tuple[Tensor, Tensor]:
    """Paints a frame or bars over the border of some images: white, black, grey or coloured.

    Returns:
        Images, and where they are not frame: (B, 1, H, W) bool.
    """
    chosen, kind, colour, wide, tall, red, green, blue = _draw(8, random, like, images)
    y, x = _places(images)
    # a third each: all four sides, top and bottom, left and right
    across = torch.where((kind > 1 / 3) & (kind < 2 / 3), 0, 0.01 + WIDEST_FRAME * wide.square())
    down = torch.where(kind < 1 / 3, across * (images.shape[3] / images.shape[2]), torch.where(kind < 2 / 3, 0.01 + WIDEST_FRAME * tall, 0))
    inside = (x.abs() < 1 - 2 * across) & (y.abs() < 1 - 2 * down) | (chosen >= FRAMED)
    mixed = torch.cat((red, green, blue), 1)
    paint = torch.where(colour < 0.45, 1.0, torch.where(colour < 0.75, 0.0, torch.where(colour < 0.85, red, mixed)))
    return torch.where(inside, images, paint), inside


def caption(images: Tensor, random: torch.Generator, like: Tensor) -> tuple[Tensor, Tensor]:
    """Sets lines of letter-like marks on some images, with or without a bar behind them.

    Returns:
        Images, and where there is no bar: (B, 1, H, W) bool. The image remains valid under the letters alone.
    """
    height, width = images.shape[2:]
    chosen, at, left, long, size, colour, bar = _draw(7, random, like, images)
    y, x = (torch.arange(n, device=images.device).float().view(shape) for n, shape in ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1))))
    tall = (0.03 + 0.06 * size) * height
    top = (0.02 + 0.95 * at) * (height - 2 * tall)
    start, end = left * 0.4 * width, (0.6 + 0.4 * long) * width
    within = (y >= top) & (y < top + tall) & (x >= start) & (x < end)
    strokes = torch.rand(len(images), 1, 8, max(8, width // 3), generator=random)[like].to(images.device) < 0.45
    rows, columns = ((y - top) / tall * 8).clamp(0, 7).long(), (x / width * strokes.shape[3]).long().expand(len(images), -1, -1, -1)
    marks = strokes.flatten(2).gather(2, (rows * strokes.shape[3] + columns).flatten(2)).view(len(images), 1, height, width)
    light = (colour > 0.35).float()
    behind = within & (bar < 0.4) & (chosen < CAPTIONED)
    images = torch.where(behind, 1 - light, images)
    return torch.where(within & marks & (chosen < CAPTIONED), light, images), ~behind


def blur(images: Tensor, random: torch.Generator) -> Tensor:
    """Softens some images, like enlarged or unsharp ones."""
    chosen, amount = _draw(2, random, torch.arange(len(images)), images)
    soft = F.avg_pool2d(F.avg_pool2d(images, 3, 1, 1, count_include_pad=False), 3, 1, 1, count_include_pad=False)
    return torch.where(chosen < BLURRED, images.lerp(soft, amount), images)


def add_noise(images: Tensor, random: torch.Generator) -> Tensor:
    """Noise on some images: independent per pixel, or softened as by a camera."""
    chosen, amount, soft = _draw(3, random, torch.arange(len(images)), images)
    noise = torch.randn(images.shape, generator=random).to(images.device)
    noise = torch.where(soft < 0.4, 2 * F.avg_pool2d(noise, 3, 1, 1), noise)
    strength = torch.where(chosen < NOISY, DARKEST_NOISE + MOST_NOISE * amount.square(), 0)
    return (images + strength * noise).clamp(0, 1)


def compress(images: Tensor, random: torch.Generator) -> Tensor:
    """JPEG compression of some images: quantises the DCT of 8x8 blocks. Images of other sizes than multiples of 8 stay as they are."""
    height, width = images.shape[2:]
    if height % BLOCK or width % BLOCK:
        return images
    chosen, quality = _draw(2, random, torch.arange(len(images)), images)
    index = torch.nonzero((chosen < COMPRESSED).flatten())[:, 0]
    if not len(index):
        return images
    n = torch.arange(BLOCK, device=images.device, dtype=torch.float32)
    waves = torch.cos((2 * n[None] + 1) * n[:, None] * math.pi / (2 * BLOCK)) * torch.where(n == 0, 0.5**0.5, 1.0)[:, None] / 2
    coarse = (10 + 7 * (n[:, None] + n[None])) / 255 * (0.3 + 3 * quality[index].square()[:, :, :, :, None, None])
    mixed = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], device=images.device)
    channels = torch.einsum("ij,bjhw->bihw", mixed, images[index])
    blocks = channels.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    coarse = coarse * torch.tensor([1.0, 2.0, 2.0], device=images.device).view(1, 3, 1, 1, 1, 1)
    rounded = ((waves @ (blocks - 0.5) @ waves.T) / coarse).round() * coarse
    channels = (waves.T @ rounded @ waves + 0.5).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    result = images.clone()
    result[index] = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(mixed), channels).clamp(0, 1)
    return result


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Y and x in [-1, 1]."""
    height, width = images.shape[2:]
    y, x = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=images.device) for n in (height, width))
    return y.view(1, 1, -1, 1), x.view(1, 1, 1, -1)
