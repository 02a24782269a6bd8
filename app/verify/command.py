"""`depth-normal verify`: checks models and their files on a photograph, as a table to paste into an issue."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...annotators.choices import BUNDLED_MODEL
from ...options.runs import DeviceOptions
from ..commands.arguments import add_json, add_model_names
from ..commands.option_table import add_options
from ..console.terminal import echo
from ..outcomes import DONE, NOTHING_DONE, SOME_FAILED

if TYPE_CHECKING:
    from ...annotators.specs.base import ModelSpec
    from .verification import Verification

logger = logging.getLogger(__name__)

_CHECKS = ("near/far", "likeness", "frame", "axes", "scale", "figures")
_COLUMNS = ("model", "file", "size", "sha256", "keys", "runs", *_CHECKS, "verdict")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `verify`."""
    models = "as `depth-normal models --all` lists them; missing files are downloaded (default: those whose files are on this computer)"
    add_model_names(parser, models)
    parser.add_argument("--all", action="store_true", help="every model; says first how much it will download")
    weights = "a file to check in place of the network's published one; without MODEL its tensors say which model it is"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    add_options(parser, DeviceOptions)
    record = "store the figures of models that have none yet and are sound"
    parser.add_argument("--record", action="store_true", help=record)
    figures = "figures to compare with besides the package's own; --record writes here (default: the package's own app/figures.json)"
    parser.add_argument("--figures", type=Path, metavar="FILE", help=figures)
    add_json(parser)
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    specs = _wanted(arguments)
    from ...model_loader import load_model
    from .figures import STORED, read_figures
    from .verification import NOT_CHECKED, check

    load_model(BUNDLED_MODEL, arguments.dtype, arguments.device)  # a missing device is reported before anything is downloaded
    path = arguments.figures or STORED
    if arguments.figures and not arguments.record and not path.is_file():
        raise ValueError(f"{path} is no file; --figures takes one that --record wrote, or with --record the name of a new one")
    stored = read_figures(STORED, path)
    verifications: list[Verification] = []
    try:
        for spec in specs:
            verifications.append(check(spec, stored, arguments.device, arguments.dtype, arguments.weights))
            if arguments.record and not arguments.weights:
                _record(verifications[-1], path)
    finally:  # report the findings even when stopped
        if verifications:
            text = json.dumps([as_json(each) for each in verifications], indent=2) if arguments.json else report(verifications)
            echo(_without_home(text))
    if all(each.verdict == NOT_CHECKED for each in verifications):
        return NOTHING_DONE
    return DONE if all(each.verdict == "sound" for each in verifications) else SOME_FAILED


def _record(found: Verification, path: Path) -> None:
    """Stores the figures of a sound model that has none. A write error is only logged: the run may take hours."""
    from .figures import write_figures

    if not found.figures or found.verdict != "sound":
        return
    try:
        write_figures(path, {found.model: dict(found.figures)})
        logger.info("%s: its figures are stored in %s", found.model, path)
    except (OSError, ValueError) as error:
        logger.error("%s: its figures cannot be stored in %s: %s. Choose another place by --figures FILE", found.model, path, error)


def _wanted(arguments: argparse.Namespace) -> list[ModelSpec]:
    """The chosen models."""
    from ...annotators.registry import all_specs, find_any_spec
    from ...annotators.specs.base import size_in_words
    from ...model_loader.weights.find import find_weights
    from ...model_loader.weights.integrity import seems_usable

    if arguments.all and arguments.models:
        raise ValueError("--all means every model: leave it out, or name none")
    if arguments.weights:
        if arguments.all or len(arguments.models) > 1:
            raise ValueError(f"--weights FILE goes with one MODEL; found {', '.join(arguments.models) or '--all'}")
        if arguments.models and not arguments.weights.is_file():
            said = "is not a file" if arguments.weights.exists() else "does not exist"
            raise ValueError(f"{arguments.weights} {said}; --weights takes a weights file")
        from ...model_loader.load import chosen_model

        arguments.models = [chosen_model(next(iter(arguments.models), None), arguments.weights)]
    specs = list(dict.fromkeys(map(find_any_spec, arguments.models))) or all_specs()
    missing = {spec.id: [file for file in spec.files if not find_weights(file, seems_usable)] for spec in specs}
    if not arguments.all and not arguments.models:
        return [spec for spec in specs if not missing[spec.id]]
    if not arguments.models:
        specs = [spec for spec in specs if all(file.published for file in missing[spec.id])]
    files = {(file.repo_id or file.url, file.filename): file for spec in specs for file in missing[spec.id] if not arguments.weights}
    if files:
        size = sum(file.size or file.approximate_size or 0 for file in files.values())
        words = size_in_words(size, exact=all(file.size for file in files.values()))
        absent = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        logger.info("%s not on this computer: %s to download", absent, words)
    return specs


