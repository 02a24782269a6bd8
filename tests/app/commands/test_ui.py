"""`depth-normal ui`: what it needs; tests/app/ui starts it."""

import socket
import sys

import pytest

from depth_normal.app import cli
from depth_normal.options.checks import how_to_install


def test_without_aiohttp_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["ui"]) == 2
    assert f"the page needs the package aiohttp: {how_to_install('aiohttp')}" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys):
    pytest.importorskip("aiohttp", reason="the extra `ui`")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main(["ui", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err
