"""`depth-normal video`: depth, normals, stereo, a camera move, or depth beside the frame, of one or more videos."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...annotators.choices import RECOMMENDED_VIDEO_MODEL
from ...options.estimate import AUTO_RUNTIME, FAST_RUNTIME
from ...options.fields import options_of
from ...options.runs import SourcesOptions
from ...options.video import CONTAINERS, PARALLAX, STEREO, ClipOptions, VideoOptions
from ...options.views import LoopOptions, StereoOptions, unused_beside
from ..batch.allocator import keep_freed_memory
from ..batch.overwriting import check_folder, check_places, note_results
from ..batch.sources import VIDEOS
from ..console.parser import Parser, no_such_file
from ..console.terminal import echo, echo_error, program, quoted, shown
from ..console.viewer import show
from ..outcomes import DONE, NOTHING_DONE, SOME_FAILED
from .arguments import add_map_kind, add_network, chosen_model, chosen_move, network_options
from .option_table import add_options, chosen_options, refuse_options, refuse_unused
from .result_paths import Place, add_overwrite, add_place, naming_command
from .scene import depth_kind, named_files

if TYPE_CHECKING:
    from threading import Event

    from ...media import VideoHeader
    from ...model_loader import Model
    from ..batch.options import Options
    from ..batch.outputs import Plan
    from ..batch.run import Outcome
    from ..batch.sources import Source
    from ..video.segment_record import Finished
    from ..video.segments import SegmentStore
    from ..video.task import VideoTask

logger = logging.getLogger(__name__)

_OF_IMAGES = {"stereo": ("stereo ", "a stereo image"), "parallax": ("parallax ", "a camera move")}
_FILES = (*CONTAINERS, ".png", ".exr")
_OF_MODELS = ("--device", "--align", "--smooth")

COMMON = (
    *("--out", "--open", "--what", "--model", "--size", "--codec", "--quality", "--layout"),
    *("--start", "--end", "--preview", "--recursive", "--resume", "--overwrite"),
)
"""The options that `--help` shows."""


def add_video(parser: Parser) -> None:
    """Adds the options of `video`."""
    sources = (
        "videos, folders of them, patterns such as 'clips/*.mp4', @list.txt (one path a line), or - (the same on stdin); numbered images "
        "(frame_%%05d.png) or a folder of nothing but images are one video"
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help=sources)
    out = "a video (.mp4, .mov, .mkv) or numbered files (depth_%05d.png: 16 bits; .exr: the raw numbers)"
    add_place(parser, out, "<video>_depth.mp4")
    _add_own_depth(parser.add_argument_group("depth of your own", "of one video, in place of a model's"))
    add_network(parser, RECOMMENDED_VIDEO_MODEL, skip=("tiles", "refine"))
    add_options(parser, ClipOptions, skip=("layout",))
    add_options(parser, SourcesOptions, only=("recursive",))
    add_options(parser, VideoOptions)
    add_options(parser, ClipOptions, only=("layout",))
    add_options(parser, StereoOptions, skip=("original",), of="of stereo: ")
    add_options(parser, LoopOptions, of="of parallax: ")
    add_overwrite(parser, "video")
    parser.common = frozenset(COMMON)
    parser.set_defaults(run=run_video, kinds=("what", "layout"))


def _add_own_depth(group: argparse._ArgumentGroup) -> None:
    depth = (
        "a depth video, numbered files (depth_%%05d.exr; images, NPZ, EXR, PFM), a folder of them, or an NPZ of all, in the order of the "
        "frames, or by their numbers if both are numbered; grey levels are disparity, near = white"
    )
    group.add_argument("--depth", type=Path, metavar="DEPTH", help=depth)
    add_map_kind(group)


@dataclass(frozen=True)
class Prepared:
    """The work on one video; an item of a run.

    `make` makes and reports the targets, with a model if it `needs_model`; it returns why the video ends early, or "". None = nothing to
    do.
    """

    source: Path
    targets: Sequence[Path]
    make: Callable[[Model | None], str] | None
    needs_model: bool = True

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.targets[0].parent


def video_arguments(arguments: argparse.Namespace, **changed: object) -> argparse.Namespace:
    """The arguments of `video` for another command: the arguments that both parsers share, `changed`, and the defaults of `video`."""
    parser = Parser(prog=arguments.parser.prog)
    add_video(parser)
    shared = {action.dest for action in parser._actions} & vars(arguments).keys()
    values = {**vars(parser.parse_args(["-"])), **{name: getattr(arguments, name) for name in shared}}
    return argparse.Namespace(**{**values, "parser": parser, **changed})


def run_video(arguments: argparse.Namespace, found: tuple[Sequence[Source], Sequence[str]] | None = None) -> int:
    """Runs `video` and returns the exit code; `found` is the result of `find_videos`, if known."""
    from ..batch.sources import find_videos, names_one

    keep_freed_memory()
    place: Place = arguments.place
    _check_options(arguments)  # before any video is searched for
    if own := named_files(arguments):
        refuse_options(arguments, _OF_MODELS, f"is for a model, and depth comes from {own[0]}, as it stands; leave it out")
    to_a_file = not place.is_folder and (place.path.suffix.lower() in _FILES or "%" in place.path.name)
    if found is None and names_one(arguments.videos, arguments.recursive, to_a_file):
        return _one(arguments, Path(arguments.videos[0]))
    if own:
        raise ValueError(f"{own[0]} is of one video, and several or a folder are named; name the one video")
    sources, problems = found or find_videos(arguments.videos, arguments.recursive, place.path)
    for problem in problems:
        echo_error(shown(problem))
    if not sources:
        return NOTHING_DONE
    if to_a_file:
        _refuse_image(arguments, sources[0].path)  # the frames of a pattern that the shell expanded
        such = f"{place.path.with_suffix('')}{os.sep}"
        is_folder = len(arguments.videos) == 1 and Path(arguments.videos[0]).is_dir()
        several = f"{arguments.videos[0]} is a folder of videos" if is_folder else "several videos are named"
        raise ValueError(f"{place.path} is the name of one file, and {several}; give -o a folder, such as {such}")
    return _several(arguments, sources, len(problems))


def _one(arguments: argparse.Namespace, source: Path) -> int:
    from ...media.sequences import is_sequence
    from ..batch.outputs import Plan

    if not is_sequence(source) and not source.exists():  # before a missing package is reported
        raise FileNotFoundError(no_such_file(source))
    _refuse_image(arguments, source)
    task = _task(arguments, source, arguments.place)
    options = _options(arguments) if task.depth is None else None
    prepared = _prepared(arguments, task, options, [source, *(task.depth.files() if task.depth else ())])
    return _run(arguments, Plan([prepared], [], []), options, prepared.folder)


def _several(arguments: argparse.Namespace, sources: Sequence[Source], missed: int) -> int:
    from ..batch.outputs import plan_each

    folder, options = arguments.place.path, _options(arguments)
    each = argparse.Namespace(**{**vars(arguments), "open": False, "place": Place(folder, is_folder=True)})
    read = [source.path for source in sources]
    tasks = {source.path: _task(arguments, source.path, Place(folder / source.relative.parent, is_folder=True)) for source in sources}

    def prepare(source: Source) -> tuple[Prepared, Sequence[Path]]:
        _refuse_image(arguments, source.path)
        place = f"{read.index(source.path) + 1} of {len(sources)}: {source.path.name}" if len(sources) + missed > 1 else ""
        prepared = _prepared(each, tasks[source.path], options, read, place)
        return prepared, prepared.targets

    plan = plan_each(sources, folder, prepare, lambda video: video.make is None, arguments.parser.message_of)
    code = _run(arguments, plan, options, folder, missed)
    if arguments.open and code in (DONE, SOME_FAILED):
        show(folder)
    return code


def _run(arguments: argparse.Namespace, plan: Plan[Prepared], options: Options | None, folder: Path, missed: int = 0) -> int:
    """Makes videos one after another, and returns the exit code; `options` are the model's, None without a model."""
    from ...media import VideoReadError
    from ...model_loader import free
    from ..batch.failures import Failure, failure_of
    from ..batch.run import Outcome, Run, in_turn

    words = arguments.parser.message_of
    model, began = None, ("", "")

    def load() -> Model:
        """Loads the model afresh if an earlier video changed its dtype or runtime, so that a video alone gives the same result."""
        nonlocal model, began
        if model is not None and (model.dtype_name, model.runtime) != began:
            free(model.spec.id)
            model = None
        if model is None:
            assert options is not None, "a video needs a model"
            model = options.load(arguments.device)
            began = model.dtype_name, model.runtime
        return model

    def make(video: Prepared, _: object) -> Outcome:
        assert video.make is not None, "to do"
        try:
            early = video.make(load() if video.needs_model else None)
        except VideoReadError as error:  # not an error of the output disk
            return Outcome(video, failure=failure_of(str(video.source), error, words=words))
        return Outcome(video, tuple(video.targets), Failure(early) if early else None)

    def work(stop: Event, marker: Path | None) -> Iterator[Outcome]:
        if any(video.needs_model for video in plan.todo):
            load()  # its errors are reported once, after the refused videos
        return in_turn(plan.todo, lambda _: None, make, stop, marker, words)

    return Run(plan, folder, "video", missed, long=True).run(work)


