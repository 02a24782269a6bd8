"""Who waits for whom when several write to one folder, and what is true of the folder after any of them was killed."""

import errno
import os
import random
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from depth_normal.app.batch import name_locks
from depth_normal.app.batch.name_locks import NameLockedError, locked_names
from depth_normal.app.batch.outputs import Outputs, plan_outputs, refusals
from depth_normal.app.batch.records import RECORDS, read_record
from depth_normal.app.batch.sources import Source
from depth_normal.app.batch.staging import Stages, staged
from tests.forked import forked, needs_fork, python

HOLDER = """
import sys
from pathlib import Path
from depth_normal.app.batch.name_locks import locked_names

with locked_names(Path("."), sys.argv[1:]):
    print(flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / RECORDS).mkdir()
    return tmp_path


@pytest.fixture
def holder(folder):
    """Another process that has locked the names a.json and a_depth.png."""
    with python(HOLDER, "a.json", "a_depth.png", cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


def is_free(folder, *names):
    try:
        with locked_names(folder, names):
            return True
    except NameLockedError:
        return False


@pytest.mark.slow("starts another process")
def test_only_the_same_names_wait_for_each_other(folder, holder, monkeypatch):
    monkeypatch.setattr(name_locks, "_PATIENCE_SECONDS", 0.0)
    assert not is_free(folder, "a.json") and not is_free(folder, "b.json", "A_DEPTH.png")
    assert is_free(folder, "b.json", "b_depth.png"), "also after it was asked for in vain with another"
    holder.communicate(b"\n")
    assert is_free(folder, "a.json", "a_depth.png")
    assert [path.name for path in (folder / RECORDS).iterdir()] == ["lock"], "one file, however many names"


def test_threads_of_one_process_wait_for_each_other_too(folder, monkeypatch):
    monkeypatch.setattr(name_locks, "_PATIENCE_SECONDS", 0.0)
    with locked_names(folder, ["a.json"]), locked_names(folder, ["b.json"]):
        found = []
        thread = threading.Thread(target=lambda: found.extend(is_free(folder, name) for name in ("a.json", "b.json", "c.json")))
        thread.start()
        thread.join()
        assert found == [False, False, True]
    assert is_free(folder, "a.json", "b.json")


@pytest.mark.slow("starts another process")
def test_a_wait_is_told_once_and_ends_with_the_others_lock(folder, holder, monkeypatch, caplog):
    monkeypatch.setattr(name_locks, "_SILENT_SECONDS", 0.0)
    told = threading.Event()
    monkeypatch.setattr(name_locks.logger, "warning", lambda *words: caplog.records.append(words) or told.set())
    waiting = threading.Thread(target=is_free, args=(folder, "a.json"))
    waiting.start()
    assert told.wait(60)
    holder.communicate(b"\n")
    waiting.join()
    assert [words[0] for words in caplog.records] == ["another process is writing the same results to %s; waiting for it"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has locks of bytes, and systems that pretend to be Linux may not")
def test_without_locks_of_bytes_the_whole_folder_is_locked(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(name_locks.fcntl, "fcntl", refuse)
    monkeypatch.setattr(name_locks, "_PATIENCE_SECONDS", 0.0)
    with locked_names(folder, ["a.json", "a_depth.png"]):
        assert not is_free(folder, "b.json")
    assert is_free(folder, "b.json")


WRITERS, ROUNDS = 4, 10


def outputs_of(folder, name):
    return Outputs(folder / f"{name}.png", folder / "out", ("depth", "normals", "npz"))


def publish(outputs, text, stages=None):
    with staged(outputs, {"text": text, "writes": list(outputs.writes)}, stages=stages) as stage:
        for path in stage.paths():
            path.write_text(text)


def write_on(folder, writer, turn, pipe):
    """Each time of another length: the clock that stamps files may stand still between two."""
    own, stages = random.Random(turn * WRITERS + writer), Stages() if writer % 2 else None
    for number in count(1000 * turn):
        text = f"{turn} {writer} {number} {'.' * ((number * WRITERS + writer) % 5000)}"
        publish(outputs_of(folder, own.choice(["both", f"own{writer}"])), text, stages)
        os.write(pipe, b".")


def whole_names(folder):
    """The names of which all files are of the writer that the record names; of the others every file is known, and none is half."""
    found, whole = [path.stem for path in (folder / "out" / RECORDS).glob("*.json")], set()
    for name in found:
        outputs, record = outputs_of(folder, name), read_record(folder / "out" / RECORDS / f"{name}.json")
        assert record and not refusals(outputs, outputs.paths())
        texts = {path.read_text() for path in outputs.paths() if path.exists()}
        assert all(text.count(" ") == 3 for text in texts)
        if plan_outputs([Source(outputs.image, Path(f"{name}.png"))], folder / "out", outputs.writes, done_by=record["settings"]).done:
            assert texts == {record["settings"]["text"]}
            whole.add(name)
    known = {RECORDS, *(each for name in found for each in outputs_of(folder, name).names())}
    assert {path.name for path in (folder / "out").iterdir()} <= known
    return whole


@needs_fork
@pytest.mark.slow("starts other processes")
def test_of_writers_killed_at_any_moment_records_and_files_agree(tmp_path):
    chance, names = random.Random(5), {"both", *(f"own{writer}" for writer in range(WRITERS))}
    for name in names:
        (tmp_path / f"{name}.png").write_text(name)
    for turn in range(ROUNDS):
        reading, writing = os.pipe()
        with forked(*((write_on, tmp_path, writer, turn, writing) for writer in range(WRITERS))) as writers:
            for _ in range(chance.randrange(1, 40)):  # so many are done before they are killed, in the middle of the next
                assert os.read(reading, 1)
            for each in writers:
                each.kill()
        os.close(reading)
        os.close(writing)
        assert whole_names(tmp_path) <= names
    for name in names:
        publish(outputs_of(tmp_path, name), "at long last .")
    assert whole_names(tmp_path) == names
    assert [path.name for path in (tmp_path / "out" / RECORDS).iterdir() if path.suffix != ".json"] == ["lock"], (
        "nothing is left of the dead"
    )
