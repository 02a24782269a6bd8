"""Memory of `depth-normal video` over a long video: what the process holds after every tenth of it. Needs no weights.

python benchmarks/video_memory.py [--frames 2000] [--width 160] [--height 96] [--what depth]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import torch
from families import resident

from depth_normal.app.cli import main as depth_normal
from depth_normal.app.video import run as video_run
from depth_normal.media import VideoWriter


def main() -> None:
    """Makes a video and prints the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--size", type=int, default=64, help="the network's side")
    parser.add_argument("--what", default="depth")
    parser.add_argument("--normalise", default="running")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        write_video(source, arguments.frames, arguments.height, arguments.width)
        curve = watched(arguments.frames)
        words = ["video", source, "-o", out, "--model", "tiny", "--size", arguments.size, "--what", arguments.what]
        begun = time.perf_counter()
        assert depth_normal([*map(str, words), "--normalise", arguments.normalise]) == 0
        seconds = time.perf_counter() - begun
    print("frames  resident MiB")
    for frames, mebibytes in curve:
        print(f"{frames:6d}  {mebibytes:8.0f}")
    early = next(mebibytes for frames, mebibytes in curve if frames >= arguments.frames // 10)
    print(f"{curve[-1][1] / early:.2f} times as much after all as after a tenth; {arguments.frames / seconds:.0f} frames a second")


def write_video(path: Path, frames: int, height: int, width: int) -> None:
    """Writes a video of a bright square that crosses a ramp again and again."""
    ramp = torch.linspace(0.2, 0.6, width).expand(3, height, width)
    with VideoWriter(path, "h264", Fraction(25), Fraction(1, 25)) as writer:
        for number in range(frames):
            image = ramp.clone()
            left = number * 3 % (width - 16)
            image[:, height // 3 : height // 3 + 16, left : left + 16] = 0.9
            writer.write(image, Fraction(number, 25), Fraction(1, 25))


def watched(frames: int) -> list[tuple[int, float]]:
    """The curve, filled during the run: (frames, MiB)."""
    curve: list[tuple[int, float]] = []
    done, first_pass = 0, video_run._first_pass

    def watching(*words):
        *others, tick = words

        def counting(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            if done * 10 // frames > before * 10 // frames:
                curve.append((done, resident("VmRSS")))
            tick(count)

        return first_pass(*others, counting)

    video_run._first_pass = watching
    return curve


if __name__ == "__main__":
    main()
