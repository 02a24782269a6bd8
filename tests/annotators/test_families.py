"""What every family of models keeps to, whatever its network: batches, sizes, half precision, files that differ, options."""

import math
import re
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators.diffusion import DiffusionOptions, LbmOptions
from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.marigold import MarigoldOptions
from depth_normal.annotators.moge import MogeOptions
from depth_normal.annotators.networks import layers
from depth_normal.annotators.registry import FAMILIES, MODELS, all_specs, find_any_spec
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.geometry.estimate import Axes
from depth_normal.model_loader import load_model
from depth_normal.model_loader.weights.identify import recognise
from tests import graph_families as SHRUNK
from tests import leres_oracle, tiny_diffusion
from tests.annotators import test_da2, test_depth_pro, test_midas, test_moge_3
from tests.random_weights import make_images
from tests.refusals import refusals
from tests.tiny_old_nodes import tiny_encoder

GRAPHS = [each for each in (*SHRUNK.DINO, *SHRUNK.OTHERS) if each != "tiny-edges"]
DIFFUSION = ("marigold-depth", "lotus-depth-g", "lbm-depth")
OWN = {"da2": test_da2.annotator, "depth-pro": test_depth_pro.annotator, "moge-3": test_moge_3.built}
QUICK = ("bae", "video-depth-anything-small", "zipdepth", "leres")
NAMES = [*QUICK, *(each for each in GRAPHS if each not in QUICK), *OWN, "leres-boost", "zoedepth-nyu", *test_midas.TINY, *DIFFUSION]
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
EXACT = {
    "da": r"(core\.)?depth_head\.scratch\.(sky_)?output_conv2\.|cam_dec\.",
    "zoe-depth-anything": r"(?!core\.(pretrained|depth_head\.(?!scratch\.output_conv2)))",
    "zoedepth": r"(relative|metric)_head\.",
    "da2": r"head\.to_depth_[hl]r\.",
    "depth-pro": r"head\.4\.|fov\.head\.",
    "leres": r"decoder\.head\.",
    "leres-boost": r"depth\.decoder\.head\.|merge\.",
    "lbm-depth in torch.float16": r"vae\.",
    "midas-swin2-tiny in torch.float16": r"backbone\.|head\.head\.[24]\.",
    "bae": r"decoder\.out_conv_res(8|\d\.6)\.",
    "moge": r"(mask|normal|points)_head\.output_blocks\.4\.|scale_head\.|head\.output_block\.\d\.2\.|refiner\.",
    "metric3d": r"decoder\.",
    "zipdepth": r"decoder\.head_half\.",
    "midas": r"scratch\.output_conv\.[24]\.|head\.head\.[24]\.",
}
EXACT |= dict.fromkeys(("depth-anything", "depth-anything-3", "video-depth-anything"), EXACT.pop("da"))
"""By model or family: the parameters that stay in float32 in half precision, with as many digits as the file has; else none."""
NEAR = {torch.float16: 0.01, torch.bfloat16: 0.05}
"""The mean error that is allowed, in means of the map."""


def annotator(name, dtype=torch.float32):
    """An annotator with few channels and random weights; also of a family without a graph."""
    if name in DIFFUSION:
        pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
        spec = tiny_diffusion.shrunk(MODELS[name])
        return FAMILIES[spec.family].build(spec, tiny_diffusion.random_states(spec), dtype)
    if name == "leres-boost":
        states = {"depth": leres_oracle.relative_depth_model().state_dict(), "merge": leres_oracle.merge_generator().state_dict()}
        return FAMILIES[name].build(leres_oracle.shrunk(name), states, dtype)
    if name in OWN:
        return OWN[name](dtype=dtype)
    if name in test_midas.TINY:
        return test_midas.annotator(name, dtype)
    return SHRUNK.annotator(name, dtype)


@pytest.fixture(scope="module", params=[*NAMES, pytest.param("midas-v2.1-small", marks=pytest.mark.slow("at its true size"))])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return annotator(name)


