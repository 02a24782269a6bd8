"""Depth and normal maps of any image: ComfyUI nodes and a Python package from the same files.

Example:
    >>> model = depth_normal.load_model("moge-2-vits-normal")
    >>> estimate = model.estimate(images)  # (B, 3, H, W) in [0, 1] -> Estimate
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .app.batch.folders import estimate_folder
    from .geometry.estimate import Axes, Estimate, Quantity
    from .geometry.files.image_files import read_image
    from .geometry.files.paths import FileFormatError
    from .geometry.kinds import Projection
    from .media.library import VideoError
    from .model_loader import Model, free, load_model
    from .model_loader.weights.checkpoint import CheckpointError
    from .model_loader.weights.download_errors import (
        AccessDeniedError,
        CorruptDownloadError,
        DiskFullError,
        DownloadError,
        NoNetworkError,
    )
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

WEB_DIRECTORY = "./web"

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "WEB_DIRECTORY",
    "AccessDeniedError",
    "Axes",
    "CheckpointError",
    "CorruptDownloadError",
    "DiskFullError",
    "DownloadError",
    "Estimate",
    "FileFormatError",
    "Model",
    "NoNetworkError",
    "Projection",
    "Quantity",
    "VideoError",
    "estimate_folder",
    "free",
    "load_model",
    "read_image",
]

_ERRORS = ".model_loader.weights.download_errors"
_HOMES = {
    **dict.fromkeys(("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"), ".nodes"),
    **dict.fromkeys(("Model", "free", "load_model"), ".model_loader"),
    "Projection": ".geometry.kinds",
    **dict.fromkeys(("Axes", "Estimate", "Quantity"), ".geometry.estimate"),
    **dict.fromkeys(("AccessDeniedError", "CorruptDownloadError", "DiskFullError", "DownloadError", "NoNetworkError"), _ERRORS),
    "CheckpointError": ".model_loader.weights.checkpoint",
    "FileFormatError": ".geometry.files.paths",
    "VideoError": ".media.library",
    "estimate_folder": ".app.batch.folders",
    "read_image": ".geometry.files.image_files",
}
_ROOMS = ("annotators", "geometry", "media", "model_loader", "nodes")


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: torch takes seconds, and `depth-normal --help` needs none of it."""
    if name in _HOMES:
        try:
            home = import_module(_HOMES[name], __name__)
        except ModuleNotFoundError as problem:
            if problem.name != f"{__name__}.app":
                raise
            # An AttributeError, so that `hasattr` and `inspect` go on with the version of ComfyUI's registry
            raise AttributeError(f"{name} is not in the version of ComfyUI's registry, which holds the nodes alone") from None
        value = globals()[name] = getattr(home, name)
        return value
    if name in _ROOMS:
        import_module(".nodes", __name__)  # which needs them all
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
