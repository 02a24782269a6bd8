"""Relights an image from its normals and depth: Lambert, Blinn-Phong and cast shadows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...options.checks import check_range
from ...options.lights import MAX_AMBIENT, LookOptions
from ...utils import constant, counted, dot_products, in_float32, largest_channel, resize_map, sent_to, to_cpu, unit_vectors
from ..camera import DEFAULT_FOV, intrinsics_from_fov
from ..checks import check_image, check_map, check_mask, check_view
from ..edges.depth_edges import edge_radius
from ..filters.bands import by_bands
from ..filters.box import box_means
from ..filters.coarse import enlarged, middles_of, shrunk
from ..images.srgb import colour_to_linear, linear_to_srgb, luminance, srgb_to_linear
from ..levels import at_percentiles
from .defocus import BlurByDepth
from .edge_sides import EdgeSides
from .lights import NEAREST_LAMP, Light, placed_on, received_share, towards
from .lit_scene import LitScene
from .shadows import cast_shadows
from .softness import pitch_of

Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)
KNEE = 0.6
"""Linear light above which brightening is rolled off."""
# Relief read from brightness: its height per unit of log luminance, as a share of the longer side; added to luminance, as dark pixels are
# noisy; and the limit of slopes, as steeper ones are paint.
_RELIEF, _DARK, _STEEPEST = 1 / 700, 0.15, 0.3
# An image's noise is this quantile of local differences, in each of so many ranges of brightness. It is at least half an 8-bit step;
# differences above the maximum are texture.
_QUIET, _RANGES, _LEAST_NOISE, _MOST_NOISE = 0.1, 8, 0.5 / 255, 6 / 255
# Channel differences that are grey.
_GREY = 1e-9
# Ratio of a surface's squared slopes to those of its visible relief.
_UNSEEN = 4.0
# Squared brightness of a surface that keeps half of its highlights; and the standard deviation of brightness within one surface.
_MATT, _SAME = 0.05, 0.05


@in_float32
def relight(
    image: Tensor,
    normals: Tensor,
    light: Light | Sequence[Light],
    *,
    ambient: float = 0.5,
    ambient_above: Colour = WHITE,
    ambient_below: Colour = WHITE,
    specular: float = 0.0,
    shininess: float = 32.0,
    shadow: float = 0.0,
    exposure: float = 0.0,
    rolled_off: bool = True,
    depth: Tensor | None = None,
    intrinsics: Tensor | None = None,
    mask: Tensor | None = None,
    sky: Tensor | None = None,
    glossy: Tensor | None = None,
    relief: Tensor | None = None,
    doubt: Tensor | None = None,
    blur: Tensor | BlurByDepth | None = None,
    edges: EdgeSides | None = None,
) -> Tensor:
    """Relights the image. Its colours are taken as albedo, and light is added in linear space.

    With each pixel's normal n and direction v to the viewer, and for each lamp its direction l, the half vector
    h = unit(l + v), its colour C, and hidden (0 to 1, `cast_shadow`):

        base     = srgb_to_linear(image)
        strength = intensity                                    directional
                 = intensity / (max(distance, 0.05)^2 + (size / 2)^2)    point
        above    = max(n . l + sine, 0), sine = (size / 2) / sqrt(distance^2 + (size / 2)^2), distance = 1 for a directional lamp
        share    = above - low + low^2 / (4 sine), low = min(above, 2 sine); without a size max(n . l, 0)
        received = share * strength * (1 - shadow * hidden) * C
        s        = 1 / (1 / shininess + (size / distance)^2 / 64), with distance = 1 for a directional lamp
        factor   = (s + 2) (s + 4) / (8 (2^(-s / 2) + s))
        slope    = relief * gradient(log(luminance(image) + 0.15)) / 700, with the image's longer side = 1, limited smoothly to 0.3,
                   times max(1 - 2 noise^2 / (local mean of squares), 0)
        mirrored = received * gloss * factor * max(unit(n - (slope, 0)) . h, 0)^s
        around   = ambient * (ambient_below + (ambient_above - ambient_below) * (1 + n.y) / 2)
        gloss    = specular * glossy * (1 - sky) * (1 - relief + relief * shine) / (1 + 4 * shininess * (local mean of |slope|)^2)
        shine    = dark^2 / (dark^2 + 0.05), with dark = the darkest channel of image, smoothed up to edges (`shine`)
        lit      = 2^exposure * (base * (around + (1 - gloss) * sum of received) + sum of mirrored)
        result   = linear_to_srgb(roll_off(lit, max(base))), from 0 to white, or to the brightest channel of image where that is brighter

    Args:
            image: (B, 3, H, W) sRGB in [0, 1]; HDR images exceed 1.
            normals: (B, 3, H, W) unit vectors, OPENGL axes.
            light: The lamp, or lamps; none = only ambient light.
            ambient: Share of the image's own light that is kept; 1 with a lamp of intensity 0 keeps the image.
            ambient_above, ambient_below: Linear colours of the ambient light on surfaces that face up and down.
            specular: Share of the lamps' light that is reflected specularly, 0 to 1.
            shininess: Blinn-Phong exponent, 1 to 1000: larger = smaller and brighter highlights.
            shadow: Darkness of cast shadows, 0 (none) to 1 (no light of the lamp), for lamps without their own value.
            exposure: In stops.
            rolled_off: Roll off brightened pixels towards white instead of clipping them (`roll_off`).
            depth: (B, 1, H, W) planar depth, positive and finite, in the unit of the lamps' positions; None = a wall at 1.
            intrinsics: (B, 3, 3), pixels; None = a camera of `DEFAULT_FOV`.
            mask: (B, 1, H, W) bool, False keeps the image; None = True everywhere.
            sky: (B, 1, H, W) bool or in [0, 1], each pixel's share of sky, which has no shadows and highlights (see `sky.sky_alpha`);
                None = 0.
            glossy: (B, 1, h, w) of any size in [0, 1], factor of `specular`: less where normals are unreliable; None = 1.
            relief: (B, 1, 1, 1) in [0, 1], weight of the relief that is read from the image's fine pattern, bright = high. It affects
                highlights only: they break up along hair and threads, and rough or dark surfaces reflect less. None = 0.
            doubt: (B, 1, 1, 1) in [0, 1], 1 for a network's depth, 0 for true depth (see `cast_shadow`); None = 0.
            blur: (B, 1, h, w) of any size, the image's defocus (see `cast_shadow`), or a scene's; None = 0.
            edges: The objects at the silhouettes of a single image (B = 1). With the weight `doubt`, shadows end there by the objects'
                colours instead of the depth. None = by the depth.

    Returns:
        (B, 3, H, W) sRGB, nowhere brighter than white or the image's maximum, in the image's dtype.

    Source:
        J. Blinn, "Models of light reflection for computer synthesized pictures" (1977); F. Giesen, "Phong and Blinn-Phong normalization
        factors" (2009), for `factor`, here times pi, by which a highlight of any size reflects exactly the light that it receives. A lamp's
        disk adds the variance of its half vectors to the lobe's variance, 1 / shininess; compare B. Karis, "Real shading in Unreal
        Engine 4" (2013). M. Toksvig, "Mipmapping normal maps" (2005), for the highlight's peak on a rough surface.

    Raises:
        ValueError: Maps or intrinsics of the wrong shape or device, an image of other values, depth that is not positive and finite, or a
            number out of range.
    """
    is_hdr = check_image(image)
    check_map(normals, 3, "normals", like=image)
    depth, intrinsics = _complete_depth(image, depth, intrinsics)
    if edges is not None:
        check_map(depth, 1, "depth", like=image)
        edges.check(depth)
    check_view(depth, intrinsics, like=image)
    check_mask(mask, image[:, :1])
    if sky is not None:
        sky = sky.to(image)
        check_map(sky, 1, "sky", like=image)
    check_range("ambient", ambient, 0, MAX_AMBIENT)
    check_range("specular", specular, 0, 1)
    check_range("shininess", shininess, 1, 1000)
    check_range("exposure", exposure, -20, 20)
    check_range("shadow", shadow, 0, 1)
    lights = (light,) if isinstance(light, Light) else tuple(light)
    colours = ambient, ambient_above, ambient_below
    surface = _Surface(specular, shininess, exposure, rolled_off, is_hdr)
    return _relit(image, normals, lights, colours, surface, shadow, depth, intrinsics, mask, sky, glossy, relief, doubt, blur, edges)


def relight_scene(scene: LitScene, look: LookOptions) -> Tensor:
    """`relight` of a scene from `lit_scene`, without checks, which would synchronise a GPU."""
    depth, intrinsics = _complete_depth(scene.image, scene.depth, scene.intrinsics)
    # The HDR path is correct for other images, too. Only a CPU, where it takes longer, checks whether it is needed.
    is_hdr = scene.image.device.type != "cpu" or bool(scene.image.amax() > 1)
    surface = _Surface(look.specular, look.shininess, look.exposure, look.roll_off, is_hdr)
    colours = look.ambient, colour_to_linear(look.ambient_above), colour_to_linear(look.ambient_below)
    kept = scene.mask, scene.sky, scene.glossy, scene.relief, scene.doubt, scene.blur, scene.edges
    return _relit(scene.image, scene.normals, scene.light, colours, surface, 0.0, depth, intrinsics, *kept)


@in_float32
def _relit(
    image: Tensor,
    normals: Tensor,
    lights: tuple[Light, ...],
    ambient: tuple[float, Colour, Colour],
    surface: _Surface,
    shadow: float,
    depth: Tensor,
    intrinsics: Tensor,
    mask: Tensor | None,
    sky: Tensor | None,
    glossy: Tensor | None,
    relief: Tensor | None,
    doubt: Tensor | None,
    blur: Tensor | BlurByDepth | None,
    edges: EdgeSides | None,
) -> Tensor:
    """`relight` without checks; `ambient` is the share of the image's light and its colours from above and below."""
    shadows = _light_left(depth, intrinsics, lights, shadow, sky, doubt, blur, edges)
    strength, *sides = ambient
    above, below = (placed_on((strength * red, strength * green, strength * blue), image) for red, green, blue in sides)
    fx, skew, cx, fy, cy = (intrinsics.to(image)[:, i, j].view(-1, 1, 1, 1) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    rows, columns = (counted(image, length).to(image) for length in image.shape[-2:])
    needs_points = surface.specular > 0 or any(each.is_point for each in lights)
    relief = None if relief is None else relief.to(image)
    slopes = None if surface.specular == 0 or relief is None else _relief_slopes(image, relief)
    gloss = _gloss(surface, glossy, sky, slopes, image, relief)

    def shade(
        image: Tensor, normals: Tensor, depth: Tensor, rows: Tensor, gloss: Tensor | None, slopes: Tensor | None, *left: Tensor | None
    ) -> tuple[Tensor]:
        own = below if sides[0] == sides[1] else torch.lerp(below, above, (1 + normals[:, 1:2]) / 2)
        points = normals
        if needs_points:  # (B, 3, h, W), OPENGL axes
            up = (cy - rows) / fy
            right = torch.addcmul(columns - cx, skew, up) / fx
            points = torch.cat(torch.broadcast_tensors(right, up, constant(depth, -1.0)), 1) * depth
        return (_shaded(image, normals, points, own, list(zip(lights, left, strict=True)), surface, gloss, slopes),)

    (lit,) = by_bands(shade, 0, image, normals, depth, rows.view(1, 1, -1, 1), gloss, slopes, *shadows)
    # On a CPU, where checking is cheap, an all-True mask is skipped.
    if mask is None or (mask.device.type == "cpu" and bool(mask.all())):
        return lit
    return torch.where(mask, lit, image)


@dataclass(frozen=True)
class _Surface:
    """Surface and exposure parameters, see the arguments of `relight`; and whether the image exceeds white."""

    specular: float
    shininess: float
    exposure: float
    rolled_off: bool
    is_hdr: bool


def _shaded(
    image: Tensor,
    normals: Tensor,
    points: Tensor,
    diffuse: Tensor,
    lights: Sequence[tuple[Light, Tensor | None]],
    surface: _Surface,
    gloss: Tensor | None,
    slopes: Tensor | None,
) -> Tensor:
    """Shades pixels (B, 3, h, W) sRGB with normals and points (B, 3, h, W), OPENGL axes, in ambient light, `diffuse`.

    Each lamp comes with the unshadowed share of its light, None = 1. `gloss` (B, 1, h, W) is the specular share, None = constant, `slopes`
    (B, 2, h, W) are those of the relief in highlights, None = 0.
    """
    base, specular = srgb_to_linear(image), surface.specular if gloss is None else gloss
    is_glossy = surface.specular > 0
    view = unit_vectors(-points) if is_glossy else points
    mirrors, tilt = normals, None
    if slopes is not None:
        # Unit normals minus slopes, and their inverse length.
        (x, y, z), (right, up) = normals.split(1, 1), slopes.split(1, 1)
        x, y = x - right, y - up
        mirrors, tilt = torch.cat((x, y, z), 1), torch.rsqrt((x * x).addcmul_(y, y).addcmul_(z, z).clamp_(min=1e-12))
    mirrored: Tensor | None = None
    for light, left in lights:
        to_light, strength = towards(light, points)
        received = received_share(light, dot_products(normals, to_light), strength)
        received = received * strength if light.is_point or light.intensity != 1 else received
        received, colour = received if left is None else received * left, placed_on(light.colour, image)
        if not is_glossy:
            diffuse = torch.addcmul(diffuse, received, colour)
        else:
            received = received * colour
            diffuse = diffuse + received * (1 - specular)
            facing = dot_products(mirrors, unit_vectors(to_light + view)).clamp_(min=0)
            facing = facing if tilt is None else facing * tilt
            shininess = _shininess_under(light, surface.shininess, points)
            factor = (shininess + 2) * (shininess + 4) / (8 * (2 ** (-shininess / 2) + shininess))
            reflected = specular * factor * facing**shininess * received
            mirrored = reflected if mirrored is None else mirrored + reflected
    lit = base * diffuse if mirrored is None else torch.addcmul(mirrored, base, diffuse)
    lit = lit * 2**surface.exposure if surface.exposure else lit
    white = largest_channel(base) if surface.rolled_off or surface.is_hdr else base
    lit = roll_off(lit, white) if surface.rolled_off else lit
    if not surface.is_hdr:
        return linear_to_srgb(lit.clamp(0, 1))
    return linear_to_srgb(torch.clamp(lit, constant(lit, 0.0), white.clamp_(min=1)))


def roll_off(lit: Tensor, white: Tensor) -> Tensor:
    """Compresses brightened pixels below white; colours become paler, as on film, and orange stays orange.

    With k = max(0.6, `white`), and

        f(x) = x                                               up to k
             = k + (x - k) (1 - k) / ((1 - k) + (x - k))       beyond: smooth at k, growing forever, below 1;
                                                               k itself where k is 1 or more

    the largest channel M becomes f(M) and the smallest m becomes f(m). A channel c between becomes the mean of f(c), which turns bright
    orange yellow, as on film and in Blender's Filmic, and of f(m) + (c - m) (f(M) - f(m)) / (M - m), which keeps its relative position and
    turns it pink, as in Blender's AgX.

    `lit` is (B, 3, H, W) linear light, float32, 0 or more; `white` (B, 1, H, W) the largest channel of the original image, so that white
    pixels may stay white. The result (B, 3, H, W) is in [0, 1], or up to k if that is more.

    Source:
        E. Reinhard et al., "Photographic tone reproduction for digital images" (2002), from the knee on.
    """
    knee = white.clamp(min=KNEE)
    headroom = (1 - knee).clamp_(min=1e-9)
    rolled = _shoulder(lit, knee, headroom)
    # f is increasing, so the order of channels is kept.
    (largest, smallest), (high, low) = (_ends_of_channels(each) for each in (lit, rolled))
    # A zero span is grey: all channels equal the largest.
    slope = (high - low).add_(_GREY).div_((largest - smallest).add_(_GREY))
    return torch.addcmul(high, lit - largest, slope).lerp_(rolled, 0.5)


def _ends_of_channels(light: Tensor) -> tuple[Tensor, Tensor]:
    """Channel maximum and minimum; on a CPU one after the other, in a fraction of the time."""
    if light.device.type == "cpu":
        return largest_channel(light), largest_channel(-light).neg_()
    least, most = light.aminmax(dim=1, keepdim=True)
    return most, least


def _shoulder(light: Tensor, knee: Tensor, headroom: Tensor) -> Tensor:
    beyond = (light - knee).clamp_(min=0)
    return torch.minimum(light, knee).addcdiv_(beyond * headroom, headroom + beyond)


def _light_left(
    depth: Tensor,
    intrinsics: Tensor,
    lights: Sequence[Light],
    shadow: float,
    sky: Tensor | None,
    doubt: Tensor | None,
    blur: Tensor | BlurByDepth | None,
    edges: EdgeSides | None,
) -> list[Tensor | None]:
    """The unshadowed share of each lamp's light; None for lamps without shadows."""
    strengths = [(shadow if each.shadow is None else each.shadow) if each.intensity else 0.0 for each in lights]
    casting = [each for each, strength in zip(lights, strengths, strict=True) if strength]
    if not casting:
        return [None] * len(lights)
    hidden = cast_shadows(depth, intrinsics, casting, doubt=doubt, blur=blur)
    if edges is not None and doubt is not None:
        hidden = torch.lerp(hidden, edges.shadow(hidden, depth), doubt.to(hidden))
    each_hidden = iter((hidden if sky is None else hidden * (1 - sky.to(hidden))).split(1, 1))
    one = constant(hidden, 1.0)
    return [torch.sub(one, next(each_hidden), alpha=strength) if strength else None for strength in strengths]


def _relief_slopes(image: Tensor, relief: Tensor) -> Tensor:
    """Slopes to the right and upwards, (B, 2, H, W), of the relief read from an image's brightness; 0 for noise."""
    longer = max(image.shape[-2:])
    reach = max(1, round(longer / 1024))
    scale = relief * (longer * _RELIEF / (2 * reach))

    def measure(image: Tensor) -> tuple[Tensor]:
        height = luminance(image).add_(_DARK).log_().mul_(scale)
        middle = slice(reach, -reach)
        right = height[..., middle, 2 * reach :] - height[..., middle, : -2 * reach]
        up = height[..., : -2 * reach, middle] - height[..., 2 * reach :, middle]
        limit = torch.rsqrt((right * right).addcmul_(up, up).mul_(1 / _STEEPEST**2).add_(1))
        return (torch.cat((right * limit, up * limit), 1),)

    (slopes,) = by_bands(measure, reach, image)
    # At the border, differences would need pixels beyond it.
    for strip in (slopes[..., :reach, :], slopes[..., -reach:, :], slopes[..., :reach], slopes[..., -reach:]):
        strip.zero_()
    return slopes.mul_(resize_map(_above_noise(slopes, image, scale), image.shape[2], image.shape[3]))


def _above_noise(slopes: Tensor, image: Tensor, scale: Tensor) -> Tensor:
    """The share of slopes that is not noise: (B, 1, h, w) in [0, 1], smaller than the image."""
    squares = _local_mean(middles_of(slopes, pitch_of(*image.shape[-2:])).square().sum(1, keepdim=True), slopes).float()
    brightness = luminance(middles_of(image, pitch_of(*image.shape[-2:])).float())
    # Tilt of the relief per luminance difference; noise enters along both axes, and twice in a difference.
    tilt = 4 * (scale.float() / (brightness + _DARK)).square()
    differing = squares / tilt.clamp(min=1e-12)
    ranges = (brightness * _RANGES).int().clamp_(0, _RANGES - 1)
    fetched = to_cpu({"differing": differing, "ranges": ranges})
    quiet = []  # the quantile `_QUIET` in each range of brightness of each image; infinite in empty ranges
    for image_differing, image_ranges in zip(fetched["differing"].numpy(), fetched["ranges"].numpy(), strict=True):
        of_ranges = (np.sort(image_differing[image_ranges == each]) for each in range(_RANGES))
        quiet.append([at_percentiles(ordered, (100 * _QUIET,))[0] for ordered in of_ranges])
    by_range = sent_to(image.device, torch.tensor(quiet, dtype=torch.float32, device="cpu"))
    noise = by_range.gather(1, ranges.flatten(1).long()).view_as(squares)
    noise = tilt * noise.clamp(_LEAST_NOISE**2, _MOST_NOISE**2)
    return (1 - 2 * noise / squares.clamp(min=1e-12)).clamp_(min=0).to(slopes)


def _gloss(
    surface: _Surface, glossy: Tensor | None, sky: Tensor | None, slopes: Tensor | None, image: Tensor, relief: Tensor | None
) -> Tensor | None:
    """The specular share of each pixel, (B, 1, H, W); None if constant."""
    if surface.specular == 0 or all(each is None for each in (glossy, sky, slopes)):
        return None
    share = torch.full_like(image[:, :1, :1, :1], surface.specular)
    if slopes is not None:
        share = share * _smoothness(slopes, surface.shininess)
    if glossy is not None:
        height, width = (image if slopes is None else share).shape[-2:]
        share = share * resize_map(glossy.to(image), height, width)
    share = resize_map(share, image.shape[2], image.shape[3])
    if relief is not None:
        share = share * (relief * (shine(image) - 1) + 1)
    return share if sky is None else share * (1 - sky)


def shine(image: Tensor) -> Tensor:
    """The share of highlights that a surface keeps, by its brightness in the image.

    A surface that reflects a share of the light specularly shows at least that share of its surroundings, whatever its colour. So dark
    parts of a photo, such as black cloth, reflect little. The result (B, 1, H, W) in [0, 1] of sRGB (B, 3, H, W) in [0, 1] follows the
    image's edges, but not its noise.

    Source:
        K. He, J. Sun and X. Tang, "Guided image filtering" (2013); K. He and J. Sun, "Fast guided filter" (2015).
    """
    check_map(image, 3, "image")
    radius, pitch = edge_radius(*image.shape[-2:]), pitch_of(*image.shape[-2:])
    red, green, blue = image.split(1, 1)
    dark = torch.minimum(torch.minimum(red, green), blue)
    small = shrunk(dark, pitch).float()
    mean, squares = box_means(torch.cat((small, small * small), 1), max(1, radius // pitch)).split(1, 1)
    spread = (squares - mean * mean).clamp_(min=0)
    slope = spread / (spread + _SAME**2)
    fit = box_means(torch.cat((slope, mean * (1 - slope)), 1), max(1, radius // pitch))
    slope, start = enlarged(fit.to(image), pitch, image.shape[-2:]).split(1, 1)
    squared = dark.mul_(slope).add_(start).square_()
    return squared / (squared + _MATT)


def relief_gloss(image: Tensor, relief: Tensor, shininess: float = 32.0) -> Tensor:
    """The share of highlights that an image's relief and dark surfaces keep, (B, 1, h, w) in [0, 1], smaller than the image.

    Arguments as `relight`.
    """
    check_map(image, 3, "image")
    relief = relief.to(image)
    kept = middles_of(shine(image), pitch_of(*image.shape[-2:]))
    return _smoothness(_relief_slopes(image, relief), shininess) * (relief * (kept - 1) + 1)


def _smoothness(slopes: Tensor, shininess: float) -> Tensor:
    """The factor of highlights on a rough surface, (B, 1, h, w), smaller than the image."""
    # Colour borders are not roughness: squared slopes would let them darken highlights on both sides.
    mean = _local_mean(_local_mean(middles_of(slopes, pitch_of(*slopes.shape[-2:])).square().sum(1, keepdim=True).sqrt(), slopes), slopes)
    return 1 / (1 + shininess * _UNSEEN * mean.square())


def _local_mean(values: Tensor, slopes: Tensor) -> Tensor:
    """Local means of values (B, 1, h, w), smaller than the image of `slopes`, within the width of soft edges."""
    size = slopes.shape[-2:]
    return box_means(values, max(1, edge_radius(*size) // pitch_of(*size)))


def _shininess_under(light: Light, shininess: float, points: Tensor) -> float | Tensor:
    """The highlight exponent for a lamp of this size: a number, or (B, 1, H, W)."""
    if light.size == 0:
        return shininess
    if not light.is_point:
        return 1 / (1 / shininess + light.size**2 / 64)
    way = placed_on(light.position, points) - points
    return 1 / (1 / shininess + light.size**2 / 64 / dot_products(way, way).clamp(min=NEAREST_LAMP**2))


def _complete_depth(image: Tensor, depth: Tensor | None, intrinsics: Tensor | None) -> tuple[Tensor, Tensor]:
    """Depth and camera, with defaults for missing ones."""
    batch, _, height, width = image.shape
    depth = torch.ones_like(image[:, :1]) if depth is None else depth
    intrinsics = intrinsics_from_fov(DEFAULT_FOV, height, width, batch=batch).to(image) if intrinsics is None else intrinsics
    return depth, intrinsics
