"""`depth-normal estimate` and `depth-normal demo`: maps of pictures."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ..annotators.choices import BUNDLED_MODEL, RECOMMENDED_MODEL
from .arguments import (
    CODING_CHOICES,
    DEFAULT_WRITES,
    DONE,
    HOLES,
    INTERRUPTED,
    LAYOUT_CHOICES,
    NOTHING_DONE,
    SHARD_CHOICES,
    SIZE,
    STEREO_CHOICES,
    TERMINATED,
    TILES,
    WRITE_CHOICES,
    add_depth_of_stereo,
    add_device,
    add_model,
    add_overwrite,
    add_runtime,
    add_shards,
    chosen_model,
    degrees,
    near_far_ratio,
    place,
    positive,
    several_of,
    tiles,
)
from .cluster.options import add_ray, ray_options
from .memory import keep_freed_memory
from .pictures import Source
from .terminal import complain, say, stdout_for_results, stoppable

if TYPE_CHECKING:
    from .batch import Outcome
    from .engines import Engine, FileFolder
    from .outputs import Plan
    from .shards.folder import ShardFolder
    from .work import Options

    # By whether to stop, and the sign of the folder of results (`staging.sign_in`).
    Run = Callable[[Event, Path | None], Iterator[Outcome]]

DEMO_PICTURE = Path(__file__).parent / "coffee.jpg"
DEMO_WRITES = (*DEFAULT_WRITES, "npz")

GO_ON = "run the same command with --resume to go on"
PLY_UP_CHOICES = ("y", "z")


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `estimate`."""
    add_pictures(parser)
    _add_writes(parser)
    coding = "how a normal map's picture (<stem>_normals.png) stores its vectors: directx for Unreal (default: %(default)s)"
    parser.add_argument("--coding", choices=CODING_CHOICES, default=CODING_CHOICES[0], help=coding)
    fov = "field of view of the pictures' longer side, where the camera is known (makes Depth Anything 3's and Metric3D's metres right)"
    parser.add_argument("--fov", type=degrees, default=0.0, metavar="DEGREES", help=fov)
    parser.add_argument("--tiles", type=tiles, metavar="N", help=TILES)
    ratio = (
        "how many times farther the far end of the scene is than the near end, above 1, for normals of depth that is not metric "
        "(default: 3, or 30 where the model itself marks the sky; 30 suits landscapes)"
    )
    parser.add_argument("--near-far-ratio", type=near_far_ratio, metavar="N", help=ratio)
    refine = "bring the edges of depth and normals to the pictures' edges (see docs/large.md)"
    parser.add_argument("--refine", action="store_true", help=refine)
    add_depth_of_stereo(parser.add_argument_group(f"for --write {LAYOUT_CHOICES[0]} and the other layouts for both eyes"))
    add_shards(parser)
    add_ray(parser)
    parser.set_defaults(run=lambda arguments: run_pictures(arguments, _writes(arguments)))


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Adds what every command over pictures asks: which, where to, by which model, and what to do with what is there."""
    sources = "pictures, folders, patterns such as 'photos/*.jpg', @list.txt (one path a line), or - (the same on stdin)"
    parser.add_argument("pictures", nargs="*", metavar="SRC", help=sources)
    parser.add_argument("--out", required=True, type=place, metavar="DIR", help="folder for the results; made if absent")
    parser.add_argument("--recursive", action="store_true", help="look into folders in folders too; the tree is kept below --out")
    _add_going_on(parser)
    add_model(parser, RECOMMENDED_MODEL)
    parser.add_argument("--size", type=positive, metavar="N", help=SIZE)
    add_device(parser)
    add_runtime(parser)
    parser.add_argument("--json-lines", action="store_true", help="print one JSON object a picture")
    add_overwrite(parser)


def _add_writes(parser: argparse.ArgumentParser) -> None:
    kinds = (
        f"what to write, with commas: {', '.join(kind for kind in WRITE_CHOICES if kind not in STEREO_CHOICES)} (default: "
        f"{','.join(DEFAULT_WRITES)}; npz has the raw numbers), one of {', '.join(SHARD_CHOICES)} by itself, and for both eyes "
        f"{', '.join(LAYOUT_CHOICES)} (with {HOLES} behind: the mask of what was filled in)"
    )
    choices = several_of((*WRITE_CHOICES, *SHARD_CHOICES), WRITE_CHOICES)
    parser.add_argument("--write", type=choices, metavar="KINDS", help=kinds)
    also = "write these beside what --write or the default says; may be given again"
    parser.add_argument("--also", type=choices, action="extend", default=[], metavar="KINDS", help=also)
    parser.add_argument("--ply-up", choices=PLY_UP_CHOICES, help="what points up in a PLY: y (the default), or z as in Blender")


def _add_going_on(parser: argparse.ArgumentParser) -> None:
    resume = "leave out pictures whose results are there, whole, of the same picture, model and options"
    parser.add_argument("--resume", action="store_true", help=resume)
    retry = "only pictures that failed before and may go better now; of those named, or without SRC of all (see docs/folders.md)"
    parser.add_argument("--retry-failed", action="store_true", help=retry)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `demo`."""
    out = "folder for the results (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("depth-normal-demo"), metavar="DIR", help=out)
    add_overwrite(parser)
    parser.set_defaults(run=_demo)


