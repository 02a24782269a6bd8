"""Loads models by name, each once, and evicts them when main memory runs short."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..annotators.base import Annotator
from ..annotators.choices import BUNDLED_MODEL, RECOMMENDED_MODEL, wording
from ..annotators.registry import FAMILIES, find_any_spec, find_spec
from ..annotators.specs.base import CheckpointError, ModelSpec, WeightFile, size_in_words
from ..options.estimate import DTYPE_CHOICES, TORCH
from ..options.values import DEVICES
from ..utils import without_autocast
from .comfy import devices, feedback, host, interrupt
from .inference.model import Model
from .inference.network import LoadedNetwork
from .inference.recent import forget_estimates, running_node
from .runtimes.choose import Chosen, dtype_for, measured_choice, network_dtype, usable_runtime, with_runtime
from .runtimes.engine_store import digest_of
from .weights.checkpoint import read_checkpoint
from .weights.download import DownloadError, download_weights
from .weights.find import find_weights, forget
from .weights.identify import matching_models, recognise
from .weights.integrity import bundled_weights, stamp, verify

logger = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_CHOICES if name != "auto"}

_Key = tuple[str, torch.dtype, torch.device, str, str]

_Stamps = tuple[tuple[str, int, int], ...]

_cache: dict[_Key, Model] = {}
_stamps: dict[_Key, _Stamps] = {}
_notes: dict[_Key, list[str]] = {}
_loading: dict[_Key, threading.Lock] = {}
_replacements: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()
"""Guards the five tables. Never held while loading, unloading or waiting."""


class _Use:
    """One for all of ComfyUI's node objects that have loaded a model; goes with the last of them."""


_uses: weakref.WeakKeyDictionary[Any, _Use] = weakref.WeakKeyDictionary()
_watches: list[weakref.finalize] = []
"""Of the model on ComfyUI's device whose end may be that of all; at most one."""


@without_autocast
def load_model(
    model_id: str | None = None,
    dtype: str = "auto",
    device: str | torch.device = "auto",
    weights: str | Path | None = None,
    runtime: str = TORCH,
) -> Model:
    """Loads a model, downloading its weights if they are not available locally. A second call returns the same object.

    Threads that request the same model wait for one of them to load it; different models load in parallel. A loaded model is returned at
    once, unless one of its files was replaced: then it is loaded again.

    Args:
        model_id: An id of the table of models (see `depth-normal models --all`); None = recognise the model by the tensors in `weights`.
        dtype: "float32", "float16", "bfloat16", or "auto": the fastest that leaves the image unchanged. If half precision overflows
            during a run, the model switches to float32 for good: later requests for that half precision return the same float32 model
            (see `Model.dtype`) until `free`.
        device: "auto" (inside ComfyUI, its choice), "cpu", "cuda", "cuda:1" (the second GPU), "xpu", "mps" or a torch device.
        weights: A file of the same architecture to use instead of the published one.
        runtime: What runs the network: "torch", "compile" (torch.compile), "onnx" (ONNX Runtime), "openvino", or a choice from the
            measurements of `depth-normal bench --keep` on this machine: "auto", the fastest with torch's maps (within 1/255 of depth and
            0.2 degrees at the 99.9th percentile), or "fast", the fastest with torch's shapes and edges; without measurements, torch. An
            engine is built once and cached on disk. If a runtime is unavailable or fails, torch takes over and one line says why
            (`Model.runtime` names what runs it).

    Raises:
        ValueError: Unknown model, dtype, device or runtime, or neither a model nor weights.
        DownloadError: The weights are not available locally and cannot be downloaded.
        CheckpointError: The file is damaged, unsafe, or of another model; or a file of the pack is missing.
    """
    spec = find_any_spec(chosen_model(model_id, weights))
    torch_device = parse_device(device)
    chosen = chosen_runtime(spec, dtype, torch_device, weights, runtime)
    chosen.tell()
    runtime, dtype = usable_runtime(chosen.runtime, spec), chosen.dtype
    torch_dtype = dtype_for(runtime, dtype, partial(_parse_dtype, dtype, spec, torch_device), torch_device)
    key = (spec.id, torch_dtype, torch_device, str(weights or ""), runtime)
    _let_go_with(running_node())
    if model := _loaded(key):
        return model
    with _one_at_a_time(key):
        if model := _loaded(key):
            return model
        before = feedback.notes_of_run()
        any_device = device == "auto"
        model, stamps = _load(spec, torch_dtype, torch_device, Path(weights) if weights else None, runtime, any_device)
        with _lock:
            outdated = [each for each in _stamps if (each[0], each[3]) == (key[0], key[3]) and _replaced(_stamps[each])]
            for each in outdated:
                del _stamps[each], _notes[each]
            _replacements[key[0], key[3]] += len(outdated)
            forgotten = [_cache.pop(each, None) for each in outdated]
            _cache[key], _stamps[key], _notes[key] = model, stamps, feedback.notes_of_run(before)
        for each in filter(None, forgotten):
            each.unload()
        feedback.show_message(chosen.words or f"{spec.id} is loaded")  # the node keeps its last message
        return model


