"""Where results go: default names, what may be replaced, and `--open`. Depth comes from a file, so that no network runs."""

import importlib
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_normal.app import onnx_export
from depth_normal.app.batch import overwriting
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.cli import main
from depth_normal.app.commands.result_paths import Place, folder_or_file, place
from depth_normal.app.console import viewer
from depth_normal.app.console.terminal import quoted
from depth_normal.app.onnx_export import Exported
from depth_normal.app.outcomes import DEMO_IMAGE
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import save_estimate

OUT = Path("depth-normal")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with an image, and what is known of it."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((48, 32), 60).convert("RGB").save("photo.png")
    depth = torch.linspace(1, 4, 48).expand(1, 1, 32, 48).contiguous()
    facing = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(1, 3, 32, 48).contiguous()
    save_estimate("known.npz", Estimate(depth, Quantity.METRIC_DEPTH, facing, Axes.OPENGL))
    Image.new("RGB", (48, 32), (128, 128, 255)).save("flat.png")
    return tmp_path


def run(words, *more):
    return main([*words.split(), *more])


def shots(count=1):
    """A folder of images that are a video's frames."""
    Path("shots").mkdir()
    for number in range(count):
        Image.effect_noise((64, 32), 60).convert("RGB").save(f"shots/{number}.png")


def names(folder=OUT):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORDS)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("relight photo.png --geometry known.npz", "photo_relit.png"),
        ("view known.npz --no-open", "known.html"),
        ("estimate photo.png --model tiny --size 32 --write depth", "photo_depth.png"),
        ("effect mask photo.png --geometry known.npz", "photo_mask.png"),
        ("effect cutout photo.png --geometry known.npz", "photo_cutout.png"),
        ("effect fog photo.png --geometry known.npz", "photo_fog.png"),
        ("effect depth-of-field photo.png --geometry known.npz", "photo_dof.png"),
        ("mesh photo.png --geometry known.npz", "photo.glb"),
        ("refine photo.png --geometry known.npz", "photo_refined.npz"),
        ("texture height flat.png", "flat_height.png"),
        ("texture normals photo.png", "photo_normals.png"),
        ("texture curvature flat.png --show edges", "flat_edges.png"),
        ("texture occlusion photo.png --radius 4", "photo_ao.png"),
        ("texture detail photo.png --source photo", "photo_detail.png"),
        ("video shots --model tiny --size 32", "shots_depth.mp4"),
    ],
)
def test_a_result_has_a_name_by_default_and_is_made_anew(words, name, here, capsys):
    shots()
    assert run(words) == 0
    assert f"{words.split()[1 + (words.split()[0] in ('effect', 'texture'))]}: {OUT / name}" in capsys.readouterr().out
    assert names() == [name]
    assert run(words) == 0, "it is this program's own"
    (OUT / name).write_bytes(b"mine")
    capsys.readouterr()
    assert run(words) == 2 and (OUT / name).read_bytes() == b"mine"
    assert f"{OUT / name} is there already, not known as an unchanged result of depth-normal" in capsys.readouterr().err
    assert run(words, "--overwrite") == 0
    assert run(words, "-o", "elsewhere/") == 0
    assert (here / "elsewhere" / name).exists()


