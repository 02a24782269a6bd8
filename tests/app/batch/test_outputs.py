"""Which files are written, which are refused, and what the record knows."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import torch

from depth_normal.app.batch.name_locks import folded
from depth_normal.app.batch.options import Options
from depth_normal.app.batch.outputs import Outputs, plan_outputs, refusals, shared_names
from depth_normal.app.batch.per_image import write
from depth_normal.app.batch.records import RECORDS, read_record
from depth_normal.app.batch.sources import Source
from depth_normal.app.batch.staging import Stages, staged
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import load_estimate, paths
from tests.forked import exit_code_of, python

THREE = ("depth", "normals", "npz")
SETTINGS = {"model": "tiny", "size": None, "writes": list(THREE)}


def planned(images, folder, further=(), overwrite=False, done_by=None):
    return plan_outputs([Source(path, Path(path.name)) for path in images], folder, (*THREE, *further), overwrite, done_by)


def plan(*words, **options):
    """What is to be done, where nothing is refused."""
    found = planned(*words, **options)
    assert not found.refused
    return found.todo


def of(image, folder, *further, overwrite=False):
    return Outputs(image, folder, (*THREE, *further), overwrite)


def put(outputs, settings=SETTINGS, text="made", stages=None):
    with staged(outputs, settings, stages=stages) as stage:
        for path in stage.paths():
            path.write_text(text)


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
def test_images_that_would_write_the_same_files(first, second, formats):
    folder = Path("maps")
    found = shared_names([of(Path(name), folder, *formats) for name in (first, second)])
    ((refused, why),) = found.items()
    assert refused.image == Path(second) and f"{Path(first)} and {Path(second)} would write the same files" in why
    assert ("--keep-extension" in why) == (second in ("b/a.jpg", "y_normals.png")), "it would not help names that are equal without case"


@pytest.mark.parametrize("keep_extension", [False, True])
def test_normals_of_an_earlier_model_do_not_stay_beside_a_pfm_of_depth_alone(tmp_path, keep_extension):
    outputs = Outputs(tmp_path / "y.png", tmp_path / "maps", ("pfm",), keep_extension=keep_extension)
    outputs.image.write_bytes(b"an image")
    depth = torch.full((1, 1, 4, 5), 3.0)
    for normals in (torch.tensor((-0.6, 0, 0.8)).view(1, 3, 1, 1).expand(1, 3, 4, 5), None):
        write(outputs, Estimate(depth, Quantity.METRIC_DEPTH, normals=normals), Options())
        assert (load_estimate(outputs.path("pfm")).normals is None) == (normals is None)


def test_images_that_would_not():
    names = ["y.png", "y_normals.png", "y_depth.png", "y_depth_depth.png"]
    assert not shared_names([of(Path(name), Path("maps")) for name in names])
    assert folded("a.png") != folded("ä.png"), "other letters stay other letters"


def test_an_image_given_twice_counts_once(tmp_path):
    (tmp_path / "a.png").touch()
    twice = [tmp_path / "a.png", tmp_path / "." / "a.png", tmp_path / "x" / ".." / "a.png"]
    assert len(plan(twice[:2], tmp_path / "out", ("pfm", "pfm"))) == 1
    assert plan(twice[:1], tmp_path / "out", ("pfm", "pfm"))[0].writes == (*THREE, "pfm")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_result_never_replaces_an_image_that_is_to_be_read_by_whichever_name(tmp_path, link, overwrite):
    (tmp_path / "out").mkdir()
    images = [tmp_path / "y.png", (tmp_path if link else tmp_path / "out") / "y_depth.png"]
    for image in images:
        image.touch()
    try:
        if link:
            link(images[1], tmp_path / "out" / "y_depth.png")
    except OSError as error:
        pytest.skip(f"this system makes no such link: {error}")
    found = planned(images, tmp_path / "out", overwrite=overwrite)
    ((refused, why),) = found.refused
    assert refused.image == images[0] and [each.image for each in found.todo] == images[1:]
    assert f"y.png would write {tmp_path / 'out' / 'y_depth.png'}, which is the image {images[1]}" in why
    assert len(plan(images, tmp_path / "elsewhere")) == 2


def test_files_of_others_need_overwrite_and_those_of_the_pack_do_not(tmp_path):
    (outputs,) = plan([tmp_path / "a.png"], tmp_path)
    put(outputs)
    assert plan([tmp_path / "a.png"], tmp_path) == [outputs], "made by the pack"
    outputs.path("normals").write_text("edited since")
    with pytest.raises(ValueError, match=r"a_normals.png is there already, not known as an unchanged result of depth-normal; move"):
        plan([tmp_path / "a.png"], tmp_path)
    assert outputs.path("normals").read_text() == "edited since"
    put(*plan([tmp_path / "a.png"], tmp_path, overwrite=True), text="anew")
    assert outputs.path("normals").read_text() == "anew"
    assert plan([tmp_path / "a.png"], tmp_path)


def test_a_link_to_nowhere_and_a_folder_are_not_the_packs(tmp_path):
    outputs = of(tmp_path / "a.png", tmp_path, overwrite=True)
    outputs.path("npz").mkdir()
    assert "is a folder" in refusals(outputs, outputs.paths())[0]
    outputs = of(tmp_path / "b.png", tmp_path)
    outputs.path("npz").symlink_to(tmp_path / "absent")
    assert len(refusals(outputs, outputs.paths())) == 1


def test_many_problems_are_counted(tmp_path):
    images = [tmp_path / f"{name}.png" for name in "abcdefg"]
    for image in images:
        image.with_suffix(".npz").touch()
    with pytest.raises(ValueError, match=r"^[^;]+; [^;]+ \(and 6 more\)$"):
        planned(images, tmp_path)
    found = planned([*images, tmp_path / "z.png"], tmp_path)
    assert len(found.refused) == 7 and [outputs.image.name for outputs in found.todo] == ["z.png"], "one more goes on"


def test_the_record_says_what_was_made_and_how(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    outputs = of(tmp_path / "a.png", tmp_path / "out")
    outputs.folder.mkdir()
    put(outputs)
    record = json.loads((tmp_path / "out" / RECORDS / "a.json").read_text())
    assert record == read_record(outputs.record)
    assert record["version"] == 1 and record["settings"] == SETTINGS
    assert record["image"]["path"] == str(tmp_path / "a.png") and record["image"]["bytes"] == 5
    assert sorted(record["files"]) == ["a.npz", "a_depth.png", "a_normals.png"]
    assert record["files"]["a.npz"] == {"bytes": 4, "modified_ns": outputs.path("npz").stat().st_mtime_ns}


def test_files_of_an_earlier_run_stay_the_packs(tmp_path):
    put(of(tmp_path / "a.png", tmp_path, "exr"))
    put(of(tmp_path / "a.png", tmp_path))
    assert "a.exr" in read_record(tmp_path / RECORDS / "a.json")["earlier"]
    assert plan([tmp_path / "a.png"], tmp_path, ("exr",))


def test_files_of_another_image_of_the_stem_stay_its_own(tmp_path):
    other, mine, out = tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "out"
    out.mkdir()
    other.write_bytes(b"other")
    mine.write_bytes(b"mine")
    put(of(other, out, "pfm"))
    settings = {**SETTINGS, "writes": ["stereo"]}
    for _ in range(2):
        with pytest.raises(ValueError, match=f"made of {re.escape(f'{other}, not of {mine}')}"):
            plan([mine], out)
        with staged(of(mine, out), settings) as stage:
            (stage.folder / "a_LRF_Full_SBS.png").write_text("made")
    assert plan([other], out), "and it may replace them"
    moved = other.rename(tmp_path / "elsewhere.jpg").rename(tmp_path / "a.jpeg")
    assert plan([moved], out), "an image that was moved is the same"
    put(*plan([mine], out, overwrite=True), text="anew")
    assert plan([mine], out)
    with pytest.raises(ValueError, match=r"a\.pfm, a_normals\.pfm are there already"):
        plan([mine], out, ("pfm",))
    with pytest.raises(ValueError, match=f"made of {re.escape(f'{mine}, not of {moved}')}"):
        plan([moved], out)


def test_when_writing_fails_nothing_of_it_appears(tmp_path):
    outputs = of(tmp_path / "a.png", tmp_path)
    put(outputs, text="first")
    before = read_record(outputs.record)
    with pytest.raises(ArithmeticError), staged(outputs, {}) as stage:
        stage.path("depth").write_text("second")
        raise ArithmeticError
    assert outputs.path("depth").read_text() == "first" and read_record(outputs.record) == before
    assert sorted(path.name for path in (tmp_path / RECORDS).iterdir()) == ["a.json", "lock"]


def test_what_cannot_be_removed_of_a_failed_image_is_no_result_of_the_next(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with Stages() as stages:
        first = staged(of(tmp_path / "a.png", tmp_path / "out"), SETTINGS, stages=stages)
        with monkeypatch.context() as patch, suppress(ArithmeticError), first as stage:
            for path in stage.paths():
                path.write_text("a")
            patch.setattr(os, "unlink", refuse)
            patch.setattr(Path, "unlink", refuse)
            raise ArithmeticError
        put(of(tmp_path / "b.png", tmp_path / "out"), stages=stages)
    assert {path.name[0] for path in (tmp_path / "out").glob("*.*")} == {".", "b"}


@pytest.mark.parametrize("settings", [SETTINGS, {**SETTINGS, "size": 64}], ids=["whole", "made otherwise"])
def test_planning_looks_at_every_file_once(tmp_path, settings):
    """Of a million images, or of some thousand on a server, each look counts."""
    found = {}
    for count in (10, 40):
        for number in range(count):
            (tmp_path / f"{number}.png").touch()
            put(of(tmp_path / f"{number}.png", tmp_path / "out"))
        images = [tmp_path / f"{number}.png" for number in range(count)]
        looks = {name: mock.Mock(wraps=getattr(os, name)) for name in ("stat", "lstat", "open", "listdir", "scandir")}
        with mock.patch.multiple(os, **looks):
            planned(images, tmp_path / "out", done_by=settings)
        found[count] = {name: look.call_count for name, look in looks.items()}
    each = {name: (found[40][name] - found[10][name]) / 30 for name in found[10]}
    # The second is the image again: no result must replace one.
    stats = each.pop("stat")
    assert stats <= (1 if settings is SETTINGS else 2)
    assert each == {"lstat": 3, "open": 1, "listdir": 0, "scandir": 0}


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    outputs = of(tmp_path / "a.png", tmp_path)
    with pytest.raises(FileExistsError, match=r"a_depth.png is there already"), staged(outputs, {}) as stage:
        stage.path("depth").write_text("ours")
        outputs.path("depth").write_text("theirs")
    assert outputs.path("depth").read_text() == "theirs" and read_record(outputs.record) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"version": 2}',
        b"\xff\xfe",
        b'{"version": 1, "files": 3, "earlier": null}',
        b'{"version": 1, "files": {"\\u0000": 1, "\\ud800": 2}, "earlier": {"a.npz": null}}',
        b"[" * 10**5,
        b" " * 2**20 + b"{}",
        pytest.param(None, marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")),
    ],
)
def test_a_damaged_record_or_a_pipe_in_its_place_knows_nothing_and_is_replaced(tmp_path, content):
    outputs = of(tmp_path / "a.png", tmp_path)
    put(outputs)
    outputs.record.unlink()
    if content is None:
        os.mkfifo(outputs.record)
    else:
        outputs.record.write_bytes(content)
    (reason,) = refusals(outputs, outputs.paths())
    assert "a_depth.png, a_normals.png, a.npz are there already" in reason
    put(*plan([outputs.image], tmp_path, overwrite=True))
    assert plan([outputs.image], tmp_path)


def in_another_process(folder, before_move):
    """Writes the files of `a.png`, the text "other"; `before_move` is run before the second of them is moved to its place."""
    program = f"""
