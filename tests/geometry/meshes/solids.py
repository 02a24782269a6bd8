"""What meshes enclose, and whether they do."""

import numpy as np


def facing(mesh):
    """(T, 3), each triangle's normal in float64, twice as long as its area."""
    a, b, c = mesh.points[mesh.triangles].astype(np.float64).swapaxes(0, 1)
    return np.cross(b - a, c - a)


def volume(mesh):
    """By the divergence theorem: positive where triangles face outwards."""
    return float((mesh.points[mesh.triangles[:, 0]] * facing(mesh)).sum() / 6)


def open_edges(triangles):
    """The number of edges of triangles that no other triangle runs along once in the other direction."""
    edges = np.concatenate([triangles[:, [i, (i + 1) % 3]] for i in range(3)])
    there, counts = np.unique(edges, axis=0, return_counts=True)
    back = {(b, a) for a, b in there.tolist()}
    return sum(count != 1 or tuple(edge) not in back for edge, count in zip(there.tolist(), counts, strict=True))
