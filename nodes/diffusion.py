"""Nodes for the diffusion models Marigold, Lotus and LBM, which estimate depth or normals.

They have nodes of their own because only they have steps, a seed and an ensemble; *Depth & Normals (advanced)* runs
them with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter, Signature
from typing import Any, ClassVar

from torch import Tensor

from ..annotators.diffusion import DiffusionOptions, LbmOptions
from ..annotators.marigold import MarigoldOptions
from ..annotators.registry import BUNDLED_MODEL, MODELS, models_of_family
from ..geometry.alignment.metrics import disagreeing_axes
from ..geometry.conventions import NormalMapCoding
from ..geometry.estimate import Estimate
from ..geometry.images.render import depth_to_image, normals_to_image
from ..geometry.projections import need_perspective
from ..model_loader.comfy.feedback import progress_bar
from ..options.checks import check_choice, check_range
from ..options.map_images import CODINGS, NORMALISATIONS, OPENGL, PER_IMAGE
from ..utils import to_images, to_planar
from .batches import geometry_output, to_output
from .checks import check_count, check_geometry, check_network_side
from .loading import OTHER_NODE, load_model, options_for
from .model_list import best_on_disk, by_location, model_widget
from .sockets import BY_MODEL, GEOMETRY, Inputs, Widget
from .widgets import (
    coding_widget,
    count_widget,
    geometry_input,
    image_input,
    network_side_widget,
    normalisation_widget,
    precision_widget,
    switch_widget,
)

MAX_STEPS, MAX_ENSEMBLE, MAX_SEED = 50, 20, 2**64 - 1

_NON_COMMERCIAL = "The weights' licence is CC BY-NC 4.0: not for commercial use."
LONG_SIDE = "Longer side of the network's input in pixels. 0: 768, as in its training. The result has the image's own size."
"""Tooltip of the resolution of Marigold and Lotus."""

_SQUARE_SIDE = (
    "Size of the network's input: about as many pixels as this side squared, at the image's aspect ratio. 0: 1024, as in its training."
)
_SIDES = {"marigold": LONG_SIDE, "lotus": LONG_SIDE, "lbm": _SQUARE_SIDE}
_NOISE_SEED = "Seed of the noise. The same seed gives the same result; every image of a batch gets the same noise."


_ALIASES = ["depth map", "diffusion depth", "diffusion normals", "surface normals", "depth estimation", "normal estimation"]

WHICH_MODEL = "Which model to run. Its weights are downloaded once if they are in none of ComfyUI's model folders."
"""Tooltip of the model's widget."""

_WHICH_OUTPUT = "It decides what the node outputs: depth, disparity or normals, as its name says."


def tiled_widget() -> Widget:
    """Widget that runs the VAE in tiles."""
    tooltip = (
        "Saves memory: the image is encoded and decoded in tiles, with faint differences between them. It is switched "
        "on automatically when memory runs out."
    )
    return switch_widget(False, tooltip, advanced=True)


def _seed_widget(tooltip: str) -> Widget:
    # a seed that changes by itself would run the model again for the same image
    return "INT", {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": False, "tooltip": tooltip}


def marigold_widgets() -> dict[str, Any]:
    """Widgets of Marigold: steps, ensemble and seed."""
    steps = "Number of denoising steps. 0: the authors' recommendation, 4, or 1 for the LCM models."
    ensemble = (
        "Number of predictions to merge. 2 or more add a confidence to the geometry, 3 or more improve the result; "
        "the time grows in proportion."
    )
    return {
        "steps": count_widget(0, 0, MAX_STEPS, steps),
        "ensemble_size": count_widget(1, 1, MAX_ENSEMBLE, ensemble),
        "seed": _seed_widget(_NOISE_SEED),
    }


def _lotus_widgets() -> dict[str, Any]:
    return {"seed": _seed_widget(f"{_NOISE_SEED} It has no effect on the models with -d, which use no noise.")}


def _lbm_widgets() -> dict[str, Any]:
    steps = "Number of steps; the network was trained for 1 to 4."
    return {
        "steps": count_widget(1, 1, MAX_STEPS, steps),
        "seed": _seed_widget("Seed of the noise between steps. It has no effect with 1 step."),
    }


def marigold_options(steps: int, ensemble_size: int, seed: int, tiled: bool) -> MarigoldOptions:
    """Checks the widgets of Marigold and returns its options."""
    check_range("steps", steps, 0, MAX_STEPS)
    check_range("ensemble_size", ensemble_size, 1, MAX_ENSEMBLE)
    return MarigoldOptions(seed, tiled, steps or None, ensemble_size)


def _lbm_options(steps: int, seed: int, tiled: bool) -> LbmOptions:
    check_range("steps", steps, 1, MAX_STEPS)
    return LbmOptions(seed, tiled, steps)


_WIDGETS = {"marigold": marigold_widgets, "lotus": _lotus_widgets, "lbm": _lbm_widgets}
_OPTIONS: dict[str, Callable[..., DiffusionOptions]] = {"marigold": marigold_options, "lotus": DiffusionOptions, "lbm": _lbm_options}


_LAST_WIDGETS = {"resolution": 0, "precision": "auto", "tiled": False}


def _execute(**defaults: Any) -> Callable[..., tuple[Tensor, Estimate]]:
    """Makes a node's `execute`, which passes the image and all widgets to `run`.

    Args:
        defaults: The node's own widgets in order, with their defaults; those that all these nodes end with follow.
    """
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in {**defaults, **_LAST_WIDGETS, **({} if "coding" in defaults else {"coding": OPENGL})}.items()
    ]
    required = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "image")]
    signature = Signature([*required, *parameters])

    def execute(*arguments: Any, **widgets: Any) -> tuple[Tensor, Estimate]:
        named = zip(signature.parameters, arguments, strict=False)
        values = {each.name: each.default for each in parameters} | dict(named) | widgets
        return values.pop("self").run(**values)

    vars(execute)["__signature__"] = signature
    return execute


