"""`depth-normal ui`: what it needs, prints and opens, and that it ends in good order."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from depth_normal.app import cli


def test_without_aiohttp_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["ui"]) == 2
    assert f'the page needs the package aiohttp: run  "{sys.executable}" -m pip install "aiohttp"' in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys):
    pytest.importorskip("aiohttp", reason="the extra `ui`")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.main(["ui", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def status(address):
    try:
        with urlopen(address, timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


@pytest.mark.slow("starts another process")
@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="a program in the place of xdg-open")
def test_it_opens_the_browser_and_ends_with_ctrl_c(tmp_path):
    pytest.importorskip("aiohttp", reason="the extra `ui`")
    program = tmp_path / "xdg-open"
    program.write_text(f'#!{shutil.which("sh")}\nprintf %s "$1" > {tmp_path}/opened\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DISPLAY": ":0", "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "depth_normal", "ui", "-o", str(tmp_path / "out"), "--device", "cpu"]
    run = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    address = re.search(r"http://127\.0\.0\.1:\d+/#token=[\w-]+$", run.stdout.readline().strip())[0]
    assert str(tmp_path / "out") in run.stdout.readline()
    end = time.monotonic() + 20
    while not (tmp_path / "opened").exists() and time.monotonic() < end:
        time.sleep(0.05)
    opened = (tmp_path / "opened").read_text()
    assert opened.endswith("open.html") and "token" not in opened, "others see the words of programs"
    assert status(address.partition("#")[0]) == 200
    assert len(list(tmp_path.glob("depth-normal-ui-*"))) == 1
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 0 and "Traceback" not in run.stderr.read()
    assert list(tmp_path.glob("depth-normal-ui-*")) == [] and not (tmp_path / "out").exists()
