import math

import pytest
import torch

from depth_normal.geometry.images.render import heat_colours, heat_map, heat_map_end


def rgb(code):
    return torch.tensor(list(bytes.fromhex(code))) / 255


@pytest.mark.parametrize(("signed", "values"), [(False, [0.0, 5, 10, 99]), (True, [-10.0, 0, 10, 99])])
def test_the_colours_reach_from_the_first_to_the_last(signed, values):
    colours = heat_colours(signed)
    found = heat_map(torch.tensor(values).view(1, 1, 1, 4), 10, signed)[0, :, 0].T
    expected = [rgb(code) for code in (colours[0], colours[len(colours) // 2], colours[-1], colours[-1])]
    torch.testing.assert_close(found, torch.stack(expected))


def test_what_is_not_known_is_grey():
    assert heat_map(torch.tensor([[[[math.nan]]]]), 1)[0, :, 0, 0].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("values", "end"), [([0.0] * 20, 1), ([-4.0] * 19 + [90], 5), ([9.0] * 10 + [11] * 10, 15), ([math.nan], 1), ([1000.0], 180)]
)
def test_the_end_is_round_and_above_nearly_all(values, end):
    assert heat_map_end(torch.tensor(values)) == end
