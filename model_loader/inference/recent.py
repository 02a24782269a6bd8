"""Caches the estimates of ComfyUI's nodes, so that nodes that render the same images differently do not run the network again.

Estimates live as long as ComfyUI keeps their node's object: until the node leaves the graph or `/free` empties the caches.
If ComfyUI runs without caches, it keeps no objects.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from ...geometry.estimate import Estimate
from ..comfy.devices import free_main_memory
from ..comfy.feedback import note, notes_of_run
from .network import Images

RUNS_OF_A_NODE = 4
"""Bounds the memory of a node that processes one image after another."""
MOST_BYTES = 2**30
_SHARE = 8
"""Cached estimates may take one part in this many of the free main memory."""

Make = Callable[[Iterable[Any]], Iterator[Estimate]]


@dataclass
class _Run:
    """A completed run of a network."""

    key: Hashable  # the network and everything else that determines its outputs, except the images
    digests: list[bytes]  # one per chunk of images
    parts: list[tuple[Estimate, torch.device]]  # its estimates, on the CPU, and their original devices
    notes: list[str]  # the messages shown on the node about inputs and settings

    @property
    def bytes(self) -> int:
        return sum(_bytes_of(part) for part, _ in self.parts)


_runs: weakref.WeakKeyDictionary[Any, list[_Run]] = weakref.WeakKeyDictionary()
"""Runs by node object, nodes and runs in LRU order."""
_lock = threading.Lock()
_running: ContextVar[Any] = ContextVar("the node that runs", default=None)


def keeping_estimates(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a node's method to cache the estimates that models make in it. If a node runs another one, they belong to the outer."""

    @functools.wraps(execute)
    def kept(node: Any, *args: Any, **kwargs: Any) -> Any:
        before = _running.set(_running.get() or node)
        try:
            return execute(node, *args, **kwargs)
        finally:
            _running.reset(before)

    return kept


def running_node() -> Any | None:
    """The object of the node that runs in this thread, if one does."""
    return _running.get()


def recalled(key: Hashable, chunks: Iterable[Images], make: Make) -> Iterator[Estimate]:
    """The cached estimates of images, or those by `make`, which are cached for the running node; outside of nodes nothing is cached.

    Args:
        key: The network and everything else that determines its outputs, except the images.
        chunks: The images in one or more chunks.
        make: Runs the network on chunks. A failed or unfinished run is not cached.
    """
    node = _running.get()
    return make(chunks) if node is None else _recalled(node, key, iter(chunks), make)


def forget_estimates() -> None:
    """Drops all cached estimates."""
    with _lock:
        _runs.clear()


def _recalled(node: Any, key: Hashable, chunks: Iterator[Images], make: Make) -> Iterator[Estimate]:
    digests: list[bytes] = []
    read: list[Images] = []
    with _lock:
        candidates = [run for runs in _runs.values() for run in runs if run.key == key]
    while candidates:
        chunk = next(chunks, None)
        if chunk is None:
            candidates = [run for run in candidates if run.digests == digests]
            break
        read.append(chunk)
        digests.append(_digest(chunk))
        candidates = [run for run in candidates if run.digests[: len(digests)] == digests]
    if not candidates:
        yield from _recorded(node, key, digests, read, chunks, make)
        return
    _keep(node, candidates[-1])
    for words in candidates[-1].notes:
        note(words)
    for part, device in candidates[-1].parts:
        yield part.to(device, copy=True)


def _recorded(
    node: Any, key: Hashable, digests: list[bytes], read: list[Images], chunks: Iterator[Images], make: Make
) -> Iterator[Estimate]:
    """Runs the network and caches its estimates; `digests` are those of the chunks in `read`."""
    parts: list[tuple[Estimate, torch.device]] | None = []
    room, before = _limit(), notes_of_run()

    def noted() -> Iterator[Images]:
        for chunk in chunks:
            if parts is not None:
                digests.append(_digest(chunk))
            yield chunk

    taken = (read.pop(0) for _ in range(len(read)))  # drops each reference first
    for part in make(chain(taken, noted())):
        if parts is not None:
            room -= _bytes_of(part)
            if room < 0:
                parts = None
            else:
                parts.append((part.to("cpu", copy=True), part.device))  # others may write into theirs
        yield part
        del part
    if parts is not None:
        _keep(node, _Run(key, digests, parts, notes_of_run(before)))


def _keep(node: Any, run: _Run) -> None:
    """Caches a run as its node's most recent, and evicts the least recently used beyond the limits."""
    with _lock:
        others = [each for each in _runs.pop(node, []) if each is not run]
        _runs[node] = [*others, run][-RUNS_OF_A_NODE:]  # makes the node the most recent, too
        limit = _limit()
        while sum({id(each): each.bytes for runs in _runs.values() for each in runs}.values()) > limit:
            _runs[next(iter(_runs))].pop(0)
            for empty in [each for each, runs in _runs.items() if not runs]:
                del _runs[empty]


def _limit() -> float:
    return min(MOST_BYTES, free_main_memory() / _SHARE)


def _bytes_of(estimate: Estimate) -> int:
    return sum(each.nbytes for each in estimate.maps.values())


def _digest(images: Images) -> bytes:
    tensor = torch.as_tensor(images).detach().cpu()
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # ComfyUI's layout: nothing is copied
    tensor = tensor.contiguous()
    digest = hashlib.sha256(f"{images.shape} {tensor.shape} {tensor.dtype}".encode())
    digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.digest()
