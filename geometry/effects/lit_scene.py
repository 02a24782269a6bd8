"""Prepares an image and its estimate for relighting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...options.lights import POINT
from ...utils import resize_map, to_cpu, unit_vectors, vector_lengths
from ..assumptions import NEAR_FAR_RATIO, assumed_intrinsics, filled_inverse
from ..conventions import convert_normals, unit_normals
from ..edges.depth_edges import edge_radius, find_ramps, sharpened_inverse
from ..estimate import Axes, Estimate, Quantity
from ..filters.bands import by_bands
from ..filters.box import box_means
from ..filters.coarse import middles_of
from ..projections import need_perspective
from ..regions.sky import predicted_sky, sky_alpha
from ..surfaces.derive import with_normals
from ..valid import valid_normals
from .defocus import BlurByDepth
from .edge_sides import EdgeSides, edge_sides
from .lights import Light, LightPlan
from .softness import DepthSteps, normal_softness, pitch_of

# Relative change of depth from which a pixel was on a ramp.
_MOVED = 0.01
# Shininess of highlights by which the share kept on turning normals is computed.
_TURNED = 32.0
# Width of the soft end of a network's sky, in pixels of the estimate.
_SOFT_COVER = 2


@dataclass(frozen=True)
class LitScene:
    """The inputs of `relight` for one image.

    Attributes:
        image: (1, 3, H, W), of any dtype; all other maps are float32.
        normals: (1, 3, H, W), OPENGL axes. They face the viewer in the sky; beside soft silhouettes they are those of one object.
        light: The lamps.
        depth: (1, 1, H, W), with its near end at 1; None = unknown. With a point light, its soft edges follow the image's.
        intrinsics: (1, 3, 3), pixels.
        mask: (1, 1, H, W) bool, where light is changed: at valid pixels and in the sky.
        sky: (1, 1, H, W) in [0, 1], each pixel's share of sky, which receives no shadows; None = no sky.
        glossy: (1, 1, h, w) in [0, 1], smaller than the image: the share of highlights that is kept. It is 0 at soft depth edges, and lower
            where soft normals turn fast: there a network's normals interpolate between objects, and would catch any light.
        relief: (1, 1, 1, 1) in [0, 1], 1 for soft normals, such as a network's: highlights then show the image's fine relief. 0 for normals
            with true edges, rendered or measured.
        doubt: (1, 1, 1, 1) in [0, 1], 1 for a network's depth: its shadows are softer, and its small ripples cast none.
        blur: The image's defocus; None without depth or shadows.
        edges: The objects beside soft silhouettes, by whose colours shadows end there; None without depth or shadows.
    """

    image: Tensor
    normals: Tensor
    light: tuple[Light, ...]
    depth: Tensor | None
    intrinsics: Tensor
    mask: Tensor
    sky: Tensor | None
    glossy: Tensor
    relief: Tensor
    doubt: Tensor
    blur: BlurByDepth | None
    edges: EdgeSides | None


def lit_scene(image: Tensor, estimate: Estimate, plans: tuple[LightPlan, ...], sky: Tensor | bool = False) -> LitScene:
    """Prepares the relighting of one image.

    Args:
        image: (1, 3, H, W) in [0, 1]; HDR images exceed 1.
        estimate: Estimate of the image, at any size.
        plans: The lamps.
        sky: (1, 1, H, W) bool or in [0, 1], each pixel's share of sky; True = `sky_alpha`, False = no sky.

    Raises:
        ValueError: A panorama.
    """
    need_perspective(estimate, "relighting")
    source, image, estimate = image, image.float().clamp(0, 1), estimate.in_float32()
    height, width = image.shape[-2:]
    ratio = NEAR_FAR_RATIO if estimate.quantity is Quantity.RELATIVE_DEPTH else None
    sized = with_normals(estimate, near_far_ratio=ratio).resized(height, width)
    assert sized.normals is not None
    normals, intrinsics = unit_normals(convert_normals(sized.normals, sized.axes, Axes.OPENGL)), assumed_intrinsics(sized)
    depth, edges, blur, camera = None, None, None, intrinsics
    valid, may_have_sky, casts_shadows = sized.depth_valid, False, any(plan.shadow != 0 for plan in plans)
    if valid is None:
        softness = normal_softness(normals)
        glossy = _normal_coherence(normals, softness.whole)
    else:
        soft, radius = filled_inverse(sized, valid), edge_radius(height, width)
        ramps = find_ramps(soft, radius)
        sharp, steps = sharpened_inverse(soft, radius, ramps=ramps), DepthSteps.of(soft, ramps)
        depth, is_lit_from_near = sharp.reciprocal(), any(plan.kind == POINT for plan in plans)
        del ramps
        # One synchronisation for all.
        evidence = steps.evidence(normals)
        if sky is not False and estimate.mask is not None:
            evidence["whole"] = (valid if sized is estimate else estimate.known_depth()[2]).all()
        if is_lit_from_near:  # lamps are placed on the CPU
            evidence["intrinsics"] = intrinsics
        fetched = to_cpu(evidence)
        camera = fetched.get("intrinsics", intrinsics)
        softness, may_have_sky = steps.softness(normals, fetched), sky is not False and not fetched.get("whole", False)
        if softness.whole * softness.share > 0:
            # Refinement sharpens only edges. The mixed values beside them must be softened again, or lighting shows where they end.
            if softness.added > 0:
                soft, normals = steps.softened(torch.cat((soft, normals), 1), softness.whole, *[softness.added] * 3).split((1, 3), 1)
                normals = unit_vectors(normals)
            else:
                soft = steps.softened(soft, softness.whole)
        outside = _outside_ramps(soft, sharp, radius)
        glossy = _normal_coherence(normals, softness.whole) * outside
        edges, normals = edge_sides(image, normals, soft, sharp, outside, softness)
        if is_lit_from_near:
            # Light falls off with distance: pixels beside silhouettes need their own object's depth.
            depth = torch.lerp(depth, edges.depth(depth), softness.whole)
        if casts_shadows:
            blur = BlurByDepth.of(image, depth)
        else:
            edges = None
    share = None if isinstance(sky, bool) else sky.to(image)
    known = valid_normals(sized.normals, sized.mask) if valid is None else valid & valid_normals(sized.normals)
    if may_have_sky:
        # Objects within the network's coarse sky have no known normals. They are lit like the sky, or they would stay bright beside it.
        # The border is soft, or single pixels would show in twigs.
        predicted = predicted_sky(estimate)
        share = sky_alpha(image, estimate, predicted) if share is None else share
        covered = resize_map(box_means(predicted.to(image), _SOFT_COVER), height, width)
        known = known | (covered > 0)
        normals = _facing_where(covered, normals)
    if share is not None:
        normals, known = _facing_where(share, normals), known | (share > 0.5)
    lights = tuple(plan.placed(camera, height, width) for plan in plans)
    doubt = image.new_full((1, 1, 1, 1), softness.doubt)
    return LitScene(source, normals, lights, depth, intrinsics, known, share, glossy, doubt, doubt, blur, edges)


def _facing_where(share: Tensor, normals: Tensor) -> Tensor:
    """Makes normals face the viewer in the sky, which a lamp lights evenly."""
    if share.device.type == "cpu" and not bool(share.any()):
        return normals

    def turned(share: Tensor, normals: Tensor) -> tuple[Tensor]:
        sideways, back = normals[:, :2] * (1 - share), torch.lerp(normals[:, 2:], torch.ones_like(share), share)
        return (torch.where(share > 0, unit_vectors(torch.cat((sideways, back), 1)), normals),)

    return by_bands(turned, 0, share, normals)[0]


def _outside_ramps(soft: Tensor, sharp: Tensor, radius: int) -> Tensor:
    """(B, 1, h, w) in [0, 1]: 1 where sharpening kept the inverse depth, 0 at sharpened ramps.

    Depth that already has steps, rendered or measured, has no ramps.
    """
    pitch = pitch_of(*soft.shape[-2:])
    soft, sharp = (middles_of(each, pitch) for each in (soft, sharp))
    ramps = (soft / sharp).sub_(1).abs_().gt_(_MOVED)
    reach, blur = (max(1, round(share * radius / pitch)) for share in (1, 0.5))
    ramps = F.max_pool2d(ramps, 2 * reach + 1, 1, reach)
    for _ in range(2):
        ramps = box_means(ramps, blur)
    return 1 - ramps


def _normal_coherence(normals: Tensor, softness: float) -> Tensor:
    """Coherence of normals: 1 where constant, less where they turn within the width of soft edges; (B, 1, h, w)."""
    radius, pitch = edge_radius(*normals.shape[-2:]), pitch_of(*normals.shape[-2:])
    means = box_means(middles_of(normals, pitch), max(1, 2 * radius // pitch))
    length = vector_lengths(means).clamp_(1e-3, 1)
    # 1 / (1 + turned * (1 / length - 1))
    turned = _TURNED * softness
    return length / torch.rsub(length, turned, alpha=turned - 1)
