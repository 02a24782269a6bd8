"""Every public function of `geometry/` on a device that this machine need not have: no op mixes devices, and who waits for values says so.

Fake tensors know shape, dtype and device but hold no numbers. Where a function asks for a number all the same, on a GPU the program waits
until everything before is computed; here the question is answered and noted.
"""

import functools
import importlib
import inspect
import pkgutil
import re
from contextlib import nullcontext
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
from depth_normal.geometry import assumptions, camera, checks, comfy_dicts, conventions, levels, projections, sphere, valid
from depth_normal.geometry.alignment import metrics, mosaic, scale_shift
from depth_normal.geometry.edges import depth_edges, ramp_sharpening, refine, stretches, stripes
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.filters import bands, box, chosen_pixels, coarse, extremes, guided_filter, transforms
from depth_normal.geometry.images import depth_image, display_defaults, highlights, normal_map_image, render, srgb, tone_mapping
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.regions import before_sky, sky, sky_matte
from depth_normal.geometry.surfaces import derive, noise, normals, panorama_normals, plane_fit, point_map, sparse_fit, upsampling
from depth_normal.geometry.temporal import camera_motion, moving_pixels, optical_flow, ranges, shot_cuts, stabilization
from depth_normal.geometry.textures import curvature, detail, height, materials, occlusion, pbr, seamless, simple_materials, slopes
from depth_normal.geometry.views import disocclusion, forward_warp, gaps, parallax, soft_edges, stereo, transparency, vr
from depth_normal.options.parallax import LoopOptions
from depth_normal.options.textures import DERIVATIVES

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


@pytest.fixture
def ask():
    """Runs a function on fake tensors, and another default device; gives its result and how often it asked."""

    def run(call, truth=True):
        with FakeTensorMode(), Questions(truth) as questions, torch.device(DEVICE.type, 1):
            return call(), questions.asked

    return run


def random(*shape):
    """The same numbers on every device, after the same seed."""
    return torch.rand(shape, dtype=torch.float32).to(DEVICE)


def maps(channels=1):
    return random(BATCH, channels, HEIGHT, WIDTH)


def mask():
    return maps() > 0.5


