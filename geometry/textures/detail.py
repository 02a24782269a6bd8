"""Extracts fine relief without the large shape, from normals or from a photograph's brightness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import check_choice, check_range
from ...options.textures import AUTO, BRIGHT, FREE, HIGH, MAX_RELIEF, MAX_SHAPE, SEAMLESS
from ...utils import resize_map
from ..checks import check_map
from ..conventions import convert_normals, unit_normals
from ..filters.transforms import blurred, trend_where
from ..images.srgb import luminance
from ..kinds import Axes
from .height import check_maps, height_to_normals, known_normals

BRIGHT_JOINTS = 0.16
"""`bright_lines` value from which bright lines are joints between darker stones."""
DARK_JOINTS = -0.1
"""`bright_lines` value below which dark lines certainly are joints."""

# Standard deviation in pixels of the blur that removes grain.
_GRAIN = 0.7
# Joint widths to search, relative to the shorter side; their minimum in pixels; and the share of pixels in lines.
_JOINTS, _NARROWEST, _LINES = (0.0065, 0.0098, 0.0147, 0.022), 1.5, 0.05
# Joints run through the whole image: minimum median of line strength over a grid of squares, relative to the mean.
_SQUARES, _EVEN = 4, 0.65
# Grey lines are joints if stronger than coloured ones by this much, and less coloured than their sides by this much.
_GREY, _LESS_COLOURED = 0.3, 0.02
# Minimum depth of joints, in standard deviations of brightness.
_DEEP = -2.0
# Darker than this, relative brightness is noise.
_DARK = 0.02


def subtract_normals(normals: Tensor, base: Tensor) -> Tensor:
    """Detail normals that, blended into the base, give `normals`: the exact inverse of `conventions.blend_normals`.

    All are (B, 3, H, W) unit vectors in OPENGL axes; (0, 0, 1) where both are equal. Raises ValueError: shapes that are not (B, 3, H, W),
    or differ.
    """
    check_map(normals, 3, "normals")
    check_map(base, 3, "base", like=normals)
    # Reoriented normal mapping mirrors the detail's opposite at t. The inverse is the same mirroring.
    x, y, z = base.split(1, 1)
    t = torch.cat((x, y, (z + 1).clamp(min=1e-6)), 1)
    mirrored = t * ((t * normals).sum(1, keepdim=True) * 2 / (t * t).sum(1, keepdim=True)) - normals
    return unit_normals(mirrored * normals.new_tensor((-1.0, -1.0, 1.0)).view(1, 3, 1, 1))


def detail_normals(
    normals: Tensor, axes: Axes | str = Axes.OPENGL, *, radius: float = 32.0, weight: Tensor | None = None, borders: str = FREE
) -> Tensor:
    """Removes the large shape from normals: the fine relief on a flat base, (B, 3, H, W) unit vectors, OPENGL axes.

    Args:
        normals: (B, 3, H, W) unit vectors in `axes`.
        radius: Shapes wider than this, in pixels, are removed; 1 to `MAX_SHAPE`.
        weight: (B, 1, H, W) bool, valid pixels; None = all with a direction. The others become (0, 0, 1).
        borders: "free" or "seamless".

    Raises:
        ValueError: Wrong shapes, unknown borders, too many pixels, or a radius out of range.
    """
    check_range("radius", radius, 1, MAX_SHAPE)
    known = known_normals(normals, weight, borders)
    own = unit_normals(convert_normals(torch.where(known, normals, 0), axes, Axes.OPENGL))
    base = unit_normals(trend_where(own, known.to(own.dtype), radius / 2, borders == SEAMLESS))
    facing = own.new_tensor((0.0, 0.0, 1.0)).view(1, 3, 1, 1)
    return torch.where(known, subtract_normals(own, base), facing)


def bright_lines(image: Tensor) -> Tensor:
    """Measures how much stronger the bright lines of photographs (B, 3, H, W) in [0, 1] are than their dark lines.

    Stones, bricks and tiles are areas, and joints are the lines between them. Bright mortar is deep although it is bright; dark crevices
    are deep and dark. In side light, each groove has a bright and a dark line next to each other, which cancel at coarse scales. Bright
    lines in a few places only, such as the rims of craters, are not joints.

    Returns:
        (B,) natural logarithm of the ratio of their strengths, at the line width where it is largest: 0 = equal, or no joints; from
        `BRIGHT_JOINTS` on, bright lines are joints.

    Source:
        T. Lindeberg, "Edge detection and ridge detection with automatic scale selection" (1998), for lines as curvature of brightness that
        is strong across and weak along them. The rest is ours.
    """
    check_maps(image, 3, "image")
    ratio, even, _ = _clearest_lines((luminance(image) + _DARK).log())
    return torch.where(even, ratio, ratio.clamp(max=0))


def grey_joints(image: Tensor, borders: str = FREE) -> Tensor:
    """Detects grey joints between coloured stones, such as the mortar of a brick wall, lit or in shadow.

    (B, 1, H, W) from 0 to 1 = joint, of RGB (B, 3, H, W) in [0, 1]; 0 everywhere in an image without a pattern of grey lines.
    """
    check_maps(image, 3, "image", borders)
    shorter, seamless = min(image.shape[-2:]), borders == SEAMLESS
    # Blurred, as the noise of single pixels colours dark stones.
    smooth = blurred(image, max(_NARROWEST, _JOINTS[0] * shorter), seamless).clamp(min=0)
    grey = (smooth.amin(1, keepdim=True) + _DARK).log() - (smooth.amax(1, keepdim=True) + _DARK).log()
    ratio, even, strength = _clearest_lines(grey, seamless)
    there = even & (ratio >= _GREY) & (strength >= _LESS_COLOURED)
    above = grey - blurred(grey, _JOINTS[-1] * shorter * 4, seamless)
    lines = above.flatten(1).topk(max(1, int(_LINES * above[0].numel()))).values.mean(1).clamp(min=_DARK).view(-1, 1, 1, 1)
    return torch.where(there.view(-1, 1, 1, 1), (above / lines * 3 - 0.5).clamp(0, 1), 0)


def _clearest_lines(values: Tensor, seamless: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Measures lines of high values in a map (B, 1, H, W), at the width where they differ most from lines of low values.

    (B,) each: the log ratio of the strengths of both, whether the lines of high values run through the whole image, and how much these
    stand out, in units of the values.
    """
    shorter = min(values.shape[-2:])
    candidates = [_lines(values, max(_NARROWEST, share * shorter), seamless) for share in _JOINTS]
    ratios, even, strengths = (torch.stack(each) for each in zip(*candidates, strict=True))
    clearest = ratios.abs().argmax(0, keepdim=True)
    return ratios.gather(0, clearest)[0], even.gather(0, clearest)[0], strengths.gather(0, clearest)[0]


