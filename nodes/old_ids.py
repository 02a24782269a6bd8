"""Node ids of other packs; each such node also has an id of this pack.

If two packs have the same id, ComfyUI silently keeps the one loaded last. Ids that begin with `DepthNormal_` always are this pack's nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..model_loader.comfy.host import before_each_prompt, has_node, node_class, offer_replacement, pack_of_node, user_settings
from ..model_loader.system import environment
from .option_widgets import is_old, takes
from .widgets import BY_MODEL, Inputs

logger = logging.getLogger(__name__)

VARIABLE, SETTING = "DEPTH_NORMAL_OLD_IDS", "DepthNormal.OldIds"
"""Environment variable (0 = no) and ComfyUI setting for whether this pack provides the old ids."""

OWN_IDS = {
    "MiDaS-NormalMapPreprocessor": "DepthNormal_MiDaSNormalMap",
    "MiDaS-DepthMapPreprocessor": "DepthNormal_MiDaSDepthMap",
    "Zoe-DepthMapPreprocessor": "DepthNormal_ZoeDepthMap",
    "DepthAnythingPreprocessor": "DepthNormal_DepthAnything",
    "Zoe_DepthAnythingPreprocessor": "DepthNormal_ZoeDepthAnything",
    "DepthAnythingV2Preprocessor": "DepthNormal_DepthAnythingV2",
    "Metric_DepthAnythingV2Preprocessor": "DepthNormal_DepthAnythingV2Metric",
    "LeReS-DepthMapPreprocessor": "DepthNormal_LeReSDepthMap",
    "BAE-NormalMapPreprocessor": "DepthNormal_BAENormalMap",
    "DSINE-NormalMapPreprocessor": "DepthNormal_DSINENormalMap",
    "Metric3D-DepthMapPreprocessor": "DepthNormal_Metric3DDepthMap",
    "Metric3D-NormalMapPreprocessor": "DepthNormal_Metric3DNormalMap",
    "LoadVideoDepthAnythingModel": "DepthNormal_LoadVideoDepthAnything",
    "VideoDepthAnythingProcess": "DepthNormal_VideoDepthAnything",
    "VideoDepthAnythingOutput": "DepthNormal_VideoDepthAnythingImages",
    "VideoDepthAnythingSaveEXR": "DepthNormal_VideoDepthAnythingSaveEXR",
    "DownloadAndLoadDepthAnythingV2Model": "DepthNormal_LoadDepthAnythingV2Model",
    "DepthAnything_V2": "DepthNormal_RunDepthAnythingV2",
}

SMALL_DEFAULTS = {
    "DepthNormal_MiDaSNormalMap": ("model", "midas-v2.1-small", "midas-dpt-hybrid"),
    "DepthNormal_MiDaSDepthMap": ("model", "midas-v2.1-small", "midas-dpt-hybrid"),
    "DepthNormal_DepthAnything": ("ckpt_name", "depth_anything_vits14.pth", "depth_anything_vitl14.pth"),
    "DepthNormal_DepthAnythingV2": ("ckpt_name", "depth_anything_v2_vits.pth", "depth_anything_v2_vitl.pth"),
    "DepthNormal_DepthAnythingV2Metric": ("model", "small", "large"),
    "DepthNormal_LoadDepthAnythingV2Model": ("model", "depth_anything_v2_vits_fp32.safetensors", "depth_anything_v2_vitl_fp32.safetensors"),
}
"""Nodes that default to their smallest model under this pack's own id: the widget, the small model, and the old id's default."""

AS_BEFORE = "depth_normal_as_before"
"""Option of such a widget for `web/old_ids.mjs`: the old id's default, where a node takes the place of one without the widget."""

PREFIXED = {
    f"Inference_Core_{old_id}": own_id
    for old_id, own_id in OWN_IDS.items()
    if old_id.endswith("Preprocessor") and old_id != "Metric_DepthAnythingV2Preprocessor"
}
"""ComfyUI-Inference-Core-Nodes has comfyui_controlnet_aux's nodes, with the same widgets, under ids of its own.

This pack does not provide these ids: it offers its own nodes if that pack is missing.
"""

REPLACED = {**OWN_IDS, **PREFIXED}
"""This pack's id for each id of another pack in graphs and scripts."""

OWN_INPUTS = {"DepthNormal_LBMNormals": {"depth": "geometry"}}
"""Renamed inputs of earlier versions: {node: {earlier: now}}."""

LEFT_TO_THEIR_PACK = ("DownloadAndLoadDepthAnythingV2Model", "DepthAnything_V2")
"""Old ids that this pack provides only if no other pack does: only nodes of the same pack understand their socket's data.

A pack loaded later replaces them anyway; those of a pack loaded before are kept.
"""

WITHOUT_TWIN = ("AIO_Preprocessor",)
"""The node that chooses among old ids has only its old id."""

