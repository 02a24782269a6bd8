"""Every image of Pillow's own tests, and of PngSuite: pixels as Pillow decodes them, or an error of ours."""

import importlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from depth_normal.geometry.files.image_files import read_image
from depth_normal.geometry.files.paths import FileFormatError
from tests.foreign.tables import table_of, write_if_asked

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore")]

# Pillow rounds alpha and colours to 8 bits before they are composited.
LEVEL = 1.5 / 255
# Colours of another profile or gamma, and transparent levels of 16 bits, which the pack converts; what Pillow rounds another way.
CONVERTED = frozenset(
    (
        "i_trns.png",
        "avif/xmp_tags_orientation.avif",
        "icc_profile_big.jpg",
        "pil123p.png",
        "pil123rgba.png",
        "xmp_tags_orientation.png",
        "xmp_test.jpg",
    )
)
ROUNDED = frozenset(
    ("12bit.cropped.tif", "frame_size.mpo", *(f"tiff_{kind}16bit_RGBa.tiff" for kind in ("", "strip_planar_", "tiled_planar_")))
)


def decoded(path):
    """(H, W, 3) in [0, 1], upright on white, by Pillow; None if it does not decode the file."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith(("I", "F")):
                levels = np.asarray(image, np.float32) / 65535
                return np.repeat(levels[..., None], 3, 2) if image.mode.startswith("I;16") else image.size[::-1]
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), np.float32) / 255
    except Exception:  # noqa: BLE001  damaged files raise any kind
        return None
    return pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]


def read(path):
    """The pixels, or the error's words without the path."""
    try:
        return read_image(path)
    except FileFormatError as error:
        return str(error).replace(f"{path}: ", "").partition("; accepted are ")[0]


def test_images_are_read_as_pillow_reads_them_or_refused_in_our_words(foreign, tmp_path):
    (folder,) = (foreign / "sources").glob("pillow-*/Tests/images")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    assert len(names) > 900
    refused, wrong = {}, {}
    for path, name in zip(paths, names, strict=True):
        ours, theirs = read(path), decoded(path)
        if isinstance(ours, str):
            if theirs is not None:
                refused[name] = ours
        elif isinstance(theirs, np.ndarray) and name not in CONVERTED:
            difference = abs(ours - theirs).max() if ours.shape == theirs.shape else (ours.shape, theirs.shape)
            if ours.shape != theirs.shape or difference > (3 / 255 if name in ROUNDED else LEVEL):
                wrong[name] = difference
    assert not wrong
    write_if_asked("pillow", refused)
    assert refused == table_of("pillow")


def test_pngsuite_is_read_whole_and_by_its_gamma(foreign, tmp_path, monkeypatch):
    (module,) = (foreign / "sources").glob("pypng-*/code/pngsuite.py")
    monkeypatch.syspath_prepend(str(module.parent))
    suite = importlib.import_module("pngsuite")
    assert len(suite.png) > 20
    for name, data in suite.png.items():
        if name == "tbbn1g04":  # Pillow compares its 4-bit transparent level with 8-bit pixels
            continue
        path = tmp_path / f"{name}.png"
        path.write_bytes(data if isinstance(data, bytes) else data())
        ours, gamma = read_image(path), Image.open(path).info.get("gamma")
        with Image.open(path) as image:
            is_deep = image.mode.startswith("I")
            pixels = np.asarray(image if is_deep else image.convert("RGBA"), np.float32) / (65535 if is_deep else 255)
        pixels = np.stack((pixels,) * 3 + (np.ones_like(pixels),), 2) if is_deep else pixels
        colours = pixels[..., :3]
        if gamma == 1:
            colours = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * np.maximum(colours, 1e-9) ** (1 / 2.4) - 0.055)
        expected = colours * pixels[..., 3:] + 1 - pixels[..., 3:]
        assert ours.shape == expected.shape and abs(ours - expected).max() < 2.5 / 255, name
