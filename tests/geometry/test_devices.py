"""Every public function of `geometry/` on a device that this machine need not have: no op mixes devices, and who waits for values says so.

Fake tensors know shape, dtype and device but hold no numbers. Where a function asks for a number all the same, on a GPU the program waits
until everything before is computed; here the question is answered and noted.
"""

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torchgen
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depth_normal import geometry
from depth_normal.geometry.alignment import mosaic
from depth_normal.geometry.effects import depths, fog
from depth_normal.geometry.effects.lights import Light, LightPlan
from depth_normal.geometry.effects.relight import relight
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images import tone_mapping
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.regions import before_sky
from depth_normal.geometry.sphere import cube_rotations
from depth_normal.geometry.surfaces import derive, plane_fit
from depth_normal.geometry.temporal import moving_pixels, ranges, shot_cuts, stabilization
from depth_normal.geometry.textures import pbr
from depth_normal.geometry.views import parallax, stereo
from depth_normal.options.effects import LensOptions
from depth_normal.options.textures import DERIVATIVES
from depth_normal.options.views import LoopOptions

# Without CUDA or its driver not every torch can slice even fake tensors on it; "lazy" is the other device it knows without a driver.
DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "lazy:0")
BATCH, HEIGHT, WIDTH = 2, 24, 32
aten = torch.ops.aten


class Questions(TorchDispatchMode):
    """Answers what fake tensors cannot, as if everything were valid and every number 0.25, and counts it."""

    def __init__(self, truth=True):
        super().__init__()
        self.truth, self.asked = truth, 0
        self._patches = [
            patch.object(FakeTensor, name, reads)
            for name, reads in (("tolist", lambda values: self.numbers(values)), ("numpy", lambda values: self.array(values)))
        ]

    def __enter__(self):
        for each in self._patches:
            each.start()
        return super().__enter__()

    def __exit__(self, *error):
        for each in self._patches:
            each.stop()
        return super().__exit__(*error)

    def number(self, values):
        self.asked += values.device == DEVICE
        return self.truth if values.dtype is torch.bool else (0.25 if values.dtype.is_floating_point else 1)

    def numbers(self, values):
        """`Tensor.tolist`: one question for all its numbers."""
        return self.array(values).tolist()

    def array(self, values):
        """`Tensor.numpy`."""
        return np.full(values.shape, self.number(values), np.float32 if values.is_floating_point() else np.int64)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self.number(args[0])
        if func is aten._to_copy.default and args[0].device == DEVICE and getattr(kwargs.get("device"), "type", "") == "cpu":
            self.asked += 1  # a copy waits, too
        if func is aten.allclose.default:
            return bool(self.number(args[0]))
        if func is aten.index.Tensor and any(index is not None and index.dtype is torch.bool for index in args[1]):
            values, ((mask,)) = args
            self.asked += values.device == DEVICE
            assert values.device == mask.device and values.shape[: mask.ndim] == mask.shape
            return values.reshape(-1, *values.shape[mask.ndim :])
        if func is aten.nonzero.default:
            self.asked += args[0].device == DEVICE
            return args[0].new_zeros((args[0].numel(), args[0].ndim), dtype=torch.int64)
        if func is aten._unique2.default:
            self.asked += args[0].device == DEVICE
            values = args[0].flatten()
            return values, torch.zeros_like(args[0], dtype=torch.int64), torch.ones_like(values, dtype=torch.int64)
        if func is aten.bincount.default:
            self.asked += args[0].device == DEVICE
            return torch.empty(args[2], dtype=args[1].dtype, device=args[0].device)
        if func is aten.grid_sampler_2d.default and args[0].device.type != "cpu" and DEVICE.type != "cuda":
            assert args[2] != 2 and args[3] != 1, "older MPS knows no bicubic and no border here: see utils.sample_at"
        result = func(*args, **(kwargs or {}))
        if DEVICE.type != "cuda":  # what stands in for Apple's, which has no float64
            for each in tree_leaves(result):
                wide = isinstance(each, torch.Tensor) and each.device == DEVICE and each.dtype in (torch.float64, torch.complex128)
                assert not wide, "float64 on a device that need not have it: see utils.exact_dtype"
        assert func.name() not in missing_on_mps(), f"torch has no {func.name()} on Apple's GPUs"
        return result


