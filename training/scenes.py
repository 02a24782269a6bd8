"""Renders scenes of our own with exact depth and normals; run with a Python that has bpy and tqdm (pip install "bpy==4.5.*" tqdm).

    python -m training.scenes --data DIR [--scenes 400] [--part 0/1]

Each scene is seeded by its number, has three cameras and gives one .npz a camera in DIR/renders/. What is there already is not
made again. Photographs of the train split in DIR/photos/ serve as some of the textures, where they are there.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from pathlib import Path


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--part", default="0/1", help="i/n: only every n-th scene, for several processes")
    arguments = parser.parse_args()
    # after the arguments, so that --help needs neither
    from tqdm import tqdm

    from .rendering import make_scene

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    (arguments.data / "renders").mkdir(parents=True, exist_ok=True)
    with (Path(__file__).parent / "photos.tsv").open(newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file, delimiter="\t") if row["split"] == "train"]
    photographs = [path for name in ids if (path := arguments.data / "photos" / f"{name}.jpg").exists()]
    part, parts = map(int, arguments.part.split("/"))
    for number in tqdm(range(part, arguments.scenes, parts), desc="scenes"):
        make_scene(number, arguments.data, photographs)


if __name__ == "__main__":
    main()