def _options(arguments: argparse.Namespace) -> Options:
    options = network_options(arguments)
    options.of_family()
    return options


def _prepared(arguments: argparse.Namespace, task: VideoTask, options: Options | None, read: Sequence[Path], label: str = "") -> Prepared:
    """Prepares a task without loading a model.

    `options` are the model's, None for the task's own depth; `read` are this run's inputs, which no result may replace; `label` identifies
    the video beside its progress bar.
    """
    from ..video.run import computed_by, model_settings
    from ..video.segment_record import FinishedRecord
    from ..video.segments import SegmentStore, begun_by
    from ..video.task import check_targets, has_segments

    targets = list(task.targets.values())
    check_folder(targets[0].parent)
    asked = task.settings() if options is None else model_settings(options, task)
    header = task.checked_header()
    if arguments.preview is not None:
        return _prepared_preview(arguments, task, header, read, label)
    record, stopped = FinishedRecord(task), arguments.resume and has_segments(task.targets)
    if arguments.resume and not arguments.overwrite and not stopped and (finished := record.found(asked)):
        if finished.problem is None and label:
            return Prepared(task.source, targets, None)
        said = partial(_say_made, task, finished, arguments.open, ", made before: nothing is left to do")
        return Prepared(task.source, targets, lambda _: said(), needs_model=False)
    made_of = task.source.resolve()
    layouts = {} if arguments.place.is_folder else {output: arguments.layout if output == STEREO else "" for output in task.targets}
    commands = {output: naming_command(arguments, what=output, layout=layout) for output, layout in layouts.items()}

    def check() -> None:
        # In a resumed run existing numbered files are its own. A video is written and noted at the end.
        own = stopped and task.sequence
        check_targets(task.source, task.targets, arguments.overwrite or own, made_of, read, commands)

    def joined(target: Path) -> None:
        (output,) = (output for output, path in task.targets.items() if path == target)
        note_results(made_of, [target], commands.get(output, ""))

    def make(model: Model | None) -> str:
        check()  # again: earlier videos may have taken hours
        by_begun = options
        if model is not None and options is not None:
            if not model.is_video_model and (advice := options.advice(task.expected(header) or 0, arguments.device)):
                echo_error(advice)
            by_measurement = options.runtime in (AUTO_RUNTIME, FAST_RUNTIME)
            if stopped and by_measurement and (begun := begun_by(task.targets)) and begun[0] != computed_by(model)["runtime"]:
                # Runtimes were benchmarked since: the remaining frames use the earlier choice.
                by_begun = replace(options, runtime=begun[0])
                model = by_begun.load(arguments.device, begun[1])
        with SegmentStore(task, {**asked, **computed_by(model)}, resume=arguments.resume) as store:
            record.remove()
            if store.done:
                echo(shown(f"{task.source}: {store.done} frames are finished, going on behind them"))
                if by_begun is not None and model is not None and store.records[-1].dtype != model.dtype_name:
                    # Half precision had overflowed in earlier frames: the stopped run would have continued in this dtype.
                    model = by_begun.load(arguments.device, store.records[-1].dtype)
            finished = _make(model, task, header, store, label, check=check, joined=joined)
            if arguments.resume or not commands:
                record.note(asked, finished)
        return _say_made(task, finished, arguments.open)

    check()
    return Prepared(task.source, targets, make, needs_model=task.depth is None)


