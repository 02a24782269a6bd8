"""Maps of a material: normals to height and back, curvature, ambient occlusion."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..geometry.checks import check_choice, check_range
from ..geometry.conventions import NormalMapCoding, encode_normal_map
from ..geometry.estimate import Estimate, Quantity
from ..geometry.textures.curvature import MAX_SCALE, curvature_maps, mean_curvature
from ..geometry.textures.height import AUTO, BORDERS, FREE, height_to_image, height_to_normals, image_to_height, normals_to_height
from ..geometry.textures.occlusion import MAX_DIRECTIONS, MAX_RADIUS, MIN_DIRECTIONS, estimate_to_occlusion, height_to_occlusion
from ..geometry.textures.pbr import with_contrast
from ..geometry.textures.slopes import DERIVATIVES
from ..model_loader.comfy.devices import default_device, image_placement
from .batches import counted, geometry_output, joined, one_by_one, to_output
from .checks import check_geometry
from .sockets import GEOMETRY, TEXTURES, Inputs, Widget
from .surfaces import height_input, heights, heights_as_normals, normal_map_input, surface_normals, upright
from .widgets import (
    CODING_READERS,
    CODINGS,
    choice_widget,
    coding_widget,
    count_widget,
    geometry_input,
    number_widget,
    switch_widget,
)

MAX_HEIGHT = 100000.0
MAX_FLATTEN = 16384.0


def borders_widget() -> Widget:
    """How a map goes on at its borders."""
    return choice_widget(BORDERS, "free: the map ends there. seamless: it tiles; what is at one border goes on at the opposite one.")


def height_range_widget() -> Widget:
    """How high a height is."""
    tooltip = "Pixels between black and white of the height: Normal to Height gives it. Larger is steeper."
    return number_widget(32.0, 0.0, MAX_HEIGHT, 0.1, tooltip)


class NormalToHeight:
    """Normals integrated to a height."""

    NODE_ID = "DepthNormal_NormalToHeight"
    DISPLAY_NAME = "Normal to Height"
    DESCRIPTION = (
        "Makes a height (displacement, bump) map of a normal map or of a geometry's normals: the surface whose slopes fit best everywhere "
        "at once. Seen straight on, as textures are."
    )
    CATEGORY, FUNCTION = TEXTURES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", "FLOAT", GEOMETRY)
    RETURN_NAMES: ClassVar = ("height", "height_range", "geometry")
    OUTPUT_TOOLTIPS: ClassVar = (
        "The height, white = high, unrounded: Save Texture keeps 16 bits. A batch shares one range.",
        "How many pixels lie between black and white: for Height to Normal, Ambient Occlusion, or a displacement modifier.",
        "The raw height in pixels as relative depth (far = low), with the normals: for Save Geometry.",
    )
    SEARCH_ALIASES: ClassVar = [
        "height map",
        "heightmap",
        "displacement map",
        "bump map",
        "pbr material",
        "normal to bump",
        "normal to displacement",
        "normal to depth",
        "integrate normals",
        "frankot chellappa",
        "poisson",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        level = "Takes the mean slope out first, as of a wall photographed at an angle. Seamless heights have none."
        flatten = "A shape of this width in pixels becomes half as high, wider ones flatter: fine relief gets the grey levels. 0: all stay."
        derivative = (
            "Where the normals are from. spline: a surface, rendered, baked, or a model's. central: a height map, by differences of its "
            "pixels. auto: whichever explains them better."
        )
        mask = "White where the normals count. The height goes on smoothly over the rest, as over black pixels of a normal map."
        return {
            "required": {},
            "optional": {
                "normal_map": normal_map_input("The normal map to integrate."),
                "geometry": geometry_input("Raw normals instead; of depth alone, normals are computed."),
                "mask": ("MASK", {"tooltip": mask}),
                "normal_coding": coding_widget(f"How the normal map stores its vectors. {CODING_READERS}"),
                "borders": borders_widget(),
                "level": switch_widget(False, level),
                "flatten": number_widget(0.0, 0.0, MAX_FLATTEN, 1.0, flatten),
                "derivative": choice_widget((AUTO, *DERIVATIVES), derivative, advanced=True),
            },
        }

    def execute(
        self,
        normal_map: Tensor | None = None,
        geometry: Any = None,
        mask: Tensor | None = None,
        normal_coding: str = CODINGS[0],
        borders: str = FREE,
        level: bool = False,
        flatten: float = 0.0,
        derivative: str = AUTO,
    ) -> tuple[Tensor, float, Estimate]:
        """One height an image."""
        whole = surface_normals(normal_map, normal_coding, geometry, mask)
        check_range("flatten", flatten, 0, MAX_FLATTEN)
        options = {"borders": borders, "level": level, "flatten": flatten, "derivative": derivative}
        surfaces = counted(one_by_one(whole, default_device()), whole.batch)
        (height,) = joined(((_height(surface, options),) for surface in surfaces), whole.batch)
        known = None if whole.mask is None else whole.mask.to(height.device)
        image, span = height_to_image(height, known)
        depth = height.amax() - height
        raw = Estimate(depth, Quantity.RELATIVE_DEPTH, upright(whole).to(depth.device), mask=known)
        return to_output(image), span.item(), geometry_output(raw)


class HeightToNormal:
    """A height as a normal map."""

    NODE_ID = "DepthNormal_HeightToNormal"
    DISPLAY_NAME = "Height to Normal"
    DESCRIPTION = "Makes a normal map of a height (displacement, bump) map. The exact inverse of Normal to Height with the same settings."
    CATEGORY, FUNCTION = TEXTURES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", GEOMETRY)
    RETURN_NAMES: ClassVar = ("normal_map", "geometry")
    OUTPUT_TOOLTIPS: ClassVar = ("The normal map, unrounded.", "Raw normals.")
    SEARCH_ALIASES: ClassVar = [
        "bump map to normal map",
        "displacement map to normal map",
        "height map",
        "heightmap",
        "normal map",
        "pbr material",
        "sobel",
        "tangent space",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        derivative = (
            "central: half the difference of both neighbours, calm beside steps and with 8 bits. spline: of the smooth curve through all "
            "pixels, nearer to a surface that is smooth."
        )
        return {
            "required": {"height": height_input("Heights, white = high; of colours their mean.")},
            "optional": {
                "height_range": height_range_widget(),
                "coding": coding_widget(f"How the vectors shall be stored. {CODING_READERS}"),
                "borders": borders_widget(),
                "derivative": choice_widget(DERIVATIVES, derivative, advanced=True),
            },
        }

    def execute(
        self, height: Tensor, height_range: float = 32.0, coding: str = CODINGS[0], borders: str = FREE, derivative: str = DERIVATIVES[0]
    ) -> tuple[Tensor, Estimate]:
        """One normal map an image."""
        check_choice("coding", coding, CODINGS)
        check_range("height_range", height_range, 0, MAX_HEIGHT)
        images = heights(height)

        def parts() -> Any:
            for image in counted(images.split(1), len(images)):
                level = image_to_height(image.to(default_device()), height_range)
                yield (height_to_normals(level, borders=borders, derivative=derivative).to(image_placement()[0]),)

        (normals,) = joined(parts(), len(images))
        return to_output(encode_normal_map(normals, NormalMapCoding(coding))), geometry_output(Estimate(normals=normals))


class Curvature:
    """Where a surface bulges and where it is hollow."""

    NODE_ID = "DepthNormal_Curvature"
    DISPLAY_NAME = "Curvature"
    DESCRIPTION = "Curvature map of a normal map, a height or a geometry: grey flat, white on edges, black in crevices; and both apart."
    CATEGORY, FUNCTION = TEXTURES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE", "IMAGE", "IMAGE")
    RETURN_NAMES: ClassVar = ("curvature", "edges", "cavities")
    OUTPUT_TOOLTIPS: ClassVar = (
        "0.5 = flat, white = convex, black = concave.",
        "White where the surface is convex, else black: a mask for worn edges.",
        "White where it is concave, else black: a mask for dirt.",
    )
    SEARCH_ALIASES: ClassVar = [
        "curvature map",
        "cavity map",
        "convexity",
        "edge wear",
        "edge mask",
        "dirt mask",
        "crevice",
        "pbr material",
        "roughness map",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        scale = "Bends narrower than this many pixels are smoothed away: 1 the finest scratches, 8 the edges of bricks."
        strength = (
            "Contrast. 0: chosen for each picture, so that 1 % of it is white or black. 1: a turn by 57 degrees over the scale is white."
        )
        return {
            "required": {},
            "optional": {
                "normal_map": normal_map_input("The normal map whose bends are wanted."),
                "height": height_input("A height instead, white = high."),
                "geometry": geometry_input("Raw normals or depth instead."),
                "scale": number_widget(2.0, 1.0, MAX_SCALE, 0.5, scale),
                "strength": number_widget(0.0, 0.0, 1000.0, 0.1, strength),
                "normal_coding": coding_widget("How the normal map is stored: opengl for Blender and glTF, directx for Unreal."),
                "height_range": height_range_widget(),
                "borders": borders_widget(),
            },
        }

    def execute(
        self,
        normal_map: Tensor | None = None,
        height: Tensor | None = None,
        geometry: Any = None,
        scale: float = 2.0,
        strength: float = 0.0,
        normal_coding: str = CODINGS[0],
        height_range: float = 32.0,
        borders: str = FREE,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Three maps an image."""
        check_choice("borders", borders, BORDERS)
        if height is not None and (normal_map is not None or geometry is not None):
            raise ValueError("height is linked, and a normal map or geometry too: curvature is of one of them; unlink the others")
        if height is not None:
            geometry = heights_as_normals(height, height_range, borders)
        whole = surface_normals(normal_map, normal_coding, geometry)

        def parts() -> Any:
            for surface in counted(one_by_one(whole, default_device()), whole.batch):
                valid = surface.normals_valid
                bend = mean_curvature(upright(surface), scale=scale, weight=valid, borders=borders)
                yield tuple(to_output(each) for each in curvature_maps(bend, scale=scale, strength=strength, weight=valid))

        curvature, edges, cavities = joined(parts(), whole.batch)
        return curvature, edges, cavities


