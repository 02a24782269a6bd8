"""The aiohttp server of `depth-normal ui`: the page's files, uploads, the queue and the results, for this computer only."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ...annotators.choices import RECOMMENDED_MODEL
from ...annotators.registry import MODELS
from ...geometry.files import MAX_PIXELS
from ...geometry.files.html_page import WEB
from ...geometry.files.image_files import IMAGE_KINDS, image_size
from ...model_loader.system import free_space
from ...options.outputs import IMAGES
from ..batch.options import Options
from ..batch.sources import VIDEOS
from ..commands.models import GROUPS, describe, group_of
from ..console.viewer import show
from ..outcomes import DEMO_IMAGE, EXPECTED_ERRORS
from . import results
from .gate import Gate, middleware
from .job import Job, clean_name, options_of, typed_name
from .jobs import JobQueue
from .previews import Preview, request_of, usual_values
from .refusals import Refusal, no_room
from .tasks import Cancellation

T = TypeVar("T")

PAGE = Path(__file__).parent / "page"
_CHUNK = 2**18
_LOOK_SECONDS = 0.2
_USUAL_PIXELS = 12 * 2**20
_READS = f"{IMAGE_KINDS}, MP4, MOV, MKV, WebM"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


# Browsers send along the cookies of all other servers of this computer.
_LONGEST_HEADER = 2**20

_log = logging.getLogger(__name__)
_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
"""Malformed HTTP is answered with 400 and not logged."""


@dataclass(frozen=True)
class Limits:
    """Upload limits: bytes and pixels of a file, by its header, and the disk space that uploads must leave free."""

    image_bytes: int = 2**29
    video_bytes: int = 2**33
    pixels: int = MAX_PIXELS
    free_bytes: int = 2**28


class Ui:
    """The server's request handlers."""

    def __init__(self, jobs: JobQueue, gate: Gate, model: str, limits: Limits | None = None) -> None:
        self.jobs, self.gate, self.model, self.limits = jobs, gate, model, limits or Limits()
        self.files = _page_files()
        # One view or export of 12 megapixels takes some 400 MB, hence one at a time. Those of smaller images and thumbnails do not wait for
        # larger ones, which take minutes.
        self._large, self._usual, self._small = (ThreadPoolExecutor(1, f"depth-normal {what}") for what in ("large", "views", "thumbnails"))

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[middleware(self.gate)])
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/{folder:page|web|web/languages}/{name}", self.page_file),
                web.get("/api/state", self.state),
                web.get("/api/models", self.models),
                web.post("/api/models/{model}/{action:download|cancel}", self.download),
                web.post("/api/upload", self.upload),
                web.post("/api/demo", self.demo),
                web.post("/api/cancel", self.cancel_all),
                web.post("/api/folder", self.folder),
                web.post("/api/jobs/{job}/{action:cancel|retry|remove|again}", self.act),
                web.get("/api/jobs/{job}/view", self.view),
                web.get("/api/jobs/{job}/thumbnail", self.thumbnail),
                web.get("/api/jobs/{job}/files/{kind}", self.file),
                web.post("/api/jobs/{job}/files/{kind}", self.make_file),
                web.post("/api/jobs/{job}/{kind:stereo|parallax|relight}", self.make_preview),
                web.get("/api/previews/{preview}", self.preview),
                web.post("/api/previews/{preview}/cancel", self.cancel_preview),
                web.get("/api/previews/{preview}/file", self.preview_file),
                web.post("/api/previews/{preview}/file", self.keep_preview),
                web.get("/api/previews/{preview}/kept", self.kept_preview),
            ]
        )
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        for pool in (self._large, self._usual, self._small):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, work: Callable[..., T], job: Job, *words: Any) -> T:
        """Runs memory-hungry work on a job one at a time; its last argument is a function that raises once the request is cancelled."""
        stop, pool = Cancellation(), self._large if math.prod(job.size or ()) > _USUAL_PIXELS else self._usual
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work, job, *words, stop.check)
        finally:
            stop.set()

    async def index(self, request: web.Request) -> web.Response:
        """The page, which is the same for everybody."""
        return web.Response(body=self.files["page/index.html"].read_bytes(), content_type="text/html", charset="utf-8")

    async def page_file(self, request: web.Request) -> web.Response:
        """A script or stylesheet: only files listed at start, by exact name."""
        name = f"{request.match_info['folder']}/{request.match_info['name']}"
        if (path := self.files.get(name)) is None:
            raise Refusal(404, "{0} is no file of this page", name)
        return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8")

    async def state(self, request: web.Request) -> web.Response:
        """The queue and the downloads; 204 if `since` is the current version."""
        if request.query.get("since") == str(self.jobs.version):
            return web.Response(status=204)
        return web.json_response(self.jobs.as_json())

    async def models(self, request: web.Request) -> web.Response:
        """The models in the groups of `depth-normal models`, the upload limits, and the sliders' defaults."""
        rows = await asyncio.to_thread(_model_rows)
        limits = {"image": self.limits.image_bytes, "video": self.limits.video_bytes}
        kinds = {"image": sorted(IMAGES), "video": sorted(VIDEOS)}
        begins = {"chosen": self.model, "usual": usual_values()}
        return web.json_response({"models": rows, **begins, "limits": limits, "extensions": kinds, "reads": _READS})

    async def download(self, request: web.Request) -> web.Response:
        """Starts or cancels the download of a model's weights."""
        model = request.match_info["model"]
        if model not in MODELS:
            raise Refusal(404, "{0} is no model", model)
        if request.match_info["action"] == "download":
            self.jobs.downloads.start(model)
        else:
            self.jobs.downloads.cancel(model)
        return web.json_response(self.jobs.as_json())

    async def upload(self, request: web.Request) -> web.Response:
        """Receives a file as the request's body and queues it. Its name and settings are in the query."""
        name, options = clean_name(request.query.get("name", "")), options_of({**request.query})
        extension = Path(name).suffix
        if extension not in VIDEOS.union(IMAGES):
            raise Refusal(
                415, "{0} is no image or video that this page reads; use {1} (the command line reads HDR and EXR too)", name, _READS
            )
        most = self.limits.video_bytes if extension in VIDEOS else self.limits.image_bytes
        with self.jobs.upload_folder(name) as folder:
            path = folder / name
            await self._receive(request, path, most)
            size = None if extension in VIDEOS else await asyncio.to_thread(self._checked_size, path)
            job = self.jobs.add(path, name, options, size, typed_name(request.query.get("name", "")))
        return web.json_response(job.as_json(), status=201)

    async def _receive(self, request: web.Request, path: Path, most: int) -> None:
        """Writes the body to a file of at most `most` bytes while enough disk space is free."""
        taken, expected = 0, request.content_length or 0
        with path.open("wb") as file:
            while True:
                if max(taken, expected) > most:
                    words = "{0} is larger than {1} MB, the most that is taken; scale it down, or use the command line"
                    raise Refusal(413, words, path.name, most // 2**20)
                if free_space(path.parent) - max(0, expected - taken) < self.limits.free_bytes:
                    raise no_room(path.name, path.parent.parent)
                if not (chunk := await request.content.read(_CHUNK)):
                    break
                taken += len(chunk)
                file.write(chunk)
                file.flush()
        if not taken:
            raise Refusal(415, "{0} is empty", path.name)

    def _checked_size(self, path: Path) -> tuple[int, int]:
        try:
            width, height = image_size(path)
        except EXPECTED_ERRORS as error:
            reason = str(error).replace(str(path), path.name)
            raise Refusal(413 if "pixels" in reason else 415, "{0}", reason) from error
        if width * height > self.limits.pixels:
            most = self.limits.pixels // 2**20
            raise Refusal(413, "{0} has {1} pixels; at most {2} megapixels are read; scale it down", path.name, f"{width}x{height}", most)
        return width, height

    async def demo(self, request: web.Request) -> web.Response:
        """Queues the demo photo."""
        options = options_of({**request.query})
        with self.jobs.upload_folder(DEMO_IMAGE.name) as folder:
            path = Path(shutil.copy(DEMO_IMAGE, folder / DEMO_IMAGE.name))
            job = self.jobs.add(path, path.name, options, image_size(path), str(DEMO_IMAGE))
        return web.json_response(job.as_json(), status=201)

    async def cancel_all(self, request: web.Request) -> web.Response:
        """Cancels all unfinished jobs."""
        self.jobs.cancel()
        return web.json_response(self.jobs.as_json())

    async def act(self, request: web.Request) -> web.Response:
        """Cancels, retries or removes one job, or runs its file again with the settings in the query."""
        job, action = self._job(request), request.match_info["action"]
        if action == "again":
            await asyncio.to_thread(self._again, job, options_of({**request.query}))
        else:
            getattr(self.jobs, action)(job.id)
        return web.json_response(self.jobs.as_json())

    def _again(self, job: Job, options: Options) -> None:
        try:
            with self.jobs.upload_folder(job.name) as folder:
                path = Path(shutil.copy(job.upload(), folder / job.name))
                self.jobs.add(path, job.name, options, job.size, job.typed)
        except OSError as error:
            raise Refusal(410, "{0}", error) from error

    async def folder(self, request: web.Request) -> web.Response:
        """Opens the results folder in the file manager."""
        if not self.jobs.out.is_dir():
            raise Refusal(404, "the folder {0} is made with the first result", self.jobs.out)
        await asyncio.to_thread(show, self.jobs.out)
        return web.json_response({})

    async def view(self, request: web.Request) -> web.Response:
        """An image's result for the viewers."""
        return web.json_response(await self._in_turn(results.view_of, self._job(request)))

    async def thumbnail(self, request: web.Request) -> web.Response:
        """A thumbnail of the upload."""
        body = await asyncio.get_running_loop().run_in_executor(self._small, results.thumbnail_of, self._job(request))
        return web.Response(body=body, content_type="image/jpeg")

    async def make_file(self, request: web.Request) -> web.Response:
        """The path and signed URL of a result's file, exported if needed; with `overwrite`, in place of a foreign file."""
        job, kind = self._job(request), request.match_info["kind"]
        if (path := results.file_of(job, kind)) is None:
            path = await self._in_turn(results.export, job, kind, request.query.get("overwrite") == "1")
            self.jobs.changed()
        shows = {"show": "1"} if "show" in request.query else {}
        return web.json_response({"address": self.gate.signed(request.rel_url.raw_path, **shows), "path": str(path)})

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A result's file; inline for a video with `show`, else as a download."""
        if (path := results.file_of(self._job(request), request.match_info["kind"])) is None:
            raise Refusal(404, "{0} has no result yet", self._job(request).name)
        return _sent(path, "show" in request.query and path.suffix == ".mp4")

    async def make_preview(self, request: web.Request) -> web.Response:
        """Starts a preview with the settings in the query; with `plan`, returns only its command."""
        job, kind = self._job(request), request.match_info["kind"]
        if "plan" in request.query:
            return web.json_response({"command": job.command_of(kind, request_of(kind, request.query).command)})
        preview = self.jobs.previews.start(job, kind, {**request.query})
        return web.json_response(preview.as_json())

    async def preview(self, request: web.Request) -> web.Response:
        """The progress of a preview."""
        return web.json_response(self._preview(request).as_json())

    async def cancel_preview(self, request: web.Request) -> web.Response:
        """Cancels an unfinished preview."""
        return web.json_response(self.jobs.previews.cancel(request.match_info["preview"]).as_json())

    async def preview_file(self, request: web.Request) -> web.StreamResponse:
        """A finished preview, inline."""
        return _sent(self.jobs.previews.file_of(self._preview(request)), shows=True)

    async def keep_preview(self, request: web.Request) -> web.Response:
        """Copies a finished preview to the results folder; returns the copy's signed URL and path."""
        preview = self._preview(request)
        path = await asyncio.to_thread(self.jobs.previews.keep, preview)
        return web.json_response({"address": self.gate.signed(f"/api/previews/{preview.id}/kept"), "path": str(path)})

    async def kept_preview(self, request: web.Request) -> web.StreamResponse:
        """The copy in the results folder."""
        return _sent(self.jobs.previews.kept(self._preview(request)), shows=False)

    def _preview(self, request: web.Request) -> Preview:
        return self.jobs.previews.get(request.match_info["preview"])

    def _job(self, request: web.Request) -> Job:
        return self.jobs.get(request.match_info["job"])


def _sent(path: Path, shows: bool) -> web.StreamResponse:
    """A file, inline or as a download."""
    response = web.FileResponse(path)
    if not shows:
        response.content_type = "application/octet-stream"
    # The form of file names that all browsers understand.
    response.headers["Content-Disposition"] = f"{'inline' if shows else 'attachment'}; filename*=UTF-8''{quote(path.name)}"
    return response


def _page_files() -> dict[str, Path]:
    """The page's files by URL path: its own, and the viewers shared with ComfyUI's page."""
    files = {f"page/{path.name}": path for path in PAGE.iterdir() if path.suffix in _TYPES}
    files |= {f"web/{path.name}": path for path in WEB.glob("*.mjs")}
    return files | {f"web/languages/{path.name}": path for path in (WEB / "languages").glob("*.json")}


def _model_rows() -> list[dict[str, Any]]:
    """The models for depth or normals of photos and videos, all that the page makes, in the order of the command line's list."""
    order = list(GROUPS)
    # The recommended image model before the recommended video model.
    of_photos = (spec for spec in MODELS.values() if (spec.quantity or spec.axes) and not spec.for_panoramas)
    specs = sorted(of_photos, key=lambda spec: (order.index(group_of(spec)), spec.id != RECOMMENDED_MODEL))
    rows = {spec.id: describe(spec) for spec in specs}
    return [
        {
            **rows[spec.id],
            "group": group_of(spec),
            "title": GROUPS[group_of(spec)],
            "bundled": spec.file.bundled,
            "size_in_words": spec.size_in_words,
            "terms": spec.terms,
            "page": spec.licence_page,
        }
        for spec in specs
        if spec.file.published or rows[spec.id]["file"]
    ]


@asynccontextmanager
async def listening(ui: Ui, port: int = 0) -> AsyncIterator[str]:
    """Serves on 127.0.0.1 during the block; yields the page's URL with its token. Raises OSError if the port is taken."""
    runner = web.AppRunner(
        ui.application(),
        logger=_log,
        access_log=None,
        shutdown_timeout=1,
        handler_cancellation=True,  # cancels views whose request was aborted
        auto_decompress=False,  # no decompression bombs: `Gate.check` rejects compressed bodies
        max_field_size=_LONGEST_HEADER,
    )
    await runner.setup()
    try:
        assert runner.server is not None
        listener = await asyncio.get_running_loop().create_server(ui.gate.bounded(runner.server), "127.0.0.1", port)
        try:
            ui.gate.port = listener.sockets[0].getsockname()[1]
            yield ui.gate.address
        finally:
            listener.close()
    finally:
        await runner.cleanup()


async def serve(ui: Ui, port: int, ready: Callable[[str], None], ended: Event) -> None:
    """Serves until a signal handler sets `ended`; calls `ready` with the page's URL."""
    async with listening(ui, port) as address:
        ready(address)
        while not ended.is_set():  # the handler does not wake the loop
            await asyncio.sleep(_LOOK_SECONDS)
