"""The command lines of these modules, and the split of their work between processes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Part(NamedTuple):
    """One process's share of a list: every `count`-th item from `index` on."""

    index: int
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """This share of the items."""
        return items[self.index :: self.count]


def data_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of --data, described by a module's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    return parser


def part(text: str) -> Part:
    """Parses `--part`, such as "0/2"; a type for argparse."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; expected i/n with i from 0 to n - 1, such as 0/2 and 1/2 for two processes")
    return Part(int(index), int(count))
