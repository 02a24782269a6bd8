"""Reads and writes files of depth and normals without loss."""

# ruff: noqa: F401  these are the names that nodes and commands import

from .compositing_exr import write_compositing_exr
from .exr import read_exr, write_exr, write_image_exr
from .formats import FORMATS, FileFormat, load_estimate, possible_paths, read_paths, save_estimate
from .html_page import write_html
from .image_files import image_exposure, read_image
from .mesh_files import SaveOptions, save_surface, write_glb, write_ply, write_stl
from .npz import read_npz, write_npz
from .paths import MAX_PIXELS, FileFormatError, atomic_path, resolve_inside
from .pfm import read_pfm, write_pfm
from .png import (
    read_values_png,
    write_depth_png,
    write_depth_values_png,
    write_image_png,
    write_normal_png,
    write_normal_values_png,
    write_normals_png,
)
