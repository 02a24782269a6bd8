"""The z-buffer of a moved camera, against cells drawn one by one."""

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from depth_normal.geometry.splat import Layer, View, _cells, _splat

HEIGHT, WIDTH, MARGIN = 20, 30, (4, 3)
REACH = (3.0, 3.0)


def scene():
    """Two layers' worth of blocks at random depths, seen by a camera that moves aside and forward."""
    generator = torch.Generator().manual_seed(0)
    height, width = HEIGHT + 2 * MARGIN[1], WIDTH + 2 * MARGIN[0]
    blocks = torch.rand(2, 1, 5, 6, generator=generator)
    inverse = 0.1 + 0.8 * torch.nn.functional.interpolate(blocks, (height, width), mode="nearest")
    inverse += 0.02 * torch.rand(inverse.shape, generator=generator)
    one = torch.ones(2, 1, 1, 1)
    view = View(9 * one, 2 * one, one, 0 * one, 0.3, one * (WIDTH - 1) / 2, one * (HEIGHT - 1) / 2, "left")
    return inverse, _cells(Layer(inverse.expand(-1, 3, -1, -1), inverse, MARGIN), view)


def drawn_one_by_one(inverse, cells):
    target = torch.zeros(inverse.shape[0], 1, HEIGHT, WIDTH)
    for b, _, row, column in torch.cartesian_prod(*map(torch.arange, inverse.shape)).tolist():
        x, y, left, right, up, down = (part[b, 0, row, column] for part in cells)
        if not (torch.isfinite(x) and torch.isfinite(y)):
            continue
        for i in range(max(0, round(float(y)) - 3), min(HEIGHT - 1, round(float(y)) + 3) + 1):
            for j in range(max(0, round(float(x)) - 3), min(WIDTH - 1, round(float(x)) + 3) + 1):
                if x - left <= j <= x + right and y - up <= i <= y + down:
                    target[b, 0, i, j] = max(target[b, 0, i, j], inverse[b, 0, row, column])
    return target


def test_each_pixel_shows_the_nearest_cell_that_covers_it():
    inverse, cells = scene()
    cells.x[0, 0, 3, 4:8] = torch.tensor([math.nan, math.inf, -math.inf, 1e30])
    found = _splat(inverse, cells, REACH, HEIGHT, WIDTH)
    assert (found > 0).float().mean() > 0.5
    assert torch.equal(found, drawn_one_by_one(inverse, cells))


class Scattered(TorchDispatchMode):
    """Notes to how many places each scatter writes, and how often to the place that is written to most."""

    def __init__(self):
        super().__init__()
        self.most = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.scatter_reduce_.two:
            self.most.append(int(args[2].bincount().max()))
        return func(*args, **(kwargs or {}))


def test_cells_that_cover_nothing_do_not_queue_for_one_pixel():
    """On a GPU those that write to one place go one after the other."""
    inverse, cells = scene()
    with Scattered() as scattered:
        _splat(inverse, cells, REACH, HEIGHT, WIDTH)
    assert len(scattered.most) == 49 and max(scattered.most) < inverse.numel() / 10, scattered.most