@functools.cache
def missing_on_mps():
    """The operations that have no kernel for MPS, by torch's own table. Versions before 2.10 lack more, and advise to set a variable."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        return frozenset()
    table = (Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml").read_text(encoding="utf-8")
    entries = {text.partition("(")[0]: text for text in table.split("\n- func: ")[1:]}

    def everywhere(name):
        delegate = re.search(r"structured_delegate: (\S+)", entries[name])
        alone = "dispatch:" not in entries[name] and not delegate
        return alone or re.search("MPS|CompositeImplicit|CompositeExplicit", entries[name]) or (delegate and everywhere(delegate[1]))

    return frozenset(f"aten::{name}" for name in entries if not everywhere(name))


def ask(call, truth=True):
    """Runs a function on fake tensors, with another default device and dtype; gives its result and how often it asked."""
    torch.set_default_dtype(torch.float64)
    try:
        with FakeTensorMode(), Questions(truth) as questions, torch.device(DEVICE.type, 1):
            return call(), questions.asked
    finally:
        torch.set_default_dtype(torch.float32)


def random(*shape):
    """The same numbers on every device, after the same seed."""
    return torch.rand(shape, dtype=torch.float32).to(DEVICE)


def maps(channels=1, batch=BATCH):
    return random(batch, channels, HEIGHT, WIDTH)


one = functools.partial(maps, batch=1)


def mask(batch=BATCH):
    return maps(1, batch) > 0.5


def matrices(batch=BATCH):
    return torch.eye(3, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def poses(batch=BATCH):
    return torch.eye(3, 4, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def estimate(quantity=Quantity.METRIC_DEPTH):
    return Estimate(maps(), quantity, normals=maps(3), mask=mask(), intrinsics=matrices(), confidence=maps(), extrinsics=poses())


def an_estimate():
    return estimate().slice(0, 1)


def depth_only(quantity=Quantity.METRIC_DEPTH):
    return Estimate(maps(), quantity, mask=mask())


def every_layout(compose):
    pair = stereo.StereoPair(maps(3), maps(3), mask(), mask())
    return [compose(pair, layout) for layout in stereo.LAYOUTS]


def shares():
    return {"mask": mask(), "sky": mask(), "relief": random(2, 1, 1, 1)}


def clip_ends(ends):
    clip = ranges.ClipRange()
    clip.add(maps(), mask())
    return ends(clip, maps(), mask(), (2, 98))


def a_face_of_panorama(normals):
    """Of a cube's six, which are views like each other."""
    with patch.object(derive, "cube_rotations", lambda device: cube_rotations(device)[:1]):
        return normals(one(), mask(1))


def video(push):
    aligner = stabilization.VideoAligner()
    return [push(aligner, maps(3), replace(depth_only(), normals=maps(3))) for _ in range(2)]


def moving(push):
    found = moving_pixels.MovingPixels()
    return [push(found, one(3), torch.zeros((), dtype=torch.bool, device=DEVICE)) for _ in range(2)]


def whole_of_tiles(mosaic_of):
    grid = mosaic.lay_tiles(HEIGHT, WIDTH, 2, 2, 0.3)
    whole = mosaic_of(grid, 1, DEVICE)
    for _ in whole.rows():
        whole.add(random(2, 1, grid.tile_height, grid.tile_width))
    return whole.result


# Meshes are arrays, and regions are searched pixel by pixel: what comes in is moved to the CPU first. Others have tests of their own, or
# are parts of functions that are tried here.
LEFT_OUT = re.compile(
    r"checks|effects|files|filters|levels|meshes|panorama|valid|edges\.(?!depth_edges|refine)|images\.srgb|regions\.(?!before_sky|sky\.(?!describe))|"
    r"surfaces\.(?!derive|normals)|temporal\.camera_motion|textures\.slopes|views\.(disocclusion|forward_warp|gaps|soft_edges)"
)
HALF_SPHERE = stereo.StereoOptions(eye_size=64)
SUN, LAMP = Light((0.1, 0.2, 0.3), size=0.2), Light((0.1, 0.2, 0.3), is_point=True, size=0.2)
LOOKS = {"specular": 0.2, "shadow": 0.5, "ambient_above": (0.1, 0.2, 0.3)}
SET = pbr.PbrOptions(borders="seamless", directions=4)