def _refuse_image(arguments: argparse.Namespace, source: Path) -> None:
    """Rejects a photo, which would be a video of one frame, and names the command for images."""
    from ...geometry.files.image_files import is_still_image

    if not source.is_file() or not is_still_image(source):
        return
    command, made = next((_OF_IMAGES[output] for output in arguments.what or () if output in _OF_IMAGES), ("", "depth and normals"))
    problem, image = f"{source} is an image", source
    if source.suffix.lower() in VIDEOS:
        image = source.with_suffix(".jpg")
        problem += f" with the name of a video: rename it to {image}"
    raise ValueError(
        f"{problem}, and this command takes videos; `{program()} {command}{quoted(image)}` makes {made} of it "
        "(images that are frames are named together, as frame_%05d.png or as their folder)"
    )


def _prepared_preview(arguments: argparse.Namespace, task: VideoTask, header: VideoHeader, read: Sequence[Path], label: str) -> Prepared:
    from ...geometry.files import atomic_path
    from ...model_loader.system import terminal_bar
    from ..video.rendering import make_preview
    from ..video.task import usual_stem

    first = next(iter(task.targets.values()))
    path = first.with_name(f"{usual_stem(task.source)}_preview.png")
    if not arguments.place.is_folder and arguments.place.path.suffix.lower() == ".png" and "%" not in arguments.place.path.name:
        path = arguments.place.path
    made_of, command = task.source.resolve(), naming_command(arguments, what="", layout="")  # a preview, whatever its outputs
    check = partial(check_places, [path], read, arguments.overwrite, made_of, command)
    check()

    def make(model: Model | None) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        with terminal_bar(arguments.preview, "frame", **_described(label)) as bar, atomic_path(path) as made:
            count = make_preview(model, task, header, arguments.preview, made, bar.update)
            check()  # the file may have appeared meanwhile
        note_results(made_of, [path], command)
        echo(shown(f"{task.source}: {path} ({count} frame{'s' * (count != 1)})"))
        if arguments.open:
            show(path)
        return ""

    return Prepared(task.source, [path], make, needs_model=task.depth is None)


