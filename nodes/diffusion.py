"""Nodes for Marigold, Lotus and LBM, with steps, seed and ensemble; *Depth & Normals (advanced)* runs the models with defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
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
from ..options.checks import check_choice
from ..options.diffusion import DiffusionNodeOptions, LbmNodeOptions, LotusNodeOptions, MarigoldNodeOptions, MaterialOptions
from ..options.map_images import FIXED
from ..utils import to_images, to_planar
from .batches import geometry_output, to_output
from .checks import check_count, check_geometry
from .loading import OTHER_NODE, LoadsByName, best_on_disk, by_location, load_model, model_widget, options_for
from .option_widgets import option_widgets, takes
from .widgets import BY_MODEL, GEOMETRY, Inputs, Widget, geometry_input, image_input

_NON_COMMERCIAL = "The weights' licence is CC BY-NC 4.0: not for commercial use."

_ALIASES = "depth map, diffusion depth, diffusion normals, surface normals, depth estimation, normal estimation"

WHICH_MODEL = "Which model to run. Its weights are downloaded once if they are in none of ComfyUI's model folders."
"""Tooltip of the model's widget."""

_WHICH_OUTPUT = "It decides what the node outputs: depth, disparity or normals, as its name says."


def of_marigold(options: MarigoldNodeOptions | MaterialOptions) -> MarigoldOptions:
    """The model family's options from a node's."""
    return MarigoldOptions(options.seed, options.tiled, options.steps or None, options.ensemble_size)


def _estimate(image: Tensor, model: str, own: DiffusionOptions, options: DiffusionNodeOptions) -> Estimate:
    """Estimates at the images' own size, on ComfyUI's intermediate device."""
    images = to_images(image)
    loaded = load_model(model, options.precision, OTHER_NODE)
    progress = progress_bar(images.shape[0])
    estimate = loaded.estimate(images, options.resolution or None, progress, options=options_for(loaded, own))
    return geometry_output(_from_0_to_1(estimate) if loaded.spec.id == BUNDLED_MODEL else estimate)


def _from_0_to_1(estimate: Estimate) -> Estimate:
    """Scales the bundled model's depth to [0, 1], the range of the diffusion models that it replaces."""
    assert estimate.depth is not None
    low, high = estimate.depth.amin((1, 2, 3), keepdim=True), estimate.depth.amax((1, 2, 3), keepdim=True)
    return replace(estimate, depth=(estimate.depth - low) / (high - low).clamp_min(1e-12))


class _DiffusionNode(LoadsByName):
    """Base class: the chosen model determines whether the output is depth or normals."""

    CATEGORY = BY_MODEL
    OUTPUTS: ClassVar = {
        "image": ("IMAGE", "The depth map, near = white, or the normal map, at the image's own size."),
        "geometry": (
            GEOMETRY,
            "Depth as numbers from 0 to 1 with unknown scale and shift: relative depth (0 = near), or disparity from the "
            "disparity models (1 = near). From the normals models: unit vectors in OpenGL's axes.",
        ),
    }
    FAMILY: ClassVar[str]
    OWN: ClassVar[Mapping[str, Widget]] = {}
    """The family's own inputs."""

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs; `coding` comes last, for graphs from before this node estimated normals."""
        models = cls.models()
        return {
            "required": {"image": image_input()},
            "optional": {
                "model": model_widget(by_location(models), f"{WHICH_MODEL} {_WHICH_OUTPUT}", best_on_disk(models, models[0])),
                **option_widgets(cls.OPTIONS[0], until="resolution"),
                **copy.deepcopy(cls.OWN),
                **option_widgets(cls.OPTIONS[0]),
            },
        }

    @classmethod
    def models(cls) -> list[str]:
        """Ids of the family's models, depth models first."""
        return sorted(models_of_family(cls.FAMILY), key=_is_of_normals)

    @staticmethod
    def family_options(options: Any) -> DiffusionOptions:
        """The model family's options from the node's."""
        return DiffusionOptions(options.seed, options.tiled)

    def execute(self, options: Any, image: Tensor, model: str, geometry: Any = None) -> tuple[Tensor, Estimate]:
        """Returns the depth map and the raw depth, or the normal map and the raw normals; `geometry` is depth to check normals against."""
        depth = None if geometry is None else _check_depth(geometry, image)
        check_choice("model", model, self.models())
        estimate = _estimate(image, model, self.family_options(options), options)
        if _is_of_normals(model):
            assert estimate.normals is not None
            if depth is not None:
                disagreeing_axes(estimate, depth)
            return to_output(normals_to_image(estimate.normals, NormalMapCoding(options.coding), estimate.axes)), estimate
        assert estimate.depth is not None and estimate.quantity is not None
        normalisation = options.normalisation
        ends = (0.0, 1.0) if normalisation == FIXED else None
        return to_output(depth_to_image(estimate.depth, estimate.quantity, normalisation=normalisation, value_range=ends)), estimate