# What a function is given, by the names of its parameters, where CASES has no call of it. Of those with a default, these as well.
OPTIONAL = {"device", "growth", "known", "mask", "valid", "weight"}
COLOURS = "albedo base coded detail image images light maps normals points vectors"
VALUES = (
    "after at_edges before brightness coarse depth disparity distance far high low metallic near occlusion ray_distance "
    "roughness share soft target values"
)
NUMBERS = {"end": 1.0, "height_range": 8.0, "strength": 2.0}
CAMERA = {"focal_length_mm": 35.0, "left": 1, "top": 2}
COUNTS = {"growth": 1, "height": HEIGHT, "radius": 2, "width": WIDTH}
TUPLES = {"margin": (2, 3), "new_size": (8, 9), "old_size": (4, 6), "times": (0, 0.5)}
WORDS = {"borders": "free", "layout": "anaglyph", "what": "stereo"}
ARGUMENTS = {
    **dict.fromkeys(COLOURS.split(), lambda: maps(3)),
    **dict.fromkeys(VALUES.split(), maps),
    **dict.fromkeys(("known", "mask", "region", "side", "sky", "valid", "weight"), mask),
    **dict.fromkeys(("estimate", "found", "ground_truth", "self", "wrapped"), estimate),
    **dict.fromkeys(("flow", "slopes"), lambda: maps(2)),
    **(NUMBERS | CAMERA | COUNTS | TUPLES | WORDS),
    "camera_to_world": lambda: torch.eye(4),
    "device": lambda: DEVICE,
    "directions": lambda: one(3),
    "extrinsics": poses,
    **dict.fromkeys(("focal_length", "fov", "fx", "fy"), lambda: random(2)),
    "intrinsics": matrices,
    "move": LoopOptions("orbit"),
    "options": SET,
    "photo": lambda: pbr.relief_of_photo(maps(3), SET),
    "rotation": lambda: matrices()[0],
    "signed": True,
}