def _task(arguments: argparse.Namespace, source: Path, place: Place) -> VideoTask:
    from ..video.own_depth import OwnDepth
    from ..video.task import video_task

    network = network_options(arguments)
    clip = chosen_options(arguments, ClipOptions)
    return video_task(
        source,
        place.file,
        clip,
        chosen_options(arguments, VideoOptions),
        stereo=chosen_options(arguments, StereoOptions),
        move=chosen_move(arguments, LoopOptions, chosen_model(arguments)),
        size=network.size,
        fov=network.fov,
        depth=None if arguments.depth is None else OwnDepth(arguments.depth, depth_kind(arguments), clip.strict),
    )


def _check_options(arguments: argparse.Namespace) -> None:
    """Rejects invalid values and options without effect."""
    outputs = chosen_options(arguments, ClipOptions).outputs
    if PARALLAX not in outputs:
        why = "is for parallax, and --what names none; add parallax to --what, or leave it out"
        refuse_unused(arguments, LoopOptions, ((options_of(LoopOptions), why),))
    layouts = (arguments.layout,) if STEREO in outputs else ()
    refuse_unused(arguments, StereoOptions, unused_beside(layouts, "none are asked for: add stereo to --what, or leave it out"))
    chosen_options(arguments, VideoOptions)


def _described(label: str) -> dict[str, Any]:
    return {"desc": shown(label)} if label else {}


def _make(model: Model | None, task: VideoTask, header: VideoHeader, store: SegmentStore, label: str, **at_the_end: Any) -> Finished:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from ...model_loader.system import terminal_bar
    from ..video.run import make_video

    if task.preset is not None and task.clip.width is None and task.clip.height is None:
        side = task.preset.side
        width, height = (length // side * side for length in (header.width, header.height))
        part = "the whole" if (width, height) == (header.width, header.height) else f"the middle {width}x{height}"
        logger.info("%s: %s of %dx%d pixels", task.preset.name, part, header.width, header.height)
    expected = task.expected(header)
    _warn_of_space(task, header, expected, store)
    with ExitStack() as stack:
        stack.enter_context(logging_redirect_tqdm())
        bars: list[Callable[[int], object]] = [stack.enter_context(terminal_bar(expected, "frame", store.done, **_described(label))).update]
        if task.in_two_passes:
            bars.append(stack.enter_context(terminal_bar(expected, "frame", desc="one range")).update)
        try:
            return make_video(model, task, header, store, *bars, **at_the_end)
        except BaseException:
            if store.done:
                echo_error(f"{task.source}: {store.done} frames are finished; the same command with --resume goes on behind them")
            raise


def _say_made(task: VideoTask, finished: Finished, shows: bool, more: str = "") -> str:
    """Reports the results of a video; returns why it ends early, or ""."""
    from ...media.sequences import numbered

    frames, first, last = finished.frames, finished.numbers[0], finished.numbers[-1]
    names = [
        f"{numbered(each, first)}{f' to {numbered(each, last).name}' * (frames > 1)}" if task.sequence else str(each)
        for each in task.targets.values()
    ]
    echo(shown(f"{task.source}: {', '.join(names)} ({frames} frame{'s' * (frames != 1)}){more}"))
    if finished.lost:
        echo_error(shown(f"{task.source}: {finished.lost}; --strict ends the video there"))
    if shows:
        first = next(iter(task.targets.values()))
        show(first.parent if task.sequence else first)
    return finished.early


def _warn_of_space(task: VideoTask, header: VideoHeader, expected: int | None, store: SegmentStore) -> None:
    from ...annotators.specs.base import size_in_words
    from ...model_loader.system import free_space
    from ..video.run import bytes_between_passes

    needed = bytes_between_passes(header, expected)
    if task.in_two_passes and needed is not None:
        logger.info("between the two passes up to %s of depth are kept in %s", size_in_words(needed), store.folder)
        if needed > (free := free_space(store.folder)):
            logger.warning("%s are free there: --normalise running needs none", size_in_words(free))
