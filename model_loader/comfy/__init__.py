"""ComfyUI's memory manager, progress, interruption and folders, or what replaces them outside it."""