# Why a function waits for the device, and which do.
WAITS = {
    "what is small is computed on the CPU, fetched in one copy": (
        "alignment.mosaic.align_values alignment.scale_shift.fit_robustly assumptions.filled_depth assumptions.filled_inverse "
        "assumptions.filled_with_ends camera.find_focal_and_shift temporal.moving_pixels.MovingPixels.push "
        "temporal.stabilization.VideoAligner.push"
    ),
    "refuses intrinsics that are no camera's": (
        "camera.crop_intrinsics camera.depth_to_points camera.depth_to_ray_distance camera.fov_from_intrinsics "
        "camera.intrinsics_from_focal_length camera.pixel_rays camera.pixel_to_ray camera.ray_distance_to_depth camera.ray_to_pixel "
        "camera.resize_intrinsics comfy_dicts.da3_to_estimate comfy_dicts.moge_to_estimate textures.occlusion.depth_to_occlusion "
        "zero_of_normals.cells_of"
    ),
    "refuses angles out of range": "camera.check_fov camera.intrinsics_from_fov",
    "refuses extrinsics that place no camera": "camera.camera_to_world_points camera.world_to_camera_points",
    "refuses what is no image": (
        "images.depth_image.depth_map_to_estimate images.normal_map_image.stored_values views.transparency.opaque_part "
        "views.transparency.split_layers"
    ),
    "refuses depth with holes": "edges.depth_edges.sharpen_depth_edges",
    "compares on the CPU": (
        "alignment.metrics.angle_map alignment.metrics.compare_depth alignment.metrics.compare_normals alignment.metrics.depth_error_map"
    ),
    "gives numbers, not maps": "alignment.metrics.disagreeing_axes images.render.heat_map_end",
    "the image's levels, its noise, the camera, and how long rays or blurs are": (
        "edges.matting.cut_out effects.depth_mask.range_mask effects.depth_of_field.depth_of_field "
        "effects.depths.known_depths effects.fog.add_fog effects.lens.focused effects.lit_scene.lit_scene effects.relight.relief_gloss "
        "effects.relight.relight effects.relight.relight,plain effects.shadows.cast_shadow effects.shadows.cast_shadow,coarse"
    ),
    "its answer is yes or no": (
        "conventions.are_unit_vectors images.normal_map_image.are_vectors textures.height.grey_heights textures.pbr.is_in_doubt"
    ),
    "refuses matrices that are no rotation": "conventions.camera_to_world_normals conventions.world_to_camera_normals",
    "ComfyUI keeps them on the CPU": "comfy_dicts.estimate_to_da3 comfy_dicts.estimate_to_moge",
    "warns of an image that is no normal map": "images.normal_map_image.normal_map_problem images.normal_map_image.normal_map_to_estimate",
    "whether depth has holes: only then is there a mask": "surfaces.derive.mask_of_depth",
    "looks at each image's noise and range and chooses the work by them": (
        "assumptions.assumed_depth edges.refine.refine_geometry surfaces.derive.normals_of_depth surfaces.derive.panorama_normals "
        "surfaces.derive.with_assumed_normals surfaces.derive.with_normals surfaces.normals.depth_to_normals "
        "surfaces.normals.depth_to_normals,soft surfaces.normals.disparity_to_normals textures.occlusion.estimate_to_occlusion"
    ),
    "asks once whether there are any holes": (
        "estimate.Estimate.resized images.render.resized_depth_image surfaces.derive.without_normals "
        "textures.height.normals_to_height textures.pbr.height_map textures.pbr.pbr_maps"
    ),
    "goes to the CPU": "estimate.Estimate.to",
    "counts the pixels to work on, which are few": (
        "edges.depth_edges.depth_at_image_edges edges.stripes.stripe_ends views.disocclusion.fill_uncovered,traces "
        "views.stereo.stereo_pair views.vr.vr_pair"
    ),
    "asks whether any pixel is left without neighbours": "surfaces.scattered_fit.fit_isolated",
    "asks before the first frame how far the move reaches, and of each frame where its holes are": (
        "views.parallax.parallax_frames views.parallax.parallax_of_clip views.parallax.parallax_of_estimate"
    ),
    "few images are brighter than white": "images.tone_mapping.compress_highlights",
    "looks at the pixels of ramps only": "edges.ramp_sharpening.sharpen_ramps",
    "most images have no sky, and few borders of skies are unseen": (
        "regions.before_sky.depth_before_sky regions.sky.sky_alpha regions.sky.sky_matte"
    ),
    "the size of the photo on the sphere follows from its camera": "views.vr.half_sphere_size views.vr.pair_for views.vr.photo_fov",
}
REASONS = {name: reason for reason, names in WAITS.items() for name in names.split()}

