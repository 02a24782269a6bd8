"""What a user can set of meshes and splats."""

MAX_POINTS = 1_000_000
"""Points that viewers still turn smoothly; what is offered where a mesh is made to be looked at."""