def test_a_result_that_somebody_named_is_replaced_by_the_same_command_alone(here, capsys):
    words = "relight photo.png --geometry known.npz -o lit.png"
    assert run(words, "--light", "10,20") == 0
    first = Path("lit.png").read_bytes()
    assert run(words, "--light", "170,20") == 0 and Path("lit.png").read_bytes() != first
    assert not (here / RECORDS).exists(), "nothing lies beside somebody's own files"
    Image.open("photo.png").save("other.png")
    made = Path("lit.png").read_bytes()
    for command in ("effect fog photo.png", "relight other.png"):
        assert run(f"{command} --geometry known.npz -o lit.png") == 2
        advice = "; move it, choose another name with -o, or replace it with --overwrite"
        known = f"lit.png is there already, not known as an unchanged result of `depth-normal {command}`"
        assert f"{known}{advice}" in capsys.readouterr().err
    assert Path("lit.png").read_bytes() == made
    Path("lit.png").write_bytes(b"mine")
    assert run(words) == 2 and Path("lit.png").read_bytes() == b"mine"
    assert run(words, "--overwrite") == 0 and run(words) == 0


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("words", "kind", "other", "setting"),
    [
        ("estimate photo.png --model tiny --size 32 -o k.png", "--write depth", "--write normals", "--refine"),
        ("stereo photo.png --model tiny --size 32 -o k.png", "--layout full-sbs", "--layout anaglyph", "--divergence 5"),
        ("texture curvature flat.png -o k.png", "--show curvature", "--show edges", "--scale 4"),
        ("mesh photo.png --geometry known.npz -o k.ply", "", "--splats", "--max-points 500"),
        ("video shots --model tiny --size 32 -o k.mp4", "--what parallax", "--what depth", "--amount 0.1"),
        ("video shots --model tiny --size 32 -o k.mp4", "--what stereo", "--what stereo --layout anaglyph", "--quality 20"),
    ],
)
def test_a_named_result_of_another_kind_is_not_replaced(words, kind, other, setting, here, capsys):
    shots(2)
    words, source = words.split(), words.split()[2 if words.startswith("texture") else 1]
    made, command = Path(words[-1]), " ".join(words[: words.index(source)])
    assert main([*words, *kind.split()]) == 0 and main([*words, *kind.split(), *setting.split()]) == 0
    before = made.read_bytes()
    assert main([*words, *other.split()]) == 2 and made.read_bytes() == before
    path = Path(source).resolve() if command == "video" else source
    assert (
        f"{made} is there already, not known as an unchanged result of `depth-normal {command} {other} {path}`" in capsys.readouterr().err
    )
    assert main([*words, *other.split(), "--overwrite"]) == 0 and main([*words, *other.split()]) == 0


@pytest.mark.slow("takes a second")
def test_each_video_of_several_that_are_named_has_its_kind(here):
    shots()
    words = "video shots --model tiny --size 32 -o {} --what {}"
    assert run(words.format("k.mp4", "depth,normals")) == 0 and run(words.format("k.mp4", "normals,stereo,depth")) == 0
    assert run(words.format("k_normals.mp4", "depth")) == 2 and run(words.format("k_normals.mp4", "normals")) == 0


