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
    depth_anything,
    depth_anything_v3,
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
from .specs.base import ModelSpec

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


class _Families(UserDict[str, Any]):
    """The annotators' classes by their family, each imported on first use."""

    def __getitem__(self, family: str) -> type[Annotator]:
        known = super().__getitem__(family)
        if isinstance(known, str):
            module, _, name = known.partition(".")
            known = self.data[family] = getattr(import_module(f".{module}", __package__), name)
        return known


FAMILIES = _Families({name: annotator for name, annotator, _ in _FAMILIES})
MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _FAMILIES for spec in specs}


def find_spec(model_id: str) -> ModelSpec:
    """The entry of a model.

    Raises:
        TypeError: No text, which a link or a script may give.
        ValueError: No such model; the message names the three nearest, and what lists all.
    """
    if not isinstance(model_id, str):
        raise TypeError(f"model is {model_id!r}; accepted: the id of a model, such as {BUNDLED_MODEL}")
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
