"""Numbers beyond all bounds are refused by the types of options, so that no option takes them."""

import argparse

import pytest

from depth_normal.app.console import option_types

BEYOND = ("inf", "-inf", "nan", "1e999")


@pytest.mark.parametrize("name", ["real", "percent", "degrees", "near_far_ratio", "pixels", "millimetres", "point", "box"])
@pytest.mark.parametrize("text", BEYOND)
def test_numbers_are_finite(name, text):
    several = ",".join([text, *{"point": "0", "box": "0,0,0"}.get(name, "").split()])
    with pytest.raises(argparse.ArgumentTypeError, match="is not"):
        getattr(option_types, name)(several)


@pytest.mark.parametrize("name", ["positive", "whole"])
@pytest.mark.parametrize("text", [*BEYOND, "1e20", "9" * 20, "9" * 5000, "-1"])
def test_whole_numbers_are_bounded(name, text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a whole number from [01] to 100000000"):
        getattr(option_types, name)(text)


@pytest.mark.parametrize("text", ["1", "0.5", "10001", "1e300"])
def test_a_ratio_of_depths_is_that_of_a_scene(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number above 1, up to 10000"):
        option_types.near_far_ratio(text)


@pytest.mark.parametrize("text", ["1e-9", "0", "179.99", "180"])
def test_angles_of_view_are_those_of_cameras(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not an angle from 0\.1 to 179\.9 degrees"):
        option_types.degrees(text)
