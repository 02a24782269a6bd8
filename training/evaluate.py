"""Prints the table of figures: networks beside a vertical ramp, FastDepth, partial MiDaS and the teacher.

    python -m training.evaluate --data DIR --weights DIR [--scenes DIR] [--model FILE ...] [--size 224] [--once] [--skies]
                                [--pictures DIR]

FILE is an exported .safetensors or a run's best.pt; the one that ships comes first. Needs scikit-image for its stereo photograph.
No image of this table is used in training. What the columns mean is in docs/tiny.md; the last are in `measures.py`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch import Tensor

from depth_normal.annotators.preprocessing.resizing import round_to_multiple
from depth_normal.annotators.registry import BUNDLED_MODEL, MODELS
from depth_normal.annotators.tiny import TinyAnnotator
from depth_normal.geometry.surfaces.normals import disparity_to_normals

from . import measures
from .data import read_photos
from .export import SHIPPED, read_state
from .measures import aligned_depth_scores, angular_error, estimate_of, motorcycle_photograph, spearman
from .parts import data_parser
from .teacher import Teacher, resize

Estimator = Callable[[np.ndarray], np.ndarray]

logger = logging.getLogger(__name__)


def load_tiny(path: Path, size: int | None = None, mirrored: bool | None = None) -> TinyAnnotator:
    """The network in an exported file or a run's best.pt.

    Args:
        path: The file.
        size: Short side of its input; None = the shipped model's.
        mirrored: Whether to average with mirror images; None = as in use: for the second version.
    """
    spec = MODELS[BUNDLED_MODEL]
    spec = replace(spec, default_size=size or spec.default_size)
    tiny = TinyAnnotator.build(spec, {"network": read_state(path)}, torch.float32)
    if mirrored is not None:
        tiny.network.mirrored = mirrored
    return tiny


def run_tiny(tiny: TinyAnnotator, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disparity (H, W) and normals (H, W, 3) at the size of the image (H, W, 3) uint8."""
    estimate = estimate_of(tiny, image)
    assert estimate.depth is not None
    assert estimate.normals is not None
    return estimate.depth[0, 0].numpy(), estimate.normals[0].movedim(0, -1).numpy()


def disparity_of(tiny: TinyAnnotator, image: np.ndarray) -> np.ndarray:
    """The disparity of `run_tiny`. The sky is at least as far as the farthest hundredth of the rest."""
    return run_tiny(tiny, image)[0]


def ramp(image: np.ndarray) -> np.ndarray:
    """A baseline: the bottom is near."""
    return np.repeat(np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None], image.shape[1], 1)


def at_size_of(image: np.ndarray, disparity: Tensor) -> np.ndarray:
    """(1, 1, h, w) to (H, W)."""
    return resize(disparity, *image.shape[:2])[0, 0].numpy()


def midas_size(image: np.ndarray, short: int = 256) -> tuple[int, int]:
    """Short side `short`, multiples of 32."""
    height, width = image.shape[:2]
    scale = short / min(height, width)
    return round_to_multiple(height * scale, 32), round_to_multiple(width * scale, 32)


def motorcycle(estimators: dict[str, Estimator]) -> dict[str, str]:
    """delta1 / AbsRel on scikit-image's stereo photograph with measured disparity."""
    left, disparity, valid = motorcycle_photograph()
    scores = {name: aligned_depth_scores(run(left), disparity, valid) for name, run in estimators.items()}
    return {name: f"{delta:.3f} / {relative:.3f}" for name, (delta, relative) in scores.items()}


def kept_out(estimators: dict[str, Estimator], data: Path) -> dict[str, str]:
    """Mean correlation with the teacher on the photographs of the test split."""
    scores: dict[str, list[float]] = {name: [] for name in estimators}
    for path in (data / "labels" / f"{photo.id}_0.npz" for photo in read_photos(split="test")):
        if not path.exists():
            logger.warning("%s is missing: run training.data and training.teacher", path)
            continue
        with np.load(path) as arrays:
            image, label = arrays["rgb"], arrays["disparity"].astype(np.float32)
        for name, run in estimators.items():
            scores[name].append(float(np.corrcoef(run(image).ravel(), label.ravel())[0, 1]))
    return {name: f"{np.mean(values):.3f} ({len(values)} images)" for name, values in scores.items()}


