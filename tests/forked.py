"""Processes that are forked from the tests' own: what a test has set holds in them, and they import nothing anew."""

import multiprocessing
import os
import sys
import tempfile
from contextlib import contextmanager

import pytest
import torch

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
        return process.exitcode, file.read().decode()
