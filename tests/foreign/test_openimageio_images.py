"""Images that other programs write: what is read is what OpenImageIO, libheif and libwebp read, or it is refused in our words."""

import cv2
import numpy as np
import pytest

from depth_normal.geometry.files.hdr_images import is_hdr, read_hdr
from depth_normal.geometry.files.image_files import decode_numbers, read_colours, read_image
from depth_normal.geometry.files.paths import FileFormatError
from tests.foreign.tables import table_of, write_if_asked

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore")]

HEIGHT, WIDTH = 37, 53

TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "half", "float", "double"]
BITS = (1, 2, 4, 6, 10, 12)
CASES = {
    **{f"{kind}.tif": ("rgb", "-d", kind) for kind in TYPES},
    **{f"{kind}-planes.tif": ("rgb", "-d", kind, "--planarconfig", "separate") for kind in TYPES},
    **{f"{kind}-grey.tif": ("rgb", "--ch", "R", "-d", kind) for kind in TYPES},
    **{f"{kind}-alpha.tif": ("rgba", "-d", kind) for kind in TYPES},
    **{f"{kind}-tiles.tif": ("rgb", "-d", kind, "--tile", "16", "16") for kind in ("uint8", "uint16", "half", "float")},
    **{f"{kind}-big.tif": ("rgb", "-d", kind, "--attrib", "tiff:bigtiff", "1") for kind in ("uint8", "uint16", "half", "float")},
    **{f"{bits}bit.tif": ("rgb", "-d", f"uint{bits}") for bits in BITS},
    **{f"{bits}bit-grey.tif": ("rgb", "--ch", "R", "-d", f"uint{bits}") for bits in BITS},
    **{f"{each}.tif": ("rgb", "-d", "uint8", "--compression", each) for each in ("none", "lzw", "zip", "packbits", "jpeg")},
    "white-is-zero.tif": ("rgb", "--ch", "R", "-d", "uint8", "--attrib", "tiff:PhotometricInterpretation", "0"),
    "cmyk.tif": ("rgb", "-d", "uint8", "--attrib", "tiff:ColorSpace", "separated"),
    "differences.tif": ("rgb", "-d", "uint16", "--compression", "zip", "--attrib", "tiff:predictor", "2"),
    "differences-float.tif": ("rgb", "-d", "float", "--compression", "zip", "--attrib", "tiff:predictor", "3"),
    **{
        f"{kind}-{each}.exr": ("rgba", "-d", kind, "--compression", each)
        for kind in ("half", "float")
        for each in ["none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab", "htj2k256", "htj2k32", "zstd"]
    },
    "tiles.exr": ("rgb", "-d", "half", "--tile", "16", "16"),
    "red.exr": ("rgb", "--ch", "R", "-d", "half"),
    "grey.exr": ("rgb", "--ch", "R", "--chnames", "Y", "-d", "float"),
    "one-layer.exr": ("rgb", "--chnames", "diffuse.R,diffuse.G,diffuse.B", "-d", "half"),
    "radiance.hdr": ("rgb",),
    **{
        f"levels.{each}": ("rgb", "-d", "uint8")
        for each in ["bmp", "tga", "ppm", "jpg", "jp2", "webp", "png", "gif", "dpx", "sgi", "ico", "rla", "jxl", "fits"]
    },
    **{f"deep.{each}": ("rgb", "-d", "uint16") for each in ("png", "ppm", "jp2")},
    "alpha.png": ("rgba", "-d", "uint8"),
    "grey.png": ("rgb", "--ch", "R", "-d", "uint16"),
    "grey-alpha.png": ("rgba", "--ch", "R,A", "-d", "uint16"),
    "grey.jpg": ("rgb", "--ch", "R"),
    "fine.jpg": ("rgb", "--quality", "95", "--attrib", "jpeg:subsampling", "4:4:4"),
    "runs.tga": ("rgba", "-d", "uint8", "--compression", "rle"),
    "lossless.webp": ("rgba", "--compression", "lossless"),
}
# 8-bit levels with a sign are read as Pillow reads them, without it.
OTHERWISE = {"int8-grey.tif"}

