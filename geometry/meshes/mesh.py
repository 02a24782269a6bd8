"""Meshes (points and triangles) from depth and a camera."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...options.checks import check_choice, check_not_negative, check_range, checked_switch
from ...options.mesh import MAX_JUMP, MAX_POINTS, MOST_BEHIND, ShownMeshOptions
from ...options.render import EDGES
from ...utils import resize_map
from ..assumptions import NEAR_FAR_RATIO, assumed_depth, assumed_intrinsics
from ..camera import camera_to_world_points, depth_to_points, fov_from_intrinsics
from ..checks import check_extrinsics, check_image_of, check_intrinsics
from ..conventions import camera_to_world_normals, convert_normals, unit_normals
from ..edges.depth_edges import edge_growth
from ..estimate import Axes, Estimate, Quantity
from ..filters.chosen_pixels import chosen_places, rows_and_columns
from ..filters.extremes import largest_within
from ..kinds import ZERO_AT_CAMERA, Projection
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples
from ..projections import need_perspective
from ..regions.before_sky import alike_sky
from ..regions.sky import sky_alpha
from ..sphere import panorama_directions
from ..valid import FAR_AWAY, NoDepthError
from ..views.disocclusion import continue_surfaces
from .hidden import HiddenSurface, beside_near_things, continue_behind
from .mesh_cuts import Joins, closed_triangles, cut_closed_grid, cut_grid
from .simplify import EVEN, even_triangles

logger = logging.getLogger(__name__)

# Longer side in pixels of a hidden surface's texture, which has no finer detail of its own.
_HIDDEN_SIDE = 2048
# Depth factor that keeps the last visible points from showing twice.
_SET_BACK = 1.001
# A pixel is mixed if its difference points towards the near object's colour: minimum shares of that difference and of its own square.
_MIXED, _ALONG = 0.1, 0.7
# Maximum number of hidden surfaces behind each other.
_LAYERS = 3


@dataclass(frozen=True)
class Mesh:
    """A surface in OPENGL axes, as glTF, Blender (after its import) and most viewers expect.

    Attributes:
        points: (N, 3) float32, the unit of the depth.
        triangles: (M, 3) uint32 indices, counter-clockwise seen from the camera.
        normals: (N, 3) float32 unit vectors, or None.
        colours: (N, 3) float32 in [0, 1], sRGB, or None.
        uvs: (N, 2) float32, texture coordinates from the top left, in shares of width and height; or None.
        texture: (H, W, 3) uint8, or None.

    Raises:
        ValueError: Not as many normals, colours or uvs as points.
    """

    points: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None
    uvs: np.ndarray | None = None
    texture: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("normals", "colours", "uvs"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.points):
                raise ValueError(f"a mesh of {len(self.points)} points has {len(values)} {name}; expected one for each point")


@dataclass(frozen=True)
class MeshOptions:
    """Options of meshes.

    Attributes:
        max_jump: Relative depth difference, beyond their plane, above which neighbours are not joined.
        max_points: Maximum number of points, by taking every second, third, ... pixel in both directions; 0 = all pixels.
        simplify: Relative depth error for merging triangles in flat areas. 0 = a point for each pixel. Panoramas are not simplified.
        edges: Edges of the depth, as in `depth_to_normals`: ramps at soft edges become steps, so that no skin spans objects.
        fov: Field of view, as in `assumed_intrinsics`.
        near_far_ratio: As in `assumed_depth`; for relative depth, None and 0 mean NEAR_FAR_RATIO.
        drop_sky: Leave out the detected sky (`sky_alpha`); needs an image.
        fill_behind: Degrees by which the view may turn about the middle of the scene without gaps behind near objects, as the surfaces
            beside them are continued behind them. 0 = no continuation, at most MOST_BEHIND. Ignored for panoramas, and for several views of
            one scene, which show each other's hidden surfaces.

    Raises:
        ValueError: A number out of range, or unknown `edges`.
    """

    max_jump: float = MAX_JUMP
    max_points: int = 0
    simplify: float = 0.0
    edges: str = "auto"
    fov: float = 0.0
    near_far_ratio: float | None = None
    drop_sky: bool = True
    fill_behind: float = 0.0

    def __post_init__(self) -> None:
        check_choice("edges", self.edges, EDGES)
        for name in ("max_jump", "max_points", "simplify"):
            check_not_negative(name, getattr(self, name))
        check_range("fill_behind", self.fill_behind, 0, MOST_BEHIND)
        checked_switch("drop_sky", self.drop_sky)


TO_LOOK_AT = MeshOptions(max_points=MAX_POINTS, simplify=EVEN, fill_behind=ShownMeshOptions.fill_behind)
"""Options of a textured mesh for viewing: a few megabytes, and no gaps while the view turns a little."""


def depth_to_mesh(estimate: Estimate, image: Tensor | None = None, options: MeshOptions | None = None) -> Mesh:
    """Joins the meshes of `depth_to_meshes` to one with coloured points, without textures, as each view has its own."""
    return joined_meshes(depth_to_meshes(estimate, image, options))


@torch.no_grad()
def depth_to_meshes(estimate: Estimate, image: Tensor | None = None, options: MeshOptions | None = None) -> list[Mesh]:
    """Converts an image, or each view of one scene (an estimate with extrinsics), to a mesh.

    Neighbouring pixels on one surface form triangles (`mesh_cuts`); pixels of triangles become points. An image without triangles, such as
    one row, becomes points only. Overlapping views each have their own points. A panorama becomes a closed surface around the camera, with
    a seam of duplicate points behind the camera, and a fan of triangles around each pole.

    With `fill_behind`, up to 3 more meshes follow for a single perspective image: the occluded surfaces, each with its own texture. They
    are behind the first mesh everywhere, so that the view from the image's camera does not change. Raises ValueError: several images
    without extrinsics, no depth, an image of another batch or aspect ratio, or no valid pixel.

    Args:
        estimate: With depth; one image, or any number with extrinsics. Disparity becomes assumed depth. Normals become the points' normals.
        image: (B, 3, h, w) RGB in [0, 1], of any size with the depth's aspect ratio: the texture, and the points' colours.
        options: Options of the meshes.

    Returns:
        Meshes in camera axes, or, with extrinsics, in world axes; both are OPENGL axes. Masked pixels, invalid depth, depth from FAR_AWAY
        on, and the sky have no points.
    """
    options = options or MeshOptions()
    surface = _surface if estimate.projection is Projection.PERSPECTIVE else _sphere
    views = sampled_views(estimate, image, options)
    meshes = [surface(*view, options) for view in views]
    if options.fill_behind and len(views) == 1 and estimate.projection is Projection.PERSPECTIVE:
        meshes += _hidden(*views[0], options)
    if not any(len(mesh.triangles) for mesh in meshes):
        size = f"{estimate.width}x{estimate.height} pixels"
        logger.warning("no triangles, points alone: nowhere are three pixels of %s one surface. Take a larger image or --max-jump", size)
    return meshes


def sampled_views(estimate: Estimate, image: Tensor | None, options: MeshOptions) -> list[tuple[Estimate, Tensor | None, SampledGrid]]:
    """Splits an estimate into views, each with its image (1, 3, h, w) or None, and sampled pixels. Otherwise as `depth_to_meshes`."""
    estimate.known_depth()
    if options.fov:
        need_perspective(estimate, "a field of view")
    if estimate.extrinsics is None and estimate.batch != 1:
        raise ValueError(f"a mesh holds one image, the batch has {estimate.batch}; write each to its own")
    if estimate.extrinsics is not None:
        check_extrinsics(estimate.extrinsics)
    if estimate.intrinsics is not None:
        check_intrinsics(estimate.intrinsics)
    if image is not None:
        check_image_of(image, estimate.batch, estimate.height, estimate.width)
    step = grid_step(estimate.height, estimate.width, options.max_points and options.max_points / estimate.batch)
    images = [None] * estimate.batch if image is None else [each.cpu().float() for each in image.split(1)]
    views = [estimate.slice(index, index + 1).to("cpu") for index in range(estimate.batch)]
    sampled = [(view, *_sample_grid(view, image, step, options)) for view, image in zip(views, images, strict=True)]
    if not any(bool(grid.valid.any()) for _, _, grid in sampled):
        raise NoDepthError("no pixel has a depth to make a mesh of (all are transparent, masked, sky, not positive or infinitely far)")
    return sampled


def grid_step(height: int, width: int, max_points: float) -> int:
    """The pixel stride in rows and columns at which at most `max_points` pixels remain; `max_points` 0 = no limit."""
    step = 1
    while max_points and -(-height // step) * -(-width // step) > max(1, max_points):
        step += max(1, int(step * 0.01))
    return step


def describe_source(estimate: Estimate, options: MeshOptions | None = None) -> str:
    """Describes the depth and the camera of a mesh in one line; arguments as `depth_to_meshes`. Raises ValueError: no depth."""
    options = options or MeshOptions()
    near, far = near_and_far(estimate, options)
    if estimate.quantity is Quantity.METRIC_DEPTH:
        words = f"metric depth, {near:.3g} to {far:.3g} m"
    else:
        assert estimate.quantity is not None
        is_guess = estimate.quantity not in ZERO_AT_CAMERA and not options.near_far_ratio
        guessed, advice = (" guessed as", "; another near-far ratio changes it") if is_guess else ("", "")
        words = f"{estimate.quantity.value.replace('_', ' ')}: no metres, depth range{guessed} 1:{far / near:.3g}{advice}"
    if estimate.projection is not Projection.PERSPECTIVE:
        return f"{words}; panorama"
    fov = fov_from_intrinsics(assumed_intrinsics(estimate, options.fov)[:1].cpu(), estimate.height, estimate.width).item()
    source = "asked for" if options.fov else "assumed" if estimate.intrinsics is None else "known"
    return f"{words}; field of view {fov:.3g}° ({source})"


def near_and_far(estimate: Estimate, options: MeshOptions) -> tuple[float, float]:
    """The depth at a mesh's near and far end, the median over images; arguments as `depth_to_meshes`."""
    depth = _distances(estimate, options)
    near, far = (float(end.median()) for end in measure_range_of_samples(depth, ~torch.isnan(depth), FAR_AND_NEAR_END))
    return near, far