def matrices(batch=BATCH):
    return torch.eye(3, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def poses(batch=BATCH):
    return torch.eye(3, 4, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def estimate(quantity=Quantity.METRIC_DEPTH):
    return Estimate(maps(), quantity, normals=maps(3), mask=mask(), intrinsics=matrices(), confidence=maps(), extrinsics=poses())


def depth_only(quantity):
    return Estimate(maps(), quantity, mask=mask())


def surface():
    return forward_warp.Layer(maps(3), maps(), (2, 1))


def view():
    one = torch.ones_like(random(BATCH, 1, 1, 1))
    return forward_warp.View(one, one, one, one, 0.1, one, one, sideways=False, stretch=2)


def eyes():
    return stereo.StereoPair(maps(3), maps(3), mask(), mask())


def panorama():
    return Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask(), projection=Projection.EQUIRECTANGULAR)


def clip_ends():
    clip = ranges.ClipRange()
    clip.add(maps(), mask())
    return clip.ends(maps(), mask(), (2, 98))


def video():
    aligner = stabilization.VideoAligner()
    return [aligner.push(maps(3), Estimate(maps(), Quantity.METRIC_DEPTH, normals=maps(3), mask=mask())) for _ in range(2)]


def moving():
    found = moving_pixels.MovingPixels()
    return [found.push(maps(3)[:1], torch.zeros((), dtype=torch.bool, device=DEVICE)) for _ in range(2)]


def whole_of_tiles():
    grid = mosaic.lay_tiles(HEIGHT, WIDTH, 2, 2, 0.3)
    whole = mosaic.Mosaic(grid, 1, DEVICE)
    for row in whole.rows():
        row.add(random(2, 1, grid.tile_height, grid.tile_width))
    return whole.result


CAMERA = "refuses intrinsics that are no camera's"
POSE = "refuses extrinsics that place no camera"
FEW = "counts the pixels to work on, which are few"
DEPTH = "refuses depth with holes"
ANGLE = "refuses angles out of range"
ROTATION = "refuses matrices that are no rotation"
HOLES = "asks once whether there are any holes"
ONE_BY_ONE = "looks at each image's noise and range and chooses the work by them"
SMALL = "what is small is computed on the CPU, fetched in one copy"
NUMBERS = "gives numbers, not maps"
NO_NORMAL_MAP = "warns of an image that is no normal map"

# Meshes are arrays, and regions are searched pixel by pixel: what comes in is moved to the CPU first.
TESTED_ELSEWHERE = ("effects.", "files.", "edges.matting")
PHOTO = "the size of the photo on the sphere follows from its camera"
HALF_SPHERE = stereo.StereoOptions(eye_size=64)
SET = pbr.PbrOptions(borders="seamless", directions=4)
ON_THE_CPU = (
    "meshes.relief",
    "meshes.hidden",
    "meshes.mesh_cuts",
    "meshes.mesh",
    "meshes.splats",
    "meshes.rims",
    "meshes.simplify",
    "surfaces.scattered_fit",
    "regions.connected",
    "regions.objects",
    "regions.boxes",
    "regions.cut",
    "regions.parts",
    "regions.paths",
    "regions.points",
    "regions.merging",
    "regions.nearness",
    "regions.mixtures",
    "regions.planes",
    "panorama.merge",
    "panorama.affine",
)

# function: how it is called, and why it waits for the device where it does
CASES = {
    "alignment.scale_shift.fit_scale_shift": (lambda: scale_shift.fit_scale_shift(maps(), maps(), mask()), None),
    "alignment.scale_shift.fit_robustly": (lambda: scale_shift.fit_robustly(maps(), maps(), maps(), 1.0), SMALL),
    "camera.intrinsics_from_focal_length": (lambda: camera.intrinsics_from_focal_length(torch.ones(2, device=DEVICE), 4, 6), CAMERA),
    "camera.check_fov": (lambda: camera.check_fov(torch.ones(2, device=DEVICE)), ANGLE),
    "camera.intrinsics_from_fov": (lambda: camera.intrinsics_from_fov(torch.ones(2, device=DEVICE), 4, 6), ANGLE),
    "camera.intrinsics_from_sensor": (lambda: camera.intrinsics_from_sensor(35.0, 4, 6), None),
    "camera.fov_from_intrinsics": (lambda: camera.fov_from_intrinsics(matrices(), 4, 6), CAMERA),
    "camera.resize_intrinsics": (lambda: camera.resize_intrinsics(matrices(), (4, 6), (8, 9)), CAMERA),
    "camera.scaled_intrinsics": (lambda: camera.scaled_intrinsics(matrices(), (4, 6), (8, 9)), None),
    "camera.crop_intrinsics": (lambda: camera.crop_intrinsics(matrices(), 1, 2), CAMERA),
    "camera.rays_of_pixels": (lambda: camera.rays_of_pixels(matrices(), HEIGHT, WIDTH), None),
    "camera.pixel_rays": (lambda: camera.pixel_rays(matrices(), HEIGHT, WIDTH), CAMERA),
    "camera.pixel_to_ray": (lambda: camera.pixel_to_ray(random(BATCH, 5, 2), matrices()), CAMERA),
    "camera.ray_to_pixel": (lambda: camera.ray_to_pixel(random(BATCH, 5, 3), matrices()), CAMERA),
    "camera.depth_to_ray_distance": (lambda: camera.depth_to_ray_distance(maps(), matrices()), CAMERA),
    "camera.ray_distance_to_depth": (lambda: camera.ray_distance_to_depth(maps(), matrices()), CAMERA),
    "camera.world_to_camera_points": (lambda: camera.world_to_camera_points(maps(3), poses()), POSE),
    "camera.camera_to_world_points": (lambda: camera.camera_to_world_points(maps(3), poses()), POSE),
    "camera.depth_to_points": (lambda: camera.depth_to_points(maps(), matrices()), CAMERA),
    "checks.check_map": (lambda: checks.check_map(maps(), 1, "depth", like=maps(3)), None),
    "checks.check_image": (lambda: checks.check_image(maps(3)), "refuses what is no image"),
    "checks.check_mask": (lambda: checks.check_mask(mask(), maps()), None),
    "checks.check_depth": (lambda: checks.check_depth(maps()), DEPTH),
    "checks.check_intrinsics": (lambda: checks.check_intrinsics(matrices(), BATCH, maps()), CAMERA),
    "checks.check_view": (lambda: checks.check_view(maps(), matrices()), CAMERA),
    "checks.check_extrinsics": (lambda: checks.check_extrinsics(poses(), BATCH, maps()), POSE),
    "checks.check_image_of": (lambda: checks.check_image_of(random(1, 3, HEIGHT, WIDTH), 1, HEIGHT, WIDTH), None),
    "checks.check_alike": (lambda: checks.check_alike("depth", (HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)), None),
    "alignment.metrics.compare_normals": (lambda: metrics.compare_normals(estimate(), estimate()), "compares on the CPU"),
    "alignment.metrics.compare_depth": (lambda: metrics.compare_depth(estimate(Quantity.DISPARITY), estimate()), "compares on the CPU"),
    "alignment.metrics.angle_map": (lambda: metrics.angle_map(estimate(), estimate()).shape, "compares on the CPU"),
    "alignment.metrics.depth_error_map": (lambda: metrics.depth_error_map(estimate(), estimate()).shape, "compares on the CPU"),
    "alignment.metrics.disagreeing_axes": (lambda: metrics.disagreeing_axes(estimate(), estimate()), NUMBERS),
    "conventions.convert_normals": (lambda: conventions.convert_normals(maps(3), "opengl", "scannet"), None),
    "conventions.encode_normal_map": (lambda: conventions.encode_normal_map(maps(3), "controlnet-1.0-normal"), None),
    "conventions.decode_normal_map": (lambda: conventions.decode_normal_map(maps(3), "directx"), None),
    "conventions.are_unit_vectors": (lambda: conventions.are_unit_vectors(maps(3)), "its answer is yes or no"),
    "conventions.unit_normals": (lambda: conventions.unit_normals(maps(3)), None),
    "conventions.camera_to_world_normals": (lambda: conventions.camera_to_world_normals(maps(3), torch.eye(4)), ROTATION),
    "conventions.world_to_camera_normals": (lambda: conventions.world_to_camera_normals(maps(3), torch.eye(4)), ROTATION),
    "conventions.scale_normal_strength": (lambda: conventions.scale_normal_strength(maps(3), 2.0), None),
    "conventions.blend_normals": (lambda: conventions.blend_normals(maps(3), maps(3)), None),
    "comfy_dicts.estimate_to_moge": (lambda: comfy_dicts.estimate_to_moge(estimate(), maps(3)), "ComfyUI keeps them on the CPU"),
    "comfy_dicts.moge_to_estimate": (
        lambda: comfy_dicts.moge_to_estimate({"depth": maps()[:, 0], "mask": mask()[:, 0], "intrinsics": matrices()}),
        CAMERA,
    ),
    "comfy_dicts.estimate_to_da3": (lambda: comfy_dicts.estimate_to_da3(estimate(), maps(3)), "ComfyUI keeps them on the CPU"),
    "comfy_dicts.da3_to_estimate": (
        lambda: comfy_dicts.da3_to_estimate({"depth": maps()[:, 0], "sky": maps()[:, 0], "intrinsics": matrices()[None]}),
        CAMERA,
    ),
    "temporal.shot_cuts.shared_contrast": (lambda: shot_cuts.shared_contrast(maps(3), maps(3)), None),
    "temporal.shot_cuts.CutDetector.push": (lambda: shot_cuts.CutDetector().push(maps(3)), None),
    "images.depth_image.joined_maps": (lambda: depth_image.joined_maps(depth_only(Quantity.DISPARITY), estimate(), HEIGHT, WIDTH), None),
    "images.normal_map_image.stored_values": (
        lambda: normal_map_image.stored_values(maps(4), mask(), "a map"),
        "refuses a map without any value",
    ),
    "images.depth_image.depth_map_to_estimate": (lambda: depth_image.depth_map_to_estimate(maps()), "refuses what is no depth map"),
    "images.normal_map_image.normal_map_to_estimate": (lambda: normal_map_image.normal_map_to_estimate(maps(3), "opengl"), NO_NORMAL_MAP),
    "images.normal_map_image.normal_map_problem": (lambda: normal_map_image.normal_map_problem(maps(3), estimate().normals), NO_NORMAL_MAP),
    "images.depth_image.image_to_depth": (lambda: depth_image.image_to_depth(maps(), metric_range=(1.0, 5.0)), None),
    "surfaces.derive.mask_of_depth": (
        lambda: derive.mask_of_depth(depth_only(Quantity.DISPARITY)),
        "whether depth has holes: only then is there a mask",
    ),
    "surfaces.derive.normals_of_depth": (lambda: derive.normals_of_depth(depth_only(Quantity.DISPARITY)), ONE_BY_ONE),
    "surfaces.derive.with_normals": (lambda: derive.with_normals(Estimate(maps()[:1], Quantity.DISPARITY, mask=mask()[:1])), ONE_BY_ONE),
    "surfaces.derive.without_normals": (lambda: derive.without_normals(depth_only(Quantity.DISPARITY)), HOLES),
    "surfaces.noise.measure_noise": (lambda: noise.measure_noise(maps()[:1], maps()[:1]), ONE_BY_ONE),
    "estimate.Estimate.cat": (lambda: Estimate.cat([estimate(), estimate()]), None),
    "estimate.Estimate.expanded": (lambda: Estimate(maps()[:1], Quantity.DISPARITY).expanded(3), None),
    "estimate.Estimate.cut": (lambda: estimate().cut((..., slice(2, 9), slice(3, 8))), None),
    "estimate.Estimate.slice": (lambda: estimate().slice(1, 2), None),
    "estimate.Estimate.split": (lambda: list(estimate().split()), None),
    "estimate.Estimate.resized": (lambda: (estimate().resized(48, 20), estimate().resized(9, 70, "bicubic")), HOLES),
    "estimate.Estimate.where_known": (lambda: estimate().where_known(mask()), None),
    "estimate.Estimate.to": (lambda: estimate().to("cpu").to(DEVICE), "goes to the CPU"),
    "edges.depth_edges.sharpen_known_depth": (lambda: depth_edges.sharpen_known_depth(maps(), 2, 1), None),
    "edges.depth_edges.sharpened_inverse": (lambda: depth_edges.sharpened_inverse(maps(), 2, 1), None),
    "edges.depth_edges.sharpen_depth_edges": (lambda: depth_edges.sharpen_depth_edges(maps(), 2, 1), DEPTH),
    "edges.depth_edges.depth_at_image_edges": (lambda: depth_edges.depth_at_image_edges(maps(), maps(3)), FEW),
    "edges.depth_edges.find_ramps": (lambda: depth_edges.find_ramps(maps(), 2), None),
    "edges.depth_edges.colour_means": (lambda: depth_edges.colour_means(maps(3), maps(), maps(), 2), None),
    "edges.depth_edges.colour_fit": (lambda: depth_edges.colour_fit(maps(3), maps(), maps(), 2), None),
    "filters.chosen_pixels.summed_rows": (
        lambda: chosen_pixels.summed_rows(maps(3)[0, 0], torch.zeros(5, 4, dtype=torch.long, device=DEVICE)),
        None,
    ),
    "filters.chosen_pixels.places_where": (lambda: chosen_pixels.places_where(mask()), "how many are chosen"),
    "filters.chosen_pixels.pixels_where": (lambda: chosen_pixels.pixels_where(mask()), "how many are chosen"),
    "filters.chosen_pixels.chosen_places": (lambda: chosen_pixels.chosen_places(mask()), None),
    "filters.chosen_pixels.values_at": (lambda: chosen_pixels.values_at(maps(), maps().flatten().long()), None),
    "filters.chosen_pixels.located": (lambda: chosen_pixels.located(maps().flatten().long(), *maps()[:, 0].shape), None),
    "filters.chosen_pixels.rows_and_columns": (lambda: chosen_pixels.rows_and_columns(maps().flatten().long(), *maps().shape[-2:]), None),
    "edges.depth_edges.edge_growth": (lambda: depth_edges.edge_growth(20, 30), None),
    "edges.depth_edges.edge_radius": (lambda: depth_edges.edge_radius(20, 30), None),
    "filters.extremes.neighbours_largest": (lambda: extremes.neighbours_largest(maps()), None),
    "filters.extremes.largest_within": (lambda: extremes.largest_within(maps(), 2), None),
    "filters.extremes.largest_along_rows": (lambda: extremes.largest_along_rows(maps(), 2), None),
    "filters.extremes.median_within": (lambda: extremes.median_within(maps(), 2), None),
    "filters.coarse.shrunk": (lambda: coarse.shrunk(maps(), 5), None),
    "filters.coarse.middles_of": (lambda: coarse.middles_of(maps(), 5), None),
    "filters.coarse.enlarged": (lambda: coarse.enlarged(maps(), 5, (119, 162)), None),
    "filters.extremes.smallest_within": (lambda: extremes.smallest_within(maps(), 2), None),
    "filters.extremes.extremes_around": (lambda: extremes.extremes_around(maps(), 1, 3), None),
    "filters.extremes.extremes_within": (lambda: extremes.extremes_within(maps(), 2), None),
    "edges.stripes.stripe_ends": (lambda: stripes.stripe_ends(maps(), maps(3), maps(), maps() + 1, mask(), 2), FEW),
    "temporal.ranges.RunningRange.update": (lambda: ranges.RunningRange().update(maps(), mask(), (2, 98)), None),
    "temporal.ranges.ClipRange.ends": (clip_ends, None),
    "views.parallax.looped_positions": (lambda: parallax.looped_positions(LoopOptions("orbit"), [0, 0.5]), None),
    "levels.are_ends_apart": (lambda: levels.are_ends_apart(0.0, 1.0), None),
    "levels.are_apart": (lambda: levels.are_apart(maps(), maps()), None),
    "levels.depth_to_nearness": (lambda: levels.depth_to_nearness(maps(), Quantity.METRIC_DEPTH, True), None),
    "levels.measure_range": (lambda: (levels.measure_range(maps(), mask()), levels.measure_range(maps(), mask(), (2, 85), True)), None),
    "levels.measure_range_of_samples": (lambda: levels.measure_range_of_samples(maps(), mask(), (2, 98)), None),
    "levels.measure_range_of_most": (lambda: levels.measure_range_of_most(maps(), mask(), (2, 98)), None),
    "levels.samples_of": (lambda: levels.samples_of(maps(), mask()), None),
    "levels.in_order": (lambda: torch.from_numpy(levels.in_order(maps().cpu())[:1]).to(DEVICE), SMALL),
    "levels.at_percentiles": (lambda: levels.at_percentiles(np.arange(3.0), (0.0, 50.0)), None),
    "levels.sample_stride": (lambda: levels.sample_stride(HEIGHT * WIDTH), None),
    "levels.sampled": (lambda: levels.sampled(maps()[:1], mask()[:1]), "gives a number of values that only it knows"),
    "levels.value_at_ranks": (lambda: levels.value_at_ranks(maps(), mask(), [0, 1]), None),
    "assumptions.assumed_depth": (lambda: assumptions.assumed_depth(estimate(Quantity.RELATIVE_DEPTH), 3.0), ONE_BY_ONE),
    "assumptions.filled_with_ends": (lambda: assumptions.filled_with_ends(depth_only(Quantity.DISPARITY).slice(0, 1), mask()[:1]), SMALL),
    "assumptions.filled_inverse": (lambda: assumptions.filled_inverse(estimate()), SMALL),
    "assumptions.filled_depth": (lambda: assumptions.filled_depth(estimate()), SMALL),
    "assumptions.assumed_intrinsics": (lambda: assumptions.assumed_intrinsics(depth_only(Quantity.DISPARITY), 60.0), None),
    "alignment.mosaic.lay_tiles": (lambda: mosaic.lay_tiles(HEIGHT, WIDTH, 2, 3, 0.3), None),
    "alignment.mosaic.windows": (lambda: mosaic.windows((0, 10), 14, DEVICE), None),
    "alignment.mosaic.sample": (
        lambda: mosaic.sample(maps()[:1], [mosaic.Tile(0, 0, 9, 9), mosaic.Tile(3, 3, 9, 9)], (48, 64), 8, 8),
        None,
    ),
    "alignment.mosaic.cells_of": (lambda: mosaic.cells_of(100.0, 80.0), None),
    "alignment.mosaic.align_values": (lambda: mosaic.align_values(maps(), maps(), maps()[..., :9, :9], maps()[..., :9, :9]), SMALL),
    "alignment.mosaic.align_normals": (lambda: mosaic.align_normals(maps(3), maps(), maps(3)[..., :9, :9], maps()[..., :9, :9]), None),
    "alignment.mosaic.align_mask": (lambda: mosaic.align_mask(maps(), maps()[..., :9, :9]), None),
    "alignment.mosaic.Mosaic": (whole_of_tiles, None),
    "temporal.camera_motion.camera_motion": (lambda: camera_motion.camera_motion(maps(3)[:1], maps(3)[:1]), SMALL),
    "temporal.camera_motion.has_settled": (lambda: camera_motion.has_settled(torch.eye(3, device=DEVICE), 0.1), None),
    "temporal.camera_motion.camera_motion, from a start": (
        lambda: camera_motion.camera_motion(maps(3)[:1], maps(3)[:1], matrices(1)[:, :2]),
        FEW,
    ),
    "temporal.camera_motion.moved": (lambda: camera_motion.moved(maps()[:1], matrices(1)[:, :2], "zeros"), None),
    "temporal.camera_motion.sampled": (
        lambda: camera_motion.sampled(maps()[:1], camera_motion.sampling_grid(matrices(1)[:, :2], 4, 5), "zeros"),
        None,
    ),
    "temporal.camera_motion.sampling_grid": (lambda: camera_motion.sampling_grid(matrices(1)[:, :2], 4, 5), None),
    "temporal.camera_motion.square": (lambda: camera_motion.square(matrices(1)[:, :2]), None),
    "temporal.camera_motion.solve_positive_definite": (
        lambda: camera_motion.solve_positive_definite(matrices(1)[0], matrices(1)[0, :, :1]),
        None,
    ),
    "temporal.optical_flow.optical_flow": (lambda: optical_flow.optical_flow(maps(), maps()), None),
    "temporal.optical_flow.FlowTarget.flow_from": (lambda: optical_flow.FlowTarget(maps()).flow_from(maps()), None),
    "temporal.optical_flow.window_mean": (lambda: optical_flow.window_mean(maps()), None),
    "temporal.optical_flow.texture": (lambda: optical_flow.texture(maps()), None),
    "temporal.optical_flow.warped": (lambda: optical_flow.warped(maps(), maps(2)), None),
    "temporal.moving_pixels.MovingPixels.push": (moving, SMALL),
    "surfaces.normals.midas_normals": (lambda: normals.midas_normals(maps()), None),
    "surfaces.normals.dmap2norm": (lambda: normals.dmap2norm(maps()), None),
    "surfaces.normals.depth_to_normals": (lambda: normals.depth_to_normals(maps()[:1], matrices(1), mask()[:1], "auto"), ONE_BY_ONE),
    "surfaces.normals.disparity_to_normals": (lambda: normals.disparity_to_normals(maps()[:1], mask()[:1], 60.0), ONE_BY_ONE),
    "views.parallax.camera_path": (lambda: parallax.camera_path("orbit", 4, 0.1), None),
    "views.parallax.parallax_frames": (
        lambda: list(parallax.parallax_frames(maps(3), 1 + maps(), matrices(), parallax.camera_path("dolly", 2, 0.1))),
        "asks once, before the first frame, how far the move reaches; and of each frame where its holes are",
    ),
    "filters.guided_filter.mask_at_image_edges": (lambda: guided_filter.mask_at_image_edges(maps(), maps(3), 5), None),
    "filters.box.box_means": (lambda: box.box_means(maps(), 2), None),
    "filters.box.is_pooled": (lambda: box.is_pooled(maps(), 2), None),
    "filters.box.pooled": (lambda: box.pooled(torch.nn.functional.max_pool2d, maps(), 3), None),
    "filters.box.box_counts": (lambda: box.box_counts(maps(), 2), None),
    "filters.box.box_sums": (lambda: box.box_sums(maps(), 2), None),
    "filters.guided_filter.fit_of_means": (lambda: guided_filter.fit_of_means(maps(13), 2), None),
    "filters.guided_filter.fitted": (lambda: guided_filter.fitted(maps(4), maps(3), 1), None),
    "filters.guided_filter.moments": (lambda: guided_filter.moments(maps(), maps(3)), None),
    "views.parallax.parallax_of_clip": (
        lambda: list(parallax.parallax_of_clip(maps(3), estimate(), LoopOptions("orbit"), [0, 0.5])),
        HOLES + "; and of each frame how far the move reaches and where its holes are",
    ),
    "views.parallax.parallax_of_estimate": (
        lambda: list(parallax.parallax_of_estimate(maps(3)[:1], next(iter(estimate().split())), parallax.camera_path("dolly", 2, 0.1))),
        HOLES + "; and once, before the first frame, how far the move reaches; and of each frame where its holes are",
    ),
    "filters.bands.by_bands": (lambda: bands.by_bands(lambda padded: (padded[..., 2:-2, 2:-2],), 2, maps()), None),
    "surfaces.plane_fit.fit_planes": (
        lambda: plane_fit.fit_planes(
            maps()[:1],
            maps()[:1],
            30.0,
            noise.DepthNoise(noise=0.1, noise_length=3.0, pixel_noise=0.1, step=0.01, step_power=2, soft=True),
            True,
        ),
        ONE_BY_ONE,
    ),
    "images.srgb.srgb_to_linear": (lambda: srgb.srgb_to_linear(maps(3)), None),
    "images.srgb.linear_to_srgb": (lambda: srgb.linear_to_srgb(maps(3)), None),
    "images.highlights.compress_highlights": (lambda: highlights.compress_highlights(maps(3))[0], "few images are brighter than white"),
    "images.srgb.luminance": (lambda: srgb.luminance(maps(3)), None),
    "images.srgb.colour_to_linear": (lambda: srgb.colour_to_linear("#fff"), None),
    "images.tone_mapping.hdr_to_sdr": (lambda: tone_mapping.hdr_to_sdr(maps(3)[0], tone_mapping.HLG), None),
    "images.tone_mapping.pq_to_light": (lambda: tone_mapping.pq_to_light(maps(3)), None),
    "images.tone_mapping.to_709_primaries": (lambda: tone_mapping.to_709_primaries(maps(3)[0]), None),
    "images.tone_mapping.coded_bt1886": (lambda: tone_mapping.coded_bt1886(maps(3)), None),
    "edges.refine.refine_geometry": (lambda: refine.refine_geometry(estimate(), random(BATCH, 3, 2 * HEIGHT, 2 * WIDTH)), ONE_BY_ONE),
    "edges.ramp_sharpening.ramp_width": (lambda: ramp_sharpening.ramp_width(maps()[:1]), "gives a number"),
    "edges.ramp_sharpening.sharpen_ramps": (
        lambda: ramp_sharpening.sharpen_ramps(maps()[:1], maps(3)[:1], 2, normals=maps(3)[:1]),
        "looks at the pixels of ramps only",
    ),
    "surfaces.panorama_normals.panorama_normals": (lambda: panorama_normals.panorama_normals(maps()[:1], mask()[:1]), ONE_BY_ONE),
    "sphere.panorama_directions": (lambda: sphere.panorama_directions(HEIGHT, WIDTH, DEVICE), None),
    "sphere.panorama_points": (lambda: sphere.panorama_points(maps()), None),
    "sphere.view_rotations": (lambda: sphere.view_rotations(), None),
    "sphere.cube_rotations": (lambda: sphere.cube_rotations(DEVICE), None),
    "sphere.rotations_towards": (lambda: sphere.rotations_towards(random(4, 3)), None),
    "sphere.view_intrinsics": (lambda: sphere.view_intrinsics(9).shape, None),
    "sphere.cut_view": (lambda: sphere.cut_view(maps(3), matrices()[0], 9), None),
    "sphere.with_surroundings": (lambda: sphere.with_surroundings(maps(3), 2), None),
    "sphere.in_view": (lambda: sphere.in_view(maps(3)[:1], matrices()[0]), None),
    "projections.need_perspective": (lambda: projections.need_perspective(estimate(), "stereo"), None),
    "images.render.normalise_per_image": (lambda: render.normalise_per_image(maps()), None),
    "images.render.depth_to_image": (
        lambda: render.depth_to_image(
            maps(), "metric_depth", percentiles=(2, 85), as_disparity=True, near="black", colour_map="turbo", mask=mask()
        ),
        None,
    ),
    "surfaces.point_map.sampled": (lambda: point_map.sampled(maps(3)), None),
    "surfaces.point_map.find_focal_and_shift": (lambda: point_map.find_focal_and_shift(maps(3), maps(2)[:1], mask()), SMALL),
    "images.render.normals_to_image": (lambda: render.normals_to_image(maps(3), mask=mask()), None),
    "estimate.Estimate.known_depth": (lambda: estimate().known_depth(), None),
    "images.render.colourise": (lambda: render.colourise(maps(), "spectral"), None),
    "images.render.heat_map": (lambda: render.heat_map(maps(), 1.0), None),
    "images.render.heat_map_end": (lambda: render.heat_map_end(maps()), NUMBERS),
    "images.render.heat_colours": (lambda: render.heat_colours(signed=True), None),
    "surfaces.upsampling.enlarged_along": (lambda: upsampling.enlarged_along(maps()[:, :, ::2], maps()[:, :, ::2], maps(), 2, 2), None),
    "surfaces.upsampling.middles": (lambda: upsampling.middles(HEIGHT, 2, DEVICE), None),
    "surfaces.upsampling.smoothings": (lambda: upsampling.smoothings(maps(), (upsampling.Line((1, 2, 1), 2),))[0](maps()), None),
    "surfaces.upsampling.same_surface": (lambda: upsampling.same_surface(maps(), maps()), None),
    "surfaces.upsampling.surface_slope": (lambda: upsampling.surface_slope(maps(), 3), None),
    "estimate.Estimate.in_float32": (lambda: estimate().in_float32(), None),
    "regions.before_sky.depth_before_sky": (
        lambda: before_sky.depth_before_sky(1 + maps(), maps(3), Estimate(1 + maps(), Quantity.METRIC_DEPTH, mask=mask())),
        "most images have no sky, and regions are told apart on the CPU",
    ),
    "regions.before_sky.land_before_sky": (lambda: before_sky.land_before_sky(1 + maps()[:1], mask()[:1]), None),
    "regions.sky_matte.sky_matte": (
        lambda: sky_matte.sky_matte(maps(3)[:1], maps()[:1], maps()[:1]),
        "most images have no sky, and few borders of skies are unseen",
    ),
    "regions.sky.sky_share": (lambda: sky.sky_share(maps(3), Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask())), None),
    "regions.sky.describe_sky": (lambda: sky.describe_sky(maps()), "the share is a number to be shown"),
    "regions.sky.find_sky": (lambda: sky.find_sky(maps(3), Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask())), None),
    "regions.sky.coloured_as_sky": (lambda: sky.coloured_as_sky(maps(3)), None),
    "regions.sky.fineness": (lambda: sky.fineness(maps(), mask()), None),
    "regions.sky.looks_blue": (lambda: sky.looks_blue(maps(3), mask()), None),
    "regions.sky.looks_green": (lambda: sky.looks_green(maps(3), mask()), None),
    "regions.sky.predicted_sky": (lambda: sky.predicted_sky(Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask())), None),
    "regions.sky.masks_nothing": (lambda: sky.masks_nothing(Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask())), HOLES),
    "regions.sky.sky_alpha": (
        lambda: sky.sky_alpha(maps(3), Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask())),
        "most images have no sky, and its border takes long",
    ),
    "edges.stretches.distances_to": (lambda: stretches.distances_to(maps(), 3.0), None),
    "edges.stretches.share_above": (lambda: stretches.share_above(maps(), 0.2, 0.5), None),
    "edges.stretches.shares_above": (lambda: stretches.shares_above(maps(), (0.2, 0.5), (0.1, -0.3)), None),
    "views.forward_warp.are_alike": (lambda: forward_warp.are_alike(maps(), maps(), 1.2), None),
    "views.forward_warp.landing": (lambda: forward_warp.landing(40 * maps(), 30 * maps(), 22, 28), None),
    "views.forward_warp.render_layer": (lambda: tuple(forward_warp.render_layer(surface(), view(), 22, 28)), FEW),
    "views.forward_warp.inverse_at": (
        lambda: forward_warp.inverse_at(maps(), (2, 1), torch.zeros(5, device=DEVICE).long(), random(5), random(5)),
        None,
    ),
    "views.forward_warp.close_cracks": (lambda: forward_warp.close_cracks(maps(), (2, 1), view(), maps()), FEW),
    "views.gaps.close_gaps": (
        lambda: tuple(gaps.close_gaps(surface(), view(), forward_warp.render_layer(surface(), view(), 22, 28), False)),
        "how many surfaces end before far ones, and how many gaps there are",
    ),
    "views.forward_warp.with_margin": (lambda: tuple(forward_warp.with_margin(maps(3), maps(), (2, 1))[:2]), None),
    "views.stereo.stereo_pair": (
        lambda: vars(stereo.stereo_pair(maps(3), depth_only(Quantity.DISPARITY))),
        f"{FEW}, for each image, and where its holes are",
    ),
    "views.stereo.check_as_many": (lambda: stereo.check_as_many(estimate(), maps(3)), None),
    "views.stereo.disparity_range": (lambda: stereo.disparity_range(estimate(), per_clip=True), None),
    "views.stereo.compose": (lambda: [stereo.compose(eyes(), layout) for layout in stereo.LAYOUTS], None),
    "views.stereo.compose_holes": (lambda: [stereo.compose_holes(eyes(), layout) for layout in stereo.LAYOUTS], None),
    "views.stereo.stereo_suffix": (lambda: stereo.stereo_suffix("anaglyph"), None),
    "views.stereo.nearness_share": (
        lambda: stereo.nearness_share(depth_only(Quantity.DISPARITY), maps()[:1, :, :1, :1], maps()[:1, :, :1, :1], 0.0),
        None,
    ),
    "views.vr.vr_pair": (lambda: vars(vr.vr_pair(maps(3), panorama(), "360-tb")), f"{FEW}, for each image"),
    "views.vr.pair_for": (lambda: vars(vr.pair_for(maps(3), estimate(), "vr180", HALF_SPHERE)), PHOTO),
    "views.vr.photo_fov": (lambda: vr.photo_fov(estimate()), PHOTO),
    "views.vr.half_sphere_size": (lambda: vr.half_sphere_size(estimate(), 28), PHOTO),
    "views.disocclusion.continue_surfaces": (
        lambda: disocclusion.continue_surfaces(maps(3), maps(), torch.zeros_like(maps(2), dtype=torch.long), 1),
        FEW,
    ),
    "views.soft_edges.split_soft_edges": (
        lambda: (lambda rest, rims: (*rest[:2], *rims[:-1]))(*soft_edges.split_soft_edges(surface())),
        FEW,
    ),
    "views.soft_edges.land_rims": (lambda: soft_edges.land_rims(soft_edges.split_soft_edges(surface())[1], view(), 22, 28), FEW),
    "views.soft_edges.lay_over": (lambda: soft_edges.lay_over(soft_edges.split_soft_edges(surface())[1], view(), maps(3), maps()), FEW),
    "views.transparency.split_layers": (lambda: transparency.split_layers(maps(4)), "refuses levels of 0..255"),
    "views.transparency.opaque_part": (lambda: transparency.opaque_part(estimate(), maps(4)), "refuses levels of 0..255"),
    "views.disocclusion.fill_uncovered": (lambda: disocclusion.fill_uncovered(maps(3), maps()), FEW),
    "views.disocclusion.fill_uncovered, with traces": (lambda: disocclusion.fill_uncovered(maps(3), maps(), traces=True), FEW),
    "surfaces.sparse_fit.fit_isolated": (
        lambda: sparse_fit.fit_isolated(plane_fit.Planes(maps()[:1], maps()[:1], maps()[:1]), maps()[:1], maps()[:1], matrices()[0]),
        "asks whether any pixel is left without neighbours",
    ),
    "views.forward_warp.pixel_grid": (lambda: forward_warp.pixel_grid(maps(), (2, 1)), None),
    "temporal.stabilization.VideoAligner.push": (video, SMALL),
    "images.display_defaults.default_depth_image": (lambda: display_defaults.default_depth_image(depth_only(Quantity.METRIC_DEPTH)), None),
    "images.display_defaults.default_depth_range": (lambda: display_defaults.default_depth_range(depth_only(Quantity.METRIC_DEPTH)), None),
    "images.display_defaults.resized_depth_image": (
        lambda: display_defaults.resized_depth_image(Estimate(maps(), Quantity.DISPARITY), 9, 11, (maps()[:1, :, :1, :1], maps().amax())),
        "asks whether there are holes",
    ),
    "images.render.share_of_range": (lambda: render.share_of_range(maps(), maps().amin(), maps().amax()), None),
    "textures.curvature.mean_curvature": (lambda: curvature.mean_curvature(maps(3), scale=3, weight=mask()), None),
    "textures.curvature.curvature_maps": (lambda: tuple(curvature.curvature_maps(maps(), weight=mask())), None),
    "textures.detail.subtract_normals": (lambda: detail.subtract_normals(maps(3), maps(3)), None),
    "textures.detail.detail_normals": (lambda: detail.detail_normals(maps(3), weight=mask(), borders="seamless"), None),
    "textures.detail.bright_lines": (lambda: detail.bright_lines(maps(3)), None),
    "textures.detail.grey_joints": (lambda: detail.grey_joints(maps(3)), None),
    "textures.detail.PhotoRelief": (lambda: (detail.PhotoRelief(maps(3)).normals(), detail.PhotoRelief(maps(3)).is_in_doubt), None),
    "textures.materials.gamma_to_linear": (lambda: materials.gamma_to_linear(maps(3)), None),
    "textures.materials.pack_orm": (lambda: materials.pack_orm(maps(), maps(), maps()), None),
    "textures.simple_materials.remove_light": (lambda: simple_materials.remove_light(maps(3), maps(3), maps()), None),
    "textures.simple_materials.uniform_materials": (lambda: simple_materials.uniform_materials(maps(3)).albedo, None),
    "textures.height.normals_to_slopes": (lambda: height.normals_to_slopes(maps(3)), None),
    "textures.height.slopes_to_normals": (lambda: height.slopes_to_normals(maps(2)), None),
    "textures.height.normals_to_height": (
        lambda: (height.normals_to_height(maps(3), weight=mask(), level=True), height.normals_to_height(maps(3), derivative="spline")),
        HOLES,
    ),
    "textures.height.known_normals": (lambda: height.known_normals(maps(3), mask(), "free"), None),
    "textures.height.check_size": (lambda: height.check_size(24, 32), None),
    "textures.height.height_to_normals": (lambda: [height.height_to_normals(maps(), derivative=way) for way in DERIVATIVES], None),
    "textures.height.height_to_image": (lambda: height.height_to_image(maps(), mask()), None),
    "textures.height.grey_heights": (lambda: height.grey_heights(maps(3), maps(1) > 0.5, "height"), "says whether it is coloured"),
    "textures.height.image_to_height": (lambda: height.image_to_height(maps(3), 8.0), None),
    "textures.occlusion.height_to_occlusion": (lambda: occlusion.height_to_occlusion(maps(), radius=4, directions=4, weight=mask()), None),
    "textures.occlusion.depth_to_occlusion": (
        lambda: occlusion.depth_to_occlusion(maps(), matrices(), maps(3), radius=4, directions=4, weight=mask()),
        f"{CAMERA}, {DEPTH}",
    ),
    "textures.pbr.material_normals": (lambda: pbr.material_normals(estimate(), pbr.relief_of_photo(maps(3), SET), SET), None),
    "textures.pbr.pbr_maps": (lambda: [each for each in pbr.pbr_maps(maps(3), SET) if isinstance(each, torch.Tensor)], HOLES),
    "textures.pbr.height_map": (lambda: pbr.height_map(maps(3), SET), HOLES),
    "textures.pbr.is_in_doubt": (lambda: pbr.is_in_doubt(pbr.relief_of_photo(maps(3), SET), SET), "gives True or False"),
    "textures.pbr.relief_of_photo": (lambda: pbr.relief_of_photo(maps(3), SET).height(), None),
    "textures.pbr.shape_width": (lambda: pbr.shape_width(SET, 20, 30), None),
    "textures.pbr.check_source": (lambda: pbr.check_source("both", True, True), None),
    "textures.pbr.with_contrast": (lambda: pbr.with_contrast(maps(), 2.0), None),
    "textures.seamless.margins": (lambda: seamless.margins(20, 30, 0.2), None),
    "textures.seamless.wrap": (lambda: seamless.wrap(maps(3), (2, 3)), None),
    "textures.seamless.mirror": (lambda: seamless.mirror(maps(3), (2, 3)), None),
    "textures.seamless.unmirrored_normals": (lambda: seamless.unmirrored_normals(estimate(), (2, 3)), None),
    "textures.seamless.cropped": (lambda: seamless.cropped(maps(3), (2, 3)), None),
    "textures.seamless.folded": (lambda: seamless.folded(maps(3), (2, 3)), None),
    "textures.seamless.seamless_estimate": (lambda: seamless.seamless_estimate(estimate(), (2, 3)), None),
    "textures.seamless.tileable": (lambda: seamless.tileable(maps(3)), None),
    "textures.slopes.slopes_of": (lambda: [slopes.slopes_of(maps(), True, way) for way in DERIVATIVES], None),
    "textures.slopes.mirrored_slopes": (lambda: slopes.mirrored_slopes(maps(), False, "spline"), None),
    "textures.slopes.adjoint": (lambda: [slopes.adjoint(maps(2), seam, "spline") for seam in (False, True)], None),
    "textures.slopes.border_share": (lambda: slopes.border_share(maps(2), False, "spline"), None),
    "textures.slopes.integrated": (lambda: slopes.integrated(maps(2), True, "central"), None),
    "textures.slopes.solved": (lambda: slopes.solved(maps(), False, "spline", screening=0.1), None),
    "filters.transforms.blurred": (lambda: [transforms.blurred(maps(3), 2.0, seam) for seam in (False, True)], None),
    "filters.transforms.blurred_where": (lambda: transforms.blurred_where(maps(3), maps(), 2.0), None),
    "filters.transforms.trend_where": (lambda: [transforms.trend_where(maps(3), maps(), sigma) for sigma in (2.0, 24.0)], None),
    "filters.transforms.dct": (lambda: transforms.dct(maps(), -2), None),
    "filters.transforms.idct": (lambda: transforms.idct(maps(), -1), None),
    "filters.transforms.dst": (lambda: transforms.dst(maps(), -1), None),
    "filters.transforms.idst": (lambda: transforms.idst(maps(), -2), None),
    "filters.transforms.frequencies": (lambda: transforms.frequencies(8, True, maps()), None),
    "textures.occlusion.estimate_to_occlusion": (lambda: occlusion.estimate_to_occlusion(estimate(), radius=4, directions=4), ONE_BY_ONE),
    "valid.all_point": (lambda: valid.all_point(maps(3)), "its answer is yes or no, for a CPU alone"),
    "valid.all_valid_depth": (lambda: valid.all_valid_depth(maps(), Quantity.METRIC_DEPTH), "its answer is yes or no, for a CPU alone"),
    "valid.are_finite": (lambda: valid.are_finite(maps()), None),
    "valid.are_positive": (lambda: valid.are_positive(maps()), None),
    "valid.are_all": (lambda: valid.are_all(mask()), None),
    "valid.depth_mask": (lambda: valid.depth_mask(maps(), Quantity.METRIC_DEPTH), "whether depth has holes: only then is there a mask"),
    "valid.infinitely_far": (lambda: valid.infinitely_far(maps(), Quantity.METRIC_DEPTH), None),
    "valid.valid_depth": (lambda: valid.valid_depth(maps(), Quantity.METRIC_DEPTH, mask()), None),
    "valid.valid_normals": (lambda: valid.valid_normals(maps(3), mask()), None),
}


