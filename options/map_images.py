"""How depth and normals are stored in the channels of images."""

OPENGL, DIRECTX, OPENCV, SCANNET, NORMALBAE, NORMAL_1_0 = CODINGS = (
    *("opengl", "directx", "opencv", "scannet"),
    *("controlnet-normalbae", "controlnet-1.0-normal"),
)
"""How normal maps store vectors; `geometry.conventions.NormalMapCoding` says what each is."""

WHITE, BLACK = NEAR = ("white", "black")
"""The end of the grey levels that is near."""

PER_IMAGE, PER_CLIP, FIXED, RUNNING = NORMALISATIONS = ("per_image", "per_clip", "fixed", "running")
"""Sources of the range between black and white: each image, the whole batch, the caller, or the frames so far."""

CLIP_NORMALISATIONS = (PER_IMAGE, PER_CLIP, RUNNING)
"""Those of batches that may be videos."""
