"""Errors as colours, with the range that the colours stand for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import check_map

_ONE_SIDED = "000004 240c4f 5d126e 932567 c73e4c ed6925 fb9b06 f7d13d fcffa4"
_TWO_SIDED = "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b"
_UNKNOWN = 0.5
_ENDS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0)
_WITHIN = 0.95
# An error of 10 percent is not 15, for the last bits of float32.
_ROUNDING = 1e-5


def heat_map(values: Tensor, end: float, signed: bool = False) -> Tensor:
    """Colours of errors: from black to yellow, or, where they have a sign, from blue (negative) over white to red.

    Args:
        values: (B, 1, H, W), NaN where nothing is known, which becomes grey.
        end: The value of the last colour; what is beyond it has that colour.
        signed: Whether the first colour stands for `-end`, and not for 0.

    Returns:
        (B, 3, H, W) RGB in [0, 1], float32.

    Source:
        inferno: S. van der Walt and N. Smith, matplotlib (2015); RdBu: C. Brewer, colorbrewer2.org. Evenly spaced samples of both.
    """
    check_map(values, 1, "values")
    table = torch.tensor([list(bytes.fromhex(colour)) for colour in heat_colours(signed)], device=values.device) / 255
    share = values.float() / end
    position = ((share + 1) / 2 if signed else share).nan_to_num(0.0).clamp(0, 1)[:, 0] * (len(table) - 1)
    below = position.floor().long().clamp(max=len(table) - 2)
    colours = torch.lerp(table[below], table[below + 1], (position - below)[..., None]).movedim(-1, 1)
    return torch.where(values.isnan(), _UNKNOWN, colours)


def heat_colours(signed: bool) -> list[str]:
    """The colours of `heat_map` as RRGGBB, evenly spaced from the first to the last."""
    return [*(_TWO_SIDED if signed else _ONE_SIDED).split()]


def heat_map_end(values: Tensor) -> float:
    """A round number that 95 percent of the values do not exceed, as the `end` of a heat map.

    Args:
        values: Any shape, of either sign, NaN where nothing is known; 1 to 180 come back for whatever it holds.
    """
    known = values[~values.isnan()].abs().flatten().sort().values
    if not len(known):
        return _ENDS[0]
    most = known[math.ceil(_WITHIN * len(known)) - 1].item() * (1 - _ROUNDING)
    return next((end for end in _ENDS if end >= most), _ENDS[-1])
