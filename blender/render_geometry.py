"""Renders depth, normals, mask and intrinsics of a Blender scene, exact to the pixel, with or without a display.

Blender:          blender -b scene.blend -P render_geometry.py -- --out DIR
bpy as a module:  python render_geometry.py scene.blend --out DIR
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

if __package__:
    from .geometry_files import MapFileError, read_exr, write_exr, write_npz
else:
    # As a script, the file has no package, and Blender does not search beside it for modules.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from geometry_files import MapFileError, read_exr, write_exr, write_npz

NOTHING_HIT = 1e9
"""Minimum depth, in Blender units, of rays that hit nothing: Cycles writes 1e10."""

LARGEST_OF_16_BITS = (65504.0, 65535.0)
"""What such a depth becomes in 16-bit floats and in 16-bit integers."""

TUTORIAL_NAME = "d"

SQUARE = 1e-4
"""Maximum cosine between a camera's axes; rounding in a chain of parents gives 1e-6."""


LEAST_ALPHA = 1e-6
"""Minimum alpha of a surface. At 0, the transparent parts of leaf cards would count as well."""

MAX_TRANSPARENT = 1024
"""Number of fully transparent surfaces that a ray may pass: Cycles' maximum."""


class GeometryError(RuntimeError):
    """The scene cannot be rendered; the message says what to change."""


@contextmanager
def pass_scene(scene: bpy.types.Scene, layer_name: str) -> Iterator[bpy.types.Scene]:
    """A temporary copy of the scene, set up for exact depth and normal passes of one view layer.

    The copy shares objects and materials with the scene. Materials with a volume temporarily get one or two more nodes (`_without_volume`);
    nothing else of the user's is changed.

    Raises:
        GeometryError: Cycles is not available.
    """
    copy = scene.copy()
    camera = None
    try:
        # A marker may bind another camera to the frame, instead of the sharp copy below.
        copy.timeline_markers.clear()
        # The world may be fog, and contributes nothing else to the passes.
        copy.world = None
        _set_sampling(copy)
        for layer in copy.view_layers:
            layer.use = layer.name == layer_name
        _set_layer(copy.view_layers[layer_name])
        if scene.camera.data.dof.use_dof:
            camera = _sharp_camera(scene.camera)
            copy.camera = camera
        with ExitStack() as stack:
            for material in bpy.data.materials:
                if material.node_tree is not None:
                    stack.enter_context(_without_volume(material.node_tree))
            yield copy
    finally:
        bpy.data.scenes.remove(copy)
        if camera is not None:
            bpy.data.cameras.remove(camera.data)


def _set_layer(layer: bpy.types.ViewLayer) -> None:
    """Enables passes of the first surface; excludes Volume objects and the layer's own world (Blender 4.3)."""
    layer.use_pass_z = layer.use_pass_normal = True
    layer.pass_alpha_threshold = LEAST_ALPHA
    layer.samples = 0
    layer.use_volumes = False
    if hasattr(layer, "world_override"):
        layer.world_override = None


def _sharp_camera(camera: bpy.types.Object) -> bpy.types.Object:
    """A copy of a camera without depth of field; removing its data removes both."""
    sharp = camera.copy()
    sharp.data = camera.data.copy()
    sharp.data.dof.use_dof = False
    return sharp


@contextmanager
def _without_volume(tree: bpy.types.NodeTree) -> Iterator[None]:
    """Hides a material's volume from Cycles: rays scatter in it and may never reach the surface behind.

    A second output, for Cycles only, replaces the one with the volume. Without a surface, it gets a transparent one, as Cycles renders an
    empty output as opaque black.
    """
    output = tree.get_output_node("CYCLES")
    if output is None or not output.inputs["Volume"].is_linked:
        yield
        return
    active = [node for node in tree.nodes if node.bl_idname == output.bl_idname and node.is_active_output]
    added = [tree.nodes.new(output.bl_idname)]
    try:
        added[0].target = "CYCLES"
        added[0].is_active_output = True
        for name in ("Surface", "Displacement"):
            for link in output.inputs[name].links:
                tree.links.new(link.from_socket, added[0].inputs[name])
        if not output.inputs["Surface"].is_linked:
            added.append(tree.nodes.new("ShaderNodeBsdfTransparent"))
            tree.links.new(added[1].outputs["BSDF"], added[0].inputs["Surface"])
        yield
    finally:
        for node in added:
            tree.nodes.remove(node)
        for node in active:
            node.is_active_output = True


