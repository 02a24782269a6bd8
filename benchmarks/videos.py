"""Flicker and error of the depth of a video: frame by frame, and by each method of stabilisation.

    python benchmarks/videos.py [--models tiny ...] [--weights FILE] [--shots NAME ...] [--frames 60] [--width 320 --height 240]
        [--pictures DIR]

Five videos of a room, computed with their true depth (benchmarks/video_scenes.py, by seed): one where only the grain changes, a still
camera before a moving ball, or one that passes close by, a pan, a zoom. Every method ends in the grey image that people look at, near =
white, 0 to 255.

- flicker: the mean change of a point from one frame to the next, in levels of 255, over what did not move in the room (in the pan and the
  zoom the point is followed by the true movement). "truth" is the flicker of the ground truth.
- drift: the mean level of the same points: how far it gets from that of the first frame, in levels of 255, as the sum of the mean changes.
- contrast: the standard deviation of the grey levels over the video: a flat image cannot flicker.
- AbsRel, d1: the depth of the image against the ground truth after one scale and one shift of disparity for the whole video:
  mean |d - t| / t and the share of pixels within a factor of 1.25.
- ends: the largest percentage of one frame's pixels that are black, or white, as those beyond the range are.
- less: how many times less flicker than per_image, at equal contrast.

--models names any of `depth-normal models`; --weights reads a MiDaS v2.1 small file, even one with tensors missing (they are zero then).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from video_scenes import FRAMES, SHOTS, SIZE, Video, render_video

from depth_normal import load_model
from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.geometry.alignment.scale_shift import fit_scale_shift
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.render import depth_to_image
from depth_normal.geometry.temporal.stabilization import VideoAligner
from depth_normal.model_loader import Model
from depth_normal.model_loader.inference.network import LoadedNetwork
from depth_normal.options.video import VideoOptions

WITH_DEPTH = [spec.id for spec in MODELS.values() if spec.quantity is not None]
Method = Callable[[Tensor, Estimate], Tensor]


def main() -> None:
    """Prints a table per video and model."""
    arguments = parse()
    models = [(name, load_model(name)) for name in arguments.models]
    if arguments.weights:
        models.append((arguments.weights.stem, partial_midas(arguments.weights)))
    for shot in arguments.shots:
        video = render_video(shot, arguments.frames, size=(arguments.height, arguments.width))
        for name, model in models:
            report(f"{shot}, {name}", video, Estimate.cat(list(model.estimates(video.frames))), arguments.pictures)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["tiny"], choices=WITH_DEPTH, metavar="ID")
    parser.add_argument("--weights", type=Path, metavar="FILE")
    parser.add_argument("--shots", nargs="*", default=list(SHOTS), choices=list(SHOTS))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--width", type=int, default=SIZE[1])
    parser.add_argument("--height", type=int, default=SIZE[0])
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="folder for a strip of each method: frames, and the change between them"
    )
    return parser.parse_args()


def partial_midas(path: Path) -> Model:
    """MiDaS v2.1 small; tensors missing in the file are zero."""
    from safetensors.torch import load_file

    spec, expected = MODELS["midas-v2.1-small"], MidasSmall().state_dict()
    state = {name: torch.zeros_like(value) for name, value in expected.items()} | load_file(path)
    annotator = FAMILIES[spec.family].build(spec, {"network": state}, torch.float32)
    return Model(LoadedNetwork(annotator, torch.float32, torch.device("cpu"), path))


def grey_image(normalisation: str, _frames: Tensor, estimate: Estimate) -> Tensor:
    """Network depth as a grey image."""
    assert estimate.depth is not None and estimate.quantity is not None
    return depth_to_image(estimate.depth, estimate.quantity, normalisation=normalisation)


def steady_grey_image(normalisation: str, options: VideoOptions, frames: Tensor, estimate: Estimate) -> Tensor:
    """Stabilised video depth as grey images."""
    return grey_image(normalisation, frames, VideoAligner(options).push(frames, estimate))


METHODS: dict[str, Method] = {
    "per_image": partial(grey_image, "per_image"),
    "per_clip": partial(grey_image, "per_clip"),
    "running": partial(grey_image, "running"),
    "align, per_clip": partial(steady_grey_image, "per_clip", VideoOptions(smooth=0)),
    "align, running": partial(steady_grey_image, "running", VideoOptions(smooth=0)),
    "smooth, per_clip": partial(steady_grey_image, "per_clip", VideoOptions("none", smooth=1)),
    "align + smooth .5, per_clip": partial(steady_grey_image, "per_clip", VideoOptions(smooth=0.5)),
    "align + smooth 1, per_clip": partial(steady_grey_image, "per_clip", VideoOptions(smooth=1)),
    "align + smooth 1, running": partial(steady_grey_image, "running", VideoOptions(smooth=1)),
}


def report(title: str, video: Video, estimate: Estimate, folder: Path | None) -> None:
    """Prints each method's results for a network's estimates."""
    print(f"\n{title}: {len(video.frames)} frames of {video.frames.shape[3]}x{video.frames.shape[2]}")
    print(f"{'':28s} {'flicker':>8s} {'drift':>6s} {'contrast':>9s} {'AbsRel':>8s} {'d1':>7s} {'ends':>6s} {'less':>6s}")
    truth = depth_to_image(video.depth, Quantity.METRIC_DEPTH, normalisation="per_clip", as_disparity=True)
    print(f"{'truth':28s} {flicker(truth, video):8.2f} {drift(truth, video):6.2f} {255 * truth.std():9.1f}")
    base = 0.0
    for name, method in METHODS.items():
        grey = F.interpolate(method(video.frames, estimate), size=video.depth.shape[-2:], mode="bilinear", align_corners=False)
        change, contrast = flicker(grey, video), 255 * float(grey.std())
        base = base or change / contrast
        error, within = errors(grey, video)
        at_ends = 100 * max(float(each.double().mean((1, 2, 3)).max()) for each in (grey <= 0, grey >= 1))
        less = base / (change / contrast)
        figures = f"{change:8.2f} {drift(grey, video):6.2f} {contrast:9.1f} {error:8.3f} {within:7.3f} {at_ends:6.2f} {less:6.1f}"
        print(f"{name:28s} {figures}")
        if folder is not None:
            save_strip(folder / f"{title}, {name}.png".replace(" ", "_"), grey, video)


def flicker(grey: Tensor, video: Video) -> float:
    """Mean change, of 255 levels, of static points."""
    return 255 * float((changes(grey, video).abs() * video.still).sum() / video.still.sum())


def drift(grey: Tensor, video: Video) -> float:
    """The largest deviation of static points' mean level from the first frame's, in levels of 255."""
    mean = (changes(grey, video) * video.still).sum((1, 2, 3)) / video.still.sum((1, 2, 3))
    return 255 * float(mean.cumsum(0).abs().max())


def changes(grey: Tensor, video: Video) -> Tensor:
    """Each point's change from the previous frame, (T - 1, 1, H, W)."""
    return grey[1:] - F.grid_sample(grey[:-1], video.flow, align_corners=False)


def errors(grey: Tensor, video: Video) -> tuple[float, float]:
    """AbsRel and delta 1 of the depth that an image encodes, with one scale and shift fitted to the whole video."""
    scale, shift = fit_scale_shift(grey.flatten()[None], 1 / video.depth.flatten()[None])
    depth = 1 / (scale * grey + shift).clamp(min=1 / (2 * video.depth.max()))
    ratio = depth / video.depth
    return float((ratio - 1).abs().mean()), float((torch.maximum(ratio, 1 / ratio) < 1.25).double().mean())


def save_strip(path: Path, grey: Tensor, video: Video) -> None:
    """Four frames in a row, and below them their change from the previous frame, times eight."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    change = changes(grey, video).abs() * video.still
    chosen = [len(change) * i // 4 for i in range(4)]
    rows = [torch.cat([each[i][0] for i in chosen], 1) for each in (grey[1:], (8 * change).clamp(max=1))]
    cv2.imwrite(str(path), (torch.cat(rows) * 255).round().byte().numpy())


if __name__ == "__main__":
    main()
