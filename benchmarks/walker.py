"""Trails that temporal smoothing leaves on a slowly moving person, and the flicker that it leaves on static parts.

    python benchmarks/walker.py [--models tiny ...] [--frames 36] [--width 320 --height 240] [--pictures DIR]

One photograph, cut out, moves before another by a part of a pixel a frame, both of scikit-image, with grain; also standing still, and
before a camera that pans. A network estimates each frame; its depth is aligned, with smoothing and without. All in levels of 255:

- patch: by how much the smoothed depth on the person differs from the frame's own, blurred over 25 pixels, beyond the frame's own change
  from the frame before: the largest of all, and what 1 % exceed. Of the person who stands still it is what noise alone makes.
- still: the mean change from frame to frame of what does not move, more than 20 pixels from the person; frame by frame, and smoothed.
- person: the same of the person.
- drift: how far the mean level of what does not move gets from that of the first frame, in a depth image whose range is "running".
- ms: of the processor for each frame's alignment and smoothing, without the network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_normal import load_model
from depth_normal.annotators.registry import MODELS
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.levels import depth_to_nearness
from depth_normal.geometry.temporal.ranges import RunningRange
from depth_normal.geometry.temporal.stabilization import VideoAligner
from depth_normal.options.video import VideoOptions

WITH_DEPTH = [spec.id for spec in MODELS.values() if spec.quantity is not None]
FILMS = {"stands": (0.0, 0.0), "0.15 px": (0.15, 0.0), "0.4 px": (0.4, 0.0), "1.5 px": (1.5, 0.0), "0.4 px, pan": (0.4, 1.0)}
"""Motion of the person and the camera per frame, in pixels of a width of 320."""
GRAIN = 1.5 / 255


def main() -> None:
    """Prints a table per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["tiny"], choices=WITH_DEPTH, metavar="ID")
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="folder for the last frame, its own depth and the smoothed depth")
    arguments = parser.parse_args()
    for name in arguments.models:
        model = load_model(name)
        print(f"\n{name}: {arguments.frames} frames of {arguments.width}x{arguments.height}")
        print(
            f"{'':14}{'patch max':>10}{'1 %':>6}{'still: own':>12}{'smoothed':>10}{'person: own':>13}{'smoothed':>10}{'drift':>7}{'ms':>7}"
        )
        for film, (speed, pan) in FILMS.items():
            frames, person = walker(speed, pan, arguments.frames, arguments.height, arguments.width)
            estimate = Estimate.cat(list(model.estimates(frames)))
            own, smoothed, seconds = steadied(frames, estimate, 0)[0], *steadied(frames, estimate, 1)
            own, smoothed = (F.interpolate(each, size=frames.shape[-2:], mode="bilinear") for each in (own, smoothed))
            print_row(film, own, smoothed, person, 1000 * seconds / arguments.frames, is_pan=pan > 0)
            if arguments.pictures is not None:
                save(arguments.pictures / f"{name}, {film}.png".replace(" ", "_"), frames[-1], own[-1], smoothed[-1])


