"""What ComfyUI sees: one file for each kind of node; the order of the tuples is the order in the menu."""

from . import (
    aio,
    depth_maps,
    diffusion,
    dsine,
    effects,
    files,
    geometry,
    interop,
    lens,
    leres,
    lights,
    materials,
    meshes,
    metric3d,
    midas,
    normal_maps,
    relight,
    render,
    stereo,
    textures,
    video,
    video_depth_anything,
)

NODES = (
    *midas.NODES,
    *depth_maps.NODES,
    *normal_maps.NODES,
    *metric3d.NODES,
    *leres.NODES,
    *video_depth_anything.NODES,
    *dsine.NODES,
    *diffusion.NODES,
    *geometry.NODES,
    *render.NODES,
    *relight.NODES,
    *stereo.NODES,
    *video.NODES,
    *interop.NODES,
    *files.NODES,
    *textures.NODES,
    *materials.NODES,
    *aio.NODES,
    *meshes.NODES,
    *effects.NODES,
    *lens.NODES,
    *lights.NODES,
)

NODE_CLASS_MAPPINGS = {node.NODE_ID: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.NODE_ID: node.DISPLAY_NAME for node in NODES}
