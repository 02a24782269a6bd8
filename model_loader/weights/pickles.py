"""Reads the tensors described by a pickle without running it.

A pickle is a program. torch's own reader runs it, also with `weights_only`: it hashes what the program builds and calls what it names. A
hostile file makes it crash or never end, and before torch 2.6 run any program (CVE-2025-32434). Here the steps of the pickle are only
followed.
Nothing is imported or called, only short strings and integers are hashed, and nothing recurses, so that time and memory grow with the
length of the file alone.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from typing import Any

from ...annotators.specs.base import printable
from .pickled_values import (
    CALLS,
    MAX_NAME,
    ORDERED_DICTIONARY,
    TENSOR_OF_CLASS,
    DamagedPickleError,
    Name,
    Other,
    OtherTensor,
    PickleError,
    Storage,
    StoredTensor,
    UnsafePickleError,
    is_known,
    storage_of,
)

MAX_STEPS = 1_000_000
"""Of one pickle. A tensor takes about 30 of them."""
_MAX_ARGUMENTS = 16
_LEAST_COLLIDING = 2**60
"""From about here on Python gives different integers the same hash, with which a dictionary of n of them takes n^2 steps."""
_RENAMED = {"__builtin__": "builtins", "torch.tensor": "torch._tensor"}
"""Modules that had other names in Python 2 and in torch before 1.9."""


def read_pickle(stream: BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Follows a pickle up to its end.

    Args:
        stream: Stands where it begins; afterwards, at the byte behind it.

    Returns:
        What was saved: dictionaries, lists, tuples, strings and numbers as they are; tensors as `StoredTensor` or `OtherTensor`; all else
        as `Other`. And all storages that are named, by their keys.

    Raises:
        UnsafePickleError: It would call something that torch.save does not write for tensors.
        PickleError: It is damaged, or uses what state dicts do not: keys that are neither strings nor integers, unknown steps, more
            than MAX_STEPS of them.
    """
    try:
        follower = _Follower()
        return follower.follow(stream), follower.storages
    except PickleError:
        raise
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise DamagedPickleError(f"it makes no sense as a pickle ({type(error).__name__}: {printable(str(error), 200)})") from error


class _Follower:
    """The machine that a pickle is a program for: a stack with marks, and a memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.steps = 0

    def follow(self, stream: BytesIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self.spend(1)
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif (step := _STEPS.get(opcode.name)) is not None:
                step(self, argument)
            else:
                raise PickleError(f"it uses the step {opcode.name}, which no state dict needs")
        return self.stack[-1]

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise PickleError(f"it has more than {MAX_STEPS} steps, many times as many as the largest models need")

    def skip(self, _: Any) -> None:
        """Ignores a step."""

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def tuple_since_mark(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def list_since_mark(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(items)

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise IndexError("a tuple of more than there is")
        self.stack[-count:] = [items]

    def put(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def append(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def appends(self, _: Any) -> None:
        self.extend(self.since_mark())

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target += items
        elif not isinstance(target, Other):
            raise TypeError("items of what holds none")

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([(key, value)])

    def set_items(self, _: Any) -> None:
        items = self.since_mark()
        self.update(list(zip(items[::2], items[1::2], strict=True)))

    def update(self, pairs: list[tuple[Any, Any]]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            _check_keys(pairs)
            target.update(pairs)
        elif not isinstance(target, Other):
            raise TypeError("entries of what holds none")

    def name(self, words: str) -> None:
        self.refer(*words.split(" ", 1))

    def name_on_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.refer(module, name)

    def refer(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no string")
        full = f"{_RENAMED.get(module, module)}.{name}"
        if not is_known(full):
            raise UnsafePickleError(full)
        self.stack.append(Name(full))

    def call(self, _: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if isinstance(called, Name) and called.name == TENSOR_OF_CLASS:  # class and attributes are left out
            called, _, arguments, _ = arguments
        if not isinstance(called, Name) or not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise TypeError("a call of what is no function")
        if called.name not in CALLS:
            raise UnsafePickleError(called.name)
        if called.name == ORDERED_DICTIONARY and arguments:
            self.spend(len(arguments[0]))  # the same list can be used again and again
            _check_keys(arguments[0])
        self.stack.append(CALLS[called.name](*arguments))

    def build(self, _: Any) -> None:
        """Attributes of an object: of a state dict its versions, of a tensor what somebody noted on it."""
        self.stack.pop()

    def storage(self, _: Any) -> None:
        part = storage_of(self.stack.pop())
        storage = replace(part, start=0)
        if self.storages.setdefault(part.key, storage) != storage:
            raise DamagedPickleError("it says of one storage that it is two")
        self.stack.append(part)


def _check_keys(pairs: Iterable[Any]) -> None:
    for key, _ in pairs:
        if type(key) not in (str, int):
            kind = {StoredTensor: "tensor", OtherTensor: "tensor", Name: "class"}.get(type(key), type(key).__name__)
            raise PickleError(f"it has a {kind} as a dictionary's key; accepted are strings and integers")
        if isinstance(key, str) and len(key) > MAX_NAME:  # as often as it is looked up, it is compared
            raise PickleError(f"it has a dictionary's key of {len(key)} characters; accepted are {MAX_NAME}")
        if isinstance(key, int) and abs(key) >= _LEAST_COLLIDING:
            raise PickleError(
                f"it has a dictionary's key of {key.bit_length()} bits; accepted are integers of {_LEAST_COLLIDING.bit_length() - 1}"
            )


_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": Other,
}
_STEPS: dict[str, Callable[[_Follower, Any], None]] = {
    "PROTO": _Follower.skip,
    "FRAME": _Follower.skip,
    "STOP": _Follower.skip,
    "MARK": _Follower.mark,
    "TUPLE": _Follower.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Follower.list_since_mark,
    "BINPUT": _Follower.put,
    "LONG_BINPUT": _Follower.put,
    "MEMOIZE": _Follower.put,
    "BINGET": _Follower.get,
    "LONG_BINGET": _Follower.get,
    "APPEND": _Follower.append,
    "APPENDS": _Follower.appends,
    "ADDITEMS": _Follower.appends,
    "SETITEM": _Follower.set_item,
    "SETITEMS": _Follower.set_items,
    "GLOBAL": _Follower.name,
    "STACK_GLOBAL": _Follower.name_on_stack,
    "REDUCE": _Follower.call,
    "NEWOBJ": _Follower.call,
    "BUILD": _Follower.build,
    "BINPERSID": _Follower.storage,
}