def chosen_runtime(
    spec: ModelSpec, dtype: str = "auto", device: str | torch.device = "auto", weights: str | Path | None = None, runtime: str = TORCH
) -> Chosen:
    """Resolves the runtimes "auto" and "fast", and with a measured one the dtype "auto"; arguments and errors as `load_model`."""
    torch_device = parse_device(device)
    own_dtype = partial(default_dtype, spec, torch_device)
    return measured_choice(runtime, dtype, spec, Path(weights) if weights else None, torch_device, own_dtype)


def chosen_model(model_id: str | None, weights: str | Path | None, default: str | None = None) -> str:
    """The id of the named model, else of the weights' (see `recognise`), else the default; a ValueError if there is none."""
    if model_id is not None:
        return find_any_spec(model_id).id
    if weights is not None:
        return recognise(Path(weights)).id
    if default is None:
        raise ValueError("no model is named; give its id (`depth-normal models --all` lists them), or a weights file to recognise it by")
    return default


def free(model_id: str | None = None) -> None:
    """Unloads models (all, or those of one id), drops cached estimates and frees their memory."""
    forget_estimates()
    _let_go(model_id)


def _let_go(model_id: str | None = None) -> None:
    with _lock:
        models = [_cache.pop(key) for key in list(_cache) if model_id in (None, key[0])]
    for model in models:
        model.unload()


def _let_go_with(node: Any | None) -> None:
    """Lets all models go when `/free` ("Free model and node cache") drops the last node object; else weights would stay in main memory."""
    if node is None or node in _uses:
        return
    use = next(iter(_uses.values()), None)
    if use is None:
        weakref.finalize(use := _Use(), _let_go_if_emptied).atexit = False
    _uses[node] = use


def _let_go_if_emptied() -> None:
    """Lets all models go if nothing uses them and `/free` was called; else looks again once a model leaves the device."""
    if _uses:
        return
    if on_device := devices.models_on_device():
        if not any(each.alive for each in _watches):
            _watches[:] = [weakref.finalize(on_device[0], _let_go_if_emptied)]
            _watches[0].atexit = False
    # locked: garbage was collected in the middle of one of the functions here
    elif host.is_idle() and not _lock.locked():  # while a prompt runs, it makes room, or has no node cache
        _let_go()


def replacements(model_id: str | None = None, weights: Path | None = None) -> int:
    """How often files of loaded models (None = any) were replaced, whether they were loaded again or not yet.

    `weights` is the user's file; None = the published ones.
    """
    with _lock:
        loaded_again = [count for key, count in _replacements.items() if key[1] == str(weights or "") and model_id in (None, key[0])]
        stamps = [each for key, each in _stamps.items() if key[3] == str(weights or "") and model_id in (None, key[0])]
    return sum(loaded_again) + sum(map(_replaced, stamps))


def _loaded(key: _Key) -> Model | None:
    """The cached model if its files are unchanged; moves it to the end of the cache, which is in LRU order."""
    with _lock:
        model = _cache.pop(key, None)
        if model is None:
            return None
        if is_current := not _replaced(_stamps[key]):
            _cache[key] = model
    if is_current:
        for words in _notes[key]:  # notes about its files still hold
            feedback.note(words)
        return model
    logger.info("forgetting %s: another file has taken the place of its weights", key[0])
    model.unload()
    return None


