"""LeReS, affine-invariant depth from one image; and LeReS++, which adds detail by running it at several sizes and on patches.

A second network merges the results.

Source:
    Miangoleh et al., "Boosting Monocular Depth Estimation Models to High-Resolution via Content-Adaptive Multi-Resolution Merging" (2021),
    sections 4 to 6, with the constants of LeReS++ in the ControlNet nodes.
    Yin et al., "Learning to Recover 3D Scene Shape from a Single Image" (2021); code aim-uofa/AdelaiDepth, folder LeReS.
    LeReS++ combines both, as in the ControlNet nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.alignment.scale_shift import fit_scale_shift
from ..geometry.estimate import Estimate, Quantity
from ..utils import constant, resize_image
from .base import Annotator
from .building import build_published, fill
from .family import Progress, Request, progress_of_part
from .networks.configs import BoostConfig
from .networks.leres import Leres, MergeNetwork
from .networks.published import StateDict
from .preprocessing.resizing import Size, cubic, linear, scale_short_side
from .specs.base import ModelSpec

CELL = 32
"""Pixels per cell, the unit of sides: the depth network's multiple."""
UPSCALING = 3
"""Maximum ratio of the network's input to the image."""
_EDGE = 0.4
_UNCOVERED = 0.2
_LEAST_FACTOR = 0.2
_HALF = 0.5 - 1e-4  # exact halves are common; a margin keeps rounding from deciding
_PATCH_STRIDE = 0.75
# A patch's blending window: its ends and softness, as shares of the side, and its cut-off in standard deviations.
_WINDOW = (0.15, 0.85)
_SOFTNESS = 187 / 3000
_REACH = 374.5 / 187


class Patch(NamedTuple):
    """A square part of an image, in pixels."""

    top: int
    left: int
    side: int


@dataclass(frozen=True)
class Booster:
    """Estimates depth in more detail than the network alone."""

    # depth (1, 1, H, W) of an image (1, 3, H, W), which the network processes as a square of the given side
    estimate: Callable[[Tensor, int], Tensor]
    # merges two maps (1, 1, M, M) in [-1, 1], a globally consistent and a detailed one, into one in [-1, 1]
    merge: Callable[[Tensor, Tensor], Tensor]
    config: BoostConfig  # its `merge_side` is M
    fit: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = fit_scale_shift  # scale and shift that align a patch with the base estimate

    def depth(self, image: Tensor, progress: Progress | None = None) -> Tensor:
        """Depth (1, 1, H, W) of an image (1, 3, H, W) in [0, 1]: about 0 to 1, oriented like the network's depth.

        `progress` is called with (patches done, total patches).
        """
        height, width = image.shape[-2:]
        side, detail = find_side(image, self.config.field, self.config.greatest_side)
        whole = self._twice(image, side)
        if max(height, width) < side:
            return cubic(whole, height, width)
        factor = max(min(1.0, 4 * detail * side / self.config.greatest_side), _LEAST_FACTOR)
        rows, columns = _enlarged(height, width, 2 * side, factor)
        large = cubic(image, rows, columns).clamp(0, 1)
        fits = min(rows, columns) > 2 * self.config.field  # else no patch fits, and a narrow strip has no gradients
        patches = choose_patches(gradients(large), self.config.field, int(CELL / factor)) if fits else []
        scale = height / rows
        size = round(rows * scale), round(columns * scale)
        base = cubic(whole, *size)
        depth, source = base.clone(), cubic(large, *size).clamp(0, 1)
        for done, patch in enumerate(patches, 1):
            top, left, length = (round(each * scale) for each in patch)
            area = (..., slice(top, top + length), slice(left, left + length))
            depth[area] = self._refined(source[area], base[area], depth[area])
            if progress is not None:
                progress(done, len(patches))
        return cubic(depth, height, width)

    def _refined(self, image: Tensor, base: Tensor, depth: Tensor) -> Tensor:
        """The depth of a patch with added detail, faded out towards its border."""
        height, width = base.shape[-2:]
        fine = self._twice(image, 2 * self.config.field)
        reference = cubic(base, *fine.shape[-2:])
        merged = self._merged(reference, fine)
        scale, shift = self.fit(merged, reference)
        merged = cubic((merged * scale + shift).to(depth.dtype), height, width)
        weight = _window(height, depth.device)[:, None] * _window(width, depth.device)
        return torch.lerp(depth, merged, weight)

    def _twice(self, image: Tensor, side: int) -> Tensor:
        """Merges the depth at the receptive field's size with that at a larger side; (1, 1, M, M) in [0, 1]."""
        merge_side = self.config.merge_side
        maps = [cubic(self.estimate(image, each), merge_side, merge_side) for each in (self.config.field, side)]
        return _unit(self._merged(*maps))

    def _merged(self, whole: Tensor, fine: Tensor) -> Tensor:
        return (self.merge(2 * _unit(whole) - 1, 2 * _unit(fine) - 1) + 1) / 2


