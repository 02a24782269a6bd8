"""The fields of options: each has a default, the accepted values, and the texts that nodes, commands and documents show.

The options of a subject are a frozen dataclass whose fields are made by the functions here:

    @dataclass(frozen=True)
    class FogOptions(Options):
        density: float = number(0.1, (0, 100), "How thick the fog is: ...", step=0.01)

To add an option, add a field and use it; widgets, command-line options, checks and help are generated from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from .checks import InvalidArgumentError, check_at_least, check_choice, check_range, check_whole, checked_switch, is_number, plain
from .values import TYPED, check_box, check_point, colour_levels


@dataclass(frozen=True)
class NeedsMetres:
    """An option (with its value if that matters) that needs metric depth, and advice without it; {name} stands for an option's name."""

    option: str
    instead: str

    def named(self, names: Mapping[str, str]) -> NeedsMetres:
        """A copy with option names filled in."""
        return NeedsMetres(self.option.format_map(names), self.instead.format_map(names))


DISTANCES_IN_METRES = NeedsMetres("{unit} metres", "give all distances in percent (0 the near end, 100 the far end) without {unit}")


_KEY = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option's properties besides its default.

    Attributes:
        help: What it does, in sentences. {name} stands for another option of the subject; {by_click}, {by_shift_click}, {by_alt_click} and
            {by_drag} for how it is set on a node; {first_point} for a point that a node ignores; {from_node} for a node that outputs its
            value; {help_page} for the page that says more.
        on_node: Added to its tooltip.
        on_page: Added to the tooltip in its row of help pages.
        on_command: Added to a command's help.
        flag: Its name on the command line; "" = derived from its own, None = it is not added automatically.
        alias: Another name there.
        otherwise: Describes a command's default if it differs.
        metavar: Its value's placeholder in a command's help.
        label: Its English label on a node, if its name, fixed by saved graphs, is unclear; "" = its name.
        advanced: Whether nodes fold it away.
        rare: Whether a command shows it only with --help-all.
        before: The widget that its own precedes, if saved graphs have another order than the fields.
    """

    help: str
    on_node: str = ""
    on_page: str = ""
    on_command: str = ""
    flag: str | None = ""
    alias: str = ""
    otherwise: str = ""
    metavar: str = "X"
    label: str = ""
    advanced: bool = False
    rare: bool = False
    before: str = ""

    def checked(self, name: str, value: Any) -> Any:
        """Returns a valid value, of the field's type; InvalidArgumentError has an invalid one and what is accepted."""
        raise NotImplementedError

    def words(self, more: str, names: Mapping[str, str]) -> str:
        """`help` plus the addition of a node or command, with the names of other options filled in."""
        return " ".join(filter(None, (self.help, more))).format_map(names)


@dataclass(frozen=True, kw_only=True)
class Number(Option):
    """A number.

    Attributes:
        low, high: The accepted range; if `open`, the widget's range.
        open: Whether there is no upper bound: sizes of scenes and lenses have none.
        most: The largest accepted value if it is not the widget's; None = as `open`.
        unit: Its unit on the command line: "percent", "mm" or "px"; "" = none.
    """

    low: float
    high: float
    step: float
    open: bool = False
    most: float | None = None
    unit: str = ""

    def checked(self, name: str, value: Any) -> Any:
        if self.most is not None:
            check_range(name, value, self.low, self.most)
        elif self.open:
            check_at_least(name, value, self.low)
        else:
            check_range(name, value, self.low, self.high)
        return value


@dataclass(frozen=True, kw_only=True)
class Whole(Option):
    """A whole number from `low` to `high`. `unit` is its unit on the command line: "px"; "" = none."""

    low: int
    high: int
    step: int | None = None
    unit: str = ""

    def checked(self, name: str, value: Any) -> Any:
        check_whole(name, value, self.low, self.high)
        return int(value)


@dataclass(frozen=True, kw_only=True)
class Seed(Whole):
    """A seed, for nodes only. It does not change by itself, which would re-run a model on the same image."""


@dataclass(frozen=True, kw_only=True)
class Choice(Option):
    """One of several words; a `metavar` stands for them, and `help` names them. `check_with` validates a value if others are accepted."""

    metavar: str = ""
    choices: tuple[str, ...]
    check_with: Callable[[Any], object] | None = None

    def checked(self, name: str, value: Any) -> Any:
        if self.check_with is None:
            check_choice(name, value, self.choices)
        else:
            self.check_with(value)
        return value


@dataclass(frozen=True, kw_only=True)
class Switch(Option):
    """On or off, by an option; if that switches it off, `off` is its help. With default None there are two: --name and --no-name."""

    off: str = ""

    def checked(self, name: str, value: Any) -> Any:
        return checked_switch(name, value)


@dataclass(frozen=True, kw_only=True)
class Several(Option):
    """Several comma-separated words; repeatable. `shown` are those that an error lists; empty = all."""

    choices: tuple[str, ...]
    shown: tuple[str, ...] = ()

    def checked(self, name: str, value: Any) -> Any:
        for each in _several(name, value):
            check_choice(name, each, self.choices)
        return tuple(value)


@dataclass(frozen=True, kw_only=True)
class Typed(Option):
    """A command-only option. `kind` names its values, of `values.TYPED`, and the type that parses them."""

    kind: str

    def checked(self, name: str, value: Any) -> Any:
        kind = TYPED[self.kind]
        if not kind.accepts(value):
            raise InvalidArgumentError(name, f"is {value!r}; accepted: {kind.words}")
        return kind.made(value)


