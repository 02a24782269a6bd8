"""ComfyUI's server and folders: nodes, start-up, prompts, user files and settings."""

from __future__ import annotations

import logging
import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_SERVED_NAME = re.compile(r"[!$&-;=@-Z_a-z~]+")
"""Names of folders whose files ComfyUI's server finds: it compares their addresses with unquoted names."""


def prompt_server() -> Any | None:
    """ComfyUI's server; None outside ComfyUI."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def is_idle() -> bool:
    """Whether this is ComfyUI's server, and no prompt runs."""
    queue = getattr(prompt_server(), "prompt_queue", None)
    return queue is not None and not queue.currently_running


def has_node(node_id: str) -> bool:
    """Whether ComfyUI already has a node of this id, of its own or of a pack loaded earlier."""
    return node_class(node_id) is not None


def node_class(node_id: str) -> Any | None:
    """The class of a node; None if ComfyUI has no such node."""
    return getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get(node_id)


def pack_of_node(node_id: str) -> str | None:
    """The folder or file of the pack that provides a node; None if ComfyUI has no such node."""
    node = node_class(node_id)
    return None if node is None else getattr(node, "RELATIVE_PYTHON_MODULE", "ComfyUI").removeprefix("custom_nodes.")


def blocked(message: str) -> Any:
    """An output value that makes only the nodes that use it fail, with this message. None outside ComfyUI."""
    utilities = sys.modules.get("comfy_execution.graph_utils")
    return None if utilities is None else utilities.ExecutionBlocker(message)


def when_started(call: Callable[[], Awaitable[None]]) -> None:
    """Calls once ComfyUI has loaded every pack and starts to serve. Never outside ComfyUI."""
    app = getattr(prompt_server(), "app", None)
    if app is None or app.on_startup.frozen:
        return

    async def started(_app: object) -> None:
        try:
            await call()
        except Exception:
            logger.exception("what was to be done when ComfyUI starts failed; all nodes work")  # an error here would stop the server

    app.on_startup.append(started)


def answer_page(path: str, answer: Callable[[Mapping[str, str]], Any]) -> None:
    """Registers an endpoint on ComfyUI's server, once. Does nothing outside ComfyUI.

    `answer` gets the query and returns a script as text, or a value that becomes JSON.
    """
    routes = getattr(prompt_server(), "routes", None)
    if routes is None:
        return
    if any(getattr(route, "path", None) == path for route in routes):  # registered twice, it would keep ComfyUI from starting
        logger.warning("custom_nodes holds this pack twice, and ComfyUI uses the copy loaded last, %s; remove the other one", _folder())
        return

    async def respond(request: Any) -> Any:
        from aiohttp import web  # pyright: ignore[reportMissingImports]

        body = answer(request.query)
        return web.Response(text=body, content_type="text/javascript") if isinstance(body, str) else web.json_response(body)

    routes.get(path)(respond)


def answer_script(name: str, make: Callable[[], str]) -> None:
    """Answers the page's requests for a script of the pack's web folder with what `make` returns."""
    folder = _folder().name
    if _SERVED_NAME.fullmatch(folder):
        answer_page(f"/extensions/{folder}/{name}", lambda _query: make())
    elif prompt_server() is not None:
        logger.warning("ComfyUI serves no scripts and help pages from a folder named %r; rename it to ComfyUI-Depth-Normal", folder)


def _folder() -> Path:
    """The pack's folder, by whose name ComfyUI serves its scripts and help pages."""
    return Path(__file__).parents[2]


def last_prompts(most: int) -> list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """The last executed prompts, newest first: id, nodes by id, the page's graph, and the outputs for the page by node id."""
    queue: Any = getattr(prompt_server(), "prompt_queue", None)
    if queue is None:
        return []
    with queue.mutex:
        ran = list(queue.history.values())[: -most - 1 : -1]
    graphs = ((each["prompt"][3].get("extra_pnginfo") or {}).get("workflow") or {} for each in ran)
    return [(*each["prompt"][1:3], graph, each.get("outputs", {})) for each, graph in zip(ran, graphs, strict=True)]


def last_prompt_id() -> str | None:
    """The id of the prompt that ComfyUI runs, or ran last; None outside ComfyUI."""
    return getattr(prompt_server(), "last_prompt_id", None)


def before_each_prompt(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Registers a function that changes every prompt posted to ComfyUI before it runs."""
    server: Any = prompt_server()
    if hasattr(server, "add_on_prompt_handler"):
        server.add_on_prompt_handler(change)


async def offer_replacement(old_id: str, new_id: str) -> None:
    """Offers ComfyUI's page a replacement, with inputs of the same names, for a missing node."""
    try:
        from comfy_api.latest import ComfyAPI, io  # pyright: ignore[reportMissingImports]

        await ComfyAPI().node_replacement.register(io.NodeReplace(new_node_id=new_id, old_node_id=old_id))
    except (ImportError, AttributeError):  # versions before node replacement
        return


USER_FOLDERS = ("input", "output", "temp")


def folder_paths() -> ModuleType | None:
    """ComfyUI's module `folder_paths` if ComfyUI runs; never imported from here, as other programs may have a module of that name."""
    module = sys.modules.get("folder_paths")
    return module if hasattr(module, "get_folder_paths") else None


def model_folders(name: str) -> Iterator[Path]:
    """ComfyUI's folders for a kind of models, plus the folder of this name in `models`, which packs fill without registering it."""
    module = folder_paths()
    if module is None:
        return
    try:
        folders = [Path(folder) for folder in module.get_folder_paths(name)]
    except KeyError:
        folders = []
    yield from dict.fromkeys((*folders, Path(module.models_dir) / name))


def user_folder(kind: str) -> Path:
    """ComfyUI's current folder of this kind, one of `USER_FOLDERS`, else a ValueError; a RuntimeError if ComfyUI is not running."""
    if kind not in USER_FOLDERS:
        raise ValueError(f"unknown folder {kind!r}; accepted: {', '.join(USER_FOLDERS)}")
    if (module := folder_paths()) is None:
        raise RuntimeError("this node reads and writes ComfyUI's own folders, and ComfyUI is not running; use depth_normal.geometry.files")
    return Path(getattr(module, f"get_{kind}_directory")())


def temporary_file(suffix: str) -> Path:
    """A unique path in ComfyUI's temporary folder, which is created; raises as `user_folder`."""
    folder = user_folder("temp")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"depth_normal_{uuid.uuid4().hex}{suffix}"


def user_settings(name: str) -> list[Any]:
    """The values of a setting of ComfyUI, of every user with --multi-user; none outside ComfyUI and in versions without a user folder."""
    from ...geometry.files.paths import read_json  # imports torch, which lists of weights do not need

    user_directory = getattr(folder_paths(), "get_user_directory", None)
    options = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    users = "*" if getattr(options, "multi_user", False) else "default"
    values = []
    for path in Path(user_directory()).glob(f"{users}/comfy.settings.json") if user_directory else ():
        with suppress(OSError, ValueError):
            if isinstance(settings := read_json(path), dict) and name in settings:
                values.append(settings[name])
    return values