def walker(speed: float, pan: float, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Frames (T, 3, H, W), and the person's mask (T, 1, H, W)."""
    from skimage import data

    room, photograph = (torch.from_numpy(each).float().permute(2, 0, 1)[None] / 255 for each in (data.coffee(), data.astronaut()))
    photograph = photograph[..., 60:400]
    # roughly the photograph's head and shoulders: an ellipse on a block with sloping sides
    y, x = torch.meshgrid(torch.linspace(-1, 1, 220), torch.linspace(-1, 1, 150), indexing="ij")
    head = torch.sigmoid((0.42 - (x**2 + ((y + 0.55) * 0.9) ** 2) ** 0.5) * 40)
    shoulders = torch.sigmoid((0.85 - x.abs() - 0.25 * (1 - y)) * 30) * torch.sigmoid((y + 0.15) * 30)
    cut_out = torch.cat((F.interpolate(photograph, size=(220, 150), mode="bilinear"), torch.maximum(head, shoulders)[None, None]), 1)
    random, frames, persons = torch.Generator().manual_seed(1), [], []
    for t in range(count):
        # In units of 320x240: the person is 150x220 at (20 + speed t, 20), the room moves by at most 60.
        across, down = torch.meshgrid((torch.arange(width) + 0.5) * 320 / width, (torch.arange(height) + 0.5) * 240 / height, indexing="xy")
        on_person = torch.stack(((across - 20 - speed * t) / 75 - 1, (down - 20) / 110 - 1), -1)
        in_room = torch.stack(((across + pan * t) / 190 - 1, down / 120 - 1), -1)
        seen = F.grid_sample(cut_out, on_person[None], align_corners=False)
        behind = F.grid_sample(
            F.interpolate(room, size=(height, width * 380 // 320)), in_room[None], align_corners=False, padding_mode="border"
        )
        image = torch.lerp(behind, seen[:, :3], seen[:, 3:])
        frames.append(image + GRAIN * torch.randn(image.shape, generator=random))
        persons.append(seen[:, 3:] > 0.5)
    return torch.cat(frames).clamp(0, 1), torch.cat(persons)


def steadied(frames: Tensor, estimate: Estimate, smooth: float) -> tuple[Tensor, float]:
    """Nearness (T, 1, h, w), aligned and smoothed, and its CPU seconds."""
    begun = time.process_time()
    found = VideoAligner(VideoOptions(smooth=smooth)).push(frames, estimate)
    seconds = time.process_time() - begun
    depth, quantity, valid = found.known_depth()
    return depth_to_nearness(depth.where(valid, 1), quantity, as_disparity=quantity is Quantity.METRIC_DEPTH), seconds


def print_row(name: str, own: Tensor, smoothed: Tensor, person: Tensor, milliseconds: float, is_pan: bool) -> None:
    """Prints one line of the table; without drift for panning cameras, where pixels change."""
    low, high = RunningRange().update(smoothed)
    image = 255 * ((smoothed - low) / (high - low)).clamp(0, 1)
    values = smoothed[::6].flatten().sort().values
    levels = 255 / (values[len(values) * 99 // 100] - values[len(values) // 100])
    own, smoothed = levels * own, levels * smoothed
    beyond = (blurred(smoothed - own)[1:].abs() - blurred(own.diff(dim=0)).abs()).clamp(min=0)
    inner = -F.max_pool2d(-person[1:].float(), 9, 1, 4) > 0.5
    patches = beyond[1:][inner[1:]].sort().values
    near = F.max_pool2d(person.float(), 41, 1, 20) > 0.5
    still, both = ~near[1:] & ~near[:-1], person[1:] & person[:-1]
    mean = image.where(~near.any(0), 0).mean((1, 2, 3)) / (~near.any(0)).float().mean()
    drift = "-" if is_pan else f"{float((mean - mean[0]).abs().max()):.2f}"
    flicker = [float(each.diff(dim=0).abs()[where].mean()) for where in (still, both) for each in (own, smoothed)]
    print(
        f"{name:14}{patches[-1]:10.1f}{patches[len(patches) * 99 // 100]:6.1f}"
        f"{flicker[0]:12.2f}{flicker[1]:10.3f}{flicker[2]:13.2f}{flicker[3]:10.2f}{drift:>7}{milliseconds:7.1f}"
    )


def blurred(values: Tensor) -> Tensor:
    """Two box filters of 13 pixels."""
    for _ in range(2):
        values = F.avg_pool2d(values, 13, 1, 6, count_include_pad=False)
    return values


def save(path: Path, frame: Tensor, own: Tensor, smoothed: Tensor) -> None:
    """Frame, raw and smoothed depth side by side, and their difference times eight."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    low, high = smoothed.min(), smoothed.max()
    grey = [((each - low) / (high - low)).expand(3, -1, -1) for each in (own, smoothed)]
    sheet = torch.cat((frame, *grey, 0.5 + 8 * (grey[1] - grey[0])), 2).clamp(0, 1)
    cv2.imwrite(str(path), (sheet.flip(0).permute(1, 2, 0) * 255).round().byte().numpy())


if __name__ == "__main__":
    main()
