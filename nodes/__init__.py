"""What ComfyUI sees: one file a family; the order of the tuples is the order in the menu."""

from . import files, geometry, interop, midas, render

NODES = (*midas.NODES, *geometry.NODES, *render.NODES, *interop.NODES, *files.NODES)

NODE_CLASS_MAPPINGS = {node.NODE_ID: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.NODE_ID: node.DISPLAY_NAME for node in NODES}
