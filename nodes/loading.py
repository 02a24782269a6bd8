"""Loads models for nodes. Where weights are missing, the error names alternatives, or a preview model is used if allowed."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from .. import model_loader
from ..annotators.choices import TORCH
from ..annotators.registry import BUNDLED_MODEL
from ..model_loader import Model
from ..model_loader.comfy import feedback
from ..model_loader.weights.download_errors import DownloadError

logger = logging.getLogger(__name__)

PREVIEW_SETTING = "DEPTH_NORMAL_PREVIEW"
"""The environment variable that lets the bundled model stand in: 1 = yes."""

_WORKS = "it comes with the pack and works at once (a preview: disparity and normals, no metres)"

OTHER_NODES = f"Use Load Depth/Normal Model with {BUNDLED_MODEL!r} and Estimate Geometry in place of this node: {_WORKS}"
"""What to do at a node that has one model family alone."""

OTHER_NORMALS = f"Use MiDaS Normal Map with {BUNDLED_MODEL!r} in its widget model, in place of this node: {_WORKS}"
"""The same at an old node of normals."""


def choose_tiny(widget: str) -> str:
    """What to do at a node whose widget offers the bundled model."""
    return f"Choose {BUNDLED_MODEL!r} in the widget {widget}: {_WORKS}"


def load_model(model_id: str | None, precision: str, advice: str, weights: Path | None = None, runtime: str = TORCH) -> Model:
    """A model, as `model_loader.load_model` loads it; the bundled one in its place where it cannot be had and the user allows that.

    Args:
        model_id: As there.
        precision: As `dtype` there.
        advice: What to do where the weights cannot be had: the first sentence of the error.
        weights: As there.
        runtime: As there.

    Raises:
        DownloadError: The weights cannot be had.
    """
    try:
        return model_loader.load_model(model_id, precision, weights=weights, runtime=runtime)
    except DownloadError as error:
        if os.environ.get(PREVIEW_SETTING, "0") in ("", "0"):
            feedback.show_message(advice.split(":")[0])  # the page hides an error's words behind a button
            raise error.advised(advice) from error.__cause__
        logger.warning("%s stands in for %s, as %s allows: %s", BUNDLED_MODEL, model_id, PREVIEW_SETTING, error.reason)
        feedback.note(f"PREVIEW by {BUNDLED_MODEL}, not {model_id}")
        return model_loader.load_model(BUNDLED_MODEL, precision)


def options_for(model: Model, options: Any) -> Any:
    """A family's options; None where the bundled model, which has none, stands in."""
    return None if options is None or model.spec.id == BUNDLED_MODEL else options
