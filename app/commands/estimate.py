"""`depth-normal estimate` and `depth-normal demo`: maps of images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from ...annotators.choices import BUNDLED_MODEL, RECOMMENDED_MODEL
from ...options.fields import options_of
from ...options.outputs import NUMBERS, PLY_UP, SHARD_CHOICES, WITH_NUMBERS, ImagesOptions
from ...options.runs import LOCAL, FolderOptions, NetworkOptions, RayOptions
from ...options.views import LAYOUTS, VIDEO_LAYOUTS, StereoOptions, unused_beside
from ..batch.allocator import keep_freed_memory
from ..batch.sources import VIDEOS, Source
from ..console.parser import Parser, no_such_file
from ..console.terminal import echo, echo_error, program, quoted
from ..console.viewer import show
from ..outcomes import DEMO_IMAGE, DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .arguments import add_network, chosen_spec, network_options
from .for_each_image import is_file_name
from .option_table import add_options, chosen_options, option_names, refuse_options, refuse_unused
from .result_paths import (
    Place,
    add_folder,
    add_overwrite,
    check_extension,
    check_results,
    folder_file_or_url,
    name_a_folder,
    naming_command,
    result_path,
    say_result,
)
from .scene import add_own_depth, known_from_files, named_files

if TYPE_CHECKING:
    from torch import Tensor

    from ...geometry.estimate import Estimate
    from ..batch.engines import Engine, FileFolder
    from ..batch.failures import Failure
    from ..batch.options import Options
    from ..batch.outputs import Outputs, Plan
    from ..batch.run import Outcome
    from ..batch.shards.folder import ShardFolder

    # Arguments: the stop event, and the marker of the results folder (`staging.open_run_marker`).
    Work = Callable[[Event, Path | None], Iterator[Outcome]]

COMMON = (
    *("--out", "--open", "--model", "--also", "--write", "--coding", "--bits", "--tiles", "--refine", "--size"),
    *("--recursive", "--resume", "--overwrite"),
)
"""The options that `--help` of `estimate` shows."""

_OF_FOLDERS = [option_names(FolderOptions)[name] for name in ("resume", "retry_failed", "recursive", "keep_extension", "json_lines")]
_OF_SHARDS = ("numbers", "shard_size")


def add_estimate(parser: Parser) -> None:
    """Adds the options of `estimate`."""
    add_images(parser)
    add_options(parser, ImagesOptions, skip={*options_of(NetworkOptions), *_OF_SHARDS})
    add_options(parser.add_argument_group(f"for --write {LAYOUTS[0]} and the other layouts for both eyes"), StereoOptions)
    title = f"for --write {' or '.join(SHARD_CHOICES)}"
    shards = parser.add_argument_group(title, "the raw maps of many images in each file (docs/scale.md)")
    add_options(shards, ImagesOptions, only=_OF_SHARDS)
    add_options(parser, RayOptions, only=("engine",))
    add_options(parser.add_argument_group("with --engine ray", "IMAGE may be s3://... too"), RayOptions, skip=("engine",))
    parser.common = frozenset(COMMON)
    parser.set_defaults(run=run_images)


def add_images(parser: argparse.ArgumentParser) -> None:
    """Adds the options of every command over images: sources, results folder, model, and existing results."""
    sources = "images, folders, patterns such as 'photos/*.jpg', @list.txt (one path a line), or - (the same on stdin)"
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=sources)
    add_folder(parser, takes=folder_file_or_url)
    add_network(parser, RECOMMENDED_MODEL)
    add_own_depth(parser.add_argument_group("depth of your own", "of one image, in place of a model's"))
    parser.set_defaults(normal_map=None)
    add_options(parser, FolderOptions)
    add_overwrite(parser)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `demo`."""
    add_folder(parser)
    add_overwrite(parser, default_names=False)
    parser.set_defaults(run=_demo)


