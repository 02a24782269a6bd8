"""The door to ComfyUI: its memory manager, progress bar and interruption, or what stands in for them outside it."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...annotators.base import is_out_of_memory
from ...geometry.files.json_file import read_json
from ..main_memory import free_main_memory
from .folders import folder_paths
from .interrupt import Watch, undisturbed

logger = logging.getLogger(__name__)

# Working memory for one forward on a CPU: larger batches are not faster there, and cannot be cancelled as soon.
CPU_WORKING_BYTES = 2**30

# Seconds: between two of many words on a node, and what a node takes that says anything at all.
_WORDS_EVERY = 0.25
_WORTH_WORDS = 1.0


def memory_manager() -> Any | None:
    """ComfyUI's `comfy.model_management`, or None outside ComfyUI.

    ComfyUI has imported it before it loads any pack; importing it here would start ComfyUI where there is none.
    """
    return sys.modules.get("comfy.model_management")


def has_node(node_id: str) -> bool:
    """Whether ComfyUI has a node of this id by now: one of its own, or of a pack that it loaded before."""
    return node_id in getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", ())


def pack_of_node(node_id: str) -> str | None:
    """The folder or file of the pack whose node of this id ComfyUI has; None where it has none."""
    node = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get(node_id)
    return None if node is None else getattr(node, "RELATIVE_PYTHON_MODULE", "ComfyUI").removeprefix("custom_nodes.")


def user_setting(name: str) -> Any:
    """What ComfyUI's settings have under a name; None where nobody chose, outside ComfyUI, and in versions without a user folder."""
    module: Any = folder_paths()
    try:
        path = Path(module.get_user_directory(), "default", "comfy.settings.json")
        settings = read_json(path)
    except (AttributeError, OSError, ValueError):
        return None
    return settings.get(name) if isinstance(settings, dict) else None


def when_started(call: Callable[[], Awaitable[None]]) -> None:
    """Calls once ComfyUI has loaded every pack and begins to serve. Never outside ComfyUI."""
    app = getattr(getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None), "app", None)
    if app is None or app.on_startup.frozen:
        return

    async def started(_app: object) -> None:
        try:
            await call()
        except Exception:
            logger.exception("what was to be done when ComfyUI starts failed; all nodes work")  # an error here would stop the server

    app.on_startup.append(started)


