"""Filling networks with checkpoints, strictly: every tensor has its place, or the message names the first that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from ..networks.published import PublishedNetwork, StateDict
from ..specs.base import CheckpointError, printable


def count_keys(by_kind: Mapping[str, Iterable[str]]) -> list[str]:
    """The number of a checkpoint's keys of each kind in words, with the first of them; a kind without keys is left out."""
    ordered = {kind: sorted(keys) for kind, keys in by_kind.items()}
    return [f"{len(keys)} {kind} keys (first: {printable(keys[0])})" for kind, keys in ordered.items() if keys]


def checkpoint_mismatch(expected: StateDict, found: StateDict) -> str | None:
    """The reason, in words, why `found` cannot be loaded as `expected`; None if it can."""
    shared = expected.keys() & found.keys()
    differing = sorted(key for key in shared if expected[key].shape != found[key].shape)
    parts = count_keys({"unexpected": found.keys() - expected.keys(), "missing": expected.keys() - found.keys()})
    if differing:
        key = differing[0]
        shapes = f"{tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        parts.append(f"{len(differing)} tensors of another shape (first: {key}, {shapes})")
    if whole := sorted(key for key in shared if expected[key].is_floating_point() and not found[key].is_floating_point()):
        parts.append(f"{len(whole)} tensors of {found[whole[0]].dtype} in place of floating point numbers (first: {whole[0]}): quantised?")
    return ", ".join(parts) or None


def fill(network: nn.Module, state: StateDict, complaint: str) -> None:
    """Gives a network that was built on the meta device its tensors. They are taken as they are, not copied.

    Args:
        network: A module with no memory behind its parameters and buffers.
        state: What is to become of them.
        complaint: The message for a file of other tensors: "not a checkpoint of tiny". The first that differ are added.

    Raises:
        CheckpointError: The tensors are not exactly the network's.
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"{complaint}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)


def build_published(make: Callable[[], PublishedNetwork], state: StateDict, dtype: torch.dtype, complaint: str) -> nn.Module:
    """A network filled with its authors' checkpoint, strictly, on the CPU.

    Args:
        make: Makes the network; called with torch's meta device.
        state: The published state dict.
        dtype: What the network computes in.
        complaint: As `fill`.

    Raises:
        CheckpointError: As `fill`.
    """
    with torch.device("meta"):
        network = make()
    fill(network, network.official_names(state), complaint)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
    network.set_dtype(dtype)
    return network