def run_images(arguments: argparse.Namespace) -> int:
    """Estimates the named images, and returns the exit code.

    Accepts arguments of any command with the options of `estimate`, or values in their place. Outputs with a missing library are reported
    and skipped, unless all are.
    """
    writes = checked_options(arguments).writes
    files = named_files(arguments)
    if files and (len(arguments.images) != 1 or not is_file_name(arguments.images[0])):
        raise ValueError(f"{files[0]} is of one image, and {'several are' if arguments.images else 'none is'} named; name the one image")
    if files:
        refuse_options(arguments, ("--engine",), f"spreads a model's work, and depth comes from {files[0]}; leave it out")
        if shards := set(writes) & set(SHARD_CHOICES):
            raise ValueError(f"--write {min(shards)} is for many images, and {files[0]} is of one; write npz or exr")
    if isinstance(arguments.out, Place):
        return _run_to_file(arguments, arguments.out, writes)
    engine = _engine(arguments)
    if arguments.retry_failed:
        sources, problems = _failed_before(arguments, engine)
        if not sources and not problems:
            echo_error(f"{arguments.out}: no failure is left for which trying again makes sense")
            return DONE
    else:
        if not arguments.images:
            raise ValueError("no images are named: name files, folders, patterns, @list.txt or - (or use --retry-failed)")
        sources, problems = engine.find(arguments.images, arguments.recursive, arguments.out)
    for problem in problems:
        echo_error(problem)
        if arguments.json_lines:
            echo(json.dumps({"image": None, "status": "failed", "reason": problem, "again": False}))
    if not sources:
        return NOTHING_DONE
    _refuse_videos(sources, writes)
    keep_freed_memory()
    from ..batch.outputs import lacking_libraries

    lacking = lacking_libraries(writes)
    if len(lacking) == len(writes):
        lacking = {}  # the run reports it
    for name, reason in lacking.items():
        echo_error(f"{name} is left out: {reason}")
    code = _run_over(arguments, engine, sources, problems, tuple(name for name in writes if name not in lacking))
    return SOME_FAILED if lacking and code == DONE else code


def _run_over(
    arguments: argparse.Namespace, engine: Engine, sources: Sequence[Source], problems: Sequence[str], writes: tuple[str, ...]
) -> int:
    """Makes the outputs of images; `problems` are about sources that were not found."""
    from ..batch.run import Run

    files, options = named_files(arguments), _options(arguments)
    results = _results(arguments, writes, options)
    plan = results.plan(sources, arguments.resume or arguments.retry_failed)
    work: Work = partial(results.run, engine)
    if files:
        from ..batch.overwriting import check_places

        for outputs in plan.todo:
            check_places(outputs.paths(), files, overwrite=True)  # `plan` has checked all but the inputs
        work = partial(_with_own_depth, arguments, options, plan)
    elif plan.todo and chosen_options(arguments, RayOptions).engine == LOCAL:
        work = _work_here(results, engine, plan, options, arguments, len(problems))
    elif plan.todo:
        engine.prepare(options)
    run = Run(plan, results.log, missed=len(problems), listed=True, json_lines=arguments.json_lines)
    code = run.run(work, _numbers_in_words(arguments, plan.todo[0].writes) if plan.todo else "")
    if arguments.open and run.made:
        _show(plan, results.log)
    return code


def _engine(arguments: argparse.Namespace) -> Engine:
    options = replace(chosen_options(arguments, RayOptions), device=arguments.device)
    if options.engine == LOCAL:
        from ..batch.engines import LocalEngine

        return LocalEngine(arguments.device)
    from ..cluster.engine import RayEngine

    return RayEngine(options)


def _results(arguments: argparse.Namespace, writes: tuple[str, ...], options: Options) -> FileFolder | ShardFolder:
    kind = next((each for each in writes if each in SHARD_CHOICES), None)
    if kind is None:
        from ..batch.engines import FileFolder

        return FileFolder(arguments.out, options, writes, arguments.overwrite, arguments.keep_extension)
    refuse_options(arguments, ("--keep-extension",), "is for the names of files, and shards hold whole names; leave it out")
    if len(writes) > 1:
        raise ValueError(f"--write {','.join(writes)}: shards hold all maps, and one kind of them is written by itself; choose one")
    from ..batch.shards.folder import ShardFolder
    from ..batch.shards.writer import ShardOptions

    chosen = chosen_options(arguments, ImagesOptions)
    shards = ShardOptions(kind, chosen.numbers, chosen.shard_size)
    return ShardFolder(arguments.out, options, shards, arguments.overwrite)


def _options(arguments: argparse.Namespace) -> Options:
    chosen, files = chosen_options(arguments, ImagesOptions), tuple(named_files(arguments))
    return replace(
        network_options(arguments),
        near_far_ratio=chosen.near_far_ratio,
        ply_up=chosen.up or PLY_UP[0],
        stereo=chosen_options(arguments, StereoOptions),
        near=chosen.near,
        coding=chosen.coding,
        normal_bits=int(chosen.normal_bits),
        half=chosen.half,
        panorama=chosen.panorama,
        any_aspect=chosen.any_aspect,
        own=files,
        own_kind=(arguments.quantity, arguments.channel, arguments.depth_near) if files else (),
    )