def before_each_prompt(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Has ComfyUI hand what is posted to it for a run to a function first, and take what that returns."""
    server: Any = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if hasattr(server, "add_on_prompt_handler"):
        server.add_on_prompt_handler(change)


async def offer_replacement(old_id: str, new_id: str) -> None:
    """Lets ComfyUI's page put a node of another id, with inputs of the same names, in the place of a missing one."""
    try:
        from comfy_api.latest import ComfyAPI, io  # pyright: ignore[reportMissingImports]

        await ComfyAPI().node_replacement.register(io.NodeReplace(new_node_id=new_id, old_node_id=old_id))
    except (ImportError, AttributeError):  # versions before node replacement
        return


def default_device() -> torch.device:
    """The device that models run on: ComfyUI's choice inside it, else the first of CUDA, MPS, CPU that there is."""
    if (manager := memory_manager()) is not None:
        return manager.get_torch_device()
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def image_placement() -> tuple[torch.device, torch.dtype]:
    """Device and dtype in which nodes hand pictures on."""
    if (manager := memory_manager()) is None:
        return torch.device("cpu"), torch.float32
    # intermediate_dtype came with ComfyUI 0.3.77
    dtype = manager.intermediate_dtype() if hasattr(manager, "intermediate_dtype") else torch.float32
    return manager.intermediate_device(), dtype


def is_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device computes in this dtype, and at least as fast as in float32."""
    if dtype == torch.float32:
        return True
    if device.type == "cpu":
        # AVX512-BF16 or AMX; float16 and emulated bfloat16 are many times slower than float32
        return dtype == torch.bfloat16 and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    if (manager := memory_manager()) is not None:
        return (manager.should_use_bf16 if dtype == torch.bfloat16 else manager.should_use_fp16)(device)
    if device.type == "cuda":
        # before Volta (7.0), float16 is up to 64 times slower than float32
        half = dtype == torch.float16 and torch.cuda.get_device_capability(device) >= (7, 0)
        return half or (dtype == torch.bfloat16 and torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def available_memory(device: torch.device) -> int:
    """Bytes that one forward may use on the device."""
    if device.type == "cpu":
        return CPU_WORKING_BYTES
    if (manager := memory_manager()) is not None:
        return int(manager.get_free_memory(device))
    if device.type == "cuda":
        # what torch holds and does not use counts as free: the device's own figure leaves it out
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return CPU_WORKING_BYTES


def available_main_memory() -> float:
    """Bytes of main memory that models may still take; outside ComfyUI that is the caller's business."""
    manager = memory_manager()
    # ComfyUI asks for the machine's memory, whatever the limit of its container
    return float("inf") if manager is None else min(manager.get_free_memory(torch.device("cpu")), free_main_memory())


def empty_cache() -> None:
    """Gives memory that torch keeps for later back to the device."""
    if (manager := memory_manager()) is not None:
        manager.soft_empty_cache()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()


def progress_bar(total: int, describe: Callable[[int, int], str] | None = None) -> Callable[[int, int], None] | None:
    """A function (done, total) that moves ComfyUI's progress bar; None outside ComfyUI.

    Args:
        total: What is to be done.
        describe: What the node says of (done, total); None = that it is running, and at the end how long it took.
    """
    if memory_manager() is None:
        return None
    bar, words = sys.modules["comfy.utils"].ProgressBar(total), describe or _Running().words

    def move(done: int, all_of_it: int) -> None:
        bar.update_absolute(done, all_of_it)
        if said := words(done, all_of_it):
            say(said, often=done < all_of_it)

    return move


class _Running:
    """What a node says while it runs; one that is done in no time says nothing."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._ended = False

    def words(self, done: int, total: int) -> str:
        """What to say of a part that is done."""
        took = time.monotonic() - self._start
        if self._ended or (took < _WORTH_WORDS and not _has_spoken()):
            return ""
        self._ended = done >= total
        return f"done in {took:.1f} s" if self._ended else f"running {done} of {total}"


@dataclass
class _Spoken:
    """What the node that runs has been told.

    Attributes:
        run: Ids of the prompt and the node.
        note: What stands above all that is said.
        at: When something was sent.
        said: Whether anything was.
    """

    run: tuple[str | None, str | None] = (None, None)
    note: str = ""
    at: float = 0.0
    said: bool = False


_spoken = _Spoken()


def say(words: str, often: bool = False) -> None:
    """Shows words on the node that ComfyUI is executing, in the page that asked for it. Nothing where there is none.

    Args:
        words: They take the place of what was said before.
        often: There will be more in no time: of such, four a second are sent.
    """
    if (server := _listening_server()) is None:
        return
    spoken, now = _words_of_run(server), time.monotonic()
    if often and now - spoken.at < _WORDS_EVERY:
        return
    spoken.at, spoken.said = now, True
    server.send_progress_text(f"{spoken.note}: {words}" if spoken.note else words, spoken.run[1], server.client_id)


def note(words: str) -> None:
    """Has words stand before all that the node says until it has run."""
    if (server := _listening_server()) is not None:
        _words_of_run(server).note = words


def _has_spoken() -> bool:
    server = _listening_server()
    return server is not None and _words_of_run(server).said


def _listening_server() -> Any | None:
    """ComfyUI's server, if a page waits for the node that runs."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    # an old ComfyUI has no send_progress_text, and a prompt that a script posted no page
    return server if getattr(server, "client_id", None) is not None and hasattr(server, "send_progress_text") else None


def _words_of_run(server: Any) -> _Spoken:
    """What the node that is executed has been told, forgotten when another is."""
    global _spoken
    find = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    context = find() if find is not None else None  # None in threads of our own too
    run = (getattr(server, "last_prompt_id", None), server.last_node_id) if context is None else (context.prompt_id, context.node_id)
    if run != _spoken.run:
        _spoken = _Spoken(run)
    return _spoken


def throw_if_interrupted() -> None:
    """Raises ComfyUI's InterruptProcessingException where the user pressed cancel. Nothing outside ComfyUI."""
    if (manager := memory_manager()) is not None:
        manager.throw_exception_if_processing_interrupted()


def is_interruption(error: BaseException) -> bool:
    """Whether an exception says that ComfyUI's user pressed cancel; in older versions it is an Exception as any other."""
    kind = getattr(memory_manager(), "InterruptProcessingException", None)
    return kind is not None and isinstance(error, kind)


def make_interruptible(network: nn.Module) -> None:
    """Lets every layer of the network look for an interruption before it runs."""
    if memory_manager() is None:
        return
    for layer in network.modules():
        if not any(layer.children()):
            layer.register_forward_pre_hook(lambda _module, _inputs: throw_if_interrupted())


def interruptible(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; inside ComfyUI it ends between any two steps of its computation where the user pressed cancel."""

    @functools.wraps(work)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if memory_manager() is None:
            return work(*args, **kwargs)
        with Watch(throw_if_interrupted):
            return work(*args, **kwargs)

    return watched


class ManagedNetwork(nn.Module):
    """A network as ComfyUI's memory manager gets it: the manager sets attributes on it, `device` too, which transformers' models refuse."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Placement:
    """Keeps a network where it can run: through ComfyUI's memory manager inside ComfyUI, else on one device."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._patcher: Any = None
        if (manager := memory_manager()) is not None:
            patchers = sys.modules["comfy.model_patcher"]
            # read at call time: ComfyUI rebinds it at start-up
            patcher_class = getattr(patchers, "CoreModelPatcher", patchers.ModelPatcher)
            self._patcher = patcher_class(ManagedNetwork(network), load_device=device, offload_device=manager.unet_offload_device())

    def ready(self, working_bytes: int) -> torch.device:
        """Brings the network to its device, with room for a forward, and returns where it is."""
        if self._patcher is None:
            self._network.to(self._device)
            return self._device
        manager = memory_manager()
        assert manager is not None
        with undisturbed():  # ComfyUI's notes of what is where hold only at the end
            manager.load_models_gpu([self._patcher], memory_required=working_bytes, force_full_load=True)
        return self._gather()

    def _gather(self) -> torch.device:
        """Under memory pressure, and with --novram, ComfyUI leaves a plain torch module's weights where they were: moves them."""
        target = self._patcher.load_device
        places = {tensor.device for tensor in (*self._network.parameters(), *self._network.buffers())}
        if places == {target}:
            return target
        try:
            self._network.to(target)
            return target
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        logger.warning("%s does not fit on %s: running on the CPU", type(self._network).__name__, target)
        empty_cache()
        self._network.to("cpu")
        return torch.device("cpu")

    def unload(self) -> None:
        """Takes the network off its device and out of ComfyUI's list of loaded models; `ready` brings it back the same way."""
        manager = memory_manager()
        if release := getattr(self._network, "release", None):  # what an engine holds beside tensors, on a CPU too
            release()
        if self._patcher is None or manager is None:
            self._network.to("cpu")
        else:
            with undisturbed():
                for loaded in [entry for entry in manager.current_loaded_models if entry.model is self._patcher]:
                    loaded.model_unload()
                    manager.current_loaded_models.remove(loaded)
        empty_cache()
