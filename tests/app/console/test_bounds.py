"""What the types of options take: numbers within bounds, lengths and sizes with their units."""

import argparse
from fractions import Fraction

import pytest

from depth_normal.app.console import option_types

BEYOND = ("inf", "-inf", "nan", "1e999")
LENGTHS = {"6": 6, "6mm": 6, "0.8 cm": 8, "1e1mm": 10, "0.1m": 100, "2IN": 50.8, "-1mm": -1, ".5": 0.5}
SIZES = {"256MB": 256 * 10**6, "1.5 gb": 1500 * 10**6, "64MiB": 2**26, "1kB": 1000, "2TiB": 2**41}
REFUSED = [
    *((name, BEYOND, "is not") for name in ("real", "percent", "degrees", "near_far_ratio", "pixels", "millimetres")),
    ("point", [f"{text},0" for text in BEYOND], "is not"),
    ("box", [f"{text},0,0,0" for text in BEYOND], "is not"),
    ("positive", [*BEYOND, "1e20", "9" * 20, "9" * 5000, "-1", "0"], "is not a whole number from 1 to 100000000"),
    ("whole", [*BEYOND, "1e20", "9" * 20, "9" * 5000, "-1"], "is not a whole number from 0 to 100000000"),
    ("near_far_ratio", ["1", "0.5", "10001", "1e300"], "is not a number above 1, up to 10000"),
    ("degrees", ["1e-9", "0", "179.99", "180"], "is not an angle from 0.1 to 179.9 degrees"),
    ("millimetres", ["", "mm", "6 6", "six", "6mm2", "nan", "6 km", "1,5mm"], "is not a length"),
    ("pixels", ["", "6mm", "px", "nan"], "is not a number of pixels"),
    ("byte_size", ["16", "MB", "0MB", "+1MB", "1e9MB", "1 XB", "", "9" * 400 + "TB"], "is not a size: a number above 0 with its unit"),
    ("device", ["tpu", "cuda:one", "cpu:0"], "is not one of auto, cpu, cuda"),
    ("frame_side", ["7", "33", "1e3", "20000"], "is not an even number of pixels from 16 to 16384"),
    ("rate", [*BEYOND, "0", "abc", "1/0", "1001", "1e-99999999", "1e99999999"], "is not a number of frames a second"),
    ("seconds", [*BEYOND, "-1", "abc", "1/0"], "is not a number of seconds"),
    ("tiles", ["0", "1", "65", "many", "-2", "2.5"], "is not auto or a whole number from 2 to 64"),
]


@pytest.mark.parametrize(("name", "texts", "said"), REFUSED)
def test_what_is_beyond_a_types_bounds_is_refused(name, texts, said):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            (option_types.KINDS.get(name) or getattr(option_types, name))(text)
        assert said in str(refused.value), text


def test_lengths_and_sizes_have_units():
    assert {text: option_types.millimetres(text) for text in LENGTHS} == pytest.approx(LENGTHS)
    assert {text: option_types.byte_size(text) for text in SIZES} == SIZES
    assert option_types.KINDS["seconds"]("0.1") == Fraction(1, 10) and option_types.KINDS["rate"]("24000/1001") == Fraction(24000, 1001)
    assert option_types.pixels("6px") == option_types.pixels("6 px") == option_types.pixels("6") == 6
