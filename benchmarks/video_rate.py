"""A video, file to file: frames a second of `depth-normal video`, beside what cannot be left out, done in parallel.

    python benchmarks/video_rate.py [--model tiny] [--random] [--frames 96] [--width 1920 --height 1080] [--rounds 3] [--steps]

- video: `depth-normal video CLIP --model MODEL --what depth`, with the model loaded, from the first frame to the joined file.
- plain: three threads side by side: PyAV decodes the clip, the bare network runs on the input that the model made of its first frame, and
  PyAV encodes the frames that `video` makes, by the same encoder with the same settings.
- ratio: the time of plain to that of video. 1 would be a video for which nothing but decoding, the network and encoding took time.
- processor: seconds of all cores, a frame.
--random takes random weights, for a model whose file is not here: time does not depend on them.
--steps adds what each step of `video` takes of the processor, in one run more. The rest are FFmpeg's own threads: decoding and encoding.
They take turns in one process, and the medians of the rounds count. The aim is .9 where cores are free.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import torch
from families import load as random_model
from families import mend_torchvision, narrow, network_calls, refuse_diffusion, run_bare
from PIL import Image

from depth_normal.annotators.base import Annotator
from depth_normal.annotators.registry import MODELS
from depth_normal.app import cli
from depth_normal.app.batch.allocator import keep_freed_memory
from depth_normal.app.batch.options import Options
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.app.video.rendering import Renderer
from depth_normal.geometry.temporal.stabilization import VideoAligner
from depth_normal.media import CODECS, VideoWriter, read
from depth_normal.model_loader import Model, load_model

QUALITY = 14  # the default of `video`
STEPS: dict[str, tuple[Any, str]] = {
    "conversion to RGB": (read, "frame_to_rgb"),
    "network, with pre- and postprocessing": (Annotator, "estimate"),
    "alignment and smoothing": (VideoAligner, "push"),
    "enlarging and display levels": (Renderer, "shown"),
    "conversion for the encoder": (VideoWriter, "write"),
}
"""Functions of `video` by step."""


def main() -> None:
    """Prints the two rates and their ratio."""
    arguments = parse()
    keep_freed_memory()
    with narrow([arguments.model]) if arguments.narrow else nullcontext():
        model = random_model(arguments.model, "float32") if arguments.random else load_model(arguments.model)
        with patch.object(Options, "load", lambda *_: model):
            print_rates(model, arguments)


def print_rates(model: Model, arguments: argparse.Namespace) -> None:
    """Measures both alternately."""
    with tempfile.TemporaryDirectory() as temporary:
        clip, folder = Path(temporary) / "clip.mp4", Path(temporary)
        frames = pan(arguments.frames, arguments.width, arguments.height)
        encode(clip, frames)
        words = ["video", str(clip), "--model", arguments.model, "--overwrite", "--out", str(folder / "depth.mp4")]
        run(words)
        call = plain(model, clip, frames[0], decoded(folder / "depth.mp4"))
        methods: dict[str, Callable[[], object]] = {"video": lambda: run(words), "plain": call}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        del frames
        for number in range(arguments.rounds + 1):
            for name, method in methods.items():
                timed = measure(method)
                if number:  # the first round warms up
                    found[name].append(timed)
        steps = step_times(lambda: run(words)) if arguments.steps else {}
    print(
        f"{arguments.model}, {arguments.frames} frames of {arguments.width}x{arguments.height}, {torch.get_num_threads()} threads of torch"
    )
    print(f"{'':8} {'frames/s':>9} {'ms/frame':>9} {'processor ms':>13}")
    for name, times in found.items():
        wall, processor = (median(each) / arguments.frames for each in zip(*times, strict=True))
        print(f"{name:8} {1 / wall:9.2f} {1000 * wall:9.1f} {1000 * processor:13.1f}")
    print(f"ratio {median(t for t, _ in found['plain']) / median(t for t, _ in found['video']):.2f}")
    for step, seconds in steps.items():
        print(f"{step:38} {1000 * seconds / arguments.frames:7.1f} processor ms")


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=MODELS, metavar="ID")
    for name, value in {"frames": 96, "width": 1920, "height": 1080, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--random", action="store_true", help="random weights, in float32")
    parser.add_argument("--narrow", action="store_true", help="random weights of a network with few channels, for a quick check")
    parser.add_argument("--steps", action="store_true", help="print what each step takes of the processor")
    arguments = parser.parse_args()
    arguments.random |= arguments.narrow
    if arguments.random:
        refuse_diffusion(parser, [arguments.model])
        mend_torchvision()
    return arguments


def pan(count: int, width: int, height: int) -> list[np.ndarray]:
    """A camera pan over the bundled photograph: RGB frames."""
    with Image.open(DEMO_IMAGE) as image:
        photo = np.asarray(image.convert("RGB").resize((width + 2 * count, height + height // 8)))
    across = [(2 * number, round(height / 16 * (1 + np.sin(number / 20)))) for number in range(count)]
    return [np.ascontiguousarray(photo[y : y + height, x : x + width]) for x, y in across]


def encode(path: Path, frames: list[np.ndarray]) -> None:
    """Encodes frames as `video` does: H.264 with its settings."""
    codec = CODECS["h264"]
    with av.open(str(path), "w") as container:
        options = {**codec.options, **(codec.grey_options if frames[0].ndim == 2 else {}), "crf": str(QUALITY)}
        stream = container.add_stream(codec.encoder, rate=Fraction(25), options=options)
        stream.codec_context.max_b_frames = 0
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.ndim == 3 else "gray")))
        container.mux(stream.encode())


def decoded(path: Path) -> list[np.ndarray]:
    """A video's frames in grey."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def plain(model: Model, clip: Path, first: np.ndarray, result: list[np.ndarray]) -> Callable[[], None]:
    """Decoding, the bare network and encoding, in parallel."""
    image = torch.from_numpy(first).movedim(-1, 0)[None] / 255
    calls = network_calls(model, image, None)

    def decode() -> None:
        with av.open(str(clip)) as container:
            for _ in container.decode(video=0):
                pass

    def network() -> None:
        for _ in result:
            run_bare(model, calls)

    def side_by_side() -> None:
        threads = [threading.Thread(target=each) for each in (decode, network, lambda: encode(clip.with_name("plain.mp4"), result))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return side_by_side


def run(words: list[str]) -> None:
    """Runs the command in this process."""
    with contextlib.redirect_stdout(io.StringIO()):  # hides the name of the result
        code = cli.main(words)
    if code:
        raise SystemExit(code)


def step_times(method: Callable[[], object]) -> dict[str, float]:
    """CPU seconds in each of `STEPS`, in the threads that run them."""
    spent = dict.fromkeys(STEPS, 0.0)

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **more: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **more)
            finally:
                spent[step] += time.thread_time() - start

        return call

    with ExitStack() as stack:
        for step, (owner, name) in STEPS.items():
            stack.enter_context(patch.object(owner, name, timed(step, getattr(owner, name))))
        method()
    return spent


def measure(method: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds."""
    before, start = os.times(), time.perf_counter()
    method()
    after = os.times()
    return time.perf_counter() - start, after.user + after.system - before.user - before.system


if __name__ == "__main__":
    main()
