import base64
import zlib

import numpy as np
import pytest

from depth_normal.geometry.files import FileFormatError, exr, read_image
from depth_normal.geometry.files.exr_chroma import chroma_to_rgb
from depth_normal.geometry.images.srgb import BT_709

# Red in the upper right and in one column, written and read by RgbaOutputFile and RgbaInputFile of OpenEXR 3.1, which gave COLOURS.
FILE = zlib.decompress(
    base64.b85decode(
        "c-n=Iu}{K46viK@(eXw`M-m4C+uo}VA}nqa7I34sM|w%UHoXht*3pqafsw@o6ETKh!sy88=;+AE=s`(99lYereed_a_wG8!#Y`3eT;CCb1yY-UO9i%Om21f8"
        "YpLv7^}i@3u%;{ThPP47q~xLa;g`)F&rwc;3opEbo3LBrKwxwBwf3|;E~CJ?|2G$K!LDMD#anLmg@|`qa3Le+s=A|i2<;$r6zs01lXL0DjEQu8l?kQCI;A!o"
        "Y(23ZX>d>Zzg9psvkCW7bV{CD<76_olk%+cTJ%e~6GG9*(HuRbU^I=PL1@cN>pAw1K3{s{*#r>E(@Ne<%ny^$2P^H@tbw(#2pv$s0yc44=s(X!<gxWe?BQ87"
        "is(BfNT`oJoZ=T=Vi)_mUSQs?*@^uP{yB8k"
    )
)
COLOURS = np.array(
    [
        [[0.014, 0.2, 0.4531], [0.1371, 0.1908, 0.4785], [0.3862, 0.156, 0.3879], [1.1416, 0.2227, 0.5449], [0.8569, 0.0915, 0.2219]],
        [[0.0164, 0.2925, 0.5156], [0.1665, 0.2771, 0.5259], [0.47, 0.2271, 0.4246], [1.0811, 0.2494, 0.4595], [1.0947, 0.1207, 0.2344]],
        [[0.0148, 0.3977, 0.4797], [0.1852, 0.3777, 0.4734], [0.5479, 0.3088, 0.387], [1.0117, 0.281, 0.3503], [1.2246, 0.1832, 0.2328]],
        [[0.0149, 0.5005, 0.4604], [0.2137, 0.4746, 0.4319], [0.6689, 0.375, 0.3474], [0.978, 0.2983, 0.2788], [1.1719, 0.2932, 0.2722]],
        [[0.0167, 0.5933, 0.5142], [0.2559, 0.5571, 0.4648], [0.8291, 0.427, 0.3611], [0.9771, 0.3008, 0.2568], [1.0801, 0.4136, 0.3506]],
        [[0.018, 0.6826, 0.5972], [0.2979, 0.6382, 0.5376], [0.9619, 0.481, 0.4089], [0.9805, 0.2998, 0.2566], [1.1455, 0.4866, 0.4106]],
    ]
)
"""The columns of 0 to 4, rounded to half floats."""


def test_colours_are_those_of_the_librarys_rgba_interface(tmp_path):
    pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")
    (tmp_path / "chroma.exr").write_bytes(FILE)
    light, alpha = exr.read_colours(tmp_path / "chroma.exr")
    np.testing.assert_allclose(light[:, :5], COLOURS, rtol=2e-3, atol=1e-3)
    assert alpha is None and exr.holds_colours_alone(tmp_path / "chroma.exr")
    assert read_image(tmp_path / "chroma.exr").shape == (6, 8, 3)


def test_other_channels_of_lower_resolution_are_refused(tmp_path):
    pytest.importorskip("OpenEXR", reason="EXR files need the package OpenEXR (extra 'exr')")
    (tmp_path / "odd.exr").write_bytes(FILE.replace(b"BY\0", b"BX\0"))
    with pytest.raises(FileFormatError, match=r"odd.exr: channels of lower resolution, which are read of chroma alone \(RY, BY\)"):
        read_image(tmp_path / "odd.exr")


def test_even_colours_stay_even():
    """Of weights that add up to 1, with primaries of any kind."""
    y, (red, blue) = np.full((8, 10), 0.5, np.float16), np.full((2, 4, 5), [[[0.25]], [[-0.5]]], np.float16)
    r, g, b = chroma_to_rgb(y, red, blue, BT_709)
    np.testing.assert_allclose(r, 0.625, rtol=1e-4)
    np.testing.assert_allclose(b, 0.25, rtol=1e-4)
    np.testing.assert_allclose(0.2126 * r + 0.7152 * g + 0.0722 * b, 0.5, rtol=1e-3)
    for plane in chroma_to_rgb(y, 0 * red, 0 * blue, BT_709):
        np.testing.assert_allclose(plane, 0.5, rtol=1e-6)