def _set_sampling(copy: bpy.types.Scene) -> None:
    """One ray through each pixel's centre: the first sample of a narrow box filter; more samples would average normals."""
    render = copy.render
    try:
        render.engine = "CYCLES"
    except TypeError as error:
        raise GeometryError("Cycles is not available; enable it in Edit > Preferences > Add-ons ('Cycles Render Engine')") from error
    for name in (
        "use_border",
        "use_multiview",
        "use_motion_blur",
        "use_freestyle",
        "use_compositing",
        "use_sequencer",
        "use_persistent_data",
    ):
        setattr(render, name, False)
    cycles = copy.cycles
    cycles.device = "CPU"
    cycles.samples = 1
    cycles.max_bounces = 0
    cycles.transparent_max_bounces = MAX_TRANSPARENT
    cycles.time_limit = 0
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.pixel_filter_type = "BOX"
    cycles.filter_width = 0.01


@dataclass(frozen=True)
class SceneGeometry:
    """Depth, normals and mask of a scene, all of the surface hit by one ray through each pixel's centre.

    Attributes:
        depth: (H, W) float32, metres along the optical axis (not along the ray); 0 where nothing is hit.
        normals: (H, W, 3) float32 unit vectors of the shaded surface (smooth shading, bump and normal maps included);
            0 where nothing is hit.
        mask: (H, W) bool, False where nothing is hit (sky).
        intrinsics: (3, 3) float32, in pixels, centre of the first pixel = (0, 0).

    Convention:
        Normals are in the camera's OpenGL axes: +X right, +Y up, +Z towards the viewer. The top line of the image comes first.
    """

    depth: np.ndarray
    normals: np.ndarray
    mask: np.ndarray
    intrinsics: np.ndarray


def render_geometry(scene: bpy.types.Scene | None = None, view_layer: str | None = None) -> SceneGeometry:
    """Renders depth and normals of the current frame with Cycles on the CPU, one sample per pixel.

    A pixel shows the first surface on its ray that is not fully transparent: glass and translucent surfaces count, regions cut out by an
    alpha texture do not. Fog, smoke and clouds are ignored.

    Renders a temporary copy of the scene (`pass_scene`), so the scene's own settings are never touched. The whole image is rendered at the
    scene's resolution percentage, without depth of field, motion blur, border, stereo, compositor and sequencer.

    Args:
        scene: None = the context's scene.
        view_layer: Name of the view layer; None = the first that is enabled for rendering.

    Raises:
        GeometryError: No camera, a camera that is not perspective or is sheared, an unknown view layer, an image without pixels, Cycles is
            not available, or the render fails or is cancelled.
    """
    scene = scene or bpy.context.scene
    _check_camera(scene)
    _check_size(scene)
    layer = _view_layer_name(scene, view_layer)
    with pass_scene(scene, layer) as copy, tempfile.TemporaryDirectory(prefix="geometry") as folder:
        passes = _render_passes(copy, Path(folder))
        depth = _channel(passes, f"{layer}.Depth.Z")
        normals = np.stack([_channel(passes, f"{layer}.Normal.{axis}") for axis in "XYZ"], axis=-1)
        height, width = depth.shape
        # After the render, to avoid holding its memory and the evaluated scene at the same time.
        matrix, intrinsics = _camera_geometry(copy, copy.view_layers[layer], width, height)
    normals = normals @ np.array(unscaled_matrix(scene.camera, matrix).to_3x3(), np.float64)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    # Behind too many transparent surfaces, Cycles writes a depth without a normal.
    mask = (depth > 0) & (depth < NOTHING_HIT) & (lengths[..., 0] > 0)
    normals = np.where(mask[..., None], normals / np.where(lengths > 0, lengths, 1), 0)
    return SceneGeometry(
        depth=np.where(mask, depth * metres_per_unit(scene), 0).astype(np.float32),
        normals=normals.astype(np.float32),
        mask=mask,
        intrinsics=intrinsics.astype(np.float32),
    )