def test_named_results_are_forgotten_without_harm(here, monkeypatch):
    """Where there are too many, or the list is damaged or cannot be written, the file is kept, as one of others."""
    words = "relight photo.png --geometry known.npz -o {}.png"
    monkeypatch.setattr(overwriting, "_MOST_NAMED", 2)
    for name in "abc":
        assert run(words.format(name)) == 0
    assert run(words.format("a")) == 2 and run(words.format("b")) == 0 and run(words.format("c")) == 0
    overwriting._named_list().write_text("{")
    assert run(words.format("c")) == 2 and run(words.format("d")) == 0 and run(words.format("d")) == 0
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(here / "photo.png"))
    assert run(words.format("e")) == 0 and run(words.format("e")) == 2

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("depth_normal.model_loader.weights.find.user_cache", nowhere)  # of a container's user without a name
    assert run(words.format("f")) == 0 and run(words.format("f")) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_named_result_is_the_same_from_every_folder(here, monkeypatch, capsys):
    assert run("relight photo.png --geometry known.npz -o lit.png") == 0
    Path("sub").mkdir()
    Path("link.png").symlink_to("photo.png")
    assert run("relight link.png --geometry known.npz -o lit.png") == 0
    monkeypatch.chdir("sub")
    assert run("relight ../photo.png --geometry ../known.npz -o ../lit.png") == 0
    Path("lit.png").symlink_to("../lit.png")
    assert run("relight ../photo.png --geometry ../known.npz -o lit.png") == 2
    assert run("relight ../flat.png --geometry ../known.npz -o ../lit.png") == 2
    assert "not known as an unchanged result of `depth-normal relight ../flat.png`" in capsys.readouterr().err


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("words", "computed", "name"),
    [
        ("relight photo.png --geometry known.npz -o lit.png", "app.batch.per_image.read_with_alpha", "lit.png"),
        ("estimate photo.png --model tiny --size 32 --write depth -o lit.png", "app.batch.per_image.read_with_alpha", "lit.png"),
        ("texture seamless photo.png --model tiny --size 32 -o lit.png", "app.batch.per_image.read_with_alpha", "lit.png"),
        ("texture pbr photo.png --model tiny --size 32", "geometry.textures.pbr.pbr_maps", "depth-normal/photo_ao.png"),
        ("video shots --model tiny --size 32 -o made.mp4", "app.video.run._first_pass", "made.mp4"),
        ("video shots --model tiny --size 32 --preview 1 -o made.png", "app.video.rendering._sheet", "made.png"),
        ("export tiny -o made.onnx", "app.onnx_export._near", "made.onnx"),
    ],
)
def test_a_file_that_came_while_the_result_was_computed_is_not_replaced(words, computed, name, here, monkeypatch, capsys):
    shots(2)
    module, _, function = f"depth_normal.{computed}".rpartition(".")
    original = getattr(importlib.import_module(module), function)

    def computed_while_somebody_writes(*arguments):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"mine")
        return original(*arguments)

    for each in ("check_onnx", "_onnx_runtime", "onnx_runtime_engine"):
        monkeypatch.setattr(onnx_export, each, lambda *_: lambda *_: ())
    monkeypatch.setattr(onnx_export, "_write", lambda _, path, *__: path.write_bytes(b"network"))
    monkeypatch.setattr(onnx_export, "_compared", lambda *_: iter([onnx_export.Check("a stand-in", "noise", 0.0, 0.0)]))
    monkeypatch.setattr(f"{module}.{function}", computed_while_somebody_writes)
    before = {path.name for path in here.iterdir()}
    is_video = words.startswith("video") and "--preview" not in words
    assert run(words) == 2 and f"{name} is there already" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} - before == {name.split("/")[0], *([RECORDS] if is_video else [])}
    assert [path.name for path in Path(name).parent.glob("*photo_*")] == [Path(name).name] * ("photo_" in name), "no other map either"
    if is_video:
        assert run(words, "--resume") == 2 and f"{name} is there already" in capsys.readouterr().err, "it is not the stopped run's"
    assert Path(name).read_bytes() == b"mine"
    monkeypatch.setattr(f"{module}.{function}", original)
    assert run(words, "--overwrite") == 0 and Path(name).read_bytes() != b"mine"


def test_the_command_that_is_named_can_be_typed(here, capsys):
    Path("photo.png").rename("my photo.png")
    Path("lit.png").write_bytes(b"mine")
    assert main(["relight", "my photo.png", "--geometry", "known.npz", "-o", "lit.png"]) == 2
    assert f"result of `depth-normal relight {quoted('my photo.png')}`;" in capsys.readouterr().err


def test_commands_replace_each_others_files_and_resume_goes_on(here, capsys):
    estimate = "photo.png --model tiny --size 32 --also glb"
    mesh = "mesh photo.png --geometry known.npz"
    assert run(mesh) == 0 and run(estimate) == 0
    assert names() == ["photo.glb", "photo_depth.png", "photo_normals.png"]
    assert run("relight photo.png --geometry known.npz") == 0
    capsys.readouterr()
    assert run(estimate, "--resume") == 0
    assert "its results are there already" in capsys.readouterr().err, "another command's result leaves them what they are"
    assert run(mesh) == 0 and run(estimate, "--resume") == 0
    assert "photo.glb" in capsys.readouterr().out, "it was replaced, and is made anew"
    record = json.loads((OUT / RECORDS / "photo.json").read_text())
    settings = {name: record["settings"][name] for name in ("model", "size", "writes")}
    assert settings == {"model": "tiny", "size": 32, "writes": ["depth", "normals", "glb"]} and "photo_relit.png" in record["made"]


