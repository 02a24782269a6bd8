"""Differences of two estimates: of their final images, and of the maps in two files, as figures and as heat maps with their scale."""

from __future__ import annotations

import base64
import html
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.alignment.metrics import angle_map, compare_depth, compare_normals, depth_error_map
from ..geometry.estimate import Estimate
from ..geometry.files import load_estimate
from ..geometry.files.html_page import filled_template
from ..geometry.files.packed_maps import nearest, preview_size
from ..geometry.files.paths import write_bytes
from ..geometry.files.png import small_png
from ..geometry.images.render import default_depth_image, heat_colours, heat_map, heat_map_end
from ..geometry.kinds import ZERO_AT_CAMERA
from ..geometry.surfaces.derive import with_normals

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

_LEVELS = 255


class Apart(NamedTuple):
    """The difference of two estimates, the larger of depth and normals, over all pixels valid in both, in 255ths of the image's range.

    `elsewhere`: share of the pixels that are valid in only one, 0 to 1.
    """

    largest: float
    mean: float
    elsewhere: float


def apart(found: Estimate, true: Estimate) -> Apart:
    """The difference of two estimates of the same images, over the maps that both have."""
    both = found.valid & true.valid
    differences = []
    if found.depth is not None and true.depth is not None:
        image, expected = (default_depth_image(replace(each, mask=both)) for each in (found, true))
        differences.append((image - expected)[both])
    if found.normals is not None and true.normals is not None:
        differences.append((found.normals - true.normals)[both.expand_as(true.normals)] / 2)
    largest, mean = zip(*map(_of, differences), strict=True)
    return Apart(max(largest), max(mean), (found.valid != true.valid).float().mean().item())


def faithfulness(found: Estimate, true: Estimate) -> tuple[float, float, float, float]:
    """How faithful an estimate with depth, normals or both is to another of the same images: whether a faster runtime may be chosen.

    Returns levels, degrees, correlation and moved, see `runtimes.measured.Measurement`.
    """
    levels, degrees, correlation, moved = 0.0, 0.0, 1.0, 0.0
    both = found.valid & true.valid
    if found.depth is not None and true.depth is not None:
        image, expected = (default_depth_image(replace(each, mask=both)).cpu() for each in (found, true))
        levels = _share(_LEVELS * (image - expected)[both.cpu()].abs())
        correlation = torch.corrcoef(torch.stack((image[both.cpu()], expected[both.cpu()])).double())[0, 1].nan_to_num(1.0).item()
        moved = max(_moved(image, expected), _moved(expected, image))
    angles = angle_map(with_normals(found), with_normals(true))
    degrees = _share(angles[~angles.isnan()])
    return levels, degrees, correlation, moved


def _share(values: Tensor, share: float = 0.999) -> float:
    """A quantile of the values."""
    return values.flatten().kthvalue(max(1, math.ceil(share * values.numel()))).values.item() if values.numel() else 0.0


def _moved(image: Tensor, expected: Tensor) -> float:
    """Share of an image's edges (its steepest 2 %) without an edge at least half as steep within one pixel in the other."""
    steepness, others = (_steepness(each) for each in (image, expected))
    limit = steepness.flatten().kthvalue(max(1, math.ceil(0.98 * steepness.numel()))).values
    edges = steepness > limit.clamp(min=1e-6)
    near = F.max_pool2d(others, 3, 1, 1) >= steepness / 2
    return 1 - near[edges].double().mean().item() if edges.any() else 0.0


def _steepness(image: Tensor) -> Tensor:
    """The larger absolute difference to the right and lower neighbour, for (B, C, H, W)."""
    across, down = F.pad(image.diff(dim=-1), (0, 1)), F.pad(image.diff(dim=-2), (0, 0, 0, 1))
    return torch.maximum(across.abs(), down.abs())


def _of(difference: Tensor) -> tuple[float, float]:
    levels = _LEVELS * difference.abs()
    return (levels.max().item(), levels.mean().item()) if len(levels) else (0.0, 0.0)


