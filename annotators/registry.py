"""The table of models, one entry per checkpoint. The loader, the nodes' lists, `depth-normal models` and the docs read it.

It joins the entries in `specs` with the classes that run them. The classes need torch and are imported on first use, so that reading the
table stays fast.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import UserDict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .choices import BUNDLED_MODEL as BUNDLED_MODEL
from .choices import DEFAULT_MODEL as DEFAULT_MODEL
from .choices import RECOMMENDED_MODEL as RECOMMENDED_MODEL
from .specs import depth_anything, diffusion, midas, moge, single
from .specs.base import ModelSpec, no_geometry

if TYPE_CHECKING:
    from .base import Annotator

# in the order of the nodes' lists
_FAMILIES: tuple[tuple[str, str, tuple[ModelSpec, ...]], ...] = (
    ("midas", "midas.MidasAnnotator", midas.SPECS),
    ("zoedepth", "zoe.ZoeAnnotator", midas.ZOE_SPECS),
    ("depth-anything", "depth_anything.DepthAnythingAnnotator", depth_anything.SPECS),
    ("zoe-depth-anything", "zoe.ZoeDepthAnythingAnnotator", depth_anything.ZOE_SPECS),
    ("depth-anything-3", "depth_anything.DepthAnything3Annotator", depth_anything.V3_SPECS),
    ("video-depth-anything", "video_depth_anything.VideoDepthAnythingAnnotator", depth_anything.VIDEO_SPECS),
    ("moge", "moge.MogeAnnotator", moge.SPECS),
    ("depth-pro", "depth_pro.DepthProAnnotator", single.DEPTH_PRO_SPECS),
    ("da2", "da2.Da2Annotator", single.DA2_SPECS),
    ("metric3d", "metric3d.Metric3dAnnotator", single.METRIC3D_SPECS),
    ("leres", "leres.LeresAnnotator", single.LERES_SPECS),
    ("leres-boost", "leres.LeresBoostAnnotator", single.LERES_BOOST_SPECS),
    ("marigold", "marigold.MarigoldAnnotator", diffusion.MARIGOLD_SPECS),
    ("lotus", "diffusion.LotusAnnotator", diffusion.LOTUS_SPECS),
    ("lbm", "diffusion.LbmAnnotator", diffusion.LBM_SPECS),
    ("bae", "bae.BaeAnnotator", single.BAE_SPECS),
    ("dsine", "dsine.DsineAnnotator", single.DSINE_SPECS),
    ("zipdepth", "zipdepth.ZipDepthAnnotator", single.ZIPDEPTH_SPECS),
    ("tiny", "tiny.TinyAnnotator", single.TINY_SPECS),
)

# models without depth and normals, which the lists of depth models leave out
_MATERIAL_FAMILIES: tuple[tuple[str, str, tuple[ModelSpec, ...]], ...] = (
    ("marigold-materials", "marigold.MarigoldMaterialsAnnotator", diffusion.MARIGOLD_MATERIAL_SPECS),
)

_MOST_NEAR = 3
_SHORT = 3
_ALIKE = 0.7
_WEIGHTS = re.compile(r"\.(safetensors|pth?|ckpt|bin|onnx)$")
_VERSION = re.compile(r"v(?=\d)")
_SHARED_NAMES = {"annotators", "model", "pytorchmodel", "diffusionpytorchmodel"}
"""File and repository names that do not identify a model."""


class _Families(UserDict[str, Any]):
    """Annotator classes by family, each imported on first use."""

    def __getitem__(self, family: str) -> type[Annotator]:
        entry = super().__getitem__(family)
        if isinstance(entry, str):
            module, _, name = entry.partition(".")
            entry = self.data[family] = getattr(import_module(f".{module}", __package__), name)
        return entry


FAMILIES = _Families({name: annotator for name, annotator, _ in (*_FAMILIES, *_MATERIAL_FAMILIES)})
MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _FAMILIES for spec in specs}
"""The models of depth and normals."""

MATERIAL_MODELS: dict[str, ModelSpec] = {spec.id: spec for _, _, specs in _MATERIAL_FAMILIES for spec in specs}
"""The models of materials: albedo, roughness and metallic, and no depth or normals."""


def all_specs() -> list[ModelSpec]:
    """All models' entries, material models last."""
    return [*MODELS.values(), *MATERIAL_MODELS.values()]