# How those are called that the names of their parameters do not say enough of; what follows a comma is another call of the same.
CASES = {
    "alignment.metrics.compare_depth": lambda f: f(estimate(Quantity.DISPARITY), estimate()),
    "alignment.metrics.disagreeing_axes": lambda f: f(estimate(), estimate()),
    "alignment.mosaic.Mosaic": whole_of_tiles,
    "alignment.mosaic.align_mask": lambda f: f(maps(), maps()[..., :9, :9]),
    "alignment.mosaic.align_normals": lambda f: f(maps(3), maps(), maps(3)[..., :9, :9], maps()[..., :9, :9]),
    "alignment.mosaic.align_values": lambda f: f(maps(), maps(), maps()[..., :9, :9], maps()[..., :9, :9]),
    "alignment.mosaic.lay_tiles": lambda f: f(HEIGHT, WIDTH, 2, 3, 0.3),
    "alignment.mosaic.sample": lambda f: f(one(), [mosaic.Tile(0, 0, 9, 9), mosaic.Tile(3, 3, 9, 9)], (48, 64), 8, 8),
    "alignment.mosaic.windows": lambda f: f((0, 10), 14, DEVICE),
    "alignment.scale_shift.fit_robustly": lambda f: f(maps(), maps(), maps(), 1.0),
    "assumptions.assumed_depth": lambda f: f(estimate(Quantity.RELATIVE_DEPTH), 3.0),
    "assumptions.assumed_intrinsics": lambda f: f(depth_only(Quantity.DISPARITY), 60.0),
    "assumptions.filled_with_ends": lambda f: f(depth_only(Quantity.DISPARITY).slice(0, 1), mask(1)),
    "camera.pixel_to_ray": lambda f: f(random(BATCH, 5, 2), matrices()),
    "camera.ray_to_pixel": lambda f: f(random(BATCH, 5, 3), matrices()),
    "comfy_dicts.da3_to_estimate": lambda f: f({"depth": maps()[:, 0], "sky": maps()[:, 0], "intrinsics": matrices()[None]}),
    "comfy_dicts.moge_to_estimate": lambda f: f({"depth": maps()[:, 0], "mask": mask()[:, 0], "intrinsics": matrices()}),
    "conventions.convert_normals": lambda f: f(maps(3), "opengl", "scannet"),
    "edges.matting.cut_out": lambda f: f(one(3), one(), 5.0).colour,
    "edges.ramp_sharpening.sharpen_ramps": lambda f: f(one(), one(3), 2, normals=one(3)),
    "edges.refine.refine_geometry": lambda f: f(estimate(), random(BATCH, 3, 2 * HEIGHT, 2 * WIDTH)),
    "edges.stripes.stripe_ends": lambda f: f(maps(), maps(3), maps(), maps(), mask(), 2),
    "effects.depth_mask.range_mask": lambda f: f(depths.known_depths(an_estimate()), 0.1, 0.5, unit="metres", feather=0.1),
    "effects.depth_of_field.depth_of_field": lambda f: f(one(3), one(), blades=5, highlights=1.0),
    "effects.depths.known_depths": lambda f: f(an_estimate()).share(),
    "effects.fog.add_fog": lambda f: f(one(3), fog.fog_transmittance(one(), matrices(1), 0.1, falloff=0.1), (1, 1, 1)),
    "effects.lens.focused": lambda f: f(an_estimate(), one(3), LensOptions(point=(0.5, 0.5))).circle,
    "effects.lit_scene.lit_scene": lambda f: relight(**vars(f(one(3), an_estimate(), (LightPlan(), LightPlan("point")), sky=True))),
    "effects.relight.relief_gloss": lambda f: f(maps(3), random(2, 1, 1, 1)),
    "effects.relight.relight": lambda f: f(maps(3), maps(3), (SUN, LAMP), depth=maps(), intrinsics=matrices(), **LOOKS, **shares()),
    "effects.relight.relight,plain": lambda f: f(maps(3), maps(3), (SUN, LAMP), depth=maps(), intrinsics=matrices()),
    "effects.relight.roll_off": lambda f: f(maps(3), maps(3)),
    "effects.relight.shine": lambda f: f(maps(3)),
    "effects.shadows.cast_shadow": lambda f: f(maps(), matrices(), SUN, doubt=random(2, 1, 1, 1), blur=maps()),
    "effects.shadows.cast_shadow,coarse": lambda f: f(random(2, 1, 200, 1920), matrices(), LAMP),
    "estimate.Estimate.cat": lambda f: f([estimate(), estimate()]),
    "estimate.Estimate.cut": lambda f: f(estimate(), (..., slice(2, 9), slice(3, 8))),
    "estimate.Estimate.expanded": lambda f: f(Estimate(one(), Quantity.DISPARITY), 3),
    "estimate.Estimate.resized": lambda f: (f(estimate(), 48, 20), f(estimate(), 9, 70, "bicubic")),
    "estimate.Estimate.slice": lambda f: f(estimate(), 1, 2),
    "estimate.Estimate.to": lambda f: f(f(estimate(), "cpu"), DEVICE),
    **dict.fromkeys(
        (f"filters.extremes.{each}" for each in ("largest_along_rows", "median_within", "smallest_within")), lambda f: f(maps(), 2)
    ),
    "filters.guided_filter.mask_at_image_edges": lambda f: f(maps(), maps(3), 5),
    "images.depth_image.depth_map_to_estimate": lambda f: f(maps()),
    "images.depth_image.image_to_depth": lambda f: f(maps(), metric_range=(1.0, 5.0)),
    "images.depth_image.joined_maps": lambda f: f(depth_only(Quantity.DISPARITY), estimate(), HEIGHT, WIDTH),
    "images.render.resized_depth_image": lambda f: f(Estimate(maps(), "disparity"), 9, 11, (random(1, 1, 1, 1), maps().amax())),
    "images.normal_map_image.are_vectors": lambda f: f(maps(3), 0.0),
    "images.normal_map_image.normal_map_problem": lambda f: f(maps(3), estimate().normals),
    "images.normal_map_image.normal_map_to_estimate": lambda f: f(maps(3), "opengl"),
    "images.normal_map_image.stored_values": lambda f: f(maps(4), mask(), "a map"),
    "images.render.colourise": lambda f: f(maps(), "spectral"),
    "images.render.depth_to_image": lambda f: f(
        maps(), "metric_depth", percentiles=(2, 85), as_disparity=True, near="black", colour_map="turbo", mask=mask()
    ),
    "images.tone_mapping.hdr_to_sdr": lambda f: f(maps(3)[0], tone_mapping.HLG),
    "images.tone_mapping.to_709_primaries": lambda f: f(maps(3)[0]),
    "levels.measure_range": lambda f: (f(maps(), mask()), f(maps(), mask(), (2, 85), True)),
    "sphere.cut_view": lambda f: f(maps(3), matrices()[0], 9),
    "sphere.rotations_towards": lambda f: f(random(4, 3)),
    "sphere.view_intrinsics": lambda f: f(9).shape,
    "sphere.with_surroundings": lambda f: f(maps(3), 2),
    "surfaces.derive.normals_of_depth": lambda f: f(depth_only(Quantity.DISPARITY).slice(0, 1)),
    "surfaces.derive.panorama_normals": a_face_of_panorama,
    "surfaces.derive.with_assumed_normals": lambda f: f(Estimate(one(), Quantity.RELATIVE_DEPTH, mask=mask(1))),
    "surfaces.derive.with_normals": lambda f: f(Estimate(one(), Quantity.DISPARITY, mask=mask(1))),
    "surfaces.derive.without_normals": lambda f: f(depth_only(Quantity.DISPARITY)),
    "surfaces.normals.depth_to_normals,soft": lambda f: f(one(), matrices(1), mask(1), "soft"),
    "surfaces.normals.disparity_to_normals": lambda f: f(one(), mask(1)),
    "surfaces.scattered_fit.fit_isolated": lambda f: f(plane_fit.Planes(one(), one(), one()), one(), one(), matrices()[0]),
    "camera.find_focal_and_shift": lambda f: f(maps(3), one(2), mask()),
    "temporal.moving_pixels.MovingPixels.push": moving,
    "temporal.ranges.ClipRange.ends": clip_ends,
    "temporal.ranges.RunningRange.update": lambda f: f(ranges.RunningRange(), maps(), mask(), (2, 98)),
    "temporal.shot_cuts.CutDetector.push": lambda f: f(shot_cuts.CutDetector(), maps(3)),
    "temporal.stabilization.VideoAligner.push": video,
    "textures.curvature.curvature_maps": lambda f: tuple(f(maps(), weight=mask())),
    "textures.detail.PhotoRelief": lambda f: (f(maps(3)).normals(), f(maps(3)).is_in_doubt),
    "textures.height.check_maps": lambda f: f(maps(), 1, "height"),
    "textures.height.grey_heights": lambda f: f(maps(3), maps(1) > 0.5, "height"),
    "textures.height.height_to_image": lambda f: f(maps(), mask()),
    "textures.height.height_to_normals": lambda f: [f(maps(), derivative=way) for way in DERIVATIVES],
    "textures.height.normals_to_height": lambda f: (f(maps(3), weight=mask(), level=True), f(maps(3), derivative="spline")),
    "textures.occlusion.depth_to_occlusion": lambda f: f(maps(), matrices(), maps(3), radius=4, directions=4, weight=mask()),
    "textures.occlusion.estimate_to_occlusion": lambda f: f(estimate(), radius=4, directions=4),
    "textures.occlusion.height_to_occlusion": lambda f: f(maps(), radius=4, directions=4, weight=mask()),
    "textures.pbr.check_source": lambda f: f("both", True, True),
    "textures.pbr.relief_of_photo": lambda f: f(maps(3), SET).height(),
    "textures.seamless.margins": lambda f: f(20, 30, 0.2),
    "textures.slopes.adjoint": lambda f: [f(maps(2), seam, "spline") for seam in (False, True)],
    "views.disocclusion.fill_uncovered,traces": lambda f: f(maps(3), maps(), traces=True),
    "views.parallax.parallax_frames": lambda f: f(maps(3), 1 + maps(), matrices(), parallax.camera_path("dolly", 2, 0.1)),
    "views.parallax.camera_path": lambda f: f("orbit", 4, 0.1),
    "views.parallax.parallax_of_clip": lambda f: f(one(3), an_estimate(), LoopOptions("orbit"), (0.5,)),
    "views.parallax.parallax_of_estimate": lambda f: f(one(3), next(iter(estimate().split())), parallax.camera_path("dolly", 2, 0.1)),
    **dict.fromkeys(("views.stereo.compose", "views.stereo.compose_holes"), every_layout),
    "views.stereo.nearness_share": lambda f: f(depth_only(Quantity.DISPARITY), maps()[:1, :, :1, :1], maps()[:1, :, :1, :1], 0.0),
    "views.transparency.opaque_part": lambda f: f(estimate(), maps(4)),
    "views.transparency.split_layers": lambda f: f(maps(4)),
    "views.vr.half_sphere_size": lambda f: f(estimate(), 28),
    "views.vr.pair_for": lambda f: f(maps(3), estimate(), "vr180", HALF_SPHERE),
    "views.vr.vr_pair": lambda f: f(maps(3), replace(depth_only(), projection=Projection.EQUIRECTANGULAR), "360-tb"),
    "zero_of_normals.cells_of": lambda f: f(estimate(), matrices()),
    "zero_of_normals.inverse_ratio": lambda f: f(np.random.default_rng(0).random((5, 9, 12)), np.eye(3), 0.1, 0.9),
}


