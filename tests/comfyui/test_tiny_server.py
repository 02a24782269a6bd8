"""The pack's own network in a real ComfyUI server on which no model file lies: images, and core's VIDEO."""

from pathlib import Path

import cv2
import pytest
import torch

from depth_normal.geometry.images.render import depth_to_image, normals_to_image
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.media import read_frames
from depth_normal.model_loader import load_model
from tests.prompts import call, ours
from tests.videos import moving_ball, seconds_of, sound_of, write_video

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.comfyui


def maps_of(workflow, settings, server, photo, folder):
    """The images that a template makes of a photo."""
    image = server.base / "input" / "astronaut.png"
    cv2.imwrite(str(image), photo[64:448, :, ::-1])
    server.run_workflow(ROOT / "workflows" / f"{workflow}.json", folder, *settings, image=image)
    return [cv2.imread(str(path)) for path in folder.glob("*.png")]


def test_the_workflow_of_moge_3_runs_with_another_model(bare_server, photo, tmp_path):
    maps = maps_of("MoGe-3 in Metres", ('2.model="tiny"',), bare_server, photo, tmp_path)
    assert any(each[..., 0].mean() > 180 and each.std() > 5 for each in maps), "blue faces the viewer"


@pytest.mark.parametrize(
    ("workflow", "settings"),
    [
        ("MiDaS Depth and Normal Map", ('2.model="tiny"', '3.model="tiny"')),
        ("Tiny Preview", ()),
        ("Large Image", ()),
        ("Panorama", ("2.any_aspect=true",)),
    ],
)
def test_a_workflow_runs_without_any_model_file(bare_server, photo, tmp_path, workflow, settings):
    maps = maps_of(workflow, settings, bare_server, photo, tmp_path)
    (depth,) = (each for each in maps if (each[..., 0] == each[..., 2]).all())
    (normals,) = (each for each in maps if not (each[..., 0] == each[..., 2]).all())
    assert depth.min() == 0 and depth.max() >= 253
    assert normals.shape == depth.shape and normals.std() > 5
    assert [path for path in bare_server.base.glob("models/**/*") if path.is_file()] == []
    assert not any((bare_server.base / folder).exists() for folder in ("cache", "hf", "hub"))


def depth_and_normals(server, photo, **widgets):
    """A prompt of Load Image and Depth & Normals alone."""
    cv2.imwrite(str(server.base / "input" / "astronaut.png"), photo[64:448, :, ::-1])
    return {"1": call("LoadImage", image="astronaut.png"), "2": ours("DepthAndNormals", image=["1", 0], **widgets)}


def test_depth_and_normals_alone_runs_and_shows_both_maps(bare_server, photo):
    shown = bare_server.finished(depth_and_normals(bare_server, photo))["2"]["images"]
    depth, normals = (cv2.imread(str(bare_server.base / "temp" / each["filename"])) for each in shown)
    assert depth.shape == normals.shape == (384, 512, 3)
    assert (depth[..., 0] == depth[..., 2]).all() and depth.min() == 0 and depth.max() == 255
    assert normals[..., 0].mean() > 180 and normals.std() > 5, "blue faces the viewer"
    again = bare_server.run(depth_and_normals(bare_server, photo))
    cached = next(data["nodes"] for kind, data in again["status"]["messages"] if kind == "execution_cached")
    assert "2" in cached and "got an unexpected keyword" not in bare_server.log, "the same image is not estimated anew"


@pytest.mark.parametrize(("workflow", "made"), [("Mesh from Photo", "output/3d/mesh_*.glb"), ("Compare Models", "temp/depth_normal_*.png")])
def test_a_workflow_makes_its_files_without_any_model_file(bare_server, photo, tmp_path, workflow, made):
    """Of *Compare Models* the row of *tiny*: the others are muted."""
    image = bare_server.base / "input" / "astronaut.png"
    cv2.imwrite(str(image), photo[64:448, :, ::-1])
    before = set(bare_server.base.glob(made))
    bare_server.run_workflow(ROOT / "workflows" / f"{workflow}.json", tmp_path, image=image)
    assert set(bare_server.base.glob(made)) - before


def test_a_photograph_becomes_a_material_without_any_model_file(bare_server, tmp_path):
    bare_server.run_workflow(ROOT / "workflows" / "PBR Textures.json", tmp_path, image=ROOT / "media" / "demo_files" / "wall.jpg")
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in tmp_path.rglob("*.png")]
    assert len(maps) == 4 and all(each.shape[:2] == (512, 512) and each.std() > 1 for each in maps)
    assert [each.ndim for each in maps if each.dtype == "uint16"] == [2], "the height, grey in 16 bits"


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
