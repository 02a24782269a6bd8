"""Weights drawn by seed, run by `runpy`: what a test takes where the numbers themselves do not matter."""

import torch
from torch import nn


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """MiDaS v2.1 small with weights that keep the activations' size, and statistics of the norms that are not those they start with."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif value.ndim == 1:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        elif value.ndim:
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
    network.scratch.output_conv[4].bias.fill_(10)  # above what the last ReLU cuts
    return network.eval().requires_grad_(False)
