"""The options that several subcommands share, and the types of their values. Imports nothing large."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...annotators.choices import BUNDLED_MODEL
from ...geometry.kinds import Quantity
from ...options.estimate import (
    AUTO_RUNTIME,
    DEVICE_CHOICES,
    DTYPE_CHOICES,
    MAX_REFINE_STEPS,
    MOST_TILES,
    REFINE_STEPS,
    RUNTIME_CHOICES,
)
from ...options.map_images import CODINGS, NEAR
from ...options.outputs import NUMBER_CHOICES, SHARD_BYTES, SHARD_CHOICES
from ..batch.records import mark
from ..console.option_types import byte_size, positive, several_of, whole_type

if TYPE_CHECKING:
    from ...annotators.specs.base import ModelSpec
    from ..batch.options import Options

UP = "what points up in a ply: y (the default), or z as in Blender"

_WHICH_MODEL = "which model; `depth-normal models --all` lists them (default: {}; with --weights the one that they belong to)"
_SIZE = (
    "side of the network's input in pixels, as its authors count it (default: theirs); less is faster. MoGe-2: 840 is its resolution "
    "level 9, 485 level 0"
)
_TILES = (
    "more detail in a large image: run on the whole image and on overlapping tiles of it; N along the longer side, or auto (tiles of "
    "about the network's own size, at most 4)"
)
_REFINE = (
    "move the edges of depth and normals to the edges of the image (docs/large.md); by default tiny makes depth of images so by a "
    "network of its own, but not for `effect` and `texture`; --no-refine gives its plain map"
)
_REFINE_STEPS = f"how often MoGe-3 refines its depth, 0 to {MAX_REFINE_STEPS}; 0: not at all, as MoGe-2 (default: {REFINE_STEPS})"

_NUMBERED = ("cuda", "mps")
DEVICE_WORDS = f"{', '.join(DEVICE_CHOICES)}, or cuda:N for the GPU of that number, from 0"
"""The values of --device, in words."""


def add_model(parser: argparse._ActionsContainer, default: str) -> None:
    """Adds --model and --weights; `chosen_model` says which model they mean."""
    parser.add_argument("--model", metavar="MODEL", help=_WHICH_MODEL.format(default))
    _add_weights(parser, default)


def add_model_or_word(parser: argparse.ArgumentParser, default: str) -> None:
    """As `add_model`, for a command whose only word is the model: `bench tiny` is `bench --model tiny`."""
    _add_one(parser, _WHICH_MODEL.format(default))
    _add_weights(parser, default)


def add_model_to_name(parser: argparse.ArgumentParser, task: str) -> None:
    """Adds --model for a command that has no default; `named_model` gives the model."""
    _add_one(parser, f"the model {task}, as `depth-normal models --all` lists them")


def _add_one(parser: argparse.ArgumentParser, help_text: str) -> None:
    # Without a value of its own, the word that is not there leaves the option's alone.
    parser.add_argument("model", nargs="?", action=_OneModel, default=argparse.SUPPRESS, metavar="MODEL", help=help_text)
    parser.add_argument("--model", action=_OneModel, metavar="MODEL", help="the same as an option")


def add_models(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Adds models as words and as --model, for a command that takes several: `arguments.models`, empty if none is named."""
    parser.add_argument("models", nargs="*", action="extend", default=argparse.SUPPRESS, metavar="MODEL", help=help_text)
    parser.add_argument("--model", dest="models", nargs="+", action="extend", default=[], metavar="MODEL", help="the same as an option")


class _OneModel(argparse.Action):
    """A model as a word or as an option; both may be there where they say the same."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Notes it."""
        before = getattr(namespace, self.dest, None)
        if before not in (None, values):
            raise argparse.ArgumentError(None, f"two models are named, {before} and {values}; this command takes one")
        setattr(namespace, self.dest, values)


def _add_weights(parser: argparse._ActionsContainer, default: str) -> None:
    weights = "weights to use in place of the published file; without --model their tensors say which model it is"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    parser.set_defaults(default_model=default)


NETWORK_OPTIONS = ("--model", "--weights", "--size", "--tiles", "--refine", "--refine-steps", "--dtype", "--runtime")
"""The options of `add_network` besides --device, which also says where an effect is computed."""


def add_network(parser: argparse._ActionsContainer, default: str) -> None:
    """Adds every option that decides how a model runs on an image; `default` is the model if nobody chooses."""
    add_model(parser, default)
    add_size(parser)
    parser.add_argument("--tiles", type=tiles, metavar="N", help=_TILES)
    parser.add_argument("--refine", action=argparse.BooleanOptionalAction, help=_REFINE)
    add_refine_steps(parser)
    add_device(parser)
    add_runtime(parser)


