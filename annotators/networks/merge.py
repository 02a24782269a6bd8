"""Merges two depth maps of one image, the one right as a whole and the other in detail: a U-Net without normalisation.

Source:
    Miangoleh et al., "Boosting Monocular Depth Estimation Models to High-Resolution via Content-Adaptive Multi-Resolution Merging" (2021),
    section 4; the network is Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import MergeConfig
from .published import StateDict


class MergeNetwork(nn.Module):
    """The network.

    Convention:
        Input (B, 2, S, S): the map right as a whole, then the detailed one, each from -1 to 1; S a multiple of 2 to the power of the
        levels. Output (B, 1, S, S) between -1 and 1.
    """

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        channels = [config.width * min(2**level, 8) for level in range(config.levels)]
        outer = [1, *channels[:-1]]
        inputs = [2, *channels[:-1]]
        joined = [2 * each for each in channels[:-1]] + channels[-1:]
        self.down = nn.ModuleList(nn.Conv2d(each, own, 4, 2, 1, bias=False) for each, own in zip(inputs, channels, strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(each, own, 4, 2, 1, bias=level == 0) for level, (each, own) in enumerate(zip(joined, outer, strict=True))
        )

    def forward(self, maps: Tensor) -> Tensor:
        *down, innermost = self.down
        skips: list[Tensor] = []
        x = maps
        for conv in down:
            x = F.leaky_relu(conv(x), 0.2)
            skips.append(x)
        x = innermost(x)
        for conv in reversed(self.up):
            x = conv(F.relu(x))
            if skips:
                x = torch.cat((skips.pop(), x), 1)
        return x.tanh()

    @staticmethod
    def official_names(state: StateDict, config: MergeConfig) -> dict[str, Tensor]:
        """A published state dict, whose levels lie one inside the other, under the names of this network."""
        names, prefix = {}, "model.model."
        for level in range(config.levels):
            outermost, innermost = level == 0, level == config.levels - 1
            down, inside, up = (0, 1, 3) if outermost else (1, 3, 3 if innermost else 5)
            names[f"{prefix}{down}."] = f"down.{level}."
            names[f"{prefix}{up}."] = f"up.{level}."
            prefix += f"{inside}.model."
        return {_renamed(key, names): value for key, value in state.items()}


def _renamed(key: str, names: dict[str, str]) -> str:
    start, dot, end = key.rpartition(".")
    return names[start + dot] + end if start + dot in names else key