def function_of(case):
    """The function that a case is of: what follows a comma says how it is called."""
    return pkgutil.resolve_name(f"{geometry.__name__}.{case.partition(',')[0]}")


def public_functions():
    """The names of all functions that modules of `geometry` define, as `function_of` takes them."""
    for found in pkgutil.walk_packages(geometry.__path__, f"{geometry.__name__}."):
        if found.name.endswith("_kernel"):  # imported only where Triton is
            continue
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if inspect.unwrap(function).__module__ == module.__name__ and not name.startswith("_"):
                yield f"{found.name.removeprefix(geometry.__name__ + '.')}.{name}"


def called(name):
    function = function_of(name)
    if name in CASES:
        result = CASES[name](function)
    else:
        parameters = inspect.signature(function).parameters.values()
        given = {each.name: ARGUMENTS[each.name] for each in parameters if each.name in OPTIONAL or each.default is each.empty}
        result = function(**{name: value() if callable(value) else value for name, value in given.items()})
    return list(result) if isinstance(result, Iterator) else result


def numbers_of(value):
    """All tensors and all numbers of a result."""
    if isinstance(value, (torch.Tensor, bool, int, float)):
        return [value]
    if is_dataclass(value):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [number for part in parts for number in numbers_of(part)]


def devices_of(value):
    return {each.device for each in numbers_of(value) if isinstance(each, torch.Tensor)}


