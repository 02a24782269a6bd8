"""Compresses PQ and HLG, and HDR highlights, to [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...utils import without_autocast
from .srgb import BT_2020, matrix_to_709, rgb_to_xyz

# The same for all frames of a video.
_to_709, _to_xyz = lru_cache(matrix_to_709), lru_cache(rgb_to_xyz)

PQ, HLG = 16, 18
HDR_NAMES = {PQ: "PQ", HLG: "HLG"}
"""Transfer functions of HDR, in the numbers of ITU-T H.273, and their names."""

REFERENCE_WHITE = 203.0
"""cd/m2 of HDR reference white (ITU-R BT.2408), which is mapped to white."""

PEAK = 1000.0
"""cd/m2 above which HDR is clipped."""


def hdr_to_sdr(image: Tensor, transfer: int, chromaticities: Sequence[float] = BT_2020) -> Tensor:
    """Tone maps coded PQ or HLG RGB (3, H, W) in [0, 1] to BT.709 SDR in [0, 1].

    Args:
        transfer: PQ or HLG.
        chromaticities: The primaries, as `srgb.BT_709`.

    Source:
        ITU-R BT.2100 (PQ, HLG with its OOTF for a screen of 1000 cd/m2), the EETF of ITU-R BT.2390 from 1000 cd/m2 to the reference white
        of BT.2408 (203 cd/m2) on max(R, G, B), and the gamma 2.4 of BT.1886.
    """
    light = pq_to_light(image) if transfer == PQ else _hlg_to_light(image, chromaticities)
    brightest = light.amax(0, keepdim=True)
    mapped = pq_to_light(_eetf(_light_to_pq(brightest.clamp(max=PEAK))))
    return coded_bt1886(to_709_primaries(light * (mapped / brightest.clamp(min=1e-6)) / REFERENCE_WHITE, chromaticities))


def coded_bt1886(light: Tensor) -> Tensor:
    """Linear light as coded for a screen of gamma 2.4 (ITU-R BT.1886), clamped to [0, 1] in place."""
    return light.clamp_(0, 1).pow_(1 / 2.4)


@without_autocast
def to_709_primaries(light: Tensor, chromaticities: Sequence[float] = BT_2020) -> Tensor:
    """Linear light (3, H, W) of these primaries (as `srgb.BT_709`) in those of BT.709."""
    return torch.einsum("ij,jhw->ihw", light.new_tensor(_to_709(tuple(chromaticities))), light)


_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128


def pq_to_light(coded: Tensor) -> Tensor:
    """PQ code values in [0, 1] to cd/m2 (SMPTE ST 2084)."""
    power = coded ** (1 / _M2)
    return 10000 * ((power - _C1).clamp(min=0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _light_to_pq(light: Tensor) -> Tensor:
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


@without_autocast
def _hlg_to_light(coded: Tensor, chromaticities: Sequence[float]) -> Tensor:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = torch.where(coded <= 0.5, coded**2 / 3, (torch.exp((coded - c) / a) + b) / 12)
    luma = torch.einsum("i,ihw->hw", scene.new_tensor(_to_xyz(tuple(chromaticities))[0][1]), scene)
    return PEAK * luma.clamp(min=1e-6) ** 0.2 * scene


def _eetf(coded: Tensor) -> Tensor:
    """BT.2390's knee: compresses PQ values up to PEAK below REFERENCE_WHITE and keeps dark ones."""
    peak = _light_to_pq(torch.tensor(PEAK, dtype=torch.float32, device="cpu"))
    top = _light_to_pq(torch.tensor(REFERENCE_WHITE, dtype=torch.float32, device="cpu")) / peak
    share = coded / peak
    knee = 1.5 * top - 0.5
    t = (share - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    return torch.where(share < knee, share, spline) * peak


_KNEE = 0.9


def compress_highlights(image: Tensor, has_none: bool = False) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Compresses HDR images, which have values above 1, to [0, 1]. Synchronises the device once, unless `has_none` is known.

    A value x above 0.9 becomes 0.9 + 0.1 log(x / 0.9) / log(p / 0.9), with the image's maximum p. Values below stay unchanged, so that
    edges and colour mixtures are treated as in other images. Images without values above 1 stay unchanged.

    Args:
        image: (B, 3, H, W), 0 or more.
        has_none: True if all values are known to be at most 1, for example by `check_image`.

    Returns:
        The images in [0, 1], in at least float32 if any was compressed; and a function that expands results (B, 3, h, w), computed from
        them, to the full range. It clamps results to [0, 1] first, and for images that were not compressed does nothing more.
    """
    if has_none:
        return image, lambda made: made.clamp(0, 1)
    peak = image.amax((1, 2, 3), keepdim=True)
    bright = peak > 1
    if not bool(bright.any()):
        return image, lambda made: made.clamp(0, 1)
    image = image.to(torch.promote_types(image.dtype, torch.float32))
    span = (peak.to(image).clamp(min=1) / _KNEE).log()

    def expand(made: Tensor) -> Tensor:
        made = made.clamp(0, 1)
        return torch.where(bright & (made > _KNEE), _KNEE * ((made - _KNEE) / (1 - _KNEE) * span.to(made)).exp(), made)

    beyond = _KNEE + (1 - _KNEE) * (image.clamp(min=_KNEE) / _KNEE).log() / span
    return torch.where(bright & (image > _KNEE), beyond, image), expand
