"""The table of models: one entry a checkpoint. The loader, the nodes' lists, `depth-normal models` and the docs read it."""

from __future__ import annotations

import torch

from ..geometry.estimate import Axes, Quantity
from . import midas, specs_depth_anything, specs_diffusion, specs_zoe
from .base import Annotator, ModelSpec, WeightFile
from .depth_anything import DepthAnythingAnnotator
from .depth_anything_v3 import DepthAnything3Annotator
from .lbm import LbmAnnotator
from .lotus import LotusAnnotator
from .marigold import MarigoldAnnotator
from .tiny import TINY, TinyAnnotator
from .zoe import ZoeAnnotator
from .zoe_depth_anything import ZoeDepthAnythingAnnotator

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old nodes' model, and what is taken where nobody chooses."""

BUNDLED_MODEL = "tiny"
"""The model whose weights are a part of the pack."""

FAMILIES: dict[str, type[Annotator]] = {
    "midas": midas.MidasAnnotator,
    "zoedepth": ZoeAnnotator,
    "depth-anything": DepthAnythingAnnotator,
    "zoe-depth-anything": ZoeDepthAnythingAnnotator,
    "depth-anything-3": DepthAnything3Annotator,
    "marigold": MarigoldAnnotator,
    "lotus": LotusAnnotator,
    "lbm": LbmAnnotator,
    "tiny": TinyAnnotator,
}

_MIDAS_RELEASES = "https://github.com/isl-org/MiDaS/releases/download"

_SPECS = (
    ModelSpec(
        id="midas-dpt-hybrid",
        family="midas",
        files=(
            WeightFile(
                repo_id="lllyasviel/Annotators",
                filename="dpt_hybrid-midas-501f0c75.pt",
                aliases=("dpt_hybrid_384.pt", "dpt_hybrid-midas.safetensors"),
                revision=specs_zoe.ANNOTATORS_COMMIT,
                sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
                size=492_757_791,
            ),
        ),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        auto_dtypes=(torch.float32,),  # float16 is off by 5 % at random weights, ten times as much as in the others
        resizing=midas.DPT_RESIZING,
        config=midas.DPT_HYBRID,
    ),
    ModelSpec(
        id="midas-dpt-large",
        family="midas",
        files=(
            WeightFile(
                url=f"{_MIDAS_RELEASES}/v3/dpt_large_384.pt",
                filename="dpt_large_384.pt",
                aliases=("dpt_large-midas-2f21e586.pt",),
                sha256="2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69",
                size=1_376_378_527,
            ),
        ),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        resizing=midas.DPT_RESIZING,
        config=midas.DPT_LARGE,
    ),
    ModelSpec(
        id="midas-v2.1-small",
        family="midas",
        files=(
            WeightFile(
                url=f"{_MIDAS_RELEASES}/v2_1/midas_v21_small_256.pt",
                filename="midas_v21_small_256.pt",
                aliases=("midas_v21_small-70d6b9c8.pt",),
                sha256="70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca",
                size=85_761_505,
            ),
        ),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        default_size=256,
        auto_dtypes=(torch.float32,),
        resizing=midas.SMALL_RESIZING,
        config=midas.MIDAS_SMALL,
    ),
    ModelSpec(
        id="midas-swin2-tiny",
        family="midas",
        files=(
            WeightFile(url=f"{_MIDAS_RELEASES}/v3_1/dpt_swin2_tiny_256.pt", filename="dpt_swin2_tiny_256.pt", approximate_size=170_000_000),
        ),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        default_size=256,
        resizing=midas.SWIN2_RESIZING,
        config=midas.DPT_SWIN2_TINY,
    ),
    ModelSpec(
        id="midas-beit-large-512",
        family="midas",
        files=(
            WeightFile(
                url=f"{_MIDAS_RELEASES}/v3_1/dpt_beit_large_512.pt", filename="dpt_beit_large_512.pt", approximate_size=1_580_000_000
            ),
        ),
        licence="MIT",
        quantity=Quantity.DISPARITY,
        default_size=512,
        resizing=midas.DPT_RESIZING,
        config=midas.DPT_BEIT_LARGE,
    ),
)

_TINY = ModelSpec(
    id=BUNDLED_MODEL,
    family="tiny",
    files=(WeightFile("tiny.safetensors", sha256="3b485f92e598795565434ef79b13bdc487182b2e040c224942ee21ca5f8d82c6", size=5_887_824),),
    licence="Apache-2.0",
    quantity=Quantity.DISPARITY,
    axes=Axes.OPENGL,
    default_size=192,
    config=TINY,
)

_ALL_SPECS = (*_SPECS, *specs_zoe.SPECS, *specs_depth_anything.SPECS, *specs_diffusion.SPECS, _TINY)
MODELS: dict[str, ModelSpec] = {spec.id: spec for spec in _ALL_SPECS}


def find_spec(model_id: str) -> ModelSpec:
    """The entry of a model.

    Raises:
        ValueError: No such model; the message lists those there are.
    """
    if model_id not in MODELS:
        raise ValueError(f"unknown model {model_id!r}; known models: {', '.join(MODELS)}")
    return MODELS[model_id]


def models_of_family(*families: str) -> list[str]:
    """Ids of all models of the given families, in the table's order."""
    return [spec.id for spec in MODELS.values() if spec.family in families]
