"""Every public function of `geometry/textures/` and the transforms on a device that this machine need not have.

`test_devices` has the others.
"""

import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path

import pytest
import torch

from depth_normal.geometry import textures
from depth_normal.geometry.filters import transforms
from depth_normal.geometry.textures import curvature, detail, height, materials, occlusion, pbr, seamless, simple_materials, slopes
from depth_normal.options.textures import DERIVATIVES

OTHERS = runpy.run_path(str(Path(__file__).resolve().parents[1] / "test_devices.py"))
CAMERA, DEPTH, DEVICE, HOLES, ONE_BY_ONE = map(OTHERS.get, ("CAMERA", "DEPTH", "DEVICE", "HOLES", "ONE_BY_ONE"))
ask, devices_of, estimate, maps, mask, matrices = map(OTHERS.get, ("ask", "devices_of", "estimate", "maps", "mask", "matrices"))
SET = pbr.PbrOptions(borders="seamless", directions=4)

# function: how it is called, and why it waits for the device where it does
CASES = {
    "curvature.mean_curvature": (lambda: curvature.mean_curvature(maps(3), scale=3, weight=mask()), None),
    "curvature.curvature_maps": (lambda: tuple(curvature.curvature_maps(maps(), weight=mask())), None),
    "detail.subtract_normals": (lambda: detail.subtract_normals(maps(3), maps(3)), None),
    "detail.detail_normals": (lambda: detail.detail_normals(maps(3), weight=mask(), borders="seamless"), None),
    "detail.bright_lines": (lambda: detail.bright_lines(maps(3)), None),
    "detail.grey_joints": (lambda: detail.grey_joints(maps(3)), None),
    "detail.PhotoRelief": (lambda: (detail.PhotoRelief(maps(3)).normals(), detail.PhotoRelief(maps(3)).is_in_doubt), None),
    "materials.gamma_to_linear": (lambda: materials.gamma_to_linear(maps(3)), None),
    "materials.pack_orm": (lambda: materials.pack_orm(maps(), maps(), maps()), None),
    "simple_materials.remove_light": (lambda: simple_materials.remove_light(maps(3), maps(3), maps()), None),
    "simple_materials.uniform_materials": (lambda: simple_materials.uniform_materials(maps(3)).albedo, None),
    "height.normals_to_slopes": (lambda: height.normals_to_slopes(maps(3)), None),
    "height.slopes_to_normals": (lambda: height.slopes_to_normals(maps(2)), None),
    "height.normals_to_height": (
        lambda: (height.normals_to_height(maps(3), weight=mask(), level=True), height.normals_to_height(maps(3), derivative="spline")),
        HOLES,
    ),
    "height.known_normals": (lambda: height.known_normals(maps(3), mask(), "free"), None),
    "height.check_size": (lambda: height.check_size(24, 32), None),
    "height.height_to_normals": (lambda: [height.height_to_normals(maps(), derivative=way) for way in DERIVATIVES], None),
    "height.height_to_image": (lambda: height.height_to_image(maps(), mask()), None),
    "height.grey_heights": (lambda: height.grey_heights(maps(3), maps(1) > 0.5, "height"), "says whether it is coloured"),
    "height.image_to_height": (lambda: height.image_to_height(maps(3), 8.0), None),
    "occlusion.height_to_occlusion": (lambda: occlusion.height_to_occlusion(maps(), radius=4, directions=4, weight=mask()), None),
    "occlusion.depth_to_occlusion": (
        lambda: occlusion.depth_to_occlusion(maps(), matrices(), maps(3), radius=4, directions=4, weight=mask()),
        f"{CAMERA}, {DEPTH}",
    ),
    "pbr.material_normals": (lambda: pbr.material_normals(estimate(), pbr.relief_of_photo(maps(3), SET), SET), None),
    "pbr.pbr_maps": (lambda: [each for each in pbr.pbr_maps(maps(3), SET) if isinstance(each, torch.Tensor)], HOLES),
    "pbr.height_map": (lambda: pbr.height_map(maps(3), SET), HOLES),
    "pbr.is_in_doubt": (lambda: pbr.is_in_doubt(pbr.relief_of_photo(maps(3), SET), SET), "gives True or False"),
    "pbr.relief_of_photo": (lambda: pbr.relief_of_photo(maps(3), SET).height(), None),
    "pbr.shape_width": (lambda: pbr.shape_width(SET, 20, 30), None),
    "pbr.check_source": (lambda: pbr.check_source("both", True, True), None),
    "pbr.with_contrast": (lambda: pbr.with_contrast(maps(), 2.0), None),
    "seamless.margins": (lambda: seamless.margins(20, 30, 0.2), None),
    "seamless.wrap": (lambda: seamless.wrap(maps(3), (2, 3)), None),
    "seamless.mirror": (lambda: seamless.mirror(maps(3), (2, 3)), None),
    "seamless.unmirrored_normals": (lambda: seamless.unmirrored_normals(estimate(), (2, 3)), None),
    "seamless.cropped": (lambda: seamless.cropped(maps(3), (2, 3)), None),
    "seamless.folded": (lambda: seamless.folded(maps(3), (2, 3)), None),
    "seamless.seamless_estimate": (lambda: seamless.seamless_estimate(estimate(), (2, 3)), None),
    "seamless.tileable": (lambda: seamless.tileable(maps(3)), None),
    "slopes.slopes_of": (lambda: [slopes.slopes_of(maps(), True, way) for way in DERIVATIVES], None),
    "slopes.mirrored_slopes": (lambda: slopes.mirrored_slopes(maps(), False, "spline"), None),
    "slopes.adjoint": (lambda: [slopes.adjoint(maps(2), seam, "spline") for seam in (False, True)], None),
    "slopes.border_share": (lambda: slopes.border_share(maps(2), False, "spline"), None),
    "slopes.integrated": (lambda: slopes.integrated(maps(2), True, "central"), None),
    "slopes.solved": (lambda: slopes.solved(maps(), False, "spline", screening=0.1), None),
    "transforms.blurred": (lambda: [transforms.blurred(maps(3), 2.0, seam) for seam in (False, True)], None),
    "transforms.blurred_where": (lambda: transforms.blurred_where(maps(3), maps(), 2.0), None),
    "transforms.trend_where": (lambda: [transforms.trend_where(maps(3), maps(), sigma) for sigma in (2.0, 24.0)], None),
    "transforms.dct": (lambda: transforms.dct(maps(), -2), None),
    "transforms.idct": (lambda: transforms.idct(maps(), -1), None),
    "transforms.dst": (lambda: transforms.dst(maps(), -1), None),
    "transforms.idst": (lambda: transforms.idst(maps(), -2), None),
    "transforms.frequencies": (lambda: transforms.frequencies(8, True, maps()), None),
    "occlusion.estimate_to_occlusion": (lambda: occlusion.estimate_to_occlusion(estimate(), radius=4, directions=4), ONE_BY_ONE),
}


def public_functions():
    modules = [importlib.import_module(f"{textures.__name__}.{found.name}") for found in pkgutil.iter_modules(textures.__path__)]
    for module in (*modules, transforms):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{module.__name__.rpartition('.')[2]}.{name}"


@pytest.mark.slow("follows every public function without its device")
@pytest.mark.parametrize("name", sorted({*public_functions(), *CASES}))
def test_it_runs_on_a_device_and_says_why_it_waits(name, ask):
    assert name in CASES, "a public function without a case: add how it is called, and why it waits for the device if it does"
    call, reason = CASES[name]
    result, asked = ask(call)
    assert (asked > 0) == (reason is not None), f"{asked} questions to the device; the stated reason is {reason!r}"
    assert devices_of(result) <= {DEVICE}, "the result stays on the device of what came in"
