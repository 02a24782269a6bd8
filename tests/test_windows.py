"""What Windows does otherwise with files, names and consoles, as far as it can be pretended elsewhere. Nothing here ran on Windows."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from depth_normal.app import cli
from depth_normal.app.batch import overwriting
from depth_normal.app.batch.outputs import Outputs
from depth_normal.app.batch.records import RECORDS
from depth_normal.app.batch.staging import staged
from depth_normal.geometry.files import paths


@pytest.fixture
def on_windows(monkeypatch):
    for module in (paths, overwriting):
        monkeypatch.setattr(module, "sys", SimpleNamespace(**{**vars(sys), "platform": "win32"}))
    monkeypatch.setattr(paths, "_WAITS", (0.0,) * 5)


# --- files that are open ---


def refuse_for(monkeypatch, times):
    """`os.replace` onto a file that is there, refused so many times."""
    replace, left = os.replace, [times]

    def refused(source, target, **options):
        if Path(target).exists() and left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "Access is denied", os.fspath(source))
        return replace(source, target, **options)

    monkeypatch.setattr(os, "replace", refused)


def by_atomic_path(folder):
    paths.write_bytes(folder / "a_depth.png", b"new")


def by_staged(folder):
    outputs = Outputs((folder / "a.png").absolute(), folder, ("depth",))
    with staged(outputs, {"writes": ["depth"]}, {"size": 1, "mtime_ns": 1}) as stage:
        for path in stage.paths():
            path.write_bytes(b"new")


def by_move_to_free(folder):
    """On a disk without links, where an empty file holds the name."""
    (folder / "new").write_bytes(b"new")
    (folder / "a_depth.png").unlink()
    paths.move_to_free(folder / "new", folder / "a_depth.png")


WRITERS = [by_atomic_path, by_staged, by_move_to_free]


@pytest.fixture
def folder(tmp_path, monkeypatch, on_windows):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no links")))
    by_staged(tmp_path)  # known as this program's own, which may be replaced
    return tmp_path


@pytest.mark.parametrize("write", WRITERS)
def test_what_a_virus_scanner_opens_for_a_moment_is_replaced(write, folder, monkeypatch):
    refuse_for(monkeypatch, 3)
    write(folder)
    assert (folder / "a_depth.png").read_bytes() == b"new"


@pytest.mark.parametrize("write", WRITERS)
def test_what_another_program_keeps_open_stays_and_the_message_says_so(write, folder, monkeypatch):
    refuse_for(monkeypatch, 1000)
    with pytest.raises(OSError, match=r"^cannot replace .*a(_depth\.png|\.json): another program has it open, .* close it there"):
        write(folder)
    assert {path.name for path in folder.iterdir()} <= {"a_depth.png", "new", RECORDS}, "nothing half written stays"


@pytest.fixture
def open_files_stay(monkeypatch):
    """Refuses to move, replace or remove a file that this process has open or mapped; gives the refusals."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs Linux' list of open files")
    refused = []

    def kept(name, call):
        def checked(path, *others, dir_fd=None, **options):
            folder = "" if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
            for place in (Path(folder, os.fsdecode(each)).absolute() for each in (path, *others)):
                # Locks are removed after they are closed there, by code that only Windows runs.
                if place.suffix != ".lock" and place.is_file() and not place.is_symlink() and is_open(place):
                    refused.append((name, place))
                    raise PermissionError(errno.EACCES, "The process cannot access the file", str(place))
            return call(path, *others, **options, **({} if dir_fd is None else {"dir_fd": dir_fd}))

        return checked

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, kept(name, getattr(os, name)))
    return refused


def is_open(path):
    for number in Path("/proc/self/fd").iterdir():
        try:
            if number.readlink() == path:
                return True
        except OSError:  # closed meanwhile
            continue
    return any(line.endswith(f" {path}") for line in Path("/proc/self/maps").read_text(errors="replace").splitlines())


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save("photo.png")
    return "photo.png"