def test_images_of_a_folder_keep_their_tree(here):
    for name in ("photos/a.jpg", "photos/sub/b.jpg"):
        (here / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((48, 32), 60).convert("RGB").save(name)
    assert run("effect fog photos --recursive --model tiny --size 32") == 0
    assert sorted(path.relative_to(OUT).as_posix() for path in OUT.rglob("*.png")) == ["a_fog.png", "sub/b_fog.png"]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """What a stand-in for `xdg-open` was started with; it writes its arguments down."""
    if os.name != "posix" or sys.platform == "darwin":
        pytest.skip("its viewer is another")
    log = tmp_path / "opened.txt"
    script = tmp_path / "bin" / "xdg-open"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {shlex.quote(str(log))}.part\nmv {shlex.quote(str(log))}.part {shlex.quote(str(log))}\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", ":0")

    def words():
        while not log.exists():
            time.sleep(0.01)
        return log.read_text().splitlines()

    return words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("relight photo.png --geometry known.npz", OUT / "photo_relit.png"),
        ("photo.png --model tiny --size 32", OUT / "photo_depth.png"),
        *((f"{command}shots --model tiny --size 32", OUT) for command in ("", "effect fog ")),
    ],
)
def test_open_shows_the_result_the_first_map_or_the_folder_of_several(words, shown, here, opened):
    shots(2)
    assert run(words, "--open") == 0 and opened() == [str(here / shown)]


def test_what_cannot_be_shown_is_said_and_the_result_is_there(here, opened, monkeypatch, capsys):
    words = "relight photo.png --geometry known.npz --open"
    (here / "bin" / "xdg-open").write_text("#!/bin/sh\nexit 3\n")
    monkeypatch.setattr(viewer, "_SECONDS_TO_FAIL", 60)
    assert run(words) == 0
    assert f"{OUT / 'photo_relit.png'} is not shown: xdg-open ended with status 3" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(here))
    assert run(words) == 0
    assert "the program xdg-open is not installed" in capsys.readouterr().err
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(words) == 0
    assert "is not shown: there is no display" in capsys.readouterr().err
    viewer.show(Path("s3://maps/a.png"))
    assert capsys.readouterr().err.count("\n") == 1


WITHOUT_NETWORK = f"""#!{sys.executable}
import socket, sys
def refuse(*_): raise AssertionError("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
from depth_normal.app.cli import main
code = main()
print("imported:", *sorted({{"transformers", "timm", "torchvision", "huggingface_hub", "diffusers"}} & sys.modules.keys()))
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="its shell has other words")
@pytest.mark.slow("starts other processes")
def test_the_demo_needs_neither_network_nor_other_libraries_and_what_it_says_can_be_pasted(tmp_path):
    """In a shell without the environment; a path with a space, and a program that is not on PATH."""
    program = tmp_path / "my env" / "bin" / "depth-normal"
    program.parent.mkdir(parents=True)
    program.write_text(WITHOUT_NETWORK)
    program.chmod(0o755)
    run = subprocess.run([program, "demo"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert [Path(line).name for line in run.stdout.splitlines()[:3]] == ["coffee_depth.png", "coffee_normals.png", "coffee.npz"]
    assert run.stdout.splitlines()[-1] == "imported:" and "moge-2-vits-normal" in run.stdout and "141 MB" in run.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth-normal", "my env"]
    assert names(tmp_path / OUT) == ["coffee.npz", "coffee_depth.png", "coffee_normals.png"]
    depth = np.load(tmp_path / OUT / "coffee.npz")["depth"]
    cup, table = depth[100:160, 230:350].mean(), depth[:80, :80].mean()
    assert depth.shape == (400, 600) and cup > table + depth.std(), "the cup stands nearer than the table behind it"
    estimate, models = (line.strip() for line in run.stdout.splitlines() if line.startswith("    "))
    assert shlex.split(estimate) == [str(program), str(DEMO_IMAGE)]
    for line in (f"{estimate} --model tiny --size 32", models):
        assert subprocess.run(line, shell=True, capture_output=True, cwd=tmp_path).returncode == 0, line


@pytest.mark.parametrize("parsed", [place, folder_or_file])
def test_a_name_in_a_folder_that_one_may_not_enter_is_left_to_the_command(tmp_path, forbidden, parsed):
    """Which says it in words: before Python 3.14, `Path.is_dir` raises."""
    (locked := tmp_path / "locked").mkdir()
    with forbidden(locked, 0, os.X_OK):
        assert parsed(str(locked / "o.png")) == Place(locked / "o.png")


@pytest.mark.parametrize("words", ["photo.png --model tiny", "relight photo.png --geometry known.npz", "demo"])
def test_a_name_that_is_too_long_for_the_disk_is_refused(words, here, capsys):
    with pytest.raises(SystemExit):
        run(words, "-o", f"{'x' * 300}.png")
    said = capsys.readouterr().err
    assert f"{'x' * 40}... is longer than the disk takes; choose a shorter name" in said and "x" * 41 not in said


def test_an_input_is_never_replaced(here, capsys):
    """Not even with --overwrite, where the result of one image has the name of another that is named with it."""
    Path("in").mkdir()
    for name in ("a", "a_fog"):
        Image.effect_noise((32, 24), 60).convert("RGB").save(f"in/{name}.png")
    before = Path("in/a_fog.png").read_bytes()
    assert run("effect fog in/a.png in/a_fog.png -o in/ --overwrite --model tiny") == 1
    assert "a_fog.png is an image or a file that is read" in capsys.readouterr().err
    assert Path("in/a_fog.png").read_bytes() == before and Path("in/a_fog_fog.png").exists()


def test_a_link_to_nowhere_is_not_replaced_in_silence(here, capsys):
    """Whether its name is the default or somebody's; what it would have led to is not made either."""
    words = "effect fog photo.png --geometry known.npz"
    OUT.mkdir()
    for more, link in (("", OUT / "photo_fog.png"), (" -o fog.png", Path("fog.png"))):
        link.symlink_to(here / "absent")
        assert run(words + more) == 2 and f"{link} is there already" in capsys.readouterr().err
        assert link.is_symlink() and not (here / "absent").exists()


