"""The steps of one image, `read`, `estimate` and `write`, which every engine calls; `run` does all three."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...annotators.base import is_out_of_memory
from ...geometry.estimate import Axes, Estimate, Projection
from ...geometry.files import FileFormatError, SaveOptions, possible_paths, save_estimate, write_compositing_exr
from ...geometry.files.hdr_images import read_plate
from ...geometry.files.image_files import image_bits, image_size, read_colours
from ...geometry.files.png import write_depth_png, write_image_png, write_normals_png
from ...geometry.images.render import default_depth_image
from ...geometry.meshes.mesh import TO_LOOK_AT, MeshOptions
from ...geometry.surfaces.derive import with_normals, without_normals
from ...geometry.views.stereo import StereoPair, compose, compose_holes
from ...geometry.views.vr import pair_for
from ...model_loader import Model
from ...model_loader.comfy.placement import WeightsTooLargeError
from ...model_loader.inference.memory_budget import on_device_or_cpu
from ...options.outputs import COMPOSITING, HOLES, STEREO_CHOICES
from ...options.views import AROUND_LAYOUTS, FLAT_LAYOUTS
from ...utils import on_white, sent_to, to_planar
from ..console.terminal import quoted
from ..outcomes import EXPECTED_ERRORS
from .options import Options
from .outputs import Outputs
from .overwriting import remove_outdated
from .records import mark
from .remote_files import local_copy
from .sources import VIDEOS
from .staging import Stages, staged

# Outputs that need only depth or only normals.
_IMAGES_OF_MAPS = {"depth", "normals", *STEREO_CHOICES}


# Rendering a pair takes some 250 bytes a pixel, and its operations already use all cores.
_one_pair = Lock()


def run(model: Model, outputs: Outputs, options: Options) -> list[Path]:
    """Reads one image, estimates, and returns the files written. Raises as `read` and `write`."""
    source_mark = mark(outputs.image)
    with computing_threads(options.threads_per_image(model.device.type, torch.get_num_threads())):
        image = read_with_alpha(outputs.image)
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
    """Reads an image as (1, 3, H, W) in [0, 1]; transparency is composited on white. ValueError, OSError: it cannot be read."""
    return on_white(read_with_alpha(path))


def read_with_alpha(path: Path) -> Tensor:
    """Reads an image as (1, 3, H, W) in [0, 1], or (1, 4, H, W) with alpha if any pixel is transparent; raises as `read`."""
    try:
        colours, alpha = read_colours(path)
        return to_planar(torch.from_numpy(colours if alpha is None else np.dstack((colours, alpha))))
    except FileFormatError as error:
        if path.suffix.lower() not in VIDEOS:
            raise
        problem = f"{path} is a video, and this command takes images"
        outputs = "depth; with --what normals, stereo or parallax these"
        raise FileFormatError(f"{problem}; `depth-normal video {quoted(path)}` makes {outputs}") from error


def check_header(path: Path) -> None:
    """Rejects a file that is not an image, by its header; decodes it only if the header is unknown. Raises as `read`."""
    try:
        image_size(path)
    except (OSError, FileFormatError):
        read(path)  # raises the full reason, or succeeds: HDR images have another header


def estimate(model: Model, images: Tensor, options: Options, writes: Sequence[str] = ()) -> Estimate:
    """Estimates images (B, 3 or 4, H, W) in [0, 1] at their size; derives normals from depth. Transparency is composited on white.

    `model` is as `Options.load` returns it. Maps that no file of `writes`, as `Outputs.writes`, shows are left out; empty = all maps.
    """
    shows_all = not writes or not set(writes) <= _IMAGES_OF_MAPS  # geometry files hold all maps
    is_plain = not options.refine and not options.panorama  # else depth may follow from normals
    without = is_plain and not shows_all and "normals" not in writes
    derive = partial(without_normals if without else with_normals, near_far_ratio=options.near_far_ratio)
    images = on_white(images)
    if options.panorama:
        estimated = model.estimate_panorama(images, options.size, any_aspect=options.any_aspect, derive=derive)
    else:
        in_tiles: dict[str, Any] = {"tiles": options.tiles} if options.tiles else {}
        estimated = model.estimate(images, options.size, fov=options.fov, derive=derive, refine=options.refine, **in_tiles)
    return estimated if shows_all else _only_shown(estimated, writes)


def estimate_each(
    model: Model,
    images: Sequence[Tensor],
    options: Options,
    writes: Sequence[str] = (),
    expected: tuple[type[Exception], ...] = EXPECTED_ERRORS,
    too_large: Callable[[int], object] = bool,
) -> list[Estimate | Exception]:
    """Estimates several images of one size in one batch. If it fails, both halves are tried: one image may be bad.

    Args:
        model, options, writes: As `estimate`.
        images: Each (1, 3 or 4, H, W), on any device. A single one falls back to the CPU if GPU memory is full.
        expected: Exceptions that fail an image.
        too_large: Called with half the number of images if the batch does not fit in memory.

    Returns:
        One estimate, on the model's device, or exception per image.
    """

    def estimated(device: torch.device) -> Estimate:
        together = torch.cat([on_white(image) for image in images]) if len(images) > 1 else images[0]
        return estimate(model, sent_to(device, together), options, writes)

    count, half = len(images), len(images) // 2
    try:
        estimates = estimated(model.device) if half else on_device_or_cpu(estimated, model.device, "the image and its maps are kept")
        return [estimates.slice(index, index + 1) for index in range(count)]
    except expected as error:
        if not half or isinstance(error, WeightsTooLargeError):
            return [error] * count
        if is_out_of_memory(error):
            too_large(half)
    halves = (estimate_each(model, part, options, writes, expected, too_large) for part in (images[:half], images[half:]))
    return list(chain.from_iterable(halves))


def own_estimate(known: Estimate, options: Options, writes: Sequence[str]) -> Estimate:
    """Completes an estimate of the user's files, as `estimate` a model's. ValueError without a map to write, or a required panorama."""
    from ...model_loader.inference.panorama import check_panorama

    if options.panorama:
        check_panorama(known.height, known.width, options.any_aspect)
        known = replace(known, projection=Projection.EQUIRECTANGULAR, intrinsics=None)
    if not set(writes) <= _IMAGES_OF_MAPS or "normals" in writes:
        known = with_normals(known, near_far_ratio=options.near_far_ratio)
    if known.depth is None and set(writes) <= _IMAGES_OF_MAPS - {"normals"}:
        raise ValueError(f"{options.own[0]} holds normals alone, and {', '.join(writes)} is made of depth; name a file of depth")
    return known


def _only_shown(found: Estimate, writes: Sequence[str]) -> Estimate:
    """The estimate without maps that no requested image shows."""
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
    """Writes the outputs of `outputs.writes` that the estimate has, all together or not at all; raises ValueError or OSError.

    Args:
        image: (1, 3 or 4, H, W) in [0, 1], for outputs that show it: surfaces and stereo images.
        source_mark: The image's `records.mark` before reading, for the record; None = the current one.
        settings: The settings for the record; None = from `options`.
        stages: As `staged`.
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
                    write_depth_png(path, default_depth_image(found, near=options.near))
                    written.append(path)
            elif kind == "normals":
                if found.normals is not None:
                    write_normals_png(path, found.normals, found.axes or Axes.OPENGL, found.mask, options.coding, options.normal_bits)
                    written.append(path)
            elif kind == COMPOSITING:
                with local_copy(outputs.image) as source:
                    written += write_compositing_exr(path, found, image, options.half, read_plate(source))
            elif kind in STEREO_CHOICES:
                bits = image_bits(outputs.image) if outputs.image.is_file() else 8  # the file is gone
                _write_stereo(path, pairs.of(kind.removesuffix(HOLES)), kind, bits, options.stereo.anaglyph)
                written.append(path)
            else:
                looked_at = replace(TO_LOOK_AT, near_far_ratio=options.near_far_ratio)
                written += save_estimate(path, found, replace(save, mesh=looked_at) if kind == "glb" else save)
    final = [outputs.folder / path.name for path in written]
    if "pfm" in outputs.writes:
        for outdated in set(possible_paths(outputs.path("pfm"))).difference(final):  # would be read as the normals of the new depth
            remove_outdated(outputs.image, outdated, stem=outputs.stem)
    return final


class _Pairs:
    """One image's stereo pairs, rendered on the estimate's device. Layouts of one kind share a pair."""

    def __init__(self, found: Estimate, image: Tensor | None, options: Options) -> None:
        self._found, self._image, self._options = found, image, options
        self._kinds: tuple[str, ...] = ()
        self._pair: StereoPair | None = None

    def of(self, layout: str) -> StereoPair:
        """The pair of a layout."""
        if self._pair is None or layout not in self._kinds:
            if self._found.depth is None or self._image is None:
                raise ValueError("images for both eyes are made of an image and its depth")
            self._pair = None  # frees memory: two pairs take twice as much
            self._kinds = next((kind for kind in (FLAT_LAYOUTS, AROUND_LAYOUTS) if layout in kind), (layout,))
            image = self._image.to(self._found.depth.device)
            with _one_pair:
                self._pair = pair_for(image, self._found, layout, self._options.stereo, fov=self._options.fov)
        return self._pair


def _write_stereo(path: Path, pair: StereoPair, kind: str, bits: int, anaglyph: str) -> None:
    if kind.endswith(HOLES):
        write_depth_png(path, compose_holes(pair, kind.removesuffix(HOLES)))
    else:
        write_image_png(path, compose(pair, kind, anaglyph), bits)
