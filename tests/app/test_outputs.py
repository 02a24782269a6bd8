"""Which files are written, which are refused, and what the record knows."""

import json
import os
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from depth_normal.app.outputs import RECORDS, Outputs, folded, plan_outputs, read_record, refusals, shared_names, staged
from depth_normal.geometry.files import paths

SETTINGS = {"model": "tiny", "size": None}


def put(outputs, settings=SETTINGS, text="made"):
    """Writes all files as a run would."""
    with staged(outputs, settings) as stage:
        for path in stage.paths():
            path.write_text(text)


def test_the_names_of_a_picture():
    outputs = Outputs(Path("photos/room.jpg"), Path("maps"), ("exr", "pfm"))
    assert [path.as_posix() for path in outputs.paths()] == [
        "maps/room_depth.png",
        "maps/room_normals.png",
        "maps/room.npz",
        "maps/room.exr",
        "maps/room.pfm",
        "maps/room_normals.pfm",
    ]


@pytest.mark.parametrize(
    ("first", "second", "formats"),
    [
        ("a.png", "b/a.jpg", ()),
        ("a.png", "A.PNG", ()),
        ("straße.png", "STRASSE.png", ()),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png"), ()),
        ("y.png", "y_normals.png", ("pfm",)),
    ],
)
def test_pictures_that_would_write_the_same_files(first, second, formats):
    folder = Path("maps")
    found = shared_names([Outputs(Path(name), folder, formats) for name in (first, second)])
    assert len(found) == 1 and first in found[0] and second in found[0]


def test_pictures_that_would_not():
    names = ["y.png", "y_normals.png", "y_depth.png", "y_depth_depth.png"]
    assert not shared_names([Outputs(Path(name), Path("maps")) for name in names])
    assert folded("a.png") != folded("ä.png"), "other letters stay other letters"


def test_a_picture_given_twice_counts_once(tmp_path):
    (tmp_path / "a.png").touch()
    twice = [tmp_path / "a.png", tmp_path / "." / "a.png", tmp_path / "x" / ".." / "a.png"]
    assert len(plan_outputs(twice[:2], tmp_path / "out", ("pfm", "pfm"))) == 1
    assert plan_outputs(twice[:1], tmp_path / "out", ("pfm", "pfm"))[0].formats == ("pfm",)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_result_never_replaces_a_picture_that_is_to_be_read(tmp_path, overwrite):
    for name in ("y.png", "y_depth.png"):
        (tmp_path / name).touch()
    pictures = [tmp_path / "y.png", tmp_path / "y_depth.png"]
    with pytest.raises(ValueError, match=r"nothing was written: .*y.png would write .*y_depth.png, which is the picture .*y_depth.png"):
        plan_outputs(pictures, tmp_path, overwrite=overwrite)
    assert len(plan_outputs(pictures, tmp_path / "out")) == 2


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_nor_by_another_name_of_it(tmp_path, link):
    (tmp_path / "z.png").touch()
    (tmp_path / "y.png").touch()
    (tmp_path / "out").mkdir()
    try:
        link(tmp_path / "z.png", tmp_path / "out" / "y_depth.png")
    except OSError as error:
        pytest.skip(f"this system makes no such link: {error}")
    with pytest.raises(ValueError, match=r"which is the picture .*z.png"):
        plan_outputs([tmp_path / "z.png", tmp_path / "y.png"], tmp_path / "out", overwrite=True)


def test_files_of_others_need_overwrite_and_those_of_the_pack_do_not(tmp_path):
    (outputs,) = plan_outputs([tmp_path / "a.png"], tmp_path)
    put(outputs)
    assert plan_outputs([tmp_path / "a.png"], tmp_path) == [outputs], "made by the pack"
    outputs.normals.write_text("edited since")
    with pytest.raises(ValueError, match=r"a_normals.png is there already, and depth-normal did not make it or it was changed since; move"):
        plan_outputs([tmp_path / "a.png"], tmp_path)
    assert outputs.normals.read_text() == "edited since"
    put(*plan_outputs([tmp_path / "a.png"], tmp_path, overwrite=True), text="anew")
    assert outputs.normals.read_text() == "anew"
    assert plan_outputs([tmp_path / "a.png"], tmp_path)


