"""`depth-normal models` and `depth-normal download`: lists models and downloads weights."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...annotators.choices import BUNDLED_MODEL, RECOMMENDED_MODEL, RECOMMENDED_VIDEO_MODEL
from ..console.terminal import echo, echo_error, program
from ..outcomes import DONE, EXPECTED_ERRORS, NOTHING_DONE, SOME_FAILED
from .arguments import add_json, add_model_names

if TYPE_CHECKING:
    from ...annotators.specs.base import ModelSpec

LICENCE_CHOICES = ("commercial", "non-commercial", "unclear")
_COMMERCIAL_USE = dict(zip(LICENCE_CHOICES, ("yes", "no", "unclear"), strict=True))
_COLUMNS = 100
_NONE = "no model is like this; `{} models --all` lists all of them"
_KEY = "HERE: on this computer. COMMERCIAL: use that the licence allows. To choose one: --model MODEL"
_WIDTH = 14

SUGGESTIONS = {
    BUNDLED_MODEL: "a preview at once, without a download",
    RECOMMENDED_MODEL: "metres, normals, camera: the default",
    "moge-2-vitl-normal": "the same in finer detail, on a GPU",
    RECOMMENDED_VIDEO_MODEL: "videos without flicker: the default",
    "zipdepth-base": "depth on a small CPU",
    "depth-anything-v2-small": "depth for ControlNet",
    "midas-dpt-hybrid": "depth for ControlNet, as in old graphs",
    "bae-normal": "normals for ControlNet",
    "depth-anything-3-metric-large": "metres of a known camera (--fov)",
    "da2": "360° panoramas (--panorama)",
    "marigold-iid-appearance": "materials (texture pbr --materials)",
}
"""The models of the short list and what each is for. docs/which-model.md says more."""

_TEACHER = "learned from Depth Anything V2 large, whose own weights are not for commercial use (CC-BY-NC-4.0)"
_REMARKS = {"zipdepth-base": _TEACHER, "zipdepth-base-npu": _TEACHER}


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `models`."""
    add_model_names(parser, "these models in detail: what they give, their licences, addresses and files")
    licence = "only models whose licence allows commercial use, forbids it, or leaves it unclear"
    parser.add_argument("--licence", choices=LICENCE_CHOICES, help=licence)
    parser.add_argument("--on-disk", action="store_true", help="only models whose weights are on this computer, and where")
    everything = "every model, by what it gives; without any option, those to choose from first and those on this computer"
    parser.add_argument("--all", action="store_true", help=everything)
    add_json(parser)
    parser.set_defaults(run=_models)


