"""What is kept of exported graphs and built engines: nothing stale, broken, foreign or half-built is ever taken."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from depth_normal.geometry.files.paths import MAX_JSON_BYTES
from depth_normal.model_loader.comfy import interrupt
from depth_normal.model_loader.runtimes import engine_store
from depth_normal.model_loader.runtimes.build import LeftError, in_background
from depth_normal.model_loader.runtimes.engine_store import RECORD, StoreError, entry_folder, is_whole, kept, store_folder
from tests.forked import event, forked, needs_fork
from tests.whole_files import largest_file

NO_SUCH_FILES = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
KEY = {"model": "some/model", "weights": "abc", "engine": "graph", "version": "1"}


@pytest.fixture(autouse=True)
def home(caches):
    return caches


class Builder:
    """Writes a file, and counts."""

    def __init__(self, text="engine"):
        self.text, self.built = text, 0

    def __call__(self, folder):
        self.built += 1
        (folder / "inner").mkdir()
        (folder / "inner" / "engine.bin").write_text(self.text)


def nothing(_words):
    return


def endings():
    """Of what lies beside the entry's place."""
    return [path.suffix for path in entry_folder(KEY).parent.iterdir()]


def test_what_was_built_is_found_again_by_all_that_it_depends_on():
    build = Builder()
    folder = kept(KEY, build, nothing)
    assert kept(KEY, build, nothing) == folder and build.built == 1
    assert (folder / "inner" / "engine.bin").read_text() == "engine"
    assert folder.is_relative_to(store_folder()) and json.loads((folder / RECORD).read_text())["key"] == KEY
    assert len({folder, *(kept({**KEY, name: "another"}, build, nothing) for name in KEY)}) == build.built == 1 + len(KEY)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param("inner/engine.bin", b"enginE", id="changed"),
        pytest.param("inner/engine.bin", b"eng", id="cut short"),
        pytest.param("inner/engine.bin", None, id="gone"),
        pytest.param("other.bin", b"?", id="more"),
        pytest.param(RECORD, None, id="no record"),
        pytest.param(RECORD, b'{"key": 3, "files": []}', id="record of nonsense"),
        pytest.param(RECORD, b"[" * 100_000, id="deep record"),
        pytest.param(RECORD, b'{"key": ' * 100_000, id="deep key"),
        pytest.param(RECORD, b" " * (MAX_JSON_BYTES + 1), id="long record"),
        pytest.param(RECORD, b"\xff\xfe{", id="record without text"),
        pytest.param(RECORD, lambda record: os.mkfifo(record), id="pipe", marks=NO_SUCH_FILES),
        pytest.param(RECORD, Path.mkdir, id="folder"),
        pytest.param(RECORD, lambda record: record.symlink_to("/dev/zero"), id="device", marks=NO_SUCH_FILES),
        pytest.param(RECORD, lambda record: record.symlink_to(record), id="link to itself", marks=NO_SUCH_FILES),
    ],
)
def test_a_broken_entry_is_built_anew(name, spoil, caplog):
    folder = kept(KEY, build := Builder(), nothing)
    (folder / name).unlink(missing_ok=True)
    if callable(spoil):
        spoil(folder / name)
    elif spoil is not None:
        (folder / name).write_bytes(spoil)
        os.utime(folder / name, ns=(1, 1))
    assert not is_whole(folder, KEY)
    assert ("its record cannot be read" in caplog.text) == (name == RECORD)
    assert kept(KEY, build, nothing) == folder and build.built == 2
    assert is_whole(folder, KEY) and "built anew" in caplog.text and not (folder / "other.bin").exists()


def test_a_foreign_entry_at_this_place_is_built_anew(caplog):
    """As somebody copies it from another machine, under the name that is looked for here."""
    other = kept({**KEY, "version": "2"}, Builder("of another version"), nothing)
    entry_folder(KEY).parent.mkdir(parents=True, exist_ok=True)
    other.rename(entry_folder(KEY))
    assert (kept(KEY, Builder(), nothing) / "inner" / "engine.bin").read_text() == "engine"
    assert "built for another version" in caplog.text


