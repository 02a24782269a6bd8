"""Model choices of nodes: local models first, with size, licence and location beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..annotators.registry import BUNDLED_MODEL, MATERIAL_MODELS, MODELS, RECOMMENDED_MODEL
from ..annotators.specs.base import ModelSpec
from ..model_loader.weights.find import models_on_disk
from .sockets import Widget
from .widgets import choice_widget

LABELS = "depth_normal_labels"
"""Widget option for web/choices.js: the label of each choice in the page. Graphs keep the choices themselves."""

TINY_CHOICE = f"{BUNDLED_MODEL}: the pack's own small network, a preview without a download"
"""Tooltip text for the bundled model in a list of choices."""

FIRST_CHOICE = (
    f"A good first choice is {RECOMMENDED_MODEL}: metres, normals and camera "
    f"({MODELS[RECOMMENDED_MODEL].size_in_words}, {MODELS[RECOMMENDED_MODEL].licence})."
)
"""Tooltip text that recommends a model."""

_DEPTH = {"metric_depth": "metres", "relative_depth": "relative depth"}


def by_location(models: Sequence[str]) -> list[str]:
    """Sorts models: bundled ones, local ones, then those to download; each group keeps its order."""
    there = models_on_disk()
    return sorted(models, key=lambda model: (not _is_bundled(_spec(model)), model not in there))


def best_on_disk(best_first: Sequence[str], otherwise: str = RECOMMENDED_MODEL) -> str:
    """The first of the models that is available locally."""
    there = models_on_disk()
    return next((model for model in best_first if model in there), otherwise)


def model_widget(choices: Sequence[str] | Mapping[str, str], tooltip: str, default: str | None = None) -> Widget:
    """Makes a model list whose labels show location, size, outputs and licence.

    Args:
        choices: Values in graphs: model ids, or other names with their ids. Values that are not models have no label.
        tooltip, default: As `choice_widget`.
    """
    ids = choices if isinstance(choices, Mapping) else {choice: choice for choice in choices}
    kind, options = choice_widget(list(ids), tooltip, default)
    there = models_on_disk()
    labels = {choice: f"{choice} · {_describe(_spec(model), there)}" for choice, model in ids.items() if model in MODELS | MATERIAL_MODELS}
    return kind, {**options, LABELS: labels}


def _describe(spec: ModelSpec, there: frozenset[str]) -> str:
    place = (
        "in the pack" if _is_bundled(spec) else "on disk" if spec.id in there else "to download" if spec.file.published else "not published"
    )
    depth = "depth without unit" if spec.up_to_scale else _DEPTH.get(spec.quantity.value, spec.quantity.value) if spec.quantity else ""
    gives = " + ".join(filter(None, (depth, "normals" if spec.axes else "", *spec.materials)))
    return f"{place}, {spec.size_in_words} · {gives} · {spec.terms}"


def _spec(model: str) -> ModelSpec:
    return (MODELS | MATERIAL_MODELS)[model]


def _is_bundled(spec: ModelSpec) -> bool:
    return all(file.bundled for file in spec.files)
