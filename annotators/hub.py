"""Networks of the transformers library, filled with a state dict instead of a repository."""

from __future__ import annotations

import importlib
from typing import Any

from .base import CheckpointError, StateDict


def from_state_dict(network_class: Any, config: Any, state: StateDict, model_id: str) -> Any:
    """Strict loading through from_pretrained: only that applies the renamings between the library's versions.

    Args:
        network_class: A model class of the library (see `base.from_transformers`), or one derived from it.
        config: Its configuration.
        state: Tensors under the names that files on the hub have.
        model_id: The model's name, for the message.

    Raises:
        CheckpointError: The tensors are not exactly the network's; the message names the first that differ.
    """
    transformers_logging = importlib.import_module("transformers.utils.logging")
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        network, report = network_class.from_pretrained(
            None, config=config, state_dict=dict(state), output_loading_info=True, ignore_mismatched_sizes=True
        )
    except ValueError as error:  # version 4 gives up at once where not even the prefix of the keys fits
        raise CheckpointError(
            f"not a checkpoint of {model_id}: its keys (first: {min(state, default=None)}) are another network's"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    parts = []
    for kind in ("unexpected", "missing", "mismatched"):
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report[f"{kind}_keys"])
        if keys:
            parts.append(f"{len(keys)} {kind} keys (first: {keys[0]})")
    if parts:
        raise CheckpointError(f"not a checkpoint of {model_id}: {', '.join(parts)}")
    return network
