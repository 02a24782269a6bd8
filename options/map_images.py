"""How depth and normals are stored in the channels of images."""

OPENGL, DIRECTX, OPENCV, SCANNET, NORMALBAE, NORMAL_1_0 = CODINGS = (
    *("opengl", "directx", "opencv", "scannet"),
    *("controlnet-normalbae", "controlnet-1.0-normal"),
)
"""How normal maps store vectors; `geometry.conventions.NormalMapCoding` says what each is."""

WHITE, BLACK = NEAR = ("white", "black")
"""The end of the grey levels that is near."""

DISPARITY, DEPTH = LINEAR_IN = ("disparity", "depth")
"""Meanings of equal steps of grey: equal steps of inverse depth (most networks' images) or of depth (most renderers')."""

METRES = "metres"
VALUES = (*LINEAR_IN, METRES)
"""Meanings of the numbers of a depth map: grey levels of `LINEAR_IN`, or metres."""

NEAR_END = "Which end of the grey levels is near."

PER_IMAGE, PER_CLIP, FIXED, RUNNING = NORMALISATIONS = ("per_image", "per_clip", "fixed", "running")
"""Sources of the range between black and white: each image, the whole batch, the caller, or the frames so far."""

TURBO, INFERNO, SPECTRAL = COLOUR_MAPS = ("turbo", "inferno", "spectral")

CLIP_NORMALISATIONS = (PER_IMAGE, PER_CLIP, RUNNING)
"""Those of batches that may be videos."""

_WHAT = "Which direction red, green and blue of the normal map stand for: choose what will read it."
_READERS = (
    "opengl: Blender, Unity, glTF. directx: Unreal. controlnet-normalbae: control_v11p_sd15_normalbae. "
    "controlnet-1.0-normal: control_sd15_normal. opencv, scannet: computer vision."
)
CODING = f"{_WHAT} {_READERS}"
"""What a user reads where a coding is chosen."""