def joined_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Concatenates meshes without their textures; normals and colours must be in all of them or in none."""
    if len(meshes) == 1:
        return replace(meshes[0], uvs=None, texture=None)
    firsts = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
    triangles = [mesh.triangles + np.uint32(first) for mesh, first in zip(meshes, firsts, strict=True)]

    def together(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
        present = [part for part in parts if part is not None]
        return np.concatenate(present) if present else None

    return Mesh(
        points=np.concatenate([mesh.points for mesh in meshes]),
        triangles=np.concatenate(triangles),
        normals=together([mesh.normals for mesh in meshes]),
        colours=together([mesh.colours for mesh in meshes]),
    )


def with_common_texture(meshes: Sequence[Mesh]) -> Mesh:
    """`joined_meshes` with stacked textures, or without if one is missing."""
    joined = joined_meshes(meshes)
    textures = [mesh.texture for mesh in meshes if mesh.texture is not None]
    uvs = [mesh.uvs for mesh in meshes if mesh.uvs is not None]
    if not len(meshes) == len(textures) == len(uvs):
        return joined
    height, width = sum(len(each) for each in textures), max(each.shape[1] for each in textures)
    common, placed, top = np.zeros((height, width, 3), np.uint8), [], 0
    for texture, uv in zip(textures, uvs, strict=True):
        rows, columns = texture.shape[:2]
        common[top : top + rows, :columns] = texture
        placed.append(np.stack((uv[:, 0] * columns / width, (uv[:, 1] * rows + top) / height), 1).astype(np.float32))
        top += rows
    return replace(joined, uvs=np.concatenate(placed), texture=common)


def _distances(estimate: Estimate, options: MeshOptions) -> Tensor:
    """Depth (B, 1, H, W), proportional to the distance from the camera; NaN where invalid."""
    ratio = options.near_far_ratio
    if estimate.quantity is Quantity.RELATIVE_DEPTH and not ratio:
        ratio = NEAR_FAR_RATIO
    return assumed_depth(estimate, ratio, options.fov)


class SampledGrid(NamedTuple):
    """Every `step`-th pixel of one image, starting with `first` in rows and columns.

    Attributes:
        depth: (1, 1, h, w), with steps at edges; 1 where not valid. For panoramas `depth`, `valid` and `colours` repeat the first
            column after the last.
        valid: (1, 1, h, w) bool.
        colours: (1, 3, h, w) sRGB in [0, 1], None without an image.
        joins: Which neighbours share a surface.
        picked: The index of these pixels in maps of the whole image.
        first: First row and column.
        step: The stride.
    """

    depth: Tensor
    valid: Tensor
    colours: Tensor | None
    joins: Joins
    picked: tuple
    first: int
    step: int

    def intrinsics(self, whole: Tensor) -> Tensor:
        """The intrinsics (1, 3, 3) of the sampled pixels, given those of the image (1, 3, 3) or (3, 3)."""
        offset, scale = whole.new_zeros(3, 3), whole.new_ones(3, 3)
        offset[:2, 2], scale[:2] = self.first, 1 / self.step
        return ((whole - offset) * scale).view(1, 3, 3)


def _sample_grid(view: Estimate, image: Tensor | None, step: int, options: MeshOptions) -> tuple[Tensor | None, SampledGrid]:
    """Samples every `step`-th valid pixel of one image, without the sky; returns its texture, too."""
    first = (min(step, view.height, view.width) - 1) // 2
    picked = (..., slice(first, None, step), slice(first, None, step))
    depth = _distances(view, options)
    valid = (depth > 0) & (depth < FAR_AWAY)
    resized = None if image is None else resize_map(image, view.height, view.width)
    if resized is not None and options.drop_sky:
        valid &= sky_alpha(resized, view) <= 0.5
    sampled, valid = depth[picked].contiguous().float(), valid[picked].contiguous()
    resized = None if resized is None else resized[picked].contiguous().clamp(0, 1)
    if view.projection is Projection.PERSPECTIVE:
        depth, joins = cut_grid(sampled, valid, resized, options.edges, options.max_jump)
    else:
        depth, joins = cut_closed_grid(sampled, valid, resized, options.edges, options.max_jump)
        valid, resized = _closed(valid), None if resized is None else _closed(resized)
    grid = SampledGrid(depth.where(valid, 1), valid, resized, joins, picked, first, step)
    is_soft = view.projection is Projection.PERSPECTIVE and bool((depth != sampled)[valid].any())
    return (image, grid) if image is None or not is_soft else _unmixed(image, grid, (view.height, view.width))


def _unmixed(image: Tensor, grid: SampledGrid, size: tuple[int, int]) -> tuple[Tensor, SampledGrid]:
    """Removes occluders' colours from the far surfaces beside them; returns the image (1, 3, h, w) and its grid.

    Cuts in soft depth follow the image's edges, where the lens mixes the colours of both sides. Near objects keep their rims.
    """
    beside, source = beside_near_things(grid.depth[0, 0], grid.valid[0, 0], grid.joins, 1 + edge_growth(*grid.depth.shape[-2:]))
    assert grid.colours is not None
    beside = _mixed(grid.colours, beside, source)
    shape, scales = image.shape[-2:], [now / whole for now, whole in zip(image.shape[-2:], size, strict=True)]
    cells = _cells(grid, size, shape)
    places = rows_and_columns(chosen_places(beside.index_select(0, cells[0]).index_select(1, cells[1])), *shape)
    here = cells[0][places[0]], cells[1][places[1]]
    rows, columns = (
        (place + ((end[here] - cell) * grid.step * scale).round().long()).clamp(0, now - 1)
        for place, end, cell, scale, now in zip(places, source, here, scales, shape, strict=True)
    )
    image, colours = image.clone(), grid.colours.clone()
    image[..., places[0], places[1]] = image[..., rows, columns]
    colours[..., beside] = colours[..., source[0][beside], source[1][beside]]
    return image, grid._replace(colours=colours)


def _cells(grid: SampledGrid, size: Sequence[int], shape: Sequence[int]) -> list[Tensor]:
    """The grid row of each row of an image of height and width `shape`, and the grid column of each column; `size` is the map's."""
    return [
        (((torch.arange(now, dtype=torch.float32, device="cpu") + 0.5) * whole / now - 0.5 - grid.first) / grid.step)
        .round()
        .long()
        .clamp(0, picked - 1)
        for now, whole, picked in zip(shape, size, grid.depth.shape[-2:], strict=True)
    ]


