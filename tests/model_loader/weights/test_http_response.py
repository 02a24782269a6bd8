"""What a request says and what an answer claims: waits, numbers, tokens, redirects, addresses, proxies, certificates."""

import base64
import email.utils
import errno
import hashlib
import importlib
import logging
import os
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from depth_normal.annotators.specs.base import WeightFile
from depth_normal.model_loader.weights import transfer
from depth_normal.model_loader.weights.download import CorruptDownloadError, DownloadError, NoNetworkError, download_weights
from depth_normal.model_loader.weights.network import NetworkError, plain_reason, without_credentials
from tests.forked import needs_fork, printed_by
from tests.whole_files import BODY, HUB, HUB_PATH, OTHER, SHA256, Stop, assert_refused, in_turn, leftovers, stop_after, unknown


@contextmanager
def listening(answer):
    """A server that hands each connection to a function; gives its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                answer(self.request)
            except OSError:
                """A client that hangs up is part of the game."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def read_head(connection):
    """A request up to its empty line."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and (data := connection.recv(1)):
        head += data
    return head.decode("latin-1")


# --- a server that is busy ---


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("kind", "form"), in_turn(map(pytest.param, ("seconds", "date"))), indirect=["kind"])
def test_the_wait_that_a_busy_server_asks_for(kind, form):
    file, served = kind
    began = time.time()
    # a date has whole seconds
    served.headers = {"Retry-After": "1" if form == "seconds" else email.utils.formatdate(int(began) + 2, usegmt=True)}
    served.statuses = [429]
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert time.time() - began >= (1 if form == "seconds" else int(began) + 2 - began)


# --- redirects, and what must not be told ---


def with_a_new_hub(work, **environment):
    """The exit code of a function in a process that has yet to import huggingface_hub, with this environment, and what it prints."""

    def alone():
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_HUB_", "TRANSFORMERS_OFFLINE"))]:
            del os.environ[name]
        os.environ.update(environment)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("huggingface_hub", "depth_normal")]:
            del sys.modules[name]
        work()

    return printed_by(alone)


@needs_fork
def test_the_hub_is_asked_for_the_file_and_for_nothing_else(server, tmp_path):
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)

    def fetch():
        download = importlib.import_module("depth_normal.model_loader.weights.download")
        download.download_weights(unknown(HUB), "MIT")

    assert with_a_new_hub(fetch, HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "new"), HF_TOKEN="hf_good")[0] == 0
    assert [path for _, path, _ in server.requests] == [HUB_PATH]
    assert server.tokens == ["Bearer hf_good"]


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xfe", "token cannot be read"), ("hf_\xfc".encode(), "the token is not valid")])
def test_a_token_that_is_none(server, tmp_path, content, words):
    (tmp_path / "token").write_bytes(content)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    assert_refused(HUB, f"hybrid.pt cannot be fetched: .*{words}.*")
    assert server.requests == []


@pytest.fixture
def sent_on(server, elsewhere):
    """The hub as it is: it answers with the file's names and sends on to another host, where the bytes are."""
    elsewhere.serve("/bytes", BODY, etag='"of-the-storage"')
    headers = {"X-Linked-Size": str(len(BODY)), "X-Linked-Etag": f'"{SHA256}"', "X-Repo-Commit": "c" * 40}
    return server.serve(HUB_PATH, b"", redirect=f"{elsewhere.url}/bytes?signature=secret", headers=headers)


