"""Converts normals between conventions: camera axes, world space, images, strength and blending."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from ..options import map_images as codings
from ..utils import constant, dot_products, vector_lengths, without_autocast
from .checks import check_map
from .kinds import Axes, Kind

# Decoded unit vectors have length 1 up to rounding, in most pixels that have a direction.
_EXACT, _MOST = 0.02, 0.8
NO_LENGTH, LOOKED_AT = 0.05, 256
"""Shorter decoded vectors have no direction. About LOOKED_AT pixels along a map's longer side are sampled."""

_OPENGL_SIGNS = {
    Axes.OPENGL: (1.0, 1.0, 1.0),
    Axes.DIRECTX: (1.0, -1.0, 1.0),
    Axes.OPENCV: (1.0, -1.0, -1.0),
    Axes.SCANNET: (-1.0, 1.0, 1.0),
}


class NormalMapCoding(Kind):
    """How an image stores unit vectors: (vector + 1) / 2, in these axes and channel order."""

    OPENGL = codings.OPENGL
    """R, G, B = x right, y up, z towards the viewer: Blender, glTF, Marigold."""
    DIRECTX = codings.DIRECTX
    """As OPENGL with green inverted: Unreal."""
    OPENCV = codings.OPENCV
    """R, G, B = x right, y down, z away from the viewer."""
    SCANNET = codings.SCANNET
    """As OPENGL with red inverted: BAE, DSINE, Lotus, LBM."""
    CONTROLNET_NORMALBAE = codings.NORMALBAE
    """Expected by control_v11p_sd15_normalbae: the same image as SCANNET."""
    CONTROLNET_1_0_NORMAL = codings.NORMAL_1_0
    """Expected by control_sd15_normal (ControlNet 1.0), the MiDaS normal map: SCANNET stored reversed, R, G, B = z, y, x."""

    @property
    def axes(self) -> Axes:
        """The camera axes of the stored vectors."""
        return Axes.SCANNET if self.value.startswith("controlnet") else Axes(self.value)

    @property
    def channels_reversed(self) -> bool:
        """True if R, G, B hold z, y, x instead of x, y, z."""
        return self is NormalMapCoding.CONTROLNET_1_0_NORMAL


