import inspect
import itertools
import os
import signal
import sys
import threading
import time
from fractions import Fraction

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.media import Frame, WriterThread, compute_with, estimated, prefetch


def chunks(count, first=0):
    """How many frames each call of the network gets, of those from `first` on."""
    frames = [(Frame(Fraction(number), Fraction(1), lambda: torch.zeros(3, 2, 2)), torch.zeros(3, 2, 2)) for number in range(first, count)]
    sizes = []

    def estimate(parts):
        for part in parts:
            sizes.append(len(part))
            yield Estimate(torch.zeros(len(part), 1, 2, 2), Quantity.DISPARITY)

    assert sum(len(some) for some, _, _ in estimated(frames, estimate, first)) == count - first
    return sizes


def test_the_first_chunks_are_small():
    assert chunks(29) == [2, 2, 4, 8, 8, 5]


@pytest.mark.parametrize("first", range(1, 20))
def test_a_video_that_goes_on_has_the_chunks_of_the_whole(first):
    ends = [end for end in itertools.accumulate(chunks(29)) if end > first]
    assert [first + end for end in itertools.accumulate(chunks(29, first))] == ends


def test_each_thread_keeps_its_number_of_threads():
    """The network's thread takes frames of one that reads them: both begin before either has computed."""

    def numbers(items):
        for item in items:
            torch.ones(2**16).exp()  # torch asks for the number of threads when it first computes on many
            yield item, torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        compute_with(1)
        found = list(prefetch(numbers(prefetch(numbers(range(3)), threads=1)), threads=3))
    finally:
        torch.set_num_threads(before)
    assert found == [((number, 1), 3) for number in range(3)]


@pytest.mark.quick_cases(1)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to a process itself")
@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_waits_for_what_is_written(times):
    """The first one for all of it, the second for the call that runs, the third for nothing."""
    began, may_end, ran = threading.Event(), threading.Event(), []

    def slow():
        began.set()
        assert may_end.wait(60)
        ran.append("slow")

    def press():
        for _ in range(times - 1):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        if times < 3:
            may_end.set()

    writing = WriterThread()
    with pytest.raises(KeyboardInterrupt), writing as behind:
        behind.call(slow)
        behind.call(lambda: ran.append("next"))
        assert began.wait(60)
        threading.Thread(target=press).start()
        raise KeyboardInterrupt
    assert ran == {1: ["slow", "next"], 2: ["slow"], 3: []}[times]
    assert writing.is_running is (times == 3)
    may_end.set()


def test_errors_of_the_thread_that_reads_ahead_come_out():
    found = prefetch(1 // number for number in (1, 0))
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_reading_ahead_stops_where_nobody_asks_any_more():
    read_so_far = []
    items = (read_so_far.append(number) for number in range(1000))
    found = prefetch(items)
    next(found)
    found.close()
    assert inspect.getgeneratorstate(items) == inspect.GEN_CLOSED and len(read_so_far) <= 4