def scenes_with_truth(folder: Path) -> list[dict[str, np.ndarray]]:
    """The .npz scenes of a folder: rgb (H, W, 3) uint8, depth (H, W), normal (H, W, 3) int16 times 32767, mask (H, W) bool."""
    scenes = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            scenes.append(dict(arrays))
    return scenes


def ranks(estimators: dict[str, Estimator], scenes: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Mean Spearman correlation with true disparity, without sky."""
    result = {}
    for name, run in estimators.items():
        values = [spearman(run(scene["rgb"])[scene["mask"]], 1 / scene["depth"][scene["mask"]]) for scene in scenes]
        result[name] = f"{np.mean(values):.3f} ({' '.join(f'{value:.2f}' for value in values)})"
    return result


def normal_errors(sources: dict[str, Callable[[np.ndarray], np.ndarray]], scenes: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Mean angular error in degrees, without sky."""
    result = {}
    for name, run in sources.items():
        values = [angular_error(run(scene["rgb"]), scene["normal"] / 32767)[scene["mask"]].mean() for scene in scenes]
        result[name] = f"{np.mean(values):.1f} ({' '.join(f'{value:.0f}' for value in values)})"
    return result


def border_errors(estimators: dict[str, Estimator], scenes: list[dict[str, np.ndarray]]) -> dict[str, str]:
    """Mean angular error in degrees of normals from disparity, at the border and inside, without sky."""
    result = {}
    for name, run in estimators.items():
        values = []
        for scene in scenes:
            errors = angular_error(geometric_normals(run(scene["rgb"])), scene["normal"] / 32767)
            border = measures.at_border(*errors.shape)
            values.append([errors[scene["mask"] & where].mean() for where in (border, ~border)])
        result[name] = " / ".join(f"{value:.1f}" for value in np.mean(values, 0))
    return result


def geometric_normals(disparity: np.ndarray) -> np.ndarray:
    """(H, W, 3) by the pack's own geometry, with assumed camera and shift."""
    return disparity_to_normals(torch.from_numpy(np.ascontiguousarray(disparity))[None, None])[0].movedim(0, -1).numpy()


def times(tinies: dict[str, TinyAnnotator], teacher: Teacher, image: np.ndarray) -> str:
    """Milliseconds from an image to maps of its size on one thread, and of partial MiDaS's forward at 256, measured alternately."""
    pixels = torch.rand(1, 3, *midas_size(image))
    works: dict[str, Callable[[], object]] = {name: partial(estimate_of, tiny, image) for name, tiny in tinies.items()}
    works["MiDaS"] = lambda: teacher.midas(pixels)
    taken: dict[str, list[float]] = {name: [] for name in works}
    with torch.inference_mode():
        for _ in range(12):
            for name, work in works.items():
                start = time.thread_time()
                work()
                taken[name].append(time.thread_time() - start)
    middle = {name: 1000 * median(values[2:]) for name, values in taken.items()}
    return ", ".join(f"{name} {value:.0f} ms ({value / middle['MiDaS']:.2f} of MiDaS)" for name, value in middle.items())


def mean_deviations(tiny: TinyAnnotator, teacher: Teacher, data: Path) -> str:
    """Mean absolute deviation of disparity, median over a dozen kept-out photographs, to match tiny's scale to MiDaS's."""
    images = [photo.read(data) for photo in read_photos(data, "test")[:12]]
    ours = [run_tiny(tiny, np.ascontiguousarray(image))[0] for image in images]
    theirs = [teacher.midas_disparity(image, midas_size(image, 512)).numpy() for image in images]
    tiny_deviation, midas_deviation = (median(np.abs(m - np.median(m)).mean() for m in maps) for maps in (ours, theirs))
    return f"{tiny_deviation:.0f}, partial MiDaS at 512 {midas_deviation:.0f}"


def save_images(folder: Path, tiny: TinyAnnotator, scenes: list[dict[str, np.ndarray]], data: Path) -> None:
    """Writes image, disparity, predicted normals and geometric normals side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {f"scene{i}": scene["rgb"] for i, scene in enumerate(scenes)}
    images |= {photo.id: photo.read(data) for photo in read_photos(data, "test")}
    for name, image in images.items():
        disparity, normals = run_tiny(tiny, np.ascontiguousarray(image))
        low, high = np.percentile(disparity, (0.5, 99.5))
        grey = np.repeat(((disparity - low) / (high - low)).clip(0, 1)[..., None] * 255, 3, 2)
        maps = [image, grey, *((vectors + 1) * 127.5 for vectors in (normals, geometric_normals(disparity)))]
        cv2.imwrite(str(folder / f"{name}.jpg"), np.concatenate(maps, 1).round().astype(np.uint8)[..., ::-1])


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = data_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the teacher's, see training.teacher")
    parser.add_argument("--scenes", type=Path, help="folder of .npz with rgb, depth, normal, mask")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="beside the one that ships")
    parser.add_argument("--size", type=int, help="short side of the network's input; the shipped one's unless told")
    parser.add_argument("--once", action="store_true", help="without mirror images, as the first four weights were used")
    skies = "also count the photographs without sky in which some is found; a minute for each network"
    parser.add_argument("--skies", action="store_true", help=skies)
    parser.add_argument("--pictures", type=Path, help="write what the last network gives to this folder")
    return parser.parse_args()


def main() -> None:
    """See the module."""
    arguments = parse()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    teacher = Teacher(arguments.weights)
    load = partial(load_tiny, size=arguments.size, mirrored=False if arguments.once else None)
    tinies = {"tiny": load(SHIPPED)}
    tinies |= {f"{path.parent.name}/{path.name}": load(path) for path in arguments.model}
    estimators: dict[str, Estimator] = {
        "ramp": ramp,
        "FastDepth": lambda image: at_size_of(image, teacher.fastdepth_disparity(image)),
        "partial MiDaS, 256": lambda image: at_size_of(image, teacher.midas_disparity(image, midas_size(image))),
        "teacher": teacher,
    }
    networks: dict[str, Estimator] = {name: partial(disparity_of, tiny) for name, tiny in tinies.items()}
    estimators |= networks
    columns = {"motorcycle": motorcycle(estimators), "kept out": kept_out(estimators, arguments.data)}
    columns["motorcycle's loss in a white frame"] = measures.frame_losses(networks)
    columns["lines along the border"] = measures.border_lines(networks, arguments.data)
    columns["sky"] = measures.sky_scores(tinies, arguments.data)
    if arguments.skies:
        columns["false skies"] = measures.false_skies(tinies, arguments.data)
    columns |= measures.flicker({name: partial(estimate_of, tiny) for name, tiny in tinies.items()}, arguments.data)
    lines = measures.shapes(next(reversed(tinies.values())), arguments.data)
    if arguments.scenes:
        scenes = scenes_with_truth(arguments.scenes)
        columns["scenes, Spearman"] = ranks(estimators, scenes)
        sources: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            name: lambda image, tiny=tiny: run_tiny(tiny, image)[1] for name, tiny in tinies.items()
        }
        last = list(tinies.values())[-1]
        sources["geometry of the last one's disparity"] = lambda image: geometric_normals(run_tiny(last, image)[0])
        sources["all facing the viewer"] = lambda image: np.broadcast_to(np.array([0.0, 0.0, 1.0]), image.shape)
        lines += [f"normals, degrees, {name}: {value}" for name, value in normal_errors(sources, scenes).items()]
        at_borders = border_errors(networks, scenes)
        lines += [f"normals of the disparity, degrees, border / inside, {name}: {value}" for name, value in at_borders.items()]
        if arguments.pictures:
            save_images(arguments.pictures, last, scenes, arguments.data)
    lines += [f"mean deviation of disparity, {name}: {mean_deviations(tiny, teacher, arguments.data)}" for name, tiny in tinies.items()]
    lines.append(f"time: {times(tinies, teacher, np.zeros((480, 640, 3), np.uint8))}")
    table = [["", *columns], *([name, *(column.get(name, "") for column in columns.values())] for name in estimators)]
    sys.stdout.write("\n".join("| " + " | ".join(row) + " |" for row in table) + "\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
