"""Command-line options made of `Options` classes, and parsed back into them. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from ...options.fields import (
    Box,
    Choice,
    Colour,
    Number,
    Option,
    Options,
    Point,
    Points,
    Several,
    Switch,
    Typed,
    Whole,
    default_of,
    options_of,
    unchecked,
)
from ..console.option_types import KINDS, box, millimetres, percent, pixels, point, real, several_of, whole_pixels, whole_type

Chosen = TypeVar("Chosen", bound=Options)

_BY_HAND = dict.fromkeys(("by_click", "by_shift_click", "by_alt_click", "by_drag", "first_point", "from_node", "help_page"), "")
_NUMBERS = {"": real, "percent": percent, "mm": millimetres, "px": pixels}


def add_options(
    group: argparse._ActionsContainer,
    options: type[Options],
    action: Any = None,
    skip: Iterable[str] = (),
    only: Iterable[str] = (),
    of: str = "",
) -> None:
    """Adds the options of a class to a parser's group; `chosen_options` reads them.

    Args:
        action: A custom argparse action, for options that modify what was named before them.
        skip, only: Names of options to leave out, or of the only ones to add; empty = all.
        of: A prefix for their help: "of parallax: ".
    """
    names, fields = option_names(options), options_of(options)
    with_more = {_beside(option) for option in fields.values()}
    for name, option in fields.items():
        if option.flag is None or _beside(option) or name in skip or (only and name not in only):
            continue
        settings: dict[str, Any] = {"action": action, "default": argparse.SUPPRESS} if action else {}
        if isinstance(option, Points) or name in with_more:
            settings = {"action": "append", "default": None}
        _add(group, name, option, default_of(options, name), names, settings, of)


def common_options(options: type[Options]) -> frozenset[str]:
    """The flags of options that `--help` shows."""
    names = option_names(options)
    return frozenset(names[name] for name, option in options_of(options).items() if option.flag is not None and not option.rare)


@cache
def option_names(options: type[Options]) -> Mapping[str, str]:
    """Command-line names of the options, by attribute name, for texts."""
    fields = options_of(options)
    flags = {name: option.flag or f"--{name.replace('_', '-')}" for name, option in fields.items()}
    return {**_BY_HAND, **flags, **{name: flags[first] for name, option in fields.items() if (first := _beside(option))}}


def chosen_options(arguments: argparse.Namespace, options: type[Chosen]) -> Chosen:
    """The typed options. Raises ValueError for an invalid value, or an option without effect beside the others."""
    fields = options_of(options)
    asked = (name for name, option in fields.items() if option.flag is not None and not _beside(option))
    stated = {name: getattr(arguments, name) for name in asked if hasattr(arguments, name)}
    values = {name: value for name, value in stated.items() if value is not None or not fields[name].otherwise}
    for name, option in fields.items():
        if first := _beside(option):
            values[first], *values[name] = values[first] or [None]
        if isinstance(option, (Points, Several)) and name in values:
            values[name] = tuple(values[name] or ())
        if isinstance(option, Choice) and values.get(name) is not None:
            values[name] = next((each for each in option.choices if _as_typed(each) == _as_typed(str(values[name]))), values[name])
    typed = unchecked(options, values)
    refuse_unused(arguments, options, typed.unused())
    typed.check_typed()
    return options(**values)


def refuse_unused(arguments: argparse.Namespace, options: type[Options], unused: Iterable[tuple[Iterable[str], str]]) -> None:
    """Rejects options without effect, with `unused` as `Options.unused`; raises as `refuse_options`."""
    names = option_names(options)
    for ignored, why in unused:
        refuse_options(arguments, [names[name] for name in ignored], why.format_map(names))


def refuse_options(arguments: argparse.Namespace, options: Iterable[str], why: str) -> None:
    """Raises ValueError with `why` after its name for an option without effect that is set; ignores options that the command lacks."""
    of_parser = arguments.parser.options
    for option in options:
        if option in of_parser and arguments.parser.is_changed(arguments, option):
            raise ValueError(f"{option} {why}")


def _beside(option: Option) -> str:
    """The option that takes this one's values too; "" if there is none."""
    return option.beside if isinstance(option, Points) else ""


def _add(
    group: argparse._ActionsContainer, name: str, option: Option, default: Any, names: Mapping[str, str], settings: dict[str, Any], of: str
) -> None:
    flag = names[name]
    if isinstance(option, Switch):
        text = as_help(option.off if default else option.words(option.on_command, names))
        changes = argparse.BooleanOptionalAction if default is None else "store_false" if default else "store_true"
        group.add_argument(flag, dest=name, action=changes, help=f"{of}{text}")
        return
    default = _as_typed(default) if isinstance(option, Choice) and default else default
    usual = option.otherwise or (f"{default:g}" if isinstance(option, Number) else "" if default in (None, ()) else str(default))
    notes = [_range_of(option), f"default: {usual}" if usual else ""]
    shown = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    text = as_help(_text(option, names))
    unset = None if option.otherwise or isinstance(option, Several) else default
    settings = {"dest": name, "default": unset, "help": f"{'' if text.startswith('of ') else of}{text}{shown}", **settings}
    if isinstance(option, Choice):
        settings |= {"type": _as_typed, "choices": [*map(_as_typed, option.choices)], "metavar": option.metavar or None}
    else:
        settings |= {"type": _type_of(option, default), "metavar": option.metavar}
    if isinstance(option, Several):
        settings["action"] = "extend"
    both = (flag.replace("colour", "color"), flag) if isinstance(option, Colour) else (flag, option.alias)
    group.add_argument(*filter(None, dict.fromkeys(both)), **settings)


def _range_of(option: Option) -> str:
    """The accepted range, for help; "" if unbounded or stated by the choices."""
    if isinstance(option, Whole):
        return f"{option.low} to {option.high}"
    if isinstance(option, Number) and not option.open:
        return f"{option.low:g} to {option.high:g}"
    return ""


def _as_typed(choice: str) -> str:
    """A choice as typed; accepts American spelling."""
    return choice.replace("_", "-").replace("color", "colour").replace("gray", "grey")


def _text(option: Option, names: Mapping[str, str]) -> str:
    where = {
        Colour: "Or warm, cool, candle or moon, #fff, white, 255,255,255.",
        Point: "0 to 1 from left to right and from top to bottom.",
        Box: "Each side 0 to 1 from left to right and from top to bottom.",
    }
    more = " ".join(filter(None, (option.on_command, where.get(type(option), ""))))
    text = option.words(more, names)
    for choice in option.choices if isinstance(option, Choice) else ():
        text = text.replace(choice, _as_typed(choice))
    return text


def as_help(text: str) -> str:
    """A text as argparse help: no capital, no full stop, % escaped."""
    first = text[:1].lower() if text[1:2].islower() or text[1:2] == " " else text[:1]
    return f"{first}{text[1:].removesuffix('.')}".replace("%", "%%")


def _type_of(option: Option, default: Any) -> Callable[[str], Any]:
    match option:
        case Typed():
            return KINDS[option.kind]
        case Several():
            return several_of(option.choices, option.shown)
        case Number():
            return _NUMBERS[option.unit]
        case Whole() if option.unit == "px":
            return whole_pixels
        case Whole():
            limits = (option.low, option.high) if default is None else (0,)
            return whole_type(f"a whole number from {option.low} to {option.high}", *limits)
        case Point() | Points():
            return point
        case Box():
            return box
        case _:
            return str