class AmbientOcclusion:
    """How much of the sky a surface sees."""

    NODE_ID = "DepthNormal_AmbientOcclusion"
    DISPLAY_NAME = "Ambient Occlusion"
    DESCRIPTION = (
        "Ambient occlusion of a height map, or of the things in a picture by their depth: white where the sky is open, dark in corners and "
        "joints. By horizons, with the cosine law; not by blurring."
    )
    CATEGORY, FUNCTION = TEXTURES, "execute"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("occlusion",)
    OUTPUT_TOOLTIPS: ClassVar = ("White = open, black = hidden; sky and holes are white.",)
    SEARCH_ALIASES: ClassVar = [
        "ao",
        "ao map",
        "ambient occlusion",
        "ssao",
        "hbao",
        "gtao",
        "contact shadow",
        "occlusion map",
        "pbr material",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """ComfyUI's description of the inputs."""
        radius = (
            "How far away things still hide the sky, in pixels; beyond half of that less and less. Joints of bricks 16, whole rooms 200."
        )
        directions = "How many directions are searched: 8 is a draft, 32 smooth."
        strength = "1: as it is. Above: darker, below: lighter; open places stay white."
        return {
            "required": {},
            "optional": {
                "height": height_input("A height, white = high, seen straight on."),
                "geometry": geometry_input("Raw depth of a picture instead, with its camera; normals are used where there are some."),
                "radius": number_widget(64.0, 1.0, MAX_RADIUS, 1.0, radius),
                "directions": count_widget(16, MIN_DIRECTIONS, MAX_DIRECTIONS, directions),
                "strength": number_widget(1.0, 0.0, 8.0, 0.05, strength),
                "height_range": height_range_widget(),
                "borders": borders_widget(),
            },
        }

    def execute(
        self,
        height: Tensor | None = None,
        geometry: Any = None,
        radius: float = 64.0,
        directions: int = 16,
        strength: float = 1.0,
        height_range: float = 32.0,
        borders: str = FREE,
    ) -> tuple[Tensor]:
        """One map an image."""
        check_range("strength", strength, 0, 8)
        check_range("height_range", height_range, 0, MAX_HEIGHT)
        check_choice("borders", borders, BORDERS)
        if (height is None) == (geometry is None):
            raise ValueError("link either a height (white = high) or geometry with depth, one of them")
        if height is not None:
            levels = heights(height)
            options = {"radius": radius, "directions": directions, "borders": borders}
            images = (image_to_height(each.to(default_device()), height_range) for each in levels.split(1))
            found = (height_to_occlusion(each, **options) for each in images)
            total = len(levels)
        else:
            whole = check_geometry(geometry)
            found = (estimate_to_occlusion(each, radius=radius, directions=directions) for each in one_by_one(whole, default_device()))
            total = whole.batch
        return joined(((to_output(with_contrast(each, strength)),) for each in counted(found, total)), total)


def _height(surface: Estimate, options: dict[str, Any]) -> Tensor:
    return normals_to_height(upright(surface), weight=surface.normals_valid, **options).to(image_placement()[0])


NODES = (NormalToHeight, HeightToNormal, Curvature, AmbientOcclusion)