def write_geometry(geometry: SceneGeometry, directory: str | os.PathLike[str], name: str) -> list[Path]:
    """Writes `<name>.exr`, `<name>.npz` and the tutorial's `d.npz` into a folder, each atomically.

    `<name>.exr`: float32 channels `Z`, `N.X`, `N.Y`, `N.Z`, `mask` (1 = hit). `<name>.npz`: `depth`, `quantity`, `normals`, `axes`, `mask`,
    `intrinsics`. `d.npz`: the depth as `dmap` and the normals as `nmap`, with the other keys.

    Args:
        geometry: From `render_geometry`.
        directory: The folder; created if missing.
        name: File name without extension.

    Raises:
        GeometryError: `name` is not a plain file name, or is the tutorial's.
        MapFileError: The folder cannot be created or written to.
    """
    check_name(name)
    directory = writable_folder(directory)
    paths = [directory / f"{name}.exr", directory / f"{name}.npz", directory / f"{TUTORIAL_NAME}.npz"]
    meaning = {"quantity": "metric_depth", "axes": "opengl"}
    channels = {f"N.{axis}": geometry.normals[..., index] for index, axis in enumerate("XYZ")}
    write_exr(paths[0], {"Z": geometry.depth, **channels, "mask": geometry.mask}, **meaning, intrinsics=geometry.intrinsics)
    common = {**meaning, "mask": geometry.mask, "intrinsics": geometry.intrinsics}
    write_npz(paths[1], {"depth": geometry.depth, "normals": geometry.normals, **common})
    write_npz(paths[2], {"dmap": geometry.depth, "nmap": geometry.normals, **common})
    return paths


def check_name(name: str) -> None:
    """Raises a GeometryError for a name that is not a plain file name, or is the tutorial's."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
        raise GeometryError(f"the name {name!r} is not a plain file name; give one without folders, such as 'kitchen'")
    if name.lower() == TUTORIAL_NAME:
        raise GeometryError(f"the name {name!r} would clash with the tutorial's {TUTORIAL_NAME}.npz; choose another")


def writable_folder(directory: str | os.PathLike[str]) -> Path:
    """Returns `directory` as a path, after creating it if missing and writing a trial file.

    Raises:
        MapFileError: It cannot be created or written to.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        raise MapFileError(f"cannot write into the folder {directory}: {error.strerror or error}; choose another output folder") from error


def metres_per_unit(scene: bpy.types.Scene) -> float:
    """Length of the scene's Blender unit in metres; 1 for scenes without units."""
    units = scene.unit_settings
    return 1.0 if units.system == "NONE" else units.scale_length


def unscaled_matrix(camera: bpy.types.Object, matrix_world: Matrix) -> Matrix:
    """Camera-to-world matrix (4, 4) without scale, which does not affect a camera's image.

    Args:
        camera: The camera, for the message.
        matrix_world: Its evaluated world matrix.

    Raises:
        GeometryError: The camera's axes are not orthogonal, or have no length: its image has no optical axis.
    """
    matrix = matrix_world.normalized()
    axes = np.array(matrix.to_3x3(), np.float64)
    if np.abs(axes.T @ axes - np.eye(3)).max() <= SQUARE:
        return matrix
    uneven, above = [], camera.parent
    while above is not None:
        sizes = np.abs(above.scale)
        if sizes.max() > (1 + SQUARE) * sizes.min():
            uneven.append(f"'{above.name}'")
        above = above.parent
    cause = f"the uneven scale of {', '.join(uneven)}" if uneven else "its parents, its constraints or a scale of 0"
    raise GeometryError(
        f"the camera '{camera.name}' is sheared by {cause}, so that its image has no optical axis; "
        "apply that scale (Object > Apply > Scale), or clear the camera's parent and keep its transformation"
    )


def default_name() -> str:
    """Name of the open .blend file without extension; "scene" if it was never saved."""
    return Path(bpy.data.filepath).stem or "scene"


def script_arguments() -> list[str]:
    """The script's own arguments: in Blender those after `--`, with bpy as a module all."""
    if "--" in sys.argv:
        return sys.argv[sys.argv.index("--") + 1 :]
    return [] if bpy.app.binary_path else sys.argv[1:]