SECOND_READER = """
import OpenImageIO, numpy, sys
read = {}
for path in sys.argv[2:]:
    image = OpenImageIO.ImageBuf(path)
    read[path.rpartition("/")[2]] = image.get_pixels(OpenImageIO.FLOAT)
numpy.savez(sys.argv[1], **read)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folder of rgb.png and rgba.png: 16-bit ramps with noise."""
    folder = tmp_path_factory.mktemp("sources")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / (HEIGHT + WIDTH)
    noise = np.random.default_rng(0).uniform(0, 0.1, (HEIGHT, WIDTH, 3))
    bgr = np.stack((rows, columns, rows + columns), -1) * 0.8 + 0.05 + noise
    for name, image in (("rgb", bgr), ("rgba", np.dstack((bgr, np.minimum(1, 2 * columns))))):
        cv2.imwrite(str(folder / f"{name}.png"), (image * 65535).astype(np.uint16))
    return folder


def read(path):
    """(H, W, 3), premultiplied; light as stored."""
    data = path.read_bytes()
    if is_hdr(data):
        return read_hdr(path, data)[0]
    if (numbers := decode_numbers(path, data)) is not None and numbers.dtype.kind == "f":
        return numbers[..., :3] if numbers.ndim > 2 else numbers[..., None].repeat(3, 2)
    colours, alpha = read_colours(path)
    return colours if alpha is None else colours * alpha[..., None]


def test_images_are_read_as_openimageio_reads_them_or_refused_in_our_words(validator, sources, tmp_path):
    for name, (source, *words) in CASES.items():
        validator("oiiotool", sources / f"{source}.png", *words, "-o", tmp_path / name)
    (tmp_path / "reader.py").write_text(SECOND_READER)
    validator("python", tmp_path / "reader.py", tmp_path / "read.npz", *(tmp_path / name for name in CASES))
    refused, wrong = {}, {}
    theirs = np.load(tmp_path / "read.npz")
    for name in CASES:
        expected = theirs[name] if theirs[name].shape[2] > 2 else theirs[name][..., :1].repeat(3, 2)
        try:
            ours = read(tmp_path / name)
        except FileFormatError as error:
            refused[name] = str(error).replace(f"{tmp_path / name}: ", "").partition("; accepted are ")[0]
            continue
        if name not in OTHERWISE and (difference := abs(ours - expected[..., :3]).max()) > 1.5 / 255:
            wrong[name] = difference
    assert not wrong
    write_if_asked("openimageio", refused)
    assert refused == table_of("openimageio")


@pytest.mark.parametrize("words", [("-q", "100"), ("-L", "-p", "chroma=444", "--matrix_coefficients=0"), ("-q", "90", "-t", "16")])
def test_heic_is_read_as_libheif_reads_it(validator, sources, tmp_path, words):
    pytest.importorskip("pillow_heif")
    validator("heif-enc", *words, sources / "rgb.png", "-o", tmp_path / "x.heic")
    validator("heif-convert", "-q", "100", tmp_path / "x.heic", tmp_path / "x.png")
    assert abs(read_image(tmp_path / "x.heic") - read_image(tmp_path / "x.png")).max() < 2.5 / 255


@pytest.mark.parametrize("words", [("-q", "90"), ("-lossless",), ("-near_lossless", "60"), ("-alpha_q", "50")])
def test_webp_is_read_as_libwebp_reads_it(validator, sources, tmp_path, words):
    validator("cwebp", "-quiet", *words, sources / "rgba.png", "-o", tmp_path / "x.webp")
    validator("dwebp", "-quiet", tmp_path / "x.webp", "-o", tmp_path / "x.png")
    assert abs(read_image(tmp_path / "x.webp") - read_image(tmp_path / "x.png")).max() < 1.5 / 255