def _estimate(image: Tensor, model: str, models: list[str], options: DiffusionOptions, resolution: int, precision: str) -> Estimate:
    """Estimates at the images' own size, on ComfyUI's intermediate device."""
    check_choice("model", model, models)
    check_network_side(resolution)
    images = to_images(image)
    loaded = load_model(model, precision, OTHER_NODE)
    progress = progress_bar(images.shape[0])
    estimate = loaded.estimate(images, resolution or None, progress, options=options_for(loaded, options))
    return geometry_output(_from_0_to_1(estimate) if loaded.spec.id == BUNDLED_MODEL else estimate)


def _from_0_to_1(estimate: Estimate) -> Estimate:
    """Scales the bundled model's depth to [0, 1], as the depth of these models, where it stands in for one of them."""
    assert estimate.depth is not None
    low, high = estimate.depth.amin((1, 2, 3), keepdim=True), estimate.depth.amax((1, 2, 3), keepdim=True)
    return replace(estimate, depth=(estimate.depth - low) / (high - low).clamp_min(1e-12))


class _DiffusionNode:
    """Base class of these nodes: the chosen model decides whether the output is depth or normals."""

    CATEGORY, FUNCTION = BY_MODEL, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", GEOMETRY)
    RETURN_NAMES: ClassVar = ("image", "geometry")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The depth map, near = white, or the normal map, at the image's own size.",
        (
            "Depth as numbers from 0 to 1 with unknown scale and shift: relative depth (0 = near), or disparity from the "
            "disparity models (1 = near). From the normals models: unit vectors in OpenGL's axes."
        ),
    )
    FAMILY: ClassVar[str]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs; `coding` comes last, for graphs from before this node estimated normals."""
        models = cls.models()
        return {
            "required": {"image": image_input()},
            "optional": {
                "model": model_widget(by_location(models), f"{WHICH_MODEL} {_WHICH_OUTPUT}", best_on_disk(models, models[0])),
                "normalisation": normalisation_widget("the model's own 0 to 1"),
                **cls.own(),
                "resolution": network_side_widget(_SIDES[cls.FAMILY]),
                "precision": precision_widget(),
                "tiled": tiled_widget(),
                "coding": coding_widget(),
            },
        }

    @classmethod
    def models(cls) -> list[str]:
        """Ids of the family's models, those of depth first."""
        return sorted(models_of_family(cls.FAMILY), key=_is_of_normals)

    @classmethod
    def own(cls) -> dict[str, Any]:
        """Widgets of the family."""
        return _WIDGETS[cls.FAMILY]()

    def run(
        self,
        image: Tensor,
        *,
        model: str,
        resolution: int,
        precision: str,
        normalisation: str = PER_IMAGE,
        coding: str = OPENGL,
        geometry: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Estimate]:
        """Returns the depth map and the raw depth, or the normal map and the raw normals.

        Args:
            image: ComfyUI's IMAGE.
            model: One of the node's models.
            resolution: Size of the network's input; 0: as in its training.
            precision: Number format of the network.
            normalisation: Range of a depth map.
            coding: Coding of a normal map.
            geometry: Depth that normals are compared with; None: they are not.
            options: The family's own widgets.
        """
        check_choice("normalisation", normalisation, NORMALISATIONS)
        check_choice("coding", coding, CODINGS)
        depth = None if geometry is None else _check_depth(geometry, image)
        estimate = _estimate(image, model, self.models(), _OPTIONS[self.FAMILY](**options), resolution, precision)
        if _is_of_normals(model):
            assert estimate.normals is not None
            if depth is not None:
                disagreeing_axes(estimate, depth)
            return to_output(normals_to_image(estimate.normals, NormalMapCoding(coding), estimate.axes)), estimate
        assert estimate.depth is not None and estimate.quantity is not None
        ends = (0.0, 1.0) if normalisation == "fixed" else None
        return to_output(depth_to_image(estimate.depth, estimate.quantity, normalisation=normalisation, value_range=ends)), estimate