def read_both(
    found_path: Path,
    truth_path: Path,
    normals_from_depth: bool,
    quantities: tuple[str | None, str | None] = (None, None),
    channels: tuple[str | None, str | None] = (None, None),
) -> tuple[Estimate, Estimate]:
    """Reads two files to compare; the second is the ground truth.

    `normals_from_depth` replaces the first's normals by those of its depth. `quantities` and `channels` are as in `load_estimate`, one per
    file. Raises ValueError or OSError if a file cannot be read, or they have no kind of map in common.
    """
    evaluated = load_estimate(found_path, quantities[0], channel=channels[0])
    truth = load_estimate(truth_path, quantities[1], channel=channels[1])
    if evaluated.quantity is not None and truth.quantity is not None:
        paths = (found_path, truth_path)
        silent = [path for path, said in zip(paths, quantities, strict=True) if path.suffix.lower() == ".pfm" and said is None]
        if len(silent) == 2 or (silent and evaluated.quantity != truth.quantity):
            kinds = f"{evaluated.quantity.value} is compared with {truth.quantity.value}"
            logger.warning("%s: not said what the depth is, taken for metres; %s", " and ".join(map(str, silent)), kinds)
    if normals_from_depth:
        evaluated = with_normals(replace(evaluated, normals=None), edges="sharp")
        if truth.normals is None or evaluated.normals is None:
            lacks = f"{truth_path} has no normals" if truth.normals is None else f"{found_path}: relative depth does not tell normals"
            raise ValueError(f"{lacks}, so there are none to compare; leave --normals-from-depth out")
    if (evaluated.depth is None or truth.depth is None) and (evaluated.normals is None or truth.normals is None):
        raise ValueError(f"{found_path} and {truth_path} hold nothing of the same kind: one has depth, the other normals")
    return evaluated, truth


def errors_of(found: Estimate, truth: Estimate) -> dict[str, dict[str, float]]:
    """The figures of `compare_depth` and `compare_normals` under "depth" and "normals", for maps that both estimates have.

    Raises ValueError if sizes or projections differ, or there is no pixel to compare.
    """
    if found.projection is not truth.projection:
        raise ValueError(f"the first file is {found.projection.value}, the second {truth.projection.value}; compare two of one projection")
    errors = {}
    if found.depth is not None and truth.depth is not None:
        errors["depth"] = compare_depth(found, truth)
    if found.normals is not None and truth.normals is not None:
        errors["normals"] = compare_normals(found, truth)
    return errors


LONG_SIDE = 1600
"""Longest side of a heat map in pixels; larger maps are subsampled."""


@dataclass(frozen=True)
class HeatMap:
    """A heat map of one kind of error.

    Attributes:
        values: (1, 1, H, W), NaN where either map is invalid.
        unit: The suffix of printed values.
        sides: For values that can be negative (`signed`), the meanings of the first and the last colour.
    """

    title: str
    values: Tensor
    unit: str
    signed: bool = False
    sides: tuple[str, str] = ("", "")

    @property
    def end(self) -> float:
        """The value of the last colour."""
        return heat_map_end(self.values)

    def image(self) -> Tensor:
        """(1, 3, h, w) in [0, 1], `LONG_SIDE` at most."""
        height, width = self.values.shape[-2:]
        size = preview_size(height, width, LONG_SIDE)
        return heat_map(nearest(self.values, *size), self.end, self.signed)

    def labels(self) -> tuple[str, str, str]:
        """The labels below the first, middle and last colour."""
        first, last = (f" {side}".rstrip() for side in self.sides)
        beyond = "" if self.values.abs().nan_to_num(0.0).max() <= self.end * 1.001 else " or more"
        if not self.signed:
            return f"0{self.unit}", f"{self.end / 2:g}{self.unit}", f"{self.end:g}{self.unit}{beyond}"
        return f"{self.end:g}{self.unit}{beyond}{first}", f"0{self.unit}", f"{self.end:g}{self.unit}{beyond}{last}"


