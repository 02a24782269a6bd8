"""Pure mathematics on depth and normals: no model, no disk but in `files`, no ComfyUI. `docs/geometry.md` is for callers from Python."""
