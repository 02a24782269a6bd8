"""The steps of one image, `read`, `estimate` and `write`, which every engine calls; `run` does all three."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ...annotators.checks import log_used_size
from ...annotators.choices import AUTO_RUNTIME, BUNDLED_MODEL, TORCH
from ...annotators.moge import REFINED, MogeOptions
from ...annotators.registry import FAMILIES, find_spec
from ...annotators.specs.base import ModelSpec
from ...geometry.camera import DEFAULT_FOV
from ...geometry.conventions import NormalMapCoding
from ...geometry.estimate import Axes, Estimate, Quantity
from ...geometry.files import (
    FORMATS,
    FileFormatError,
    SaveOptions,
    read_image,
    save_estimate,
    write_depth_png,
    write_normal_png,
    write_normals_png,
)
from ...geometry.images.display_defaults import default_depth_image
from ...geometry.meshes.mesh import MeshOptions
from ...geometry.surfaces.derive import with_normals, without_normals
from ...geometry.views.stereo import AROUND_LAYOUTS, FLAT_LAYOUTS, StereoOptions, StereoPair, compose, compose_holes
from ...geometry.views.vr import pair_for
from ...model_loader import Model, load_model
from ...model_loader.inference.panorama import check_panorama_model, check_perspective_model
from ...model_loader.load import chosen_runtime, parse_device
from ...model_loader.runtimes import measured
from ...model_loader.runtimes.choose import Chosen
from ...utils import to_planar
from ..console.terminal import quoted
from ..output_choices import CODING_CHOICES, COMPOSITING, HOLES, PANORAMA_CHOICES, STEREO_CHOICES
from .outputs import Outputs
from .records import mark
from .sources import VIDEOS
from .staging import Stages, staged

logger = logging.getLogger(__name__)

# Bytes of weights up to which a network is run by one thread about as fast as by many: tiny has 7 MB, the next larger network 80.
_LIGHT_WEIGHTS = 2**25

# Outputs of depth alone, or of normals alone.
_IMAGES_OF_MAPS = {"depth", "normals", *STEREO_CHOICES}

MANY_IMAGES = 100
"""From so many on, measuring the runtimes first soon pays."""

# A pair takes some 250 bytes a pixel while it is made, and its operations use all cores by themselves.
_one_pair = Lock()


@dataclass(frozen=True)
class Options:
    """The options of every image of a run.

    Attributes:
        model: An id of the table of models.
        weights: A file to use in place of the published one.
        dtype: As `load_model` takes it.
        size: Side of the network's input in pixels; None = the model's default.
        fov: Degrees that the longer side of the image spans; 0 = not known.
        near_far_ratio: As `assumed_depth`, for the normals of a model that gives none.
        ply_up: The axis that points up in a PLY.
        stereo: How deep the images for both eyes are.
        tiles: As `Model.estimate`.
        refine: Whether depth edges and normals are brought to the images' edges.
        runtime: As `load_model`.
        coding: How `<stem>_normals.png` stores its vectors, of `NormalMapCoding`.
        normal_bits: Of each of its channels, 8 or 16.
        half: EXR with 16-bit floats, as `SaveOptions.half`.
        refine_steps: As `annotators.moge.MogeOptions`; None = the default, and for any other model.
        panorama: Whether images are panoramas of the whole sphere.
        any_aspect: As `Model.estimate_panorama`.
    """

    model: str = BUNDLED_MODEL
    weights: Path | None = None
    dtype: str = "auto"
    size: int | None = None
    fov: float = 0.0
    near_far_ratio: float | None = None
    ply_up: str = "y"
    stereo: StereoOptions = field(default_factory=StereoOptions)
    tiles: int | str | None = None
    refine: bool = False
    runtime: str = TORCH
    coding: str = NormalMapCoding.OPENGL.value
    normal_bits: int = 8
    half: bool = False
    refine_steps: int | None = None
    panorama: bool = False
    any_aspect: bool = False

    def settings(self, writes: Sequence[str]) -> dict[str, Any]:
        """The settings that decide on the results, as the record of an image holds them; known before a model is loaded.

        Raises:
            ValueError: An unknown model.
        """
        asked = asdict(self)
        for name in ("tiles", "refine", "panorama", "any_aspect"):  # records from before there were these stay good
            if not asked[name]:
                del asked[name]
        if self.refine_steps is None:
            del asked["refine_steps"]
        asked["stereo"] = self.stereo.as_record()
        if self.size:
            asked["size"] = find_spec(self.model).used_size(self.size)
        if asked["runtime"] in (TORCH, AUTO_RUNTIME):  # the same maps, as far as 8 bits can say
            del asked["runtime"]
        if asked["coding"] == NormalMapCoding.OPENGL or "normals" not in writes:
            del asked["coding"]
        if asked["normal_bits"] == 8 or "normals" not in writes:
            del asked["normal_bits"]
        if not asked["half"] or not {"exr", COMPOSITING} & set(writes):
            del asked["half"]
        return {**asked, "weights": known_weights(self.model, self.weights), "writes": list(writes)}

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
        light = is_light(find_spec(self.model)) and self.used_runtime == TORCH and not self.tiles and not self.refine
        return 1 if device_type != "cpu" or light else available

    def load(self, device: str | torch.device = "auto", dtype: str | None = None) -> Model:
        """The model that is asked for, as `load_model` gives it; `dtype` in place of the options' own.

        Raises:
            ValueError: `refine_steps` is out of range, or the model is not a MoGe-3.
        """
        steps = self.checked_steps()
        model = load_model(self.model, dtype or self.dtype, device, self.weights, self.used_runtime)
        return model if steps is None else model.with_options(steps)

    def advice(self, images: int, device: str) -> str | None:
        """A line for runs over many images that no measurement helps yet; None where there is nothing to gain or to say.

        Args:
            images: How many there are, or frames.
            device: As `load`.
        """
        if images < MANY_IMAGES or not self.is_unmeasured(device):
            return None
        advice = measured.advice(find_spec(self.model), self.weights)
        return f"{self.model}: another runtime may be faster on this machine: {advice}, and later runs use it"

    def is_unmeasured(self, device: str) -> bool:
        """Whether torch runs the model only because its runtimes were not measured on this machine; `device` as `load`."""
        spec = find_spec(self.model)
        if self.used_runtime != AUTO_RUNTIME or FAMILIES[spec.family].why_no_graph(spec):
            return False
        return measured.kept(spec, self.weights, parse_device(device)) is None

    def choice(self, device: str) -> Chosen:
        """The runtime and dtype that the options stand for on this machine by now; `device` as `load`."""
        return chosen_runtime(find_spec(self.model), self.dtype, device, self.weights, self.used_runtime)

    @property
    def used_runtime(self) -> str:
        """The runtime to load; for "auto", torch for a light model, whose images are computed side by side, on a thread each."""
        return TORCH if self.runtime == AUTO_RUNTIME and is_light(find_spec(self.model)) else self.runtime

    def checked_steps(self) -> MogeOptions | None:
        """The options that `refine_steps` stands for; None where it is not set. Raises as `load`."""
        if self.refine_steps is None:
            return None
        if find_spec(self.model) not in REFINED:
            models = " and ".join(spec.id for spec in REFINED)
            raise ValueError(
                f"{self.model} has no steps of refinement; only {models} have: leave --refine-steps out, or choose one of them"
            )
        return MogeOptions(self.refine_steps)


def is_light(spec: ModelSpec) -> bool:
    """Whether a model's network is so small that one thread runs it about as fast as many."""
    return sum(file.size or math.inf for file in spec.files) <= _LIGHT_WEIGHTS


