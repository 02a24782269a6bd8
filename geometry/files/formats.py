"""The table of file formats; a file's extension selects one."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from numpy.lib.format import MAGIC_PREFIX

from ...options.outputs import READABLE, UNITS, WRITTEN
from ..conventions import convert_normals
from ..estimate import Axes, Estimate, Quantity
from ..images.render import default_depth_image
from ..projections import need_perspective
from .compositing_exr import write_compositing_exr
from .exr import MAGIC, openexr, read_exr, write_exr
from .html_page import write_html
from .image_files import is_heif
from .mesh_files import SaveOptions, save_surface
from .npz import MAP_NAMES, read_npz, write_npz
from .paths import FileFormatError, atomic_path, one_image, opened
from .pfm import write_pfm
from .png import (
    NOTES,
    PlainImageError,
    read_values_png,
    write_depth_png,
    write_depth_values_png,
    write_normal_values_png,
    write_normals_png,
)
from .png_chunks import SIGNATURE, chunks
from .pnm import largest_level
from .tiff_tags import holds_numbers
from .values import no_channels, read_map

_PFM_BEGINNINGS = (b"Pf\n", b"PF\n", b"Pf ", b"PF ", b"Pf\r", b"PF\r", b"Pf\t", b"PF\t")
# PNG text chunks precede the pixels; no real file has this many.
_MOST_CHUNKS = 64
_LONGEST_KEYWORD = 80
# Sizes of the beginnings of a HEIC with its table of contents, and of a PGM with comments.
_HEIF_BYTES, _PGM_BYTES = 2**16, 2**12


def npz_holds_maps(path: Path) -> bool:
    """True if an archive contains one of our maps."""
    with suppress(OSError, ValueError, zipfile.BadZipFile, NotImplementedError), opened(path) as file, zipfile.ZipFile(file) as archive:
        return any(name.removesuffix(".npy") in MAP_NAMES for name in archive.namelist())
    return False


def png_holds_maps(path: Path) -> bool:
    """True if a PNG's text chunks describe its values."""
    with suppress(OSError, FileFormatError), opened(path) as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return False
        for kind, length in islice(chunks(file), _MOST_CHUNKS):
            if kind in (b"IDAT", b"IEND"):
                return False
            if kind == b"tEXt" and file.read(min(length, _LONGEST_KEYWORD)).split(b"\0", 1)[0].decode("latin-1") in NOTES:
                return True
    return False


def tiff_holds_maps(path: Path) -> bool:
    """True if a TIFF holds floats; others are photographs."""
    with suppress(OSError, FileFormatError), opened(path) as file:
        return holds_numbers(file)
    return False


def pgm_holds_maps(path: Path) -> bool:
    """True if a PGM has 16 bits; others are photographs."""
    return largest_level(_beginning(path, _PGM_BYTES)) > 255


def heif_holds_depth(path: Path) -> bool:
    """True if a HEIC has images beside the photograph, such as its depth."""
    beginning = _beginning(path, _HEIF_BYTES)
    return is_heif(beginning) and b"auxl" in beginning


def _beginning(path: Path, count: int) -> bytes:
    with suppress(OSError, FileFormatError), opened(path) as file:
        return file.read(count)
    return b""


def _begins_with(*beginnings: bytes) -> Callable[[Path], bool]:
    """Tests for files that begin with one of these, which are equally long."""
    return lambda path: _beginning(path, len(beginnings[0])) in beginnings


NORMALS_SUFFIX = "_normals"
"""Suffix of the normals' file, for formats that hold one map."""

Reader = Callable[[Path, Quantity | str | None, Axes | None, str | None], Estimate]
Writer = Callable[[Path, Estimate, SaveOptions], object]


@dataclass(frozen=True)
class FileFormat:
    """One entry of the table of formats.

    Attributes:
        description: The name, a comma, and the maps that it keeps; for menus.
        write: Writes an estimate, and may return a tuple of its files; None = read only.
        read: Reads an estimate, given defaults for missing metadata and the channel; None = written only.
        batches: Whether a file holds more than one image.
        one_map: Whether a file holds depth or normals; of both, the normals go to a second file.
        surface: Whether it is a mesh, written from depth only.
        scene: Whether it is a mesh that combines the views of one scene.
        check_library: Raises ImportError if the format's library is missing.
        is_likely: Whether a file may hold maps, by its first bytes; never raises.
    """

    description: str
    write: Writer | None
    read: Reader | None = None
    batches: bool = False
    one_map: bool = False
    surface: bool = False
    scene: bool = False
    check_library: Callable[[], object] = bool
    is_likely: Callable[[Path], bool] = Path.is_file

    def holds(self, estimate: Estimate) -> bool:
        """True if one file holds all images; meshes hold several only as views of one scene with known cameras."""
        return estimate.batch == 1 or self.batches or (self.scene and estimate.extrinsics is not None)


