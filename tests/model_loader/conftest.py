"""A real local HTTP server that speaks enough of the hub's protocol, caches that are not the user's, and a family that counts."""

import hashlib
import shutil
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from depth_normal.annotators import registry
from depth_normal.annotators.base import Annotator
from depth_normal.annotators.building import checkpoint_mismatch
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.model_loader import load_model
from tests import whole_files as FILES


@dataclass
class Served:
    """One file of the server, and the trouble it makes."""

    body: bytes
    content_type: str = "application/octet-stream"
    etag: str | None = None
    commit: str | None = None
    statuses: list[int] = field(default_factory=list)  # answers of failure before the first good one
    token: str | None = None
    drops: list[int] = field(default_factory=list)  # after how many bytes to hang up, one GET each
    ranges: bool = True
    deaf_to_if_range: bool = False
    seconds: float = 0.0  # how long a whole body takes
    headers: dict[str, str] = field(default_factory=dict)  # more headers, of answers of failure too
    redirect: str | None = None
    off_by: int = 0  # what it says wrongly of where a rest begins
    length: bool = True  # whether the body's length is told; else its end is where the connection closes
    late: float = 0.0  # seconds before the answer begins
    silent: bool = False  # whether the connection stays open without any answer
    stalls: bool = False  # whether nothing comes after the headers, and the connection stays open
    endless: bool = False  # whether the body goes on with zeros until nobody takes them; its length is not told
    raw: bytes | None = None  # the whole answer, instead of all this; then the connection closes

    def name(self):
        """The ETag: as the hub has it, where the test wants no other."""
        return self.etag or f'"{hashlib.sha256(self.body).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        self.server.tokens.append(self.headers.get("Authorization"))
        served = self.server.files.get(self.path.partition("?")[0])
        if served is None:
            return self.refuse(404)
        if served.silent:
            return self.server.closed.wait()
        time.sleep(served.late)
        if served.raw is not None:
            self.close_connection = True
            return self.wfile.write(served.raw)
        if served.redirect:
            return self.refuse(302, {**served.headers, "Location": served.redirect})
        if served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
            return self.refuse(403)
        if served.statuses:
            return self.refuse(served.statuses.pop(0), served.headers)
        start = self.range_start(served)
        if start >= len(served.body) > 0:
            return self.refuse(416)
        rest = served.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.content_type)
        if served.length and not served.endless:
            self.send_header("Content-Length", str(len(rest)))
        else:
            self.close_connection = True
        self.send_header("ETag", served.name())
        for name, value in served.headers.items():
            self.send_header(name, value)
        if served.commit:
            self.send_header("X-Repo-Commit", served.commit)
        if start:
            self.send_header("Content-Range", f"bytes {start + served.off_by}-{len(served.body) - 1}/{len(served.body)}")
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(served, rest)
        return None

    do_HEAD = do_POST = do_GET  # noqa: N815

    def range_start(self, served):
        wanted = self.headers.get("Range")
        unchanged = served.deaf_to_if_range or self.headers.get("If-Range", served.name()) == served.name()
        if not wanted or not served.ranges or not unchanged:
            return 0
        return int(wanted.removeprefix("bytes=").split("-")[0])

    def send_body(self, served, rest):
        if served.stalls:
            self.close_connection = True
            return self.server.closed.wait()
        stop = served.drops.pop(0) if served.drops else None
        pieces = 20 if served.seconds else 1
        step = -(-len(rest) // pieces)
        try:
            for i in range(0, len(rest) if stop is None else min(stop, len(rest)), step):
                self.wfile.write(rest[i : min(i + step, stop if stop is not None else len(rest))])
                time.sleep(served.seconds / pieces)
            while served.endless:
                self.wfile.write(bytes(2**20))
        except ConnectionError:
            stop = 0
        if stop is not None:
            self.wfile.flush()
            self.close_connection = True
        return None

    def refuse(self, status, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class FileServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.tokens: list[str | None] = []
        self.closed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that hangs up is part of the game."""

    def serve(self, path, body, **trouble):
        self.files[path] = Served(body, **trouble)
        return self.files[path]

    def serve_hub(self, repo_id, filename, body, *, revision="main", **trouble):
        return self.serve(f"/{repo_id}/resolve/{revision}/{filename}", body, commit="c" * 40, **trouble)

    def gets(self):
        """The Range headers of the GET requests for files that exist, in order."""
        return [wanted for method, path, wanted in self.requests if method == "GET" and path in self.files]


@pytest.fixture
def caches(tmp_path, monkeypatch, point_hub_at):
    """Points every cache at a temporary folder, and makes the pauses between attempts short."""
    from huggingface_hub import constants

    from depth_normal.model_loader.weights import transfer

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AUX_ANNOTATOR_CKPTS_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("DEPTH_NORMAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    point_hub_at("http://127.0.0.1:9")  # the discard port: nobody there
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)
    return SimpleNamespace(home=tmp_path / "home", hub=tmp_path / "hub", torch=tmp_path / "torch" / "hub" / "checkpoints")


@pytest.fixture
def point_hub_at(monkeypatch):
    """Does what HF_ENDPOINT does at import."""
    from huggingface_hub import constants, file_download

    def point(url):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        for module in (constants, file_download):
            if hasattr(module, "HUGGINGFACE_CO_URL_TEMPLATE"):
                monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")

    return point


@contextmanager
def running(context=None):
    """A server that runs; with an SSL context, an encrypted one."""
    server = FileServer()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = server.url.replace("http://127.0.0.1", "https://localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(caches, point_hub_at):
    """The server, running, as the hub."""
    with running() as server:
        point_hub_at(server.url)
        yield server


@pytest.fixture
def elsewhere(caches):
    """A second server, of another origin, as the one that the hub sends on to."""
    with running() as server:
        yield server


@pytest.fixture
def small(server):
    """A file of the server that has an address of its own."""
    server.serve("/v2_1/small.pt", FILES.BODY)
    return WeightFile("small.pt", url=f"{server.url}/v2_1/small.pt", sha256=FILES.SHA256, size=len(FILES.BODY))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of our own making, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("needs the command openssl, to make a certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def encrypted(caches, certificate):
    """An HTTPS server with such a certificate, and the certificate's path."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with running(context) as server:
        yield server, certificate[0]


@pytest.fixture(params=["web", "hub", "hub in ComfyUI"])
def kind(request, server, small):
    """Each of the ways a file comes: (the file, what the server serves for it)."""
    if request.param == "web":
        return small, server.files["/v2_1/small.pt"]
    if request.param == "hub in ComfyUI":
        request.getfixturevalue("comfyui")
    return FILES.HUB, server.serve_hub(FILES.HUB.repo_id, FILES.HUB.filename, FILES.BODY)


@pytest.fixture
def comfyui(caches, tmp_path, monkeypatch):
    """Stands in for ComfyUI's `folder_paths`: folders by name, KeyError for a name that nobody registered."""
    models, custom_nodes = (tmp_path / "ComfyUI" / name for name in ("models", "custom_nodes"))
    folders = {"custom_nodes": [str(custom_nodes)]}
    module = SimpleNamespace(models_dir=str(models), get_folder_paths=lambda name: folders[name][:])
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    return SimpleNamespace(models=models, custom_nodes=custom_nodes, folders=folders)


class Weighted(Annotator):
    """Stands in for a family: its disparity is a weighted sum of the channels. Counts what is asked of it."""

    bytes_per_pixel = 100
    built = 0
    batches: list[int]
    memory = 1000
    """How many images at once fit."""

    @classmethod
    def build(cls, spec, states, dtype):
        cls.built += 1
        network = nn.Conv2d(3, 1, 1)
        if mismatch := checkpoint_mismatch(network.state_dict(), states["network"]):
            raise CheckpointError(f"not a checkpoint of {spec.id}: {mismatch}")
        network.load_state_dict(dict(states["network"]))
        return cls(spec, network.to(dtype))

    def infer_resized(self, pixels, request=None):
        if len(pixels) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        self.batches.append(len(pixels))
        dtype = next(self.network.parameters()).dtype
        return Estimate(depth=self.network(pixels.to(dtype)).float(), quantity=Quantity.DISPARITY)


@pytest.fixture
def family(monkeypatch):
    """A family of two models, "weighted" and "other"; the class that counts."""
    monkeypatch.setattr(Weighted, "built", 0)
    monkeypatch.setattr(Weighted, "batches", [], raising=False)
    monkeypatch.setattr(Weighted, "memory", 1000)
    monkeypatch.setitem(registry.FAMILIES, "weighted", Weighted)
    for model_id in ("weighted", "other"):
        files = (WeightFile(f"{model_id}.pt", url=f"https://example.org/{model_id}.pt"),)
        spec = ModelSpec(id=model_id, family="weighted", files=files, licence="MIT", quantity=Quantity.DISPARITY, default_size=32)
        monkeypatch.setitem(registry.MODELS, model_id, spec)
    return Weighted


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weighted.safetensors"
    save_file({"weight": torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1), "bias": torch.tensor([1.0])}, path)
    return path


@pytest.fixture
def load(family, weights):
    def load(model_id="weighted", dtype="float32", device="cpu"):
        return load_model(model_id, dtype, device, weights)

    return load