def find_side(image: Tensor, field: int, greatest: int) -> tuple[int, float]:
    """The largest input side at which most of an image (1, 3, H, W) still has an edge within the receptive field, as the network needs.

    Args:
        field: Side of the network's receptive field; the minimum of the result.
        greatest: Upper bound, along with three times the image's side.

    Returns:
        The side, a multiple of `CELL`, and the share of the image near edges at the last side tried. Synchronises the device.
    """
    height, width = image.shape[-2:]
    shorter, cells = min(height, width), field // CELL
    slopes = linear(gradients(image), shorter, shorter)
    low, high = slopes.aminmax()
    edges = (slopes >= low + _EDGE * (high - low)).to(slopes.dtype)
    end = min(greatest, UPSCALING * max(height, width)) // CELL
    tried = range(cells, max(end, cells + 1), max(1, cells // 2))
    contexts = torch.stack([_context(edges, each, cells) for each in tried]).tolist()
    chosen, detail = cells, 0.0
    for side, (covered, near) in zip(tried, contexts, strict=True):
        detail = near / side**2
        if (side**2 - covered) / side**2 > _UNCOVERED:
            break
        chosen = side
    return chosen * CELL, detail


def _context(edges: Tensor, side: int, cells: int) -> Tensor:
    """Counts the cells, of an image `side` cells wide, with an edge within the receptive field of `cells`, and within a quarter of it.

    Counts are exact in any dtype.
    """
    blocks = F.max_pool2d(edges, max(1, edges.shape[-1] // side), ceil_mode=True)
    grid = (linear(blocks, side, side) >= _HALF).to(edges.dtype)
    return torch.stack((_dilated(grid, cells).sum(), _dilated(grid, max(1, cells // 4)).sum()))


def choose_patches(slopes: Tensor, field: int, step: int) -> list[Patch]:
    """Selects square patches with at least the image's average detail, each grown by `step` pixels as long as that holds; largest first.

    Args:
        slopes: (1, 1, H, W), the image's `gradients`.
        field: Half the side of the smallest patch.
    """
    height, width = slopes.shape[-2:]
    values = slopes[0, 0].cpu().double()
    values = torch.where(values >= values.sum() / (values > 0).sum(), values, 0)
    average = values.mean().item()
    if not average:
        return []
    sums = F.pad(values.cumsum(0).cumsum(1), (1, 0, 1, 0)).numpy()

    def has_detail(patch: Patch) -> bool:
        top, left, side = patch
        bottom, right = top + side, left + side
        total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return total / side**2 >= average

    def inside(patch: Patch) -> bool:
        top, left, side = patch
        return min(top, left) >= 0 and top + side <= height and left + side <= width

    def grown(patch: Patch) -> Patch:
        while inside(larger := Patch(patch.top - step // 2, patch.left - step // 2, patch.side + step)) and has_detail(larger):
            patch = larger
        return patch

    stride, side = round(field * _PATCH_STRIDE), 2 * field
    grid = [Patch(top, left, side) for left in range(0, width - side, stride) for top in range(0, height - side, stride)]
    return sorted(map(grown, filter(has_detail, grid)), key=lambda patch: -patch.side)


def fit_in_float32(values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`fit_scale_shift` with the result of NumPy's `polyfit` in float32, for the images of the old nodes.

    polyfit treats scale and shift as one unknown if the values deviate little from their mean: for a million values, by less than about a
    quarter of it. Patches then lose up to half of their contrast.
    """
    scale, shift = fit_scale_shift(values, target)
    values, target = values.to(scale.dtype), target.to(scale.dtype)
    root, length = values.numel() ** 0.5, values.norm()
    likeness = values.sum() / (length * root)
    common = ((values * target).sum() / length + target.sum() / root) / (2 * (1 + likeness))
    is_one = ((1 - likeness) / (1 + likeness)).sqrt() <= values.numel() * torch.finfo(torch.float32).eps
    return torch.where(is_one, common / length, scale), torch.where(is_one, common / root, shift)


def gradients(image: Tensor) -> Tensor:
    """Gradient magnitude of the brightness of images (B, 3, H, W): (B, 1, H, W), the sum of both absolute Sobel derivatives."""
    red, green, blue = image.split(1, 1)
    grey = F.pad(0.2989 * red + 0.587 * green + 0.114 * blue, (1, 1, 1, 1), mode="reflect")
    across, down = grey[..., 2:] - grey[..., :-2], grey[..., 2:, :] - grey[..., :-2, :]
    horizontal = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    vertical = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return horizontal.abs() + vertical.abs()


def _enlarged(height: int, width: int, side: int, factor: float) -> tuple[int, int]:
    """Height and width of the image that patches are searched in: the longer side is `side` / `factor`."""
    longer = max(height, width)
    rows, columns = (max(1, round(round(side * length / longer) / factor)) for length in (height, width))
    return rows, columns


def _dilated(grid: Tensor, side: int) -> Tensor:
    before = side // 2
    return F.max_pool2d(F.pad(grid, (before, side - 1 - before) * 2), side, 1)


def _unit(values: Tensor) -> Tensor:
    """Values normalised to [0, 1]; constant ones become 0."""
    low, high = values.aminmax()
    return (values - low) / torch.where(high > low, high - low, constant(low, 1.0))


def _window(length: int, device: torch.device) -> Tensor:
    """A patch's weight along one side: 1 in the middle, softly 0 at the ends."""
    places = (torch.arange(length, device=device) + 0.5) / length
    return _soft_step(places - _WINDOW[0]) - _soft_step(places - _WINDOW[1])


def _soft_step(distance: Tensor) -> Tensor:
    """A truncated Gaussian's integral, from 0 to 1."""
    deviations = (distance / _SOFTNESS).clamp(-_REACH, _REACH)
    return (1 + torch.erf(deviations / math.sqrt(2)) / math.erf(_REACH / math.sqrt(2))) / 2


@dataclass(frozen=True)
class LeresOptions:
    """Options of one call.

    Attributes:
        old_node: Whether to feed the network like the old ControlNet nodes: BGR in 0 to 255, normalised by the mean and deviation for RGB
            in [0, 1]. LeReS++ then also fits its patches as they do (`fit_in_float32`).
    """

    old_node: bool = False


class LeresAnnotator(Annotator):
    """LeReS.

    Convention:
        Relative depth: large = far, unknown scale and shift, either sign. (The authors add an offset that makes the minimum 0.01.) They
        stretch images to a square, in training too; the estimate has image size.
    """

    bytes_per_pixel = 1100
    network_class = Leres
    options_type = LeresOptions

    def infer_resized(self, pixels: Tensor, request: Request | None = None) -> Estimate:
        as_old_node = request is not None and request.options.old_node
        return super().infer_resized(pixels.flip(1) * 255 if as_old_node else pixels, request)


_MIN_SIDE = 64


class LeresBoostAnnotator(LeresAnnotator):
    """LeReS++.

    Its `size` is the shorter side of the image that is searched for detail, and of the estimate; the network's own input is up to 1600
    pixels square. An image takes from three passes to hundreds; images are processed one by one.

    Convention:
        Relative depth: large = far, about 0 to 1.
    """

    network: Any  # a ModuleDict of depth and merge
    needs_by_size = False
    no_graph = "it runs on an image many times, at sizes that depend on the image"

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LeresBoostAnnotator:
        """See `Family.build`. The merging network always runs in float32, as its output is the depth."""
        config, complaint = spec.config, f"not a checkpoint of {spec.id}"
        depth = build_published(lambda: Leres(config.leres), states["depth"], dtype, complaint)
        with torch.device("meta"):
            merge = MergeNetwork(config.merge)
        complaint += f" (its file {spec.files[1].name} is not the merging network's)"
        fill(merge, MergeNetwork.official_names(states["merge"], config.merge), complaint)
        return cls(spec, nn.ModuleDict({"depth": depth, "merge": merge.float()}))

    def network_size(self, height: int, width: int, size: int) -> Size:
        """The network's largest possible input or the image itself, whichever is larger."""
        config, boosted = self.spec.config, _boosted_size(height, width, size)
        side = max(2 * config.field, min(config.greatest_side, UPSCALING * max(boosted)) // CELL * CELL)
        return max((side, side), boosted, key=math.prod)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`: plain LeReS."""
        return (self.network.depth(inputs),)

    def infer(self, request: Request) -> Estimate:
        """See `Annotator.infer`; the estimate's shorter side is `request.size`."""
        size = _boosted_size(*request.image_size, request.size)
        fit = fit_in_float32 if request.options.old_node else fit_scale_shift

        def estimate(image: Tensor, side: int) -> Tensor:
            depth = self.infer_resized(linear(image, side, side), request).depth
            assert depth is not None
            return cubic(depth, *image.shape[-2:])

        booster = Booster(estimate, lambda whole, fine: self.network.merge(torch.cat((whole, fine), 1)), self.spec.config, fit)
        images = resize_image(request.images, *size).split(1)
        depth = [
            booster.depth(image, progress_of_part(request.progress, index, index + 1, len(images))) for index, image in enumerate(images)
        ]
        return Estimate(depth=torch.cat(depth), quantity=Quantity.RELATIVE_DEPTH)


def _boosted_size(height: int, width: int, size: int) -> Size:
    """(height, width) to process an image at; below `_MIN_SIDE` there would be no detail to find."""
    return scale_short_side(height, width, max(size, _MIN_SIDE))
