"""Files in ComfyUI's own folders: whole, numbered, named as by core's savers, and nowhere else; and the pack's own media."""

import errno
import math
import os
import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import read_image, write_image_png
from depth_normal.geometry.files.paths import move_to_free
from depth_normal.media import read_frames, video_header
from depth_normal.nodes import files, listing, saving
from depth_normal.nodes.demo import DEMO_IMAGES, DEMO_VIDEOS, DemoImage, DemoVideo
from depth_normal.nodes.files import LoadGeometry, SaveGeometry
from depth_normal.nodes.live import KEY
from depth_normal.nodes.materials import SaveTexture
from depth_normal.nodes.meshes import SaveMesh, SaveRelief
from tests.forked import event, forked, needs_fork
from tests.geometry.files.samples import assert_same_bits
from tests.whole_files import largest_file

HOSTILE = ["../x", "/tmp/x", "C:\\x", "a/../../x", "a\x00b", "con", "", "a//b", "x:y", "~/../x"]


pytestmark = pytest.mark.usefixtures("comfyui")


def estimate(batch=1, **more):
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(batch, 1, 4, 6, dtype=torch.bool)
    mask[:, :, 0, 0] = False
    maps = {
        "normals": torch.nn.functional.normalize(torch.randn(batch, 3, 4, 6, generator=generator), dim=1),
        "mask": mask,
        "intrinsics": intrinsics_from_fov(60, 4, 6, batch=batch),
    }
    return Estimate(torch.rand(batch, 1, 4, 6, generator=generator) + 1, Quantity.METRIC_DEPTH, **(maps | more))


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("format", ["exr", "npz"])
def test_saved_and_loaded_bit_for_bit(comfyui, format):
    if format == "exr":
        pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR")
    results = SaveGeometry().execute(estimate(axes=Axes.SCANNET), "a/b", format)
    assert results["ui"]["files"] == [{"filename": f"b_00001.{format}", "subfolder": "a", "type": "output"}]
    assert below(comfyui / "output") == [f"a/b_00001.{format}"]
    (loaded,) = LoadGeometry().execute(f"a/b_00001.{format} [output]")
    assert_same_bits(loaded, estimate(axes=Axes.SCANNET))


def test_png_and_pfm_hold_one_map_a_file(comfyui):
    results = SaveGeometry().execute(estimate(), "g", "png")
    assert [shown["filename"] for shown in results["ui"]["images"]] == ["g_00001.png", "g_00001_normals.png"]
    (depth,) = LoadGeometry().execute("g_00001.png [output]")
    (normals,) = LoadGeometry().execute("g_00001_normals.png [output]")
    trusted = estimate().mask
    assert torch.equal(depth.mask, trusted) and (depth.depth - estimate().depth)[trusted].abs().max() < 1e-4
    assert (normals.normals - estimate().normals).where(trusted, 0).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"^image 1: no pixel has a value"):
        SaveGeometry().execute(Estimate(torch.zeros(2, 1, 8, 8), Quantity.METRIC_DEPTH), "g", "png")
    SaveGeometry().execute(estimate(mask=None), "g", "pfm")
    (exact,) = LoadGeometry().execute("g_00002.pfm [output]")
    assert torch.equal(exact.depth, estimate().depth)


@pytest.mark.parametrize(
    ("stored", "lacks", "widget", "quantity", "depth"),
    [
        (np.full((4, 6), 1500, np.uint16), "millimetres", "millimetres", Quantity.METRIC_DEPTH, 1.5),
        (np.full((4, 6), 0.25, np.float32), "without 'quantity'", "disparity", Quantity.DISPARITY, 0.25),
    ],
)
def test_what_the_file_does_not_say_the_widget_can_say(comfyui, stored, lacks, widget, quantity, depth):
    np.savez(comfyui / "input" / "d.npz", depth=stored)
    with pytest.raises(ValueError, match=lacks):
        LoadGeometry().execute("d.npz")
    (loaded,) = LoadGeometry().execute("d.npz", widget)
    assert loaded.quantity is quantity and torch.allclose(loaded.depth, torch.full((1, 1, 4, 6), depth))


