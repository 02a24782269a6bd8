"""MoGe: metric depth, normals, camera and mask from one image; version 1 has scale-invariant depth, camera and mask.

Version 3 is version 2 with a refiner, which corrects the depth in a few steps.

Source:
    Wang et al., "MoGe: Unlocking Accurate Monocular Geometry Estimation" (2024), "MoGe-2: Accurate Monocular Geometry with Metric Scale
    and Sharp Details" (2025), and MoGe-3 (arXiv 2607.17967, 2026); code microsoft/MoGe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.camera import SAMPLED, find_focal_and_shift, intrinsics_from_focal_length, sampled
from ..geometry.conventions import unit_normals
from ..geometry.estimate import Axes, Estimate
from ..options.checks import check_whole
from ..options.estimate import MAX_REFINE_STEPS, REFINE_STEPS
from ..utils import constant, sent_to, to_cpu
from .base import Annotator, check_ends, ends_of
from .building import build_published, checkpoint_mismatch
from .choices import wording
from .family import Request, counted
from .graphs import ScalarInputs, Signature
from .networks.configs import Moge1Config, MogeConfig
from .networks.layers import middles
from .networks.moge import LEVELS, MoGe, MoGe1, MogeOutput, plane_of
from .networks.published import StateDict
from .networks.vit import PATCH
from .preprocessing.resizing import PixelCount, PixelCountCut, cubic_antialiased, linear_antialiased
from .preprocessing.steps import Resize, Steps
from .specs.base import CheckpointError, ModelSpec
from .specs.moge import SPECS

FALLBACK_FOV = 60.0
"""Degrees along the longer side where the points fit no camera; as in ComfyUI's own MoGe nodes."""
_FARTHEST = 1e6
_OUTPUTS = {
    "points": "x / z, y / z and the logarithm of z, OPENCV axes (+X right, +Y down, +Z away); z up to a shift and to `scale`",
    "mask": "above 0 where the points count",
    "scale": "(B,): metres of the points' unit; 1 where it is not known",
    "normals": "vectors of any length, OPENCV axes (+X right, +Y down, +Z away)",
}
_ASPECT = ScalarInputs(
    "aspect",
    "(1,): width by height of the image before it was resized",
    example=(4 / 3,),
    step={"step": "aspect", "input": "aspect", "means": "width by height of the image before it is resized"},
)
_REFINER = "refiner."
REFINED = tuple(spec for spec in SPECS if isinstance(spec.config, MogeConfig) and spec.config.refiner is not None)
"""The models with refinement steps."""


@dataclass(frozen=True)
class MogeOptions:
    """Options of one call.

    Attributes:
        refine_steps: Number of version 3's refinement steps; 0 = none, as MoGe-2. Versions 1 and 2 have no refiner and ignore it.

    Raises:
        ValueError: A value outside its range.
    """

    refine_steps: int = REFINE_STEPS

    def __post_init__(self) -> None:
        check_whole("refine_steps", self.refine_steps, 0, MAX_REFINE_STEPS)


