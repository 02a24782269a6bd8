"""Troubles of the network, with every way in which a file comes, against a real local server."""

import copy
import errno
import hashlib
import http.client
import io
import logging
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from depth_normal.annotators.specs.base import WeightFile
from depth_normal.app import cli
from depth_normal.app.commands import models as models_command
from depth_normal.model_loader.weights import transfer
from depth_normal.model_loader.weights.download import (
    AccessDeniedError,
    CorruptDownloadError,
    DiskFullError,
    DownloadError,
    NoNetworkError,
    download_weights,
)
from depth_normal.model_loader.weights.find import find_weights
from depth_normal.model_loader.weights.https import Timeouts
from tests import whole_files as FILES
from tests.forked import forked, needs_fork
from tests.whole_files import BODY, HUB, OTHER, SHA256, Stop, assert_refused

SMALL_PATH = "/v2_1/small.pt"


def parts(tmp_path):
    """Every unfinished download anywhere."""
    return sorted(tmp_path.rglob("*.part"))


@contextmanager
def stopped_after(seconds, within, ready=lambda: True):
    """Expects `Stop` soon after a cancel, which comes after `seconds` and when it is `ready`; gives the progress function that cancels."""
    began, cancelled = time.monotonic(), []

    def progress(done, total):
        if time.monotonic() - began >= seconds and ready():
            cancelled.append(time.monotonic())
            raise Stop

    with pytest.raises(Stop):
        yield progress
    assert time.monotonic() - cancelled[0] < within


# --- breaks, and going on ---


HEAD = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {'c' * 40}\r\n"
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n".encode() + BODY + b"\r\n"
NINES = "9" * 5000
NO_LENGTHS = (
    *(f"200 OK\r\n{name}: {value}" for name in ("Content-Length", "X-Linked-Size") for value in (NINES, "\xb2", "-5")),
    f"206 Partial Content\r\nContent-Range: bytes 0-{NINES}/{NINES}",
)
NO_NUMBERS = (NINES, "\xb2", "-1", "1e9", "Fri, 99 Foo 99999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -2359")


def mended(name, spans, **trouble):
    """What the server does, and which parts it is asked for until the file is whole."""
    return pytest.param(trouble, spans, id=name[:30])


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize(
    ("kind", "trouble", "spans"),
    FILES.in_turn(
        [
            *(mended("drops", [None, "bytes=1000000-", "bytes=1500000-"], drops=[1_000_000, 500_000]) for _ in range(3)),
            mended("no ranges", [None, "bytes=1000000-"], drops=[1_000_000], ranges=False),
            mended("a weak name", [None, None], drops=[1_000_000], etag='W/"weak"'),
            mended("chunks", [None], raw=CHUNKED + b"0\r\n\r\n"),
            *(
                mended(
                    each.replace("\r\n", " "), [None], raw=f"HTTP/1.1 {each}\r\nX-Repo-Commit: {'c' * 40}\r\n\r\n".encode("latin-1") + BODY
                )
                for each in NO_LENGTHS
                for _ in range(2)
            ),
            mended("busy", [None] * 2, statuses=[503]),
            mended("busy for long", [None] * 4, statuses=[429, 503, 429], headers={"Retry-After": "0"}),
            *(mended(f"busy for {each}", [None] * 2, statuses=[429], headers={"Retry-After": each}) for each in NO_NUMBERS),
        ]
    ),
    indirect=["kind"],
)
def test_a_file_comes_whole_from_where_it_broke(kind, server, trouble, spans):
    file, served = kind
    vars(served).update(copy.deepcopy(trouble))
    path = download_weights(file, "MIT")
    assert path.read_bytes() == BODY and server.gets() == spans
    path.unlink()
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == BODY


@pytest.mark.quick_cases(1)
def test_a_stopped_download_goes_on_where_it_was(kind, server, tmp_path):
    file, served = kind
    served.seconds = 1.0
    with pytest.raises(Stop):
        download_weights(file, "MIT", progress=FILES.stop_after(500_000))
    (part,) = parts(tmp_path)
    there = part.stat().st_size
    assert 500_000 <= there < len(BODY)
    assert find_weights(file) is None
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert server.gets() == [None, f"bytes={there}-"]
    assert list(tmp_path.rglob("*.part*")) == []


