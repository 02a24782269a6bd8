"""How near the roll-off of bright coloured light comes to what Blender's views make of the same light.

    python benchmarks/roll_off.py VIEWS.npz

VIEWS.npz: what `roll_off_views.py` wrote. Of all light brighter than white: `hue`, mean difference of the hue in Oklab, degrees, where
there is a hue (chroma above 0.02 in both); `apart`, mean difference of sRGB in steps of 255. `clipped`: without a roll-off; `own hue`:
with the hue of HSV, as before; `film`: each channel by itself.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depth_normal.geometry.effects.relight import KNEE, roll_off
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear

# B. Ottosson, "A perceptual color space for image processing" (2020).
_TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_HUES = ((1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path, metavar="VIEWS.npz")
    with np.load(parser.parse_args().views) as file:
        held = {name: torch.from_numpy(file[name]).float() for name in file.files}
    lit = held.pop("lit").movedim(-1, 0)[None]
    base = held.pop("base").T[None, :, :, None].expand_as(lit)
    views = {name: shown.movedim(-1, 0)[None] for name, shown in held.items()}
    over = lit.amax(1) > 1
    print(f"{'':10}" + "".join(f"{name:>22}" for name in (*views, "mean")))
    print(f"{'':10}" + f"{'hue':>12}{'apart':>10}" * (len(views) + 1))
    for name, way in WAYS.items():
        shown = linear_to_srgb(way(lit, base).clamp(0, 1))
        figures = [(hue_apart(shown, view, over), 255 * float((shown - view).abs().mean(1)[over].mean())) for view in views.values()]
        hues, aparts = zip(*figures, strict=True)
        figures.append((sum(hues) / len(hues), sum(aparts) / len(aparts)))
        print(f"{name:10}" + "".join(f"{hue:12.1f}{apart:10.1f}" for hue, apart in figures))


def film(lit: Tensor, base: Tensor) -> Tensor:
    """Reinhard's curve on each channel."""
    knee = base.amax(1, keepdim=True).clamp(KNEE, 1)
    beyond = (lit - knee).clamp(min=0)
    return torch.minimum(lit, knee) + beyond * (1 - knee) / (1 - knee + beyond)


def own_hue(lit: Tensor, base: Tensor) -> Tensor:
    """Keeps the middle channel's relative position between the other two."""
    curved = film(lit, base)
    (high, low), (most, least) = ((each.amax(1, keepdim=True), each.amin(1, keepdim=True)) for each in (curved, lit))
    return low + (lit - least) * (high - low) / (most - least).clamp(min=1e-6)


def hue_apart(found: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean hue difference in degrees."""
    (first, strong), (second, also) = (hue_and_chroma(srgb_to_linear(each)) for each in (found, truth))
    counts = where & (torch.minimum(strong, also) > 0.02)
    return math.degrees(float(torch.remainder(first - second + math.pi, 2 * math.pi).sub(math.pi).abs()[counts].mean()))


def hue_and_chroma(light: Tensor) -> tuple[Tensor, Tensor]:
    """Hue in radians and chroma in Oklab, (B, H, W) each, of linear sRGB (B, 3, H, W)."""
    cones = torch.einsum("ij,bjhw->bihw", light.new_tensor(_TO_CONES), light).clamp(min=0) ** (1 / 3)
    a, b = torch.einsum("ij,bjhw->bihw", light.new_tensor(_TO_HUES), cones).unbind(1)
    return torch.atan2(b, a), torch.hypot(a, b)


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "clipped": lambda lit, base: lit,
    "own hue": own_hue,
    "film": film,
    "ours": roll_off,
}

if __name__ == "__main__":
    main()
