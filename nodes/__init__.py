"""ComfyUI's nodes: one file for each kind; the order of the tuples is the order in the menu."""

from typing import Any

from ..model_loader.comfy.feedback import noting_warnings
from ..model_loader.comfy.host import answer_page, answer_script, when_started
from ..model_loader.comfy.interrupt import interruptible
from ..model_loader.inference.recent import keeping_estimates
from ..utils import with_usual_defaults
from . import (
    aio,
    demo,
    depth_and_normals,
    depth_anything_v2,
    diffusion,
    effects,
    files,
    geometry,
    interop,
    materials,
    meshes,
    old_ids,
    preview,
    relight,
    render,
    textures,
    video,
    video_depth_anything,
    views,
)
from .live import LAST_RUNS, SCRIPT, joined_script, last_runs, showing_on_page
from .option_widgets import takes
from .search_words import with_other_languages

NODES: tuple[Any, ...] = (
    *depth_and_normals.NODES,
    *aio.SERVED,
    *aio.NODES,
    *video_depth_anything.NODES,
    *depth_anything_v2.NODES,
    *geometry.NODES,
    *diffusion.NODES,
    *video.NODES,
    depth_and_normals.EstimatePanorama,
    *render.NODES,
    *preview.NODES,
    *relight.NODES,
    views.DepthParallax,
    relight.Light,
    *effects.NODES,
    *views.NODES,
    *textures.NODES,
    *materials.NODES,
    *interop.NODES,
    *demo.NODES,
    *files.NODES,
    *meshes.NODES,
)

_aliases: dict[Any, list[str]] = {node: with_other_languages(node.SEARCH_ALIASES) for node in NODES}  # at once: some inherit theirs
for _node, _words in _aliases.items():
    _node.SEARCH_ALIASES = _words
    if not _node.OPTIONS:
        takes()(_node)

NODE_CLASS_MAPPINGS = old_ids.with_twins(NODES, old=old_ids.are_served())
for _node in dict.fromkeys((*NODES, *NODE_CLASS_MAPPINGS.values())):
    if _node in NODES or "execute" in vars(_node):  # other twins inherit theirs
        _node.execute = showing_on_page(keeping_estimates(noting_warnings(interruptible(with_usual_defaults(_node.execute)))))
        if _node.NODE_ID in old_ids.METHODS:
            setattr(_node, old_ids.METHODS[_node.NODE_ID], _node.execute)
NODE_DISPLAY_NAME_MAPPINGS = {node_id: node.DISPLAY_NAME for node_id, node in NODE_CLASS_MAPPINGS.items()}

when_started(old_ids.announce)
answer_page(LAST_RUNS, last_runs)
answer_script(SCRIPT, joined_script)
