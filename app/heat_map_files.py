"""Writes heat maps of the errors between two files, with their scale: a PNG, or a page for any browser."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..geometry.alignment.metrics import angle_map, depth_error_map
from ..geometry.estimate import Estimate, Quantity
from ..geometry.files.html_page import filled_template
from ..geometry.files.packed_maps import nearest, preview_size
from ..geometry.files.paths import write_bytes
from ..geometry.files.png import small_png
from ..geometry.images.render import heat_colours, heat_map, heat_map_end

if TYPE_CHECKING:
    from PIL.Image import Image

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
        if truth.quantity is Quantity.METRIC_DEPTH:
            title, sides = "depth error, in percent of B's depth", ("nearer", "farther")
        else:
            title, sides = "error of depth without a unit, in percent of B's range", ("less", "more")
        maps.append(HeatMap(title, depth_error_map(found, truth), " %", True, sides))
    if found.normals is not None and truth.normals is not None:
        maps.append(HeatMap("angle between the normals", angle_map(found, truth), "°"))
    return maps


def write_heat_maps(path: Path, maps: Sequence[HeatMap], errors: Mapping[str, Mapping[str, float]], names: tuple[str, str]) -> None:
    """Writes heat maps with their scales to a .png, or with the table of `differences.errors_of` to a page, .html; atomically."""
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
