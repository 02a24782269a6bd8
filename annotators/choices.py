"""Names that users choose among. No torch: the command line reads them before anything large is imported."""

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old MiDaS nodes' model."""

RECOMMENDED_MODEL = "moge-2-vits-normal"
"""The default of the commands and of *Load Depth Model*: metres, normals and camera in one pass, 141 MB, MIT."""

BEST_FIRST = (
    "moge-2-vitl-normal",
    "moge-2-vitb-normal",
    "moge-2-vits-normal",
    "depth-anything-3-metric-large",
    "zoedepth-nyu-kitti",
    "depth-anything-large",
    "depth-anything-v2-small",
    "depth-anything-base",
    "depth-anything-small",
    "zipdepth-base",
    "midas-dpt-large",
    "midas-dpt-hybrid",
)
"""*Load Depth Model* begins with the first of these that is on the disk. All may be used commercially."""

RECOMMENDED_VIDEO_MODEL = "video-depth-anything-small"
"""The default for videos: the one free model that processes 32 frames in one window. Outputs of others are smoothed afterwards."""

BUNDLED_MODEL = "tiny"
"""The model whose weights are a part of the pack."""