def _replaced(stamps: _Stamps) -> bool:
    """Whether one of the files was replaced. A deleted file does not count: it is no longer needed."""
    for before in stamps:
        with suppress(OSError):
            if stamp(Path(before[0])) != before:
                return True
    return False


@contextmanager
def _one_at_a_time(key: _Key) -> Iterator[None]:
    """Lets one thread at a time load this model; waiting threads react to ComfyUI's interruption."""
    with _lock:
        lock = _loading.setdefault(key, threading.Lock())
    while not lock.acquire(timeout=0.1):
        interrupt.throw_if_interrupted()
    try:
        yield
    finally:
        lock.release()


def _make_room(needed: int) -> None:
    """Drops cached estimates, then the least recently used models, while less than `needed` bytes of main memory are free."""
    if devices.available_main_memory() < needed:
        forget_estimates()
    while devices.available_main_memory() < needed:
        with _lock:
            model = _cache.pop(next(iter(_cache))) if _cache else None
        if model is None:
            return
        logger.info("forgetting %s: main memory is short", model.spec.id)
        model.unload()
        del model
        gc.collect()  # modules and hooks form reference cycles


def _load(
    spec: ModelSpec, dtype: torch.dtype, device: torch.device, weights: Path | None, runtime: str, any_device: bool
) -> tuple[Model, _Stamps]:
    FAMILIES[spec.family].check_requirements(spec)
    _compute_alone_after_fork()
    files = [file for file in spec.files if weights is None or not file.fits_published]
    paths = {file.role: weights if weights is not None and file is spec.file else _weights_of(spec, file) for file in files}
    # memory to read the files, and as much to build the network
    _make_room(2 * sum(path.stat().st_size for path in paths.values() if path.is_file()))
    stamps = tuple(stamp(path) for path in paths.values() if path.is_file())  # taken before reading, to notice later changes
    feedback.show_message(f"loading {spec.id}")

    def build(dtype: torch.dtype) -> Annotator:
        names_files = weights is not None or wording().names_weights
        logger.info("loading %s%s", spec.id, f" from {', '.join(map(str, paths.values()))}" if names_files else "")
        annotator = _build(spec, paths, network_dtype(runtime, dtype))
        if runtime == TORCH:
            return annotator
        return with_runtime(annotator, runtime, " ".join(map(digest_of, paths.values())), dtype, device, any_device)

    return Model(LoadedNetwork(build(dtype), dtype, device, paths[spec.file.role], rebuild=build)), stamps


@functools.cache
def _compute_alone_after_fork() -> None:
    """Gives processes that are forked from now on one thread.

    Torch would wait for ever for the threads of its pool, which a fork does not copy.
    """
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _build(spec: ModelSpec, paths: Mapping[str, Path], dtype: torch.dtype) -> Annotator:
    family, first = FAMILIES[spec.family], paths[spec.file.role]
    if contradiction := family.name_contradicts(spec, str(first)):
        logger.warning(contradiction)
    states = {role: read_checkpoint(path) for role, path in paths.items()}
    try:
        return family.build(spec, states, dtype)
    except CheckpointError as error:
        others = "leave it out to have the pack's own" if spec.file.bundled else "remove it so that it is downloaded again"
        if owners := _owners(states[spec.file.role], spec):
            raise CheckpointError(
                f"{first} is {error}. It has the tensors of {' or '.join(owners)}: {wording().choose(*owners)}, or {others}"
            ) from error
        raise CheckpointError(f"{first} is {error}. Give the file of {spec.id}, or {others}") from error


def _owners(state: Mapping[str, Tensor], asked: ModelSpec) -> list[str]:
    shapes = {name: value.to("meta") for name, value in state.items()}
    return [spec.id for spec in matching_models(shapes)[0] if spec is not asked]


def _weights_of(spec: ModelSpec, file: WeightFile) -> Path:
    """The path of a model's file: bundled, found in the user's folders, or downloaded."""
    if file.bundled:
        return bundled_weights(file)
    if path := find_weights(file):
        feedback.show_message(f"checking {file.name}")
        verify(path, file, interrupt.throw_if_interrupted)
        return path
    feedback.show_message(f"connecting, for {file.size_in_words} ({spec.licence})")
    try:
        path = download_weights(file, spec.terms, spec.licence_url, progress=feedback.progress_bar(100, _download_message(file, spec)))
    except DownloadError as error:
        raise error.advised(_advice(spec)) from error.__cause__  # not from `error`: logs would print it twice
    forget()
    return path


