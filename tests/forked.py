"""Processes that are forked from the tests' own: what a test has set holds in them, and they import nothing anew."""

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager

import pytest
import torch

from depth_normal.geometry.files import paths

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are forks safe beside libraries' threads")


def _alone(work, *arguments):
    torch.set_num_threads(1)  # threads of this process's pools are not there
    work(*arguments)


@contextmanager
def forked(*works, seconds=120):
    """A process for each function and its arguments, (function, *arguments), running; killed where they have not ended so long after."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_alone, args=work) for work in works]
    try:
        for process in processes:
            process.start()
        yield processes
        for process in processes:
            process.join(seconds)
    finally:
        for process in processes:
            process.kill()
            process.join()


def event():
    """One that forked processes share."""
    return multiprocessing.get_context("fork").Event()


def printed_by(work, *arguments):
    """The exit code of a function in a process of its own, and all that the process prints."""

    def redirected():
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(file.fileno(), number)
            setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
        work(*arguments)

    with tempfile.TemporaryFile() as file:
        with forked((redirected,), seconds=300) as (process,):
            pass
        file.seek(0)
        return process.exitcode, file.read().decode(errors="replace")


COMMAND = "from depth_normal.app.cli import run; run()"
"""The command line, as code for `python`."""


def python(code, *words, **options):
    """`subprocess.Popen` of `python -c CODE WORDS`, with its options; on Linux forked, with this process's environment.

    There it is what runs before another program would take the child's place: streams and folder are the child's by then.
    """

    def run():
        os.closerange(3, 2**16)  # one of them tells `Popen` that the child has begun
        sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        torch.set_num_threads(1)
        paths._remove_leftovers_once.cache_clear()
        for logger in (logging.root, *map(logging.getLogger, tuple(logging.root.manager.loggerDict))):
            logger.handlers.clear()  # pytest's
        sys.argv = ["-c", *map(str, words)]
        status = 1
        try:
            exec(code, {"__name__": "__main__"})
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:  # noqa: BLE001 - as the interpreter
            traceback.print_exc()
        finally:
            threading._shutdown()  # as at Python's end: waits for threads
            sys.stdout.flush()
            os._exit(status)

    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], **options)
    # Python itself ignores SIGPIPE.
    return subprocess.Popen([sys.executable], preexec_fn=run, restore_signals=False, **options)


def end_of(process, timeout=300):
    """What a process of `python` printed, (stdout, stderr), each None where it is no pipe; kills one that does not end in time."""
    try:
        return process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise


def exit_code_of(process):
    """The exit code, of a process that is killed where it does not end in time."""
    end_of(process)
    return process.returncode
