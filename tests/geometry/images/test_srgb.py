import numpy as np
import pytest

from depth_normal.geometry.images.srgb import LUMINANCE, matrix_to_709, numbered_primaries, rgb_to_xyz


@pytest.mark.parametrize(
    ("number", "weights"), [(1, LUMINANCE), (9, (0.2627, 0.6780, 0.0593)), (11, (0.2095, 0.7216, 0.0689)), (12, (0.2290, 0.6917, 0.0793))]
)
def test_primaries_have_the_luminance_of_their_standards(number, weights):
    """ITU-R BT.709 and BT.2020, SMPTE RP 431-2 and EG 432-1."""
    assert np.allclose(rgb_to_xyz(numbered_primaries(number, hdr=False))[0][1], weights, atol=1e-4)


def test_bt_2020_becomes_bt_709_by_itu_r_bt_2087():
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert np.allclose(matrix_to_709(numbered_primaries(9, hdr=False)), expected, atol=1e-4)