def possible_paths(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """All files that `save_estimate` may write for `path`. Raises FileFormatError: an extension that is not written."""
    path = Path(path)
    return (path, _beside(path)) if _format(path, WRITTEN, "written to").one_map else (path,)


def read_paths(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files that `load_estimate` reads: for a PNG or PFM of depth by `save_estimate` also the normals beside it."""
    path = Path(path)
    chosen, beside = _format(path, READABLE, "read from"), _beside(path)
    both = chosen.one_map and chosen.is_likely(path) and chosen.is_likely(beside)
    return (path, beside) if both else (path,)


def save_estimate(path: str | os.PathLike[str], estimate: Estimate, options: SaveOptions | None = None) -> tuple[Path, ...]:
    """Writes an estimate in the format of the extension, atomically, into an existing folder, and returns the files written.

    PNG and PFM hold one map: of depth and normals, the normals go to `<stem>_normals` beside it. An estimate of several images needs
    `.npz`, or a mesh if they are views of one scene (with extrinsics).

    Raises:
        ValueError: An extension that is not written, or an estimate that the format cannot hold.
        ImportError: `.exr` without OpenEXR.
    """
    path = Path(path)
    files, chosen = possible_paths(path), _format(path, WRITTEN, "written to")
    if not chosen.holds(estimate):
        one_image(estimate, f"a {path.suffix} file")
    assert chosen.write is not None
    written = chosen.write(path, estimate, options or SaveOptions())
    if isinstance(written, tuple):
        return written
    return files if estimate.depth is not None and estimate.normals is not None else files[:1]


def load_estimate(
    path: str | os.PathLike[str], quantity: Quantity | str | None = None, axes: Axes | None = None, channel: str | None = None
) -> Estimate:
    """Reads an estimate in the format of the extension, on the CPU; for a PNG or PFM of depth with the normals beside it, if they fit.

    Nothing is unpickled, and sizes are checked before pixels are read.

    Args:
        quantity: What depth holds, a member or its value, or one of `UNITS`, if the file does not say (None = the format's default).
        axes: The axes of the normals if the file does not say (None = OPENGL).
        channel: Selects depth or normals: the channel or layer of an EXR, the key of an array in an NPZ.

    Raises:
        FileNotFoundError: No such file.
        FileFormatError: An extension that cannot be read, or a file that is mislabelled, damaged or too large.
        ImportError: `.exr` without OpenEXR, `.heic` without pillow-heif.
    """
    path, read = Path(path), _format(Path(path), READABLE, "read from").read
    assert read is not None
    try:
        quantity = quantity if quantity is None or quantity in UNITS else Quantity(quantity)
    except ValueError as error:
        raise ValueError(f"{error}, {', '.join(UNITS)}") from None
    first, *beside = (read(each, quantity, axes, channel) for each in read_paths(path))
    return _with_normals(first, beside[0]) if beside else first


def _with_normals(depth: Estimate, normals: Estimate) -> Estimate:
    """Adds normals of the same image, if they are normals and fit."""
    if depth.normals is not None or normals.normals is None or (normals.height, normals.width) != (depth.height, depth.width):
        return depth
    return replace(depth, normals=normals.where_known(normals.mask).normals, axes=normals.axes)


def _format(path: Path, accepted: tuple[str, ...], done: str) -> FileFormat:
    if path.suffix.lower() not in accepted:
        kind = "folders" if path.is_dir() else f"'{path.suffix}' files" if path.suffix else "files without an extension"
        raise FileFormatError(f"{path}: depth and normals are not {done} {kind}; accepted: {', '.join(accepted)}")
    return FORMATS[path.suffix.lower()]


def _write_pfm(path: Path, estimate: Estimate, _: SaveOptions) -> None:
    def write_depth(at: Path, e: Estimate) -> None:
        assert e.depth is not None
        # The format's users (Middlebury) write infinity for "no value".
        write_pfm(at, e.depth if e.mask is None else e.depth.where(e.mask, math.inf))

    def write_normals(at: Path, e: Estimate) -> None:
        assert e.normals is not None
        normals = convert_normals(e.normals, e.axes, Axes.OPENGL)
        write_pfm(at, normals if e.mask is None else normals.where(e.mask, 0))

    _write_maps(path, estimate, write_depth, write_normals)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}{NORMALS_SUFFIX}{path.suffix}")


def _write_maps(path: Path, estimate: Estimate, write_depth: Callable, write_normals: Callable) -> None:
    """Writes depth to `path` and normals beside it, or normals alone to `path`; both files or none."""
    need_perspective(estimate, f"a {path.suffix} file, which does not keep the projection,")
    if estimate.depth is None:
        write_normals(path, estimate)
    elif estimate.normals is None:
        write_depth(path, estimate)
    else:
        with atomic_path(path) as depth_path, atomic_path(_beside(path)) as normals_path:
            write_depth(depth_path, estimate)
            write_normals(normals_path, estimate)


def _read_png(path: Path, quantity: Quantity | str | None, axes: Axes | None, channel: str | None) -> Estimate:
    no_channels(path, channel)
    try:
        return read_values_png(path)
    except PlainImageError:
        if quantity is None:
            raise
        return read_map(path, quantity, axes)


def _write_png(path: Path, estimate: Estimate, options: SaveOptions) -> None:
    if not options.as_image:
        _write_maps(path, estimate, write_depth_values_png, write_normal_values_png)
        return

    def write_normals(at: Path, e: Estimate) -> None:
        assert e.normals is not None
        write_normals_png(at, e.normals, e.axes, e.mask)

    _write_maps(path, estimate, lambda at, e: write_depth_png(at, default_depth_image(e, near=options.near)), write_normals)


def _write_exr(path: Path, estimate: Estimate, options: SaveOptions) -> object:
    if options.compositing:
        return write_compositing_exr(path, estimate, options.image, options.half)
    return write_exr(path, estimate, options.half)


def _write_html(path: Path, estimate: Estimate, options: SaveOptions) -> None:
    write_html(path, estimate, options.shown, options.title)


FORMATS: dict[str, FileFormat] = {
    ".npz": FileFormat(
        "NumPy archive, every map in float32, bit for bit, batches too",
        lambda path, estimate, _: write_npz(path, estimate),
        read_npz,
        batches=True,
        is_likely=npz_holds_maps,
    ),
    ".exr": FileFormat(
        "OpenEXR, every map in named channels, 32- or 16-bit float, linear",
        _write_exr,
        read_exr,
        check_library=openexr,
        is_likely=_begins_with(MAGIC),  # any OpenEXR file: only the values tell whether it is an image
    ),
    ".png": FileFormat(
        "16-bit PNG, depth with its range, or normals in OpenGL colours", _write_png, _read_png, one_map=True, is_likely=png_holds_maps
    ),
    ".pfm": FileFormat(
        "portable float map, depth (infinite where masked) or OpenGL normals in float32, no unit",
        _write_pfm,
        read_map,
        one_map=True,
        is_likely=_begins_with(*_PFM_BEGINNINGS),
    ),
    ".ply": FileFormat("PLY mesh, made from depth, with coloured points", save_surface, surface=True, scene=True),
    ".glb": FileFormat("binary glTF mesh, made from depth, with the image on it", save_surface, surface=True, scene=True),
    ".stl": FileFormat("STL relief, a closed plate of 100 mm to print", save_surface, surface=True),
    ".html": FileFormat("page for any browser, the maps, their values, a 3D view and a lamp", _write_html),
    ".npy": FileFormat("NumPy array of other tools, depth or normals", None, read_npz, is_likely=_begins_with(MAGIC_PREFIX)),
    **dict.fromkeys((".tif", ".tiff"), FileFormat("TIFF of floats, depth or normals", None, read_map, is_likely=tiff_holds_maps)),
    ".pgm": FileFormat("portable grey map of 16 bits, depth in whole numbers", None, read_map, is_likely=pgm_holds_maps),
    **dict.fromkeys((".heic", ".heif"), FileFormat("photograph of a phone, the depth in it", None, read_map, is_likely=heif_holds_depth)),
}
"""By lower-case extension, in the order of menus."""
