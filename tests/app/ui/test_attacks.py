"""The page against others: another user of the computer, another server on it, and whoever asks for the address without the token."""

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra `ui`")

DRIVER = Path(__file__).with_name("page.mjs")
COFFEE = Path(__file__).resolve().parents[3] / "app" / "coffee.jpg"

STEAL = """
for folder in /proc/[0-9]*; do cat $folder/cmdline $folder/environ; echo; done
ls -lR "$1"; find "$1" -type f -exec cat {} +
ss -ltnp; cat /proc/net/tcp
"""


@pytest.fixture
def shared_folder():
    """A folder for temporary files that everybody can use, as /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@contextmanager
def started(folder, out, *options, before=None):
    """The command, whose browser is a program that only waits; gives the process, the printed address and the file that it opens."""
    (programs := folder / "programs").mkdir()
    browser = programs / "xdg-open"
    browser.write_text('#!/bin/sh\nprintf %s "$1" > "$0.file"; exec sleep 60\n')
    browser.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DISPLAY": ":99", "TMPDIR": str(folder)}
    words = [sys.executable, "-m", "depth_normal", "ui", "-o", out, "--device", "cpu", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, **pipes, text=True, env=environment, preexec_fn=before)
    try:
        address = process.stdout.readline().split()[-1]
        until((opened := programs / "xdg-open.file").exists)
        until(opened.read_text)
        yield process, address, Path(opened.read_text())
    finally:
        process.kill()
        process.wait(20)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def asked(address, token):
    connection = HTTPConnection(re.search("//([^/]+)", address)[1], timeout=20)
    connection.request("GET", "/api/state", headers={"X-Depth-Normal-Token": token})
    return connection.getresponse().status


@pytest.mark.slow("starts the command")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_finds_no_way_in_and_a_closed_terminal_leaves_nothing(shared_folder, tmp_path):
    with started(shared_folder, tmp_path / "out") as (process, address, file):
        token = address.partition("#token=")[2]
        assert token in file.read_text() and file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
        seen = subprocess.run(
            ["sh", "-c", STEAL, "sh", shared_folder], capture_output=True, text=True, errors="replace", user="nobody"
        ).stdout
        assert str(file) in seen, "the browser's words are everybody's"
        assert "127.0.0.1:" not in "".join(line for line in seen.splitlines() if str(file) in line) and token not in seen
        assert asked(address, "") == 403 and file.exists()
        assert asked(address, token) == 200
        until(lambda: not file.exists())
        for _ in range(3):  # the terminal, its shell and the kernel each send one
            process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
        assert [path.name for path in shared_folder.iterdir()] == ["programs"]


@pytest.mark.slow("starts the command")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_nohup_outlives_the_terminal_and_a_stop_leaves_nothing(shared_folder, out, sent):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with started(shared_folder, out, before=ignore) as (process, address, file):
        assert file.name.endswith("open.html") and str(out) in process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert asked(address, address.partition("#token=")[2]) == 200
        process.send_signal(sent)
        assert process.wait(20) == 0 and "Traceback" not in process.stderr.read()
        assert [path.name for path in shared_folder.iterdir()] == ["programs"] and not out.exists()


@pytest.fixture
def eavesdropper():
    """A server on another port: its address, and all that browsers sent it."""
    heard = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            heard.append(self.request.recv(100_000))
            body = b"<!DOCTYPE html><title>somebody else's</title>"
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", heard
        server.shutdown()


def test_a_server_on_another_port_learns_and_does_nothing(run_driver, shared_folder, tmp_path, eavesdropper):
    foreign, heard = eavesdropper
    with started(shared_folder, tmp_path / "out") as (_, address, file):
        seen = json.loads(run_driver(DRIVER, address, "alone", tmp_path, file, COFFEE, foreign))
        token = address.partition("#token=")[2]
    assert seen["errors"] == []
    assert "token" not in seen["address"] and token not in seen["download"]
    assert seen["saved"] == "coffee_depth.png" and seen["second"] == ["coffee.jpg"] and seen["states"] == ["done"]
    words = "this address needs the token that the command printed; open the whole address that the terminal shows"
    assert seen["stranger"] == [words, False]
    assert (taken := seen["taken"]).pop("stored") == 0 and taken.pop("heard") == "nothing" and taken.pop("frame") == "closed"
    assert taken == dict.fromkeys(("state", "cancel", "script", "image", "signed"), "refused")
    assert seen["cookies"] == ["long", "theme"], "those of other servers, none of ours"
    received = b"".join(heard)
    assert b"theme=" in received and token.encode() not in received


def test_an_export_asks_before_it_replaces_a_file(run_driver, serve, tmp_path):
    mine = tmp_path / "out" / "coffee.html"
    with serve() as client:
        seen = json.loads(run_driver(DRIVER, client.ui.gate.address, "replaced", tmp_path, COFFEE, mine))
    assert seen["errors"] == [] and seen["notices"] == []
    assert seen["question"] == f"{mine} is there already, and is not known as an unchanged result of this image. Replace it?"
    assert seen["choices"] == ["Cancel", "Replace"] and seen["left"] == seen["cancelled"] == "mine"
    assert (tmp_path / "saved.html").read_bytes() == mine.read_bytes() != b"mine"
