"""A server of `depth-normal ui` in this process, and a client that may send any header."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

TOKEN_HEADER = "X-Depth-Normal-Token"
ENDED = ("done", "failed", "cancelled")


class Client:
    """Asks the server as a script does that was given the token; `headers` replace what it sends by itself."""

    def __init__(self, ui):
        self.ui, self.jobs, self.port, self.token = ui, ui.jobs, ui.gate.port, ui.gate.token

    def ask(self, method, path, body=None, query=None, headers=None):
        """The status, the headers and the body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        words = {"Host": f"127.0.0.1:{self.port}", TOKEN_HEADER: self.token} | (headers or {})
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, {k: v for k, v in words.items() if v is not None})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def json(self, method, path, **options):
        status, _, body = self.ask(method, path, **options)
        return status, json.loads(body)

    def upload(self, path, name=None, **settings):
        data = path if isinstance(path, bytes) else Path(path).read_bytes()
        return self.json("POST", "/api/upload", body=data, query={"name": Path(path).name if name is None else name, **settings})

    def file(self, job_id, kind, **query):
        """The status, the headers and the body of a result's file, by its signed address; or what refuses it."""
        return self.signed(f"/api/jobs/{job_id}/files/{kind}", **query)

    def signed(self, path, **query):
        answer = self.ask("POST", path, query=query)
        return answer if answer[0] != 200 else self.ask("GET", json.loads(answer[2])["address"], headers={TOKEN_HEADER: None})

    def state(self):
        return self.json("GET", "/api/state")[1]

    def job(self, job_id):
        return next(job for job in self.state()["jobs"] if job["id"] == job_id)

    def until(self, job_id, *states):
        """The job once it is in one of the states, or has ended."""
        return self.wait(lambda: (job := self.job(job_id))["state"] in (*states, *ENDED) and job)

    def made(self, path, name=None, **settings):
        """The job of an image or video, once it has ended."""
        return self.until(self.upload(path, name, **settings)[1]["id"])

    @staticmethod
    def wait(condition, seconds=60):
        """What a condition gives, once it is true."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end
            time.sleep(0.02)
        return found


@contextmanager
def running(out, uploads, limits=None, model="tiny"):
    """Serves in a thread of its own while the block runs."""
    from depth_normal.annotators.choices import PAGE, worded
    from depth_normal.app.ui.gate import Gate
    from depth_normal.app.ui.jobs import JobQueue
    from depth_normal.app.ui.server import Ui, listening

    uploads.mkdir(exist_ok=True)
    jobs = JobQueue(out, uploads, "cpu")
    ui, ready, found = Ui(jobs, Gate(), model, limits), threading.Event(), {}

    async def serve():
        found.update(loop=asyncio.get_running_loop(), until=asyncio.Event())
        async with listening(ui):
            ready.set()
            await found["until"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        with worded(PAGE):
            yield Client(ui)
    finally:
        found["loop"].call_soon_threadsafe(found["until"].set)
        thread.join(20)
        jobs.close()


@pytest.fixture
def serve(tmp_path):
    return lambda uploads="uploads", out="out", **options: running(tmp_path / out, tmp_path / uploads, **options)


@pytest.fixture
def client(serve):
    from depth_normal.app.ui.server import Limits

    with serve(limits=Limits(image_bytes=2**20, pixels=2**20, free_bytes=0)) as client:
        yield client


@pytest.fixture
def photo(tmp_path):
    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def large(tmp_path):
    """An image that takes seconds."""
    with Image.open(Path(__file__).resolve().parents[3] / "app" / "coffee.jpg") as image:
        image.resize((2400, 1600)).save(tmp_path / "large.bmp")
    return tmp_path / "large.bmp"