def test_exr_for_compositing_has_its_camera_beside_it(comfyui):
    pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR")
    SaveGeometry().execute(estimate(2), "shot", "exr", image=torch.rand(2, 4, 6, 3), compositing=True)
    assert below(comfyui / "output") == ["shot_00001.chan", "shot_00001.exr", "shot_00002.chan", "shot_00002.exr"]
    (loaded,) = LoadGeometry().execute("shot_00002.exr [output]")
    trusted = estimate(2).mask[1:]
    assert torch.equal(loaded.depth[trusted], estimate(2).depth[1:][trusted]) and torch.equal(loaded.mask, trusted)


def test_a_page_is_called_as_its_file(comfyui):
    SaveGeometry().execute(estimate(), "pages/room", "html", image=torch.rand(1, 4, 6, 3))
    assert below(comfyui / "output") == ["pages/room_00001.html"]
    assert "<title>room</title>" in (comfyui / "output" / "pages" / "room_00001.html").read_text()


def test_a_batch_is_one_npz_and_else_a_file_each(comfyui):
    SaveGeometry().execute(estimate(3), "clip", "npz")
    SaveGeometry().execute(estimate(3, normals=None), "clip", "pfm")
    assert below(comfyui / "output") == ["clip_00001.npz", "clip_00002.pfm", "clip_00003.pfm", "clip_00004.pfm"]
    assert LoadGeometry().execute("clip_00001.npz [output]")[0].batch == 3
    assert torch.equal(LoadGeometry().execute("clip_00003.pfm [output]")[0].depth[0, 0, 1], estimate(3).depth[1, 0, 1])


def test_nothing_is_overwritten(comfyui):
    for _ in range(2):
        SaveGeometry().execute(estimate(), "x", "npz")
    (comfyui / "output" / "x_00041_normals.png").touch()
    (comfyui / "output" / "xy_00099.npz").touch()
    SaveGeometry().execute(estimate(), "x", "npz")
    assert below(comfyui / "output") == ["x_00001.npz", "x_00002.npz", "x_00041_normals.png", "x_00042.npz", "xy_00099.npz"]


