import errno
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from depth_normal.geometry.files import file_lock, paths
from depth_normal.geometry.files.file_lock import NO_LOCKS, FileLock, LockedError

HOLDER = """
import runpy, sys

with runpy.run_path(sys.argv[2])["FileLock"](sys.argv[1]):
    print(flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.lock"


@pytest.fixture
def holder(path):
    """Another process that has the lock."""
    words = [sys.executable, "-c", HOLDER, path, file_lock.__file__]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        process.kill()


def failing(number):
    def lock(*_):
        raise OSError(number, os.strerror(number))

    return lock


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(file_lock, "_lock", failing(errno.ENOLCK))
    monkeypatch.setattr(file_lock, "_warned", set())


@pytest.mark.slow("starts another process")
def test_two_processes_have_it_one_after_the_other(path, holder):
    lock = FileLock(path)
    assert not lock.acquire()
    with pytest.raises(LockedError, match="another process has the lock"), lock:
        pass
    end = threading.Timer(0.2, os.write, [holder.stdin.fileno(), b"\n"])
    end.start()
    assert lock.acquire(timeout=60)
    end.join()
    lock.release()
    lock.release()


@pytest.mark.slow("starts another process")
def test_a_killed_process_holds_nothing(path, holder):
    holder.kill()
    holder.wait()
    with FileLock(path) as lock:
        assert lock.is_real


def test_threads_share_it_and_another_one_may_release_it(path):
    first, second = FileLock(path), FileLock(path)
    assert first.acquire() and not second.acquire()
    thread = threading.Thread(target=first.release)
    thread.start()
    thread.join()
    assert second.acquire()
    second.release()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_file_that_was_removed_before_it_was_locked_is_no_lock(path, monkeypatch):
    """Whoever had it before has removed it; the next one makes another of that name."""
    lock_file, removed = file_lock._lock, []

    def late(file):
        if not removed:
            removed.append(path)
            path.unlink()
        lock_file(file)

    monkeypatch.setattr(file_lock, "_lock", late)
    with FileLock(path):
        assert path.exists() and not FileLock(path).acquire()


def test_on_a_disk_without_locks_everybody_gets_it_and_the_log_says_so_once(path, no_locks, caplog):
    with caplog.at_level(logging.WARNING), FileLock(path) as lock, FileLock(path):
        assert not lock.is_real
    assert len(caplog.messages) == 1 and f"the disk of {path.parent} has no locks" in caplog.text
    assert errno.ENOTSUP in NO_LOCKS, "of network shares on macOS, where it is another number than EOPNOTSUPP"


def test_another_error_is_not_hidden(path, monkeypatch):
    monkeypatch.setattr(file_lock, "_lock", failing(errno.EIO))
    with pytest.raises(OSError, match=r"Input/output|I/O"):
        FileLock(path).acquire()


def test_a_lock_whose_file_is_removed_is_not_held_twice(path):
    first, second, third = (FileLock(path) for _ in range(3))
    assert first.acquire()
    first.release(remove=True)
    assert not path.exists()
    assert second.acquire() and not third.acquire()
    second.release(remove=True)


def test_without_locks_temporary_folders_live_for_a_day(tmp_path, no_locks):
    with paths.temporary_folder(tmp_path) as folder:
        (folder / "maps.npz").write_bytes(b"half")
        assert paths.remove_leftovers(tmp_path) == [folder] and (folder / "maps.npz").exists(), "its process may live"
        day_ago = time.time() - 2 * 24 * 60 * 60
        os.utime(folder, (day_ago, day_ago))
        assert paths.remove_leftovers(tmp_path) == [] and not folder.exists()
    assert list(tmp_path.iterdir()) == []