class MogeAnnotator(Annotator):
    """MoGe, versions 1 to 3.

    Its `size` is the side of the square with as many pixels as the network's input: 840 gives 3600 tokens, the authors' maximum
    ("resolution level 9"), 485 gives 1200, their minimum ("level 0"). Version 1 ends at 700, 2500 tokens.

    Convention:
        Depth in metres, of version 1 scale-invariant; normals in OPENCV axes, facing the camera; intrinsics from the
        points, or from the known field of view. The mask excludes infinitely far regions such as the sky. Estimates
        have image size, as the authors enlarge before they compute metres.
    """

    bytes_per_pixel = 1800
    auto_dtypes = ("float16",)
    tensors = r"^(points_)?head\."
    undoes_stretching = True
    options_type = MogeOptions

    @classmethod
    def network_of(cls, spec: ModelSpec) -> MoGe | MoGe1:
        return MoGe1(spec.config) if _is_first(spec) else MoGe(spec.config)

    @classmethod
    def build(cls, spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> MogeAnnotator:
        """See `Family.build`. Accepts the authors' names, and those of files repackaged for ComfyUI."""
        state = states["network"]
        try:
            return cls(spec, cls._filled(spec, state, dtype))
        except CheckpointError as error:
            if sibling := _model_of(state):
                raise CheckpointError(f"not a checkpoint of {spec.id} but of {sibling}") from error
            raise

    @classmethod
    def check_network(cls, spec: ModelSpec, state: StateDict) -> None:
        """See `Family.check_network`. Unlike `build`, does not identify other models of the family for the message."""
        cls._filled(spec, state, torch.float32)

    @classmethod
    def _filled(cls, spec: ModelSpec, state: StateDict, dtype: torch.dtype) -> nn.Module:
        as_in_file = replace(spec, config=_as_in_file(spec.config, state))
        return build_published(lambda: cls.network_of(as_in_file), state, dtype, f"not a checkpoint of {spec.id}")

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`: as many tokens as a square of `size`, at the image's aspect."""
        if _is_first(self.spec):
            return (Resize(PixelCountCut(size, PATCH), cubic_antialiased),)
        return (Resize(PixelCount(size, PATCH), linear_antialiased),)

    def scalar_inputs(self, request: Request) -> tuple[Any, ...]:
        """See `Family.scalar_inputs`. Of version 3 also the number of steps, and the callback that reports progress after each."""
        (height, width), steps = request.image_size, request.options.refine_steps
        refinement = (steps, counted(request.progress, steps * len(request.images))) if _is_third(self.spec) else ()
        return width / height, *refinement

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`. With the aspect alone, version 3 takes the options' number of steps."""
        aspect, *refinement = scalar_inputs
        if _is_third(self.spec) and not refinement:
            refinement = [self._checked_options(None).refine_steps]
        return tuple(each for each in self.network(inputs, aspect, *refinement) if each is not None)

    @classmethod
    def why_no_graph(cls, spec: ModelSpec) -> str | None:
        return "its refiner works on voxels, whose number depends on the image" if _is_third(spec) else None

    def postprocess(self, outputs: tuple[Tensor, ...], request: Request) -> Estimate:
        """See `Family.postprocess`. Refuses non-finite outputs here, as masks and unit vectors would hide them."""
        output, fov, (height, width) = MogeOutput(*outputs), request.fov, request.image_size
        maps = F.interpolate(torch.cat((output.points, output.mask), 1), size=(height, width), mode="bilinear")
        half_diagonal = math.hypot(height, width) / 2
        few = self._fetched(output, sampled(maps))
        known_focal = few.new_full((len(maps),), _focal_length(fov, height, width) / half_diagonal) if fov else None
        few_z = few[:, 2:3].exp()
        spans = ((width, width / math.hypot(height, width)), (height, height / math.hypot(height, width)))
        across, down = (F.interpolate(middles(*span, few.device)[None, None], SAMPLED)[0, 0] for span in spans)
        points = torch.cat((few[:, :2] * few_z, few_z), 1)
        focal_length, shift = find_focal_and_shift(points, plane_of(across, down), few[:, 3:] > 0, known_focal)
        focal_length = (focal_length * half_diagonal).nan_to_num(_focal_length(FALLBACK_FOV, height, width))
        intrinsics = sent_to(maps.device, intrinsics_from_focal_length(focal_length, height, width))
        shift = sent_to(maps.device, shift)
        z, mask = maps[:, 2:3].exp(), maps[:, 3:] > 0
        z = z + shift[:, None, None, None]
        mask = mask & (z > 0)
        # a tiny scale times infinity can be NaN; `fmin` then returns the other argument
        depth = torch.where(mask, z * output.scale[:, None, None, None], _FARTHEST).fmin(constant(z, _FARTHEST))
        estimate = Estimate(depth=depth, quantity=self.spec.quantity, mask=mask, intrinsics=intrinsics)
        if output.normals is None:
            return estimate
        normals = unit_normals(F.interpolate(output.normals, size=(height, width), mode="bilinear"), Axes.OPENCV)
        return replace(estimate, normals=normals, axes=Axes.OPENCV)

    def _check_estimate(self, estimate: Estimate) -> None:
        """Does nothing: `postprocess` has checked the outputs, and finite outputs give finite maps."""

    def for_camera(self, estimate: Estimate, intrinsics: Tensor) -> Estimate:
        """See `Family.for_camera`. The depth already accounts for the camera."""
        return estimate

    def signature(self) -> Signature:
        words = (
            "points, mask and normals get the image's size (linear without antialiasing) and the normals unit length; focal length f and "
            "shift s minimise the sum of |f * (x, y) / (z + s) - (u, v)|^2 over 64 x 64 of the pixels whose mask is above 0 (u, v: the "
            "pixel's place from the image's middle); depth is (z + s) * scale, and the mask where z + s is above 0, too"
        )
        return Signature(
            _OUTPUTS if self.spec.axes else {name: meaning for name, meaning in _OUTPUTS.items() if name != "normals"},
            scalar_inputs=_ASPECT,
            # version 1 accepts any size, not just multiples: one graph per size
            dynamic_size=not _is_first(self.spec),
            least_side=PATCH,
            afterwards=[{"step": "point_map", "farthest": _FARTHEST, "means": words}],
            at_image_size=True,
        )

    def _fetched(self, output: MogeOutput, few: Tensor) -> Tensor:
        """Sampled points on the CPU. Refuses non-finite outputs, checked in the same transfer."""
        maps = {"depth": output.points, "a mask": output.mask, "a scale": output.scale, "normals": output.normals}
        maps = {name: value for name, value in maps.items() if value is not None}
        fetched = to_cpu({"few": few, "ends": ends_of(maps)})
        check_ends(self.spec, self.network, dict(zip(maps, fetched["ends"].tolist(), strict=True)))
        return fetched["few"]


def _is_first(spec: ModelSpec) -> bool:
    return isinstance(spec.config, Moge1Config)


def _is_third(spec: ModelSpec) -> bool:
    return isinstance(spec.config, MogeConfig) and spec.config.refiner is not None


def _as_in_file(config: MogeConfig | Moge1Config, state: StateDict) -> MogeConfig | Moge1Config:
    """A version 3 config with the file's widths and numbers of convolutions, which its authors publish nowhere else."""
    widths = [state.get(f"neck.input_blocks.{level}.weight") for level in range(LEVELS)]
    if not isinstance(config, MogeConfig) or config.refiner is None or any(each is None for each in widths):
        return config

    def blocks(stack: str) -> tuple[int, ...]:
        names = [key.split(".")[2:4] for key in state if key.startswith(f"{stack}.res_blocks.")]
        return tuple(len({block for at, block in names if at == str(level)}) for level in range(LEVELS))

    channels: Any = tuple(each.shape[0] for each in widths if each is not None)
    neck, head = blocks("neck"), blocks("points_head")
    return replace(config, channels=channels, neck_blocks=neck, head_blocks=head)


def _model_of(state: StateDict) -> str | None:
    """Describes the family's model that a state dict belongs to; None if there is none."""
    for spec in SPECS:
        with torch.device("meta"):
            network = MogeAnnotator.network_of(replace(spec, config=_as_in_file(spec.config, state)))
        if not checkpoint_mismatch(network.state_dict(), network.official_names(state)):
            return f"{spec.id}: {wording().choose(spec.id)} to use it"
    if not all(key.startswith(_REFINER) for key in state):
        return None
    third = [spec.id for spec in SPECS if _is_third(spec)]
    return f"MoGe-3's refiner alone, which needs its base network: take a whole file, such as that of {' or '.join(third)}"


def _focal_length(fov: float, height: int, width: int) -> float:
    """In pixels, from a field of view along the longer side in degrees."""
    return max(height, width) / (2 * math.tan(math.radians(fov) / 2))