@pytest.mark.slow("builds a network of each family")
def test_every_family_is_here():
    assert {annotator(name).spec.family for name in NAMES} == {spec.family for spec in MODELS.values()}


def size_of(model):
    return 64 if model.spec.default_size > 64 else None


def built_of(name, model, change):
    """The family's annotator, of tensors that are changed on their way: of the state dict by its file's role."""
    build = type(model).build

    def changed(spec, states, dtype):
        role = spec.file.role
        return build(spec, {**states, role: change(states[role])}, dtype)

    with mock.patch.object(type(model), "build", side_effect=changed) as asked:
        found = annotator(name)
    asked.assert_called_once()
    return found


@pytest.mark.quick_cases(1)
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(name, model):
    images = make_images(40, 70, 3)
    together = model.estimate(images, size_of(model))
    for index in range(3):
        alone = model.estimate(images[index : index + 1], size_of(model))
        for map_name, value in alone.maps.items():
            limit = 1e-5 * value.float().abs().clamp(max=1e4).max().item() + 1e-5
            if name == "moge-3" and map_name == "depth":
                limit = math.inf  # rounding moves some points into the bin beside theirs
            torch.testing.assert_close(together.maps[map_name][index : index + 1].float(), value.float(), atol=limit, rtol=1e-5)


@pytest.mark.quick_cases(5)
@torch.no_grad()
def test_images_of_any_size_and_of_one_colour_give_finite_maps(model):
    for images in (make_images(37, 61, 2), make_images(64, 20), torch.zeros(1, 3, 1, 1), torch.full((1, 3, 40, 50), 0.5)):
        batch, _, height, width = images.shape
        found = model.estimate(images, size_of(model)).resized(height, width)
        assert (found.batch, found.height, found.width) == (batch, height, width)
        assert found.quantity is model.spec.quantity and found.axes is (
            Axes.OPENGL if model.spec.id in DIFFUSION else model.spec.axes or Axes.OPENGL
        )
        assert all(torch.isfinite(value).all() for value in found.maps.values())
        if found.normals is not None:
            assert (found.normals.norm(dim=1) - 1).abs().max() < 1e-4


@pytest.mark.quick_cases(3)
@HALF
@torch.no_grad()
def test_half_precision_is_near_and_ends_in_float32(name, model, dtype):
    half = annotator(name, dtype)
    parameters = dict(half.network.named_parameters())
    kept = {key for key, value in parameters.items() if value.dtype == torch.float32}
    exact = next((EXACT[key] for key in (f"{name} in {dtype}", name, model.spec.family) if key in EXACT), r"(?!)")
    assert kept == {key for key in parameters if re.match(exact, key)}
    tensors = [*half.network.named_parameters(), *half.network.named_buffers()]
    weights = (value for key, value in tensors if re.match(exact, key) and value.is_floating_point() and value.ndim > 1)
    assert not any(torch.equal(value, value.to(dtype)) for value in weights), "not rounded on the way"
    expected, found = (each.estimate(make_images(40, 70), size_of(model)) for each in (model, half))
    for map_name, value in expected.maps.items():
        other = found.maps[map_name]
        assert other.dtype == value.dtype, "float32 in any case"
        if value.is_floating_point():
            both = value.isfinite() & other.isfinite()
            assert (other - value)[both].abs().median() < NEAR[dtype] * value[both].abs().median(), map_name


@pytest.mark.quick_cases(2)
def test_a_file_that_differs_is_refused_by_name(name, model):
    def without_the_last(state):
        return {key: value for key, value in state.items() if key != last(state)}

    def longer(state):
        return state | {last(state): torch.zeros(len(state[last(state)]) + 3)}

    for change, words in (
        (without_the_last, "1 missing keys"),
        (lambda state: state | {"stranger.weight": torch.zeros(3)}, "1 unexpected keys .first: .*stranger"),
        (longer, "1 (tensors of another shape|mismatched keys)"),
    ):
        with pytest.raises(CheckpointError, match=f"not (a|the) .*: {words}"):
            built_of(name, model, change)


