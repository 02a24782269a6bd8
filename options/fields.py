"""The fields of options: each has its default, what is accepted, and the words that nodes, commands and documents show.

The options of a subject are a frozen dataclass, whose fields are made by the functions here:

    @dataclass(frozen=True)
    class FogOptions(Options):
        density: float = number(0.1, 0, 100, "How thick the fog is: ...", step=0.01)

Whoever adds an option adds a field, and uses it; widgets, options of commands, checks and help are made from the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from .checks import check_at_least, check_choice, check_range, check_whole
from .colours import colour_levels
from .needs import NeedsMetres
from .places import check_box, check_point

_KEY = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of an option besides its default.

    Attributes:
        help: What it does, in sentences. {name} stands for another option of the subject, and {by_click}, {by_shift_click}, {by_alt_click}
            and {by_drag} for how it is set on a node, {first_point} for a point that a node does not look at, {from_node} for a
            node that gives its value, {help_page} for the page that says more.
        on_node: What its tooltip adds.
        on_page: What its row in help pages adds to the tooltip.
        on_command: What the help of a command adds.
        flag: Its name on the command line; "" = made from its own, None = the command asks for it in another way.
        alias: Another name there.
        otherwise: What a command takes where nothing is typed, in words, if that is not the default.
        metavar: What stands for its value in the help of a command.
        label: Its English label on a node, where its name, which saved graphs hold, explains nothing; "" = its name.
        advanced: Whether nodes fold it away.
        rare: Whether a command shows it with --help-all alone.
        before: The widget that its own stands before, where saved graphs hold another order than the fields have.
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

    def check(self, name: str, value: Any) -> None:
        """Refuses what it does not accept.

        Raises:
            InvalidArgumentError: Says what was found and what is accepted.
        """

    def words(self, more: str, names: Mapping[str, str]) -> str:
        """`help` and what a node or a command adds to it, with the names that other options have there."""
        return " ".join(filter(None, (self.help, more))).format_map(names)


@dataclass(frozen=True, kw_only=True)
class Number(Option):
    """A number.

    Attributes:
        low, high: The least and the largest; of one that is `open`, where its widget ends.
        step: Of the widget.
        open: Whether every number from `low` on is accepted: sizes of scenes and lenses have no largest one.
        most: The largest that is accepted, where that is not where the widget ends; None = as `open` says.
        unit: The unit in which it is typed on the command line: "percent", "mm" or "px"; "" = none.
    """

    low: float
    high: float
    step: float
    open: bool = False
    most: float | None = None
    unit: str = ""

    def check(self, name: str, value: Any) -> None:
        if self.most is not None:
            check_range(name, value, self.low, self.most)
        elif self.open:
            check_at_least(name, value, self.low)
        else:
            check_range(name, value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Whole(Option):
    """A whole number from `low` to `high`. `unit` is one that is typed on the command line: "px"; "" = none."""

    low: int
    high: int
    step: int | None = None
    unit: str = ""

    def check(self, name: str, value: Any) -> None:
        check_whole(name, value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Seed(Whole):
    """A seed. Nodes alone have some; it does not change by itself, which would run a model again for the same image."""


@dataclass(frozen=True, kw_only=True)
class Choice(Option):
    """One of several words. With a `metavar`, the help of a command shows that, and `help` names the words.

    Attributes:
        choices: The words.
        check_with: Refuses what is not accepted, where that is more than the words; None = the words alone are.
    """

    metavar: str = ""
    choices: tuple[str, ...]
    check_with: Callable[[Any], object] | None = None

    def check(self, name: str, value: Any) -> None:
        if self.check_with is None:
            check_choice(name, value, self.choices)
        else:
            self.check_with(value)


@dataclass(frozen=True, kw_only=True)
class Switch(Option):
    """On or off. An option of the command line changes it; where that switches it off, `off` says what happens then.

    By default None, it has two: --name and --no-name.
    """

    off: str = ""


@dataclass(frozen=True, kw_only=True)
class Several(Option):
    """Several of a number of words, with commas between; it may be named again. `shown` are those that an error names; none = all."""

    choices: tuple[str, ...]
    shown: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        for each in value:
            check_choice(name, each, self.choices)


@dataclass(frozen=True, kw_only=True)
class Typed(Option):
    """What commands alone ask for. `kind` names the type that reads and checks the word, of `app.console.option_types.KINDS`."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class Colour(Option):
    """A colour as `colour_levels` reads it."""

    def check(self, name: str, value: Any) -> None:
        colour_levels(value, name)