def test_a_file_that_changes_while_its_connection_is_broken_is_begun_anew(kind, server, tmp_path):
    file, served = kind

    class Changing(list):
        def pop(self, *_):
            served.body, served.drops = OTHER, []
            return 1_000_000

    served.drops = Changing([1])
    assert download_weights(FILES.unknown(file), "MIT").read_bytes() == OTHER
    assert len(server.gets()) == 2 and parts(tmp_path) == []


@pytest.mark.parametrize(("body", "trouble"), [(OTHER, {"deaf_to_if_range": True}), (BODY, {"off_by": 7})])
def test_a_server_that_resumes_something_else_is_not_trusted(server, small, body, trouble):
    server.serve(SMALL_PATH, BODY, seconds=0.5)
    with pytest.raises(Stop):
        download_weights(FILES.unknown(small), "MIT", progress=FILES.stop_after(500_000))
    server.serve(SMALL_PATH, body, **trouble)
    assert download_weights(FILES.unknown(small), "MIT").read_bytes() == body
    assert len(server.gets()) == 3


def test_a_part_longer_than_the_file_is_begun_anew(server, small, caches):
    caches.home.mkdir()
    (caches.home / "small.pt.part").write_bytes(BODY + b"more")
    (caches.home / "small.pt.part.etag").write_text(f'"{SHA256}"')
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_giving_up_on_a_body_that_is_cut_a_little_later_each_time_and_always_begins_anew(server, small, tmp_path):
    served = server.serve(SMALL_PATH, BODY, etag='W/"weak"', drops=[1000 * i for i in range(1, 2000)])
    assert_refused(small, "closed after 5000 of 3000000 bytes", NoNetworkError)
    assert len(server.gets()) == 5
    served.drops = []
    assert download_weights(small, "MIT").read_bytes() == BODY


def test_a_body_without_end_of_unknown_size_leaves_room_on_the_disk(kind, tmp_path, monkeypatch):
    file, served = kind
    served.endless = True
    monkeypatch.setattr(transfer, "KEPT_FREE", shutil.disk_usage(tmp_path).free - 50_000_000)
    told = []
    with pytest.raises(DiskFullError, match=r"the size is not known, and [0-9.]+ GB are kept free"):
        download_weights(FILES.unknown(file), "MIT", progress=lambda done, total: told.append(done))
    assert max(told) < 10**9
    assert FILES.leftovers(tmp_path) == []


def test_the_length_that_the_hub_states_holds_where_the_body_has_none(server, tmp_path):
    headers = {"X-Linked-Size": str(len(BODY)), "X-Linked-Etag": f'"{SHA256}"'}
    served = server.serve_hub(HUB.repo_id, HUB.filename, BODY, length=False, headers=headers, drops=[1_000_000])
    assert download_weights(FILES.unknown(HUB), "MIT").read_bytes() == BODY
    assert server.gets() == [None, "bytes=1000000-"]
    assert served.drops == []


# --- answers that are refused ---


BOTH = ("size", "sha256")
PAGE = b"<!doctype html><title>Please sign in</title>" + b" " * 5000
TEN_MORE = f"{HEAD}Content-Length: {len(BODY) + 10}\r\n\r\n".encode() + BODY
REDIRECTS = {
    "https://example.org:port/x": "not a valid address",
    "https://example.org:99999/x": "not a valid address",
    "https://[::1/x": "not a valid address",
    "https:///x": "it names no host",
    f"https://{'a' * 70}.example/x": "cannot be",
    **dict.fromkeys(
        ("ftp://example.org/x", "file:///etc/passwd", "javascript:alert(1)", "http://example.org/x"), "only fetched over https"
    ),
}


def refused(error, words, asked=1, unknown=(), **trouble):
    """What the server does; what is not known of the file; the error, its words, and how often the server is asked."""
    return pytest.param(trouble, unknown, error, words, asked, id=f"{words[:30]} {list(trouble)}")


