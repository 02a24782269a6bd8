"""Stereo for headsets: half spheres from photos and panoramas (VR180), and panoramas for both eyes (omnidirectional stereo).

Points keep their true position: each eye is half the eye distance beside the camera. Distant objects are straight ahead
of both eyes, as headsets expect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.checks import InvalidArgumentError, check_choice
from ...options.views import AROUND_LAYOUTS, EYE_SIZES, LAYOUTS, VR_LAYOUTS, StereoOptions
from ...utils import on_white, resize_image, sample_at
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics
from ..camera import fov_from_intrinsics
from ..checks import check_image
from ..edges.depth_edges import depth_at_image_edges, edge_radius
from ..estimate import Estimate, Quantity
from ..filters.chosen_pixels import values_at
from ..images.tone_mapping import compress_highlights
from ..kinds import ZERO_AT_CAMERA, Projection
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples
from ..regions.before_sky import depth_before_sky
from ..sphere import with_surroundings
from .disocclusion import fill_uncovered
from .forward_warp import Layer, render_layer
from .gaps import close_gaps
from .soft_edges import Rims, lay_over, split_soft_edges
from .spherical_camera import NEAREST, SphericalEye
from .stereo import StereoPair, check_as_many, disparity_range, nearness_share, stereo_pair
from .transparency import split_layers

NEAR_END = 1.5
"""Assumed near end in metres of scenes without metric depth; the far end is three times as far."""

MAX_EYE_SIZE = 4096
"""Maximum automatic number of rows of an eye's half sphere."""

HEADSET_EYE_SIZE = 2048
"""Rows of the half spheres of a video: together 4096 x 2048 pixels, which headsets' decoders accept."""

# Maximum ratio of an eye's pixels to the image's, or to a headset's; more would only take memory.
_LARGEST = 8
# Minimum inverse distance: 0 would be no surface.
_FARTHEST = 1e-4
# Pixels per rendered band.
_BAND = 1 << 22


_USUAL = StereoOptions()


def pair_for(
    images: Tensor,
    estimate: Estimate,
    layout: str,
    options: StereoOptions = _USUAL,
    depth_range: tuple[Tensor | float, Tensor | float] | None = None,
    fov: float = 0.0,
) -> StereoPair:
    """The images of both eyes for any layout of `LAYOUTS`, for `compose`: at the images' size, or square for vr180.

    Args:
        images: (B, 3, H, W) in [0, 1], or with alpha as a fourth channel, which `FLAT_LAYOUTS` keep. For headsets, transparent images are
            composited over white.
        estimate: As `stereo_pair`, or of panoramas.
        depth_range: As `stereo_pair`. Ignored for metric depth in a headset.
        fov: Field of view of photos for vr180, in degrees along the longer side; 0 = the estimate's own, or 55 if it has none.

    Raises:
        ValueError: As `stereo_pair` and `vr_pair`.
    """
    check_choice("layout", layout, LAYOUTS)
    if layout in VR_LAYOUTS:
        return vr_pair(on_white(images), estimate, layout, options, depth_range, fov)
    layers, holes = split_layers(images), []
    estimate = layers.seen(estimate)

    def both_eyes(colours: Tensor) -> Tensor:
        pair = stereo_pair(colours, estimate, options, depth_range)
        holes.append((pair.holes_left, pair.holes_right))
        return torch.cat((pair.left, pair.right))

    left, right = layers.through(both_eyes).chunk(2)
    return StereoPair(left, right, *holes[0])


