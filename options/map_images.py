"""How depth and normals are coded in image channels."""

OPENGL, DIRECTX, OPENCV, SCANNET, NORMALBAE, NORMAL_1_0 = CODINGS = (
    *("opengl", "directx", "opencv", "scannet"),
    *("controlnet-normalbae", "controlnet-1.0-normal"),
)
"""Codings of normal maps, documented in `geometry.conventions.NormalMapCoding`."""

DXT5NM = "dxt5nm"
READ_CODINGS = (*CODINGS, DXT5NM)
"""Codings of normal maps that are read; the last has x in alpha and y, upwards, in green."""

WHITE, BLACK = NEAR = ("white", "black")
"""The grey level of the near end."""

DISPARITY, DEPTH = LINEAR_IN = ("disparity", "depth")
"""What grey levels are linear in: inverse depth (most networks' images) or depth (most renderers')."""

METRES = "metres"
VALUES = (*LINEAR_IN, METRES)
"""Meanings of a depth map's values: grey levels of `LINEAR_IN`, or metres."""

NEAR_END = "Which end of the grey levels is near."

PER_IMAGE, PER_CLIP, FIXED, RUNNING = NORMALISATIONS = ("per_image", "per_clip", "fixed", "running")
"""Sources of the grey range: each image, the whole batch, the caller, or the frames so far."""

TURBO, INFERNO, SPECTRAL = COLOUR_MAPS = ("turbo", "inferno", "spectral")

CLIP_NORMALISATIONS = (PER_IMAGE, PER_CLIP, RUNNING)
"""Normalisations of batches that may be videos."""

_WHAT = "Which direction red, green and blue of the normal map stand for: choose what will read it."
_READERS = (
    "opengl: Blender, Unity, glTF. directx: Unreal. controlnet-normalbae: control_v11p_sd15_normalbae. "
    "controlnet-1.0-normal: control_sd15_normal. opencv, scannet: computer vision."
)
CODING = f"{_WHAT} {_READERS}"
"""The text beside a choice of codings."""

IN_ALPHA = "dxt5nm: textures of games with x in alpha."
READ_CODING = (
    "Which direction red, green and blue of the normal map stand for: choose what made it. "
    "opengl: Blender, Unity, glTF, Marigold. directx: Unreal. controlnet-normalbae: BAE, DSINE, Lotus. "
    f"controlnet-1.0-normal: MiDaS. opencv, scannet: computer vision. {IN_ALPHA}"
)
"""The text beside a choice of codings of what is read."""