def _estimator(arguments: argparse.Namespace, options: Options, writes: tuple[str, ...]) -> Callable[[Tensor], Estimate]:
    """Returns a function from an image (1, 3, H, W) to its estimate: by the user's files, or by a model, which is loaded here."""
    from ...model_loader.load import parse_device
    from ..batch.per_image import estimate, own_estimate

    if not options.own:
        model = options.load(arguments.device)
        return lambda image: estimate(model, image, options, writes)
    device = parse_device(arguments.device)

    def known(image: Tensor) -> Estimate:
        height, width = image.shape[-2:]
        return own_estimate(known_from_files(arguments, height, width).to(device), options, writes)

    return known


def _with_own_depth(arguments: argparse.Namespace, options: Options, plan: Plan, stop: Event, marker: Path | None) -> Iterator[Outcome]:
    """The work of a run for one image with its own depth files."""
    from ..batch.per_image import read_with_alpha, write
    from ..batch.records import mark
    from ..batch.run import Outcome, in_turn

    def make(outputs: Outputs, read: tuple[Any, Tensor]) -> Outcome:
        source_mark, image = read
        estimate = _estimator(arguments, options, outputs.writes)(image)
        return Outcome(outputs, tuple(write(outputs, estimate, options, image, source_mark)))

    return in_turn(plan.todo, lambda outputs: (mark(outputs.image), read_with_alpha(outputs.image)), make, stop, marker)


def checked_options(arguments: argparse.Namespace) -> ImagesOptions:
    """The options of the images. Raises ValueError if one has no effect on the outputs or the engine."""
    chosen = chosen_options(arguments, ImagesOptions)
    if chosen.is_depth_alone and chosen.fov:
        _refuse_useless_fov(arguments)
    refuse_unused(arguments, StereoOptions, unused_beside(chosen.writes, f"none are asked for: add --also {LAYOUTS[0]}"))
    chosen_options(arguments, RayOptions)
    return chosen


def _refuse_useless_fov(arguments: argparse.Namespace) -> None:
    """Rejects a field of view that cannot affect depth: it is not metric, and the model does not use the camera."""
    from ...geometry.kinds import ZERO_AT_CAMERA

    spec = chosen_spec(arguments)
    if spec.quantity not in ZERO_AT_CAMERA and not spec.knows_camera:
        why = f"is for normals, meshes and metres, and {spec.id} gives depth without any: write normals too, or leave it out"
        refuse_options(arguments, ("--fov",), why)


def _refuse_videos(sources: list[Source], writes: tuple[str, ...]) -> None:
    """Rejects a run over nothing but videos, before a model is loaded, and names the command for videos."""
    if not all(source.path.suffix.lower() in VIDEOS for source in sources):
        return
    first = sources[0].path
    command, made = f"{program()} video {quoted(first)}", "maps"
    if layouts := [each for each in writes if each in VIDEO_LAYOUTS]:
        layout = "" if layouts[0] == VIDEO_LAYOUTS[0] else f" --layout {layouts[0]}"
        command, made = f"{command} --what stereo{layout}", "images for both eyes"
    raise ValueError(f"{first} is a video; `{command}` makes {made} of it")


def _failed_before(arguments: argparse.Namespace, engine: Engine) -> tuple[list[Source], list[str]]:
    """The images of `failures.jsonl` worth a retry, limited to the named ones, if any."""
    from ..batch.failures import FailureLog, folder_of_failures

    failed = FailureLog(folder_of_failures(arguments.out)).worth_trying()
    if not arguments.images:
        return failed, []
    named, problems = engine.find(arguments.images, arguments.recursive, arguments.out)
    resolved = cache(Path.resolve)

    def place(image: Path) -> Path:  # a link to an image is another image
        return resolved(image.parent) / image.name

    wanted = {place(source.path) for source in named}
    return [source for source in failed if place(source.path) in wanted], problems


def _work_here(
    results: FileFolder | ShardFolder, engine: Engine, plan: Plan, options: Options, arguments: argparse.Namespace, missed: int
) -> Work:
    """The work of a run by the local engine, with the runtime that the run began with."""
    from ..batch.begun_runtime import BegunRuntime
    from ..batch.run import Outcome

    if failure := _unreadable(plan, missed):
        return lambda *_: iter([Outcome(plan.todo[0], failure=failure)])

    begun = BegunRuntime(results.log, options, arguments.device, arguments.retry_failed or bool(plan.done))
    if advice := options.advice(len(plan.todo), arguments.device):
        echo_error(advice)
    engine.prepare(begun.options)
    return lambda stop, marker: begun.noted(results.run(engine, stop, marker))


