"""Lists and loads models for nodes. If weights are missing, the error names alternatives, or a preview model is used if allowed."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import model_loader
from ..annotators.choices import BEST_FIRST
from ..annotators.registry import BUNDLED_MODEL, MATERIAL_MODELS, MODELS, RECOMMENDED_MODEL, find_any_spec
from ..annotators.specs.base import CheckpointError, ModelSpec
from ..model_loader import Model
from ..model_loader.load import chosen_model, chosen_runtime, replacements
from ..model_loader.system import environment
from ..model_loader.weights.download import DownloadError
from ..model_loader.weights.find import find_file, models_on_disk
from ..options.estimate import AUTO, AUTO_RUNTIME, FAST_RUNTIME, TORCH, LoadOptions
from .option_widgets import Node, option_widgets, takes
from .widgets import DEPTH_NORMAL_MODEL, ESTIMATE, Widget, choice_widget, text_widget

logger = logging.getLogger(__name__)

PREVIEW_SETTING = "DEPTH_NORMAL_PREVIEW"
"""Environment variable that lets the bundled model replace missing ones: 1 = yes."""

_WORKS = "it comes with the pack and works at once (a preview: disparity and normals, no metres)"

OTHER_NODE = f"Use Depth & Normals with {BUNDLED_MODEL!r} in its widget model, in place of this node"
"""Advice for nodes that do not offer the bundled model."""

LABELS = "depth_normal_labels"
"""Widget option for web/choices.mjs: the label of each choice in the page. Graphs keep the choices themselves."""

TINY_CHOICE = f"{BUNDLED_MODEL}: the pack's own small network, a preview without a download"
"""Tooltip text for the bundled model in a list of choices."""

FIRST_CHOICE = (
    f"A good first choice is {RECOMMENDED_MODEL}: metres, normals and camera "
    f"({MODELS[RECOMMENDED_MODEL].size_in_words}, {MODELS[RECOMMENDED_MODEL].licence})."
)
"""Tooltip text that recommends a model."""

_DEPTH = {"metric_depth": "metres", "scale_invariant_depth": "depth without unit", "relative_depth": "relative depth"}

_previewed: set[str] = set()
"""Ids of the models that the bundled one has replaced."""


class LoadsByName(Node):
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

    `precision` is `dtype` there. `advice`: first sentence of the error for missing weights, DownloadError: what to do. `stand_in`: whether
    the bundled model provides what the caller needs.
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


def by_location(models: Sequence[str]) -> list[str]:
    """Sorts models: bundled ones, local ones, then those to download; each group keeps its order."""
    there = models_on_disk()
    return sorted(models, key=lambda model: (not _is_bundled(find_any_spec(model)), model not in there))


def best_on_disk(best_first: Sequence[str], otherwise: str = RECOMMENDED_MODEL) -> str:
    """The first of the models that is available locally."""
    there = models_on_disk()
    return next((model for model in best_first if model in there), otherwise)


def by_file_name(*models: str) -> dict[str, str]:
    """The choices of old packs' nodes, as saved graphs hold them: models by their file's name, then the bundled one by its id."""
    return {**{MODELS[model].file.name: model for model in models}, BUNDLED_MODEL: BUNDLED_MODEL}


def model_widget(choices: Sequence[str] | Mapping[str, str], tooltip: str, default: str | None = None) -> Widget:
    """Makes a model list whose labels show location, size, outputs and licence; other arguments as `choice_widget`.

    `choices` are values in graphs: model ids, or other names with their ids. Values that are not models have no label.
    """
    ids = choices if isinstance(choices, Mapping) else {choice: choice for choice in choices}
    kind, options = choice_widget(list(ids), tooltip, default)
    there = models_on_disk()
    specs = {choice: find_any_spec(model) for choice, model in ids.items() if model in MODELS | MATERIAL_MODELS}
    labels = {choice: f"{choice} · {_describe(spec, there)}" for choice, spec in specs.items()}
    return kind, {**options, LABELS: labels}


def _describe(spec: ModelSpec, there: frozenset[str]) -> str:
    place = (
        "in the pack" if _is_bundled(spec) else "on disk" if spec.id in there else "to download" if spec.file.published else "not published"
    )
    depth = _DEPTH.get(spec.quantity.value, spec.quantity.value) if spec.quantity else ""
    gives = " + ".join(filter(None, (depth, "normals" if spec.axes else "", *spec.materials)))
    return f"{place}, {spec.size_in_words} · {gives} · {spec.terms}"


def _is_bundled(spec: ModelSpec) -> bool:
    return all(file.bundled for file in spec.files)


@dataclass(frozen=True)
class ChosenModel:
    """A model that one node has chosen by this name, and the next one loads."""

    name: str


def check_chosen(value: Any, socket: str, loader: str) -> ChosenModel:
    """Returns the input of a socket if it is the output of the pack's own loader node, else raises TypeError."""
    if not isinstance(value, ChosenModel):
        raise TypeError(
            f"the {socket} input is a {type(value).__name__}; expected the output of this pack's {loader}: "
            "two packs have nodes of this name, and both nodes must be from the same pack"
        )
    return value


