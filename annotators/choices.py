"""Model names offered as defaults, and interface-specific words for messages. Without torch: the command line reads them first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old MiDaS nodes' model."""

RECOMMENDED_MODEL = "moge-2-vits-normal"
"""The default of the commands and of *Load Depth Model*: metres, normals and camera in one pass, 141 MB, MIT licence."""

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
"""*Load Depth Model* preselects the first of these that is installed. All allow commercial use."""

RECOMMENDED_VIDEO_MODEL = "video-depth-anything-small"
"""The default for videos: the only free model that processes windows of 32 frames. Other models' outputs are smoothed afterwards."""

BUNDLED_MODEL = "tiny"
"""The model whose weights ship with the pack."""


@dataclass(frozen=True)
class Wording:
    """The wording of one user interface."""

    lower_size: str  # advice for a network input that is too large
    where_size: str  # where to set the size, if not obvious
    tiles: str  # names the tiled mode for large images
    model: str  # how to choose a model; {} is its name
    make_writable: str = "free room there, change its permissions, or choose another folder"  # advice where results cannot be written
    up_to: str = " to {} or less"  # a size limit; {} is the number. Empty if sizes are not numbers.
    use_cpu: str = "run it on the CPU"  # how to run a model on the CPU
    names_weights: bool = True  # whether the line on loading a model names its file. If not, a command lists the files.
    store_elsewhere: str = "set DEPTH_NORMAL_HOME or HF_HOME to another folder"  # how to have weights stored in another folder

    def choose(self, *models: str) -> str:
        """Advice to choose one of several models, such as "choose the model 'tiny'"."""
        return "choose " + " or ".join(self.model.format(model) for model in models)


NODES = Wording(
    "lower the resolution",
    " (network_size in nodes that have it)",
    "Depth & Normals (advanced) sees large images in tiles",
    "the model '{}'",
    store_elsewhere="name another folder as depth_normal in extra_model_paths.yaml",
)
COMMAND_LINE = Wording(
    "lower --size",
    "",
    "--tiles sees large images in tiles",
    "--model {}",
    "free room there, change its permissions, or choose another --out",
    use_cpu="give --device cpu",
    names_weights=False,
)
PAGE = Wording(
    "choose less detail",
    "",
    "crop the image",
    "the model '{}'",
    "free room there or change its permissions, then press Try again",
    "",
    "start it again with --device cpu",
)
PYTHON = Wording("lower size", "", 'tiles="auto" sees large images in tiles', 'load_model("{}")', use_cpu='give device="cpu"')

_current: Wording | None = None


def wording() -> Wording:
    """The current wording: that of `worded`, else the nodes' inside ComfyUI, else Python's."""
    # ComfyUI imports this module before it loads any custom node.
    return _current or (NODES if "comfy.model_management" in sys.modules else PYTHON)


@contextmanager
def worded(words: Wording) -> Iterator[None]:
    """Uses this wording in all threads while the block runs."""
    global _current
    before, _current = _current, words
    try:
        yield
    finally:
        _current = before