def add_size(parser: argparse._ActionsContainer) -> None:
    """Adds --size."""
    parser.add_argument("--size", type=positive, metavar="N", help=_SIZE)


def add_refine_steps(parser: argparse._ActionsContainer) -> None:
    """Adds --refine-steps."""
    parser.add_argument(
        "--refine-steps",
        type=whole_type(f"a whole number from 0 to {MAX_REFINE_STEPS}", 0, MAX_REFINE_STEPS),
        metavar="N",
        help=_REFINE_STEPS,
    )


def chosen_spec(arguments: argparse.Namespace) -> ModelSpec:
    """The model that is asked for; raises as `chosen_model`."""
    from ...annotators.registry import find_spec

    return find_spec(chosen_model(arguments))


def chosen_model(arguments: argparse.Namespace) -> str:
    """The id of the model that is asked for.

    Raises:
        ValueError: The weights cannot be read, or are of no known model.
    """
    if arguments.model is not None:
        return arguments.model
    if arguments.weights is None:
        return arguments.default_model
    from ...model_loader.weights.identify import recognise

    return recognise(arguments.weights).id


def network_options(arguments: argparse.Namespace) -> Options:
    """The options of the model, of a parser with `add_network` and `fov`."""
    from ..batch.options import Options

    return Options(
        chosen_spec(arguments),
        weights=arguments.weights,
        dtype=arguments.dtype,
        size=arguments.size,
        fov=arguments.fov,
        tiles=arguments.tiles,
        refine=arguments.refine,
        refine_steps=arguments.refine_steps,
        runtime=arguments.runtime,
    )


