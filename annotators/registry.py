"""The table of models: one entry a checkpoint. The loader, the nodes' lists, `depth-normal models` and the docs read it.

Each family's file ends with its entries; here they are only joined.
"""

from __future__ import annotations

from . import depth_anything, depth_anything_v3, lbm, lotus, marigold, midas, tiny, zoe, zoe_depth_anything
from .base import Annotator, ModelSpec

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old nodes' model, and what is taken where nobody chooses."""

BUNDLED_MODEL = "tiny"
"""The model whose weights are a part of the pack."""

# the order is that of the nodes' lists
_FAMILIES: tuple[tuple[str, type[Annotator], tuple[ModelSpec, ...]], ...] = (
    ("midas", midas.MidasAnnotator, midas.SPECS),
    ("zoedepth", zoe.ZoeAnnotator, zoe.SPECS),
    ("depth-anything", depth_anything.DepthAnythingAnnotator, depth_anything.SPECS),
    ("zoe-depth-anything", zoe_depth_anything.ZoeDepthAnythingAnnotator, zoe_depth_anything.SPECS),
    ("depth-anything-3", depth_anything_v3.DepthAnything3Annotator, depth_anything_v3.SPECS),
    ("marigold", marigold.MarigoldAnnotator, marigold.SPECS),
    ("lotus", lotus.LotusAnnotator, lotus.SPECS),
    ("lbm", lbm.LbmAnnotator, lbm.SPECS),
    ("tiny", tiny.TinyAnnotator, tiny.SPECS),
)

FAMILIES: dict[str, type[Annotator]] = {name: annotator for name, annotator, _ in _FAMILIES}
MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _FAMILIES for spec in specs}


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