METHODS = {
    "LoadVideoDepthAnythingModel": "loadmodel",
    "VideoDepthAnythingProcess": "process",
    "VideoDepthAnythingOutput": "output",
    "VideoDepthAnythingSaveEXR": "save_exr",
    "DownloadAndLoadDepthAnythingV2Model": "loadmodel",
    "DepthAnything_V2": "process",
}
"""The old packs' FUNCTION of each old id that has another one than `execute`: scripts exported from graphs, and other packs, call it."""


def twin(node: Any) -> Any:
    """A copy of a node under this pack's own id, possibly with a smaller default model; the search finds it by the old id too."""
    known_as = ["controlnet preprocessor"] if node.NODE_ID.endswith("Preprocessor") else []
    aliases = [*node.SEARCH_ALIASES, *known_as, node.NODE_ID]
    own_id = OWN_IDS[node.NODE_ID]
    changed = {"NODE_ID": own_id, "CATEGORY": BY_MODEL, "SEARCH_ALIASES": aliases, "__doc__": node.__doc__}
    if own_id in SMALL_DEFAULTS:
        widget, small, _ = SMALL_DEFAULTS[own_id]
        changed["INPUT_TYPES"] = _inputs_with_default(node, widget, small)
    own = type(f"Own{node.__name__}", (node,), {**changed, "__module__": node.__module__})
    return takes(*node.OPTIONS)(own) if own_id in SMALL_DEFAULTS else own


def _inputs_with_default(node: Any, widget: str, default: str) -> classmethod:

    def input_types(_cls: type) -> Inputs:
        inputs = node.INPUT_TYPES()
        choices, options = inputs["optional"][widget]
        smaller = {**options, "default": default, AS_BEFORE: options["default"]}
        return {**inputs, "optional": {**inputs["optional"], widget: (choices, smaller)}}

    input_types.__doc__ = "ComfyUI's description of the inputs."
    return classmethod(input_types)


def with_twins(nodes: Iterable[Any], *, old: bool) -> dict[str, Any]:
    """Nodes by id, each with an old id preceded by its twin; with `old` False, without the old ids."""
    by_id = {}
    for node in nodes:
        if node.NODE_ID in OWN_IDS:
            by_id[OWN_IDS[node.NODE_ID]] = twin(node)
        if (old or not is_old(node.NODE_ID)) and not (node.NODE_ID in LEFT_TO_THEIR_PACK and has_node(node.NODE_ID)):
            by_id[node.NODE_ID] = node
    return by_id


def are_served() -> bool:
    """Whether this pack provides the old ids, by the environment variable, else unless a user switched off ComfyUI's setting."""
    said = environment(VARIABLE).strip().lower()
    return said not in ("0", "no", "off", "false") if said else False not in user_settings(SETTING)


async def announce() -> None:
    """Logs which packs provide the old ids, and which of this pack's nodes replace missing ones."""
    servers: dict[str | None, list[str]] = {}
    for node_id in (*OWN_IDS, *WITHOUT_TWIN):
        servers.setdefault(pack_of_node(node_id), []).append(node_id)
    own = pack_of_node(next(iter(OWN_IDS.values())))
    said = [f"{_name(pack, own)} {', '.join(ids)}" for pack, ids in sorted(servers.items(), key=lambda each: each[0] != own)]
    if set(servers) != {own}:
        said.append("this pack's own nodes are at DepthNormal_..., which its workflows use")
    if not are_served():
        said.append(f"{VARIABLE}=0 or ComfyUI's setting has this pack leave them alone")
    logger.info("old node ids: %s", "; ".join(said))
    before_each_prompt(with_own_ids)
    for old_id, own_id in REPLACED.items():
        await offer_replacement(old_id, own_id)


def with_own_ids(posted: dict[str, Any]) -> dict[str, Any]:
    """Replaces missing old ids by this pack's nodes in a prompt, and earlier input names by the current ones.

    ComfyUI's own replacement needs every input named, and passes unknown linked inputs to the node.
    """
    for node in posted["prompt"].values() if isinstance(posted.get("prompt"), dict) else ():
        if not isinstance(node, dict):
            continue
        old_id, inputs = node.get("class_type"), node.get("inputs")
        if old_id in REPLACED and not has_node(old_id):
            own_id = node["class_type"] = REPLACED[old_id]
            if own_id in SMALL_DEFAULTS and isinstance(inputs, dict):
                widget, _, default = SMALL_DEFAULTS[own_id]
                inputs.setdefault(widget, default)
            if isinstance(inputs, dict) and (own := node_class(own_id)) is not None:  # an own id's node refuses unknown inputs
                for name in inputs.keys() - {name for group in own.INPUT_TYPES().values() for name in group}:
                    del inputs[name]
        if old_id in OWN_INPUTS and isinstance(inputs, dict):
            for earlier in OWN_INPUTS[old_id].keys() & inputs:
                inputs.setdefault(OWN_INPUTS[old_id][earlier], inputs.pop(earlier))
    return posted


def _name(pack: str | None, own: str | None) -> str:
    return "nobody serves" if pack is None else f"{'this pack' if pack == own else pack} serves"