TINY = ("--model", "tiny", "--size", "64", "--overwrite")
RUNS = {
    "estimate": ["estimate", "photo.png", "--also", "npz,exr,pfm,glb,html", *TINY],
    "estimate a folder": ["estimate", ".", "--resume", "--also", "npz", *TINY],
    "one file": ["estimate", "photo.png", "--write", "npz", "-o", "maps.npz", *TINY],
    "convert": ["convert", "maps.npz", "maps.exr", "--overwrite"],
    "relight": ["relight", "photo.png", "--light", "185,18", *TINY],
    "mesh": ["mesh", "photo.png", "-o", "photo.stl", *TINY],
    "view": ["view", "maps.npz", "--overwrite"],
    "video": ["video", "clip.mp4", "--what", "depth,normals", *TINY],
    "parallax": ["parallax", "photo.png", "--seconds", "0.2", *TINY],
    "models": ["models"],
    "clean": ["clean"],
}
"""A run of each kind; those behind use what those before made."""


@pytest.mark.slow("runs eleven commands, most of them twice")
def test_commands_close_their_files_before_they_move_or_remove_them(photo, open_files_stay, capsys):
    from tests.videos import moving_ball, write_video

    write_video(Path("clip.mp4"), moving_ball(4), codec="mpeg4")
    for name, words in RUNS.items():
        for _ in range(1 if words[0] in ("models", "clean") else 2):  # the second one replaces
            assert cli.main(words) == 0, (name, capsys.readouterr().err)
        assert not open_files_stay, name


# --- names ---


def test_a_path_that_is_too_long_is_called_so(tmp_path, monkeypatch, on_windows):
    def missing(self, *_, **__):
        raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", os.fspath(self))

    deep = tmp_path.joinpath(*["a" * 60] * 5)
    monkeypatch.setattr(Path, "mkdir", missing)
    for folder, match in (
        (deep, r"cannot write to .*: a path of \d{3} characters is needed.* 259 .*nearer to the drive"),
        (tmp_path, "cannot find"),
    ):
        with pytest.raises(OSError, match=match):
            by_staged(folder / "out")


@pytest.mark.parametrize("name", ["NUL", "con.png", "aux.tar.npz", "COM1.exr", "lpt9 .glb"])
def test_a_result_with_the_name_of_a_device_is_refused(name, tmp_path, on_windows):
    with pytest.raises(ValueError, match="is the name of a device on Windows, not of a file; choose another name"):
        overwriting.check_places([tmp_path / name], [], overwrite=True)


def test_elsewhere_such_names_are_names(tmp_path):
    overwriting.check_places([tmp_path / "aux.png"], [], overwrite=True)


# --- consoles and processes ---


@pytest.mark.slow("starts another process")
def test_every_help_and_each_kind_of_run_is_printed_to_a_console_without_utf_8(photo, tmp_path):
    """In one process: a console as Windows has it, for all commands and their subcommands."""
    runs = [words for name, words in RUNS.items() if name != "video"] + [["estimate", "no such.png"], ["bench", "--nonsense"]]
    (tmp_path / "run.py").write_text(
        "import contextlib\n"
        "from depth_normal.app import cli\n"
        "commands = cli._parser().commands\n"
        "names = [[name] for name in commands] + [[name, each] for name, command in commands.items() for each in command.commands]\n"
        "helps = [[*name, word] for name in names for word in ('--help', '--help-all')]\n"
        f"for words in [*helps, ['--version'], ['estmate'], *{runs!r}]:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        cli.main(words)\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    run = subprocess.run([sys.executable, "run.py"], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    for text in (run.stdout.decode("cp1252"), run.stderr.decode("cp1252")):
        assert "Traceback" not in text and "UnicodeEncodeError" not in text and "\\u" not in text and "\\x" not in text
    assert "did you mean estimate" in run.stderr.decode("cp1252") and len(run.stdout) > 50_000
