"""What the HTTP library must do, and must not do, for a download: proxies, certificates, ~/.netrc, redirects."""

import ast
import base64
import select
import socket
import socketserver
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from depth_normal.annotators.specs.base import WeightFile
from depth_normal.model_loader.weights.download import CorruptDownloadError, DownloadError, NoNetworkError, download_weights
from tests.whole_files import BODY, HUB, HUB_PATH, unknown

ROOT = Path(__file__).resolve().parents[2]
NETWORK_LIBRARIES = {"requests", "urllib3", "httpx", "httpx2", "http.client", "urllib.request", "aiohttp"}


@pytest.mark.slow("takes most of a second")
def test_one_module_asks_servers():
    found = set()
    for folder in ("annotators", "app", "geometry", "model_loader", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if any(name in NETWORK_LIBRARIES or name.partition(".")[0] in NETWORK_LIBRARIES for name in names):
                    found.add(path.relative_to(ROOT).as_posix())
    # network.py names a type, for the type checker; the others answer browsers, and ask nobody
    served = {"model_loader/comfy/host.py", "app/ui/gate.py", "app/ui/server.py", "app/ui/command.py"}
    assert all("ClientSession" not in (ROOT / name).read_text(encoding="utf-8") for name in served)
    assert found - served == {"model_loader/weights/https.py", "model_loader/weights/network.py"}
    typed = (ROOT / "model_loader/weights/network.py").read_text(encoding="utf-8")
    assert "if TYPE_CHECKING:\n    from requests import Response\n" in typed and typed.count("import Response") == 1


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
    with pytest.raises(NoNetworkError, match="certificate is not trusted"):
        download_weights(secure_file, "MIT")
    assert len(proxy.heads) == 1, "no second attempt can help"


def test_a_host_that_needs_no_proxy(secure_file, proxy, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert download_weights(secure_file, "MIT").read_bytes() == BODY
    assert proxy.heads == []


def test_a_proxy_that_refuses(secure_file, proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://me:secret@"))
    proxy.status = "407 Proxy Authentication Required"
    with pytest.raises(NoNetworkError, match=r"the proxy of HTTPS_PROXY .*407") as caught:
        download_weights(secure_file, "MIT")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        ("http://127.0.0.1:9", NoNetworkError, ".*refused the connection"),
        *((value, DownloadError, "") for value in ("http://", "http://[", "socks5://127.0.0.1:9")),
    ],
)
def test_a_proxy_that_cannot_be_used(secure_file, proxy, monkeypatch, value, error, why):
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(error, match=f"the proxy of HTTPS_PROXY{why}"):
        download_weights(secure_file, "MIT")


# --- certificates and passwords ---


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_where_certificates_are_believed_from(encrypted, monkeypatch, variable):
    secure, certificate = encrypted
    secure.serve("/a.pt", BODY)
    monkeypatch.setenv(variable, str(certificate))
    assert download_weights(WeightFile("a.pt", url=f"{secure.url}/a.pt"), "MIT").read_bytes() == BODY


def test_no_password_of_netrc_is_sent(server, elsewhere, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    elsewhere.serve("/bytes", BODY)
    server.serve("/a.pt", b"", redirect=f"{elsewhere.url}/bytes")
    assert download_weights(WeightFile("a.pt", url=f"{server.url}/a.pt"), "MIT").read_bytes() == BODY
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve_hub(HUB.repo_id, HUB.filename, BODY)
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert server.tokens == [None, "Bearer hf_good"]
    assert elsewhere.tokens == [None]


def test_a_token_does_not_come_back_from_another_host(server, elsewhere, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    server.serve(HUB_PATH, b"", redirect=f"{elsewhere.url}/there")
    elsewhere.serve("/there", b"", redirect=f"{server.url}/back")
    server.serve("/back", BODY, commit="c" * 40)
    assert download_weights(HUB, "MIT").read_bytes() == BODY
    assert server.tokens == ["Bearer hf_good", None]
    assert elsewhere.tokens == [None]


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


def test_a_server_that_never_encrypts(caches, monkeypatch):
    monkeypatch.setenv("DEPTH_NORMAL_CONNECT_TIMEOUT", "0.5")
    with (
        listening(lambda connection: connection.recv(10**6) and connection.recv(10**6)) as port,
        pytest.raises(NoNetworkError, match=r"no connection to 127\.0\.0\.1 within 0\.5 seconds"),
    ):
        download_weights(WeightFile("a.pt", url=f"https://127.0.0.1:{port}/a.pt"), "MIT")


def test_headers_that_never_end(caches, monkeypatch):
    """Each byte comes in time."""
    monkeypatch.setenv("DEPTH_NORMAL_CONNECT_TIMEOUT", "0.5")
    monkeypatch.setenv("DEPTH_NORMAL_READ_TIMEOUT", "0.5")
    over = threading.Event()

    def answer(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.1):
            connection.sendall(b"x")

    with listening(answer) as port, pytest.raises(NoNetworkError, match=r"127\.0\.0\.1 did not answer within 1 seconds"):
        download_weights(WeightFile("a.pt", url=f"http://127.0.0.1:{port}/a.pt"), "MIT")
    over.set()


def test_a_body_in_chunks_that_breaks_off_is_not_taken_for_the_whole(server, small):
    served = server.files["/v2_1/small.pt"]
    served.raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(BODY) + BODY + b"\r\n"
    with pytest.raises(CorruptDownloadError, match="ends after 3000000 bytes each time"):
        download_weights(unknown(small), "MIT")
    served.raw += b"0\r\n\r\n"
    assert download_weights(unknown(small), "MIT").read_bytes() == BODY