def add_download(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `download`."""
    add_model_names(parser, "as `depth-normal models --all` lists them")
    parser.set_defaults(run=_download)


def _models(arguments: argparse.Namespace) -> int:
    from ...annotators.registry import all_specs, find_any_spec

    named = {find_any_spec(model).id for model in arguments.models}
    rows = {spec.id: describe(spec) for spec in all_specs()}
    wanted = [
        spec
        for spec in all_specs()
        if arguments.licence in (None, next(name for name, use in _COMMERCIAL_USE.items() if use == spec.commercial_use))
        and (rows[spec.id]["file"] or not arguments.on_disk)
        and (not named or spec.id in named)
    ]
    if arguments.json:
        echo(json.dumps([rows[spec.id] | {"group": group_of(spec)} for spec in wanted], indent=2))
    elif named and not arguments.on_disk:
        echo("\n\n".join("\n".join(_details(spec, rows[spec.id])) for spec in wanted) or _NONE.format(program()))
    elif arguments.all or arguments.licence or arguments.on_disk:
        echo("\n".join(table(wanted, rows, arguments.on_disk)))
    else:
        echo("\n".join(_short_table(wanted, rows)))
    return DONE


def describe(spec: ModelSpec) -> dict[str, Any]:
    """A model's properties, JSON-serialisable; `file` is None if no weights are available locally. Their content is not verified."""
    from ...model_loader.weights.find import find_weights
    from ...model_loader.weights.integrity import seems_usable

    path = find_weights(spec.file, seems_usable)
    return {
        "id": spec.id,
        "gives": spec.gives,
        "size": spec.size,
        "size_is_exact": all(file.size for file in spec.files),
        "licence": spec.licence,
        "commercial_use": spec.commercial_use,
        "file": str(path) if path else None,
    }


GROUPS = {
    "included": "In the package, without a download: a preview (disparity, normals)",
    "recommended": "Recommended, and the defaults: metres, normals and camera of images; disparity of videos",
    "metres and normals": "Metres and normals",
    "metres": "Metres",
    "no unit": "Depth without a unit, and the camera",
    "disparity": "Disparity, near = large: depth images, as for ControlNet",
    "relative depth": "Relative depth, far = large",
    "normals": "Normals alone",
    "video": "Videos without flicker: disparity, or metres",
    "diffusion": "Diffusion: fine detail, slow, wants a GPU; needs diffusers (the first run shows the command)",
    "materials": "Materials (albedo, roughness, metallic), for `texture pbr --materials`; needs diffusers",
}
"""The table's groups and their titles, in order."""

_DIFFUSION = ("marigold", "lotus", "lbm")


def group_of(spec: ModelSpec) -> str:
    """A model's group in `GROUPS`."""
    if spec.id == BUNDLED_MODEL:
        return "included"
    if spec.id in (RECOMMENDED_MODEL, RECOMMENDED_VIDEO_MODEL):
        return "recommended"
    if spec.materials:
        return "materials"
    if spec.family in _DIFFUSION:
        return "diffusion"
    if spec.family == "video-depth-anything":
        return "video"
    if spec.quantity is None:
        return "normals"
    if spec.quantity.value == "metric_depth":
        return "metres and normals" if spec.axes else "metres"
    return {"disparity": "disparity", "relative_depth": "relative depth"}.get(spec.quantity.value, "no unit")


def table(specs: Iterable[ModelSpec], rows: dict[str, dict[str, Any]], paths: bool = False) -> list[str]:
    """The models by group, in lines of at most 100 columns, each with its weights' path if `paths`; `rows`: of `describe`, by model id."""
    by_group: dict[str, list[ModelSpec]] = {name: [] for name in GROUPS}
    for spec in specs:
        by_group[group_of(spec)].append(spec)
    lines = _lines("MODEL", "SIZE", "HERE", "COMMERCIAL", "LICENCE")
    for name, members in by_group.items():
        if members:
            lines += ["", GROUPS[name]]
        for spec in members:
            file = rows[spec.id]["file"]
            lines += _lines(f"  {spec.id}", spec.size_in_words, "yes" if file else "", spec.commercial_use, spec.licence)
            if paths:
                lines.append(f"      {file}")
    if len(lines) == 1:
        return [_NONE.format(program())]
    return [*lines, "", _KEY]


def _details(spec: ModelSpec, row: dict[str, Any]) -> list[str]:
    """Everything known about a model without loading it; `row` is from `describe`."""
    from ...model_loader.weights.download import source_url
    from ...model_loader.weights.find import download_path, find_weights
    from ...model_loader.weights.integrity import seems_usable

    facts = [("gives", spec.gives), ("for", SUGGESTIONS.get(spec.id, "")), ("size", spec.size_in_words)]
    facts += [("licence", f"{spec.terms} ({spec.licence_page})"), ("", _REMARKS.get(spec.id, ""))]
    for file in spec.files:
        path = find_weights(file, seems_usable)
        facts.append(("file", str(path) if path else "not on this computer"))
        if not path:
            facts += [("  from", source_url(file)), ("  by hand to", str(download_path(file)))]
    facts.append(("to use it", f"--model {spec.id}"))
    return [spec.id, *(f"  {name:<{_WIDTH}}{text}" for name, text in facts if text)]


def _short_table(specs: Iterable[ModelSpec], rows: dict[str, dict[str, Any]]) -> list[str]:
    """One line per model of `SUGGESTIONS`, with its use, and per other model available locally; `rows` as in `table`."""
    by_id = {spec.id: spec for spec in specs}
    uses = {model: use for model, use in SUGGESTIONS.items() if model in by_id}
    uses |= {model: by_id[model].gives for model, row in rows.items() if row["file"] and model not in uses}
    lines = [_short_line("MODEL", "SIZE", "HERE", "COMMERCIAL", "TAKE IT FOR")]
    for model, use in uses.items():
        spec = by_id[model]
        lines.append(_short_line(model, spec.size_in_words, "yes" if rows[model]["file"] else "", spec.commercial_use, use))
    more = f"all models, and the licences: `{program()} models --all`"
    return [*lines, "", _KEY, more]


def _short_line(model: str, size: str, here: str, commercial: str, use: str) -> str:
    return f"{model:<29} {size:>12}  {here:<4}  {commercial:<10}  {use}".rstrip()


def _lines(model: str, size: str, here: str, commercial: str, licence: str) -> list[str]:
    """A row; a long licence is wrapped."""
    first = f"{model:<40}  {size:>12}  {here:<4}  {commercial:<10}  "
    head, *more = textwrap.wrap(licence, _COLUMNS - len(first), break_on_hyphens=False)
    return [first + head, *(" " * len(first) + line for line in more)]


def _download(arguments: argparse.Namespace) -> int:
    from ...annotators.registry import find_any_spec
    from ...model_loader.weights.download import NoNetworkError, find_or_download

    if not arguments.models:
        raise ValueError(f"no model is named; name one or several, such as {RECOMMENDED_MODEL} (`depth-normal models --all` lists them)")
    files = [(spec, file) for spec in map(find_any_spec, arguments.models) for file in spec.files]
    failed, no_network = 0, False
    for spec, file in files:
        try:
            echo(f"{spec.id}: {find_or_download(spec, file)}")
        except EXPECTED_ERRORS as error:
            failed += 1
            no_network |= isinstance(error, NoNetworkError)
            echo_error(f"{spec.id}: {error}")
    if no_network:
        echo_error(f"without a network, --model {BUNDLED_MODEL} works at once: it comes with the package")
    return (NOTHING_DONE if failed == len(files) else SOME_FAILED) if failed else DONE
