"""The options for every image of a run, and what follows from them: settings for records, runtime, threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ...annotators.choices import BUNDLED_MODEL
from ...annotators.moge import REFINED, MogeOptions
from ...annotators.registry import FAMILIES, MODELS
from ...annotators.specs.base import ModelSpec
from ...geometry.conventions import NormalMapCoding
from ...model_loader import Model, load_model
from ...model_loader.load import chosen_runtime, parse_device
from ...model_loader.runtimes import measured
from ...model_loader.runtimes.choose import Chosen
from ...options.estimate import AUTO_RUNTIME, TORCH
from ...options.map_images import WHITE
from ...options.outputs import COMPOSITING
from ...options.views import StereoOptions
from .records import mark

# Networks up to this size in bytes run about as fast on one thread as on many: tiny has 9 MB, the next larger network 80.
_LIGHT_WEIGHTS = 2**25

MANY_IMAGES = 100
"""From this many images on, benchmarking the runtimes first soon pays."""


@dataclass(frozen=True)
class Options:
    """The options for every image of a run; those not listed are as of `load_model` and `Model.estimate`.

    Attributes:
        weights: A file in place of the published weights.
        size: Side of the network's input in pixels; None = the model's default.
        fov: Field of view along the longer side in degrees; 0 = unknown.
        near_far_ratio: As `assumed_depth`, for normals of models that predict none.
        ply_up: The up axis in a PLY.
        near: The grey level of the near end in `<stem>_depth.png`, "white" or "black".
        coding: The `NormalMapCoding` of `<stem>_normals.png`, with `normal_bits`, 8 or 16, per channel.
        half: EXR with 16-bit floats, as `SaveOptions.half`.
        refine_steps: As `annotators.moge.MogeOptions`; None = the default, and for any other model.
        panorama, any_aspect: Whether images are 360-degree panoramas, and as `Model.estimate_panorama`.
        own, own_kind: Files with depth and normals, in place of a model, and their kind as the user declared it.
    """

    spec: ModelSpec = MODELS[BUNDLED_MODEL]
    weights: Path | None = None
    dtype: str = "auto"
    size: int | None = None
    fov: float = 0.0
    near_far_ratio: float | None = None
    ply_up: str = "y"
    stereo: StereoOptions = field(default_factory=StereoOptions)
    tiles: int | str | None = None
    refine: bool | None = None
    runtime: str = TORCH
    near: str = WHITE
    coding: str = NormalMapCoding.OPENGL.value
    normal_bits: int = 8
    half: bool = False
    refine_steps: int | None = None
    panorama: bool = False
    any_aspect: bool = False
    own: tuple[Path, ...] = ()
    own_kind: tuple[str | None, ...] = ()

    def settings(self, writes: Sequence[str]) -> dict[str, Any]:
        """The settings that determine the results, for an image's record; known before a model is loaded."""
        asked = {"model": self.spec.id, **{each.name: getattr(self, each.name) for each in fields(self) if each.name != "spec"}}
        asked |= {"stereo": self.stereo.as_record(), "size": self.spec.size_in_record(self.size)}
        if self.own:
            own = [{"name": path.name, **(mark(path) or {})} for path in self.own]
            asked |= {"own": own, "own_kind": list(self.own_kind)}
        left_out = {  # keeps records from before these options valid
            **{name: not getattr(self, name) for name in ("tiles", "panorama", "any_aspect", "own", "own_kind")},
            "refine": self.refine is None,
            "refine_steps": True,  # of the family
            "runtime": self.recorded_runtime == TORCH,
            "near": self.near == WHITE or "depth" not in writes,
            "coding": self.coding == NormalMapCoding.OPENGL or "normals" not in writes,
            "normal_bits": self.normal_bits == 8 or "normals" not in writes,
            "half": not self.half or not {"exr", COMPOSITING} & set(writes),
        }
        kept = {name: value for name, value in asked.items() if not left_out.get(name)}
        return {**kept, **self.recorded_of_family, "weights": known_weights(self.spec, self.weights), "writes": list(writes)}

    @property
    def recorded_of_family(self) -> dict[str, Any]:
        """`of_family` for records of images and of videos, which omit the family's defaults."""
        chosen = self.of_family()
        return {name: value for name, value in vars(chosen).items() if value != getattr(type(chosen), name)} if chosen else {}

    @property
    def recorded_runtime(self) -> str:
        """`runtime` for records: AUTO_RUNTIME gives the same 8-bit maps as TORCH."""
        return TORCH if self.runtime == AUTO_RUNTIME else self.runtime

    def threads_per_image(self, device_type: str, available: int) -> int:
        """Torch threads per image, from its pixels to its files, of `available`, which is `torch.get_num_threads()`.

        1 on a GPU, or if the network is so small that threads would mostly wait for each other; else all. The count changes the last bits
        of results. So it follows from the options and the machine alone, not from the number of images or the load: an image gives the same
        bytes by itself, in a folder, in a resumed run and on Ray.
        """
        light = is_light(self.spec) and self.used_runtime == TORCH and not self.tiles and not self.refine
        return 1 if device_type != "cpu" or light else available

    def load(self, device: str | torch.device = "auto", dtype: str | None = None) -> Model:
        """Loads the model, see `load_model`; `dtype` overrides the options' own. Raises ValueError as `of_family`."""
        of_family = self.of_family()
        model = load_model(self.spec.id, dtype or self.dtype, device, self.weights, self.used_runtime)
        return model if of_family is None else model.with_options(of_family)

    def advice(self, images: int, device: str) -> str | None:
        """Advice to benchmark the runtimes before a large run on a `device` as of `load`; None if it would gain nothing or is done."""
        spec = self.spec
        if images < MANY_IMAGES or self.used_runtime != AUTO_RUNTIME or FAMILIES[spec.family].why_no_graph(spec):
            return None
        if measured.kept(spec, self.weights, parse_device(device)) is not None:
            return None
        advice = measured.advice(spec, self.weights)
        return f"{spec.id}: another runtime may be faster on this machine: {advice}, and later runs use it"

    def choice(self, device: str) -> Chosen:
        """The runtime and dtype chosen on this machine; `device` as `load`."""
        return chosen_runtime(self.spec, self.dtype, device, self.weights, self.used_runtime)

    @property
    def used_runtime(self) -> str:
        """The runtime to load; "auto" means torch for light models, whose images run side by side on a thread each."""
        return TORCH if self.runtime == AUTO_RUNTIME and is_light(self.spec) else self.runtime

    def of_family(self) -> MogeOptions | None:
        """The options that the model's family alone has; None if unset. Raises ValueError if one is out of range or not the family's."""
        if self.refine_steps is None:
            return None
        if self.spec not in REFINED:
            models = " and ".join(spec.id for spec in REFINED)
            raise ValueError(
                f"{self.spec.id} has no steps of refinement; only {models} have: leave --refine-steps out, or choose one of them"
            )
        return MogeOptions(self.refine_steps)


def is_light(spec: ModelSpec) -> bool:
    """Whether a network is so small that one thread runs it about as fast as many."""
    return sum(file.size or math.inf for file in spec.files) <= _LIGHT_WEIGHTS


def known_weights(spec: ModelSpec, weights: Path | None) -> Any:
    """The identity of a model's weights before they are read, JSON-serialisable; `weights` replaces the published file."""
    return {"name": weights.name, **(mark(weights) or {})} if weights else [file.sha256 or file.revision for file in spec.files]
