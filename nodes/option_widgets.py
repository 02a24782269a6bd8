"""Widgets made of `Options`, and options read back from widget values."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MethodType
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..options.checks import check_range
from ..options.fields import Box, Choice, Colour, Number, Option, Options, Point, Points, Seed, Switch, Whole, default_of, options_of
from .widgets import COLOUR, Inputs, Widget, choice_widget, colour_widget, count_widget, labelled, number_widget, switch_widget, text_widget

logger = logging.getLogger(__name__)

NO_POINT = -1.0
"""The coordinate of an unset point, and the side of an unset box."""

_BY_HAND = {
    "by_click": ", set by a click on the node",
    "by_shift_click": ", each set by a click with Shift on the node",
    "by_alt_click": ", each set by a click with Alt on the node",
    "by_drag": ", set by a drag on the node",
    "first_point": "the first point, ",
    "from_node": "; Normal to Height outputs this number",
    "help_page": " (see the help page of Depth & Normals (advanced))",
}
_SIDES = {
    "left": "Its left side, from left (0) to right (1); below 0: no box.",
    "top": "Top of the box, from top (0) to bottom (1); below 0: no box.",
    "right": "Right side of the box, from left (0) to right (1); below 0: no box.",
    "bottom": "Bottom of the box, from top (0) to bottom (1); below 0: no box.",
}


class Node:
    """A node: ComfyUI's attributes, of which some are derived from its options, inputs and outputs."""

    FUNCTION = "execute"
    OPTIONS: ClassVar[tuple[type[Options], ...]] = ()
    """Set by `takes`."""
    INPUTS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """As INPUT_TYPES returns it, with functions for inputs that depend on the disk. "optional" is by default the widgets of all options."""
    OUTPUTS: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """The type and tooltip of each output."""
    DEFAULTS: ClassVar[Mapping[str, Any]] = {}
    """What `execute` takes for missing inputs, besides its own defaults, where a widget's default depends on the disk."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "OUTPUTS" in vars(cls) or not hasattr(cls, "RETURN_TYPES"):  # a subclass in another pack may set its own
            cls.RETURN_NAMES = tuple(cls.OUTPUTS)
            cls.RETURN_TYPES = tuple(kind for kind, _ in cls.OUTPUTS.values())
            cls.OUTPUT_TOOLTIPS = tuple(tooltip for _, tooltip in cls.OUTPUTS.values())

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        groups: dict[str, Mapping[str, Any]] = {"required": {}, **cls.INPUTS}
        if cls.OPTIONS:
            groups.setdefault("optional", {name: widget for options in cls.OPTIONS for name, widget in option_widgets(options).items()})
        inputs = {group: {name: each() if callable(each) else each for name, each in by_name.items()} for group, by_name in groups.items()}
        return copy.deepcopy(inputs)  # other packs may change it

    def execute(self, *inputs: Any, **more: Any) -> Any:
        """Returns the outputs, in their order, for an instance of each of its options, and sockets and widgets by name."""
        raise NotImplementedError


NodeClass = TypeVar("NodeClass", bound=type)


def takes(*options: type[Options], unless: Mapping[str, type[Options]] | None = None) -> Callable[[NodeClass], NodeClass]:
    """Decorates nodes whose `execute` takes one instance of each of these classes before its sockets.

    ComfyUI and scripts call it with sockets and widgets by name, or in the order of the node's inputs. Text and switches are checked here,
    for scripts; other widgets have checks of their own. `unless` maps sockets to options that are ignored when the socket is linked.
    """

    def changed(node: NodeClass) -> NodeClass:
        node.OPTIONS = options  # pyright: ignore[reportAttributeAccessIssue]
        execute = node.execute  # pyright: ignore[reportAttributeAccessIssue]
        inherited = execute.function if isinstance(execute, _Execute) else execute
        node.execute = _Execute(node, inherited, options, unless or {})  # pyright: ignore[reportAttributeAccessIssue]
        return node

    return changed


class _Execute:
    """A node's `execute`, callable with sockets and widgets. Reads INPUT_TYPES at the first call: lists of models scan the disk."""

    def __init__(
        self, node: Any, execute: Callable[..., Any], options: tuple[type[Options], ...], unless: Mapping[str, type[Options]]
    ) -> None:
        functools.update_wrapper(self, execute)
        self._node, self.function, self._options, self._unless = node, execute, options, unless
        self._widgets = {name for one in options for name in option_widgets(one)}
        self._ignored = {socket: frozenset(option_widgets(one)) for socket, one in unless.items()}

    def __get__(self, instance: Any, _owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    @functools.cached_property
    def _inputs(self) -> Inputs:
        return self._node.INPUT_TYPES()

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        parameters = inspect.signature(self.function).parameters.values()
        defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature([itself, *_parameters(self._inputs, {**defaults, **self._node.DEFAULTS})])

    def __call__(self, node: Any, *values: Any, **named: Any) -> Any:
        if is_old(node.NODE_ID):
            named = _without_unknown(named, self.__signature__.parameters)
        bind = self.__signature__.bind  # called by its name alone: docs/releasing.md, the rules for text
        bound = bind(node, *values, **named)
        bound.apply_defaults()
        given = {name: value.item() if isinstance(value, np.generic) else value for name, value in bound.arguments.items()}
        del given["self"]
        for name, (kind, settings) in {**self._inputs["required"], **self._inputs.get("optional", {})}.items():
            _check_kind(name, given[name], kind, settings)
        unread = frozenset().union(*(names for socket, names in self._ignored.items() if given.get(socket) is not None))
        given = {name: value for name, value in given.items() if name not in unread}
        sockets = {name: value for name, value in given.items() if name not in self._widgets}
        return self.function(node, *(_read(one, given) for one in self._options), **sockets)


def is_old(node_id: str) -> bool:
    """Whether another pack also has a node of this id."""
    return not node_id.startswith("DepthNormal_")


def _without_unknown(named: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Leaves out what a node has no input for, as the old packs' nodes do: their graphs may link more than this pack's nodes have."""
    if unknown := [name for name in named if name not in known]:
        logger.warning("ignored, as this node has no such input: %s", ", ".join(unknown))
    return {name: value for name, value in named.items() if name in known}


def option_widgets(options: type[Options], since: str = "", until: str = "") -> dict[str, Widget]:
    """The widgets of options, in the order of saved graphs: from the option `since`, if any, on to the one before `until`, if any."""
    fields = options_of(options)
    order = [name for name, option in fields.items() if not option.before]
    for name, option in fields.items():
        if option.before:
            order.insert(order.index(option.before), name)
    first, end = order.index(since) if since else 0, order.index(until) if until else len(order)
    names = {**_BY_HAND, **{name: name for name in order}}
    made: dict[str, Widget] = {}
    for name in order[first:end]:
        label = fields[name].label
        widgets = _widgets(name, fields[name], default_of(options, name), names)
        made |= ((each, labelled(label, widget) if label else widget) for each, widget in widgets)
    return made


def _widgets(name: str, option: Option, default: Any, names: Mapping[str, str]) -> Iterator[tuple[str, Widget]]:
    text = option.words(option.on_node, names)
    advanced = option.advanced
    match option:
        case Number():
            yield name, number_widget(default, option.low, option.high, option.step, text, advanced=advanced)
        case Seed():
            limits = {"min": option.low, "max": option.high}
            yield name, ("INT", {"default": default, **limits, "control_after_generate": False, "tooltip": text})
        case Whole():
            yield name, count_widget(default, option.low, option.high, text, step=option.step, advanced=advanced)
        case Choice():
            yield name, choice_widget(option.choices, text, default, advanced=advanced)
        case Switch():
            yield name, switch_widget(default, text, advanced=advanced)
        case Colour():
            yield name, colour_widget(text, default, advanced=advanced)
        case Point():
            yield f"{name}_x", _place(f"{text} From left (0) to right (1); below 0: no point.")
            yield f"{name}_y", _place("The point from top (0) to bottom (1); below 0: no point.")
        case Points():
            example = f", e.g. {option.example}" if option.example else ""
            place = f"As x,y from 0 to 1, with spaces between{example}."
            rest = f" {option.on_node}" if option.on_node else ""
            yield name, text_widget(f"{option.words('', names)} {place}{rest} Empty: none.", advanced=True)
        case Box():
            first, *others = _SIDES.items()
            yield f"{name}_{first[0]}", _place(f"{text} {first[1]}")
            yield from ((f"{name}_{side}", _place(tooltip)) for side, tooltip in others)


def _place(tooltip: str) -> Widget:
    """A coordinate of a point or box, which the pointer sets on the node's image."""
    return number_widget(NO_POINT, NO_POINT, 1.0, 0.001, tooltip, advanced=True)


def _parameters(inputs: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
    """The parameters of all inputs. These defaults precede the widgets', which may depend on the disk."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    yield from (inspect.Parameter(name, kind) for name in inputs["required"])
    for name, (_, settings) in inputs.get("optional", {}).items():
        yield inspect.Parameter(name, kind, default=defaults.get(name, settings.get("default")))
    yield from (inspect.Parameter(name, kind, default=None) for name in inputs.get("hidden", ()))


def _check_kind(name: str, value: Any, kind: Any, settings: Mapping[str, Any]) -> None:
    """Rejects anything but text in a STRING or a switch in a BOOLEAN."""
    if kind == "STRING" and COLOUR not in settings and not isinstance(value, str):
        raise TypeError(f"{name} is of the type {type(value).__name__}; expected text; type it, or link a STRING")
    if kind == "BOOLEAN" and not (isinstance(value, (bool, int, float)) and value in (True, False)):
        raise TypeError(f"{name} is of the type {type(value).__name__}; expected True or False; switch it, or link a BOOLEAN")


def _read(options: type[Options], values: Mapping[str, Any]) -> Any:
    """Reads options from widget values; missing ones have their defaults."""
    fields = options_of(options)
    read = dict(pair for name, option in fields.items() for pair in _value(name, option, values))
    for name, option in fields.items():
        if isinstance(option, Point) and option.unless in read:
            read.pop(name, None)
    return options(**read)


def _value(name: str, option: Option, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    match option:
        case Point():
            x, y = _coordinates(values, f"{name}_x", f"{name}_y")
            if x >= 0 and y >= 0:
                yield name, (x, y)
        case Points():
            yield name, _points(name, values.get(name, ""))
        case Box():
            if box := _box(name, _coordinates(values, *(f"{name}_{side}" for side in _SIDES))):
                yield name, box
        case Whole() if isinstance(value := values.get(name), float) and value.is_integer():
            yield name, int(value)
        case _ if name in values:
            yield name, values[name]


def _coordinates(values: Mapping[str, Any], *names: str) -> tuple[float, ...]:
    coordinates = {name: values.get(name, NO_POINT) for name in names}
    for name, value in coordinates.items():
        check_range(name, value, NO_POINT, 1)
    return tuple(coordinates.values())


def _box(name: str, sides: tuple[float, ...]) -> tuple[float, ...] | None:
    if missing := [f"{name}_{side}" for side, value in zip(_SIDES, sides, strict=True) if value < 0]:
        if len(missing) < len(sides):
            raise ValueError(f"the box lacks {', '.join(missing)} (below 0); give all four sides, 0 to 1, or -1 for all: no box")
        return None
    return sides


def _points(name: str, text: str) -> tuple[tuple[float, float], ...]:
    points = []
    for word in text.split():
        try:
            x, y = map(float, word.split(","))
        except ValueError:
            raise ValueError(f"{name} holds {word!r}; accepted: x,y of each point, from 0 to 1, with spaces between points only") from None
        points.append((x, y))
    return tuple(points)