def _is_of_normals(model: str) -> bool:
    return model in MODELS and MODELS[model].axes is not None


@takes(MarigoldNodeOptions)
class Marigold(_DiffusionNode):
    """Estimates depth or normals with Marigold."""

    NODE_ID = "DepthNormal_MarigoldDepth"
    DISPLAY_NAME = "Marigold"
    DESCRIPTION = (
        "Estimates detailed relative depth or normals with Marigold (Stable Diffusion 2) in a few steps: the model decides which. "
        "An ensemble adds a confidence."
    )
    SEARCH_ALIASES = f"marigold, normal map, {_ALIASES}"
    FAMILY, DEFAULTS = "marigold", {"model": "marigold-depth"}
    family_options = staticmethod(of_marigold)


@takes(LotusNodeOptions)
class Lotus(_DiffusionNode):
    """Estimates depth, disparity or normals with Lotus."""

    NODE_ID = "DepthNormal_LotusDepth"
    DISPLAY_NAME = "Lotus"
    DESCRIPTION = (
        "Estimates detailed relative depth, disparity or normals with Lotus (Stable Diffusion 2) in a single step: the model decides which."
    )
    SEARCH_ALIASES = f"lotus, disparity, normal map, {_ALIASES}"
    FAMILY, DEFAULTS = "lotus", {"model": "lotus-depth-d"}


@takes(LbmNodeOptions)
class Lbm(_DiffusionNode):
    """Estimates depth or normals with LBM, and checks the normals' signs against depth if it is linked."""

    NODE_ID = "DepthNormal_LBMDepth"
    DISPLAY_NAME = "LBM"
    DESCRIPTION = (
        "Estimates detailed relative depth or normals with LBM (latent bridge matching, SDXL's size) in one step or a few: the model "
        f"decides which. {_NON_COMMERCIAL}"
    )
    SEARCH_ALIASES = f"lbm, latent bridge matching, {_ALIASES}"
    FAMILY, DEFAULTS = "lbm", {"model": "lbm-depth"}
    family_options = staticmethod(lambda options: LbmOptions(options.seed, options.tiled, options.steps))
    OWN: ClassVar = {
        "geometry": geometry_input(
            "Depth of the same images as numbers, from any model, to check the normals' directions. The log warns if the "
            "normals contradict it: published results of LBM disagree about left and right."
        )
    }


class _NormalsOnly(_DiffusionNode):
    """Deprecated nodes in saved graphs: only the family's normals models, with the coding second."""

    DEPRECATED = True

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        inputs = super().INPUT_TYPES()
        optional = inputs["optional"]
        first = {name: optional[name] for name in ("model", "coding")}
        return {**inputs, "optional": first | {name: widget for name, widget in optional.items() if name != "normalisation"}}

    @classmethod
    def models(cls) -> list[str]:
        """Ids of the family's models that predict normals."""
        return list(filter(_is_of_normals, super().models()))


@takes(MarigoldNodeOptions)
class MarigoldNormals(_NormalsOnly, Marigold):
    """Estimates normals with Marigold."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_MarigoldNormals", "Marigold Normals"
    DEFAULTS: ClassVar = {"model": "marigold-normals"}


@takes(LotusNodeOptions)
class LotusNormals(_NormalsOnly, Lotus):
    """Estimates normals with Lotus."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_LotusNormals", "Lotus Normals"
    DEFAULTS: ClassVar = {"model": "lotus-normals-d"}


@takes(LbmNodeOptions)
class LbmNormals(_NormalsOnly, Lbm):
    """Estimates normals with LBM."""

    NODE_ID, DISPLAY_NAME = "DepthNormal_LBMNormals", "LBM Normals"
    DEFAULTS: ClassVar = {"model": "lbm-normals"}


def _check_depth(geometry: Any, image: Tensor) -> Estimate:
    """Validates the geometry to check against, before the model runs."""
    estimate = check_geometry(geometry)
    need_perspective(estimate, "the check of normals")
    if estimate.depth is None:
        raise ValueError("the geometry to check with has no depth; expected raw depth of the same images")
    check_count("geometry", estimate.batch, "image", len(to_planar(image)), one_for_all=False)
    return estimate


NODES = (Marigold, Lotus, Lbm, MarigoldNormals, LotusNormals, LbmNormals)
