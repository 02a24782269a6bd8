"""Options shared by several subcommands, and their value types. Imports nothing heavy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...annotators.choices import BUNDLED_MODEL
from ...geometry.kinds import Quantity
from ...options.estimate import RUNTIME_CHOICES
from ...options.fields import options_of
from ...options.map_images import NEAR
from ...options.outputs import UNITS, ImagesOptions
from ...options.render import ReadCodingOptions
from ...options.runs import RUNTIME, NetworkOptions, SourcesOptions
from ...options.views import AMOUNT, MoveOptions
from ..batch.records import mark
from ..console.option_types import several_of
from .option_table import add_options, as_help, chosen_options

if TYPE_CHECKING:
    from ...annotators.specs.base import ModelSpec
    from ..batch.options import Options

Move = TypeVar("Move", bound=MoveOptions)

_WHICH_MODEL = "which model; `depth-normal models --all` lists them (default: {}; with --weights the one that they belong to)"


def add_model(parser: argparse._ActionsContainer, default: str) -> None:
    """Adds --model and --weights, for `chosen_model`."""
    parser.add_argument("--model", metavar="MODEL", help=_WHICH_MODEL.format(default))
    _add_weights(parser, default)


def add_model_or_word(parser: argparse.ArgumentParser, default: str) -> None:
    """As `add_model`; the model may also be the only positional argument: `bench tiny` is `bench --model tiny`."""
    _add_one(parser, _WHICH_MODEL.format(default))
    _add_weights(parser, default)


def add_model_to_name(parser: argparse.ArgumentParser, task: str) -> None:
    """Adds --model without a default, for `named_model`."""
    _add_one(parser, f"the model {task}, as `depth-normal models --all` lists them")


def _add_one(parser: argparse.ArgumentParser, help_text: str) -> None:
    # SUPPRESS: otherwise an absent positional would overwrite the option's value.
    parser.add_argument("model", nargs="?", action=_OneModel, default=argparse.SUPPRESS, metavar="MODEL", help=help_text)
    parser.add_argument("--model", action=_OneModel, metavar="MODEL", help="the same as an option")


def add_model_names(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Adds models as positionals and as --model: `arguments.models`, empty if none is named."""
    parser.add_argument("models", nargs="*", action="extend", default=argparse.SUPPRESS, metavar="MODEL", help=help_text)
    parser.add_argument("--model", dest="models", nargs="+", action="extend", default=[], metavar="MODEL", help="the same as an option")


class _OneModel(argparse.Action):
    """A model as a positional or an option; both are allowed if equal."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        before = getattr(namespace, self.dest, None)
        if before not in (None, values):
            raise argparse.ArgumentError(None, f"two models are named, {before} and {values}; this command takes one")
        setattr(namespace, self.dest, values)


def _add_weights(parser: argparse._ActionsContainer, default: str) -> None:
    weights = "weights to use in place of the published file; without --model their tensors say which model it is"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    parser.set_defaults(default_model=default)


NETWORK_OPTIONS = ("--model", "--weights", "--size", "--tiles", "--refine", "--refine-steps", "--dtype", "--runtime")
"""The options that decide how a model runs, without --device, which also applies to effects."""


def add_network(parser: argparse._ActionsContainer, default: str, skip: Sequence[str] = ()) -> None:
    """Adds all options that decide how a model runs; `default` is the default model, `skip` as in `add_options`."""
    add_model(parser, default)
    add_options(parser, NetworkOptions, skip=skip)


def chosen_spec(arguments: argparse.Namespace) -> ModelSpec:
    """The chosen model; raises as `chosen_model`."""
    from ...annotators.registry import find_spec

    return find_spec(chosen_model(arguments))


def chosen_model(arguments: argparse.Namespace) -> str:
    """The id of the chosen model. Raises ValueError if the weights are unreadable, or fit no known model."""
    if arguments.model is not None:
        return arguments.model
    if arguments.weights is None:
        return arguments.default_model
    from ...model_loader.weights.identify import recognise

    return recognise(arguments.weights).id


def network_options(arguments: argparse.Namespace) -> Options:
    """The model's options, for a parser with `add_network`."""
    from ..batch.options import Options

    network = vars(chosen_options(arguments, NetworkOptions)).copy()
    del network["device"]
    return Options(chosen_spec(arguments), arguments.weights, **network)


def chosen_move(arguments: argparse.Namespace, options: type[Move], model: str | None) -> Move:
    """The camera move; the default amount depends on the model (None = the user's own depth). Raises as `chosen_options`."""
    move = chosen_options(arguments, options)
    return replace(move, amount=AMOUNT) if arguments.amount is None and model != BUNDLED_MODEL else move


