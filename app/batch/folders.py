"""Estimates folders of images from Python: the command's engine as an iterator."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from ...annotators.choices import RECOMMENDED_MODEL
from ...annotators.registry import find_spec
from ...geometry.estimate import Estimate
from ...model_loader.inference.panorama import check_panorama_model, check_perspective_model
from ...model_loader.load import chosen_model, parse_device
from ...model_loader.runtimes.choose import check_runtime
from ...options.checks import checked_switch
from ...options.estimate import TORCH, check_tiles
from ...options.map_images import CODINGS
from ...options.outputs import DEFAULT_WRITES, WRITE_CHOICES
from ...options.views import StereoOptions
from . import per_image
from .failures import Failure, FailureLog
from .local_engine import InFlight, process
from .options import Options
from .outputs import Outputs, Plan, check_writes, plan_outputs
from .sources import find_images
from .staging import Stages, check_run_marker, open_run_marker, without_leftovers

logger = logging.getLogger(__name__)

Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def estimate_folder(
    source: Sources,
    out: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "auto",
    device: str | torch.device = "auto",
    size: int | None = None,
    fov: float = 0.0,
    near_far_ratio: float | None = None,
    recursive: bool = False,
    writes: Sequence[str] = DEFAULT_WRITES,
    overwrite: bool = False,
    resume: bool = False,
    stereo: StereoOptions | None = None,
    tiles: int | str | None = None,
    refine: bool | None = None,
    runtime: str = TORCH,
    coding: str = CODINGS[0],
    refine_steps: int | None = None,
    panorama: bool = False,
    any_aspect: bool = False,
    keep_extension: bool = False,
) -> Iterator[tuple[Path, Estimate]]:
    """Estimates depth and normals of many images in order; reads ahead and writes behind.

    An image that cannot be read, estimated or written is logged and skipped, and listed in `failures.jsonl` if there is an `out`.

    Args:
        source: A folder, an image, a pattern, `@list.txt`, or several of these.
        out: The results folder; None = nothing is written.
        model: A model id; None = the model of `weights`, recognised by their tensors, else the nodes' default.
        weights: A file in place of the published weights.
        dtype, device, runtime: As `load_model`.
        size, fov, tiles, refine: As `Model.estimate`.
        near_far_ratio: As `assumed_depth`, for normals of models that predict none.
        recursive: Whether to search subfolders; `out` keeps the tree.
        writes: Results: "depth", "normals", "npz", "exr", "pfm", "ply", "glb", "stl", "full-sbs" and the other stereo layouts.
        overwrite: Whether files that this pack did not make may be replaced.
        resume: Whether to skip images with existing results of the same image, model and options.
        stereo: Options of the stereo images; None = the defaults of `StereoOptions`.
        coding: The `geometry.conventions.NormalMapCoding` of `<stem>_normals.png`.
        refine_steps: As `annotators.moge.MogeOptions`; None = the default, and for any other model than MoGe-3.
        any_aspect: As `Model.estimate_panorama`; only for panoramas.
        keep_extension: Whether result names begin with the full file name (`a.jpg_depth.png`), for folders with images that differ only in
            their extension.

    Yields:
        The image's path and its estimate with all maps, whatever `writes` names: at the image's size, float32, on the CPU. Its files are
        written by then.

    Raises:
        ValueError: No image is found, an option is invalid or does not go with `panorama`, the model or device is unknown or unsuitable,
            the weights fit no model, or `out` is not writable. Raised at once, before anything is loaded.
        OSError: No further image can be processed: the disk of `out` is full or gone, or the model does not fit on the device. `resume`
            continues later.
    """
    switches = {"recursive": recursive, "overwrite": overwrite, "resume": resume, "panorama": panorama}
    for name, value in {**switches, "any_aspect": any_aspect, "keep_extension": keep_extension}.items():
        checked_switch(name, value)
    named = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    sources, problems = find_images(named, recursive=recursive, out=out)
    for problem in problems:
        logger.warning(problem)
    if not sources:
        raise ValueError("; ".join(problems) or f"there is no image in {', '.join(map(str, named))}")
    parse_device(device)  # raises if it is absent
    file = Path(weights) if weights else None
    spec = find_spec(chosen_model(model, file, RECOMMENDED_MODEL))
    beyond = {"stereo": stereo or StereoOptions(), "tiles": check_tiles(tiles) or None, "refine": refine, "runtime": check_runtime(runtime)}
    if any_aspect and not panorama:
        raise ValueError("any_aspect is for panoramas: add panorama=True, or leave it out")
    if panorama and (not_used := [name for name, value in (("fov", fov), ("tiles", beyond["tiles"]), ("refine", refine)) if value]):
        raise ValueError(f"{' and '.join(not_used)} cannot be used with panorama=True: leave it out")
    beyond |= {"panorama": panorama, "any_aspect": any_aspect}
    options = Options(spec, file, dtype, size, fov, near_far_ratio, **beyond, coding=coding, refine_steps=refine_steps)
    options.of_family()
    (check_panorama_model if panorama else check_perspective_model)(spec)
    if isinstance(writes, str) or not set(writes) <= set(WRITE_CHOICES):
        raise ValueError(f"writes={writes!r} cannot be written; choose of {WRITE_CHOICES}, as a tuple")
    if out is None:
        return _estimates(Plan([Outputs(each.path, Path(), ()) for each in sources], [], []), options, device, None)
    check_writes(writes, options)
    settings = options.settings(tuple(dict.fromkeys(writes)))
    plan = plan_outputs(sources, Path(out), writes, overwrite, settings if resume else None, keep_extension)
    return _estimates(plan, options, device, Path(out))


def _estimates(plan: Plan, options: Options, device: str | torch.device, out: Path | None) -> Iterator[tuple[Path, Estimate]]:
    """Runs the pipeline. A separate generator, so that `estimate_folder` validates its arguments when called.

    Not a `batch.run.Run`, which prints, counts and handles signals: here the caller does, and gets the estimates themselves.
    """
    with ExitStack() as stack:
        stack.enter_context(without_leftovers([item.folder for item in (*plan.done, *plan.todo)] if out is not None else []))
        marker = stack.enter_context(open_run_marker(out)) if out is not None and plan.todo else None
        log = FailureLog(out, marker) if out is not None else None
        stack.callback(log.settle if log is not None else bool)
        stages = stack.enter_context(Stages())

        def done(outputs: Outputs) -> None:
            if log is not None:
                log.remove(outputs.image)

        def failed(outputs: Outputs, failure: Failure) -> None:
            logger.warning(failure.reason)
            if log is not None:
                log.add(outputs.image, outputs.folder, failure)

        def finish(item: InFlight, estimate: Estimate) -> Estimate:
            if out is not None:
                check_run_marker(marker)
                per_image.write(item.outputs, estimate, options, item.image, item.source_mark, stages=stages)
            return estimate.to("cpu")

        for outputs in plan.done:
            done(outputs)
        for outputs, reason in plan.refused:
            failed(outputs, Failure(reason))
        if not plan.todo:
            return
        with closing(process(options.load(device), plan.todo, options, finish)) as results:
            for outputs, result in results:
                if not isinstance(result, Failure):
                    done(outputs)
                    yield outputs.image, result
                    continue
                if result.stops_run:
                    raise OSError(f"{result.reason}; go on later with resume=True")
                failed(outputs, result)
