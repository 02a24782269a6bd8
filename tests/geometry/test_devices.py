"""Every public function of `geometry/` on a device that this machine need not have: no op mixes devices, and who waits for values says so.

Fake tensors know shape, dtype and device but hold no numbers. Where a function asks for a number all the same, on a GPU the program waits
until everything before is computed; here the question is answered and noted.
"""

import functools
import inspect
import re
from contextlib import nullcontext
from dataclasses import replace
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
from depth_normal.geometry import assumptions
from depth_normal.geometry.alignment import mosaic
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images import tone_mapping
from depth_normal.geometry.kinds import Projection
from depth_normal.geometry.regions import before_sky
from depth_normal.geometry.surfaces import noise, plane_fit, upsampling
from depth_normal.geometry.temporal import camera_motion, moving_pixels, optical_flow, ranges, shot_cuts, stabilization
from depth_normal.geometry.textures import pbr
from depth_normal.geometry.views import forward_warp, gaps, parallax, soft_edges, stereo
from depth_normal.options.textures import DERIVATIVES
from depth_normal.options.views import LoopOptions
from tests.geometry.public_functions import function_of, public_functions

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
    """Runs a function on fake tensors, with another default device and dtype; gives its result and how often it asked."""

    def run(call, truth=True):
        torch.set_default_dtype(torch.float64)
        try:
            with FakeTensorMode(), Questions(truth) as questions, torch.device(DEVICE.type, 1):
                return call(), questions.asked
        finally:
            torch.set_default_dtype(torch.float32)

    return run


def random(*shape):
    """The same numbers on every device, after the same seed."""
    return torch.rand(shape, dtype=torch.float32).to(DEVICE)


def maps(channels=1, batch=BATCH):
    return random(batch, channels, HEIGHT, WIDTH)


def one(channels=1):
    return maps(channels, 1)


def mask(batch=BATCH):
    return maps(1, batch) > 0.5


