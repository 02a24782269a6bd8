"""A real ComfyUI server with the pack in its custom_nodes, on the CPU, in folders of its own."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.prompts import of_workflow

ROOT = Path(__file__).resolve().parents[2]
HOME_VARIABLE = "DEPTH_NORMAL_COMFYUI"
FRONTEND_VARIABLE = "DEPTH_NORMAL_FRONTEND"
"""Names the folder `static` of another comfyui-frontend-package than the installed one, for the tests in the page."""


class Server:
    """A running server; `prompt` is ComfyUI's API format."""

    def __init__(self, base: Path, process: subprocess.Popen, port: int) -> None:
        self.base, self.process, self.address = base, process, f"http://127.0.0.1:{port}"

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text(errors="replace")

    def request(self, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def submit(self, prompt: dict) -> str:
        answer = self.request("/prompt", {"prompt": prompt})
        assert not answer["node_errors"], answer
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> dict:
        """The history entry of a prompt that ended: `status.status_str`, `status.messages`, `outputs`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = self.request(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.05)
        raise TimeoutError(self.log[-3000:])

    def run(self, prompt: dict) -> dict:
        return self.wait(self.submit(prompt))

    def finished(self, prompt: dict) -> dict:
        """The outputs of a prompt that has to run to its end."""
        history = self.run(prompt)
        assert history["status"]["status_str"] == "success", history["status"]["messages"]
        return history["outputs"]

    def error_of(self, prompt: dict) -> str:
        """What a prompt that has to fail says."""
        messages = self.run(prompt)["status"]["messages"]
        return next(body["exception_message"] for kind, body in messages if kind == "execution_error")

    def cancel(self, prompt_id: str) -> float:
        """Presses the page's button; the seconds until the prompt ends, which has to be by that."""
        pressed = time.monotonic()
        self.request("/interrupt", {})
        messages = self.wait(prompt_id)["status"]["messages"]
        assert any(kind == "execution_interrupted" for kind, _ in messages), messages
        return time.monotonic() - pressed

    def run_workflow(self, path: Path, out: Path, *settings: str, image: Path | None = None) -> dict:
        """Runs a published workflow with this image and these settings (NODE.INPUT=JSON); its files go to `out`. Gives the prompt."""
        prompt = of_workflow(json.loads(path.read_text()), self.request("/object_info"))
        if image:
            (self.base / "input" / image.name).write_bytes(image.read_bytes())
            for each in prompt.values():
                each["inputs"] |= {"image": image.name} if each["class_type"] == "DepthNormal_DemoImage" else {}
        for setting in settings:
            place, value = setting.split("=", 1)
            number, name = place.split(".")
            prompt[number]["inputs"][name] = json.loads(value)
        out.mkdir(exist_ok=True)
        for number, made in self.finished(prompt).items():
            for file in (each for values in made.values() for each in values if isinstance(each, dict) and "filename" in each):
                shutil.copy(self.base / file["type"] / file["subfolder"] / file["filename"], out / f"{number}_{file['filename']}")
        return prompt

    def bytes_read(self) -> int:
        """What the server has read so far from files and pipes, page cache included."""
        return int(Path(f"/proc/{self.process.pid}/io").read_text().split("rchar: ")[1].split()[0])


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    """The pack as ComfyUI's registry ships it."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files, and this folder is no checkout")
    folder = tmp_path_factory.mktemp("registry") / "ComfyUI-Depth-Normal"
    for name in runpy.run_path(str(ROOT / "docs" / "make_release.py"))["shipped"](ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def comfyui_python() -> Path:
    """The interpreter of a ComfyUI installation; ComfyUI itself lies beside its virtual environment."""
    if not os.environ.get(HOME_VARIABLE):
        pytest.skip(f"needs ComfyUI: set {HOME_VARIABLE} to the folder of `python tests/comfyui/install.py FOLDER`")
    home = Path(os.environ[HOME_VARIABLE])
    python = home / "venv" / "bin" / "python"
    for path in (home / "ComfyUI" / "main.py", python):
        assert path.is_file(), f"{HOME_VARIABLE}={home}: {path} does not exist; `python tests/comfyui/install.py {home}` makes it"
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    base: Path,
    python: Path,
    packs: Sequence[Path] = (),
    weights: Sequence[tuple[Path, str]] = (),
    flags: Sequence[str] = ("--cpu",),
    pack: Path = ROOT,
) -> Iterator[Server]:
    """A server with the pack, further node files, and weights (file, name) in the pack's model folder; no network."""
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/depth_normal"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "ComfyUI-Depth-Normal").symlink_to(pack)
    for file in packs:
        shutil.copy(file, base / "custom_nodes")
    for path, name in weights:
        shutil.copy(path, base / "models" / "depth_normal" / name)
    port = free_port()
    words = [*flags, *f"--listen 127.0.0.1 --port {port} --disable-auto-launch --disable-api-nodes".split(), "--base-directory", str(base)]
    if frontend := os.environ.get(FRONTEND_VARIABLE):
        words += ["--front-end-root", frontend]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(base / "hf"),
        "DEPTH_NORMAL_HOME": str(base / "cache"),
        "TORCH_HOME": str(base / "hub"),
    }
    with (base / "server.log").open("w") as log:
        process = subprocess.Popen(
            [python, "main.py", *words], cwd=python.parents[2] / "ComfyUI", stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    running = Server(base, process, port)
    try:
        wait_until_up(running)
        yield running
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def server(tmp_path_factory, midas_small, comfyui_python):
    packs = [ROOT / "tests" / name for name in ("tiny_depth.py", "tiny_diffusion.py", "tiny_old_nodes.py")]
    weights = [(midas_small, "midas_v21_small_256.pt")]
    with serving(tmp_path_factory.mktemp("comfyui"), comfyui_python, packs, weights) as running:
        yield running


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory, comfyui_python):
    """The server as it is after the pack's installation: no weights anywhere, no network.

    Files share it: they only add inputs and results to its folders. A test that changes more takes a server of its own.
    """
    with serving(tmp_path_factory.mktemp("bare"), comfyui_python) as running:
        yield running


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory, comfyui_python):
    """A server without weights, whose one download takes its time."""
    with serving(tmp_path_factory.mktemp("slow"), comfyui_python, [ROOT / "tests" / "slow_download.py"]) as running:
        yield running


@pytest.fixture
def serving_beside(tmp_path, comfyui_python):
    """Starts a server with further node files, or another copy of the pack; a context, as `serving`."""
    return lambda *packs, **more: serving(tmp_path / "beside", comfyui_python, packs, **more)


def wait_until_up(server: Server) -> None:
    for _ in range(3000):
        try:
            server.request("/system_stats")
        except (urllib.error.URLError, ConnectionError):
            assert server.process.poll() is None, server.log[-3000:]
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(server.log[-3000:])
