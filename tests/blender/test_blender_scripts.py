import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import pages

ROOM = Path(__file__).parents[2] / "blender"


@pytest.fixture(scope="module")
def run_script(run_python):
    def run(script, *arguments):
        done = run_python(ROOM / script, *arguments)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def blend(run_script, inside_blender, tmp_path_factory):
    """A cube back-projected onto itself: rendered from a .blend, then applied to the same .blend, by the two scripts."""
    folder, saved = tmp_path_factory.mktemp("blend"), tmp_path_factory.mktemp("saved")
    inside_blender("save", saved)
    run_script("render_geometry.py", "--", saved / "start.blend", "--out", folder / "out")
    maps = "--depth", folder / "out" / "start.npz", "--normals", folder / "out" / "start.exr"
    run_script("apply_maps.py", saved / "start.blend", *maps, "--at-camera", "--out", folder / "room.blend")
    return folder


def test_the_scripts_write_what_they_say_and_nothing_else(blend):
    assert sorted(path.name for path in blend.iterdir()) == ["out", "room.blend"]
    assert sorted(path.name for path in (blend / "out").iterdir()) == ["d.npz", "start.exr", "start.npz"]


def test_a_saved_scene_is_rendered_by_name_with_the_same_answer(blend, run_script):
    """Cube and mesh coincide, a vertex of the mesh on the ray of each pixel, so the depth stays as it was."""
    run_script("render_geometry.py", blend / "room.blend", "--out", blend / "again")
    with np.load(blend / "again" / "room.npz") as again, np.load(blend / "out" / "start.npz") as first:
        np.testing.assert_array_equal(again["intrinsics"], first["intrinsics"])
        assert (again["mask"] != first["mask"]).sum() <= 2
        both = again["mask"] & first["mask"]
        assert both.sum() > 200 and np.abs(again["depth"] - first["depth"])[both].max() < 1e-3


ERRORS = [
    ("render_geometry.py", ["{tmp}/none.blend", "--out", "{tmp}/out"], "no such file"),
    ("render_geometry.py", ["--out", "{tmp}/file/out"], "cannot write into the folder"),
    ("render_geometry.py", ["--out", "{tmp}/out", "--name", "../up"], "not a plain file name"),
    ("render_geometry.py", ["--out", "{tmp}/out", "--name", "d"], "clash"),
    ("render_geometry.py", ["{tmp}/file", "--out", "{tmp}/out"], "as a .blend file"),
    ("apply_maps.py", ["--out", "{tmp}/out/x.blend"], "nothing to apply"),
    ("apply_maps.py", ["--depth", "{tmp}/file", "--out", "{tmp}/out/x.blend"], "not an image that Blender reads"),
    ("apply_maps.py", ["--depth", "{tmp}/pickled.npz", "--out", "{tmp}/out/x.blend"], "cannot read"),
    ("apply_maps.py", ["--depth", "{tmp}/sky.npz", "--out", "{tmp}/out/x.blend"], "no pixel has a valid depth"),
    ("apply_maps.py", ["--depth", "{tmp}/cut.exr", "--out", "{tmp}/out/x.blend"], "damaged"),
    ("apply_maps.py", ["--depth", "{tmp}/unnamed.npz", "--out", "{tmp}/out/x.blend"], "without 'quantity'"),
]


@pytest.fixture(scope="module")
def refused(inside_blender, tmp_path_factory):
    """What each of `ERRORS` says, one after the other in one Blender, and the files that scripts get."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "file").write_text("not a folder, not an image")
    np.savez(folder / "pickled.npz", depth=np.array([{}], object))
    np.savez(folder / "sky.npz", depth=np.zeros((4, 4), np.float32), quantity="metric_depth")
    np.savez(folder / "unnamed.npz", depth=np.ones((4, 4), np.float32))
    (folder / "cut.exr").write_bytes(b"\x76\x2f\x31\x01\x02\x00\x00\x00channels\x00")
    asked = [[script.removesuffix(".py"), [argument.format(tmp=folder) for argument in arguments]] for script, arguments, _ in ERRORS]
    (folder / "asked.json").write_text(json.dumps(asked))
    return inside_blender("refusals", folder), folder


@pytest.mark.parametrize("number", range(len(ERRORS)), ids=[words for _, _, words in ERRORS])
def test_errors_are_one_clear_line_and_leave_nothing(refused, number):
    said, folder = refused
    assert said[number].startswith("error: ") and ERRORS[number][-1] in said[number]
    assert not list((folder / "out").glob("*"))


@pytest.mark.parametrize(("script", "arguments", "words"), [ERRORS[1], ERRORS[6]], ids=["render", "apply"])
def test_an_error_ends_a_script_with_1_and_without_a_traceback(run_python, refused, script, arguments, words):
    done = run_python(ROOM / script, *(argument.format(tmp=refused[1]) for argument in arguments))
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_what_the_page_shows_runs(bpy_python, tmp_path):
    (tmp_path / "blender").symlink_to(ROOM)
    save = f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(tmp_path / 'scene.blend')!r})"
    subprocess.run([bpy_python, "-c", save], check=True)
    pages.write_true(tmp_path / "depth.npz")
    Image.new("RGB", (64, 48), (128, 128, 255)).save(tmp_path / "normals.png")
    pages.run_steps(ROOM / "README.md", tmp_path, bpy_python)
    assert (tmp_path / "DIR" / "scene.npz").is_file() and (tmp_path / "result.blend").is_file()
