"""Prints how often `geometry.regions.sky.find_sky` is right on photographs that were looked at one by one.

    python -m training.sky --data DIR [--model ID --weights FILE]

DIR is that of `training.data`. sky.tsv says of each photograph whether its top border shows sky. The rule's constants were chosen on these
photographs. Images about which one could argue (fog, a bright window, a sliver of sky) are not listed.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

import depth_normal
from depth_normal.geometry.regions.sky import find_sky
from depth_normal.utils import check_images, images_to_rgb

from .data import read_photos
from .parts import data_parser

LIST = Path(__file__).parent / "sky.tsv"


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    model = depth_normal.load_model(arguments.model, weights=arguments.weights)
    there = {photo.id: photo for photo in read_photos(arguments.data)}
    with LIST.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["id"] in there]
    found: dict[str, list[bool]] = {"yes": [], "no": []}
    for row in rows:
        image = images_to_rgb(check_images(there[row["id"]].read(arguments.data).copy()))
        found[row["sky"]].append(bool(torch.any(find_sky(image, model.estimate(image)))))
    shares = [f"{sum(seen)} of {len(seen)} photographs {kind} sky" for kind, seen in zip(("with", "without"), found.values(), strict=True)]
    print(f"{arguments.model}: sky is found in {' and in '.join(shares)}")  # noqa: T201


if __name__ == "__main__":
    main()
