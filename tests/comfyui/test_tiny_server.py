"""The pack's own network in a real ComfyUI server on which no model file lies: images, and core's VIDEO."""

from pathlib import Path

import cv2
import pytest
import torch

from depth_normal.geometry.images.render import depth_to_image, normals_to_image
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.media import read_frames
from depth_normal.model_loader import load_model
from tests.videos import moving_ball, seconds_of, sound_of, write_video

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.comfyui


WORKFLOWS = {
    "Compare Models": ('2.model="tiny"', ".png"),
    "Depth Anything 3 in Metres": ('2.model="tiny"', ".png .png"),
    "Depth Anything V2": ('2.ckpt_name="tiny" 3.model="tiny"', ".png .png"),
    "Depth Parallax": ('2.model="tiny" 4.frames=4', ".png .webp"),
    "Depth of Field": ('2.model="tiny"', ".png"),
    "Geometry to Normals and Light": ('2.model="tiny"', ".png .png"),
    "Large Image": ('2.model="tiny"', ".png .png"),
    "Mesh from Photo": ('2.model="tiny"', ".glb .png"),
    "MiDaS Depth and Normal Map": ('2.model="tiny" 3.model="tiny"', ".png .png"),
    "MoGe-3 in Metres": ('2.model="tiny"', ".png .png"),
    "PBR Textures": ('2.model="tiny"', ".png .png .png .png .png .png .png"),
    "Panorama": ('2.model="tiny" 2.any_aspect=true', ".glb .png .png"),
    "Relight": ('2.model="tiny"', ".png .png .png"),
    "Stereo 3D": ('2.model="tiny"', ".png .png"),
    "Tiny Preview": ('2.model="tiny"', ".png .png"),
    "ZoeDepth in Metres": ('2.model="tiny"', ".npz .png .png"),
}
"""By the workflow: what is set in it, and the kinds of files that come of it."""


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_runs_without_any_model_file(bare_server, photo, tmp_path, workflow):
    setting, kinds = WORKFLOWS[workflow]
    path = bare_server.base / "input" / "small.png"
    cv2.imwrite(str(path), photo[64:448:2, ::2, ::-1])
    bare_server.run_workflow(ROOT / "workflows" / f"{workflow}.json", tmp_path, *setting.split(), image=path)
    assert sorted(made.suffix for made in tmp_path.iterdir()) == kinds.split()
    images = [cv2.imread(str(made), cv2.IMREAD_UNCHANGED) for made in tmp_path.iterdir() if made.suffix in (".png", ".webp")]
    assert all(each.std() > 5 for each in images)
    for grey in (each for each in images if each.ndim == 3 and (each[..., 0] == each[..., 2]).all()):
        assert grey.max() >= 253 and (grey.min() == 0 or workflow == "PBR Textures"), "depth; or occlusion, which has no black"
    assert [each for each in bare_server.base.glob("models/**/*") if each.is_file()] == []
    assert not any((bare_server.base / folder).exists() for folder in ("cache", "hf", "hub"))


# --- videos ---


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