def _mixed(colours: Tensor, beside: Tensor, source: Tensor) -> Tensor:
    """Selects the pixels of `beside_near_things` whose colour differs from their surface's, towards the near object's: (H, W) bool."""
    here = beside.nonzero().T
    there = source[:, beside]
    across = [place.clamp(0, most - 1) for place, most in zip(2 * here - there, beside.shape, strict=True)]
    own, far, near = (colours[0][:, rows, columns] for rows, columns in (here, there, across))
    towards, away = near - far, own - far
    product, length = (away * towards).sum(0), towards.square().sum(0)
    mixed = (product > _MIXED * length) & (product.square() > _ALONG * length * away.square().sum(0))
    return beside.index_put(tuple(here), mixed)


def _surface(view: Estimate, image: Tensor | None, grid: SampledGrid, options: MeshOptions) -> Mesh:
    """The mesh of one perspective image; empty if no pixel is valid."""
    points, normals = _placed(view, grid, options)
    used, triangles = _triangles(grid, normals, options)
    if not len(triangles):
        used = grid.valid[0, 0].numpy()
    places = np.nonzero(used)
    mesh = Mesh(_at_points(points, places), triangles, None if normals is None else _at_points(normals, places))
    if image is None or grid.colours is None:
        return mesh
    return _dressed(mesh, image, _at_points(grid.colours, places), places, grid, (view.height, view.width))


