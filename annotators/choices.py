"""Names that users choose among, and those of the user's settings in messages. No torch: the command line reads them first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Wording:
    """The words of one user interface.

    Attributes:
        lower_size: What to do about a network's input that is too large.
        where_size: Where that is set, where it is not obvious.
        tiles: What runs a network on parts of a large image.
        model: How a model is chosen, with {} for its name.
        make_writable: What to do where results cannot be written.
        up_to: Up to which size, with {} for the number; nothing where sizes are not numbers.
        use_cpu: How a model is run on the CPU.
        names_weights: Whether the line about a model that is loaded names its file. Where it does not, a command lists the files.
    """

    lower_size: str
    where_size: str
    tiles: str
    model: str
    make_writable: str = "free room there, change its permissions, or choose another folder"
    up_to: str = " to {} or less"
    use_cpu: str = "run it on the CPU"
    names_weights: bool = True

    def choose(self, *models: str) -> str:
        """Advice to choose one of some models: "choose the model 'tiny'"."""
        return "choose " + " or ".join(self.model.format(model) for model in models)


NODES = Wording(
    "lower the resolution",
    " (network_size in nodes that have it)",
    "Depth & Normals (advanced) sees large images in tiles",
    "the model '{}'",
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
    """The words to use now: those of `worded`, else those of ComfyUI within it, else Python's."""
    # ComfyUI has imported this module before it loads any pack.
    return _current or (NODES if "comfy.model_management" in sys.modules else PYTHON)


@contextmanager
def worded(words: Wording) -> Iterator[None]:
    """Uses these words while the block runs, in all threads."""
    global _current
    before, _current = _current, words
    try:
        yield
    finally:
        _current = before
