"""Core's VIDEO in a real ComfyUI server: the video workflows as published, from Load Video to Save Video, without any model file."""

from pathlib import Path

import pytest
import torch

from depth_normal.geometry.images.render import depth_to_image, normals_to_image
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.media import read_frames
from depth_normal.model_loader import load_model
from tests.videos import moving_ball, seconds_of, sound_of, write_video

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.comfyui


@pytest.mark.parametrize("workflow", ["Video Depth", "Video Normals"])
def test_a_video_workflow_runs_as_published(bare_server, tmp_path, workflow):
    video = write_video(
        bare_server.base / "input" / "example.mp4", moving_ball(12), codec="libx264", options={"crf": "1"}, sound=(0.48, "aac")
    )
    graph = ROOT / "workflows" / f"{workflow}.json"
    bare_server.run_workflow(graph, tmp_path, '4.codec="auto"', '1.file="example.mp4"')
    (made,) = (bare_server.base / "output" / "video").glob(f"{workflow.replace(' ', '_')}_*.mp4")
    images, found = (torch.stack([frame.image() for frame in read_frames(path)]) for path in (video, made))
    parts = list(load_model("tiny").estimate_video(iter(images.split(8)), derive=with_normals))
    if workflow == "Video Depth":
        truth = depth_to_image(torch.cat([part.depth for part in parts]), parts[0].quantity, normalisation="running")
    else:
        truth = torch.cat([normals_to_image(part.normals) for part in parts])
    assert (found - truth).abs().mean() < 0.03
    assert sound_of(made) == sound_of(video) and seconds_of(made) == pytest.approx(seconds_of(video), abs=0.001)
