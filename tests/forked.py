"""Processes that are forked from the tests' own: what a test has set holds in them, and they import nothing anew."""

import multiprocessing
from contextlib import contextmanager

import pytest
import torch

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")


def _alone(work, *arguments):
    torch.set_num_threads(1)  # threads of this process's pools are not there
    work(*arguments)


@contextmanager
def forked(*works):
    """A process for each function and its arguments, (function, *arguments), running; killed at the end where they have not ended."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_alone, args=work) for work in works]
    try:
        for process in processes:
            process.start()
        yield processes
        for process in processes:
            process.join(120)
    finally:
        for process in processes:
            process.kill()
            process.join()


def event():
    """One that forked processes share."""
    return multiprocessing.get_context("fork").Event()
