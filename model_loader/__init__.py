"""The only door to ComfyUI's memory manager, its folders and the Hugging Face hub: find, download, verify, load, keep, place."""

from .model import DEVICE_CHOICES, DTYPE_CHOICES, Model, free, load_model

__all__ = ["DEVICE_CHOICES", "DTYPE_CHOICES", "Model", "free", "load_model"]