def _lines(values: Tensor, width: float, seamless: bool) -> tuple[Tensor, Tensor, Tensor]:
    smooth = F.pad(blurred(values, width, seamless), (1, 1, 1, 1), mode="circular" if seamless else "replicate")
    middle = smooth[..., 1:-1, 1:-1]
    across = smooth[..., 1:-1, 2:] + smooth[..., 1:-1, :-2] - 2 * middle
    down = smooth[..., 2:, 1:-1] + smooth[..., :-2, 1:-1] - 2 * middle
    mixed = (smooth[..., 2:, 2:] + smooth[..., :-2, :-2] - smooth[..., 2:, :-2] - smooth[..., :-2, 2:]) / 4
    mean, spread = (across + down) / 2, ((across - down).square() / 4 + mixed.square()).sqrt()
    least, greatest = mean - spread, mean + spread
    bright, dark = (-least - 2 * greatest.abs()).clamp(min=0), (greatest - 2 * least.abs()).clamp(min=0)
    count = max(1, int(_LINES * bright[0].numel()))
    strongest = [lines.flatten(1).topk(count).values for lines in (bright, dark)]
    strengths = [each.mean(1) + 1e-6 for each in strongest]
    spread = resize_map((bright >= strongest[0][:, -1].view(-1, 1, 1, 1)).to(bright), _SQUARES, _SQUARES).flatten(1)
    even = spread.median(1).values >= _EVEN * spread.mean(1)
    return (strengths[0] / strengths[1]).log(), even, strengths[0] * width * width