def _unreadable(plan: Plan, missed: int) -> Failure | None:
    """Why the only image of a run is unreadable, judged by its header before a model is loaded."""
    from ..batch.failures import failure_of
    from ..batch.per_image import check_header

    if plan.total + missed > 1:
        return None
    try:
        check_header(plan.todo[0].image)
    except EXPECTED_ERRORS as error:
        return failure_of(str(plan.todo[0].image), error)
    return None


def _numbers_in_words(arguments: argparse.Namespace, writes: Sequence[str]) -> str:
    """Describes the depth in numeric files; empty without such files."""
    if named_files(arguments):
        return ""  # users know their own files
    kinds = [kind for kind in writes if kind in NUMBERS]
    words = chosen_spec(arguments).numbers_in_words(arguments.panorama) if kinds else ""
    return f"the depth in .{', .'.join(kinds)} is {words}" if words else ""


def _run_to_file(arguments: argparse.Namespace, place: Place, writes: tuple[str, ...]) -> int:
    """Estimates one image, writes its single result to the file of -o, and returns the exit code."""
    file, kind = place.path, "write" if "--write" in arguments.parser.options else "layout"
    why = f"is for a folder of results, and -o names the file {file}; leave it out, or {name_a_folder(place)}"
    refuse_options(arguments, (*_OF_FOLDERS, "--engine"), why)
    if len(arguments.images) != 1 or not is_file_name(arguments.images[0]):
        count = "several images are" if arguments.images else "no image is"
        raise ValueError(f"{file} is the name of one file, and {count} named; name one image, or {name_a_folder(place)}")
    import torch

    from ...model_loader.load import parse_device
    from ..batch.outputs import Outputs, check_writes
    from ..batch.per_image import computing_threads, read_with_alpha, write

    image = Path(arguments.images[0])
    if not image.exists():
        raise FileNotFoundError(no_such_file(image))
    names = () if set(writes) & set(SHARD_CHOICES) else Outputs(image, file.parent, writes).names()
    if len(names) != 1:
        one = f", or one kind, as with --write {writes[0]}" if len(writes) > 1 and kind == "write" else ""
        raise ValueError(f"{file} is the name of one file, and {','.join(writes)} makes several; {name_a_folder(place)}{one}")
    _refuse_videos([Source(image, Path(image.name))], writes)
    check_extension(file, [Path(names[0]).suffix])
    options = _options(arguments)
    one_result = {"image": image, "place": place, "out": file, "kinds": (kind,), kind: ",".join(writes)}
    result = argparse.Namespace(**{**vars(arguments), **one_result})
    check_results(result, [file], naming_command(result))
    check_writes(writes, options)
    pixels = read_with_alpha(image)  # before a model is loaded
    estimator = _estimator(arguments, options, writes)
    device = parse_device(arguments.device)
    with result_path(result) as path, computing_threads(options.threads_per_image(device.type, torch.get_num_threads())):
        (written,) = write(Outputs(image, path.parent, writes), estimator(pixels), options, pixels)
        written.rename(path)
    say_result(result)
    if note := _numbers_in_words(arguments, writes):
        echo_error(note)
    return DONE


def _show(plan: Plan, folder: Path) -> None:
    outputs = (*plan.todo, *plan.done)
    files = [path for path in outputs[0].paths() if path.exists()] if plan.total == 1 else []
    show(files[0] if files else folder)


def _demo(arguments: argparse.Namespace) -> int:
    from ...annotators.registry import find_spec
    from ..batch.options import Options
    from ..batch.outputs import plan_outputs
    from ..batch.per_image import run

    (outputs,) = plan_outputs([Source(DEMO_IMAGE, Path(DEMO_IMAGE.name))], arguments.out, WITH_NUMBERS, arguments.overwrite).todo
    options, recommended = Options(), find_spec(RECOMMENDED_MODEL)
    files = run(options.load(), outputs, options)
    for path in files:
        echo(str(path))
    echo(f"""
The photo is by Rachel Michetti (CC0). These maps are a preview by {BUNDLED_MODEL}, the small model in the package.
The same photo by {RECOMMENDED_MODEL}, which sees finer detail and knows metres and the camera
(downloads {recommended.size_in_words} once, {recommended.licence}):

    {program()} {quoted(DEMO_IMAGE)}

Your own photo takes the place of that path; --model {BUNDLED_MODEL} needs no download.
Which model to take, and what each is for:

    {program()} models""")
    if arguments.open:
        show(files[0])
    return DONE
