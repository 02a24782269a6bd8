"""Loads models for nodes. If weights are missing, the error names alternatives, or a preview model is used if allowed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .. import model_loader
from ..annotators.registry import BUNDLED_MODEL
from ..model_loader import Model
from ..model_loader.environment import environment
from ..model_loader.load import replacements
from ..model_loader.weights.download import DownloadError
from ..model_loader.weights.find import models_on_disk
from ..options.estimate import TORCH

logger = logging.getLogger(__name__)

PREVIEW_SETTING = "DEPTH_NORMAL_PREVIEW"
"""Environment variable that lets the bundled model replace missing ones: 1 = yes."""

_WORKS = "it comes with the pack and works at once (a preview: disparity and normals, no metres)"

OTHER_NODE = f"Use Depth & Normals with {BUNDLED_MODEL!r} in its widget model, in place of this node"
"""Advice for nodes that do not offer the bundled model."""

_previewed: set[str] = set()
"""Ids of the models that the bundled one has replaced."""


class LoadsByName:
    """Base class of nodes that load models by name, so that ComfyUI runs them again when weights on disk change."""

    @classmethod
    def IS_CHANGED(cls, **_inputs: object) -> str:  # noqa: N802
        """Returns a text that changes with the weights of any model."""
        return weights_state()


def weights_state(model_id: str | None = None, weights: Path | None = None) -> str:
    """Says how often loaded files were replaced, as `load.replacements`, and how many of the missing models are there now."""
    return f"{replacements(model_id, weights)} replaced, {len(_previewed and _previewed & models_on_disk())} new"


def choose_tiny(widget: str) -> str:
    """The advice for a node whose widget offers the bundled model."""
    return f"Choose {BUNDLED_MODEL!r} in the widget {widget}"


def advised(error: DownloadError, advice: str, *, bundled: bool = True) -> DownloadError:
    """Prepends advice to an error; `bundled`: the advice is to use the bundled model."""
    return error.advised(f"{advice}: {_WORKS}" if bundled else advice)


def load_model(
    model_id: str | None, precision: str, advice: str, weights: Path | None = None, runtime: str = TORCH, *, stand_in: bool = True
) -> Model:
    """Loads a model like `model_loader.load_model`; falls back to the bundled one for missing weights if the user allows that.

    Args:
        model_id, weights, runtime: As in `model_loader.load_model`.
        precision: As `dtype` in `model_loader.load_model`.
        advice: First sentence of the error for missing weights: what to do.
        stand_in: Whether the bundled model provides what the caller needs.

    Raises:
        DownloadError: The weights are missing and cannot be downloaded.
    """
    try:
        return model_loader.load_model(model_id, precision, weights=weights, runtime=runtime)
    except DownloadError as error:
        if not stand_in or environment(PREVIEW_SETTING) in ("", "0"):
            raise advised(error, advice, bundled=stand_in) from error.__cause__
        short = f"PREVIEW by {BUNDLED_MODEL}, not {model_id}"
        words = "%s stands in for %s, as %s allows: %s"
        logger.warning(words, BUNDLED_MODEL, model_id, PREVIEW_SETTING, error.reason, extra={"note": short})
        _previewed.add(str(model_id))
        return model_loader.load_model(BUNDLED_MODEL, precision)


def options_for(model: Model, options: Any) -> Any:
    """The family's options; None if the bundled model, which has none, replaced the family's."""
    return None if options is None or model.spec.id == BUNDLED_MODEL else options
