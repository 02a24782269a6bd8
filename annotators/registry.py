"""The table of models: one entry a checkpoint. The loader, the nodes' lists, `depth-normal models` and the docs read it.

Each family has a file of entries in `specs`; here they are joined with the classes that run them. Those need torch, and are imported on
first use, so that reading the table alone stays fast.
"""

from __future__ import annotations

import difflib
from collections import UserDict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .choices import BUNDLED_MODEL as BUNDLED_MODEL
from .choices import DEFAULT_MODEL as DEFAULT_MODEL
from .choices import RECOMMENDED_MODEL as RECOMMENDED_MODEL
from .specs import (
    bae,
    da2,
    depth_anything,
    depth_anything_v3,
    depth_pro,
    dsine,
    lbm,
    leres,
    lotus,
    marigold,
    metric3d,
    midas,
    moge,
    tiny,
    video_depth_anything,
    zoe,
    zoe_depth_anything,
)
from .specs.base import ModelSpec, no_geometry

if TYPE_CHECKING:
    from .base import Annotator

# the order is that of the nodes' lists
_FAMILIES: tuple[tuple[str, str, tuple[ModelSpec, ...]], ...] = (
    ("midas", "midas.MidasAnnotator", midas.SPECS),
    ("zoedepth", "zoe.ZoeAnnotator", zoe.SPECS),
    ("depth-anything", "depth_anything.DepthAnythingAnnotator", depth_anything.SPECS),
    ("zoe-depth-anything", "zoe_depth_anything.ZoeDepthAnythingAnnotator", zoe_depth_anything.SPECS),
    ("depth-anything-3", "depth_anything_v3.DepthAnything3Annotator", depth_anything_v3.SPECS),
    ("video-depth-anything", "video_depth_anything.VideoDepthAnythingAnnotator", video_depth_anything.SPECS),
    ("moge", "moge.MogeAnnotator", moge.SPECS),
    ("depth-pro", "depth_pro.DepthProAnnotator", depth_pro.SPECS),
    ("da2", "da2.Da2Annotator", da2.SPECS),
    ("metric3d", "metric3d.Metric3dAnnotator", metric3d.SPECS),
    ("leres", "leres.LeresAnnotator", leres.SPECS),
    ("leres-boost", "leres_boost.LeresBoostAnnotator", leres.BOOST_SPECS),
    ("marigold", "marigold.MarigoldAnnotator", marigold.SPECS),
    ("lotus", "lotus.LotusAnnotator", lotus.SPECS),
    ("lbm", "lbm.LbmAnnotator", lbm.SPECS),
    ("bae", "bae.BaeAnnotator", bae.SPECS),
    ("dsine", "dsine.DsineAnnotator", dsine.SPECS),
    ("tiny", "tiny.TinyAnnotator", tiny.SPECS),
)

# models that give neither depth nor normals: they stand in no list of those that do
_MATERIAL_FAMILIES: tuple[tuple[str, str, tuple[ModelSpec, ...]], ...] = (
    ("marigold-materials", "marigold.MarigoldMaterialsAnnotator", marigold.MATERIAL_SPECS),
)


class _Families(UserDict[str, Any]):
    """The annotators' classes by their family, each imported on first use."""

    def __getitem__(self, family: str) -> type[Annotator]:
        known = super().__getitem__(family)
        if isinstance(known, str):
            module, _, name = known.partition(".")
            known = self.data[family] = getattr(import_module(f".{module}", __package__), name)
        return known


FAMILIES = _Families({name: annotator for name, annotator, _ in (*_FAMILIES, *_MATERIAL_FAMILIES)})
MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _FAMILIES for spec in specs}
"""The models of depth and normals."""

MATERIAL_MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _MATERIAL_FAMILIES for spec in specs}
"""The models of materials: albedo, roughness and metallic, and no depth or normals."""


def all_specs() -> list[ModelSpec]:
    """The entries of all models, those of materials last."""
    return [*MODELS.values(), *MATERIAL_MODELS.values()]


def find_any_spec(model_id: str) -> ModelSpec:
    """The entry of a model, be it of depth, normals or materials; raises as `find_spec`."""
    return MATERIAL_MODELS[model_id] if isinstance(model_id, str) and model_id in MATERIAL_MODELS else find_spec(model_id)


def find_material_spec(model_id: str) -> ModelSpec:
    """The entry of a model of materials.

    Raises:
        ValueError: It gives none, or there is no such model.
    """
    if model_id not in MATERIAL_MODELS:
        raise ValueError(f"{model_id!r} is no model of materials; accepted: {', '.join(MATERIAL_MODELS)}")
    return MATERIAL_MODELS[model_id]


def find_spec(model_id: str) -> ModelSpec:
    """The entry of a model of depth or normals.

    Raises:
        TypeError: No text, which a link or a script may give.
        ValueError: No such model; the message names the three nearest, and what lists all. Or a model of materials.
    """
    if not isinstance(model_id, str):
        raise TypeError(f"model is {model_id!r}; accepted: the id of a model, such as {BUNDLED_MODEL}")
    if model_id in MATERIAL_MODELS:
        raise ValueError(no_geometry(MATERIAL_MODELS[model_id]))
    if model_id not in MODELS:
        close = difflib.get_close_matches(model_id.lower(), MODELS, 3, 0.5)
        near = " or ".join(close or difflib.get_close_matches(model_id.lower(), MODELS, 3, 0))
        meant = f"did you mean {near}?" if close else f"the nearest names are {near};"
        raise ValueError(f"unknown model {model_id!r}; {meant} `depth-normal models` lists all {len(MODELS)}")
    return MODELS[model_id]


def models_of_scenes() -> list[str]:
    """Ids of all models that can process a batch as views of one scene, in the table's order."""
    return [spec.id for spec in MODELS.values() if FAMILIES[spec.family].sees_scenes(spec)]


def models_of_family(*families: str) -> list[str]:
    """Ids of all models of the given families, in the table's order."""
    return [spec.id for spec in MODELS.values() if spec.family in families]