@torch.no_grad()
def vr_pair(
    images: Tensor,
    estimate: Estimate,
    layout: str,
    options: StereoOptions = _USUAL,
    depth_range: tuple[Tensor | float, Tensor | float] | None = None,
    fov: float = 0.0,
) -> StereoPair:
    """The images of both eyes for headsets.

    Args:
        images: (B, 3, H, W) in [0, 1]; HDR images exceed 1.
        estimate: With depth of any size. The near end of depth that is not metric is assumed at 1.5 metres, and the
            far end of depth with an unknown zero at 4.5. Masked pixels and holes are at the far end. A panorama's
            depth is along its rays.
        layout: One of `VR_LAYOUTS`. vr180 takes photos and panoramas, the others only panoramas.
        options: `eye_distance` and `eye_size` are used.
        depth_range: As `stereo_pair`, for depth that is not metric.
        fov: As `pair_for`.

    Returns:
        The pair, on the images' device. vr180: equirectangular half spheres of 180 x 180 degrees, black outside a photo's field of view.
        Other layouts: panoramas. Disoccluded areas are filled from the background.

    Raises:
        ValueError: Invalid images, no depth, another number of estimates, an unknown layout, a photo for a panorama layout, or an eye size
            that is too large for the images.
    """
    check_choice("layout", layout, VR_LAYOUTS)
    check_image(images, name="images")
    check_as_many(estimate, images)
    if layout in AROUND_LAYOUTS and estimate.projection is not Projection.EQUIRECTANGULAR:
        raise ValueError(
            f"{layout} is for 360° panoramas, and this geometry is of a perspective image. Choose vr180, or estimate a panorama "
            "(Estimate Panorama, --panorama)"
        )
    finest = max(EYE_SIZES[0], images.shape[-2] if layout in AROUND_LAYOUTS else max(images.shape[-2:]))
    largest = max(HEADSET_EYE_SIZE, _LARGEST * finest)
    if options.eye_size > largest:
        raise InvalidArgumentError(
            "eye_size", f"is {options.eye_size}, and the image has {images.shape[-1]}x{images.shape[-2]} pixels; accepted: to {largest}"
        )
    whole = estimate if estimate.batch == len(images) else estimate.expanded(len(images))
    ends = _ends(whole, depth_range)
    if estimate.projection is Projection.PERSPECTIVE and not options.eye_size:
        options = replace(options, eye_size=half_sphere_size(estimate, max(images.shape[-2:]), fov))
    frames = []
    for index, image in enumerate(images.split(1)):  # one by one: all at once would take many times the memory
        one = whole.slice(index, index + 1).to(image.device)
        far, near = (end[index : index + 1].to(image) for end in ends) if ends else (None, None)
        shown, expand = compress_highlights(image)
        if one.projection is Projection.EQUIRECTANGULAR:
            pair = _of_panorama(shown, one, layout, options, far, near)
        else:
            pair = _of_photo(shown, one, options, far, near, fov)
        frames.append(replace(pair, left=expand(pair.left).to(image), right=expand(pair.right).to(image)))
    if len(frames) == 1:
        return frames[0]
    return StereoPair(*(torch.cat([getattr(frame, name) for frame in frames]) for name in StereoPair.__dataclass_fields__))


def photo_fov(estimate: Estimate, fov: float = 0.0) -> float:
    """The field of view of photos in degrees along the longer side: `fov` if known (not 0), the first image's own, or 55.

    The first image's is used for a whole clip, so that all frames have the same size on the sphere. Raises ValueError: a `fov` that is not
    below 180, or panoramas.
    """
    first = estimate.slice(0, 1)
    return fov or float(fov_from_intrinsics(assumed_intrinsics(first), first.height, first.width)[0])


def half_sphere_size(estimate: Estimate, longer: int, fov: float = 0.0) -> int:
    """Rows, even, 64 to `MAX_EYE_SIZE`, of a half sphere whose middle has the resolution of a photo, `longer` pixels on its longer side."""
    half = math.tan(math.radians(photo_fov(estimate, fov)) / 2)
    return min(MAX_EYE_SIZE, max(EYE_SIZES[0], round(math.pi * longer / (2 * half) / 2) * 2))


def _ends(estimate: Estimate, depth_range: tuple[Tensor | float, Tensor | float] | None) -> tuple[Tensor, ...] | None:
    """The nearness of each image's far and near end, (B, 1, 1, 1) each; None for metric depth."""
    if estimate.known_depth()[1] is Quantity.METRIC_DEPTH:
        return None
    ends = (torch.as_tensor(end) for end in depth_range or disparity_range(estimate))
    return tuple(end.reshape(-1, 1, 1, 1).expand(estimate.batch, 1, 1, 1) for end in ends)


def _inverse_depth(estimate: Estimate, far: Tensor | None, near: Tensor | None) -> Tensor:
    """Inverse depth (1, 1, H, W) in 1 / metres, positive everywhere; along the optical axis, for panoramas along the ray."""
    depth, quantity, valid = estimate.known_depth()
    if far is not None and near is not None:
        least: Tensor | float = 1 / NEAR_FAR_RATIO
        if quantity in ZERO_AT_CAMERA:
            least = (far / near).nan_to_num(least).clamp(_FARTHEST, 1)
        return (nearness_share(estimate, far, near, 0.0) * (1 - least) + least) / NEAR_END
    if quantity is not Quantity.METRIC_DEPTH:
        raise ValueError(f"the geometry has {quantity.value} and no range; give its far and near end, or metric depth")
    inverse = torch.where(valid, 1 / torch.where(valid, depth, 1), 0)
    end, _ = measure_range_of_samples(inverse, valid, FAR_AND_NEAR_END)
    end = torch.where(torch.isfinite(end), end, 0)
    return torch.where(valid, inverse, end).clamp(min=_FARTHEST)


