"""ComfyUI's VIDEO in and out, with core's own interface; a real server runs them in tests/comfyui."""

import io
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depth_normal.geometry.images.render import depth_to_image, normals_to_image
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.media import VideoError, read_frames
from depth_normal.model_loader import load_model
from depth_normal.model_loader.comfy import host
from depth_normal.nodes.video import DepthOfVideo, NormalsOfVideo
from depth_normal.options.video import VideoOptions
from tests.videos import moving_ball, sound_of, write_video


class VideoFromFile:
    """What core's class of this name answers."""

    def __init__(self, source, window=(0.0, 0.0)):
        self.source, self.window = source, window

    def get_components(self):
        raise AssertionError("a video in a file is not to be held in memory")

    def get_stream_source(self):
        return self.source

    def get_active_trim_window(self):
        return self.window


class VideoFromComponents:
    """What core's class of this name answers."""

    def __init__(self, parts):
        self.parts = parts

    def get_components(self):
        return self.parts


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """Core's way to make a VIDEO of a file, and its temporary folder."""
    folder = tmp_path / "temp"
    monkeypatch.setattr(host, "user_folder", lambda kind: tmp_path / kind)
    monkeypatch.setitem(sys.modules, "comfy_api.latest", SimpleNamespace(InputImpl=SimpleNamespace(VideoFromFile=VideoFromFile)))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "in.mp4"
    return write_video(path, moving_ball(30), codec="libx264", options={"crf": "1"}, sound=(1.2, "aac"))


def read(path) -> torch.Tensor:
    return torch.stack([frame.image() for frame in read_frames(path)])


@pytest.mark.slow("takes most of a second")
def test_a_video_in_memory_and_a_part_of_it(source, comfyui):
    whole = io.BytesIO(source.read_bytes())
    (video,) = NormalsOfVideo().execute(load_model("tiny"), VideoFromFile(whole, (0.2, 0.4)), resolution=32)
    shown = read(source)[5:15]
    parts = load_model("tiny").estimate_video(iter(shown.split(8)), size=32, derive=with_normals)
    truth = torch.cat([normals_to_image(part.normals) for part in parts])
    assert (read(video.source) - truth).abs().mean() < 0.03
    assert sound_of(video.source)[1] == pytest.approx(0.4, abs=0.05)
    assert [str(path) for path in comfyui.iterdir()] == [video.source], "nothing else is left there"
    part = VideoFromFile(whole, (0.2, 0.4))
    (video,) = DepthOfVideo().execute(load_model("tiny"), part, "per_image", align="none", smooth=0, resolution=32)
    parts = load_model("tiny").estimate_video(iter(shown.split(8)), VideoOptions("none", smooth=0), size=32)
    truth = torch.cat([depth_to_image(part.depth, part.quantity) for part in parts])
    assert (read(video.source) - truth).abs().mean() < 0.01


@pytest.mark.parametrize(("window", "part"), [((40.0, 2.0), "between 40 s and 42 s"), ((40.0, 0.0), "from 40 s on")])
def test_a_part_behind_the_end_is_said(source, comfyui, window, part):
    said = rf"^in\.mp4: there is no frame {part}, and the video lasts 1\.\d+ s; trim it to a part that has some$"
    with pytest.raises(VideoError, match=said):
        DepthOfVideo().execute(load_model("tiny"), VideoFromFile(str(source), window), resolution=32)
    assert not list(comfyui.iterdir())


def test_images_in_memory_stay_there():
    images = torch.rand(5, 15, 23, 3, generator=torch.Generator().manual_seed(0))
    parts = SimpleNamespace(images=images, audio={"sample_rate": 8000}, frame_rate=Fraction(12))
    (video,) = DepthOfVideo().execute(load_model("tiny"), VideoFromComponents(parts), near="black", resolution=32)
    assert isinstance(video, VideoFromComponents) and video.parts.audio is parts.audio and video.parts.frame_rate == 12
    assert video.parts.images.shape == (5, 16, 24, 3), "even, as Save Video needs them"


@pytest.mark.parametrize("node", [DepthOfVideo, NormalsOfVideo])
def test_what_is_no_model_is_said(node):
    with pytest.raises(TypeError, match="the model input is of type str; expected a model"):
        node().execute("tiny", None)


def test_what_is_no_video_is_said(comfyui, tmp_path, source):
    with pytest.raises(TypeError, match="expected VIDEO"):
        DepthOfVideo().execute(load_model("tiny"), torch.zeros(1, 8, 8, 3))
    (tmp_path / "cut.mp4").write_bytes(source.read_bytes()[:300])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        DepthOfVideo().execute(load_model("tiny"), VideoFromFile(str(tmp_path / "cut.mp4")))
    with pytest.raises(ValueError, match="normalisation is 'per_clip'"):
        DepthOfVideo().execute(load_model("tiny"), VideoFromFile(str(source)), "per_clip")
