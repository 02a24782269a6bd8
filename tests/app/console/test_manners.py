"""What the command does before it works, how it is stopped, and what its exit codes say."""

import os
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from depth_normal.annotators.registry import MODELS, find_spec
from depth_normal.annotators.specs.base import size_in_words
from depth_normal.app import cli
from depth_normal.app.batch import per_image
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import check_writes
from depth_normal.geometry.files import exr
from depth_normal.model_loader.weights import transfer
from tests import forked
from tests.geometry.files.samples import read_channels, write_channels, write_tiff

COMMAND = (sys.executable, "-m", "depth_normal.app.cli")


def save_image(path, colour=(200, 120, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 32), colour).save(path)
    return path


@pytest.fixture
def image(tmp_path):
    return save_image(tmp_path / "photo.png")


@pytest.fixture
def estimate(tmp_path):
    def run(*words):
        return cli.main(["estimate", *map(str, words), "--out", str(tmp_path / "out"), "--model", "tiny", "--size", "64", "--also", "npz"])

    return run


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def refuse(*_):
        pytest.fail("a model was asked for")

    monkeypatch.setattr("depth_normal.app.batch.options.load_model", refuse)
    monkeypatch.setattr(transfer, "fetch", refuse)


def test_the_exit_codes(estimate, image, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:-40])
    assert estimate(image) == 0
    assert estimate(image, broken) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "1 done, 1 failed of 2 images in " in last and f"why is in {tmp_path / 'out' / '.depth-normal' / 'failures.jsonl'}" in last
    assert estimate(broken) == 2, "nothing could be done"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.count(str(broken)) == 1 and "skipped" not in line and "1 of 1" not in line


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("fails", ["read", "write"])
def test_where_every_image_fails_only_their_names_are_left(fails, estimate, image, tmp_path, monkeypatch):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    monkeypatch.setattr(per_image, "save_estimate", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    assert estimate(*((bad, bad.rename(tmp_path / "b.png")) if fails == "read" else (image,))) == 2
    assert names_in(tmp_path / "out") == [".depth-normal", ".depth-normal/failures.jsonl", ".depth-normal/lock"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("tiny", ["tiny gives no metres", "guessed as 1:3 to 10", "tiny does not know the camera", "55 degrees"]),
        ("zoedepth-nyu", ["zoedepth-nyu does not know the camera"]),
        ("depth-anything-3-metric-large", []),
    ],
)
def test_what_a_mesh_assumes_is_told(model, words, caplog):
    with caplog.at_level("INFO"):
        check_writes(["glb"], Options(MODELS[model]))
    assert all(word in caplog.text for word in words) and bool(caplog.text) == bool(words)
    caplog.clear()
    with caplog.at_level("INFO"):
        check_writes(["comp"], Options(MODELS[model]))
    assert ("does not know the camera: EXR for compositing (comp) assumes" in caplog.text) == bool(words)
    caplog.clear()
    check_writes(["pfm", "exr", "stl"], Options(MODELS[model]))
    assert not caplog.text


def test_a_ratio_that_metres_need_not_is_said(caplog):
    check_writes(["normals"], Options(MODELS["moge-2-vits-normal"], near_far_ratio=30))
    assert "moge-2-vits-normal gives distances: a near-far ratio (30) changes nothing" in caplog.text


