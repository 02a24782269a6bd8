"""BAE, and the encoder of DSINE, with a few channels: the same layers, and a file of half a megabyte instead of 290."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch

from depth_normal.annotators.networks import bae, dsine, efficientnet

STAGES = ((1, 3, 1, 1, 8), (2, 3, 2, 2, 8), (1, 5, 2, 2, 8), (1, 3, 2, 2, 8), (1, 5, 1, 2, 8), (1, 5, 2, 2, 8), (1, 3, 1, 2, 8))


@contextlib.contextmanager
def tiny_bae() -> Iterator[None]:
    """Builds them so while it lasts."""
    channels = (8, 8, 8, 8, 16)
    with (
        mock.patch.object(efficientnet, "B5", efficientnet.B5._replace(stem=8, stages=STAGES)),
        mock.patch.object(efficientnet, "B5_CHANNELS", channels),
        mock.patch.object(bae, "B5_CHANNELS", channels),
        mock.patch.object(dsine, "B5_CHANNELS", channels),
        mock.patch.object(bae, "_CHANNELS", (16, 16, 8, 8)),
        mock.patch.object(bae, "_HIDDEN", 8),
    ):
        yield


def randomise(network, seed=0):
    """Weights that neither let the signal die nor grow, and statistics of the norms that are not those they start with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.ndim == 1:
                value.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
            elif value.ndim:
                value.normal_(0, 1.3 * value[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def published(network) -> dict:
    """A network's state as the authors' file has it, wrapped and with what goes unused."""
    state = {f"module.{key}": each for key, each in network.state_dict().items()}
    state |= {key: each[..., 0] for key, each in state.items() if ".out_conv_res" in key and "res8" not in key and each.ndim == 4}
    return {"model": {**state, "module.encoder.original_model.bn2.weight": torch.zeros(16)}}