def heat_maps(found: Estimate, truth: Estimate) -> list[HeatMap]:
    """The errors of one image's maps that both have; `truth` is the reference. ValueError: several images, unlike sizes, or no pixel."""
    if found.batch != 1:
        raise ValueError(f"a heat map is of one image, and the files hold {found.batch}")
    maps = []
    if found.depth is not None and truth.depth is not None:
        if truth.quantity in ZERO_AT_CAMERA:
            title, sides = "depth error, in percent of B's depth", ("nearer", "farther")
        else:
            title, sides = "error of depth without a unit, in percent of B's range", ("less", "more")
        maps.append(HeatMap(title, depth_error_map(found, truth), " %", True, sides))
    if found.normals is not None and truth.normals is not None:
        maps.append(HeatMap("angle between the normals", angle_map(found, truth), "°"))
    return maps


def write_heat_maps(path: Path, maps: Sequence[HeatMap], errors: Mapping[str, Mapping[str, float]], names: tuple[str, str]) -> None:
    """Writes heat maps with their scales to a .png, or with the table of `errors_of` to a page, .html; atomically."""
    if path.suffix.lower() == ".html":
        write_bytes(path, _page(maps, errors, names).encode(errors="replace"))
    else:
        write_bytes(path, _sheet(maps, names))


def _page(maps: Sequence[HeatMap], errors: Mapping[str, Mapping[str, float]], names: tuple[str, str]) -> str:
    figures = "".join(map(_figure, maps))
    rows = "".join(
        f"<tr><th>{html.escape(kind)}</th><td>{html.escape(name)}</td><td>{value:.4g}</td></tr>"
        for kind, row in errors.items()
        for name, value in row.items()
    )
    title = html.escape(f"{names[0]} / {names[1]}")
    a, b = map(html.escape, names)
    return filled_template("differences", {"title": title, "a": a, "b": b, "figures": figures, "rows": rows})


def _figure(each: HeatMap) -> str:
    image = base64.b64encode(small_png(each.image())).decode()
    stops = ",".join(f"#{colour}" for colour in heat_colours(each.signed))
    labels = "".join(f"<span>{html.escape(label)}</span>" for label in each.labels())
    title = html.escape(each.title)
    return (
        f'<figure><figcaption>{title}</figcaption><img src="data:image/png;base64,{image}" alt="{title}">'
        f'<div class="scale" style="background:linear-gradient(to right,{stops})"></div><div class="labels">{labels}</div></figure>'
    )


def _sheet(maps: Sequence[HeatMap], names: tuple[str, str]) -> bytes:
    import numpy as np

    panels = [np.asarray(_panel(each, f"A: {names[0]}, B: {names[1]}")) for each in maps]
    is_wide = panels[0].shape[1] > panels[0].shape[0]
    sheet = np.concatenate(panels, 0 if is_wide else 1)
    return small_png(torch.from_numpy(sheet).movedim(-1, 0) / 255)


def _panel(each: HeatMap, names: str) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray((each.image()[0] * 255).round().byte().movedim(0, -1).contiguous().numpy())
    line = max(12, round(max(picture.size) / 45))
    font, edge = ImageFont.load_default(line), line // 2
    width = max(picture.width, 24 * line)
    panel = Image.new("RGB", (width + 2 * edge, picture.height + 8 * line), "white")
    draw = ImageDraw.Draw(panel)
    draw.text((edge, edge // 2), each.title, "black", font)
    draw.text((edge, edge // 2 + 1.25 * line), names, "#555555", font)
    panel.paste(picture, (edge + (width - picture.width) // 2, 3 * line))
    top = picture.height + 3 * line + edge
    share = torch.linspace(-1 if each.signed else 0, 1, width, dtype=torch.float32, device="cpu").expand(1, 1, line, width)
    scale = (heat_map(share, 1, each.signed)[0] * 255).round().byte().movedim(0, -1).contiguous().numpy()
    panel.paste(Image.fromarray(scale), (edge, top))
    for label, anchor, x in zip(each.labels(), ("la", "ma", "ra"), (edge, edge + width / 2, edge + width), strict=True):
        draw.text((x, top + 1.3 * line), label, "black", font, anchor=anchor)
    draw.text((edge, top + 2.5 * line), "grey: not valid in both", "#555555", font)
    return panel