def _download_message(file: WeightFile, spec: ModelSpec) -> Callable[[int, int], str]:
    """Formats a download's progress for a node, from (bytes done, total bytes or 0). Empty until the first bytes arrive."""
    begin: int | None = None

    def message(done: int, total: int) -> str:
        nonlocal begin
        begin = done if begin is None else begin
        if done == begin or not total:
            return ""
        if done == total:
            return f"checking {file.name}"
        return f"downloading {100 * done // total} % of {size_in_words(total)} ({spec.licence})"

    return message


def _advice(spec: ModelSpec) -> str:
    """Advice where a model's weights are missing: the bundled model, or the recommended one."""
    choice = wording().choose(BUNDLED_MODEL)
    advice = f"{choice[0].upper()}{choice[1:]} to go on without a download: it comes with the pack (disparity and normals, no metres)"
    other = find_spec(RECOMMENDED_MODEL)
    name = wording().model.format(other.id)
    return advice if spec is other else f"{advice}, or {name} for metres and normals ({other.size_in_words}, {other.licence})"


def parse_device(device: str | torch.device) -> torch.device:
    """Parses "auto", one of DEVICES, optionally with an index, or any torch device; a ValueError if this machine or torch lacks it.

    CUDA and XPU devices get an index, so that "cuda" and "cuda:0" load a model once.
    """
    if device == "auto":
        return _with_index(devices.default_device())
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = None
    if parsed is None or (isinstance(device, str) and parsed.type not in DEVICES):
        raise ValueError(f"unknown device {device!r}; accepted: {', '.join(DEVICES)}, and cuda:N for the GPU of that number")
    counts = {
        "cuda": lambda: torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "xpu": lambda: torch.xpu.device_count() if torch.xpu.is_available() else 0,
        "mps": lambda: int(torch.backends.mps.is_available()),
    }
    if parsed.type not in counts:  # "cpu", or a backend of another torch build
        _check_computes(parsed)
        return parsed
    if not (count := counts[parsed.type]()):
        raise ValueError(f"device {str(parsed)!r} is not available to this torch ({torch.__version__}); accepted: auto and cpu")
    if (parsed.index or 0) >= count:
        there = f"{count} such devices, {parsed.type}:0 to {parsed.type}:{count - 1}" if count > 1 else f"one such device, {parsed.type}:0"
        raise ValueError(f"device {str(parsed)!r} does not exist: this machine has {there}")
    return _with_index(parsed)


def _check_computes(device: torch.device) -> None:
    """Refuses a device that is absent or holds no data ("meta")."""
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, NotImplementedError, AssertionError, ImportError) as error:
        raise ValueError(f"torch computes nothing on device {str(device)!r} here; accepted: {', '.join(DEVICES)}") from error


def _with_index(device: torch.device) -> torch.device:
    if device.type == "mps":  # there is only one
        return torch.device("mps")
    if device.type not in ("cuda", "xpu") or device.index is not None:
        return device
    backend = torch.cuda if device.type == "cuda" else torch.xpu
    # Querying CUDA would create its context, which takes GPU memory even if nothing runs there.
    return torch.device(device.type, backend.current_device() if backend.is_initialized() else 0)


def default_dtype(spec: ModelSpec, device: torch.device) -> str:
    """The dtype that "auto" stands for when torch runs a model on a device."""
    return str(_parse_dtype("auto", spec, device)).removeprefix("torch.")


def _parse_dtype(dtype: str, spec: ModelSpec, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        wanted = spec.auto_dtypes or FAMILIES[spec.family].auto_dtypes
        return next(each for name in (*wanted, "float32") if devices.is_fast(each := DTYPES[name], device))
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; accepted: {', '.join(DTYPE_CHOICES)}")
    if not devices.is_fast(DTYPES[dtype], device):
        logger.warning("%s on %s is slower than float32 here", dtype, device)
    return DTYPES[dtype]