def find_any_spec(model_id: str) -> ModelSpec:
    """The entry of any model; raises as `find_spec`."""
    return MATERIAL_MODELS[model_id] if isinstance(model_id, str) and model_id in MATERIAL_MODELS else find_spec(model_id)


def find_material_spec(model_id: str) -> ModelSpec:
    """The entry of a material model; raises a ValueError for any other id."""
    if model_id not in MATERIAL_MODELS:
        raise ValueError(f"{model_id!r} is no model of materials; accepted: {', '.join(MATERIAL_MODELS)}")
    return MATERIAL_MODELS[model_id]


def find_spec(model_id: str) -> ModelSpec:
    """The entry of a depth or normal model.

    Raises:
        TypeError: Not a string, as a node's link or a script may pass.
        ValueError: Unknown, or a material model. The message names the three nearest ids and the command that lists all.
    """
    if not isinstance(model_id, str):
        raise TypeError(f"model is {model_id!r}; accepted: the id of a model, such as {BUNDLED_MODEL}")
    if model_id in MATERIAL_MODELS:
        raise ValueError(no_geometry(MATERIAL_MODELS[model_id]))
    if model_id not in MODELS:
        close = " or ".join(near_models(model_id))
        meant = f"did you mean {close}?" if close else f"accepted are ids such as {RECOMMENDED_MODEL} or {BUNDLED_MODEL};"
        raise ValueError(f"unknown model {model_id!r}; {meant} `depth-normal models --all` lists all {len(MODELS)}")
    return MODELS[model_id]


def near_models(word: str) -> list[str]:
    """Up to three ids that an unknown one probably stands for, the most likely first; empty if none resembles it.

    The names of a model's files and repository match too. `moge2` matches the ids that start with it, `dav2` those whose parts do
    (depth-anything-v2).
    """
    typed = _plain(word)
    if not typed:
        return []
    plain = {model_id: _plain(model_id) for model_id in sorted(MODELS, key=lambda each: each != RECOMMENDED_MODEL)}
    kinds = (
        lambda name: typed in _other_names(MODELS[name]),
        lambda name: plain[name].startswith(typed),
        lambda name: typed.startswith(plain[name]) and len(plain[name]) > _SHORT,
        lambda name: len(typed) > 1 and _initials(name).startswith(typed),
        lambda name: len(typed) > _SHORT and typed in plain[name],
        lambda name: _VERSION.sub("", plain[name]).startswith(_VERSION.sub("", typed)),
    )
    for is_meant in kinds:
        if near := [name for name in plain if is_meant(name)]:
            return near[:_MOST_NEAR]
    letters = "".join(itertools.takewhile(str.isalpha, typed))
    family = [name for name in plain if len(letters) > _SHORT and plain[name].startswith(letters)]
    scores = {name: difflib.SequenceMatcher(None, typed, plain[name]).ratio() for name in family or plain}
    # Abbreviations keep the order of letters: moge2l means moge-2-vitl, not moge-3-vitl.
    abbreviated = {name: score for name, score in scores.items() if family and _is_within(typed, plain[name])}
    ranked = sorted(abbreviated or scores, key=scores.__getitem__, reverse=True)
    return [name for name in ranked if family or scores[name] >= _ALIKE][:_MOST_NEAR]


def _plain(name: str) -> str:
    """A name without case, separators, folders and the extension of a weights file."""
    return re.sub(r"[^a-z0-9]", "", _WEIGHTS.sub("", name.lower()).rpartition("/")[2])


def _other_names(spec: ModelSpec) -> set[str]:
    """The names of a model's weights file and repository, after `_plain`."""
    names = (spec.file.name, *spec.file.aliases, spec.file.repo_id or "")
    return {_plain(name) for name in names} - {""} - _SHARED_NAMES


def _initials(model_id: str) -> str:
    """The initials of an id: dav2s for depth-anything-v2-small."""
    return "".join(part if re.search(r"\d", part) else part[:1] for part in model_id.split("-"))


def _is_within(letters: str, name: str) -> bool:
    rest = iter(name)
    return all(letter in rest for letter in letters)


def models_of_scenes() -> list[str]:
    """Ids of the models that accept a batch as views of one scene, in table order."""
    return [spec.id for spec in MODELS.values() if FAMILIES[spec.family].sees_scenes(spec)]


def models_of_family(*families: str) -> list[str]:
    """Ids of the models of these families, in table order."""
    return [spec.id for spec in MODELS.values() if spec.family in families]