@dataclass(frozen=True)
class _Part:
    """A part of the sphere, with a margin of columns on both sides.

    Attributes:
        layer: The surfaces of the part, with the margin.
        rims: Soft edges split off a photo's layer; None for panoramas, where they would take too much memory.
        height, width: Size of the full panorama.
        row, column, columns: First rendered row and column, and number of rendered columns.
    """

    layer: Layer
    rims: Rims | None
    height: int
    width: int
    row: int
    column: int
    columns: int


def _of_panorama(
    image: Tensor, estimate: Estimate, layout: str, options: StereoOptions, far: Tensor | None, near: Tensor | None
) -> StereoPair:
    """The pair of one panorama."""
    around = layout in AROUND_LAYOUTS
    rows = options.eye_size or max(2, image.shape[-2] // 2 * 2)
    if image.shape[-2:] != (rows, 2 * rows) and (options.eye_size or not around):
        image = resize_image(image, rows, 2 * rows)
    height, width = image.shape[-2:]
    inverse = _at_edges_around(image, _inverse_depth(estimate.resized(height, width), far, near))
    # Holes are filled from beside them, so a margin as wide as the largest hole, which is the largest shift, is rendered, too.
    beside = min(_reach(width) if not around else width // 8, width // 4)
    shown = width if around else width // 2
    column = (width - shown) // 2
    margin = beside + min(_reach(width), width // 4)
    places = torch.arange(column - margin, column + shown + margin, device=image.device) % width
    layer = Layer(image[..., places], inverse[..., places], (margin - beside, 0))
    part = _Part(layer, None, height, width, 0, column - beside, shown + 2 * beside)
    eyes = [_eye(part, options, side, around) for side in (-1, 1)]
    (left, holes_left), (right, holes_right) = ([each[..., beside : beside + shown] for each in eye] for eye in eyes)
    return StereoPair(left, right, holes_left, holes_right)


def _reach(width: int) -> int:
    """The largest shift in columns: at the latitude where the eye distance begins to taper, it is twice the shift at the horizon."""
    return math.ceil(2.4 * NEAREST * width / (2 * math.pi)) + 3


def _at_edges_around(image: Tensor, inverse: Tensor) -> Tensor:
    """Inverse distance (1, 1, H, W) sharpened at the panorama's image edges, in bands of rows."""
    height, width = image.shape[-2:]
    # A step depends on pixels at distances of more than four radii.
    margin = min(6 * edge_radius(height, width) + 2, height // 2, width // 2)
    size = max(4 * margin, _BAND // width)
    sharpened = torch.empty_like(inverse)
    for start in range(0, height, size):
        stop = min(start + size, height)
        colour, near = (with_surroundings(each, margin, (start - margin, stop + margin)) for each in (image, inverse))
        sharp = depth_at_image_edges(near.reciprocal(), colour)
        sharpened[..., start:stop, :] = sharp[..., margin : margin + stop - start, margin : margin + width].reciprocal()
    return sharpened


def _of_photo(image: Tensor, estimate: Estimate, options: StereoOptions, far: Tensor | None, near: Tensor | None, fov: float) -> StereoPair:
    """The pair of one perspective image, (1, 3, S, S) each."""
    height, width = image.shape[-2:]
    camera = assumed_intrinsics(estimate, fov, (height, width))[0].cpu().double()
    size = options.eye_size
    # Where the half sphere is coarser than the image, average pixels first: sampling would alias.
    shrink = min(1.0, size / (math.pi * float(camera[0, 0])))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    image = resize_image(image, height, width)
    camera = assumed_intrinsics(estimate, fov, (height, width))[0].cpu().double()
    estimate = estimate.resized(height, width)
    depth = depth_before_sky(1 / _inverse_depth(estimate, far, near), image, estimate)
    inverse = depth_at_image_edges(depth, image).reciprocal_()
    part, frame = _on_the_sphere(image, inverse, camera, size)
    first, last = part.row, part.row + frame.shape[-2]
    eyes = []
    for side in (-1, 1):
        colour, holes = _eye(part, options, side, around=False)
        black = [part.column - size // 2, size + size // 2 - part.column - part.columns, first, size - last]
        eyes.append((F.pad(colour * frame, black), F.pad(holes & frame, black)))
    (left, holes_left), (right, holes_right) = eyes
    return StereoPair(left, right, holes_left, holes_right)


def _on_the_sphere(image: Tensor, inverse: Tensor, camera: Tensor, size: int) -> tuple[_Part, Tensor]:
    """The part of the half sphere around a photo, and the mask (1, 1, h, w) of the pixels that the photo covers."""
    height, width = image.shape[-2:]
    (fx, _, cx), (_, fy, cy), _ = camera.tolist()
    per_radian = size / math.pi
    columns = [math.atan((edge - cx) / fx) * per_radian + size for edge in (-0.5, width - 0.5)]
    rows = [math.atan((edge - cy) / fy) * per_radian + size / 2 for edge in (-0.5, height - 0.5)]
    (left, top), (right, bottom) = ((math.floor(each[0]) for each in (columns, rows)), (math.ceil(each[1]) for each in (columns, rows)))
    left, right = max(left, size // 2), min(right, size // 2 + size)
    top, bottom = max(top, 0), min(bottom, size)
    longitude = (torch.arange(left, right, dtype=torch.float64) + 0.5) / per_radian - math.pi
    latitude = math.pi / 2 - (torch.arange(top, bottom, dtype=torch.float64).view(-1, 1) + 0.5) / per_radian
    # On the plane at depth 1.
    x, y = longitude.tan().expand(bottom - top, -1), -latitude.tan() / longitude.cos()
    u, v = (fx * x + cx + 0.5) / width * 2 - 1, (fy * y + cy + 0.5) / height * 2 - 1
    frame = ((u.abs() <= 1) & (v.abs() <= 1))[None, None].to(image.device)
    places = torch.stack((u, v), -1)[None].to(image)
    colour = sample_at(image, places, "bicubic").clamp(0, 1)
    # Nearest, since interpolated depths would lie between surfaces.
    depth = sample_at(inverse, places, "nearest")
    distance = (1 + x * x + y * y).sqrt().to(inverse)
    layer, rims = split_soft_edges(colour, depth / distance, (0, 0))
    inside = values_at(frame.expand_as(depth), rims.row * (right - left) + rims.column)
    rims = rims._replace(inverse=rims.inverse * inside, surface=rims.surface * frame)
    layer = layer._replace(inverse=layer.inverse * frame)
    return _Part(layer, rims, size, 2 * size, top, left, right - left), frame


def _eye(part: _Part, options: StereoOptions, side: int, around: bool) -> tuple[Tensor, Tensor]:
    """One eye's view of a part, and its holes; `side` is -1 for the left eye, 1 for the right."""
    layer = part.layer
    rows, wide = layer.inverse.shape[-2:]
    eye = SphericalEye(side * options.eye_distance / 2000, around, part.height, part.width, part.row, part.column)
    # Rows beside a band: those that shift into it (`beyond`), and those that fill its holes (`radius`).
    radius = max(1, edge_radius(rows, part.columns) // 2)
    beyond = math.ceil((NEAREST * NEAREST if around else 1.1 * NEAREST) * part.height / math.pi) + 3
    size = max(_BAND // wide, 2 * (radius + beyond))
    colour = layer.colour.new_empty(1, 3, rows, part.columns)
    holes = torch.empty(1, 1, rows, part.columns, dtype=torch.bool, device=colour.device)
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        low, high = max(start - radius, 0), min(stop + radius, rows)
        first, last = max(low - beyond, 0), min(high + beyond, rows)
        band = Layer(layer.colour[..., first:last, :], layer.inverse[..., first:last, :], (layer.margin[0], low - first))
        of_band = eye._replace(row=part.row + low)
        seen = render_layer(band, of_band, high - low, part.columns)
        rendered = close_gaps(band, of_band, seen, sideways=True)
        filled = fill_uncovered(rendered.colour, rendered.inverse, sideways=True)
        if part.rims:
            rims = part.rims._replace(row=part.rims.row - low, margin=(layer.margin[0], low))
            filled = lay_over(rims, of_band, filled, rendered.inverse)
        inner = slice(start - low, stop - low)
        colour[..., start:stop, :] = filled[..., inner, :]
        holes[..., start:stop, :] = ((rendered.inverse <= 0) | (rendered.inverse != seen.inverse))[..., inner, :]
    return colour.clamp(0, 1), holes
