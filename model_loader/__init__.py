"""The only door to ComfyUI's memory manager, its folders and the Hugging Face hub: find, download, verify, load, keep, place."""

from .load import DEVICE_CHOICES, DTYPE_CHOICES, free, load_model
from .model import Model

__all__ = ["DEVICE_CHOICES", "DTYPE_CHOICES", "Model", "free", "load_model"]