def on_cpu(value):
    numbers = numbers_of(value)
    return [each.detach().cpu() if isinstance(each, torch.Tensor) else torch.tensor(each, dtype=torch.float64) for each in numbers]


METHODS = [f"estimate.Estimate.{name}" for name, _ in inspect.getmembers(Estimate, inspect.isfunction) if not name.startswith("_")]
NAMES = sorted({*METHODS, *CASES, *(name for name in public_functions() if not LEFT_OUT.match(name))})


def test_who_waits_exists():
    assert set(REASONS) <= set(NAMES)


@pytest.mark.slow("follows every public function without its device")
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_a_device_and_says_why_it_waits(name):
    reason = REASONS.get(name)
    result, asked = ask(lambda: called(name))
    assert (asked > 0) == (reason is not None), f"{asked} questions to the device; the stated reason is {reason!r}"
    of_numbers = {"camera.intrinsics_from_sensor", "sphere.view_rotations", "views.parallax.camera_path", "views.parallax.looped_positions"}
    if name not in of_numbers and "CPU" not in (reason or ""):
        assert devices_of(result) <= {DEVICE}, "the result stays on the device of what came in"


@pytest.mark.quick_cases(40)
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_in_what_its_maps_are_whatever_torch_is_set_to(name, monkeypatch):
    monkeypatch.setitem(globals(), "DEVICE", torch.device("cpu"))
    found = []
    try:
        for dtype in (torch.float64, torch.bfloat16, torch.float32):
            other = dtype is not torch.float32
            torch.manual_seed(1)
            torch.set_default_dtype(dtype)
            # A table that is kept would be of one dtype in all runs.
            nothing_kept = patch("depth_normal.utils._holds_numbers", return_value=False) if other else nullcontext()
            with torch.autocast("cpu", torch.bfloat16, enabled=other), nothing_kept:
                found.append(on_cpu(called(name)))
    finally:
        torch.set_default_dtype(torch.float32)
    *others, plain = found
    for other in others:
        for cast, expected in zip(other, plain, strict=True):
            torch.testing.assert_close(cast, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


# Part of functions that have no gradient.
WITHOUT_GRADIENT = {"images.tone_mapping.coded_bt1886"}
WORK_IN_PLACE = {f"effects.relight.{name}" for name in ("relight", "relief_gloss", "shine")} | {"edges.stripes.stripe_ends"}


@pytest.mark.quick_cases(20)
@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT_GRADIENT))
def test_maps_may_require_a_gradient(name, monkeypatch):
    """Those that give one can be part of a loss, if they do not work in place."""
    monkeypatch.setitem(globals(), "DEVICE", torch.device("cpu"))
    monkeypatch.setitem(globals(), "random", lambda *shape: torch.rand(shape, dtype=torch.float32).requires_grad_())
    for found in numbers_of(called(name)):
        if isinstance(found, torch.Tensor) and found.requires_grad and name not in WORK_IN_PLACE:
            found.nan_to_num().sum().backward(retain_graph=True)