def known_weights(model: str, weights: Path | None) -> Any:
    """The identity of a model's weights, as JSON can hold it, before they are read; `weights` takes the place of the published file.

    Raises:
        ValueError: An unknown model.
    """
    spec = find_spec(model)
    return {"name": weights.name, **(mark(weights) or {})} if weights else [file.sha256 or file.revision for file in spec.files]


def check_writes(writes: Sequence[str], options: Options) -> None:
    """Refuses outputs that cannot be made of a model's estimates, before any is made.

    Raises:
        ValueError: An unknown model or coding, a map alone that the model does not give, images for both eyes, and the model gives no
            depth, or a surface, and the model gives no depth. What a surface must assume, and a size that is not used, is logged.
        ImportError: The library that writes a format is missing; the message says how to install it.
    """
    if options.coding not in CODING_CHOICES:
        raise ValueError(f"unknown coding {options.coding!r}; accepted: {', '.join(CODING_CHOICES)}")
    spec = find_spec(options.model)
    options.checked_steps()
    if options.panorama:
        check_panorama_model(spec)
        if not spec.in_metres:
            logger.info("%s gives no metres: the distances of a panorama are up to scale", spec.id)
        if refused := [name for name in writes if name not in PANORAMA_CHOICES]:
            raise ValueError(f"{refused[0]} cannot be made of a panorama; of panoramas are written {', '.join(PANORAMA_CHOICES)}")
    else:
        check_perspective_model(spec)
    if options.size:
        log_used_size(spec, options.size)
    gives = {"depth"} if spec.quantity else set()
    if spec.axes or (spec.quantity and (spec.quantity is not Quantity.RELATIVE_DEPTH or options.near_far_ratio)):
        gives.add("normals")
    if not gives & set(writes) and set(writes) <= {"depth", "normals"}:
        raise ValueError(f"{spec.id} gives {spec.gives}: there is no {' or '.join(writes)} to write; choose another model or --write")
    if options.near_far_ratio and spec.quantity is Quantity.METRIC_DEPTH:
        logger.warning("%s gives metres: a near-far ratio (%g) changes nothing", spec.id, options.near_far_ratio)
    for name in writes:
        if name in STEREO_CHOICES:
            if spec.quantity is None:
                raise ValueError(f"{spec.id} gives {spec.gives}; images for both eyes ({name}) need depth: choose another model")
            if not options.panorama:
                _check_half_sphere(name.removesuffix(HOLES), spec, options.fov)
        elif name not in ("depth", "normals"):
            _check_format(name, spec, options)