def are_unit_vectors(values: Tensor) -> bool:
    """True if the values (B, 3, H, W) are unit vectors; those that are zero, NaN or infinite are ignored.

    Encoded vectors (1 + n) / 2 have another length almost everywhere.
    """
    step = -(-max(values.shape[-2:]) // LOOKED_AT)
    lengths = vector_lengths(values[..., ::step, ::step])
    is_unit, usable = torch.stack((((lengths - 1).abs() < _EXACT).sum(), (lengths > NO_LENGTH).sum())).tolist()
    return is_unit > _MOST * usable


def convert_normals(normals: Tensor, source: Axes | str, target: Axes | str) -> Tensor:
    """Expresses vectors (B, 3, H, W) of any length in other camera axes. Only signs change, so the round-trip is exact.

    Raises ValueError: not (B, 3, H, W), or unknown axes.
    """
    check_map(normals, 3, "normals")
    source, target = Axes(source), Axes(target)
    return normals if source == target else normals * _signs(normals, source, target)


def encode_normal_map(
    normals: Tensor, target: NormalMapCoding | Axes | str = NormalMapCoding.OPENGL, source: Axes | str = Axes.OPENGL
) -> Tensor:
    """Encodes unit vectors (B, 3, H, W) in `source` axes as an image in [0, 1]: (vector + 1) / 2, not rounded.

    Rounding to 8 bits costs 0.17 degrees on average and 0.39 at most; truncating costs twice as much. Raises ValueError: not (B, 3, H, W),
    unknown axes or coding.
    """
    check_map(normals, 3, "normals")
    coding = _as_coding(target)
    stored = (normals * (_signs(normals, Axes(source), coding.axes) * 0.5)).add_(0.5).clamp_(0, 1)
    return stored.flip(1) if coding.channels_reversed else stored


def decode_normal_map(
    image: Tensor, source: NormalMapCoding | Axes | str = NormalMapCoding.OPENGL, target: Axes | str = Axes.OPENGL
) -> Tensor:
    """Decodes the unit vectors (B, 3, H, W), in `target` axes, of an image in [0, 1].

    They face the viewer where the image holds no direction (mid grey). Raises ValueError: not (B, 3, H, W), unknown axes or coding.
    """
    check_map(image, 3, "image")
    coding = _as_coding(source)
    signs = _signs(image, coding.axes, Axes(target))
    stored = image.flip(1) if coding.channels_reversed else image
    return unit_normals((stored * (2 * signs)).sub_(signs), target)


def unit_normals(vectors: Tensor, axes: Axes | str = Axes.OPENGL, in_place: bool = False) -> Tensor:
    """Normalises vectors (B, 3, H, W) of any length.

    Those that are zero or not finite become (0, 0, 1), towards the viewer (OPENCV: (0, 0, -1)). `in_place` allows reuse of the memory of
    `vectors`, which must not be a view of another tensor. Raises ValueError: not (B, 3, H, W), or unknown axes.
    """
    check_map(vectors, 3, "vectors")
    facing = constant(vectors, (0.0, 0.0, _OPENGL_SIGNS[Axes(axes)][2])).view(1, 3, 1, 1)
    is_compiling = torch.compiler.is_compiling()  # an exporter's graph cannot branch
    if vectors.device.type != "cpu" and not is_compiling and not vectors.requires_grad:  # few kernels, no sync
        scaled = vectors / torch.linalg.vector_norm(vectors, torch.inf, 1, keepdim=True)
        lengths = torch.linalg.vector_norm(scaled, 2, 1, keepdim=True)  # NaN where the largest is 0 or not finite
        return torch.where(lengths > 0, scaled / lengths, facing)
    squares = dot_products(vectors, vectors)
    # On a CPU this check is cheaper than the passes over the map below.
    if not is_compiling and _all_safe(squares):
        lengths = squares.sqrt_()
        return vectors.div_(lengths) if in_place and not vectors.requires_grad else vectors / lengths
    x, y, z = vectors.split(1, 1)
    largest = torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
    usable = (largest > 0) & (largest < float("inf"))
    # Dividing by the largest component first avoids overflow and underflow of the squares.
    scaled = vectors / torch.where(usable, largest, 1)
    safe = torch.where(usable, scaled, facing)
    return safe / dot_products(safe, safe).sqrt()


def camera_to_world_normals(normals: Tensor, camera_to_world: Tensor) -> Tensor:
    """Rotates camera-space normals into world space: R @ n, (B, 3, H, W).

    Args:
        normals: (B, 3, H, W) in the camera's own axes (OPENGL for a Blender or OpenGL camera, OPENCV for a COLMAP one).
        camera_to_world: (3, 3) or (4, 4), or a batch of them: the camera's pose (Blender's `matrix_world`).

    Raises:
        ValueError: Wrong shapes, or a 3x3 part that is not a rotation.
    """
    return _rotated(normals, camera_to_world, back=False)


def world_to_camera_normals(normals: Tensor, camera_to_world: Tensor) -> Tensor:
    """Rotates world-space normals into camera space, transpose(R) @ n: the inverse of `camera_to_world_normals`, with the same matrix."""
    return _rotated(normals, camera_to_world, back=True)


def scale_normal_strength(normals: Tensor, strength: float | Tensor, axes: Axes | str = Axes.OPENGL) -> Tensor:
    """Makes the relief of unit vectors (B, 3, H, W) stronger or weaker: multiplies the surface's slopes by `strength`.

    1 keeps them, 0 flattens, negative numbers turn bumps into dents. A tensor broadcasts to (B, 1, H, W). Raises ValueError: not
    (B, 3, H, W), or unknown axes.
    """
    check_map(normals, 3, "normals")
    return unit_normals(torch.cat((normals[:, :2] * strength, normals[:, 2:]), 1), axes)


def blend_normals(base: Tensor, detail: Tensor, axes: Axes | str = Axes.OPENGL) -> Tensor:
    """Adds detail normals to base normals by reoriented normal mapping: rotates the detail as the base is rotated from flat.

    All are (B, 3, H, W) unit vectors in the same axes; the detail is measured from a flat surface that faces the viewer. A flat detail
    gives the base; a flat base gives the detail. Raises ValueError: shapes that are not (B, 3, H, W) or not the same, or unknown axes.

    Source:
        C. Barre-Brisebois and S. Hill, "Blending in Detail" (2012), the version for unit vectors, multiplied by t.z.
    """
    check_map(base, 3, "base")
    check_map(detail, 3, "detail", like=base)
    facing = _OPENGL_SIGNS[Axes(axes)][2]
    flip = constant(base, (1.0, 1.0, facing)).view(1, 3, 1, 1)
    t = base * flip + constant(base, (0.0, 0.0, 1.0)).view(1, 3, 1, 1)
    u = detail * constant(base, (-1.0, -1.0, facing)).view(1, 3, 1, 1)
    return unit_normals((t * (t * u).sum(1, keepdim=True) - u * t[:, 2:]) * flip, axes)


def _signs(like: Tensor, source: Axes, target: Axes) -> Tensor:
    """(1, 3, 1, 1) factors that convert between two kinds of axes."""
    signs = [a * b for a, b in zip(_OPENGL_SIGNS[source], _OPENGL_SIGNS[target], strict=True)]
    return constant(like, tuple(signs)).view(1, 3, 1, 1)


def _all_safe(squares: Tensor) -> bool:
    """True if squared lengths are finite and large enough to be precise."""
    least, most = squares.detach().aminmax()
    limits = torch.finfo(squares.dtype)
    return bool(least >= limits.tiny / limits.eps) and bool(most <= limits.max)


@without_autocast
def _rotated(normals: Tensor, matrix: Tensor, back: bool) -> Tensor:
    check_map(normals, 3, "normals")
    batch = normals.shape[0]
    matrices = matrix[None] if matrix.ndim == 2 else matrix
    if matrices.ndim != 3 or matrices.shape[1:] not in ((3, 3), (4, 4)) or matrices.shape[0] not in (1, batch):
        raise ValueError(f"camera_to_world has shape {tuple(matrix.shape)}; expected (3, 3) or (4, 4), or {batch} of them")
    rotation = matrices[:, :3, :3].to(normals)
    if not torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).to(rotation).expand_as(rotation), atol=1e-4):
        raise ValueError(
            "the 3x3 part of camera_to_world is no rotation (its rows are not unit and at right angles): take the scale out of it"
        )
    rotation = (rotation.transpose(1, 2) if back else rotation).expand(batch, 3, 3)
    return torch.einsum("bij,bjhw->bihw", rotation, normals)


def _as_coding(name: NormalMapCoding | Axes | str) -> NormalMapCoding:
    return NormalMapCoding(name.value if isinstance(name, Enum) else name)
