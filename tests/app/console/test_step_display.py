"""What a long work shows of its steps, on a terminal and elsewhere."""

import logging
import os
import struct
import subprocess
import sys
from contextlib import suppress

import pytest

from depth_normal.app.console.terminal import displayed_steps

WORK = """
import logging, sys, time
from depth_normal.app.console.terminal import displayed_steps
logging.basicConfig(level=logging.INFO, format="%(message)s")
with displayed_steps("work") as step:
    step("first")
    time.sleep(1.5)
    logging.info("a line of the log")
    step("second")
print("done", file=sys.stderr)
"""


def test_without_a_terminal_each_step_is_one_line(caplog):
    caplog.set_level(logging.INFO, "depth_normal")
    with displayed_steps("work") as step:
        step("first")
        step("second")
    assert [record.getMessage() for record in caplog.records] == ["work: first", "work: second"]


@pytest.mark.slow("takes a second")
def test_on_a_terminal_the_seconds_pass():
    pty, fcntl, termios = (pytest.importorskip(name, reason="a terminal of POSIX") for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs, stdout=subprocess.DEVNULL):
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # how Linux tells the end of a terminal
            while part := os.read(ours, 4096):
                seen += part
    os.close(ours)
    shown = seen.decode().replace("\r\n", "\n")
    assert "work: first (00:00)" in shown and "work: first (00:01)" in shown, "it goes on while the step takes its time"
    assert "\na line of the log\n" in shown.replace("\r", "\n"), "the log has lines of its own"
    assert shown.splitlines()[-1] == "done", "and nothing is left of the last step but its line"