import os, sys
from pathlib import Path
from depth_normal.app.batch.outputs import Outputs
from depth_normal.app.batch.staging import staged

replace = Path.replace
def watched(source, target):
    if source.name == "a_depth.png":
        {before_move}
    return replace(source, target)

Path.replace = watched
with staged(Outputs(Path("a.png"), Path("."), ("npz", "depth", "normals")), {{"by": "other"}}) as stage:
    for path in stage.paths():
        path.write_text("other")
"""
    return python(program, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.slow("starts another process")
def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    with in_another_process(tmp_path, "print(flush=True), sys.stdin.readline(), os._exit(9)") as other:
        assert other.stdout.readline(), "it is writing"
        (half,) = (tmp_path / RECORDS).glob("*/a_depth.png")
        paths._remove_leftovers_once.cache_clear()
        put(of(tmp_path / "b.png", tmp_path))
        assert half.read_text() == "other", "somebody is writing there"
        other.communicate(b"\n")
    assert half.exists()
    paths._remove_leftovers_once.cache_clear()
    put(of(tmp_path / "a.png", tmp_path))
    assert sorted(path.name for path in (tmp_path / RECORDS).iterdir()) == ["a.json", "b.json", "lock"]


@pytest.mark.slow("starts other processes")
def test_of_two_processes_on_one_image_the_last_wins_as_a_whole(tmp_path):
    outputs = of(tmp_path / "a.png", tmp_path)
    second = threading.Thread(target=put, args=(outputs, {"by": "us"}, "ours"))
    with in_another_process(tmp_path, "print(flush=True), sys.stdin.readline()") as first:
        assert first.stdout.readline(), "it has moved one of its files and waits"
        assert outputs.path("npz").read_text() == "other" and not outputs.path("depth").exists()
        second.start()
        second.join(0.5)
        assert outputs.path("npz").read_text() == "other"
        first.communicate(b"\n")
    second.join()
    assert first.returncode == 0 and {path.read_text() for path in outputs.paths()} == {"ours"}
    assert read_record(outputs.record)["settings"] == {"by": "us"} and not refusals(outputs, outputs.paths())


@pytest.mark.slow("starts another process")
def test_after_a_process_died_between_the_moves_all_files_are_still_the_packs(tmp_path):
    outputs = of(tmp_path / "a.png", tmp_path)
    put(outputs)
    for _ in range(2):
        assert exit_code_of(in_another_process(tmp_path, "os._exit(9)")) == 9
        assert [path.read_text() for path in outputs.paths()] == ["made", "made", "other"] and plan([outputs.image], tmp_path)


def refused(folder, name="a.png", overwrite=True):
    with pytest.raises(ValueError, match="nothing was written") as caught:
        plan([folder / name], folder, overwrite=overwrite)
    return str(caught.value)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling link"])
def test_what_is_no_folder_is_refused_before_anything_is_loaded(tmp_path, make):
    try:
        make(tmp_path / "out")
    except OSError as error:
        pytest.skip(f"this system makes no such link: {error}")
    assert "out is a file, not a folder; choose another --out" in refused(tmp_path / "out" / "below")
    make(tmp_path / RECORDS)
    assert f"{RECORDS} is not a folder, and the records of what was made go there; move it" in refused(tmp_path)


def test_a_folder_in_the_records_place_is_refused(tmp_path):
    (tmp_path / RECORDS / "a.json").mkdir(parents=True)
    assert "a.json is a folder, and the record of what was made" in refused(tmp_path)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second disk")
def test_records_on_another_disk_are_refused(tmp_path):
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk")
    (tmp_path / RECORDS).symlink_to("/dev/shm")
    assert "is on another disk than" in refused(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a name that is too long from one that is not there")
def test_a_name_that_is_too_long_for_the_disk_is_refused(tmp_path):
    assert plan([tmp_path / f"{'x' * 243}.png"], tmp_path / "out")
    assert "too long for the disk" in refused(tmp_path / "out", f"{'x' * 244}.png")


@pytest.mark.parametrize("name", ["", RECORDS])
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, name, forbidden):
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o777)
    (tmp_path / RECORDS).mkdir()
    with forbidden(tmp_path / name, 0o555, os.W_OK):
        assert f"this user may not write to {tmp_path / name}; change its permissions (or mount" in refused(tmp_path)
        with pytest.raises(PermissionError, match=r"^cannot write to .*: Permission denied; free room there, change its permissions"):
            put(of(tmp_path / "a.png", tmp_path))
