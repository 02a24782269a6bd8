"""Renders scenes of our own with exact depth and normals; run with a Python that has bpy and tqdm (pip install "bpy==4.5.*" tqdm).

    python -m training.scenes --data DIR [--scenes 1500] [--part 0/1]
    python -m training.scenes --data DIR --kept

Each scene is seeded by its number and has three cameras. Each view that shows enough becomes a .npz in DIR/renders/; about half of the
scenes give a video of three frames to DIR/films/. With --kept, scenes and clips that nothing is learned from go to DIR/kept/ and
DIR/clips/, for training.evaluate. Existing files are not made again. Photographs of the train split in DIR/photos/, if any, are some of
the textures.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

from .parts import data_parser, part


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--kept", action="store_true", help="the scenes and clips for the evaluation instead")
    parser.add_argument("--part", type=part, default="0/1", help="i/n: only every n-th scene, for several processes")
    arguments = parser.parse_args()
    # imported after parsing, so that --help needs neither
    from tqdm import tqdm

    from .rendering import FIRST_KEPT, KEPT_SCENES, make_clips, make_scene

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for folder in ("renders", "films", "kept", "clips"):
        (arguments.data / folder).mkdir(parents=True, exist_ok=True)
    with (Path(__file__).parent / "photos.tsv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file, delimiter="\t") if row["split"] == "train"]
    photographs = [path for name in ids if (path := arguments.data / "photos" / f"{name}.jpg").exists()]
    numbers = range(FIRST_KEPT, FIRST_KEPT + KEPT_SCENES) if arguments.kept else range(arguments.scenes)
    if arguments.kept and arguments.part.index == 0:
        make_clips(arguments.data, photographs)
    for number in tqdm(arguments.part.of(numbers), desc="scenes"):
        make_scene(number, arguments.data, photographs)


if __name__ == "__main__":
    main()