def test_a_link_to_nowhere_and_a_folder_are_not_the_packs(tmp_path):
    outputs = Outputs(tmp_path / "a.png", tmp_path, overwrite=True)
    outputs.archive.mkdir()
    assert "is a folder" in refusals(outputs, outputs.paths())[0]
    outputs = Outputs(tmp_path / "b.png", tmp_path)
    outputs.archive.symlink_to(tmp_path / "absent")
    assert len(refusals(outputs, outputs.paths())) == 1


def test_many_problems_are_counted(tmp_path):
    pictures = [tmp_path / folder / f"{name}.png" for name in "abcdefg" for folder in "xy"]
    with pytest.raises(ValueError, match=r"\(and 2 more\)$"):
        plan_outputs(pictures, tmp_path)


def test_the_record_says_what_was_made_and_how(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    outputs = Outputs(tmp_path / "a.png", tmp_path / "out")
    outputs.folder.mkdir()
    put(outputs)
    record = json.loads((tmp_path / "out" / RECORDS / "a.json").read_text())
    assert record == read_record(outputs)
    assert record["version"] == 1 and record["settings"] == SETTINGS
    assert record["picture"]["path"] == str(tmp_path / "a.png") and record["picture"]["bytes"] == 5
    assert sorted(record["files"]) == ["a.npz", "a_depth.png", "a_normals.png"]
    assert record["files"]["a.npz"] == {"bytes": 4, "modified_ns": outputs.archive.stat().st_mtime_ns}


def test_files_of_an_earlier_run_stay_the_packs(tmp_path):
    put(Outputs(tmp_path / "a.png", tmp_path, ("exr",)))
    put(Outputs(tmp_path / "a.png", tmp_path))
    assert list(read_record(Outputs(tmp_path / "a.png", tmp_path))["earlier"]) == ["a.exr"]
    assert plan_outputs([tmp_path / "a.png"], tmp_path, ("exr",))


def test_when_writing_fails_nothing_of_it_appears(tmp_path):
    outputs = Outputs(tmp_path / "a.png", tmp_path)
    put(outputs, text="first")
    before = read_record(outputs)
    with pytest.raises(ArithmeticError), staged(outputs, {}) as stage:
        stage.depth.write_text("second")
        raise ArithmeticError
    assert outputs.depth.read_text() == "first" and read_record(outputs) == before
    assert [path.name for path in (tmp_path / RECORDS).iterdir()] == ["a.json"]


def test_what_a_killed_run_left_is_removed_a_day_later(tmp_path):
    outputs = Outputs(tmp_path / "a.png", tmp_path)
    script = "import os, signal, sys; from pathlib import Path; from depth_normal.app.outputs import Outputs, staged\n"
    script += "with staged(Outputs(Path('a.png'), Path(sys.argv[1])), {}) as stage:\n"
    script += "    stage.depth.write_text('half')\n    os._exit(9)"
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    (left,) = (tmp_path / RECORDS).iterdir()
    assert (left / outputs.depth.name).read_text() == "half"
    put(outputs)
    assert left.exists(), "somebody may still be writing there"
    os.utime(left, (1e9, 1e9))
    paths._remove_leftovers.cache_clear()
    put(outputs)
    assert [path.name for path in (tmp_path / RECORDS).iterdir()] == ["a.json"]


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    outputs = Outputs(tmp_path / "a.png", tmp_path)
    with pytest.raises(FileExistsError, match=r"a_depth.png is there already"), staged(outputs, {}) as stage:
        stage.depth.write_text("ours")
        outputs.depth.write_text("theirs")
    assert outputs.depth.read_text() == "theirs" and read_record(outputs) is None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"version": 2}', b"\xff\xfe", b'{"version": 1, "files": 3, "earlier": null}', b"[" * 10**5]
)
def test_a_record_that_cannot_be_read_knows_nothing(tmp_path, content):
    outputs = Outputs(tmp_path / "a.png", tmp_path)
    put(outputs)
    outputs.record.write_bytes(content)
    assert len(refusals(outputs, outputs.paths())) == 3


def test_two_that_write_to_one_folder_leave_whole_records(tmp_path):
    def work(names):
        for name in names:
            put(Outputs(tmp_path / f"{name}.png", tmp_path))

    threads = [threading.Thread(target=work, args=(range(start, 40, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(40):
        outputs = Outputs(tmp_path / f"{name}.png", tmp_path)
        assert len(read_record(outputs)["files"]) == 3 and not refusals(outputs, outputs.paths())
    assert len(list((tmp_path / RECORDS).iterdir())) == 40