def last(state):
    """The name of the last vector of numbers."""
    return [key for key, value in state.items() if value.ndim == 1 and value.is_floating_point()][-1]


@pytest.mark.quick_cases(1)
def test_a_file_in_half_precision_computes_in_float32_and_stays_as_it_was(name, model):
    files = []

    def halves(state):
        files.append({key: value.half() if value.is_floating_point() else value for key, value in state.items()})
        files.append({key: value.clone() for key, value in files[0].items()})
        return files[0]

    found = built_of(name, model, halves)
    assert {value.dtype for value in found.network.parameters()} == {torch.float32}
    given, before = files
    assert given.keys() == before.keys() and all(torch.equal(given[key], before[key]) for key in given)
    rounded = built_of(name, model, lambda _: {key: value.float() if value.is_floating_point() else value for key, value in given.items()})
    expected = rounded.network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.network.state_dict().items())


@pytest.mark.quick_cases(2)
def test_a_users_file_of_the_published_tensors_is_recognised_and_loads(name, model, tmp_path):
    if name == "leres-boost":
        pytest.skip("its network's file is leres'")
    published, path = {}, tmp_path / "mine.safetensors"
    built_of(name, model, lambda state: published.update(state) or state)
    save_file({key: value.clone(memory_format=torch.contiguous_format) for key, value in published.items()}, path)
    with mock.patch.dict(MODELS, {model.spec.id: model.spec}, clear=True), tiny_encoder():
        assert recognise(path) is model.spec
        if len(model.spec.files) == 1:
            found, expected = load_model(None, "float32", "cpu", path).annotator.network.state_dict(), model.network.state_dict()
            assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.quick_cases(4)
