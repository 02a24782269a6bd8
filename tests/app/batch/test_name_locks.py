"""Who waits for whom when several write to one folder, and what is true of the folder after any of them was killed."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from depth_normal.app.batch import name_locks
from depth_normal.app.batch.name_locks import NameLockedError, locked_names
from depth_normal.app.batch.records import RECORDS
from tests.forked import end_of, python

needs_processes_of_unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and stops processes by signals")

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


KILLED = """
import os, random, signal
from pathlib import Path
from depth_normal.app.batch.outputs import Outputs, plan_outputs, refusals
from depth_normal.app.batch.sources import Source
from depth_normal.app.batch.records import RECORDS, read_record
from depth_normal.app.batch.staging import Stages, staged

WRITES, WRITERS, ROUNDS = ("depth", "normals", "npz"), 4, 10
out, chance = Path("out"), random.Random(5)

def outputs_of(name):
    return Outputs(Path(f"{name}.png").absolute(), out, WRITES)

def publish(name, text, stages=None):
    outputs = outputs_of(name)
    with staged(outputs, {"text": text, "writes": list(WRITES)}, stages=stages) as stage:
        for path in stage.paths():
            path.write_text(text)

def write_on(writer, first, seed, pipe):
    own, stages = random.Random(seed), Stages() if writer % 2 else None
    for number in range(first, 10**9):
        name = own.choice(["both", f"own{writer}"])
        # Each time of another length: the clock that stamps files may stand still between two.
        publish(name, f"{seed} {number} {'.' * ((number * WRITERS + writer) % 5000)}", stages)
        os.write(pipe, b".")

def check(must_be_whole=False):
    names = [path.stem for path in (out / RECORDS).glob("*.json")]
    whole = 0
    for name in names:
        outputs, record = outputs_of(name), read_record(out / RECORDS / f"{name}.json")
        assert record, "a record is never half"
        assert not refusals(outputs, outputs.paths()), "every file is known"
        found = {path.read_text() for path in outputs.paths() if path.exists()}
        assert all(text.count(" ") == 2 for text in found), "no file is half"
        if plan_outputs([Source(outputs.image, Path(f"{name}.png"))], out, WRITES, done_by=record["settings"]).done:
            assert found == {record["settings"]["text"]}, "of one writer, all of them"
            whole += 1
    assert {path.name for path in out.iterdir()} <= {RECORDS, *(each for name in names for each in outputs_of(name).names())}
    assert whole == len(names) or not must_be_whole
    return len(names)

for name in ("both", *(f"own{writer}" for writer in range(WRITERS))):
    Path(f"{name}.png").write_text(name)
count = 0
for turn in range(ROUNDS):
    reading, writing = os.pipe()
    children = []
    for writer in range(WRITERS):
        if not (child := os.fork()):
            try:
                write_on(writer, count, turn * WRITERS + writer, writing)
            finally:
                os._exit(1)
        children.append(child)
    os.close(writing)
    for _ in range(chance.randrange(1, 40)):  # so many are done before they are killed, in the middle of the next
        assert os.read(reading, 1)
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [-signal.SIGKILL] * WRITERS
    os.close(reading)
    count += 1000
    check()
for name in ("both", *(f"own{writer}" for writer in range(WRITERS))):
    publish(name, "at last .")
assert check(must_be_whole=True) == WRITERS + 1
print(sorted(path.name for path in (out / RECORDS).iterdir() if path.suffix != ".json"))
"""


@needs_processes_of_unix
@pytest.mark.slow("starts other processes")
def test_of_writers_killed_at_any_moment_records_and_files_agree(tmp_path):
    with python(KILLED, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        left, complaints = end_of(run)
    assert run.returncode == 0, complaints
    assert left.strip() == "['lock']", "nothing is left of the dead"
