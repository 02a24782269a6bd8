"""The node that loads a model by its id or from a file."""

from __future__ import annotations

import math
from typing import ClassVar

from ..annotators.choices import BEST_FIRST
from ..annotators.registry import MODELS, RECOMMENDED_MODEL, find_any_spec
from ..annotators.specs.base import CheckpointError
from ..model_loader import Model
from ..model_loader.load import chosen_model, chosen_runtime
from ..model_loader.weights.find import find_file
from ..options.estimate import AUTO, AUTO_RUNTIME, FAST_RUNTIME, TORCH, LoadOptions
from .loading import FIRST_CHOICE, best_on_disk, by_location, choose_tiny, load_model, model_widget, weights_state
from .option_widgets import option_widgets, takes
from .widgets import DEPTH_NORMAL_MODEL, ESTIMATE, Inputs, text_widget

FROM_FILE = "(from file)"
_FAMILIES = ", ".join(dict.fromkeys(spec.family.replace("-", " ") for spec in MODELS.values()))


@takes(LoadOptions)
class LoadDepthNormalModel:
    """Loads a model by its id or from a file."""

    NODE_ID = "DepthNormal_LoadModel"
    DISPLAY_NAME = "Load Depth Model"
    DESCRIPTION = (
        "Loads a model that estimates depth, normals or both. Its weights are downloaded once if no installed pack "
        "has them. Some may not be used commercially: the help page lists them."
    )
    CATEGORY, FUNCTION = ESTIMATE, "execute"
    RETURN_TYPES: ClassVar = (DEPTH_NORMAL_MODEL,)
    RETURN_NAMES: ClassVar = ("model",)
    OUTPUT_TOOLTIPS: ClassVar = ("The model, for Depth & Normals (advanced).",)
    SEARCH_ALIASES = f"{_FAMILIES}, depth model, load depth/normal model, normal model, depth estimation"

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        tooltip = (
            f"Which model to load. {FIRST_CHOICE} "
            "tiny comes with the pack. The list shows models on this computer first, and the best of those is the default. "
            f"{FROM_FILE}: the model of the file in weights."
        )
        weights = (
            "A weights file to use instead of the published one: its name in one of ComfyUI's model folders (depth_normal, "
            "depthanything, geometry_estimation, diffusion_models, ...), or its full path. Empty: the published one."
        )
        return {
            "required": {},
            "optional": {
                "model": model_widget([*by_location(list(MODELS)), FROM_FILE], tooltip, best_on_disk(BEST_FIRST)),
                **option_widgets(LoadOptions, until="runtime"),
                "weights": text_widget(weights),
                **option_widgets(LoadOptions),
            },
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
        """Returns the model, which is cached."""
        file = find_file(weights) if weights.strip() else None
        if model != FROM_FILE:
            return (load_model(model, options.precision, choose_tiny("model"), file, options.runtime),)
        if file is None:
            raise ValueError(f"the widget weights is empty; model {FROM_FILE} needs the name of a weights file there")
        return (load_model(None, options.precision, choose_tiny("model"), file, options.runtime),)
