"""Geometry of depth and normals as functions of tensors: no models, no ComfyUI, no disk access outside `files`. See docs/geometry.md."""