def beginning(first):
    """A rest that begins nowhere."""
    return f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-\r\n\r\n".encode("latin-1") + BODY


@pytest.mark.quick_cases(12)
@pytest.mark.parametrize(
    ("kind", "trouble", "unknown", "error", "words", "asked"),
    FILES.in_turn(
        [
            refused(CorruptDownloadError, rf"{hashlib.sha256(OTHER).hexdigest()}.*{SHA256}", body=OTHER),
            refused(CorruptDownloadError, r"2999999 bytes.*3000000", unknown=("sha256",), body=BODY[:-1]),
            refused(CorruptDownloadError, "web page", unknown=BOTH, body=PAGE),
            refused(CorruptDownloadError, "web page", unknown=BOTH, body=PAGE, content_type="text/html"),
            *(refused(AccessDeniedError, rf"HTTP {each}.*by hand and put it at .*NAME", statuses=[each] * 9) for each in (401, 403)),
            refused(DownloadError, r"127.0.0.1:\d+/.*NAME does not exist \(HTTP 404\)", statuses=[404] * 9),
            *(refused(DownloadError, words, redirect=address) for address, words in REDIRECTS.items()),
            *(refused(DownloadError, "redirects more than 8 times", 9, redirect="?") for _ in range(3)),
            refused(CorruptDownloadError, "ends after 3000000 bytes each time", 2, BOTH, raw=CHUNKED),
            refused(DownloadError, "HTTP Error 503", 2, statuses=[503] * 9),
            refused(DownloadError, r"busy \(HTTP 429\) and asks to wait 3600 s: try ", statuses=[429], headers={"Retry-After": "3600"}),
            *(refused(DownloadError, "from 0, got 'bytes ", 2, raw=beginning(first)) for first in (NINES, "\xb2", "", "0x0")),
            refused(NoNetworkError, "closed after", 5, drops=[1_000_000] + [0] * 20),
            refused(CorruptDownloadError, "ends after 3000000 bytes each time .*after 3000000 of 3000010", 2, BOTH, raw=TEN_MORE),
            refused(CorruptDownloadError, "it sends more than the 3000000 bytes that the file has", endless=True),
            *(refused(CorruptDownloadError, "cut short", unknown=BOTH, length=False, body=FILES.weights(seed)[:-1000]) for seed in (0, 2)),
            *(
                refused(CorruptDownloadError, "not the published", unknown=BOTH, body=body, content_type=f"application/{kind}")
                for body in (b'{"error": "Rate limited"}', b"{}", b"\0" * 5000, b"version https://git-lfs.github.com/spec/v1\n")
                for kind in ("json", "octet-stream")
            ),
            refused(CorruptDownloadError, r"compressed content \('gzip'\)", headers={"Content-Encoding": "gzip"}),
        ]
    ),
    indirect=["kind"],
)
def test_what_is_refused_leaves_nothing_and_the_next_run_works(trouble, unknown, error, words, asked, kind, server, tmp_path):
    (file, served), told = kind, []
    whole = dict(vars(served))
    vars(served).update(copy.deepcopy(trouble))
    with pytest.raises(error, match=words.replace("NAME", file.name)) as caught:
        download_weights(replace(file, **dict.fromkeys(unknown)), "MIT", progress=lambda done, _total: told.append(done))
    assert len(str(caught.value)) < 2000 and max(told, default=0) <= len(BODY) and len(server.gets()) == asked
    assert error is NoNetworkError or FILES.leftovers(tmp_path) == [], "but for what is gone on with"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == served.body]
    assert find_weights(file) is None
    vars(served).update(whole)
    assert download_weights(file, "MIT").read_bytes() == BODY


# --- no answer ---

CONNECT, READ = "DEPTH_NORMAL_CONNECT_TIMEOUT", "DEPTH_NORMAL_READ_TIMEOUT"