# Normals of noise change as much where depth changes by a millionth; a CPU computes only the pixels of stripes, and others are not used.
NOT_THE_SAME = {"surfaces.derive.panorama_normals", "edges.stripes.stripe_ends"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_THE_SAME) if torch.cuda.is_available() else ["every case"])
def test_cuda_gives_what_the_cpu_gives(name, monkeypatch):
    """Of values that lie near a threshold few may fall to the other side."""
    found = []
    for device in ("cpu", "cuda:0"):
        monkeypatch.setitem(globals(), "DEVICE", torch.device(device))
        torch.manual_seed(1)
        found.append(on_cpu(called(name)))
    for expected, on_gpu in zip(*([each.double().numpy() for each in numbers] for numbers in found), strict=True):
        finite = np.abs(expected[np.isfinite(expected)])
        alike = np.isclose(on_gpu, expected, rtol=0, atol=1e-3 * finite.max(initial=0), equal_nan=True)
        assert alike.sum() >= 0.99 * alike.size


@pytest.mark.parametrize(
    ("call", "questions"),
    [
        (lambda: replace(estimate(), intrinsics=None).resized(40, 9), 1),
        (lambda: replace(estimate(), intrinsics=None).resized(40, 9, "bicubic"), 1),
        (lambda: before_sky.depth_before_sky(1 + maps(), maps(3), depth_only()), 2),
    ],
    ids=["bilinear", "bicubic", "holes and sky"],
)
def test_a_batch_is_asked_together_and_only_whether_there_are_any_holes(call, questions):
    result, asked = ask(call, truth=False)
    assert devices_of(result) == {DEVICE} and asked == questions


def test_a_tensor_left_on_the_cpu_is_found():
    with pytest.raises(RuntimeError, match="device"):
        ask(lambda: maps() + torch.ones(BATCH, 1, HEIGHT, WIDTH))