def test_a_token_goes_to_the_hub_alone_and_does_not_come_back_from_another_host(server, elsewhere, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve(HUB_PATH, b"", redirect="/renamed/resolve/x")
    server.serve("/renamed/resolve/x", b"", redirect=f"{elsewhere.url}/there")
    elsewhere.serve("/there", b"", redirect=f"{server.url}/back")
    server.serve("/back", BODY, commit="c" * 40)
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert server.tokens == ["Bearer hf_good", "Bearer hf_good", None]
    assert elsewhere.tokens == [None]


def test_a_download_from_another_host_is_resumed_by_the_hubs_name_of_the_file(elsewhere, sent_on, server):
    elsewhere.files["/bytes"].drops = [1_000_000]
    assert download_weights(unknown(HUB), "MIT").read_bytes() == BODY
    assert [span for _, _, span in elsewhere.requests] == [None, "bytes=1000000-"]


def test_another_file_of_the_hub_is_not_patched_onto_the_first(elsewhere, sent_on):
    elsewhere.files["/bytes"].seconds = 0.5
    with pytest.raises(Stop):
        download_weights(unknown(HUB), "MIT", progress=stop_after(500_000))
    elsewhere.serve("/bytes", OTHER, etag='"of-the-storage"')
    sent_on.headers["X-Linked-Etag"] = f'"{hashlib.sha256(OTHER).hexdigest()}"'
    assert download_weights(unknown(HUB), "MIT").read_bytes() == OTHER


def test_the_hubs_own_sha256_holds_where_the_table_has_none(elsewhere, sent_on, tmp_path):
    elsewhere.files["/bytes"].body = OTHER
    assert_refused(unknown(HUB), SHA256, CorruptDownloadError)
    assert leftovers(tmp_path) == []


def test_another_sha256_than_the_tables_is_refused_before_the_body_comes(elsewhere, sent_on):
    assert_refused(replace(HUB, sha256="0" * 64), f"its sha256 is {SHA256}, the published file's {'0' * 64}", CorruptDownloadError)


def test_an_encrypted_address_never_leads_to_one_that_is_not(encrypted, secure_file, server):
    encrypted[0].serve("/a.pt", b"", redirect=f"{server.url}/bytes")
    assert_refused(secure_file, f"{secure_file.url} redirects to {server.url}/bytes.*only fetched over https")
    assert server.requests == []


def test_a_password_in_the_hubs_address_is_sent_and_never_shown(server, caplog, point_hub_at):
    """As HF_ENDPOINT=https://user:password@mirror.example."""
    point_hub_at(server.url.replace("http://", "http://user:pass%40word@"))
    text = ""
    for trouble in ({"statuses": [403]}, {"statuses": [404]}, {"statuses": [500, 500]}, {"redirect": "https://a:secret@b:port/"}):
        server.serve_hub(HUB.repo_id, HUB.filename, BODY, **trouble)
        with caplog.at_level(logging.INFO), pytest.raises(DownloadError) as caught:
            download_weights(HUB, "MIT")
        text += str(caught.value)
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert set(server.tokens) == {"Basic dXNlcjpwYXNzQHdvcmQ="}
    text += caplog.text
    assert server.url in text and not [word for word in ("pass@", "pass%40", "secret") if word in text]


@pytest.mark.quick_cases(1)
@needs_fork
@pytest.mark.parametrize(
    ("command", "name", "value", "said"),
    [
        (["download", "dsine"], "HF_ENDPOINT", "http://[", "HF_ENDPOINT is 'http://[', which is no address"),
        (["models"], "HF_ENDPOINT", "https://me:secret@h:99999", "HF_ENDPOINT is 'https://h:99999', which is no address"),
        (["models"], "HF_HUB_DOWNLOAD_TIMEOUT", "a while", "set in the environment: HF_HOME, HF_HUB_DOWNLOAD_TIMEOUT"),
    ],
)
def test_a_setting_with_which_huggingface_hub_cannot_be_imported(caches, tmp_path, command, name, value, said):
    def run():
        sys.exit(importlib.import_module("depth_normal.app.cli").main(command))

    code, printed = with_a_new_hub(run, HF_HOME=str(tmp_path / "hf"), **{name: value})
    assert code == 2
    assert said in printed
    assert "Traceback" not in printed and "secret" not in printed


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/a.pt", "only fetched over https"),  # plain http is for this machine alone
        ("https://ex..ample/x.pt", "is not a valid address"),
        ("https://[::1/x.pt", "is not a valid address"),
    ],
)
def test_an_address_that_cannot_be_gone_to_is_tried_once(caches, caplog, url, words):
    assert_refused(WeightFile("x.pt", url=url), words)
    assert "trying again" not in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@host/x", "https://host/x"),
        ("cannot open https://user:p@ss/w?o#rd@host:1/x now", "cannot open https://host:1/x now"),
        ("https://host/x?Signature=abc&Key=1 failed", "https://host/x failed"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_what_is_shown_of_an_address(text, shown):
    assert without_credentials(text) == shown


def refused_certificate():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the server's name could not be looked up"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "the server cannot be reached"),
        (refused_certificate(), "not trusted: certificate has expired"),
        (NetworkError("no answer"), "no answer"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_why_there_was_no_answer(error, words):
    assert words in plain_reason(error)
    assert "Errno" not in plain_reason(error)
    outer = RuntimeError("the download failed")
    outer.__cause__ = error
    assert plain_reason(outer) == plain_reason(error), "what is at the bottom counts"


# --- proxies ---


@pytest.fixture
def proxy(monkeypatch):
    """A proxy for encrypted servers, set as users do; `heads` is what it was asked, `status` what it answers."""
    state = SimpleNamespace(heads=[], status="200 OK", url="")

    def answer(connection):
        state.heads.append(read_head(connection))
        connection.sendall(f"HTTP/1.1 {state.status}\r\n\r\n".encode())
        if not state.status.startswith("200"):
            return
        host, _, port = state.heads[-1].split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            while True:
                for source in select.select([connection, server], [], [])[0]:
                    if not (data := source.recv(2**16)):
                        return
                    (server if source is connection else connection).sendall(data)

    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening(answer) as port:
        state.url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("HTTPS_PROXY", state.url)
        yield state


@pytest.fixture
def secure_file(encrypted, monkeypatch):
    """A file of an encrypted server whose certificate the system believes."""
    secure, certificate = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.serve("/a.pt", BODY)
    return WeightFile("a.pt", url=f"{secure.url}/a.pt")


def test_a_download_through_a_proxy(secure_file, proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://me:pass%40word@"))
    assert download_weights(secure_file, "MIT").read_bytes() == BODY
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {secure_file.url.split('/')[2]} ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:pass@word').decode()}" in head


def test_a_proxy_does_not_make_certificates_believed(secure_file, proxy, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert_refused(secure_file, "certificate is not trusted", NoNetworkError)
    assert len(proxy.heads) == 1, "no second attempt can help"


def test_a_host_that_needs_no_proxy(secure_file, proxy, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert download_weights(secure_file, "MIT").read_bytes() == BODY
    assert proxy.heads == []


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        ("http://me:secret@PROXY", NoNetworkError, ".*407"),
        ("http://me:secret@127.0.0.1:9", NoNetworkError, ".*refused the connection"),
        *((value, DownloadError, "") for value in ("http://", "http://[", "socks5://127.0.0.1:9")),
    ],
)
def test_a_proxy_that_refuses_or_cannot_be_used(secure_file, proxy, monkeypatch, value, error, why):
    proxy.status = "407 Proxy Authentication Required"
    monkeypatch.setenv("HTTPS_PROXY", value.replace("PROXY", proxy.url.removeprefix("http://")))
    assert "secret" not in assert_refused(secure_file, f"the proxy of HTTPS_PROXY{why}", error)


# --- certificates and passwords ---


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_certificate_that_the_user_names_is_believed(encrypted, monkeypatch, variable):
    secure, certificate = encrypted
    secure.serve("/a.pt", BODY, drops=[1_000_000])
    file = WeightFile("a.pt", url=f"{secure.url}/a.pt")
    assert_refused(file, "certificate is not trusted: self-signed")
    assert secure.requests == []
    monkeypatch.setenv(variable, str(certificate))
    assert download_weights(file, "MIT").read_bytes() == BODY
    assert secure.gets() == [None, "bytes=1000000-"]


def test_no_password_of_netrc_is_sent(server, elsewhere, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    elsewhere.serve("/bytes", BODY, drops=[1_000_000])
    server.serve("/a.pt", b"", redirect=f"{elsewhere.url}/bytes")  # as github.com sends its raw files on
    assert download_weights(WeightFile("a.pt", url=f"{server.url}/a.pt"), "MIT").read_bytes() == BODY
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert server.tokens == [None, None, "Bearer hf_good"]
    assert elsewhere.tokens == [None, None] and elsewhere.gets() == [None, "bytes=1000000-"]


# --- hostile servers ---


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n", "Content-Length: 100000000000\r\n"])
def test_the_body_of_a_redirect_is_not_read(server, framing):
    server.serve("/bytes", BODY)
    gone = threading.Event()

    def answer(connection):
        read_head(connection)
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {server.url}/bytes\r\n{framing}\r\n".encode())
        try:
            while True:
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n" if "chunked" in framing else bytes(2**16))
        finally:
            gone.set()

    with listening(answer) as port:
        assert download_weights(WeightFile("a.pt", url=f"http://127.0.0.1:{port}/a.pt"), "MIT").read_bytes() == BODY
        assert gone.wait(60)


def without_end(connection):
    """Headers of which each byte comes in time."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        time.sleep(0.1)
        connection.sendall(b"x")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("https", lambda connection: read_head(connection), r"no connection to 127\.0\.0\.1 within 0\.5 seconds"),
        ("http", without_end, r"127\.0\.0\.1 did not answer within 1 seconds"),
        ("http", lambda connection: connection.recv(10_000) and connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n"), r"SSH-2\.0"),
    ],
    ids=["never encrypts", "headers that never end", "no HTTP"],
)
def test_a_server_that_never_comes_to_an_answer(caches, monkeypatch, scheme, answer, words):
    monkeypatch.setenv("DEPTH_NORMAL_CONNECT_TIMEOUT", "0.5")
    monkeypatch.setenv("DEPTH_NORMAL_READ_TIMEOUT", "0.5" if scheme == "http" else "60")
    with listening(answer) as port:
        assert_refused(WeightFile("a.pt", url=f"{scheme}://127.0.0.1:{port}/a.pt"), words, NoNetworkError)


# --- the rest ---


def test_a_pause_can_be_stopped():
    began = time.monotonic()
    with pytest.raises(Stop):
        transfer.pause(60, partial(stop_after(0), 0, 0))
    assert time.monotonic() - began < 20