def matrices(batch=BATCH):
    return torch.eye(3, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def poses(batch=BATCH):
    return torch.eye(3, 4, dtype=torch.float32).to(DEVICE).repeat(batch, 1, 1)


def estimate(quantity=Quantity.METRIC_DEPTH):
    return Estimate(maps(), quantity, normals=maps(3), mask=mask(), intrinsics=matrices(), confidence=maps(), extrinsics=poses())


def depth_only(quantity=Quantity.METRIC_DEPTH):
    return Estimate(maps(), quantity, mask=mask())


def surface():
    return forward_warp.Layer(maps(3), maps(), (2, 1))


def view():
    one = torch.ones_like(random(BATCH, 1, 1, 1))
    return forward_warp.View(one, one, one, one, 0.1, one, one, sideways=False, stretch=2)


def eyes():
    return stereo.StereoPair(maps(3), maps(3), mask(), mask())


def panorama():
    return replace(depth_only(), projection=Projection.EQUIRECTANGULAR)


def motion():
    return matrices(1)[:, :2]


def clip_ends(ends):
    clip = ranges.ClipRange()
    clip.add(maps(), mask())
    return ends(clip, maps(), mask(), (2, 98))


def video(push):
    aligner = stabilization.VideoAligner()
    return [push(aligner, maps(3), replace(depth_only(), normals=maps(3))) for _ in range(2)]


def moving(push):
    found = moving_pixels.MovingPixels()
    return [push(found, one(3), torch.zeros((), dtype=torch.bool, device=DEVICE)) for _ in range(2)]


def whole_of_tiles(mosaic_of):
    grid = mosaic.lay_tiles(HEIGHT, WIDTH, 2, 2, 0.3)
    whole = mosaic_of(grid, 1, DEVICE)
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
SKY = "most images have no sky, and few borders of skies are unseen"
MOVE = "asks before the first frame how far the move reaches, and of each frame where its holes are"
NUMBERS = "gives numbers, not maps"
NO_NORMAL_MAP = "warns of an image that is no normal map"

# Meshes are arrays, and regions are searched pixel by pixel: what comes in is moved to the CPU first. Others have tests of their own.
LEFT_OUT = re.compile(r"effects|files|meshes|panorama|edges\.matting|surfaces\.scattered_fit|regions\.(?!before_sky|sky)")
PHOTO = "the size of the photo on the sphere follows from its camera"
HALF_SPHERE = stereo.StereoOptions(eye_size=64)
NOISE = noise.DepthNoise(noise=0.1, noise_length=3.0, pixel_noise=0.1, step=0.01, step_power=2, soft=True)
SET = pbr.PbrOptions(borders="seamless", directions=4)

# function f: how it is called, and why it waits for the device where it does
CASES = {
    "alignment.scale_shift.fit_scale_shift": (lambda f: f(maps(), maps(), mask()), None),
    "alignment.scale_shift.fit_robustly": (lambda f: f(maps(), maps(), maps(), 1.0), SMALL),
    "camera.intrinsics_from_focal_length": (lambda f: f(random(2), 4, 6), CAMERA),
    "camera.check_fov": (lambda f: f(random(2)), ANGLE),
    "camera.intrinsics_from_fov": (lambda f: f(random(2), 4, 6), ANGLE),
    "camera.intrinsics_from_sensor": (lambda f: f(35.0, 4, 6), None),
    "camera.fov_from_intrinsics": (lambda f: f(matrices(), 4, 6), CAMERA),
    "camera.resize_intrinsics": (lambda f: f(matrices(), (4, 6), (8, 9)), CAMERA),
    "camera.scaled_intrinsics": (lambda f: f(matrices(), (4, 6), (8, 9)), None),
    "camera.crop_intrinsics": (lambda f: f(matrices(), 1, 2), CAMERA),
    "camera.rays_of_pixels": (lambda f: f(matrices(), HEIGHT, WIDTH), None),
    "camera.pixel_rays": (lambda f: f(matrices(), HEIGHT, WIDTH), CAMERA),
    "camera.pixel_to_ray": (lambda f: f(random(BATCH, 5, 2), matrices()), CAMERA),
    "camera.ray_to_pixel": (lambda f: f(random(BATCH, 5, 3), matrices()), CAMERA),
    "camera.depth_to_ray_distance": (lambda f: f(maps(), matrices()), CAMERA),
    "camera.ray_distance_to_depth": (lambda f: f(maps(), matrices()), CAMERA),
    "camera.world_to_camera_points": (lambda f: f(maps(3), poses()), POSE),
    "camera.camera_to_world_points": (lambda f: f(maps(3), poses()), POSE),
    "camera.depth_to_points": (lambda f: f(maps(), matrices()), CAMERA),
    "checks.check_map": (lambda f: f(maps(), 1, "depth", like=maps(3)), None),
    "checks.check_image": (lambda f: f(maps(3)), "refuses what is no image"),
    "checks.check_mask": (lambda f: f(mask(), maps()), None),
    "checks.check_depth": (lambda f: f(maps()), DEPTH),
    "checks.check_intrinsics": (lambda f: f(matrices(), BATCH, maps()), CAMERA),
    "checks.check_view": (lambda f: f(maps(), matrices()), CAMERA),
    "checks.check_extrinsics": (lambda f: f(poses(), BATCH, maps()), POSE),
    "checks.check_image_of": (lambda f: f(random(1, 3, HEIGHT, WIDTH), 1, HEIGHT, WIDTH), None),
    "checks.check_alike": (lambda f: f("depth", (HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)), None),
    "alignment.metrics.compare_normals": (lambda f: f(estimate(), estimate()), "compares on the CPU"),
    "alignment.metrics.compare_depth": (lambda f: f(estimate(Quantity.DISPARITY), estimate()), "compares on the CPU"),
    "alignment.metrics.angle_map": (lambda f: f(estimate(), estimate()).shape, "compares on the CPU"),
    "alignment.metrics.depth_error_map": (lambda f: f(estimate(), estimate()).shape, "compares on the CPU"),
    "alignment.metrics.disagreeing_axes": (lambda f: f(estimate(), estimate()), NUMBERS),
    "conventions.convert_normals": (lambda f: f(maps(3), "opengl", "scannet"), None),
    "conventions.encode_normal_map": (lambda f: f(maps(3), "controlnet-1.0-normal"), None),
    "conventions.decode_normal_map": (lambda f: f(maps(3), "directx"), None),
    "conventions.are_unit_vectors": (lambda f: f(maps(3)), "its answer is yes or no"),
    "conventions.unit_normals": (lambda f: f(maps(3)), None),
    "conventions.camera_to_world_normals": (lambda f: f(maps(3), torch.eye(4)), ROTATION),
    "conventions.world_to_camera_normals": (lambda f: f(maps(3), torch.eye(4)), ROTATION),
    "conventions.scale_normal_strength": (lambda f: f(maps(3), 2.0), None),
    "conventions.blend_normals": (lambda f: f(maps(3), maps(3)), None),
    "comfy_dicts.estimate_to_moge": (lambda f: f(estimate(), maps(3)), "ComfyUI keeps them on the CPU"),
    "comfy_dicts.moge_to_estimate": (lambda f: f({"depth": maps()[:, 0], "mask": mask()[:, 0], "intrinsics": matrices()}), CAMERA),
    "comfy_dicts.estimate_to_da3": (lambda f: f(estimate(), maps(3)), "ComfyUI keeps them on the CPU"),
    "comfy_dicts.da3_to_estimate": (lambda f: f({"depth": maps()[:, 0], "sky": maps()[:, 0], "intrinsics": matrices()[None]}), CAMERA),
    "temporal.shot_cuts.shared_contrast": (lambda f: f(maps(3), maps(3)), None),
    "temporal.shot_cuts.CutDetector.push": (lambda f: f(shot_cuts.CutDetector(), maps(3)), None),
    "images.depth_image.joined_maps": (lambda f: f(depth_only(Quantity.DISPARITY), estimate(), HEIGHT, WIDTH), None),
    "images.normal_map_image.stored_values": (lambda f: f(maps(4), mask(), "a map"), "refuses a map without any value"),
    "images.depth_image.depth_map_to_estimate": (lambda f: f(maps()), "refuses what is no depth map"),
    "images.normal_map_image.normal_map_to_estimate": (lambda f: f(maps(3), "opengl"), NO_NORMAL_MAP),
    "images.normal_map_image.normal_map_problem": (lambda f: f(maps(3), estimate().normals), NO_NORMAL_MAP),
    "images.depth_image.image_to_depth": (lambda f: f(maps(), metric_range=(1.0, 5.0)), None),
    "surfaces.derive.mask_of_depth": (lambda f: f(depth_only(Quantity.DISPARITY)), "whether depth has holes: only then is there a mask"),
    "surfaces.derive.normals_of_depth": (lambda f: f(depth_only(Quantity.DISPARITY)), ONE_BY_ONE),
    "surfaces.derive.with_normals": (lambda f: f(Estimate(one(), Quantity.DISPARITY, mask=mask(1))), ONE_BY_ONE),
    "surfaces.derive.without_normals": (lambda f: f(depth_only(Quantity.DISPARITY)), HOLES),
    "surfaces.noise.measure_noise": (lambda f: f(one(), one()), ONE_BY_ONE),
    "estimate.Estimate.cat": (lambda f: f([estimate(), estimate()]), None),
    "estimate.Estimate.expanded": (lambda f: f(Estimate(one(), Quantity.DISPARITY), 3), None),
    "estimate.Estimate.cut": (lambda f: f(estimate(), (..., slice(2, 9), slice(3, 8))), None),
    "estimate.Estimate.slice": (lambda f: f(estimate(), 1, 2), None),
    "estimate.Estimate.split": (lambda f: list(f(estimate())), None),
    "estimate.Estimate.resized": (lambda f: (f(estimate(), 48, 20), f(estimate(), 9, 70, "bicubic")), HOLES),
    "estimate.Estimate.where_known": (lambda f: f(estimate(), mask()), None),
    "estimate.Estimate.to": (lambda f: f(f(estimate(), "cpu"), DEVICE), "goes to the CPU"),
    "edges.depth_edges.sharpen_known_depth": (lambda f: f(maps(), 2, 1), None),
    "edges.depth_edges.sharpened_inverse": (lambda f: f(maps(), 2, 1), None),
    "edges.depth_edges.sharpen_depth_edges": (lambda f: f(maps(), 2, 1), DEPTH),
    "edges.depth_edges.depth_at_image_edges": (lambda f: f(maps(), maps(3)), FEW),
    "edges.depth_edges.find_ramps": (lambda f: f(maps(), 2), None),
    "edges.depth_edges.colour_means": (lambda f: f(maps(3), maps(), maps(), 2), None),
    "edges.depth_edges.colour_fit": (lambda f: f(maps(3), maps(), maps(), 2), None),
    "filters.chosen_pixels.summed_rows": (lambda f: f(maps(3)[0, 0], torch.zeros(5, 4, dtype=torch.long, device=DEVICE)), None),
    "filters.chosen_pixels.places_where": (lambda f: f(mask()), "how many are chosen"),
    "filters.chosen_pixels.pixels_where": (lambda f: f(mask()), "how many are chosen"),
    "filters.chosen_pixels.chosen_places": (lambda f: f(mask()), None),
    "filters.chosen_pixels.values_at": (lambda f: f(maps(), maps().flatten().long()), None),
    "filters.chosen_pixels.located": (lambda f: f(maps().flatten().long(), *maps()[:, 0].shape), None),
    "filters.chosen_pixels.rows_and_columns": (lambda f: f(maps().flatten().long(), *maps().shape[-2:]), None),
    "edges.depth_edges.edge_growth": (lambda f: f(20, 30), None),
    "edges.depth_edges.edge_radius": (lambda f: f(20, 30), None),
    "filters.extremes.neighbours_largest": (lambda f: f(maps()), None),
    "filters.extremes.largest_within": (lambda f: f(maps(), 2), None),
    "filters.extremes.largest_along_rows": (lambda f: f(maps(), 2), None),
    "filters.extremes.median_within": (lambda f: f(maps(), 2), None),
    "filters.coarse.shrunk": (lambda f: f(maps(), 5), None),
    "filters.coarse.middles_of": (lambda f: f(maps(), 5), None),
    "filters.coarse.enlarged": (lambda f: f(maps(), 5, (119, 162)), None),
    "filters.extremes.smallest_within": (lambda f: f(maps(), 2), None),
    "filters.extremes.extremes_around": (lambda f: f(maps(), 1, 3), None),
    "filters.extremes.extremes_within": (lambda f: f(maps(), 2), None),
    "edges.stripes.stripe_ends": (lambda f: f(maps(), maps(3), maps(), maps() + 1, mask(), 2), FEW),
    "temporal.ranges.RunningRange.update": (lambda f: f(ranges.RunningRange(), maps(), mask(), (2, 98)), None),
    "temporal.ranges.ClipRange.ends": (clip_ends, None),
    "views.parallax.looped_positions": (lambda f: f(LoopOptions("orbit"), [0, 0.5]), None),
    "levels.are_ends_apart": (lambda f: f(0.0, 1.0), None),
    "levels.are_apart": (lambda f: f(maps(), maps()), None),
    "levels.depth_to_nearness": (lambda f: f(maps(), Quantity.METRIC_DEPTH, True), None),
    "levels.measure_range": (lambda f: (f(maps(), mask()), f(maps(), mask(), (2, 85), True)), None),
    "levels.measure_range_of_samples": (lambda f: f(maps(), mask(), (2, 98)), None),
    "levels.measure_range_of_most": (lambda f: f(maps(), mask(), (2, 98)), None),
    "levels.samples_of": (lambda f: f(maps(), mask()), None),
    "levels.in_order": (lambda f: torch.from_numpy(f(maps().cpu())[:1]).to(DEVICE), SMALL),
    "levels.at_percentiles": (lambda f: f(np.arange(3.0), (0.0, 50.0)), None),
    "levels.sample_stride": (lambda f: f(HEIGHT * WIDTH), None),
    "levels.sampled": (lambda f: f(one(), mask(1)), "gives a number of values that only it knows"),
    "levels.value_at_ranks": (lambda f: f(maps(), mask(), [0, 1]), None),
    "assumptions.assumed_depth": (lambda f: f(estimate(Quantity.RELATIVE_DEPTH), 3.0), ONE_BY_ONE),
    "assumptions.filled_with_ends": (lambda f: f(depth_only(Quantity.DISPARITY).slice(0, 1), mask(1)), SMALL),
    "assumptions.filled_inverse": (lambda f: f(estimate()), SMALL),
    "assumptions.filled_depth": (lambda f: f(estimate()), SMALL),
    "assumptions.assumed_intrinsics": (lambda f: f(depth_only(Quantity.DISPARITY), 60.0), None),
    "alignment.mosaic.lay_tiles": (lambda f: f(HEIGHT, WIDTH, 2, 3, 0.3), None),
    "alignment.mosaic.windows": (lambda f: f((0, 10), 14, DEVICE), None),
    "alignment.mosaic.sample": (lambda f: f(one(), [mosaic.Tile(0, 0, 9, 9), mosaic.Tile(3, 3, 9, 9)], (48, 64), 8, 8), None),
    "alignment.mosaic.cells_of": (lambda f: f(100.0, 80.0), None),
    "alignment.mosaic.align_values": (lambda f: f(maps(), maps(), maps()[..., :9, :9], maps()[..., :9, :9]), SMALL),
    "alignment.mosaic.align_normals": (lambda f: f(maps(3), maps(), maps(3)[..., :9, :9], maps()[..., :9, :9]), None),
    "alignment.mosaic.align_mask": (lambda f: f(maps(), maps()[..., :9, :9]), None),
    "alignment.mosaic.Mosaic": (whole_of_tiles, None),
    "temporal.camera_motion.camera_motion": (lambda f: f(one(3), one(3)), SMALL),
    "temporal.camera_motion.has_settled": (lambda f: f(matrices(1)[0], 0.1), None),
    "temporal.camera_motion.camera_motion, from a start": (lambda f: f(one(3), one(3), motion()), FEW),
    "temporal.camera_motion.moved": (lambda f: f(one(), motion(), "zeros"), None),
    "temporal.camera_motion.sampled": (lambda f: f(one(), camera_motion.sampling_grid(motion(), 4, 5), "zeros"), None),
    "temporal.camera_motion.sampling_grid": (lambda f: f(motion(), 4, 5), None),
    "temporal.camera_motion.square": (lambda f: f(motion()), None),
    "temporal.camera_motion.solve_positive_definite": (lambda f: f(matrices(1)[0], matrices(1)[0, :, :1]), None),
    "temporal.optical_flow.optical_flow": (lambda f: f(maps(), maps()), None),
    "temporal.optical_flow.FlowTarget.flow_from": (lambda f: f(optical_flow.FlowTarget(maps()), maps()), None),
    "temporal.optical_flow.window_mean": (lambda f: f(maps()), None),
    "temporal.optical_flow.texture": (lambda f: f(maps()), None),
    "temporal.optical_flow.warped": (lambda f: f(maps(), maps(2)), None),
    "temporal.moving_pixels.MovingPixels.push": (moving, SMALL),
    "surfaces.normals.midas_normals": (lambda f: f(maps()), None),
    "surfaces.normals.dmap2norm": (lambda f: f(maps()), None),
    "surfaces.normals.depth_to_normals": (lambda f: f(one(), matrices(1), mask(1), "auto"), ONE_BY_ONE),
    "surfaces.normals.disparity_to_normals": (lambda f: f(one(), mask(1), 60.0), ONE_BY_ONE),
    "views.parallax.camera_path": (lambda f: f("orbit", 4, 0.1), None),
    "views.parallax.parallax_frames": (lambda f: list(f(maps(3), 1 + maps(), matrices(), parallax.camera_path("dolly", 2, 0.1))), MOVE),
    "filters.guided_filter.mask_at_image_edges": (lambda f: f(maps(), maps(3), 5), None),
    "filters.box.box_means": (lambda f: f(maps(), 2), None),
    "filters.box.is_pooled": (lambda f: f(maps(), 2), None),
    "filters.box.pooled": (lambda f: f(torch.nn.functional.max_pool2d, maps(), 3), None),
    "filters.box.box_counts": (lambda f: f(maps(), 2), None),
    "filters.box.box_sums": (lambda f: f(maps(), 2), None),
    "filters.guided_filter.fit_of_means": (lambda f: f(maps(13), 2), None),
    "filters.guided_filter.fitted": (lambda f: f(maps(4), maps(3), 1), None),
    "filters.guided_filter.moments": (lambda f: f(maps(), maps(3)), None),
    "views.parallax.parallax_of_clip": (lambda f: list(f(maps(3), estimate(), LoopOptions("orbit"), [0, 0.5])), MOVE),
    "views.parallax.parallax_of_estimate": (
        lambda f: list(f(one(3), next(iter(estimate().split())), parallax.camera_path("dolly", 2, 0.1))),
        MOVE,
    ),
    "filters.bands.by_bands": (lambda f: f(lambda padded: (padded[..., 2:-2, 2:-2],), 2, maps()), None),
    "surfaces.plane_fit.fit_planes": (lambda f: f(one(), one(), 30.0, NOISE, True), ONE_BY_ONE),
    "images.srgb.srgb_to_linear": (lambda f: f(maps(3)), None),
    "images.srgb.linear_to_srgb": (lambda f: f(maps(3)), None),
    "images.highlights.compress_highlights": (lambda f: f(maps(3))[0], "few images are brighter than white"),
    "images.srgb.luminance": (lambda f: f(maps(3)), None),
    "images.srgb.colour_to_linear": (lambda f: f("#fff"), None),
    **dict.fromkeys(("images.srgb.matrix_to_709", "images.srgb.rgb_to_xyz"), (lambda f: f((0.7, 0.3, 0.2, 0.8, 0.1, 0.1, 0.3, 0.3)), None)),
    "images.tone_mapping.hdr_to_sdr": (lambda f: f(maps(3)[0], tone_mapping.HLG), None),
    "images.tone_mapping.pq_to_light": (lambda f: f(maps(3)), None),
    "images.tone_mapping.to_709_primaries": (lambda f: f(maps(3)[0]), None),
    "images.tone_mapping.coded_bt1886": (lambda f: f(maps(3)), None),
    "edges.refine.refine_geometry": (lambda f: f(estimate(), random(BATCH, 3, 2 * HEIGHT, 2 * WIDTH)), ONE_BY_ONE),
    "edges.ramp_sharpening.ramp_width": (lambda f: f(one()), "gives a number"),
    "edges.ramp_sharpening.sharpen_ramps": (lambda f: f(one(), one(3), 2, normals=one(3)), "looks at the pixels of ramps only"),
    "surfaces.derive.panorama_normals": (lambda f: f(one(), mask(1)), ONE_BY_ONE),
    "sphere.panorama_directions": (lambda f: f(HEIGHT, WIDTH, DEVICE), None),
    "sphere.panorama_points": (lambda f: f(maps()), None),
    "sphere.view_rotations": (lambda f: f(), None),
    "sphere.cube_rotations": (lambda f: f(DEVICE), None),
    "sphere.rotations_towards": (lambda f: f(random(4, 3)), None),
    "sphere.view_intrinsics": (lambda f: f(9).shape, None),
    "sphere.cut_view": (lambda f: f(maps(3), matrices()[0], 9), None),
    "sphere.with_surroundings": (lambda f: f(maps(3), 2), None),
    "sphere.in_view": (lambda f: f(one(3), matrices()[0]), None),
    "projections.need_perspective": (lambda f: f(estimate(), "stereo"), None),
    "images.render.normalise_per_image": (lambda f: f(maps()), None),
    "images.render.depth_to_image": (
        lambda f: f(maps(), "metric_depth", percentiles=(2, 85), as_disparity=True, near="black", colour_map="turbo", mask=mask()),
        None,
    ),
    "surfaces.point_map.sampled": (lambda f: f(maps(3)), None),
    "surfaces.point_map.find_focal_and_shift": (lambda f: f(maps(3), one(2), mask()), SMALL),
    "images.render.normals_to_image": (lambda f: f(maps(3), mask=mask()), None),
    "estimate.Estimate.known_depth": (lambda f: f(estimate()), None),
    "images.render.colourise": (lambda f: f(maps(), "spectral"), None),
    "images.render.heat_map": (lambda f: f(maps(), 1.0), None),
    "images.render.heat_map_end": (lambda f: f(maps()), NUMBERS),
    "images.render.heat_colours": (lambda f: f(signed=True), None),
    "surfaces.upsampling.enlarged_along": (lambda f: f(maps()[:, :, ::2], maps()[:, :, ::2], maps(), 2, 2), None),
    "surfaces.upsampling.middles": (lambda f: f(HEIGHT, 2, DEVICE), None),
    "surfaces.upsampling.smoothings": (lambda f: f(maps(), (upsampling.Line((1, 2, 1), 2),))[0](maps()), None),
    "surfaces.upsampling.same_surface": (lambda f: f(maps(), maps()), None),
    "surfaces.upsampling.surface_slope": (lambda f: f(maps(), 3), None),
    "estimate.Estimate.in_float32": (lambda f: f(estimate()), None),
    "regions.before_sky.depth_before_sky": (lambda f: f(1 + maps(), maps(3), depth_only()), SKY),
    "regions.before_sky.land_before_sky": (lambda f: f(1 + one(), mask(1)), None),
    "regions.sky_matte.sky_matte": (lambda f: f(one(3), one(), one()), SKY),
    "regions.sky.sky_share": (lambda f: f(maps(3), depth_only()), None),
    "regions.sky.describe_sky": (lambda f: f(maps()), "the share is a number to be shown"),
    "regions.sky.find_sky": (lambda f: f(maps(3), depth_only()), None),
    "regions.sky.coloured_as_sky": (lambda f: f(maps(3)), None),
    "regions.sky.fineness": (lambda f: f(maps(), mask()), None),
    "regions.sky.looks_blue": (lambda f: f(maps(3), mask()), None),
    "regions.sky.looks_green": (lambda f: f(maps(3), mask()), None),
    "regions.sky.predicted_sky": (lambda f: f(depth_only()), None),
    "regions.sky.masks_nothing": (lambda f: f(depth_only()), HOLES),
    "regions.sky.sky_alpha": (lambda f: f(maps(3), depth_only()), SKY),
    "edges.stretches.distances_to": (lambda f: f(maps(), 3.0), None),
    "edges.stretches.share_above": (lambda f: f(maps(), 0.2, 0.5), None),
    "edges.stretches.shares_above": (lambda f: f(maps(), (0.2, 0.5), (0.1, -0.3)), None),
    "views.forward_warp.are_alike": (lambda f: f(maps(), maps(), 1.2), None),
    "views.forward_warp.landing": (lambda f: f(40 * maps(), 30 * maps(), 22, 28), None),
    "views.forward_warp.render_layer": (lambda f: tuple(f(surface(), view(), 22, 28)), FEW),
    "views.forward_warp.inverse_at": (lambda f: f(maps(), (2, 1), random(5).long(), random(5), random(5)), None),
    "views.forward_warp.close_cracks": (lambda f: f(maps(), (2, 1), view(), maps()), FEW),
    "views.gaps.close_gaps": (lambda f: tuple(f(surface(), view(), forward_warp.render_layer(surface(), view(), 22, 28), False)), FEW),
    "views.forward_warp.with_margin": (lambda f: tuple(f(maps(3), maps(), (2, 1))[:2]), None),
    "views.stereo.stereo_pair": (lambda f: vars(f(maps(3), depth_only(Quantity.DISPARITY))), FEW),
    "views.stereo.check_as_many": (lambda f: f(estimate(), maps(3)), None),
    "views.stereo.disparity_range": (lambda f: f(estimate(), per_clip=True), None),
    "views.stereo.compose": (lambda f: [f(eyes(), layout) for layout in stereo.LAYOUTS], None),
    "views.stereo.compose_holes": (lambda f: [f(eyes(), layout) for layout in stereo.LAYOUTS], None),
    "views.stereo.stereo_suffix": (lambda f: f("anaglyph"), None),
    "views.stereo.nearness_share": (lambda f: f(depth_only(Quantity.DISPARITY), maps()[:1, :, :1, :1], maps()[:1, :, :1, :1], 0.0), None),
    "views.vr.vr_pair": (lambda f: vars(f(maps(3), panorama(), "360-tb")), FEW),
    "views.vr.pair_for": (lambda f: vars(f(maps(3), estimate(), "vr180", HALF_SPHERE)), PHOTO),
    "views.vr.photo_fov": (lambda f: f(estimate()), PHOTO),
    "views.vr.half_sphere_size": (lambda f: f(estimate(), 28), PHOTO),
    "views.disocclusion.continue_surfaces": (lambda f: f(maps(3), maps(), torch.zeros_like(maps(2), dtype=torch.long), 1), FEW),
    "views.soft_edges.split_soft_edges": (lambda f: (lambda rest, rims: (*rest[:2], *rims[:-1]))(*f(surface())), FEW),
    "views.soft_edges.land_rims": (lambda f: f(soft_edges.split_soft_edges(surface())[1], view(), 22, 28), FEW),
    "views.soft_edges.lay_over": (lambda f: f(soft_edges.split_soft_edges(surface())[1], view(), maps(3), maps()), FEW),
    "views.transparency.split_layers": (lambda f: f(maps(4)), "refuses levels of 0..255"),
    "views.transparency.opaque_part": (lambda f: f(estimate(), maps(4)), "refuses levels of 0..255"),
    "views.disocclusion.fill_uncovered": (lambda f: f(maps(3), maps()), FEW),
    "views.disocclusion.fill_uncovered, with traces": (lambda f: f(maps(3), maps(), traces=True), FEW),
    "surfaces.sparse_fit.fit_isolated": (
        lambda f: f(plane_fit.Planes(one(), one(), one()), one(), one(), matrices()[0]),
        "asks whether any pixel is left without neighbours",
    ),
    "views.forward_warp.pixel_grid": (lambda f: f(maps(), (2, 1)), None),
    "temporal.stabilization.VideoAligner.push": (video, SMALL),
    "images.display_defaults.default_depth_image": (lambda f: f(depth_only()), None),
    "images.display_defaults.default_depth_range": (lambda f: f(depth_only()), None),
    "images.display_defaults.resized_depth_image": (
        lambda f: f(Estimate(maps(), Quantity.DISPARITY), 9, 11, (maps()[:1, :, :1, :1], maps().amax())),
        "asks whether there are holes",
    ),
    "images.render.share_of_range": (lambda f: f(maps(), maps().amin(), maps().amax()), None),
    "textures.curvature.mean_curvature": (lambda f: f(maps(3), scale=3, weight=mask()), None),
    "textures.curvature.curvature_maps": (lambda f: tuple(f(maps(), weight=mask())), None),
    "textures.detail.subtract_normals": (lambda f: f(maps(3), maps(3)), None),
    "textures.detail.detail_normals": (lambda f: f(maps(3), weight=mask(), borders="seamless"), None),
    "textures.detail.bright_lines": (lambda f: f(maps(3)), None),
    "textures.detail.grey_joints": (lambda f: f(maps(3)), None),
    "textures.detail.PhotoRelief": (lambda f: (f(maps(3)).normals(), f(maps(3)).is_in_doubt), None),
    "textures.materials.gamma_to_linear": (lambda f: f(maps(3)), None),
    "textures.materials.pack_orm": (lambda f: f(maps(), maps(), maps()), None),
    "textures.simple_materials.remove_light": (lambda f: f(maps(3), maps(3), maps()), None),
    "textures.simple_materials.uniform_materials": (lambda f: f(maps(3)).albedo, None),
    "textures.height.normals_to_slopes": (lambda f: f(maps(3)), None),
    "textures.height.slopes_to_normals": (lambda f: f(maps(2)), None),
    "textures.height.normals_to_height": (lambda f: (f(maps(3), weight=mask(), level=True), f(maps(3), derivative="spline")), HOLES),
    "textures.height.known_normals": (lambda f: f(maps(3), mask(), "free"), None),
    "textures.height.check_size": (lambda f: f(24, 32), None),
    "textures.height.height_to_normals": (lambda f: [f(maps(), derivative=way) for way in DERIVATIVES], None),
    "textures.height.height_to_image": (lambda f: f(maps(), mask()), None),
    "textures.height.grey_heights": (lambda f: f(maps(3), maps(1) > 0.5, "height"), "says whether it is coloured"),
    "textures.height.image_to_height": (lambda f: f(maps(3), 8.0), None),
    "textures.occlusion.height_to_occlusion": (lambda f: f(maps(), radius=4, directions=4, weight=mask()), None),
    "textures.occlusion.depth_to_occlusion": (lambda f: f(maps(), matrices(), maps(3), radius=4, directions=4, weight=mask()), CAMERA),
    "textures.pbr.material_normals": (lambda f: f(estimate(), pbr.relief_of_photo(maps(3), SET), SET), None),
    "textures.pbr.pbr_maps": (lambda f: [each for each in f(maps(3), SET) if isinstance(each, torch.Tensor)], HOLES),
    "textures.pbr.height_map": (lambda f: f(maps(3), SET), HOLES),
    "textures.pbr.is_in_doubt": (lambda f: f(pbr.relief_of_photo(maps(3), SET), SET), "gives True or False"),
    "textures.pbr.relief_of_photo": (lambda f: f(maps(3), SET).height(), None),
    "textures.pbr.shape_width": (lambda f: f(SET, 20, 30), None),
    "textures.pbr.check_source": (lambda f: f("both", True, True), None),
    "textures.pbr.with_contrast": (lambda f: f(maps(), 2.0), None),
    "textures.seamless.margins": (lambda f: f(20, 30, 0.2), None),
    "textures.seamless.wrap": (lambda f: f(maps(3), (2, 3)), None),
    "textures.seamless.mirror": (lambda f: f(maps(3), (2, 3)), None),
    "textures.seamless.unmirrored_normals": (lambda f: f(estimate(), (2, 3)), None),
    "textures.seamless.cropped": (lambda f: f(maps(3), (2, 3)), None),
    "textures.seamless.folded": (lambda f: f(maps(3), (2, 3)), None),
    "textures.seamless.seamless_estimate": (lambda f: f(estimate(), (2, 3)), None),
    "textures.seamless.tileable": (lambda f: f(maps(3)), None),
    "textures.slopes.slopes_of": (lambda f: [f(maps(), True, way) for way in DERIVATIVES], None),
    "textures.slopes.mirrored_slopes": (lambda f: f(maps(), False, "spline"), None),
    "textures.slopes.adjoint": (lambda f: [f(maps(2), seam, "spline") for seam in (False, True)], None),
    "textures.slopes.border_share": (lambda f: f(maps(2), False, "spline"), None),
    "textures.slopes.integrated": (lambda f: f(maps(2), True, "central"), None),
    "textures.slopes.solved": (lambda f: f(maps(), False, "spline", screening=0.1), None),
    "filters.transforms.blurred": (lambda f: [f(maps(3), 2.0, seam) for seam in (False, True)], None),
    "filters.transforms.blurred_where": (lambda f: f(maps(3), maps(), 2.0), None),
    "filters.transforms.trend_where": (lambda f: [f(maps(3), maps(), sigma) for sigma in (2.0, 24.0)], None),
    "filters.transforms.dct": (lambda f: f(maps(), -2), None),
    "filters.transforms.idct": (lambda f: f(maps(), -1), None),
    "filters.transforms.dst": (lambda f: f(maps(), -1), None),
    "filters.transforms.idst": (lambda f: f(maps(), -2), None),
    "filters.transforms.frequencies": (lambda f: f(8, True, maps()), None),
    "textures.occlusion.estimate_to_occlusion": (lambda f: f(estimate(), radius=4, directions=4), ONE_BY_ONE),
    "valid.all_point": (lambda f: f(maps(3)), "its answer is yes or no, for a CPU alone"),
    "valid.all_valid_depth": (lambda f: f(maps(), Quantity.METRIC_DEPTH), "its answer is yes or no, for a CPU alone"),
    "valid.are_finite": (lambda f: f(maps()), None),
    "valid.are_positive": (lambda f: f(maps()), None),
    "valid.are_all": (lambda f: f(mask()), None),
    "valid.depth_mask": (lambda f: f(maps(), Quantity.METRIC_DEPTH), "whether depth has holes: only then is there a mask"),
    "valid.infinitely_far": (lambda f: f(maps(), Quantity.METRIC_DEPTH), None),
    "valid.valid_depth": (lambda f: f(maps(), Quantity.METRIC_DEPTH, mask()), None),
    "valid.valid_normals": (lambda f: f(maps(3), mask()), None),
}


def called(name):
    return CASES[name][0](function_of(name))


def devices_of(value):
    if isinstance(value, torch.Tensor):
        return {value.device}
    if isinstance(value, Estimate):
        return devices_of([value.depth, value.normals, value.mask, value.intrinsics, value.confidence])
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return set().union(*map(devices_of, parts))


def names():
    methods = [f"estimate.Estimate.{name}" for name, _ in inspect.getmembers(Estimate, inspect.isfunction) if not name.startswith("_")]
    return sorted({*methods, *CASES, *(name for name in public_functions(geometry) if not LEFT_OUT.match(name))})


@pytest.mark.slow("follows every public function without its device")
@pytest.mark.parametrize("name", names())
def test_it_runs_on_a_device_and_says_why_it_waits(name, ask):
    assert name in CASES, "a public function without a case: add how it is called, and why it waits for the device if it does"
    reason = CASES[name][1]
    result, asked = ask(lambda: called(name))
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
                found.append(numbers_of(called(name)))
    finally:
        torch.set_default_dtype(torch.float32)
    for cast, plain in zip(*found, strict=True):
        torch.testing.assert_close(cast, plain, rtol=1e-5, atol=1e-5, equal_nan=True)


NOT_THE_SAME = {
    **dict.fromkeys(
        ("filters.chosen_pixels.chosen_places", "views.soft_edges.split_soft_edges", "edges.stripes.stripe_ends"),
        "a CPU computes chosen pixels only, and the others of the result are not used",
    ),
    "surfaces.derive.panorama_normals": "normals of noise change as much where depth changes by a millionth",
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
        found.append(numbers_of(called(name)))
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
        return before_sky.depth_before_sky(1 + maps(), maps(3), depth_only())

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
        return lambda: len(list(parallax.parallax_frames(one(3), one(), matrices(1), parallax.camera_path("swing", count, 0.1))))

    monkeypatch.setattr(gaps, "_AT_ONCE", 1 << 40)  # all places are in question here, and would be looked at in parts
    (three, asked_for_three), (eight, asked_for_eight) = ask(frames(3)), ask(frames(8))
    assert (three, eight) == (3, 8) and asked_for_eight == asked_for_three
