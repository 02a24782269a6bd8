"""The options of every image of a run, and what follows from them: its settings in records, its runtime and its threads."""

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
from ...options.estimate import AUTO_RUNTIME, REFINE_STEPS, TORCH
from ...options.outputs import COMPOSITING
from ...options.stereo import StereoOptions
from .records import mark

# Bytes of weights up to which a network is run by one thread about as fast as by many: tiny has 9 MB, the next larger network 80.
_LIGHT_WEIGHTS = 2**25

MANY_IMAGES = 100
"""From so many on, measuring the runtimes first soon pays."""


@dataclass(frozen=True)
class Options:
    """The options of every image of a run.

    Attributes:
        spec: The model.
        weights: A file to use in place of the published one.
        dtype: As `load_model` takes it.
        size: Side of the network's input in pixels; None = the model's default.
        fov: Degrees that the longer side of the image spans; 0 = not known.
        near_far_ratio: As `assumed_depth`, for the normals of a model that gives none.
        ply_up: The axis that points up in a PLY.
        stereo: How deep the images for both eyes are.
        tiles, refine: As `Model.estimate`.
        runtime: As `load_model`.
        coding: How `<stem>_normals.png` stores its vectors, of `NormalMapCoding`.
        normal_bits: Of each of its channels, 8 or 16.
        half: EXR with 16-bit floats, as `SaveOptions.half`.
        refine_steps: As `annotators.moge.MogeOptions`; None = the default, and for any other model.
        panorama: Whether images are panoramas of the whole sphere.
        any_aspect: As `Model.estimate_panorama`.
        own: Files that depth and normals come from in place of a model.
        own_kind: What the user said of these.
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
    coding: str = NormalMapCoding.OPENGL.value
    normal_bits: int = 8
    half: bool = False
    refine_steps: int | None = None
    panorama: bool = False
    any_aspect: bool = False
    own: tuple[Path, ...] = ()
    own_kind: tuple[str | None, ...] = ()

    def settings(self, writes: Sequence[str]) -> dict[str, Any]:
        """The settings that decide on the results, as the record of an image holds them; known before a model is loaded."""
        asked = {each.name: getattr(self, each.name) for each in fields(self)}
        asked = {"model": asked.pop("spec").id, **asked}
        for name in ("tiles", "panorama", "any_aspect", "own", "own_kind"):  # records from before there were these stay good
            if not asked[name]:
                del asked[name]
        if asked["refine"] is None:
            del asked["refine"]
        del asked["refine_steps"]
        asked |= self.recorded_steps
        asked["stereo"] = self.stereo.as_record()
        if self.own:
            asked["own"] = [{"name": path.name, **(mark(path) or {})} for path in self.own]
            asked["own_kind"] = list(self.own_kind)
        asked["size"] = self.spec.size_in_record(self.size)
        if self.recorded_runtime == TORCH:
            del asked["runtime"]
        if asked["coding"] == NormalMapCoding.OPENGL or "normals" not in writes:
            del asked["coding"]
        if asked["normal_bits"] == 8 or "normals" not in writes:
            del asked["normal_bits"]
        if not asked["half"] or not {"exr", COMPOSITING} & set(writes):
            del asked["half"]
        return {**asked, "weights": known_weights(self.spec, self.weights), "writes": list(writes)}

    @property
    def recorded_steps(self) -> dict[str, int]:
        """`refine_steps` as records hold it: not at all where it is its default."""
        return {} if self.refine_steps in (None, REFINE_STEPS) else {"refine_steps": self.refine_steps}

    @property
    def recorded_runtime(self) -> str:
        """`runtime` as records know it: AUTO_RUNTIME gives the maps of TORCH, as far as 8 bits can say."""
        return TORCH if self.runtime == AUTO_RUNTIME else self.runtime

    def threads_per_image(self, device_type: str, available: int) -> int:
        """The number of torch's threads that compute one image, from its pixels to its files.

        Results depend on the number of threads in their last bits. So it follows from the options and from the machine alone, never from
        how many images there are or what else runs: an image gives the same bytes by itself, in a folder, in a resumed run and on Ray.

        Args:
            device_type: Where the network runs: "cpu", "cuda", ...
            available: Threads that torch may use, as `torch.get_num_threads()` says.

        Returns:
            1 where a GPU runs the network, or where threads would mostly wait for each other, because it is small; else all.
        """
        light = is_light(self.spec) and self.used_runtime == TORCH and not self.tiles and not self.refine
        return 1 if device_type != "cpu" or light else available

    def load(self, device: str | torch.device = "auto", dtype: str | None = None) -> Model:
        """The model that is asked for, as `load_model` gives it; `dtype` in place of the options' own.

        Raises:
            ValueError: `refine_steps` is out of range, or the model is not a MoGe-3.
        """
        steps = self.checked_steps()
        model = load_model(self.spec.id, dtype or self.dtype, device, self.weights, self.used_runtime)
        return model if steps is None else model.with_options(steps)

    def advice(self, images: int, device: str) -> str | None:
        """A line for runs over many images that no measurement helps yet; None where there is nothing to gain or to say.

        Args:
            images: How many there are, or frames.
            device: As `load`.
        """
        spec = self.spec
        if images < MANY_IMAGES or self.used_runtime != AUTO_RUNTIME or FAMILIES[spec.family].why_no_graph(spec):
            return None
        if measured.kept(spec, self.weights, parse_device(device)) is not None:
            return None
        advice = measured.advice(spec, self.weights)
        return f"{spec.id}: another runtime may be faster on this machine: {advice}, and later runs use it"

    def choice(self, device: str) -> Chosen:
        """The runtime and dtype that the options stand for on this machine by now; `device` as `load`."""
        return chosen_runtime(self.spec, self.dtype, device, self.weights, self.used_runtime)

    @property
    def used_runtime(self) -> str:
        """The runtime to load; for "auto", torch for a light model, whose images are computed side by side, on a thread each."""
        return TORCH if self.runtime == AUTO_RUNTIME and is_light(self.spec) else self.runtime

    def checked_steps(self) -> MogeOptions | None:
        """The options that `refine_steps` stands for; None where it is not set. Raises as `load`."""
        if self.refine_steps is None:
            return None
        if self.spec not in REFINED:
            models = " and ".join(spec.id for spec in REFINED)
            raise ValueError(
                f"{self.spec.id} has no steps of refinement; only {models} have: leave --refine-steps out, or choose one of them"
            )
        return MogeOptions(self.refine_steps)


def is_light(spec: ModelSpec) -> bool:
    """Whether a model's network is so small that one thread runs it about as fast as many."""
    return sum(file.size or math.inf for file in spec.files) <= _LIGHT_WEIGHTS


def known_weights(spec: ModelSpec, weights: Path | None) -> Any:
    """The identity of a model's weights, as JSON can hold it, before they are read; `weights` takes the place of the published file."""
    return {"name": weights.name, **(mark(weights) or {})} if weights else [file.sha256 or file.revision for file in spec.files]