def test_options_of_another_family_are_refused(model):
    with pytest.raises(TypeError, match=rf"{model.spec.id} takes .*; found dict"):
        model.estimate(make_images(40, 50), size_of(model), options={})


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("name", "options", "done"),
    [
        ("moge-3", MogeOptions(2), (1, 2)),
        ("depth-pro", None, (5, 10, 15, 20, 25, 30, 35, 36, 37)),
        ("lotus-depth-g", None, (1,)),
        ("lbm-depth", LbmOptions(steps=3), (1, 2, 3)),
        ("marigold-depth", None, (1, 2, 3, 4)),
        ("marigold-depth", MarigoldOptions(steps=2, ensemble_size=3), (1, 2, 3, 4, 5, 6)),
    ],
)
def test_progress_counts_each_pass_and_can_end_the_work(name, options, done):
    model, steps = annotator(name), mock.Mock()
    model.estimate(make_images(40, 50), size_of(model), options=options, progress=steps)
    assert steps.call_args_list == [mock.call(each, done[-1]) for each in done]
    stopping = mock.Mock(side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        model.estimate(make_images(40, 50), size_of(model), options=options, progress=stopping)
    stopping.assert_called_once()


test_options_out_of_range_are_named = refusals(
    *((lambda each=each: DsineOptions(each), "iterations is .*; accepted: .*1 to 20") for each in (0, 21, -5, 2.5, math.nan)),
    *((lambda each=each: MogeOptions(each), "refine_steps is .*accepted: .*0 to 8") for each in (-1, 9, 1.5, "3", None)),
    (lambda: MarigoldOptions(steps=0), "steps is 0; accepted"),
    (lambda: MarigoldOptions(steps=1001), "steps is 1001; accepted"),
    (lambda: MarigoldOptions(ensemble_size=0), "ensemble_size is 0; accepted"),
    (lambda: MarigoldOptions(seed=-1), "seed is -1; accepted"),
    (lambda: LbmOptions(steps=0), "steps is 0; accepted"),
    (lambda: DiffusionOptions(seed=2**64), f"seed is {2**64}; accepted"),
)


@pytest.mark.parametrize("name", ["zoedepth-nyu", "lotus-depth-g"])
def test_a_librarys_linear_layers_multiply_as_the_processor_is_fast_at(name, monkeypatch):
    calls, usual = [], torch.nn.functional.linear
    monkeypatch.setattr(layers, "convolutions_are_faster", lambda: True)
    monkeypatch.setattr(layers, "linear", lambda *given: calls.append(1) or usual(*given))
    annotator(name).estimate(make_images(40, 60), 64)
    assert calls


V2_LARGE, V1_LARGE = "depth-anything-v2-large", "depth-anything-large"


@pytest.mark.parametrize(
    "model_id, path, words",
    [
        (V2_LARGE, "depth_anything_v2_vitl_fp16.safetensors", None),
        (V2_LARGE, "/models/depthanything/my_tune.safetensors", None),
        (V2_LARGE, "hub/models--depth-anything--Depth-Anything-V2-Large-hf/snapshots/1a2b3c/model.safetensors", None),
        (V2_LARGE, "C:\\ckpts\\LiheYoung\\Depth-Anything\\depth_anything_vitl14.pth", "version 1 instead of version 2"),
        (V2_LARGE, "depth_anything_v2_metric_hypersim_vitl.pth", "metric indoor instead of relative"),
        (V1_LARGE, "depth_anything_v2_vitl.pth", "version 2 instead of version 1"),
        ("depth-anything-v2-metric-indoor-large", "depth_anything_v2_metric_vkitti_vitl.pth", "outdoor instead of metric indoor"),
        ("depth-anything-v2-metric-indoor-large", "depth_anything_v2_vitl.pth", "relative instead of metric indoor"),
        ("zoe-depth-anything-outdoor", "depth_anything_metric_depth_indoor.pt", "metric indoor instead of metric outdoor"),
        ("depth-anything-3-mono-large", "depth_anything_3_metric_large.safetensors", "metric instead of mono"),
        ("depth-anything-3-mono-large", "models--depth-anything--DA3METRIC-LARGE/snapshots/1a/model.safetensors", "metric instead of mono"),
        ("video-depth-anything-small", "metric_video_depth_anything_vits.pth", "metric instead of relative"),
        ("video-depth-anything-metric-small", "video_depth_anything_vits.pth", "relative instead of metric"),
        ("video-depth-anything-small", "depth_anything_v2_vits.pth", "version 2 instead of Video Depth Anything"),
        ("distill-any-depth-small", "depth_anything_v2_vits.pth", "version 2 instead of Distill Any Depth"),
        ("depth-anything-v2-small", "distill_any_depth_vits.safetensors", "Distill Any Depth instead of version 2"),
        ("lotus-depth-d", "lotus-depth-d-v2-0-disparity/unet/diffusion_pytorch_model.safetensors", "disparity instead of depth"),
        ("marigold-normals", "marigold-depth-v1-1/unet/diffusion_pytorch_model.safetensors", "depth instead of normal"),
        ("lbm-depth", "LBM/LBM_relighting.safetensors", "relighting instead of depth"),
        ("lbm-depth", "normal maps/LBM_depth/model.safetensors", None),
        ("lbm-normals", "/home/deptherra/ComfyUI/models/diffusion_models/mine/model.safetensors", None),
        ("marigold-iid-appearance", "depth/model.safetensors", None),
    ],
)
def test_a_name_that_contradicts_the_model_is_told(model_id, path, words):
    spec = find_any_spec(model_id)
    told = FAMILIES[spec.family].name_contradicts(spec, path)
    assert (told is None) if words is None else (words in told and path in told and model_id in told)


def test_no_model_contradicts_its_own_file():
    for spec in all_specs():
        cached = f"models--{str(spec.file.repo_id).replace('/', '--')}/snapshots/1a2b3c/{spec.file.filename}"
        for name in (spec.file.filename, *spec.file.aliases, cached):
            assert FAMILIES[spec.family].name_contradicts(spec, name) is None
