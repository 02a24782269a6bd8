"""Finds, downloads, verifies, loads and runs models, inside ComfyUI and outside."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .inference.model import Model
    from .load import free, load_model

__all__ = ["Model", "free", "load_model"]


def __getattr__(name: str) -> Any:
    """Imports a public name on first access, so that file locations are available without importing torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(".inference.model" if name == "Model" else ".load", __name__), name)
    return value