def refuse_links(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.quick_cases(1)
@needs_fork
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_two_processes_lose_nothing(comfyui, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    go = event()

    def save(depth):
        go.wait(60)
        for _ in range(20):
            SaveGeometry().execute(Estimate(torch.full((1, 1, 4, 6), depth), Quantity.METRIC_DEPTH), "x", "npz")

    with forked((save, 1.0), (save, 2.0)) as processes:
        go.set()
    assert [process.exitcode for process in processes] == [0, 0]
    names = below(comfyui / "output")
    assert names == [f"x_{number:05}.npz" for number in range(1, 41)]
    depths = [float(LoadGeometry().execute(f"{name} [output]")[0].depth.unique()) for name in names]
    assert sorted(depths) == [1.0] * 20 + [2.0] * 20


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_number_that_is_taken_meanwhile_is_left_alone(comfyui, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    monkeypatch.setattr(saving, "_next_number", lambda _: 1)
    (comfyui / "output" / "x_00002_normals.pfm").write_text("mine")
    results = SaveGeometry().execute(estimate(2), "x", "pfm")
    names = ["x_00001.pfm", "x_00001_normals.pfm", "x_00003.pfm", "x_00003_normals.pfm"]
    assert [shown["filename"] for shown in results["ui"]["files"]] == names, "both maps of an image have one number"
    assert below(comfyui / "output") == sorted([*names, "x_00002_normals.pfm"])
    assert (comfyui / "output" / "x_00002_normals.pfm").read_text() == "mine"


def test_nothing_of_a_batch_stays_where_its_end_cannot_be_placed(comfyui, monkeypatch):
    moved = []

    def full(source, path):
        if moved:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(path)
        move_to_free(source, path)

    monkeypatch.setattr(saving, "move_to_free", full)
    with pytest.raises(OSError, match="No space left"):
        SaveGeometry().execute(estimate(3, normals=None), "x", "pfm")
    assert moved
    assert list((comfyui / "output").iterdir()) == []


@pytest.mark.parametrize("format", ["ply", "glb"])
def test_meshes_wear_the_image(comfyui, format):
    results = SaveGeometry().execute(estimate(2), "mesh", format, image=torch.rand(2, 8, 12, 3))
    assert ("3d" if format == "glb" else "files") in results["ui"] and len(below(comfyui / "output")) == 2
    with pytest.raises(ValueError, match=r"image holds 1 images, geometry 2; accepted: one each"):
        SaveGeometry().execute(estimate(2), "mesh", format, image=torch.rand(1, 8, 12, 3))


def test_the_views_of_one_scene_go_to_one_mesh_with_their_images(comfyui):
    scene = replace(estimate(2, extrinsics=torch.eye(3, 4).repeat(2, 1, 1)), depth=torch.full((2, 1, 4, 6), 2.0))
    SaveGeometry().execute(scene, "mesh", "ply", image=torch.rand(2, 8, 12, 3))
    (file,) = below(comfyui / "output")
    count = int(estimate(2).depth_valid.sum())
    assert f"element vertex {count}".encode() in (comfyui / "output" / file).read_bytes()
    with pytest.raises(ValueError, match="image holds 1 images, geometry 2; accepted: one each"):
        SaveGeometry().execute(scene, "mesh", "ply", image=torch.rand(1, 8, 12, 3))


@pytest.mark.parametrize(("node", "format"), [(SaveGeometry, "exr"), (SaveGeometry, "npz"), (SaveMesh, "glb"), (SaveTexture, "png")])
def test_a_full_disk_is_reported_with_the_folder_and_leaves_nothing(comfyui, node, format):
    given = torch.rand(1, 4, 6, 3) if node is SaveTexture else RAMP
    folder = re.escape(str(comfyui / "output" / "a"))
    with (
        largest_file(100),
        pytest.raises(OSError, match=rf"b\.\w+ cannot be saved in {folder}: (File too large|No space left on device)\. Free disk space"),
    ):
        node().execute(given, filename_prefix="a/b", format=format)
    assert not list((comfyui / "output" / "a").iterdir())


def test_a_failure_leaves_nothing(comfyui):
    """The second image has no value at all, which a PNG cannot hold."""
    mask = torch.ones(2, 1, 4, 6, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match=r"no pixel has a value"):
        SaveGeometry().execute(estimate(2, mask=mask), "x", "png")
    assert below(comfyui) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_leave_the_folders_are_refused(comfyui, name):
    with pytest.raises(ValueError, match="file name"):
        SaveGeometry().execute(estimate(), name, "npz")
    assert "file name" in SaveGeometry.VALIDATE_INPUTS(name)
    for suffix in ("", " [output]", " [temp]"):
        with pytest.raises(ValueError, match=r"file name|no file is chosen"):
            LoadGeometry().execute(f"{name}{suffix}")
        assert re.search("file name|no file is chosen", LoadGeometry.VALIDATE_INPUTS(f"{name}{suffix}"))
    assert below(comfyui) == []


def test_links_out_of_the_folder_are_refused(comfyui):
    outside = comfyui / "secret"
    outside.mkdir()
    SaveGeometry().execute(estimate(), "x", "npz")
    (comfyui / "output" / "x_00001.npz").rename(outside / "x.npz")
    (comfyui / "input" / "door").symlink_to(outside)
    (comfyui / "output" / "door").symlink_to(outside)
    with pytest.raises(ValueError, match="through a link"):
        LoadGeometry().execute("door/x.npz")
    with pytest.raises(ValueError, match="through a link"):
        SaveGeometry().execute(estimate(), "door/x", "npz")
    assert below(outside) == ["x.npz"]
    assert LoadGeometry.INPUT_TYPES()["required"]["file"][0] == [files.NOTHING], "and are not listed"


def test_only_what_holds_geometry_is_listed(comfyui):
    for name in ("a", "1/2/3/deep", "1/2/3/4/deeper", ".hidden"):
        SaveGeometry().execute(estimate(), f"{name}", "npz")
        path = comfyui / "input" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        (comfyui / "output" / f"{name}_00001.npz").rename(path)
    for format in ("png", "pfm", "glb"):
        SaveGeometry().execute(estimate(), "o", format)
    write_image_png(comfyui / "input" / "photo.png", torch.rand(3, 8, 8))
    write_image_png(comfyui / "output" / "everyones.png", torch.rand(3, 8, 8))
    np.savez(comfyui / "input" / "latents.npz", samples=np.zeros(3))
    (comfyui / "input" / "cut.npz").write_bytes(b"PK")
    (comfyui / "input" / "named.exr").write_bytes(b"no EXR at all")
    (comfyui / "input" / "blender.EXR").write_bytes(b"v/1\x01 and more")
    saved = ["o_00001.png", "o_00001_normals.png", "o_00002.pfm", "o_00002_normals.pfm"]
    listed = LoadGeometry.INPUT_TYPES()["required"]["file"][0]
    assert listed == [files.NOTHING, "1/2/3/deep.npz", "a.npz", "blender.EXR", *(f"{name} [output]" for name in saved)]


def test_nothing_is_chosen_until_somebody_does(comfyui):
    SaveGeometry().execute(estimate(), "x", "npz")
    choices, options = LoadGeometry.INPUT_TYPES()["required"]["file"]
    assert options["default"] == choices[0] == files.NOTHING and options[files.UPLOAD] == list(listing.READABLE)
    for said in (LoadGeometry.VALIDATE_INPUTS(files.NOTHING), LoadGeometry.VALIDATE_INPUTS(""), LoadGeometry.VALIDATE_INPUTS()):
        assert f"no file is chosen: choose one in the widget file, or upload one ({', '.join(listing.READABLE)})" in said
    with pytest.raises(ValueError, match="no file is chosen"):
        LoadGeometry().execute(None)  # as graphs have it that were saved where the page did not know the node


@pytest.mark.parametrize("value", [5, True, [1], {}], ids=str)
def test_a_name_that_is_no_text_is_told_as_such(comfyui, value):
    for node, said in ((LoadGeometry, "depth and normals are read from"), (DemoImage, "give text"), (DemoVideo, "give text")):
        assert said in node.VALIDATE_INPUTS(value)
        with pytest.raises((TypeError, ValueError), match=said):
            node().execute(value)


def test_thousands_of_images_are_looked_at_once(comfyui, monkeypatch):
    """What is not known yet is looked at for as long as is allowed, the newest first, and the rest next time."""
    opened, times, folder = [], iter(range(10**6)), comfyui / "input"
    likely = listing.FORMATS[".pfm"].is_likely
    counting = replace(listing.FORMATS[".pfm"], is_likely=lambda path: opened.append(path.name) or likely(path))
    monkeypatch.setitem(listing.FORMATS, ".pfm", counting)
    for index in range(6):
        path = folder / f"{index}.pfm"
        path.write_bytes(b"Pf\n")
        os.utime(path, (index, index))
    os.utime(folder, (10, 10))
    assert listing.geometry_files(folder, 4, lambda: next(times)) == ["3.pfm", "4.pfm", "5.pfm"]
    assert listing.geometry_files(folder) == [f"{index}.pfm" for index in range(6)]
    assert listing.geometry_files(folder) and opened == [f"{index}.pfm" for index in (5, 4, 3, 2, 1, 0)]
    (folder / "1.pfm").write_bytes(b"not one any more")
    (folder / "new.pfm").write_bytes(b"PF\n")
    assert "new.pfm" in (found := listing.geometry_files(folder)) and "1.pfm" not in found and len(opened) == 8


def test_validation_names_what_is_missing(comfyui):
    assert "there is no file 'x.npz' in the input folder" in LoadGeometry.VALIDATE_INPUTS("x.npz")
    (comfyui / "input" / "x.jpg").touch()
    assert f"ends in '.jpg'; depth and normals are read from {', '.join(listing.READABLE)}" in LoadGeometry.VALIDATE_INPUTS("x.jpg")
    SaveGeometry().execute(estimate(), "x", "npz")
    assert LoadGeometry.VALIDATE_INPUTS("x_00001.npz [output]") is True
    assert LoadGeometry.VALIDATE_INPUTS(None) is True and SaveGeometry.VALIDATE_INPUTS(None) is True


def test_a_changed_file_is_read_again(comfyui):
    SaveGeometry().execute(estimate(), "x", "npz")
    name, path = "x_00001.npz [output]", comfyui / "output" / "x_00001.npz"
    before = LoadGeometry.IS_CHANGED(name)
    assert LoadGeometry.IS_CHANGED(name) == before
    os.utime(path, ns=(1, 1))
    assert LoadGeometry.IS_CHANGED(name) != before
    assert math.isnan(LoadGeometry.IS_CHANGED(None))


def test_outside_comfyui_the_nodes_say_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "folder_paths")
    assert LoadGeometry.INPUT_TYPES()["required"]["file"][0] == [files.NOTHING]
    with pytest.raises(RuntimeError, match=r"ComfyUI is not running"):
        SaveGeometry().execute(estimate(), "x", "npz")


def test_the_folder_helper_knows_three_folders(comfyui):
    assert files.user_folder("temp") == comfyui / "temp"
    with pytest.raises(ValueError, match=r"accepted: input, output, temp"):
        files.user_folder("models")


def test_what_was_saved_is_shown_with_its_place(comfyui):
    ui = SaveGeometry().execute(estimate(2), "a/x", "pfm")["ui"]
    assert len(ui[KEY]) == len(ui["images"]) == 2 and ui["images"][0]["type"] == "temp"
    assert ui["text"][1].startswith("a/x_00002.pfm, a/x_00002_normals.pfm: metric depth 1.05 to 1.95 m, fov 60°, normals OpenGL, mask")
    clip = SaveGeometry().execute(estimate(3), "clip", "npz")["ui"]
    assert [line.split(":")[0] for line in clip["text"]] == ["clip_00001.npz"] * 3
    image = read_image(comfyui / "temp" / ui["images"][0]["filename"])
    assert image.shape[:2] == (4, 12), "depth and normals side by side"


# --- names ---


RAMP = Estimate(1 + torch.arange(24.0).view(1, 1, 4, 6) / 24, Quantity.METRIC_DEPTH)
NOW = datetime(2026, 3, 7, 9, 5, 4)
PROMPT = {
    "4": {"class_type": "KSampler", "inputs": {"seed": 42, "model": ["1", 0]}, "_meta": {"title": "My sampler"}},
    "7": {"class_type": "LoadImage", "inputs": {"image": "sub/cat:1.png"}},
}
GRAPH = {"workflow": {"nodes": [{"id": 4, "properties": {"Node name for S&R": "Sampler one"}}, {"id": 9}]}}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("plain", "plain"),
        ("%date:yyyy-MM-dd%/x", "2026-03-07/x"),
        ("%date:yy_M_d hh-mm-ss%", "26_3_7 09-05-04"),
        ("%year%%month%%day%-%hour%%minute%%second%", "20260307-090504"),
        ("%width%x%height%", "640x480"),
        ("%Sampler one.seed%", "42"),
        ("%My sampler.seed%-%KSampler.seed%-%4.seed%", "42-42-42"),
        ("%LoadImage.image%", "sub_cat_1.png"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("100% and %unknown%", "100% and %unknown%"),
    ],
)
def test_names_are_filled_in_as_by_cores_savers(pattern, name):
    assert saving.fill_in(pattern, 640, 480, PROMPT, GRAPH, NOW) == name


def test_every_saver_fills_its_name_in(comfyui):
    for node in (SaveGeometry, SaveMesh, SaveRelief, SaveTexture):
        assert node.VALIDATE_INPUTS("%date:yyyy-MM-dd%/%width%_%KSampler.seed%") is True
        assert "file name" in node.VALIDATE_INPUTS("%year%/../../x")
        kinds = node.INPUT_TYPES()
        assert kinds["hidden"] == {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        given = torch.rand(1, 4, 6, 3) if node is SaveTexture else RAMP
        node().execute(given, filename_prefix=f"{node.__name__}/%width%x%height%_%KSampler.seed%", prompt=PROMPT, extra_pnginfo=GRAPH)
        (made,) = (comfyui / "output" / node.__name__).iterdir()
        assert made.name.startswith("6x4_42_00001.")


def test_a_value_of_another_node_cannot_lead_out_of_the_folder(comfyui):
    prompt = {"1": {"class_type": "Text", "inputs": {"text": "../../x"}}}
    SaveGeometry().execute(RAMP, "%Text.text%", "npz", prompt=prompt)
    assert [path.name for path in (comfyui / "output").iterdir()] == [".._.._x_00001.npz"]


# --- Demo Image and Demo Video ---


def choices(node, name: str) -> list[str]:
    return node.INPUT_TYPES()["required"][name][0]


def test_without_comfyui_the_pack_s_images_load(monkeypatch):
    monkeypatch.delitem(sys.modules, "folder_paths")
    for name in choices(DemoImage, "image"):
        (image,) = DemoImage().execute(name)
        assert image.shape[0] == 1 and image.shape[-1] == 3 and image.min() >= 0 and 0.6 < image.max() <= 1 and image.std() > 0.03
    assert tuple(image.shape[1:3]) == cv2.imread(str(DEMO_IMAGES["panorama.jpg"])).shape[:2]
    assert image.shape[2] == 2 * image.shape[1]


def test_the_video_of_the_pack_is_two_seconds_and_moves():
    header = video_header(str(DEMO_VIDEOS["breakfast.mp4"]))
    frames = [frame.image() for frame in read_frames(str(DEMO_VIDEOS["breakfast.mp4"]))]
    assert len(frames) == 24 and header.rate == 12
    assert (frames[0] - frames[-1]).abs().mean() > 0.03 > (frames[0] - frames[1]).abs().mean()


def test_the_page_can_show_what_is_listed(comfyui):
    """Its own folders alone: the pack's files are copied to the one for temporary files."""
    for node, name in ((DemoImage, "image"), (DemoVideo, "file")):
        for choice in choices(node, name):
            shown = comfyui / "temp" / choice.removesuffix(" [temp]")
            assert shown.is_file() and node.VALIDATE_INPUTS(choice) is True
            shown.unlink()
            assert node.VALIDATE_INPUTS(choice) is True, "the nodes read the pack's own file"


def test_an_image_of_the_user_is_listed_and_loaded(comfyui):
    cv2.imwrite(str(comfyui / "input" / "mine.png"), np.full((4, 6, 3), (0, 0, 255), np.uint8))
    (comfyui / "input" / "notes.txt").write_text("no image")
    with largest_file(90_000):
        assert choices(DemoImage, "image")[-1] == "mine.png", "though the disk of the folder temp is full"
    assert not below(comfyui / "temp"), "and no part of an image"
    assert choices(DemoImage, "image")[len(DEMO_IMAGES) :] == ["mine.png"] and choices(DemoVideo, "file")[1:] == []
    (image,) = DemoImage().execute("mine.png")
    assert tuple(image.shape) == (1, 4, 6, 3) and image[0, 0, 0].tolist() == [1, 0, 0]
    before = DemoImage.IS_CHANGED("mine.png")
    cv2.imwrite(str(comfyui / "input" / "mine.png"), np.zeros((8, 6, 3), np.uint8))
    assert DemoImage.IS_CHANGED("mine.png") != before


@pytest.mark.parametrize("name", ["missing.png", "../secret.png", "depth_normal/missing.jpg [temp]"])
def test_a_name_that_leads_nowhere_is_refused_before_the_run(comfyui, name):
    Path(comfyui / "secret.png").write_bytes(b"")
    assert isinstance(DemoImage.VALIDATE_INPUTS(name), str)