def _check_half_sphere(layout: str, spec: ModelSpec, fov: float) -> None:
    if layout in AROUND_LAYOUTS:
        raise ValueError(f"{layout} is made of 360° panoramas: add --panorama if the images are such (in ComfyUI: Estimate Panorama)")
    if layout == "vr180" and not fov and not spec.knows_camera:
        logger.info("%s does not know the field of view, and vr180 needs it: %g degrees are assumed", spec.id, DEFAULT_FOV)


def _check_format(name: str, spec: ModelSpec, options: Options) -> None:
    fov, near_far_ratio = options.fov, options.near_far_ratio
    chosen = FORMATS[".exr" if name == COMPOSITING else f".{name}"]
    chosen.check_library()
    if not chosen.surface:
        return
    if spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}; a mesh ({name}) needs depth: choose another model")
    if name == "stl" or options.panorama:  # what is assumed of photos
        return
    if spec.quantity is not Quantity.METRIC_DEPTH:
        ratio = f"{near_far_ratio:g}, as --near-far-ratio says" if near_far_ratio else "3 or so; --near-far-ratio N says it"
        logger.info("%s gives no metres: a mesh (%s) has likely depth, near end to far end as 1 to %s", spec.id, name, ratio)
    if not fov and not spec.knows_camera:
        logger.info(
            "%s does not know the camera: a mesh (%s) assumes a field of view of %g degrees; --fov DEGREES says it",
            spec.id,
            name,
            DEFAULT_FOV,
        )


def run(model: Model, outputs: Outputs, options: Options) -> list[Path]:
    """Reads one image, estimates and writes.

    Returns:
        The files written.

    Raises:
        ValueError, OSError: The image cannot be read, or the results cannot be written.
    """
    source_mark = mark(outputs.image)
    with computing_threads(options.threads_per_image(model.device.type, torch.get_num_threads())):
        image = read(outputs.image)
        return write(outputs, estimate(model, image, options, outputs.writes), options, image, source_mark)


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Sets torch's number of threads for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read(path: Path) -> Tensor:
    """The image as (1, 3, H, W) in [0, 1].

    Raises:
        ValueError, OSError: It cannot be read.
    """
    try:
        return to_planar(torch.from_numpy(read_image(path)))
    except FileFormatError as error:
        if path.suffix.lower() not in VIDEOS:
            raise
        found = f"{path} is a video, and this command takes images"
        outputs = "depth; with --what normals, stereo or parallax these"
        raise FileFormatError(f"{found}; `depth-normal video {quoted(path)}` makes {outputs}") from error


