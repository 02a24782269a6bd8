"""Cameras that move, for tests of what they see."""

import torch

from depth_normal.geometry.views.forward_warp import View


def moved_camera(across=0.0, down=0.0, shift_x=0.0, forward=0.0, middle=(0.0, 0.0), sideways=True, stretch=2, batch=1):
    """What is at inverse depth 1 moves by `across` columns to the left and `down` rows upwards; `shift_x` brings the image back."""
    numbers = [torch.full((batch, 1, 1, 1), value) for value in (across, down, shift_x, 0.0, forward, *middle)]
    return View.of(numbers, forward != 0, sideways=sideways, stretch=stretch)