def test_how_long_a_server_is_waited_for(monkeypatch):
    for name in (CONNECT, READ, "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    assert Timeouts.from_environment() == Timeouts(connect=10, read=60)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    assert Timeouts.from_environment() == Timeouts(connect=10, read=30)
    monkeypatch.setenv(READ, " 1.5 ")
    monkeypatch.setenv(CONNECT, "2")
    assert Timeouts.from_environment() == Timeouts(connect=2, read=1.5)


@pytest.mark.parametrize("name", [CONNECT, READ, "HF_HUB_DOWNLOAD_TIMEOUT"])
def test_a_timeout_that_is_no_number_of_seconds(kind, monkeypatch, name):
    file, _ = kind
    for value in ("soon", "0", "-1", "nan", "inf", "1e9", "9" * 5000):
        monkeypatch.setenv(name, value)
        said = f"cannot be fetched: {name} is '{value[:80]}'; accepted are seconds, more than 0 and up to"
        assert_refused(file, said)


@pytest.mark.slow("takes a second")
def test_a_server_whose_first_byte_takes_longer_than_a_connection_may(server, small, monkeypatch):
    monkeypatch.setenv(CONNECT, "0.3")
    monkeypatch.setenv(READ, "60")
    server.files[SMALL_PATH].late = 1.0
    assert download_weights(small, "MIT").read_bytes() == BODY


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("kind", "how", "words"),
    FILES.in_turn(
        (
            pytest.param("silent", r"127\.0\.0\.1 did not answer within 0\.5 seconds"),
            pytest.param("stalls", r"nothing came from 127\.0\.0\.1 for 0\.5 seconds"),
        )
    ),
    indirect=["kind"],
)
def test_a_server_that_never_answers_or_answers_and_sends_nothing(kind, server, caplog, how, words, monkeypatch):
    file, served = kind
    setattr(served, how, True)
    monkeypatch.setenv(READ, "0.5")
    with caplog.at_level(logging.INFO, "depth_normal"), pytest.raises(NoNetworkError, match=words):
        download_weights(file, "MIT")
    assert "connecting to 127.0.0.1" in caplog.text
    assert len(server.gets()) == 2


@pytest.mark.parametrize("how", [{"silent": True}, {"seconds": 20.0}], ids=["nobody answers", "a body trickles"])
def test_cancelling_while(server, small, how):
    vars(server.files[SMALL_PATH]).update(how)
    with stopped_after(0.4, within=5.0) as progress:
        download_weights(small, "MIT", progress=progress)


@pytest.mark.slow("takes a second")
def test_cancelling_while_a_connection_cannot_be_made(caches, monkeypatch):
    with socket.socket() as full:  # a backlog that is full takes no connection and refuses none
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        file = WeightFile("a.pt", url=f"http://127.0.0.1:{full.getsockname()[1]}/a.pt")
        with stopped_after(0.3, within=5.0) as progress:
            download_weights(file, "MIT", progress=progress)
        monkeypatch.setenv(CONNECT, "0.5")
        monkeypatch.setenv(READ, "600")
        assert_refused(file, r"no connection to 127\.0\.0\.1 within 0\.5 seconds", NoNetworkError)
        for each in waiting:
            each.close()


@pytest.fixture
def expired_token(server, tmp_path, monkeypatch):
    """A login of huggingface_hub whose token has run out, at a hub that never gives the next one."""
    if not hasattr(getattr(huggingface_hub.utils, "_auth", None), "_refresh_oauth_token_if_needed"):
        pytest.skip("this huggingface_hub has no tokens that expire")
    (tmp_path / "token").write_text(f"hf_{tmp_path.name}")
    stored = tmp_path / "stored_tokens"
    stored.write_text(f"[me]\nhf_token = hf_{tmp_path.name}\nrefresh_token = next\nexpires_at = 1\n")
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(stored))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    server.serve("/oauth/token", b"", silent=True)
    before = {*threading.enumerate()}
    yield server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    for asking in {each for each in threading.enumerate() if each.name == "depth-normal download"} - before:
        asking.join()  # until huggingface_hub gives up, which it says in the log: of this test, not of the next