def test_a_missing_library_is_known_before_the_images(image, tmp_path, nothing_is_loaded, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ImportError):
        exr.openexr()
    assert cli.main(["estimate", str(image), "--write", "exr", "--out", str(tmp_path / "out")]) == 2
    assert 'pip install "OpenEXR>=3.4"' in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_a_missing_library_does_not_write_is_made(estimate, image, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    assert estimate(image, "--also", "npz,exr") == 1
    assert "exr is left out: EXR files need the package OpenEXR: run" in capsys.readouterr().err
    assert {path.suffix for path in (tmp_path / "out").iterdir()} >= {".png", ".npz"} and not list((tmp_path / "out").glob("*.exr"))


def test_a_coding_is_no_setting_of_what_has_no_normals():
    plain, other = Options(), Options(coding="directx")
    assert plain.settings(["depth", "npz"]) == other.settings(["depth", "npz"])
    assert plain.settings(["normals"]) != other.settings(["normals"])


@pytest.mark.slow("starts other processes")
def test_no_files_name_commands_the_terminal(tmp_path):
    name = "a\x1b[2J\rb\nc\x9b7m\u202e"
    save_image(tmp_path / f"{name}.png")
    (tmp_path / f"bad{name}.png").write_text("no image")
    animated = [Image.new("RGB", (48, 32), colour) for colour in ("red", "blue")]
    animated[0].save(tmp_path / f"moving{name}.webp", save_all=True, append_images=animated[1:], lossless=True)
    words = ["estimate", str(tmp_path), f"absent{name}", "--out", str(tmp_path / f"out{name}"), "--model", "tiny", "--size", "64"]
    with forked.python(forked.COMMAND, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        results, complaints = run.communicate()
    assert run.returncode == 1
    mistyped = subprocess.run([*COMMAND, *words, f"--{name}"], capture_output=True)
    assert mistyped.returncode == 2
    told = results + complaints + mistyped.stderr
    for command in ("\x1b[2J", "\rb", "b\nc", "\x9b", "\u202e"):
        assert command.encode() not in told
    escaped = r"a\x1b[2J\rb\nc\x9b7m\u202e"
    assert f"{escaped}_depth.png" in results.decode()
    shown = complaints.decode()
    assert f"bad{escaped}.png: " in shown and f"absent{escaped}: " in shown
    assert f"moving{escaped}.webp: of several images in the file the first is taken" in shown
    assert f"unrecognized arguments: --{escaped}" in mistyped.stderr.decode()


@pytest.mark.slow("starts other processes")
def test_the_work_goes_on_where_nobody_reads(tmp_path):
    images = [save_image(tmp_path / f"{name}.png") for name in "ab"]
    words = ["estimate", *map(str, images), "--out", str(tmp_path / "out"), "--model", "tiny", "--size", "64"]
    for typed in (["models"], words):
        with forked.python(forked.COMMAND, *typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert b"Broken pipe" not in process.stderr.read()
        assert process.returncode == 0
    assert {"a_depth.png", "b_depth.png"} <= {path.name for path in (tmp_path / "out").iterdir()}


STARTING = """
import builtins, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
real = builtins.__import__
def slow(name, *rest):
    if name == "torch":
        print("importing", flush=True)
        time.sleep(60)
    return real(name, *rest)
builtins.__import__ = slow
from depth_normal.app.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_the_start_can_be_stopped_without_a_traceback(name, code):
    words = [sys.executable, "-c", STARTING, "compare", "a.npz", "b.npz"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(getattr(signal, name))
        assert process.communicate(timeout=120)[1] == "depth-normal: stopped\n"
        assert process.returncode == code


INTERRUPTED_IN_EXEC = """
import sys
from depth_normal.app import cli
from depth_normal.app.commands import models as models_command
models_command._models = lambda _: exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
sys.exit(cli.main(["models"]))
"""


def test_the_exit_code_of_an_interrupt_within_exec(tmp_path):
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IN_EXEC)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))}
    run = subprocess.run([sys.executable, "-m", "interrupted"], stderr=subprocess.PIPE, text=True, env=environment)
    assert (run.returncode, run.stderr) == (130, "depth-normal: stopped\n")


def test_ctrl_c_at_the_very_end_prints_nothing():
    program = "import atexit, os, signal; from depth_normal.app.console.terminal import exit_with; "
    program += "atexit.register(os.kill, os.getpid(), signal.SIGINT); exit_with(1)"
    run = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (1, "")


def test_downloads_that_all_fail(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(transfer, "fetch", unreachable)
    assert cli.main(["download", "midas-v2.1-small"]) == 2
    said = capsys.readouterr().err
    assert "midas_v21_small_256.pt cannot be fetched: the server cannot be reached (is there a network?)" in said
    assert said.count("https://") == 1 and "--model tiny works at once" in said
    assert cli.main(["download", "tiny", "midas-v2.1-small"]) == 1


def test_sizes_in_words():
    assert size_in_words(492_757_791) == "493 MB" and size_in_words(2_600_000_000, exact=False) == "about 2.6 GB"
    assert find_spec("midas-swin2-tiny").file.size_in_words == "about 170 MB"


def test_finer_normals_and_exr_for_compositing(estimate, image, tmp_path):
    pytest.importorskip("OpenEXR")
    assert estimate(image, "--also", "comp", "--half", "--normal-bits", "16") == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"photo_comp.exr", "photo_comp.chan", "photo_normals.png"} <= made
    assert (tmp_path / "out" / "photo_normals.png").read_bytes()[24] == 16
    written = (tmp_path / "out" / "photo_comp.exr").stat().st_mtime_ns
    assert estimate(image, "--also", "comp", "--half", "--normal-bits", "16", "--resume") == 0
    assert (tmp_path / "out" / "photo_comp.exr").stat().st_mtime_ns == written, "what is there is not made again"


def test_a_plate_of_linear_light_stays_as_it_is(estimate, tmp_path):
    light, alpha = np.full((48, 64), 8, np.float32), np.ones((48, 64), np.float32)
    alpha[:, :20] = 0
    write_channels(tmp_path / "shot.1002.exr", {"pixelAspectRatio": 2.0}, **dict.fromkeys("RGB", light * alpha), A=alpha)
    assert estimate(tmp_path / "shot.1002.exr", "--write", "comp") == 0
    header, channels = read_channels(tmp_path / "out" / "shot.1002_comp.exr")
    np.testing.assert_array_equal(channels["R"], light * alpha)
    np.testing.assert_array_equal(channels["A"], alpha)
    assert header["pixelAspectRatio"] == 2 and channels["Z"][5, 5] == 1e10 > channels["Z"][5, 50]
    assert (tmp_path / "out" / "shot.1002_comp.chan").read_text().startswith("1002\t")


@pytest.mark.slow("starts a process that imports torch")
def test_a_file_that_opencv_cannot_decode_is_refused_in_one_line(tmp_path):
    write_tiff(tmp_path / "half.tif", np.ones((4, 4), np.float16), photometric="minisblack")
    words = (sys.executable, "-m", "depth_normal", "convert", str(tmp_path / "half.tif"), str(tmp_path / "half.npz"))
    said = subprocess.run(words, capture_output=True, text=True).stderr
    assert said.count("\n") == 1 and "a TIFF of 16-bit floats" in said


@pytest.mark.parametrize(
    ("own", "found"), [({}, "1000 None"), ({"GOMP_SPINCOUNT": "5"}, "5 None"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE")]
)
def test_threads_that_wait_leave_their_core_to_others_unless_somebody_wants_it_otherwise(own, found, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")  # which is still to be imported
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    others = {name: value for name, value in os.environ.items() if name not in names}
    with mock.patch.dict(os.environ, {**others, **own}, clear=True):
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert " ".join(str(os.environ.get(name)) for name in names) == found
