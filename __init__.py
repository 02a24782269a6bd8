"""Depth and normal maps that are right, from any picture: ComfyUI nodes and a Python package from the same files.

Example:
    >>> model = depth_normal.load_model("midas-dpt-hybrid")
    >>> estimate = model.estimate(images)  # (B, 3, H, W) in [0, 1] -> Estimate
"""

from .geometry.estimate import Axes, Estimate, Quantity
from .model_loader import Model, free, load_model
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__version__ = "0.1.0"
WEB_DIRECTORY = "./web"

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "WEB_DIRECTORY",
    "Axes",
    "Estimate",
    "Model",
    "Quantity",
    "free",
    "load_model",
]
