"""A video, file to file: frames a second of `depth-normal video`, beside what cannot be left out, done in parallel.

    python benchmarks/video_rate.py [--model tiny] [--frames 96] [--width 1920 --height 1080] [--rounds 3]

- video: `depth-normal video CLIP --model MODEL --what depth`, with the model loaded, from the first frame to the joined file.
- plain: three threads side by side: PyAV decodes the clip, the bare network runs on the input that the model made of its first frame, and
  PyAV encodes grey frames by the same encoder at the same quality.
- ratio: the time of plain to that of video. 1 would be a video for which nothing but decoding, the network and encoding took time.
- processor: seconds of all cores, a frame.
They take turns in one process, and the medians of the rounds count. The aim is .9 where cores are free.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
from families import network_calls, run_bare
from PIL import Image

from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch.allocator import keep_freed_memory
from depth_normal.app.bench.timing import IMAGE
from depth_normal.model_loader import Model, load_model

QUALITY = 14  # of `video`, where nothing is said


def main() -> None:
    """Prints the two rates and their ratio."""
    arguments = parse()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        clip, folder = Path(temporary) / "clip.mp4", Path(temporary)
        frames = pan(arguments.frames, arguments.width, arguments.height)
        encode(clip, frames)
        model = load_model(arguments.model)
        call = plain(model, clip, frames)
        words = ["video", str(clip), "--model", arguments.model, "--overwrite", "--out", str(folder / "depth.mp4")]
        methods: dict[str, Callable[[], object]] = {"video": lambda: run(words), "plain": call}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for number in range(arguments.rounds + 1):
            for name, method in methods.items():
                timed = measure(method)
                if number:  # the first round warms up
                    found[name].append(timed)
    print(
        f"{arguments.model}, {arguments.frames} frames of {arguments.width}x{arguments.height}, {torch.get_num_threads()} threads of torch"
    )
    print(f"{'':8} {'frames/s':>9} {'ms/frame':>9} {'processor ms':>13}")
    for name, times in found.items():
        wall, processor = (median(each) / arguments.frames for each in zip(*times, strict=True))
        print(f"{name:8} {1 / wall:9.2f} {1000 * wall:9.1f} {1000 * processor:13.1f}")
    print(f"ratio {median(t for t, _ in found['plain']) / median(t for t, _ in found['video']):.2f}")


def parse() -> argparse.Namespace:
    """The command line's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=MODELS, metavar="ID")
    for name, value in {"frames": 96, "width": 1920, "height": 1080, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def pan(count: int, width: int, height: int) -> list[np.ndarray]:
    """The bundled photograph, over which a camera moves: RGB frames."""
    with Image.open(IMAGE) as image:
        photo = np.asarray(image.convert("RGB").resize((width + 2 * count, height + height // 8)))
    across = [(2 * number, round(height / 16 * (1 + np.sin(number / 20)))) for number in range(count)]
    return [np.ascontiguousarray(photo[y : y + height, x : x + width]) for x, y in across]


def encode(path: Path, frames: list[np.ndarray]) -> None:
    """Writes frames as `video` does: H.264 at its quality."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": str(QUALITY)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.ndim == 3 else "gray")))
        container.mux(stream.encode())


def plain(model: Model, clip: Path, frames: list[np.ndarray]) -> Callable[[], None]:
    """Decoding, the bare network and encoding, side by side."""
    image = torch.from_numpy(frames[0]).movedim(-1, 0)[None] / 255
    calls = network_calls(model, image, None)
    grey = [frame[..., 1].copy() for frame in frames]

    def decode() -> None:
        with av.open(str(clip)) as container:
            for _ in container.decode(video=0):
                pass

    def network() -> None:
        for _ in frames:
            run_bare(model, calls)

    def side_by_side() -> None:
        threads = [threading.Thread(target=each) for each in (decode, network, lambda: encode(clip.with_name("plain.mp4"), grey))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return side_by_side


def run(words: list[str]) -> None:
    """The command, in this process."""
    with contextlib.redirect_stdout(io.StringIO()):  # the name of the result, each time
        code = cli.main(words)
    if code:
        raise SystemExit(code)


def measure(method: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of the processor."""
    before, start = os.times(), time.perf_counter()
    method()
    after = os.times()
    return time.perf_counter() - start, after.user + after.system - before.user - before.system


if __name__ == "__main__":
    main()
