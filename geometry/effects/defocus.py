"""Measures how far out of focus a photo is, assuming that equal depth has equal blur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import resize_map, sent_to
from ..filters.box import box_means
from ..filters.coarse import shrunk
from ..filters.extremes import extremes_within
from ..images.srgb import luminance
from ..levels import at_percentiles

# Longer side, in pixels, at which blur is measured.
_LONGER = 480
# Radius of the second blur, two box means, and the variance that it adds.
_RADIUS, _ADDED = 3, 8.0
# Layers of inverse depth. Pixels are left out within this many pixels of a depth edge, a ratio of depths.
_LAYERS, _BESIDE, _STEP = 8, 6, 1.1
# Share of a layer's pixels, with the strongest edges, from which blur is measured; least strength of edges; least number of pixels.
_EDGES, _WEAKEST, _FEWEST = 0.1, 3 / 255, 75
# Noise: this quantile of squared slopes, limited to two of 255 levels.
_QUIET, _MOST_NOISE = 0.1, 4 * (2 / 255) ** 2
# Largest variance of blur, by lens and resampling, that counts as in focus.
_FOCUSED = 1.5**2


class BlurByDepth(NamedTuple):
    """The blur of each pixel of a photo, in two steps, so that the device is synchronised once for its evidence and for other values.

    A second blur flattens a sharp edge a lot, and a blurred one hardly: at blur variance v, it multiplies squared slopes by v / (v + 8). In
    each layer of inverse depth, v is measured at the strongest edges.

    Attributes:
        inverse: (1, 1, h, w) inverse depth, smaller than the image.
        pitch: Size of its pixels in pixels of the image.
        evidence: For `to_cpu`.

    Source:
        S. Zhuo and T. Sim, "Defocus map estimation from a single image" (2011), for the second blur; the layers are our addition.
    """

    inverse: Tensor
    pitch: int
    evidence: dict[str, Tensor]

    @classmethod
    def of(cls, image: Tensor, depth: Tensor) -> BlurByDepth:
        """Of a photo (1, 3, H, W) in [0, 1], with depth (1, 1, H, W), positive and finite."""
        pitch = max(1, round(max(image.shape[-2:]) / _LONGER))
        small = luminance(shrunk(image, pitch).float())
        inverse = resize_map(depth.float(), small.shape[2], small.shape[3]).reciprocal()
        low, high = extremes_within(inverse, _BESIDE)
        padded = F.pad(torch.cat((small, box_means(box_means(small, _RADIUS), _RADIUS)), 1), (1, 1, 1, 1), mode="replicate")
        right, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        own, after = (right * right).addcmul_(down, down).split(1, 1)  # squared slopes over two pixels
        # Every second pixel, in one copy: a layer's result is a few numbers.
        places = torch.cat((inverse, high / low, own, after, box_means(own, _RADIUS)), 1)[..., ::2, ::2]
        return cls(inverse, pitch, {"places": places, "ends": torch.stack(inverse.aminmax())})

    def blur(self, fetched: Mapping[str, Tensor]) -> Tensor:
        """The blur's standard deviation in pixels of the image, 0 in focus, by the `evidence` on the CPU: (1, 1, h, w).

        Layers without strong edges have the blur of the nearest layer with such edges.
        """
        inverse = self.inverse
        least, most = fetched["ends"].tolist()
        per_layer = _LAYERS / max(most - least, 1e-6)
        blurs = _blurs_of_layers(fetched["places"].numpy().reshape(5, -1), least, per_layer)
        # Linear interpolation between the middles of two layers: intercept and slope.
        rises = np.diff(blurs, append=blurs[-1])
        lines = np.stack((blurs - rises * np.arange(_LAYERS), rises)) * self.pitch
        start, rise = sent_to(inverse.device, torch.tensor(lines.tolist(), dtype=torch.float32, device="cpu"))
        place = torch.rsub(inverse, -least * per_layer - 0.5, alpha=-per_layer).clamp_(0, _LAYERS - 1)
        layer = place.int().flatten()
        return torch.addcmul(start.index_select(0, layer).view_as(place), place, rise.index_select(0, layer).view_as(place))


def _blurs_of_layers(places: np.ndarray, least: float, per_layer: float) -> np.ndarray:
    """(layers,): standard deviation of each layer's blur, 0 in focus; without evidence, the nearest layer's.

    `places` (5, N) are inverse depth; the ratio of its maximum to its minimum nearby; squared slopes; squared slopes after the second blur;
    and local means of squared slopes. `least` is the least inverse depth, `per_layer` the layers per unit of it.
    """
    inverse, factor, own, after, means = places
    noise = min(at_percentiles(np.sort(means), (100 * _QUIET,))[0], _MOST_NOISE)
    layer = np.where(factor < _STEP, np.minimum((inverse - least) * np.float32(per_layer), _LAYERS - 1).astype(np.int32), -1)
    blurs, known = np.zeros(_LAYERS), np.zeros(_LAYERS, bool)
    for number in range(_LAYERS):
        inside = layer == number
        slopes, blurred = own[inside] - np.float32(noise), after[inside]
        strength = (slopes + blurred) / 2
        (strong,) = at_percentiles(np.sort(strength), (100 * (1 - _EDGES),))
        known[number] = len(strength) >= _FEWEST and strong > _WEAKEST**2
        if known[number]:
            slope, smooth = (each[strength >= strong].sum(dtype=np.float64) for each in (slopes, blurred))
            blurs[number] = max(_ADDED / max(slope / max(smooth, 1e-12) - 1, 0.05) - _FOCUSED, 0) ** 0.5
    if not known.any():
        return blurs
    telling = np.flatnonzero(known)
    return blurs[telling[np.abs(telling - np.arange(_LAYERS)[:, None]).argmin(1)]]