@dataclass(frozen=True, kw_only=True)
class Colour(Option):
    """A colour as `colour_levels` reads it."""

    def checked(self, name: str, value: Any) -> Any:
        colour_levels(value, name)
        return value


@dataclass(frozen=True, kw_only=True)
class Point(Option):
    """A point of the image, or None. Nodes ignore it if the option `unless` is set: their widgets keep earlier values."""

    unless: str = ""

    def checked(self, name: str, value: Any) -> Any:
        check_point(value)
        return tuple(map(float, value))


@dataclass(frozen=True, kw_only=True)
class Points(Option):
    """Points of the image, with an example text on nodes; `beside`: the first point's option, which takes these too in commands, or ""."""

    beside: str = ""
    example: str = ""

    def checked(self, name: str, value: Any) -> Any:
        for point in _several(name, value):
            check_point(point)
        return tuple(tuple(map(float, point)) for point in value)


@dataclass(frozen=True, kw_only=True)
class Box(Option):
    """A box in the image, or None."""

    def checked(self, name: str, value: Any) -> Any:
        check_box(value)
        return tuple(map(float, value))


def _several(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidArgumentError(name, f"is {value!r}; accepted: a list or tuple")
    return value


class Options:
    """The options of one subject; subclasses are frozen dataclasses of the fields below.

    Raises InvalidArgumentError if a field does not accept its value, ValueError if values contradict each other.
    """

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            value, default = plain(getattr(self, name)), default_of(type(self), name)
            # A default may be an out-of-range sentinel.
            is_default = (type(value) is type(default) or (is_number(value) and is_number(default))) and value == default
            object.__setattr__(self, name, default if is_default else option.checked(name, value))
        self.check()

    def check(self) -> None:
        """Rejects contradictory values."""

    def check_typed(self) -> None:
        """Rejects values that saved graphs may hold but that are mistakes when typed."""

    def needs_metres(self) -> NeedsMetres | None:
        """The option that needs metric depth; None = none does."""
        return None

    @property
    def node_hint(self) -> str:
        """A hint on the node for these options, after the result; "" = none."""
        return ""

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        """Names of options without effect beside the others, and why, in words after the name. {name} is an option's."""
        yield from ()


Made = TypeVar("Made", bound=Options)


def unchecked(options: type[Made], values: Mapping[str, Any]) -> Made:
    """Options without validation, so that an option without effect is reported before its invalid value."""
    made = object.__new__(options)
    for name in options_of(options):
        object.__setattr__(made, name, values.get(name, default_of(options, name)))
    return made


@cache
def options_of(options: type[Options]) -> Mapping[str, Option]:
    """The properties of each option, by name, in order."""
    return {each.name: each.metadata[_KEY] for each in fields(options)}  # pyright: ignore[reportArgumentType] - a dataclass


def default_of(options: type[Options], name: str) -> Any:
    """The default of an option."""
    return options.__dataclass_fields__[name].default  # pyright: ignore[reportAttributeAccessIssue] - a dataclass


def number(default: float | None, limits: tuple[float, float], help_text: str, *, step: float = 0.1, **more: Any) -> Any:
    """A field for a number within limits, the ends of the widget; `more` are attributes of `Number`."""
    low, high = map(float, limits)
    return _field(default, Number(help=help_text, low=low, high=high, step=float(step), **more))


def whole(default: int | None, limits: tuple[int, int], help_text: str, **more: Any) -> Any:
    """A field for a whole number within limits; `more` are attributes of `Whole`."""
    return _field(default, Whole(help=help_text, low=limits[0], high=limits[1], **more))


def seed(help_text: str, **more: Any) -> Any:
    """A field for a seed; `more` are attributes of `Seed`."""
    return _field(0, Seed(help=help_text, low=0, high=2**64 - 1, flag=None, **more))


def choice(choices: tuple[str, ...], help_text: str, default: str | None = "", **more: Any) -> Any:
    """A field for one of several words, by default the first; None = none. `more` are attributes of `Choice`."""
    return _field(choices[0] if default == "" else default, Choice(help=help_text, choices=choices, **more))


def several(choices: tuple[str, ...], help_text: str, **more: Any) -> Any:
    """A field for several words, by default none; `more` are attributes of `Several`."""
    return _field((), Several(help=help_text, choices=choices, **more))


def typed(default: Any, kind: str, help_text: str, **more: Any) -> Any:
    """A field for a command-only option; `more` are attributes of `Typed`."""
    return _field(default, Typed(help=help_text, kind=kind, **more))


def switch(default: bool | None, help_text: str, **more: Any) -> Any:
    """A field for a switch; `more` are attributes of `Switch`."""
    return _field(default, Switch(help=help_text, **more))


def colour_text(default: str, help_text: str, **more: Any) -> Any:
    """A field for a colour; `more` are attributes of `Colour`."""
    return _field(default, Colour(help=help_text, **{"metavar": "COLOUR", **more}))


def image_point(help_text: str, **more: Any) -> Any:
    """A field for a point of the image, by default none; `more` are attributes of `Point`."""
    return _field(None, Point(help=help_text, **{"metavar": "X,Y", **more}))


def image_points(help_text: str, **more: Any) -> Any:
    """A field for points of the image, by default none; `more` are attributes of `Points`."""
    return _field((), Points(help=help_text, **{"metavar": "X,Y", **more}))


def image_box(help_text: str, **more: Any) -> Any:
    """A field for a box in the image, by default none; `more` are attributes of `Box`."""
    return _field(None, Box(help=help_text, **{"metavar": "LEFT,TOP,RIGHT,BOTTOM", **more}))


def _field(default: Any, option: Option) -> Any:
    return field(default=default, metadata={_KEY: option})