def open_blend(path: str | os.PathLike[str]) -> None:
    """Opens a .blend file; scripts inside it do not run.

    Raises:
        GeometryError: It is missing or not a .blend file.
    """
    if not Path(path).is_file():
        raise GeometryError(f"no such file: {path}; give a .blend file")
    try:
        bpy.ops.wm.open_mainfile(filepath=str(Path(path).resolve()), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise GeometryError(f"cannot open {path} as a .blend file: {error}") from error


def _check_camera(scene: bpy.types.Scene) -> None:
    camera = scene.camera
    if camera is None:
        raise GeometryError(f"the scene '{scene.name}' has no camera; add one, or set Scene > Camera in the Properties")
    if camera.type != "CAMERA":
        raise GeometryError(f"the scene's camera '{camera.name}' is an object of type {camera.type}; choose a camera object")
    if camera.data.type != "PERSP":
        raise GeometryError(
            f"the camera '{camera.name}' is of type {camera.data.type}; "
            "only perspective cameras have intrinsics: set its Lens Type to Perspective"
        )


def _check_size(scene: bpy.types.Scene) -> None:
    render = scene.render
    width, height = (side * render.resolution_percentage // 100 for side in (render.resolution_x, render.resolution_y))
    if width < 1 or height < 1:
        raise GeometryError(
            f"{render.resolution_x}x{render.resolution_y} at {render.resolution_percentage} % is an image of {width}x{height} pixels; "
            "raise the resolution or its percentage"
        )


def _view_layer_name(scene: bpy.types.Scene, wanted: str | None) -> str:
    names = [layer.name for layer in scene.view_layers]
    if wanted is None:
        return next((layer.name for layer in scene.view_layers if layer.use), names[0])
    if wanted not in names:
        raise GeometryError(f"the scene '{scene.name}' has no view layer '{wanted}'; it has {', '.join(names)}")
    return wanted


def _render_passes(copy: bpy.types.Scene, folder: Path) -> dict[str, np.ndarray]:
    """Renders to a 32-bit multi-layer EXR and reads it back: the Viewer node's pixels need a display."""
    render, settings = copy.render, copy.render.image_settings
    if hasattr(settings, "media_type"):  # Blender 5.0
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format = "OPEN_EXR_MULTILAYER"
    settings.color_depth = "32"
    settings.exr_codec = "ZIP"
    if hasattr(settings, "use_exr_interleave"):  # Blender 5.0: one part for all passes
        settings.use_exr_interleave = True
    render.use_file_extension = True
    render.filepath = str(folder / "passes")
    try:
        bpy.ops.render.render(scene=copy.name, write_still=True)
    except RuntimeError as error:
        raise GeometryError(f"Blender could not render the scene: {error}") from error
    path = folder / "passes.exr"
    if not path.is_file():
        raise GeometryError("the render was cancelled, or Blender wrote no passes; its console says why")
    return read_exr(path)[0]


def _channel(passes: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in passes:
        raise GeometryError(f"Blender's render lacks the channel '{name}'; it has {', '.join(sorted(passes))}")
    return passes[name]


def _camera_geometry(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, width: int, height: int) -> tuple[Matrix, np.ndarray]:
    """World matrix (4, 4) and intrinsics (3, 3) of the evaluated camera, with parents, constraints and drivers."""
    layer.update()
    camera = scene.camera.evaluated_get(layer.depsgraph)
    render = scene.render
    projection = np.array(
        scene.camera.calc_matrix_camera(layer.depsgraph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y),
        np.float64,
    )
    intrinsics = np.array(
        [
            [projection[0, 0] * width / 2, 0, (1 - projection[0, 2]) * width / 2 - 0.5],
            [0, projection[1, 1] * height / 2, (1 + projection[1, 2]) * height / 2 - 0.5],
            [0, 0, 1],
        ]
    )
    return camera.matrix_world.copy(), intrinsics


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="render_geometry.py", description="Render depth, normals, mask and intrinsics of a scene.")
    parser.add_argument("scene", nargs="?", help=".blend file; without it, the scene that is open")
    parser.add_argument("--out", required=True, help="output folder")
    parser.add_argument("--name", help="file name without extension; default: that of the .blend file")
    options = parser.parse_args(arguments)
    try:
        if options.scene:
            open_blend(options.scene)
        name = options.name or default_name()
        check_name(name)
        writable_folder(options.out)
        for path in write_geometry(render_geometry(), options.out, name):
            print(path)
    except (GeometryError, MapFileError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(script_arguments())