@pytest.mark.parametrize(
    ("length", "error", "words"),
    [
        pytest.param(4, ValueError, "no", id="a failure"),
        pytest.param(10**6, StoreError, "cannot hold it: the disk is full", id="a full disk"),
    ],
)
def test_what_is_half_built_is_removed(length, error, words):
    def build(folder):
        with largest_file(1000):
            (folder / "engine.bin").write_bytes(bytes(length))
        raise ValueError("no")

    with pytest.raises(error, match=words):
        kept(KEY, build, nothing)
    assert endings() == [".lock"]


def test_too_little_room_is_said_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(engine_store, "free_space", lambda _folder: engine_store.KEPT_FREE + 5_000_000)
    with pytest.raises(StoreError, match="room for 5 MB, and about 20 MB are needed"):
        kept(KEY, build := Builder(), nothing, needed=20_000_000)
    assert not build.built


@needs_fork
@pytest.mark.parametrize("killed", [False, True])
def test_what_another_process_builds_is_waited_for_unless_it_is_killed(killed):
    begun, go, build, words = event(), event(), Builder(), []

    def build_slowly(folder):
        begun.set()
        assert go.wait(60)
        (folder / "engine.bin").write_text("of the other")

    with forked((kept, KEY, build_slowly, nothing)) as (other,):
        assert begun.wait(60)

        def step(said):
            words.append(said)
            if killed:
                other.kill()
            else:
                go.set()

        folder = kept(KEY, build, step)
    assert set(words) == {"waiting for another process that builds the same"}
    assert build.built == killed and is_whole(folder, KEY)
    assert not [path for path in folder.parent.iterdir() if path.suffix == ".part"]


@pytest.fixture
def begun(monkeypatch):
    """An event; ComfyUI's user cancels while it is set."""
    event = threading.Event()

    def cancelled():
        if event.is_set():
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupt, "throw_if_interrupted", cancelled)
    return event


@pytest.mark.parametrize("takes_steps", [True, False])
def test_waiting_and_building_can_be_left_and_the_next_begins(begun, takes_steps):
    """Whoever waits leaves at once; the work ends at its next step, or without one, and nothing of it stays.

    An exporter is minutes in its own Python, and takes every Exception for a reason to try something else.
    """
    steps = []

    def build(folder):
        (folder / "engine.bin").write_text("half")
        begun.set()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if takes_steps:
                steps[0]("building")
            with suppress(Exception):
                time.sleep(0.01)

    def work(say):
        steps.append(say)
        return kept(KEY, build, say)

    with pytest.raises(KeyboardInterrupt):
        in_background("model", work)
    begun.clear()
    assert in_background("model", lambda _step: 7) == 7
    assert endings() == [".lock"]
    with pytest.raises(LeftError):
        steps[0]("anything")


def test_work_that_is_ended_while_it_is_cleared_away_leaves_nothing(monkeypatch):
    """A step says that nobody waits any more, and before the half of it is gone, the thread is ended too."""
    remove, removed = engine_store.rmtree, []

    def ended(folder, **how):
        removed.append(folder)
        if len(removed) == 1:
            raise KeyboardInterrupt
        remove(folder, **how)

    def build(folder):
        (folder / "engine.bin").write_text("half")
        raise LeftError("model")

    monkeypatch.setattr(engine_store, "rmtree", ended)
    with pytest.raises(KeyboardInterrupt):
        kept(KEY, build, nothing)
    assert endings() == [".lock"] and not engine_store._unfinished


@needs_fork
@pytest.mark.slow("starts other processes")
def test_a_program_that_is_stopped_while_it_builds_ends_with_its_own_code():
    """A thread in torch when Python is gone has the process abort; three of them, since it may come too late for that."""
    script = """
import os, sys, torch
from depth_normal.model_loader.comfy import feedback, interrupt
from depth_normal.model_loader.runtimes.build import in_background
torch.set_num_threads(1)
for _ in range(3):
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    else:
        break
else:
    sys.exit()
begun = []
def work(step):
    network = torch.nn.Linear(64, 64)
    begun.append(1)
    while True:
        try:
            network(torch.zeros(64, 64))
        except Exception:
            pass
def cancelled():
    if begun:
        sys.exit(7)
interrupt.throw_if_interrupted = cancelled
in_background("model", work)"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_what_the_work_raises_is_raised_where_it_is_waited_for():
    with pytest.raises(ValueError, match="why"):
        in_background("model", Mock(side_effect=ValueError("why")))
    assert in_background("model", lambda _step: 7) == 7, "the next can be built"