FROM_FILE = "(from file)"
_FAMILIES = ", ".join(dict.fromkeys(spec.family.replace("-", " ") for spec in MODELS.values()))


@takes(LoadOptions)
class LoadDepthNormalModel(Node):
    """Loads a model by its id or from a file."""

    NODE_ID = "DepthNormal_LoadModel"
    DISPLAY_NAME = "Load Depth Model"
    DESCRIPTION = (
        "Loads a model that estimates depth, normals or both. Its weights are downloaded once if no installed pack "
        "has them. Some may not be used commercially: the help page lists them."
    )
    CATEGORY = ESTIMATE
    OUTPUTS: ClassVar = {"model": (DEPTH_NORMAL_MODEL, "The model, for Depth & Normals (advanced).")}
    SEARCH_ALIASES = f"{_FAMILIES}, depth model, load depth/normal model, normal model, depth estimation"
    INPUTS: ClassVar = {
        "optional": {
            "model": lambda: model_widget(
                [*by_location(list(MODELS)), FROM_FILE],
                f"Which model to load. {FIRST_CHOICE} "
                "tiny comes with the pack. The list shows models on this computer first, and the best of those is the default. "
                f"{FROM_FILE}: the model of the file in weights.",
                best_on_disk(BEST_FIRST),
            ),
            **option_widgets(LoadOptions, until="runtime"),
            "weights": text_widget(
                "A weights file to use instead of the published one: its name in one of ComfyUI's model folders (depth_normal, "
                "depthanything, geometry_estimation, diffusion_models, ...), or its full path. Empty: the published one."
            ),
            **option_widgets(LoadOptions),
        }
    }

    @classmethod
    def IS_CHANGED(  # noqa: N802
        cls, model: str | None = RECOMMENDED_MODEL, precision: str | None = AUTO, weights: str | None = "", runtime: str | None = TORCH
    ) -> float | str:
        """Returns the state of the file and the choices of auto and fast; NaN, which never equals itself, if an input is unknown."""
        if model is None or weights is None:
            return math.nan
        name = None if model == FROM_FILE else model
        try:
            file = find_file(weights) if weights.strip() else None
            state = weights_state(name, file)
            if runtime not in (AUTO_RUNTIME, FAST_RUNTIME):
                return state
            chosen = chosen_runtime(find_any_spec(chosen_model(name, file)), precision or AUTO, weights=file, runtime=runtime)
        except (FileNotFoundError, CheckpointError, ValueError):  # reported when it runs
            return math.nan
        return state if chosen.runtime == TORCH and chosen.dtype == precision else f"{state}, for {chosen.runtime} {chosen.dtype}"

    def execute(self, options: LoadOptions, model: str = RECOMMENDED_MODEL, weights: str = "") -> tuple[Model]:
        file = find_file(weights) if weights.strip() else None
        if model != FROM_FILE:
            return (load_model(model, options.precision, choose_tiny("model"), file, options.runtime),)
        if file is None:
            raise ValueError(f"the widget weights is empty; model {FROM_FILE} needs the name of a weights file there")
        return (load_model(None, options.precision, choose_tiny("model"), file, options.runtime),)
