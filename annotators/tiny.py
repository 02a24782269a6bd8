"""The pack's own model: disparity and normals from one image, small enough to ship with the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.conventions import unit_normals
from ..geometry.estimate import Axes, Estimate, Quantity
from ..geometry.filters.box import box_means
from ..geometry.regions.sky import BLUE, BLUER, BRIGHT, GREEN, WARM, coloured_as_sky, looks_blue, looks_green
from ..geometry.valid import are_all
from ..utils import brightness, constant, resize_image, resize_map, sent_to, to_cpu, unit_vectors
from .base import Annotator, check_ends, ends_of
from .building import fill
from .detail import COLOURS, EDGE, GROWTH, grown_sky, guided_detail, guided_upsample, sky_by_colours, with_clouds, without_border_lines
from .family import Request
from .graphs import NOT_NORMALISED, Signature
from .networks.folding import fold_norms
from .networks.published import StateDict
from .networks.tiny import SharpHead, Surfaces, TinyNetwork, config_of, untrained_counters, with_scene
from .preprocessing.resizing import Half, ShortSideCapped, Size, by_area
from .preprocessing.steps import Resize, Steps
from .specs.base import ModelSpec

LONGEST_ASPECT = 4.0
ENLARGED = 2
GUIDE_RADIUS, GUIDE_EPSILON = 2, 0.01
# The old formula for normal maps suits the slopes of MiDaS v2.1 small at 512. This factor gives the network's disparity about the same
# mean deviation; training/evaluate.py prints both.
TO_MIDAS_SCALE = 130.0
_WITHOUT_SKY = 4  # maps of the network's first version: disparity and normals
_SKY_FROM, _FARTHEST = 0.5, 0.01  # share that counts as sky; quantile of the remaining disparity that limits the sky's
_SURE_FROM, _SURE_PART = 0.8, 0.2  # share at which the network is sure; the part of the sky that has to be sure
_SUSPECTED_FROM, _LIKELY_PART = 0.2, 0.1  # share at which sky is suspected; the part of it that has to be more likely sky than not
_SMOOTHED = 2  # radius of the averages of colours and decisions in a doubtful sky
# The sky is fitted to the image in squares of this many pixels; epsilon is smaller than for depth, as clouds and haze are pale.
_RIM, _SKY_POOLED, _SKY_EPSILON = 2, 4, 1e-4
_MOST_FITTED = 1.5  # limit relative to the network's share: it fills dips at clouds, but adds no lanterns or hats
MOST_SHARP = 4_200_000  # pixels up to which depth gets image size; limited by memory
_TURNED = 0.2  # where smoothing changes border normals by more, they really turn
_SAMPLED = 8  # stride of the pixels that the quantile is computed from


class TinyAnnotator(Annotator):
    """The pack's own network: a preview of depth and normals, with nothing to download.

    Convention:
        Disparity: large = near, unknown scale and shift; median near 0, mean deviation near MiDaS's. Normals: OpenGL axes. Weights of
        the network's second version also predict the sky: it is masked out, at its mean predicted disparity, or at the farthest
        hundredth of the rest if that is farther.
    """

    bytes_per_pixel = 650

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> TinyAnnotator:
        with torch.device("meta"):
            network = TinyNetwork(config_of(states["network"].keys()))
        _fill_folded(network, with_scene(states["network"]), f"not a checkpoint of {spec.id}")
        network.mirrored = network.fine is not None
        if "sharp" in states and network.fine is not None:
            with torch.device("meta"):
                sharp = SharpHead()
            _fill_folded(sharp, states["sharp"], f"not the sharp head of {spec.id}")
            network.sharp = sharp
        network.to(dtype=dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        return cls(spec, network)

    def reduced_size(self, height: int, width: int, size: int) -> Size | None:
        """See `Family.reduced_size`: the size of the first step of `preprocess`."""
        input_size = self.network_size(height, width, size)
        rows, columns = (ENLARGED * side for side in input_size)
        same = self.input_size is None and self.network_size(rows, columns, size) == input_size
        return (rows, columns) if same and rows < height and columns < width else None

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`. Clamps `size` to the range that the network was trained for.

        The first step gives the image that the guided filter, the sharp head and the sky use; the network's input is half its size.
        """
        rule = ShortSideCapped(ENLARGED * self.spec.used_size(size), LONGEST_ASPECT, ENLARGED * self.spec.multiple_of)
        return Resize(rule, by_area), Resize(Half(), by_area)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`. Maps have half the input's size, but the sky full size. With a sharp head, its input features follow."""
        if self.network.sharp is None:
            return self._maps(self.network(inputs))
        output, *features = self.network(inputs, features=True)
        return *self._maps(output), *features

    def _maps(self, output: Tensor) -> tuple[Tensor, ...]:
        output = output.contiguous()
        disparity, normals = output[:, :1], unit_vectors(output[:, 1:_WITHOUT_SKY])
        if output.shape[1] == _WITHOUT_SKY:
            return TO_MIDAS_SCALE * disparity, normals
        smooth = without_border_lines(disparity, normals, edges=(EDGE, _TURNED, _TURNED, _TURNED))
        return TO_MIDAS_SCALE * smooth[:, :1], unit_vectors(smooth[:, 1:]), output[:, _WITHOUT_SKY:].sigmoid()

    def infer(self, request: Request) -> Estimate:
        """See `Annotator.infer`. With or without sharp edges, normals and sky are the same."""
        shown = self._shown(request)
        outputs = self.run_network(self.as_inputs(F.avg_pool2d(shown, ENLARGED)))
        sharp = request.sharp and self.network.sharp is not None
        estimate = self._at_edges(self._sharpened(shown, outputs), shown, request) if sharp else self._smooth(outputs, shown, request)
        return self.unstretched(estimate, request)

    def _shown(self, request: Request) -> Tensor:
        """The images at twice the network's input size."""
        height, width = self.network_size(*request.image_size, request.size)
        return resize_image(request.images, ENLARGED * height, ENLARGED * width)

    def _sharpened(self, shown: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs of an exported graph, from images at twice the network's input size and the outputs of `predict`."""
        disparity, normals, sky, *features = outputs
        maps = torch.cat((disparity / TO_MIDAS_SCALE, normals, sky.logit()), 1)
        head, dtype = self.network.sharp, self.dtype
        assert isinstance(head, SharpHead)
        surfaces = head(shown.to(dtype), maps.to(dtype), *(each.to(dtype) for each in features))
        first, second, logit = (each.float() for each in surfaces)
        return normals, sky, TO_MIDAS_SCALE * first, TO_MIDAS_SCALE * second, logit

    def _at_edges(self, outputs: tuple[Tensor, ...], shown: Tensor, request: Request) -> Estimate:
        """The estimate from outputs of `_sharpened`: at image size, for large images at the size of `shown`."""
        normals, sky, *surfaces = outputs
        (high, wide), size = shown.shape[-2:], request.image_size
        height, width = size if high < size[0] and size[0] * size[1] <= MOST_SHARP else (high, wide)
        first, second, logit = surfaces
        checked = {"depth": first, "depth of what is behind": second, "edges": logit, "normals": normals}
        # in the same two steps as without sharp edges: to the size of `shown`, then to the images'
        enlarged = unit_normals(resize_map(normals, high, wide), in_place=True)
        land = self._land(sky, shown, checked)
        sized = Estimate(normals=enlarged, axes=Axes.OPENGL, mask=land).resized(height, width, checked=True)
        return _with_mask(Surfaces(*surfaces).seen(height, width), sized.normals, sized.mask)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`. The estimate has twice the network's input size, with edges aligned to the image's."""
        return self._smooth(outputs, self._shown(request), request)

    def _smooth(self, outputs: tuple[Tensor, ...], shown: Tensor, request: Request) -> Estimate:
        """The estimate from outputs of `predict`, at the size of `shown`."""
        (height, width), guide = shown.shape[-2:], brightness(shown)
        disparity, normals, *sky = outputs
        if not sky:
            maps = guided_upsample(torch.cat((disparity, normals), 1), guide, GUIDE_RADIUS, GUIDE_EPSILON)
            return to_estimate(maps[:, :1], unit_normals(maps[:, 1:], in_place=True))
        smooth = guided_detail(disparity, guide, GUIDE_RADIUS, GUIDE_EPSILON)
        enlarged = unit_normals(resize_map(normals, height, width), in_place=True) if request.normals else None
        return _with_mask(smooth, enlarged, self._land(sky[0], shown, {"depth": disparity, "normals": normals}))

    def _land(self, sky: Tensor, shown: Tensor, outputs: Mapping[str, Tensor]) -> Tensor | None:
        """(B, 1, h, w) bool, the pixels of `shown` (B, 3, h, w) that are not sky; None if no image has sky.

        Raises an ArithmeticError if one of the network's outputs, by name, is not finite.
        """
        share, least = _sky_at_edges(sky, brightness(shown))
        # A single synchronisation, since most images have no sky: counts of sure and doubtful sky, and the finiteness check.
        fetched = to_cpu({"counts": _sky_counts(share, least), "ends": ends_of(outputs)})
        check_ends(self.spec, self.network, dict(zip(outputs, fetched["ends"].tolist(), strict=True)))
        decided = _sure_and_doubtful(fetched["counts"])
        if not torch.logical_or(*decided).any():
            return None
        some_sure = bool(decided[0].any())
        is_sure, doubtful = (sent_to(share.device, each) for each in decided)
        if some_sure:  # colours do not decide whether there is a sky: studio backdrops have its colours
            share = torch.where(is_sure, sky_by_colours(least, shown), share)
        sky_mask = sky_of(share, shown, (is_sure, doubtful))
        if some_sure:
            sky_mask = torch.where(sky_mask.amax((1, 2, 3), keepdim=True) & is_sure, with_clouds(sky_mask, least), sky_mask)
        return ~grown_sky(sky_mask, share >= _SUSPECTED_FROM, shown)

    def _check_estimate(self, estimate: Estimate) -> None:
        """See `Annotator._check_estimate`; with a mask, `_land` has checked the outputs."""
        if estimate.mask is None:
            super()._check_estimate(estimate)

    def for_export(self) -> Annotator:
        """See `Family.for_export`: includes the sharp head in the graph, if there is one."""
        return self if self.network.sharp is None else _ExportedTiny(self.spec, self.network)

    def signature(self) -> Signature:
        words = (
            f"maps get {ENLARGED} times the input's size, and by a guided filter the edges of the image's brightness at that size; the "
            "mask leaves out the sky, which is as far as the farthest land or farther. docs/use_onnx.py has the code"
        )
        guided = {"step": "guided", "enlarged": ENLARGED, "radius": GUIDE_RADIUS, "epsilon": GUIDE_EPSILON}
        outputs = Signature.of(self.spec).outputs
        if self.network.fine is None:
            return Signature(outputs, *NOT_NORMALISED, afterwards=[{**guided, "means": words}])
        outputs = {**outputs, **_SKY_OUTPUT}
        if self.network.sharp is not None:
            outputs |= {"finest": "features at half the size, for the head", "path": "the same at a quarter"}
        return Signature(outputs, *NOT_NORMALISED, afterwards=[{**guided, "sky": _sky_metadata(), "means": words}])


class _ExportedTiny(TinyAnnotator):
    """Network and sharp head as one graph, for images at twice the network's own input size, which the graph reduces itself."""

    bytes_per_pixel = TinyAnnotator.bytes_per_pixel // ENLARGED**2

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        super().__init__(replace(spec, multiple_of=ENLARGED * spec.multiple_of), network)

    def preprocess(self, size: int) -> Steps:
        side = ENLARGED * self.spec.used_size(size)
        return (Resize(ShortSideCapped(side, LONGEST_ASPECT, self.spec.multiple_of), by_area),)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`."""
        outputs = self._sharpened(inputs, super().predict(F.avg_pool2d(inputs, ENLARGED)))
        height, width = inputs.shape[-2:]
        return Surfaces(*outputs[2:]).seen(height, width), *outputs

    def infer(self, request: Request) -> Estimate:
        return Annotator.infer(self, request)

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        shown = resize_image(request.images, *self.network_size(*request.image_size, request.size))
        return self._at_edges(outputs[1:], shown, request)

    def for_export(self) -> Annotator:
        return self

    def signature(self) -> Signature:
        words = (
            "disparity and normals at the image's size, or at the input's if that is not lower, or if the image has more than "
            f"{MOST_SHARP} pixels: disparity is sigmoid(edge) * first + (1 - sigmoid(edge)) * second, each enlarged before; the mask "
            "leaves out the sky, which is as far as the farthest land or farther. docs/use_onnx.py has the code"
        )
        surfaces = {"step": "surfaces", "most_pixels": MOST_SHARP, "sky": _sky_metadata(), "means": words}
        outputs = {
            **Signature.of(self.spec).outputs,
            **_SKY_OUTPUT,
            "first": "disparity of the nearer surface around each pixel",
            "second": "the same of the farther one",
            "edge": "logit of the first being seen",
        }
        return Signature(outputs, *NOT_NORMALISED, afterwards=[surfaces])


def _fill_folded(network: TinyNetwork | SharpHead, state: StateDict, complaint: str) -> None:
    fill(network, {**untrained_counters(network), **state}, complaint)
    if not network.last.weight.is_meta:  # meta as in `check_network`, where torch would import sympy
        fold_norms(network.train(False).float())


_SKY_OUTPUT = {"sky": "share of sky, 0 to 1"}


def _sky_metadata() -> dict[str, Any]:
    share = {"rim": _RIM, "pooled": _SKY_POOLED, "epsilon": _SKY_EPSILON, "most_fitted": _MOST_FITTED, "radius": GUIDE_RADIUS}
    sure = {"from": _SKY_FROM, "sure_from": _SURE_FROM, "sure_part": _SURE_PART}
    unsure = {"suspected_from": _SUSPECTED_FROM, "likely_part": _LIKELY_PART, "smoothed": _SMOOTHED}
    colours = {"blue": BLUE, "bluer": BLUER, "bright": BRIGHT, "warm": WARM, "green": GREEN}
    decided = {"by_colours": COLOURS, "growth": GROWTH, "sampled": _SAMPLED, "farthest": _FARTHEST}
    return {**share, **sure, **unsure, **colours, **decided}


def to_estimate(disparity: Tensor, normals: Tensor | None, land: Tensor | None = None) -> Estimate:
    """The estimate of the network's maps, with normals of unit length; `land` is where there is no sky."""
    depth = disparity if land is None else with_far_sky(disparity, land)
    return Estimate(depth=depth, quantity=Quantity.DISPARITY, normals=normals, axes=Axes.OPENGL, mask=land)


def _with_mask(disparity: Tensor, normals: Tensor | None, land: Tensor | None) -> Estimate:
    """`to_estimate` that always has a mask; `land` None = no image has sky."""
    estimate = to_estimate(disparity, normals, land)
    return estimate if land is not None else replace(estimate, mask=torch.ones_like(disparity, dtype=torch.bool))


def _sky_counts(share: Tensor, least: Tensor) -> Tensor:
    """(4, B, 1, 1, 1): the pixel counts that `_sure_and_doubtful` compares."""
    if share.device.type == "cpu":
        limits = ((least, _SURE_FROM), (least, _SKY_FROM), (share, _SKY_FROM), (share, _SUSPECTED_FROM))
        return torch.stack([_count(each >= limit) for each, limit in limits])
    limits = constant(share, ((_SURE_FROM, _SKY_FROM), (_SKY_FROM, _SUSPECTED_FROM)))[..., None, None, None, None]
    return (torch.stack((least, share))[:, None] >= limits).sum((3, 4, 5), keepdim=True, dtype=torch.int32).flatten(0, 1)


def _sure_and_doubtful(counts: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, 1, 1) bool each: whether the sky is sure, and whether a sky that is not sure is possible."""
    sure, predicted, sky, suspected = counts
    is_sure = sure > _SURE_PART * predicted.float()
    return is_sure, ~is_sure & (sky > _LIKELY_PART * suspected.float())


def sky_of(share: Tensor, images: Tensor, decided: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Decides where the sky is.

    A predicted sky that is mostly unsure may be a dark sky, but also a bright wall or still water. It is then sky only if all that is
    suspected is blue as a whole; of that, pixels that are unlikely sky and not coloured like sky, as of an object before it, are left out.
    A region that is green as a whole is a wall, however sure the network is.

    Args:
        share: (B, 1, h, w), the predicted share of sky.
        images: (B, 3, H, W) RGB in [0, 1], of any size.
        decided: (B, 1, 1, 1) bool each: whether the sky is sure, and whether it is doubtful; None = determined from `share`.

    Returns:
        (B, 1, h, w) bool; all False in images without sky or with one that is too doubtful.
    """
    suspected = share >= _SUSPECTED_FROM
    is_sure, doubtful = _sure_and_doubtful(_sky_counts(share, share)) if decided is None else decided
    sky = share >= torch.where(is_sure, _SKY_FROM, torch.inf)
    if are_all(~sky & ~doubtful):
        return sky
    images = resize_image(images, *share.shape[-2:])
    if not are_all(~doubtful):
        doubtful = doubtful & looks_blue(images, suspected).view(-1, 1, 1, 1)
        coloured = (share >= _SKY_FROM) | (suspected & coloured_as_sky(box_means(images, _SMOOTHED)))
        # A local majority: single decisions would be ragged.
        sky |= doubtful & (box_means(coloured.to(images), _SMOOTHED) > 0.5)
    return sky & ~looks_green(images, sky).view(-1, 1, 1, 1)


def _count(where: Tensor) -> Tensor:
    """(B, 1, 1, 1): counts True values. On a CPU, 32-bit counting takes torch a fifth of the time."""
    return where.sum((1, 2, 3), keepdim=True, dtype=torch.int32)


def _sky_at_edges(share: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """The share of sky at the size of the image's brightness, aligned to its edges; and the same, limited by the network's share.

    A linear fit to brightness alone makes sky of the dark parts of objects that are elsewhere brighter than the sky, such as lanterns.
    At the border, values from further inside are used: padding makes the network less sure of the sky there.
    """
    whole = F.pad(share[..., _RIM:-_RIM, _RIM:-_RIM], (_RIM,) * 4, mode="replicate")
    pooled = resize_map(whole, share.shape[-2] // _SKY_POOLED, share.shape[-1] // _SKY_POOLED)
    fitted = guided_upsample(pooled, guide, GUIDE_RADIUS, _SKY_EPSILON)
    height, width = guide.shape[-2:]
    return fitted, fitted.minimum(_MOST_FITTED * resize_map(whole, height, width))


def with_far_sky(disparity: Tensor, clear: Tensor) -> Tensor:
    """Sets the sky's disparity to one far value; images that are all sky or without sky are unchanged.

    The value is the mean disparity predicted for the sky, or the farthest hundredth of the rest if that is farther.
    """
    values, valid = (each[..., _SAMPLED // 2 :: _SAMPLED, _SAMPLED // 2 :: _SAMPLED].flatten(1) for each in (disparity, clear))
    farthest_first = torch.where(valid, values, torch.inf).sort(1).values
    far = farthest_first.gather(1, (valid.sum(1, keepdim=True) * _FARTHEST).long())[:, :, None, None]
    clear = clear | ~torch.isfinite(far)
    # the disparity predicted for the sky; the farthest pixels of the land would fluctuate
    predicted = torch.where(valid, 0, values).sum(1) / valid.logical_not().sum(1)
    far = far.minimum(predicted.nan_to_num(torch.inf)[:, None, None, None])
    floor = torch.where(_count(clear) < clear[0].numel(), far, -torch.inf)
    return torch.where(clear, disparity, far).maximum(floor)