def _triangles(
    grid: SampledGrid, normals: Tensor | None, options: MeshOptions, within: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`even_triangles` of a sampled grid."""
    turned = None if normals is None else normals[0].numpy()
    return even_triangles((1 / grid.depth[0, 0]).numpy(), grid.joins, turned, None if within is None else within.numpy(), options.simplify)


def _hidden(view: Estimate, image: Tensor | None, grid: SampledGrid, options: MeshOptions) -> list[Mesh]:
    """The surfaces continued behind occluders, including the last visible points, from front to back."""
    focal = float(grid.intrinsics(assumed_intrinsics(view, options.fov).to(grid.depth))[0, :2].diagonal().max())
    ends = [1 / float(end) for end in measure_range_of_samples(grid.depth, grid.valid, FAR_AND_NEAR_END)]
    reach = focal * math.tan(math.radians(options.fill_behind)) * 2 / sum(ends)
    valid, near, normals, meshes = grid.valid[0, 0], None, _placed(view, grid, options)[1], []
    nothing = ~valid
    if grid.colours is not None and options.drop_sky:  # networks take some of the sky for far land
        alike, known = alike_sky(grid.colours, ~grid.valid)
        nothing |= (alike & known)[0, 0]
    for _ in range(_LAYERS):
        continued = continue_behind(grid.depth[0, 0], valid, grid.joins, reach, near, nothing)
        layer = grid._replace(depth=continued.depth[None, None], joins=continued.joins)
        used, triangles = _triangles(layer, None, options, continued.hidden)
        triangles = triangles[continued.hidden.numpy()[used][triangles].any(1)]
        if not len(triangles):
            break
        kept, corners = np.unique(triangles, return_inverse=True)
        rows, columns = np.nonzero(used)
        points = rows[kept], columns[kept]
        inverse = torch.where(grid.valid, 1 / grid.depth, torch.inf)
        if normals is not None:
            normals = unit_normals(continue_surfaces(normals, inverse, continued.last[None], hole=continued.hidden[None, None]))
        filled, around = (None, None) if image is None else _filled_image(image, grid, continued, inverse, (view.height, view.width))
        grid = grid._replace(depth=continued.depth[None, None], joins=continued.joins_with(grid.joins))
        mesh = Mesh(
            _at_points(_placed(view, grid._replace(depth=grid.depth * _SET_BACK), options)[0], points),
            corners.reshape(-1, 3).astype(np.uint32),
            None if normals is None else _at_points(normals, points),
        )
        if filled is not None and around is not None:
            colours = _at_points(resize_map(filled, view.height, view.width)[grid.picked], points)
            mean = (filled * around).sum((2, 3), keepdim=True) / around.sum()
            mesh = _dressed(mesh, torch.where(around, filled, mean), colours, points, grid, (view.height, view.width))
        meshes.append(mesh)
        image, near = filled, continued.hidden
    return meshes


def _at_points(maps: Tensor, points: tuple[np.ndarray, ...]) -> np.ndarray:
    """(N, C) float32 of maps (1, C, H, W), at rows and columns."""
    return maps.detach()[0].movedim(0, -1)[points].float().contiguous().numpy()


def _filled_image(image: Tensor, grid: SampledGrid, found: HiddenSurface, inverse: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Paints `found` hidden surfaces behind a grid's pixels into an image (1, 3, h, w), as their texture, for a depth map of `size`.

    `inverse` (1, 1, H, W) is infinite where invalid. Returns the image, downsized to at most `_HIDDEN_SIDE` pixels, and where it was
    painted, with a margin, (1, 1, h, w) bool.
    """
    share = min(1.0, _HIDDEN_SIDE / max(image.shape[-2:]))
    height, width = (max(1, round(side * share)) for side in image.shape[-2:])
    image = resize_map(image.nan_to_num(0.0).clamp(0, 1), height, width)
    rows, columns = _cells(grid, size, (height, width))
    # Pixels between the last visible and the first hidden point may show the near object.
    mixed = math.ceil(grid.step * max(height / size[0], width / size[1]) / 2)
    last = [
        (((grid.first + grid.step * each + 0.5) * now / whole - 0.5).round().long().clamp(0, now - 1))
        for each, now, whole in zip(found.last, (height, width), size, strict=True)
    ]
    ends = torch.where(found.hidden, last[0] * width + last[1], -1).float()[rows][:, columns][None, None]
    ends = torch.where(ends < 0, largest_within(ends, mixed), ends).long()
    hole = ends >= 0
    ends = ends.clamp(min=0)
    around = largest_within(hole.float(), 4 * mixed) > 0
    filled = continue_surfaces(image, inverse[..., rows, :][..., columns], torch.cat((ends // width, ends % width), 1), mixed, hole)
    return filled, around


def _sphere(view: Estimate, image: Tensor | None, grid: SampledGrid, options: MeshOptions) -> Mesh:
    """A panorama's surface around the camera; empty if no pixel is valid."""
    used, triangles, poles = closed_triangles(grid.depth[0, 0].numpy(), grid.joins)
    chosen = torch.from_numpy(used)
    directions = panorama_directions(view.height, view.width)[grid.picked]
    ends = [row for row, closed in zip((0, -1), poles, strict=True) if closed]

    def at_points(maps: Tensor) -> np.ndarray:
        """The maps' values at the points, and for the poles the mean of the ring around."""
        values = maps.detach()[0].movedim(0, -1)
        return torch.cat((values[chosen], *(values[row][chosen[row]].mean(0, keepdim=True) for row in ends))).float().contiguous().numpy()

    points = at_points(convert_normals(_closed(directions) * grid.depth, Axes.OPENCV, Axes.OPENGL))
    if ends:
        points[-len(ends) :, (0, 2)] = 0  # straight above and below, as high as the ring is
    normals = None if view.normals is None else _closed(unit_normals(convert_normals(view.normals[grid.picked], view.axes, Axes.OPENGL)))
    mesh = Mesh(points, triangles, None if normals is None else at_points(normals))
    if image is None or grid.colours is None:
        return mesh
    mesh = _dressed(mesh, image, at_points(grid.colours), np.nonzero(used), grid, (view.height, view.width))
    assert mesh.uvs is not None
    behind = (np.nonzero(used)[1] == used.shape[1] - 1).nonzero()[0]
    mesh.uvs[behind, 0] = 1 + (grid.first + 0.5) / view.width  # the texture wraps around
    if ends:
        mesh.uvs[-len(ends) :] = [(0.5, 0.0 if row == 0 else 1.0) for row in ends]
    return mesh


def _closed(maps: Tensor) -> Tensor:
    """Repeats a panorama's first column after the last."""
    return torch.cat((maps, maps[..., :1]), -1)


def _placed(view: Estimate, grid: SampledGrid, options: MeshOptions) -> tuple[Tensor, Tensor | None]:
    """Points and normals of the picked pixels, in OPENGL axes of the camera or the world."""
    points = depth_to_points(grid.depth, grid.intrinsics(assumed_intrinsics(view, options.fov).to(grid.depth)))
    normals = None if view.normals is None else convert_normals(view.normals[grid.picked], view.axes, Axes.OPENCV)
    if view.extrinsics is not None:
        points = camera_to_world_points(points, view.extrinsics)
        normals = None if normals is None else camera_to_world_normals(normals, view.extrinsics[:, :, :3].mT)
    if normals is not None:
        normals = unit_normals(convert_normals(normals.float(), Axes.OPENCV, Axes.OPENGL))
    return convert_normals(points, Axes.OPENCV, Axes.OPENGL), normals


def _dressed(
    mesh: Mesh, image: Tensor, colours: np.ndarray, places: tuple[np.ndarray, ...], grid: SampledGrid, size: tuple[int, int]
) -> Mesh:
    """Adds colours and texture to a mesh whose first points are at `places`, rows and columns of the grid."""
    rows, columns = places
    uvs = np.empty((len(mesh.points), 2), np.float32)
    uvs[: len(rows), 0] = (grid.first + grid.step * columns + 0.5) / size[1]
    uvs[: len(rows), 1] = (grid.first + grid.step * rows + 0.5) / size[0]
    texture = (image[0].nan_to_num(0.0).clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().numpy()
    return replace(mesh, colours=colours, uvs=uvs, texture=texture)
