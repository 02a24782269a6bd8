"""Depth and normal maps of any image: ComfyUI nodes and a Python package from the same files.

Example:
    >>> model = depth_normal.load_model("moge-2-vits-normal")
    >>> estimate = model.estimate(images)  # (B, 3, H, W) in [0, 1] -> Estimate
"""

from importlib import import_module
from typing import Any

from ._version import __version__ as __version__

WEB_DIRECTORY = "./web"

_HOMES = {
    ".app.batch.folders": ("estimate_folder",),
    ".geometry.estimate": ("Axes", "Estimate", "Quantity"),
    ".geometry.files.image_files": ("read_image",),
    ".geometry.files.paths": ("FileFormatError",),
    ".geometry.kinds": ("Projection",),
    ".media.library": ("VideoError",),
    ".model_loader": ("Model", "free", "load_model"),
    ".model_loader.weights.checkpoint": ("CheckpointError",),
    ".model_loader.weights.download": ("AccessDeniedError", "CorruptDownloadError", "DiskFullError", "DownloadError", "NoNetworkError"),
    ".nodes": ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["WEB_DIRECTORY", *_HOME_OF]  # pyright: ignore[reportUnsupportedDunderAll]
_ROOMS = ("annotators", "geometry", "media", "model_loader", "nodes")


def __getattr__(name: str) -> Any:
    """Imports a public name on first access: torch takes seconds to import, and `depth-normal --help` does not need it."""
    if name in _HOME_OF:
        try:
            home = import_module(_HOME_OF[name], __name__)
        except ModuleNotFoundError as problem:
            if problem.name != f"{__name__}.app":
                raise
            # An AttributeError keeps `hasattr` and `inspect` working in the registry's version, which lacks `app`.
            raise AttributeError(f"{name} is not in the version of ComfyUI's registry, which holds the nodes alone") from None
        value = globals()[name] = getattr(home, name)
        return value
    if name in _ROOMS:
        import_module(".nodes", __name__)  # it imports all the others
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