@dataclass(frozen=True, kw_only=True)
class Point(Option):
    """A point of the image, or None. Beside the option `unless` nodes do not look at it: their widgets keep what was chosen before."""

    unless: str = ""

    def check(self, name: str, value: Any) -> None:
        if value is not None:
            check_point(value)


@dataclass(frozen=True, kw_only=True)
class Points(Option):
    """Points of the image.

    Attributes:
        beside: The option of a first point, which takes these too on the command line; "" = they have one of their own.
        example: How a node's text names some.
    """

    beside: str = ""
    example: str = ""

    def check(self, name: str, value: Any) -> None:
        for point in value:
            check_point(point)


@dataclass(frozen=True, kw_only=True)
class Box(Option):
    """A box in the image, or None."""

    def check(self, name: str, value: Any) -> None:
        if value is not None:
            check_box(value)


class Options:
    """What a user can set of one subject; subclasses are frozen dataclasses of the fields below.

    Raises:
        InvalidArgumentError: A value that its field does not accept.
        ValueError: Values that contradict each other.
    """

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            value, default = getattr(self, name), default_of(type(self), name)
            if value != default or type(value) is not type(default):  # a default may stand for what is not set
                option.check(name, value)
        self.check()

    def check(self) -> None:
        """Refuses values that contradict each other."""

    def check_typed(self) -> None:
        """Refuses what saved graphs may hold, and a person who types it has mistaken."""

    def needs_metres(self) -> NeedsMetres | None:
        """The option that needs depth in metres; None = no one."""
        return None

    @property
    def node_hint(self) -> str:
        """What a node says besides what it made, where these are set; "" = nothing."""
        return ""

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        """Names of options that change nothing beside the others, and why, in words that follow the name. {name} is an option's."""
        yield from ()


Made = TypeVar("Made", bound=Options)


def unchecked(options: type[Made], values: Mapping[str, Any]) -> Made:
    """Options whose values were not checked: one that is in vain, or mistyped, may be what is wrong with them."""
    made = object.__new__(options)
    for name in options_of(options):
        object.__setattr__(made, name, values.get(name, default_of(options, name)))
    return made


@cache
def options_of(options: type[Options]) -> Mapping[str, Option]:
    """What is known of each option, by its name, in order."""
    return {each.name: each.metadata[_KEY] for each in fields(options)}  # pyright: ignore[reportArgumentType] - a dataclass


def default_of(options: type[Options], name: str) -> Any:
    """The default of an option."""
    return _defaults_of(options)[name]


@cache
def _defaults_of(options: type[Options]) -> Mapping[str, Any]:
    return {each.name: each.default for each in fields(options)}  # pyright: ignore[reportArgumentType] - a dataclass


def highest_of(options: type[Options], name: str) -> float:
    """The largest value that the widget of a number has."""
    option = options_of(options)[name]
    assert isinstance(option, (Number, Whole))
    return option.high


def number(default: float, low: float, high: float, help_text: str, *, step: float = 0.1, **more: Any) -> Any:
    """A field for a number from `low` to `high`; `more` are attributes of `Number`."""
    return _field(default, Number(help=help_text, low=float(low), high=float(high), step=float(step), **more))


def whole(default: int | None, low: int, high: int, help_text: str, **more: Any) -> Any:
    """A field for a whole number from `low` to `high`; `more` are attributes of `Whole`."""
    return _field(default, Whole(help=help_text, low=low, high=high, **more))


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
    """A field for what a command alone asks for; `more` are attributes of `Typed`."""
    return _field(default, Typed(help=help_text, kind=kind, **more))


def switch(default: bool | None, help_text: str, **more: Any) -> Any:
    """A field for something that is on or off; `more` are attributes of `Switch`."""
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