_NOT_OF_RESULTS = frozenset(
    (
        *("parser", "run", "image", "images", "inputs", "source_mark", "marker", "place", "out", "ending", "extensions", "keep_extension"),
        *("open", "overwrite", "recursive", "resume", "kinds", "effect", "options", "print_completion", "settings"),
        *("default_model", "model", "weights", *options_of(NetworkOptions)),
    )
)
"""Arguments that do not affect results, and those of the model, which `Options.settings` covers."""


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """All settings besides the image that determine results, as records hold and --resume compares them; `for_each_image` sets them."""
    if (settings := getattr(arguments, "settings", None)) is not None:
        return settings
    values = {name: value for name, value in vars(arguments).items() if name not in _NOT_OF_RESULTS}
    network = network_options(arguments).settings(()) if hasattr(arguments, "model") else {}
    made = {**network, **values, "writes": [arguments.parser.prog]}
    return json.loads(json.dumps(made, default=_file_in_record))


def _file_in_record(value: object) -> dict[str, Any]:
    """An additional input file, as records hold it."""
    if not isinstance(value, Path):
        raise TypeError(f"{value!r} cannot stand in a record")
    return {"name": value.name, **(mark(value) or {})}


def check_weights(arguments: argparse.Namespace) -> None:
    """Rejects a missing weights file, before anything is loaded, by FileNotFoundError."""
    if arguments.weights is not None and not arguments.weights.exists():
        raise FileNotFoundError(f"{arguments.weights} does not exist; give the path of a weights file (.safetensors, .pth, .pt, .bin)")


def named_model(arguments: argparse.Namespace) -> str:
    """The model of `add_model_to_name`. Raises ValueError if none is named."""
    if arguments.model is None:
        example = f"{arguments.parser.prog} {BUNDLED_MODEL}"
        raise ValueError(f"no model is named; name one, such as {example} (`depth-normal models --all` lists them)")
    return arguments.model


ALL = "all"
"""Stands for all installed runtimes."""


def add_runtimes(parser: argparse._ActionsContainer) -> None:
    """Adds --runtime for one or several."""
    runtime = f"{RUNTIME}; several: each beside torch, printed once measured; {ALL}: all that are here (of {', '.join(RUNTIME_CHOICES)})"
    names = several_of((*RUNTIME_CHOICES, ALL))
    parser.add_argument("--runtime", nargs="+", action="extend", type=names, metavar="NAME", help=as_help(runtime))


def add_coding(parser: argparse._ActionsContainer, reads: bool = False, of: str = "") -> None:
    """Adds --coding of a normal map that is written, or that the command `reads`; `of` names it."""
    add_options(parser, ReadCodingOptions if reads else ImagesOptions, only=("coding",), of=of)


def add_map_kind(parser: argparse._ActionsContainer, near: bool = True) -> None:
    """Adds options for facts that a depth file may not state: --quantity, --channel and, for images, --depth-near."""
    kinds = "metric-depth (metres), relative-depth (large = far), disparity (large = near), millimetres, or kitti (its PNGs)"
    quantity = f"what the numbers of depth are, where the file does not say: {kinds}"
    add_quantity(parser, "--quantity", quantity)
    channel = "which depth or normals: channel or layer of an .exr (ViewLayer.Depth.Z, depth), or array of an .npz"
    parser.add_argument("--channel", metavar="NAME", help=channel)
    if near:
        end = "which end of a depth image is near (default: %(default)s)"
        parser.add_argument("--depth-near", choices=NEAR, default=NEAR[0], help=end)


def add_quantity(parser: argparse._ActionsContainer, name: str, help_text: str) -> None:
    """Adds an option whose value is a quantity."""
    choices = [*(each.value.replace("_", "-") for each in Quantity), *UNITS]
    # messages and files use underscores
    parser.add_argument(name, type=lambda text: text.replace("_", "-"), choices=choices, metavar="QUANTITY", help=help_text)


def chosen_quantity(arguments: argparse.Namespace, name: str = "quantity") -> str | None:
    """The quantity of an option of `add_quantity`, as `load_estimate` takes it; None if none is named."""
    chosen = getattr(arguments, name)
    return chosen and chosen.replace("-", "_")


def add_several(parser: argparse.ArgumentParser, one: str, options: type[SourcesOptions] = SourcesOptions) -> None:
    """Adds the images of a command run by `over_images`, and its options; `one` describes one image."""
    sources = f"{one}; or several, folders, patterns, @list.txt or -, whose results go to a folder"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=sources)
    add_options(parser, options)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="as JSON")