def as_json(found: Verification) -> dict[str, Any]:
    """The findings, JSON-serialisable."""
    files = [{**vars(file), "path": str(file.path) if file.path else None} for file in found.files]
    findings = {each.name: {"grade": each.grade.name.lower(), "words": each.words} for each in found.findings}
    runs, figures = (dict(each) if each else None for each in (found.runs, found.figures))
    said = {"model": found.model, "verdict": found.verdict, "files": files, "keys_ok": found.keys_ok, "runs": runs}
    return {**said, "findings": findings, "problem": found.problem, "figures": figures}


def report(found: Sequence[Verification]) -> str:
    """The table and its details, as Markdown."""
    import platform

    import torch

    from ..._version import __version__

    rows = [_COLUMNS, *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    versions = f"depth-normal {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {sys.platform}"
    details = [line for each in found for line in _details(each)]
    files = [f"{each.model}/{file.name}" for each in found for file in each.files if not file.published_sha]
    not_known = [f"The published sha256 of these files is not known, so it was not compared: {', '.join(files)}", ""] if files else []
    return "\n".join((lines[0], ruler, *lines[1:], "", *details, "", *not_known, versions))


def _row(found: Verification) -> tuple[str, ...]:
    by_name = {finding.name: finding for finding in found.findings}
    checks = ["" if name not in by_name else ("ok", "?", "WRONG")[by_name[name].grade] for name in _CHECKS]
    if found.figures:
        checks[-1] = "none stored"
    origins = ", ".join(dict.fromkeys(file.origin for file in found.files))
    runs = "{device}, {dtype}, {seconds:g} s".format(**found.runs) if found.runs else ("WRONG" if "runs" in by_name else "")
    sizes, shas = ([getattr(file, name) for file in found.files if file.path] for name in ("size_ok", "sha_ok"))
    verdict = found.verdict if found.verdict == "sound" else f"**{found.verdict}**"
    return found.model, origins, _together(sizes), _together(shas), _together([found.keys_ok]), runs, *checks, verdict


def _together(answers: Sequence[bool | None]) -> str:
    """The worst result of several files, as a word."""
    if False in answers:
        return "WRONG"
    return "not known" if None in answers and answers != [None] else "ok" if all(answers) and answers else ""


def _details(found: Verification) -> list[str]:
    """A list item for the model, with nested items for its files and findings."""
    lines = [f"- {found.model}"]
    for file in found.files:
        size_and_digest = f", {file.size} bytes, sha256 {file.sha256}" if file.size is not None else ""
        place = f"{file.origin}: {file.path}" if file.path and file.origin != "bundled" else file.origin
        problems = "".join(f"; **{problem}**" for problem in file.problems)
        lines.append(f"  - {file.name} ({place}){size_and_digest}{problems}")
    if found.problem:
        lines.append(f"  - **{found.problem}**")
    for finding in found.findings:
        words = finding.words if not finding.grade else f"**{finding.words}**"
        lines.append(f"  - {finding.name}: {words}")
    return lines


def _without_home(text: str) -> str:
    """Replaces the home folder, and so the user's name, by ~ in text or JSON."""
    home = Path.home()
    for spelled in () if home == home.parent else (json.dumps(str(home))[1:-1], str(home)):
        text = re.sub(rf"{re.escape(spelled)}(?![\w.-])", "~", text)
    return text
