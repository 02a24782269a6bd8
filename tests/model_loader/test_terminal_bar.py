"""What long work says on stderr where that is no terminal."""

import io
import sys

import pytest

from depth_normal.model_loader import system as module
from depth_normal.model_loader.system import terminal_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def shown(monkeypatch, stream, total=4, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with terminal_bar(total, "picture", smoothing=0, **options) as bar:
        for _ in range(4):
            bar.update()
    return stream.getvalue()


def test_short_work_leaves_nothing_in_a_file(monkeypatch):
    assert shown(monkeypatch, io.StringIO()).strip() == ""


@pytest.mark.parametrize(("total", "words"), [(4, "3 of 4 (75 %), "), (None, "3 in 00:0")])
def test_long_work_leaves_lines_in_a_file(monkeypatch, total, words):
    monkeypatch.setattr(module, "_SECONDS_A_LINE", 0)
    text = shown(monkeypatch, io.StringIO(), total, desc="maps")
    assert "\r" not in text and len(text.splitlines()) >= 4 and all(line.startswith("maps: ") for line in text.splitlines())
    assert words in text


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "\r" in shown(monkeypatch, Terminal())
    assert shown(monkeypatch, Terminal(), hidden=True) == ""


def test_without_stderr_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with terminal_bar(4, "picture") as bar:
        bar.update()