@pytest.mark.slow("takes a second")
def test_a_token_that_is_never_renewed_is_given_up_or_cancelled(expired_token, server, monkeypatch):
    with stopped_after(0.3, within=5.0, ready=lambda: server.requests) as progress:
        download_weights(HUB, "MIT", progress=progress)
    assert [path for _, path, _ in server.requests] == ["/oauth/token"]
    monkeypatch.setenv(CONNECT, "0.5")
    monkeypatch.setenv(READ, "600")
    assert_refused(HUB, r"no connection to 127\.0\.0\.1 within 0\.5 seconds", NoNetworkError)


@pytest.mark.parametrize("stage", ["checked", pytest.param("hashed", marks=pytest.mark.slow("hashes 400 MB"))])
def test_cancelling_while_a_file_is(stage, server, caches):
    if stage == "hashed":
        header = b'{"weight":{"dtype":"U8","shape":[400000000],"data_offsets":[0,400000000]}}'
        body = len(header).to_bytes(8, "little") + header + bytes(400_000_000)
    else:
        stream = io.BytesIO()
        torch.save({str(i): torch.zeros(1) for i in range(10_000)}, stream, _use_new_zipfile_serialization=False)
        body = stream.getvalue()
    server.serve("/big.pt", body, etag='"big"')
    complete = []

    def progress(done, total):
        complete.append(done == len(body))
        if complete.count(True) > 1:  # the first is the last byte's
            raise Stop

    with pytest.raises(Stop):
        download_weights(WeightFile("big.pt", url=f"{server.url}/big.pt"), "MIT", progress=progress)


@pytest.mark.quick_cases(1)
def test_a_body_that_stops_coming_is_taken_up_again(kind, server, monkeypatch):
    file, served = kind
    monkeypatch.setenv(READ, "0.6")

    class Once(float):
        def __truediv__(self, other):
            served.seconds = 0.0
            return 2.0

    served.seconds = Once(20)
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert len(server.gets()) == 2 and server.gets()[1].startswith("bytes=")


@pytest.mark.parametrize(
    ("kind", "name"),
    FILES.in_turn(map(pytest.param, ("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "EADDRNOTAVAIL"))),
    indirect=["kind"],
)
def test_a_network_that_goes_down_in_the_middle_is_waited_for(kind, server, monkeypatch, name):
    """The system's own words for it cannot be had without the network: the answer is real up to there."""
    file, _ = kind
    code = getattr(errno, name)
    read, times = http.client.HTTPResponse.read, iter(range(1000))

    def going_down(response, *given):
        if next(times) == 1:
            raise OSError(code, os.strerror(code))
        return read(response, *given)

    monkeypatch.setattr(http.client.HTTPResponse, "read", going_down)
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert len(server.gets()) == 2 and server.gets()[1].startswith("bytes=")


@needs_fork
def test_control_c_while_nobody_answers(server, small):
    server.files[SMALL_PATH].silent = True

    def download():
        with pytest.raises(KeyboardInterrupt):
            download_weights(small, "MIT")

    with forked((download,)) as (process,):
        while not server.requests:
            assert process.is_alive()
            time.sleep(0.01)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert time.monotonic() - began < 5
    assert process.exitcode == 0


@needs_fork
def test_a_terminated_download_leaves_only_what_it_goes_on_from(server, small, caches, monkeypatch, capfd):
    server.files[SMALL_PATH].seconds = 20.0
    monkeypatch.setattr(models_command, "_models", lambda _: download_weights(small, "MIT"))
    with forked((cli.main, ["models"])) as (process,):
        part = caches.home / "small.pt.part"
        while not (part.is_file() and part.stat().st_size):
            assert process.is_alive()
            time.sleep(0.01)
        process.terminate()
    assert "depth-normal: stopped" in capfd.readouterr().err
    assert sorted(path.name for path in caches.home.iterdir() if path.is_file()) == ["small.pt.part", "small.pt.part.etag"]
    server.files[SMALL_PATH].seconds = 0.0
    assert download_weights(small, "MIT").read_bytes() == BODY
    assert server.gets()[1].startswith("bytes=")