_NOT_OF_RESULTS = frozenset(
    (
        *("parser", "run", "image", "images", "inputs", "source_mark", "marker", "place", "out", "ending", "extensions", "keep_extension"),
        *("open", "overwrite", "recursive", "resume", "device", "kinds", "effect", "options", "print_completion", "settings"),
        *("default_model", "model", "weights", "size", "dtype", "tiles", "refine", "refine_steps", "runtime", "fov"),
    )
)
"""What does not decide on the results of a command, or, of the model, stands in `Options.settings`."""


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that decides on the results of a command besides the image, as records hold it and --resume compares it.

    Of one of several images it is known (`for_each_image`).
    """
    if (known := getattr(arguments, "settings", None)) is not None:
        return known
    values = {name: value for name, value in vars(arguments).items() if name not in _NOT_OF_RESULTS}
    network = network_options(arguments).settings(()) if hasattr(arguments, "model") else {}
    made = {**values, **network, "writes": [arguments.parser.prog]}
    return json.loads(json.dumps(made, default=_file_in_record))


def _file_in_record(value: object) -> dict[str, Any]:
    """A file that is read beside the image, as records hold it."""
    if not isinstance(value, Path):
        raise TypeError(f"{value!r} cannot stand in a record")
    return {"name": value.name, **(mark(value) or {})}


def check_weights(arguments: argparse.Namespace) -> None:
    """Refuses a file of weights that is not there, before anything is loaded.

    Raises:
        FileNotFoundError: It is not there.
    """
    if arguments.weights is not None and not arguments.weights.exists():
        raise FileNotFoundError(f"{arguments.weights} does not exist; give the path of a weights file (.safetensors, .pth, .pt, .bin)")


def named_model(arguments: argparse.Namespace) -> str:
    """The model of `add_model_to_name`.

    Raises:
        ValueError: None is named.
    """
    if arguments.model is None:
        example = f"{arguments.parser.prog} {BUNDLED_MODEL}"
        raise ValueError(f"no model is named; name one, such as {example} (`depth-normal models --all` lists them)")
    return arguments.model


def refuse_options(arguments: argparse.Namespace, options: Iterable[str], why: str) -> None:
    """Refuses options that would change nothing; `why` goes on from an option's name.

    Raises:
        ValueError: One has another value than its default.
    """
    for option in options:
        if arguments.parser.is_changed(arguments, option):
            raise ValueError(f"{option} {why}")


def add_device(parser: argparse._ActionsContainer) -> None:
    """Adds --device and --dtype."""
    where = f"where the network runs: {DEVICE_WORDS} (default: auto, the GPU where there is one)"
    parser.add_argument("--device", default="auto", type=device, metavar="NAME", help=where)
    dtype = "what the network computes in (default: auto, the fastest with the same maps)"
    parser.add_argument("--dtype", default="auto", choices=DTYPE_CHOICES, help=dtype)


def device(text: str) -> str:
    """A name that `load_model` takes for a device, be it there or not."""
    kind, divider, index = text.partition(":")
    if kind not in DEVICE_CHOICES or (divider and not (kind in _NUMBERED and index.isdecimal() and index.isascii())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device; accepted: {DEVICE_WORDS}")
    return text


ALL = "all"
"""Of the runtimes: all that are here."""

_RUNTIME = "what runs the network (docs/runtimes.md); a runtime that fails is replaced by torch"

_MEASURED = (
    "auto, the default: the fastest with the same maps that `bench --keep` measured here, else torch; fast: also with slightly other maps"
)


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """Adds --runtime."""
    parser.add_argument("--runtime", default=AUTO_RUNTIME, choices=RUNTIME_CHOICES, help=f"{_RUNTIME}; {_MEASURED}")


def add_runtimes(parser: argparse._ActionsContainer) -> None:
    """Adds --runtime for one or several."""
    runtime = f"{_RUNTIME}; several: each beside torch, printed once measured; {ALL}: all that are here (of {', '.join(RUNTIME_CHOICES)})"
    names = several_of((*RUNTIME_CHOICES, ALL))
    parser.add_argument("--runtime", nargs="+", action="extend", type=names, metavar="NAME", help=runtime)


def add_coding(parser: argparse._ActionsContainer, what: str) -> None:
    """Adds --coding; `what` says of which normal map."""
    help_text = f"{what}: {', '.join(CODINGS)} (default: %(default)s)"
    parser.add_argument("--coding", choices=CODINGS, default=CODINGS[0], metavar="CODING", help=help_text)


def add_map_kind(parser: argparse._ActionsContainer, near: bool = True) -> None:
    """Adds what a file of depth may not say of itself: --quantity, --channel and, of images, --depth-near."""
    quantity = "what the numbers of depth are, where the file does not say: metres, large = far, or large = near"
    parser.add_argument("--quantity", type=_quantity, choices=[each.value.replace("_", "-") for each in Quantity], help=quantity)
    channel = "which depth or normals: channel or layer of an .exr (ViewLayer.Depth.Z, depth), or array of an .npz"
    parser.add_argument("--channel", metavar="NAME", help=channel)
    if near:
        end = "which end of a depth image is near (default: %(default)s)"
        parser.add_argument("--depth-near", choices=NEAR, default=NEAR[0], help=end)


def chosen_quantity(arguments: argparse.Namespace) -> Quantity | None:
    """The quantity of `add_map_kind`; None if none is named."""
    return None if arguments.quantity is None else Quantity(arguments.quantity.replace("-", "_"))


def _quantity(text: str) -> str:
    return text.replace("_", "-")  # as messages and files have it


def add_resume(parser: argparse._ActionsContainer, more: str = "") -> None:
    """Adds --resume of a command over images; `more` says what it does beside."""
    resume = f"skip images whose results are there, complete, of the same image, model and options{more}"
    parser.add_argument("--resume", action="store_true", help=resume)


def add_several(parser: argparse.ArgumentParser, one: str, resumed: str = "") -> None:
    """Adds the images of a command that `over_images` runs; `one` says what one of them is, `resumed` is `more` of `add_resume`."""
    sources = f"{one}; or several, folders, patterns, @list.txt or -, whose results go to a folder"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=sources)
    recursive = "look into folders in folders too, and keep their tree below the folder of the results"
    parser.add_argument("--recursive", action="store_true", help=recursive)
    add_resume(parser, resumed)
    add_keep_extension(parser)


def add_keep_extension(parser: argparse._ActionsContainer) -> None:
    """Adds --keep-extension."""
    names = "name results by the whole name of the image (photo.jpg_depth.png): for folders with a photo.jpg and a photo.png"
    parser.add_argument("--keep-extension", action="store_true", help=names)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Adds --numbers and --shard-size."""
    title = f"for --write {' or '.join(SHARD_CHOICES)}"
    group = parser.add_argument_group(title, "the raw maps of many images in each file (docs/scale.md)")
    numbers = "of depth and normals in shards (default: %(default)s, bit for bit)"
    group.add_argument("--numbers", choices=NUMBER_CHOICES, default=NUMBER_CHOICES[0], help=numbers)
    size = f"a shard is closed as soon as its maps have this size (default: {SHARD_BYTES // 10**6}MB)"
    group.add_argument("--shard-size", type=byte_size, default=SHARD_BYTES, metavar="SIZE", help=size)


def tiles(text: str) -> int | str:
    """A number of tiles along the longer side, from 2 on, or auto."""
    if text != "auto" and (not text.isdecimal() or not 2 <= int(text) <= MOST_TILES):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 2 to {MOST_TILES}")
    return text if text == "auto" else int(text)