def run_pictures(arguments: argparse.Namespace, writes: tuple[str, ...]) -> int:
    """A run over the pictures that are named.

    Args:
        arguments: Of a command that has all options of `estimate` but those that say what is written.
        writes: As `outputs.Outputs.writes`.

    Returns:
        The exit code.
    """
    engine = _engine(arguments)
    if arguments.retry_failed:
        sources, problems = _failed_before(arguments, engine)
        if not sources and not problems:
            complain(f"{arguments.out}: no failure is left for which trying again makes sense")
            return DONE
    else:
        if not arguments.pictures:
            raise ValueError("no pictures are named: name files, folders, patterns, @list.txt or - (or use --retry-failed)")
        sources, problems = engine.find(arguments.pictures, arguments.recursive, arguments.out)
    for problem in problems:
        complain(problem)
        if arguments.json_lines:
            say(json.dumps({"picture": None, "status": "failed", "reason": problem, "again": False}))
    if not sources:
        return NOTHING_DONE
    keep_freed_memory()
    options = _options(arguments)
    results = _results(arguments, writes, options)
    plan = results.plan(sources, arguments.resume or arguments.retry_failed)
    if plan.todo:
        engine.prepare(options)
    return _run(plan, partial(results.run, engine), results.log, arguments, len(problems))


def _engine(arguments: argparse.Namespace) -> Engine:
    from .engines import LocalEngine, RayEngine

    return RayEngine(ray_options(arguments)) if arguments.engine == "ray" else LocalEngine(arguments.device)


def _results(arguments: argparse.Namespace, writes: tuple[str, ...], options: Options) -> FileFolder | ShardFolder:
    """Where results go, and as what."""
    kind = next((each for each in writes if each in SHARD_CHOICES), None)
    if kind is None:
        from .engines import FileFolder

        return FileFolder(arguments.out, options, writes, arguments.overwrite)
    if len(writes) > 1:
        raise ValueError(f"--write {','.join(writes)}: shards hold all maps, and one kind of them is written by itself; choose one")
    from .shards.folder import ShardFolder
    from .shards.writer import ShardOptions

    shards = ShardOptions(kind, arguments.numbers, arguments.shard_size)
    return ShardFolder(arguments.out, options, shards, arguments.overwrite)


def _options(arguments: argparse.Namespace) -> Options:
    from ..geometry.stereo import StereoOptions
    from .work import Options

    return Options(
        model=chosen_model(arguments),
        weights=arguments.weights,
        dtype=arguments.dtype,
        size=arguments.size,
        fov=arguments.fov,
        near_far_ratio=arguments.near_far_ratio,
        tiles=arguments.tiles,
        ply_up=arguments.ply_up or "y",
        stereo=StereoOptions(arguments.divergence, arguments.convergence, arguments.original),
        refine=arguments.refine,
        runtime=arguments.runtime,
        coding=arguments.coding,
    )


def _writes(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What is to be written, without doubles."""
    writes = tuple(dict.fromkeys((*(arguments.write or DEFAULT_WRITES), *arguments.also)))
    if arguments.ply_up and "ply" not in writes:
        raise ValueError(f"--ply-up {arguments.ply_up} says how a PLY stands, and none is asked for: add --also ply, or leave it out")
    if arguments.coding != CODING_CHOICES[0] and "normals" not in writes:
        raise ValueError(f"--coding {arguments.coding} says how <stem>_normals.png is, and none is asked for: add normals to --write")
    return writes


def _failed_before(arguments: argparse.Namespace, engine: Engine) -> tuple[list[Source], list[str]]:
    """The pictures of `failures.jsonl` that are worth another try; where pictures are named, only those of them."""
    from .failures import FailureLog, folder_of_failures

    failed = FailureLog(folder_of_failures(arguments.out)).worth_trying()
    if not arguments.pictures:
        return failed, []
    named, problems = engine.find(arguments.pictures, arguments.recursive, arguments.out)
    wanted = {source.path.absolute() for source in named}
    return [source for source in failed if source.path in wanted], problems


def _run(plan: Plan, run: Run, log: Path, arguments: argparse.Namespace, missed: int) -> int:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from .report import Report
    from .staging import sign_in

    with (
        sign_in(log) if plan.todo else nullcontext() as sign,
        Report(plan, log, arguments.json_lines, missed, sign) as report,
        logging_redirect_tqdm(),
        stdout_for_results(),
        stoppable() as stop,
    ):
        for outcome in run(stop.event, sign):
            report.add(outcome)
        code = report.finish()
    if report.stopped_by:
        complain(f"stopped with {report.left} pictures not begun: {report.stopped_by.reason}; {GO_ON}")
    if stop.signal is None:
        return code
    complain(f"stopped with {report.left} pictures not begun; {GO_ON}")
    return TERMINATED if stop.signal == signal.SIGTERM else INTERRUPTED


def _demo(arguments: argparse.Namespace) -> int:
    from ..annotators.registry import find_spec
    from .outputs import plan_outputs
    from .work import Options, run

    (outputs,) = plan_outputs([Source(DEMO_PICTURE, Path(DEMO_PICTURE.name))], arguments.out, DEMO_WRITES, arguments.overwrite).todo
    options, recommended = Options(BUNDLED_MODEL), find_spec(RECOMMENDED_MODEL)
    for path in run(options.load(), outputs, options):
        say(str(path))
    say(f"""
The photograph is {DEMO_PICTURE} (by Rachel Michetti, CC0).
These maps are a preview, by {BUNDLED_MODEL!r}, the small network that comes with the pack. Of your own picture, with a larger network:

    depth-normal estimate photo.jpg --out maps --model {RECOMMENDED_MODEL}

downloads {recommended.size_in_words} once ({recommended.licence}); it knows metres and the camera too.
`depth-normal models` lists all models with their sizes and licences.""")
    return DONE