def public_functions():
    for found in pkgutil.walk_packages(geometry.__path__, f"{geometry.__name__}."):
        place = found.name.removeprefix(f"{geometry.__name__}.")
        if found.ispkg or place in ON_THE_CPU or place.startswith(TESTED_ELSEWHERE):
            continue
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{place}.{name}"
    for name, _ in inspect.getmembers(Estimate, inspect.isfunction):
        if not name.startswith("_"):
            yield f"estimate.Estimate.{name}"


def devices_of(value):
    if isinstance(value, torch.Tensor):
        return {value.device}
    if isinstance(value, Estimate):
        return devices_of([value.depth, value.normals, value.mask, value.intrinsics, value.confidence])
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return set().union(*map(devices_of, parts))


@pytest.mark.slow("follows every public function without its device")
@pytest.mark.parametrize("name", sorted({*public_functions(), *CASES}))
def test_it_runs_on_a_device_and_says_why_it_waits(name, ask):
    assert name in CASES, "a public function without a case: add how it is called, and why it waits for the device if it does"
    call, reason = CASES[name]
    result, asked = ask(call)
    assert (asked > 0) == (reason is not None), f"{asked} questions to the device; the stated reason is {reason!r}"
    of_numbers = ("camera.intrinsics_from_sensor", "sphere.view_rotations", "views.parallax.camera_path", "views.parallax.looped_positions")
    if not name.startswith(("comfy_dicts.estimate_to", "surfaces.point_map.find", *of_numbers)):
        assert devices_of(result) <= {DEVICE}, "the result stays on the device of what came in"


