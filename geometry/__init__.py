"""Pure mathematics on depth and normals: no model, no disk but in `files`, no ComfyUI."""