def _is_of_normals(model: str) -> bool:
    return model in MODELS and MODELS[model].axes is not None


class Marigold(_DiffusionNode):
    """Estimates depth or normals with Marigold."""

    NODE_ID = "DepthNormal_MarigoldDepth"
    DISPLAY_NAME = "Marigold"
    DESCRIPTION = (
        "Estimates detailed relative depth or normals with Marigold (Stable Diffusion 2) in a few steps: the model decides which. "
        "An ensemble adds a confidence."
    )
    SEARCH_ALIASES: ClassVar = ["marigold", "normal map", *_ALIASES]
    FAMILY = "marigold"
    execute = _execute(model="marigold-depth", normalisation=PER_IMAGE, steps=0, ensemble_size=1, seed=0)


class Lotus(_DiffusionNode):
    """Estimates depth, disparity or normals with Lotus."""

    NODE_ID = "DepthNormal_LotusDepth"
    DISPLAY_NAME = "Lotus"
    DESCRIPTION = (
        "Estimates detailed relative depth, disparity or normals with Lotus (Stable Diffusion 2) in a single step: the model decides which."
    )
    SEARCH_ALIASES: ClassVar = ["lotus", "disparity", "normal map", *_ALIASES]
    FAMILY = "lotus"
    execute = _execute(model="lotus-depth-d", normalisation=PER_IMAGE, seed=0)


class Lbm(_DiffusionNode):
    """Estimates depth or normals with LBM, and checks the normals' signs against depth if it is linked."""

    NODE_ID = "DepthNormal_LBMDepth"
    DISPLAY_NAME = "LBM"
    DESCRIPTION = (
        "Estimates detailed relative depth or normals with LBM (latent bridge matching, SDXL's size) in one step or a few: the model "
        f"decides which. {_NON_COMMERCIAL}"
    )
    SEARCH_ALIASES: ClassVar = ["lbm", "latent bridge matching", *_ALIASES]
    FAMILY = "lbm"
    execute = _execute(model="lbm-depth", normalisation=PER_IMAGE, steps=1, seed=0, geometry=None)

    @classmethod
    def own(cls) -> dict[str, Any]:
        """Widgets of the family, and a geometry to check normals with."""
        geometry = (
            "Depth of the same images as numbers, from any model, to check the normals' directions. The log warns if the "
            "normals contradict it: published results of LBM disagree about left and right."
        )
        return {**super().own(), "geometry": geometry_input(geometry)}


class _NormalsOnly:
    """What graphs have from when each family had a node for its normals: its normals models alone, the coding second."""

    DEPRECATED = True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        inputs = super().INPUT_TYPES()  # pyright: ignore[reportAttributeAccessIssue]
        optional = inputs["optional"]
        first = {name: optional[name] for name in ("model", "coding")}
        return {**inputs, "optional": first | {name: widget for name, widget in optional.items() if name != "normalisation"}}

    @classmethod
    def models(cls) -> list[str]:
        """Ids of the family's models that predict normals."""
        return list(filter(_is_of_normals, super().models()))  # pyright: ignore[reportAttributeAccessIssue]


class MarigoldNormals(_NormalsOnly, Marigold):
    """Estimates normals with Marigold."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_MarigoldNormals", "Marigold Normals"
    execute = _execute(model="marigold-normals", coding=OPENGL, steps=0, ensemble_size=1, seed=0)


class LotusNormals(_NormalsOnly, Lotus):
    """Estimates normals with Lotus."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_LotusNormals", "Lotus Normals"
    execute = _execute(model="lotus-normals-d", coding=OPENGL, seed=0)


class LbmNormals(_NormalsOnly, Lbm):
    """Estimates normals with LBM."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_LBMNormals", "LBM Normals"
    execute = _execute(model="lbm-normals", coding=OPENGL, steps=1, seed=0, geometry=None)


def _check_depth(geometry: Any, image: Tensor) -> Estimate:
    """Checks the geometry to compare with, before the model runs."""
    estimate = check_geometry(geometry)
    need_perspective(estimate, "the check of normals")
    if estimate.depth is None:
        raise ValueError("the geometry to check with has no depth; expected raw depth of the same images")
    check_count("geometry", estimate.batch, "image", len(to_planar(image)), one_for_all=False)
    return estimate


NODES = (Marigold, Lotus, Lbm, MarigoldNormals, LotusNormals, LbmNormals)