@pytest.mark.slow("takes a second")
def test_a_named_video_is_made_anew_and_of_numbered_files_some_would_stay(here):
    shots()
    words = "video shots --model tiny --size 32"
    assert run(words) == 0 and run(f"{words} --what depth,normals") == 0 and names() == ["shots_depth.mp4", "shots_normals.mp4"]
    assert run(f"{words} -o named.mp4") == 0 and run(f"{words} -o named.mp4") == 0
    Path("named.mp4").write_bytes(b"mine")
    assert run(f"{words} -o named.mp4") == 2 and Path("named.mp4").read_bytes() == b"mine"
    assert run(f"{words} -o f_%05d.png") == 0 and run(f"{words} -o f_%05d.png") == 2


def test_an_exported_file_is_replaced_where_it_is_the_programs_own(here, monkeypatch, capsys):
    def exported(model, path, *_):
        path.parent.mkdir(exist_ok=True)
        files = path, path.with_name(f"{path.name}.data")
        for each in files:
            each.write_bytes(b"weights")
        return Exported(files, 14, 0.0, ())

    monkeypatch.setattr("depth_normal.app.onnx_export.export", exported)
    words, out = "export midas-v2.1-small", OUT / "midas-v2.1-small.onnx"
    assert run(words) == 0 and run(words) == 0
    for each in (out, out.with_name(f"{out.name}.data")):
        each.write_bytes(b"mine")
        assert run(words) == 2 and each.read_bytes() == b"mine"
        assert f"{each} is there already, not known as an unchanged result of depth-normal" in capsys.readouterr().err
        assert run(words, "--overwrite") == 0
    assert run("export tiny -o a.onnx") == 0 and run("export tiny -o a.onnx") == 0
    assert run("export midas-v2.1-small -o a.onnx") == 2, "of another model"
    Path("b.onnx.data").write_bytes(b"mine")
    assert run("export tiny -o b.onnx") == 2 and Path("b.onnx.data").read_bytes() == b"mine"
    assert run("export tiny --overwrite --weights a.onnx -o a.onnx") == 2
    assert "a.onnx is an image or a file that is read" in capsys.readouterr().err