@dataclass(frozen=True, eq=False)
class PhotoRelief:
    """Relief guessed from a photograph's brightness: dark is deep, as in pores and weaves, or bright is deep, as in mortar.

    Paint is mistaken for relief, and side light is not recognised. Shapes wider than the radius are taken for light or paint and removed.
    Each image's relief is scaled by its own standard deviation, so that the image's contrast does not matter.

    Properties are computed at first use and cached, so share one object for `height`, `is_low` and `is_in_doubt`. Raises ValueError: the
    image has another shape or is too large, unknown borders, or a radius out of range.

    Attributes:
        image: (B, 3, H, W), RGB in [0, 1].
        radius: Shapes wider than this many pixels are removed.
        borders: "free" or "seamless".
    """

    image: Tensor
    radius: float = 32.0
    borders: str = FREE

    def __post_init__(self) -> None:
        check_maps(self.image, 3, "image", self.borders)
        check_range("radius", self.radius, 1, MAX_SHAPE)

    @cached_property
    def lines(self) -> Tensor:
        """As `bright_lines`."""
        return bright_lines(self.image)

    @cached_property
    def joints(self) -> Tensor:
        """As `grey_joints`."""
        return grey_joints(self.image, self.borders)

    @property
    def is_low(self) -> Tensor:
        """(B,) bool, whether "auto" takes bright parts for low: bright lines are stronger (`bright_lines`)."""
        return self.lines >= BRIGHT_JOINTS

    @property
    def is_in_doubt(self) -> Tensor:
        """(B,) bool, whether neither lines nor colours determine the sign; "auto" then takes bright parts for high."""
        return (self.lines >= DARK_JOINTS) & ~self.is_low & ~self.joints.flatten(1).any(1)

    def height(self, bright: str = AUTO) -> Tensor:
        """The relief (B, 1, H, W), larger = nearer, in standard deviations of fine brightness, -3 to 3 (0 where it is constant).

        `bright` is one of `BRIGHT`. "auto": "low" for images with `is_low`, otherwise "high"; `joints` are deep whatever their brightness.
        """
        check_choice("bright", bright, BRIGHT)
        if bright == AUTO:
            height = torch.where(self.is_low.view(-1, 1, 1, 1), -self._high, self._high)
            return torch.lerp(height, height.clamp(max=_DEEP), self.joints)
        return self._high if bright == HIGH else -self._high

    def normals(self, relief: float = 1.0, bright: str = AUTO) -> Tensor:
        """Normals (B, 3, H, W) of `height`, OPENGL axes.

        Args:
            relief: Height in pixels of one standard deviation of brightness. Negative values invert the relief, with "auto" as "high".
            bright: As `height`.
        """
        check_range("relief", relief, -MAX_RELIEF, MAX_RELIEF)
        bright = HIGH if bright == AUTO and relief < 0 else bright
        return height_to_normals(self.height(bright) * relief, borders=self.borders)

    @cached_property
    def _high(self) -> Tensor:
        brightness, seamless = luminance(self.image), self.borders == SEAMLESS
        fine = blurred(brightness, _GRAIN, seamless) - blurred(brightness, self.radius / 2, seamless)
        fine = fine - fine.mean((2, 3), keepdim=True)
        spread = fine.square().mean((2, 3), keepdim=True).sqrt()
        # Clamped, as highlights and single dark spots are not mountains.
        return torch.where(spread > 1e-4, fine / spread.clamp(min=1e-4), 0).clamp(-3, 3)