def estimate(model: Model, images: Tensor, options: Options, writes: Sequence[str] = ()) -> Estimate:
    """The estimate of images (B, 3, H, W) in [0, 1], at their size, with the normals that follow from depth.

    Args:
        model: As `Options.load` gives it.
        images: Of one size.
        options: The options of the run.
        writes: As `Outputs.writes`: maps that none of these files shows are left out. Empty = all are wanted.
    """
    shows_all = not writes or not set(writes) <= _IMAGES_OF_MAPS  # files of geometry hold all maps
    is_plain = not options.refine and not options.panorama  # else depth may follow from normals
    without = is_plain and not shows_all and "normals" not in writes
    derive = partial(without_normals if without else with_normals, near_far_ratio=options.near_far_ratio)
    if options.panorama:
        found = model.estimate_panorama(images, options.size, any_aspect=options.any_aspect, derive=derive)
    else:
        in_tiles: dict[str, Any] = {"tiles": options.tiles} if options.tiles else {}
        found = model.estimate(images, options.size, fov=options.fov, derive=derive, refine=options.refine, **in_tiles)
    return found if shows_all else _only_shown(found, writes)


def _only_shown(found: Estimate, writes: Sequence[str]) -> Estimate:
    """The estimate without the maps that none of these images shows."""
    depth, normals = found.depth, found.normals
    if depth is not None and "normals" not in writes:
        normals = None
    elif normals is not None and set(writes) == {"normals"}:
        depth = None
    return replace(found, depth=depth, quantity=None if depth is None else found.quantity, normals=normals, confidence=None)


def write(
    outputs: Outputs,
    found: Estimate,
    options: Options,
    image: Tensor | None = None,
    source_mark: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
    stages: Stages | None = None,
) -> list[Path]:
    """Writes the outputs of `outputs.writes` that the estimate has.

    Args:
        outputs: The places of the files.
        found: The estimate of one image.
        options: The options of the run.
        image: (1, 3, H, W) in [0, 1], for outputs that show it: surfaces, and both eyes' images.
        source_mark: The `records.mark` of the image from before it was read, for the record; None = as it is now.
        settings: The settings for the record; None = as `options` says them.
        stages: As `staged`.

    Returns:
        The files. They appear together, each whole, or none does.

    Raises:
        ValueError, OSError: They cannot be written.
    """
    mesh = MeshOptions(near_far_ratio=options.near_far_ratio)
    save = SaveOptions(options.half, image, ply_up=options.ply_up, mesh=mesh)
    pairs = _Pairs(found, image, options)
    with staged(outputs, settings or options.settings(outputs.writes), source_mark, stages) as stage:
        written = []
        for kind in outputs.writes:
            path = stage.path(kind)
            if kind == "depth":
                if found.depth is not None:
                    write_depth_png(path, default_depth_image(found))
                    written.append(path)
            elif kind == "normals":
                if found.normals is not None:
                    write_normals_png(path, found.normals, found.axes or Axes.OPENGL, found.mask, options.coding, options.normal_bits)
                    written.append(path)
            elif kind == COMPOSITING:
                written += save_estimate(path, found, replace(save, compositing=True))
            elif kind in STEREO_CHOICES:
                _write_stereo(path, pairs.of(kind.removesuffix(HOLES)), kind)
                written.append(path)
            else:
                written += save_estimate(path, found, save)
    return [outputs.folder / path.name for path in written]


class _Pairs:
    """The stereo pairs of one image, rendered on the estimate's device. Layouts of one kind share one."""

    def __init__(self, found: Estimate, image: Tensor | None, options: Options) -> None:
        self._found, self._image, self._options = found, image, options
        self._kinds: tuple[str, ...] = ()
        self._pair: StereoPair | None = None

    def of(self, layout: str) -> StereoPair:
        """The pair of a layout."""
        if self._pair is None or layout not in self._kinds:
            if self._found.depth is None or self._image is None:
                raise ValueError("images for both eyes are made of an image and its depth")
            self._pair = None  # two would take twice the memory
            self._kinds = next((kind for kind in (FLAT_LAYOUTS, AROUND_LAYOUTS) if layout in kind), (layout,))
            image = self._image.to(self._found.depth.device)
            with _one_pair:
                self._pair = pair_for(image, self._found, layout, self._options.stereo, fov=self._options.fov)
        return self._pair


def _write_stereo(path: Path, pair: StereoPair, kind: str) -> None:
    if kind.endswith(HOLES):
        write_depth_png(path, compose_holes(pair, kind.removesuffix(HOLES)))
    else:  # three channels of 8 bits, as a normal map's image has
        write_normal_png(path, compose(pair, kind)[0])