def numbers_of(value):
    """All tensors of a result, and all of its numbers, as tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return [value.detach().cpu()]
    if isinstance(value, Estimate):
        value = vars(value)
    if isinstance(value, (bool, int, float)):
        return [torch.tensor(value, dtype=torch.float64)]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [number for part in parts for number in numbers_of(part)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_computes_in_what_its_maps_are_whatever_torch_is_set_to(name, monkeypatch):
    monkeypatch.setitem(globals(), "DEVICE", torch.device("cpu"))
    found = []
    try:
        for other in (True, False):
            torch.manual_seed(1)
            torch.set_default_dtype(torch.float64 if other else torch.float32)
            # A table that is kept would be of one dtype in both runs.
            nothing_kept = patch("depth_normal.utils._holds_numbers", return_value=False) if other else nullcontext()
            with torch.autocast("cpu", torch.bfloat16, enabled=other), nothing_kept:
                found.append(numbers_of(CASES[name][0]()))
    finally:
        torch.set_default_dtype(torch.float32)
    for cast, plain in zip(*found, strict=True):
        torch.testing.assert_close(cast, plain, rtol=1e-5, atol=1e-5, equal_nan=True)


NOT_THE_SAME = {
    **dict.fromkeys(
        ("filters.chosen_pixels.chosen_places", "views.soft_edges.split_soft_edges", "edges.stripes.stripe_ends"),
        "a CPU computes chosen pixels only, and the others of the result are not used",
    ),
    "surfaces.panorama_normals.panorama_normals": "normals of noise change as much where depth changes by a millionth",
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted(CASES.keys() - NOT_THE_SAME.keys()) if torch.cuda.is_available() else ["every case"])
def test_cuda_gives_what_the_cpu_gives(name, monkeypatch):
    """Of values that lie near a threshold few may fall to the other side."""
    found = []
    for device in ("cpu", "cuda:0"):
        monkeypatch.setitem(globals(), "DEVICE", torch.device(device))
        torch.manual_seed(1)
        found.append(numbers_of(CASES[name][0]()))
    for on_cpu, on_gpu in zip(*([each.double().numpy() for each in numbers] for numbers in found), strict=True):
        finite = np.abs(on_cpu[np.isfinite(on_cpu)])
        alike = np.isclose(on_gpu, on_cpu, rtol=0, atol=1e-3 * finite.max(initial=0), equal_nan=True)
        assert alike.sum() >= 0.99 * alike.size


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_resizing_around_holes_asks_only_whether_there_are_any(resampling, ask):
    def resized():
        return Estimate(maps(), Quantity.METRIC_DEPTH, normals=maps(3), mask=mask(), confidence=maps()).resized(40, 9, resampling)

    result, asked = ask(resized, truth=False)
    assert devices_of(result) == {DEVICE} and asked == 1


def test_a_batch_is_asked_together_about_holes_and_its_sky(ask):
    def before():
        return before_sky.depth_before_sky(1 + maps(), maps(3), Estimate(maps(), Quantity.METRIC_DEPTH, mask=mask()))

    result, asked = ask(before, truth=False)
    assert devices_of(result) == {DEVICE} and asked == 2


def test_a_tensor_left_on_the_cpu_is_found(ask):
    with pytest.raises(RuntimeError, match="device"):
        ask(lambda: maps() + torch.ones(BATCH, 1, HEIGHT, WIDTH))


def test_depth_that_has_a_gradient_is_measured_too():
    depth = (1 + torch.rand(1, 1, HEIGHT, WIDTH)).requires_grad_()
    assert assumptions.filled_depth(Estimate(depth, Quantity.DISPARITY)).requires_grad


@pytest.mark.slow("takes most of a second")
def test_frames_of_an_image_ask_the_device_together(ask, monkeypatch):
    """Eight at a time; the first one is the image itself."""

    def frames(count):
        return lambda: len(list(parallax.parallax_frames(maps(3)[:1], maps()[:1], matrices(1), parallax.camera_path("swing", count, 0.1))))

    monkeypatch.setattr(gaps, "_AT_ONCE", 1 << 40)  # all places are in question here, and would be looked at in parts
    (three, asked_for_three), (eight, asked_for_eight) = ask(frames(3)), ask(frames(8))
    assert (three, eight) == (3, 8) and asked_for_eight == asked_for_three
