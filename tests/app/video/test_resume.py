"""`depth-normal video --resume`: whatever stopped a run, and wherever, the video is the one of a run that nothing stopped, bit for bit."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch

from depth_normal.annotators import registry
from depth_normal.annotators.networks.depth_anything import VideoDepthAnything
from depth_normal.app import cli
from depth_normal.app.video.segment_record import read_state, state_to_bytes
from depth_normal.media import Frame, estimated
from depth_normal.model_loader import free
from depth_normal.model_loader.inference.video import VideoState
from tests import graph_families as FAMILIES
from tests import tiny_depth as TINY
from tests.videos import fails_in_half_precision, frames_of, moving_ball, stop_after, write_video

MODEL = "video-depth-anything-small"
SMALL = replace(TINY.shrunk(registry.MODELS[MODEL]), default_size=56)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / SMALL.file.name
    TINY.write_file(SMALL, path)
    return path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(registry.MODELS, MODEL, SMALL)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """100 frames in two shots: the cut is at frame 61, in the middle of a window."""
    frames = moving_ball(61)
    frames += [[255 - luma[::-1].copy(), blue, red] for luma, blue, red in moving_ball(39)]
    return write_video(tmp_path_factory.mktemp("film") / "in.mkv", frames)


def words(video, out, weights, *more) -> list[str]:
    return ["video", str(video), "-o", str(out), "--model", MODEL, "--weights", str(weights), "--segment", "8", *map(str, more)]


def pieces_of(folder: Path) -> list[int]:
    (record,) = folder.glob(".depth-normal/*.film/pieces.json")
    return [each["frames"] for each in json.loads(record.read_bytes())["pieces"]]


@pytest.fixture(scope="module")
def whole(video, weights, tmp_path_factory):
    """What a run that nothing stops makes, by the output's name."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, MODEL, SMALL)
        assert cli.main(words(video, folder / "out.mkv", weights, "--codec", "ffv1")) == 0
        assert cli.main(words(video, folder / "d_%03d.png", weights)) == 0
    return folder


@pytest.mark.slow("runs a video of three windows twice")
@pytest.mark.parametrize("after", [24, 46, 61])
def test_a_video_in_windows_that_was_stopped_goes_on_bit_by_bit(video, weights, whole, small, tmp_path, monkeypatch, after):
    """At each place where a piece can end: behind the first window, behind one that is joined to others, and at the cut."""
    with monkeypatch.context() as stopped:
        stop_after(stopped, after)
        assert cli.main(words(video, tmp_path / "d_%03d.png", weights)) == 130
    assert sum(pieces_of(tmp_path)) == after
    assert cli.main(words(video, tmp_path / "d_%03d.png", weights, "--resume")) == 0
    made, expected = ([path.read_bytes() for path in sorted(folder.glob("d_*.png"))] for folder in (tmp_path, whole))
    assert len(made) == 100
    assert [number + 1 for number, (one, other) in enumerate(zip(made, expected, strict=True)) if one != other] == []


def scene(total: int) -> list[tuple[Frame, torch.Tensor]]:
    """A pan over a soft image with noise, and a cut at frame 13."""
    random = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 6, 8, generator=random)
    wide = torch.nn.functional.interpolate(coarse, size=(60, 90 + total), mode="bicubic")[0].clamp(0, 1)
    frames = []
    for number in range(total):
        image = wide[:, :, number : number + 90] if number < 13 else 1 - wide[:, :, number : number + 90].flip(1)
        noisy = (image + 0.02 * torch.randn(image.shape, generator=random)).clamp(0, 1)
        frames.append((Frame(Fraction(number), Fraction(1), lambda noisy=noisy: noisy), noisy))
    return frames


KINDS = ("depth-anything-v2-metric-indoor-small", "depth-anything-3-small", "depth-anything-small", "leres", "bae", "moge", "tiny")


@pytest.mark.parametrize("name", [MODEL, *(pytest.param(each, marks=pytest.mark.slow("estimates a video twice")) for each in KINDS)])
def test_every_kind_of_estimate_goes_on_bit_by_bit(name, tmp_path):
    """What is kept goes through a file, and the chunks end where they did.

    Each quantity, with and without normals, mask, confidence and camera: but for one, families differ in their videos by these alone.
    """
    with FAMILIES.loaded(name, tmp_path) as load, torch.no_grad():
        model = load("torch")
        frames = scene(60 if model.is_video_model else 18)
        whole, state, seam = [], VideoState(), 0
        for shown, _, part in estimated(frames, partial(model.estimate_video, size=56, state=state)):
            whole += [(frame, part.slice(index, index + 1).maps) for index, frame in enumerate(shown)]
            if len(whole) < len(frames):
                (tmp_path / "state.safetensors").write_bytes(state_to_bytes(state.state_dict()))
                seam = len(whole)
        assert seam == (37 if model.is_video_model else 16)
        state = VideoState()
        state.load_state_dict(read_state(tmp_path / "state.safetensors"))
        for shown, _, part in estimated(frames[seam:], partial(model.estimate_video, size=56, state=state), seam):
            for index, frame in enumerate(shown):
                expected_frame, expected = whole[seam]
                maps = part.slice(index, index + 1).maps
                assert frame is expected_frame and maps.keys() == expected.keys()
                assert all(torch.equal(maps[each].nan_to_num(), expected[each].nan_to_num()) for each in maps), f"{name}: frame {seam}"
                seam += 1
        assert seam == len(whole) == len(frames)


@pytest.mark.slow("takes most of a second")
def test_half_precision_that_was_too_small_is_float32_from_then_on(video, weights, whole, small, tmp_path, monkeypatch, caplog):
    half = ("--dtype", "bfloat16", "--codec", "ffv1")
    with monkeypatch.context() as stopped:
        fails_in_half_precision(stopped, VideoDepthAnything, "finish", lambda call: True)
        stop_after(stopped, 24)
        assert cli.main(words(video, tmp_path / "out.mkv", weights, *half)) == 130
    assert "computed again in float32" in caplog.text
    free()
    assert cli.main(words(video, tmp_path / "out.mkv", weights, *half, "--resume")) == 0
    assert frames_of(tmp_path / "out.mkv") == frames_of(whole / "out.mkv")
