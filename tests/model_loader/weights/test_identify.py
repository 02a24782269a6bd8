"""Which model a weights file is of: its tensors say it, its length, its name; and what is no model of ours is told what it is."""

import functools
import json
import logging
import resource
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from depth_normal.annotators import building as libraries
from depth_normal.annotators import registry
from depth_normal.annotators.base import Annotator
from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.specs.base import CheckpointError
from depth_normal.model_loader import load, load_model
from depth_normal.model_loader.weights import identify
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from depth_normal.model_loader.weights.integrity import bundled_path, sha256_of
from tests import tiny_depth as DEPTH
from tests import tiny_diffusion as DIFFUSION
from tests.whole_files import Stop

TESTS = Path(__file__).resolve().parents[2]
MOGE, DA3 = (SimpleNamespace(**runpy.run_path(str(TESTS / "annotators" / f"test_{name}.py"))) for name in ("moge", "depth_anything_v3"))
MODELS = registry.MODELS
V2, VIDEO = "depth-anything-v2-small", "video-depth-anything-small"
SMALL = ("depth-anything-small", V2, "depth-anything-v2-metric-indoor-small", "depth-anything-v2-metric-outdoor-small")


def one_of_each_network() -> list[str]:
    """The first model of each architecture in the table."""
    seen = []
    for spec in MODELS.values():
        own = registry.FAMILIES[spec.family].check_network.__func__ is not Annotator.check_network.__func__
        if (own or len(spec.files) == 1) and not any(other.family == spec.family and other.config == spec.config for other in seen):
            seen.append(spec)
    return [spec.id for spec in seen]


@functools.cache
def expected(model_id):
    """Names and shapes that a model's network wants, of any family: caught where tensors are compared with it."""
    caught = []

    def catch(network, *_):
        caught.append(network.state_dict())
        raise Stop

    spec = MODELS[model_id]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        for name, module in list(sys.modules.items()):
            if name.startswith("depth_normal.annotators.") and hasattr(module, "fill"):
                patch.setattr(module, "fill", catch)
        patch.setattr(libraries, "_stand_ins", lambda network, config, *_: catch(libraries.on_meta_device(network, config)))
        registry.FAMILIES[spec.family].check_network(spec, {"anything": torch.empty(1, device="meta")})
    return caught[0]


NETWORKS = json.loads(Path(__file__).with_name("networks.json").read_text())
"""Tensors and numbers of each network, as in the authors' classes and files, but for what nothing uses."""


LARGE = ("-base", "-large", "-giant", "vitb", "vitl", "vitg", "-kitti", "lotus-depth-g", "lbm", "depth-pro", "-lcm")
SIZES = [
    pytest.param(each, marks=pytest.mark.slow("a larger one of the same class") if any(part in each for part in LARGE) else ())
    for each in one_of_each_network()
]


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("model_id", SIZES)
def test_every_network_has_the_published_size_and_is_known_by_its_names_and_shapes(model_id):
    spec, state = MODELS[model_id], expected(model_id)
    assert NETWORKS.get(model_id, "add it to networks.json") == [len(state), sum(value.numel() for value in state.values())]
    family = registry.FAMILIES[spec.family]
    assert family.could_be(spec, state.keys()), "it takes the network's own names too, not only the authors'"
    family.check_network(spec, {name: value.half() if value.is_floating_point() else value for name, value in state.items()})


def table(monkeypatch, *specs):
    """Makes these all there is."""
    small = {spec.id: spec for spec in specs}
    monkeypatch.setattr(identify, "MODELS", small)
    monkeypatch.setattr(identify, "MATERIAL_MODELS", {})
    for spec in specs:
        monkeypatch.setitem(registry.MODELS, spec.id, spec)


@pytest.fixture(scope="module")
def shrunk():
    return {spec.id: DEPTH.shrunk(spec) for spec in MODELS.values() if spec.family in DEPTH.FAMILIES}


@pytest.fixture(scope="module")
def states(shrunk):
    """State dicts as published, of one small model of each family; made when they are asked for."""
    made = {}

    def state(model_id):
        if model_id not in made:
            made[model_id] = {key: value.contiguous() for key, value in DEPTH.random_states(shrunk[model_id])["network"].items()}
        return made[model_id]

    return state


LAYOUTS = {"mine.safetensors": save_file, "mine_safetensors.bin": save_file, "mine.pth": torch.save}
APART = [V2, "zoe-depth-anything-indoor", "depth-anything-3-small", "depth-anything-3-mono-large", "zoedepth-nyu-kitti", VIDEO]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("model_id", "layout"), [*((V2, each) for each in LAYOUTS), *((each, "mine.safetensors") for each in APART[1:])])
def test_the_families_of_depth_are_told_apart_in_any_layout(model_id, layout, shrunk, states, monkeypatch, tmp_path, caplog):
    table(monkeypatch, *map(shrunk.get, APART))
    LAYOUTS[layout](states(model_id), tmp_path / layout)
    assert identify.recognise(tmp_path / layout).id == model_id
    assert not [record for record in caplog.records if record.levelno > logging.INFO], caplog.text


@pytest.mark.parametrize("family", ["moge", "depth-anything-3"])
@pytest.mark.parametrize("layout", ["authors", "ComfyUI"])
def test_files_repackaged_for_comfyui_are_recognised(family, layout, monkeypatch, tmp_path):
    path = tmp_path / "mine.safetensors"
    if family == "moge":
        spec, state = MOGE.spec(), MOGE.tiny_state()
        save_file(MOGE.RANDOM.hub_names(state) if layout == "ComfyUI" else state, path)
    else:
        spec, network = DA3.spec(DA3.SMALL), DA3.tiny_network(DA3.SMALL)
        state = DA3.comfyui_state(network) if layout == "ComfyUI" else DA3.official_state(network)
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    table(monkeypatch, spec)
    assert identify.recognise(path) is spec


def test_midas_of_convolutions_needs_no_library(tmp_path, monkeypatch):
    path = tmp_path / "mine.pt"
    torch.save(MidasSmall().state_dict(), path)
    table(monkeypatch, *(spec for spec in MODELS.values() if spec.family == "midas"))
    monkeypatch.setattr(libraries.importlib, "import_module", None)
    assert identify.recognise(path).id == "midas-v2.1-small"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("model_id", ["marigold-normals", "lotus-depth-g", "lotus-normals-d", "lbm-normals"])
def test_the_network_of_a_diffusion_model_is_enough(model_id, monkeypatch, tmp_path):
    specs = {spec.id: DIFFUSION.shrunk(spec) for spec in MODELS.values() if spec.family in DIFFUSION.FAMILIES}
    table(monkeypatch, *specs.values())
    path = tmp_path / f"{model_id}.safetensors"
    save_file({key: value.contiguous() for key, value in DIFFUSION.random_states(specs[model_id])["network"].items()}, path)
    assert identify.recognise(path).id == model_id
    if model_id == "lbm-normals":
        bare = {key.removeprefix("denoiser."): value for key, value in read_checkpoint(path).items() if key.startswith("denoiser.")}
        save_file(bare, tmp_path / "bare lbm normal.safetensors")
        assert identify.recognise(tmp_path / "bare lbm normal.safetensors").id == model_id


def test_the_network_of_materials_is_recognised_and_is_no_depth_model(monkeypatch, tmp_path):
    table(monkeypatch, *(DIFFUSION.shrunk(spec) for spec in MODELS.values() if spec.family in DIFFUSION.FAMILIES))
    specs = {spec.id: DIFFUSION.shrunk(spec) for spec in registry.MATERIAL_MODELS.values()}
    monkeypatch.setattr(identify, "MATERIAL_MODELS", specs)
    (spec,) = specs.values()
    path = tmp_path / "unet.safetensors"
    save_file({key: value.contiguous() for key, value in DIFFUSION.random_states(spec)["network"].items()}, path)
    assert identify.recognise(path).id == spec.id
    with pytest.raises(ValueError, match="neither depth nor normals"):
        registry.find_spec(identify.recognise(path).id)


@pytest.fixture
def like(states, shrunk, monkeypatch, tmp_path):
    """A file of Depth Anything V2 small under any name, in a table of the four models of `SMALL`, which have such tensors."""
    table(monkeypatch, *(shrunk[model_id] for model_id in SMALL))

    def like(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(states(V2), path)
        return path

    return like


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("depth_anything_vits14.safetensors", "depth-anything-small"),
        ("depth_anything_v2_vits_fp16.safetensors", V2),
        ("Depth-Anything-V2-Small-hf/model.safetensors", V2),
        ("models--depth-anything--Depth-Anything-V2-Small-hf/snapshots/0a/model.safetensors", V2),
        ("my depth_anything_v2 of birds.safetensors", V2),
        ("depth_anything_v2_metric_hypersim_vits.safetensors", "depth-anything-v2-metric-indoor-small"),
        ("depth_anything_v2_metric_kitti.safetensors", "depth-anything-v2-metric-outdoor-small"),
    ],
)
def test_the_name_decides_between_equal_networks(name, model_id, like, caplog):
    caplog.set_level(logging.INFO)
    assert identify.recognise(like(name)).id == model_id
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert f"is recognised as {model_id}" in caplog.text


def test_a_doubt_is_told_once_with_what_to_give(like, caplog):
    path = like("mine.safetensors")
    assert identify.recognise(path) is identify.recognise(path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    words = record.getMessage()
    assert "could be of depth-anything-small, depth-anything-v2-small, depth-anything-v2-metric-indoor-small or" in words
    assert "taken for depth-anything-small" in words and 'choose load_model("depth-anything-v2-small")' in words


def test_a_file_that_was_replaced_is_looked_at_again(like, states, shrunk, monkeypatch):
    path = like("mine.safetensors")
    identify.recognise(path)
    table(monkeypatch, shrunk[V2], shrunk[VIDEO])
    save_file(states(VIDEO), path)
    assert identify.recognise(path).id == VIDEO


def test_tensors_count_more_than_the_name_of_another_model(states, shrunk, monkeypatch, tmp_path):
    table(monkeypatch, *map(shrunk.get, APART))
    path = tmp_path / MODELS[V2].file.name
    torch.save(states(VIDEO), path)
    assert identify.recognise(path).id == VIDEO


@pytest.mark.parametrize(
    ("name", "model_ids"),
    [
        ("lotus-normal-d-v1-1.safetensors", ["lotus-normals-d"]),
        ("lotus-normal-d-v1-0-fp16.safetensors", ["lotus-normals-d-v1.0"]),
        ("lotus-depth-d-v-1-1-fp16.safetensors", ["lotus-depth-d"]),
        ("Lotus_Disparity.safetensors", ["lotus-disparity-d"]),
        ("models--jingheya--lotus-normal-d-v1-1/snapshots/1d/unet/diffusion_pytorch_model.safetensors", ["lotus-normals-d"]),
        ("my normals.safetensors", ["lotus-normals-d", "lotus-normals-d-v1.0"]),
        ("runs-1/mine.safetensors", ["lotus-depth-d", "lotus-disparity-d", "lotus-normals-d", "lotus-normals-d-v1.0"]),
        ("mine.safetensors", ["lotus-depth-d", "lotus-disparity-d", "lotus-normals-d", "lotus-normals-d-v1.0"]),
        ("marigold-depth/unet/diffusion_pytorch_model.safetensors", ["marigold-depth", "marigold-depth-v1.0"]),
        ("marigold-v1-0/unet/diffusion_pytorch_model.safetensors", ["marigold-depth-v1.0"]),
    ],
)
def test_words_of_the_name_tell_variants_apart(name, model_ids, tmp_path):
    unet = MODELS[model_ids[0]].config.unet
    variants = [spec for spec in MODELS.values() if getattr(spec.config, "unet", None) == unet]
    assert [spec.id for spec in identify._by_name(tmp_path / name, variants)] == model_ids


def test_no_model_is_taken_for_another_of_its_tensors_by_its_own_name_or_its_repositorys():
    repositories, tensors, taken = [spec.file.repo_id for spec in MODELS.values()], {}, {}
    for name, numbers in NETWORKS.items():
        family, config = MODELS[name].family, MODELS[name].config
        tensors |= {spec.id: (family, numbers) for spec in MODELS.values() if spec.family == family and spec.config == config}
    for spec in map(MODELS.get, tensors):
        alike = [MODELS[each] for each in tensors if tensors[each] == tensors[spec.id]]
        repository, stem = str(spec.file.repo_id).rpartition("/")[2], Path(spec.file.name).stem
        names = [f"{stem}_fp16.safetensors" if identify._words(stem) else f"{repository}/{stem}_fp16.safetensors"]
        names += [f"{repository}/model.safetensors"] if repositories.count(spec.file.repo_id) == 1 else []
        taken |= {name: spec.id for name in names if identify._by_name(Path("/models", name), alike) != [spec]}
    assert not taken, "the family's `claims` or the models' names do not tell them apart"


def test_no_extension_and_no_generic_word_says_what_a_file_is(tmp_path):
    one, other = MODELS["moge-2-vitl"], replace(MODELS["moge-2-vitl"], id="moge-2-other", files=(replace(MODELS["tiny"].file),))
    for name in ("weights.safetensors", "model.pt", "unet/diffusion_pytorch_model.safetensors"):
        assert identify._by_words(tmp_path / name, *2 * [[one, other]]) == [one, other]
    assert identify._by_words(tmp_path / "an other model.pt", *2 * [[one, other]]) == [other]


def published(spec, path, **more):
    return replace(spec, files=(replace(spec.file, size=path.stat().st_size, **more), *spec.files[1:]))


def test_a_published_length_counts_more_than_no_name(like, shrunk, monkeypatch):
    path = like("mine.safetensors")
    metric = published(shrunk["depth-anything-v2-metric-indoor-small"], path)
    table(monkeypatch, shrunk["depth-anything-small"], shrunk[V2], metric)
    assert identify.recognise(path) is metric


def test_a_published_digest_counts_more_than_a_name(like, shrunk, monkeypatch, caplog):
    path = like("depth_anything_v2_vits.safetensors")
    metric = published(shrunk["depth-anything-v2-metric-indoor-small"], path, sha256=sha256_of(path).upper())
    relative = published(shrunk[V2], path, sha256="0" * 64)
    table(monkeypatch, relative, metric)
    assert identify.recognise(path) is metric
    assert not [record for record in caplog.records if record.levelno > logging.INFO], caplog.text


def header_of(state):
    """The bytes of a safetensors file of these tensors but for their numbers, and how long the whole is."""
    entries, end = {}, 0
    for name, value in state.items():
        length = value.numel() * 2
        entries[name] = {"dtype": "F16", "shape": list(value.shape), "data_offsets": [end, end + length]}
        end += length
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header, 8 + len(header) + end


@pytest.mark.slow("takes most of a second")
def test_a_file_of_five_gigabytes_is_not_read(tmp_path):
    pytest.importorskip("diffusers")
    begin, length = header_of(expected("lbm-depth"))
    path = tmp_path / "LBM_depth.safetensors"
    with path.open("wb") as stream:
        stream.write(begin)
        stream.truncate(length)  # a hole, which takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert length > 4.8e9 and identify.recognise(path).id == "lbm-depth"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 300e6


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("lora_unet_down_blocks_0.lora_up.weight", "lora_unet_down_blocks_0.alpha"), "is a LoRA: it holds 2 tensors"),
        (("model.diffusion_model.out.2.weight", "first_stage_model.encoder.conv_in.weight"), "is a whole checkpoint of Stable Diffusion"),
        (("model.da3.cam_dec.fc_t.weight", "model.da3_metric.backbone.pretrained.cls_token"), "is Depth Anything 3 giant or nested"),
        (("control_model.time_embed.0.weight",), "is a ControlNet"),
        (("encoder.conv_in.weight", "decoder.conv_in.weight"), "is a VAE"),
        (("text_model.embeddings.position_ids", "text_model.final_layer_norm.bias"), "is a text encoder"),
        (("a", "b", "c", "d"), r"is of no model that is known here: it holds 4 tensors \(first: a, b, c\)"),
    ],
)
def test_what_is_no_model_of_ours_is_told_what_it_is(names, told, tmp_path, monkeypatch):
    table(monkeypatch, MODELS["tiny"], MODELS["midas-v2.1-small"], MODELS[V2])
    path = tmp_path / "depth_anything_v2_vits.safetensors"
    save_file({name: torch.zeros(2, 2) for name in names}, path)
    with pytest.raises(CheckpointError, match=told) as error:
        identify.recognise(path)
    assert "tiny, midas or depth-anything;" in str(error.value) and "--model ID" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64])
def test_whole_numbers_are_no_weights(dtype, tmp_path, monkeypatch):
    table(monkeypatch, MODELS["tiny"])
    path = tmp_path / "tiny.safetensors"
    save_file({name: value.to(dtype) for name, value in read_checkpoint(bundled_path(MODELS["tiny"].file)).items()}, path)
    with pytest.raises(CheckpointError, match="whole numbers alone"):
        identify.recognise(path)
    with pytest.raises(CheckpointError, match=rf"tensors of {dtype} in place of floating point numbers \(first: attention"):
        load_model("tiny", weights=path)


def test_names_of_tensors_cannot_spoil_a_message(tmp_path, monkeypatch):
    table(monkeypatch, MODELS["tiny"])
    path = tmp_path / "odd.safetensors"
    save_file({"a\n\x1b[31m": torch.zeros(2), "b" * 5000: torch.zeros(2)}, path)
    for model_id in (None, "tiny"):
        with pytest.raises(CheckpointError) as error:
            load_model(model_id, weights=path)
        assert str(error.value).isprintable() and "a\\n\\x1b[31m" in str(error.value) and len(str(error.value)) < 1000


def test_a_missing_library_is_told_where_nothing_else_fits(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(libraries.importlib, "import_module", absent)
    table(monkeypatch, *(spec for spec in MODELS.values() if spec.family == "midas"))
    path = tmp_path / "mine.safetensors"
    save_file({"dpt.embeddings.cls_token": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"not compared with midas-dpt-hybrid, .*: the transformers library cannot be imported"):
        identify.recognise(path)


def test_a_type_of_tensors_that_is_not_known_is_told(tmp_path):
    path = tmp_path / "depth_anything_v2_vits.pth"
    path.write_bytes((8 + 60).to_bytes(8, "little") + b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}               \0')
    with pytest.raises(CheckpointError, match=r"not known here|damaged safetensors"):  # older safetensors do not know it either
        identify.recognise(path)


def test_a_model_loads_by_its_file_alone(tmp_path):
    path = tmp_path / "mine.safetensors"
    shutil.copy(bundled_path(MODELS["tiny"].file), path)
    model = load_model(weights=path)
    assert model.spec.id == "tiny" and model.weights_path == path
    assert load_model("tiny", weights=path) is model
    assert load.chosen_model(None, None, "tiny") == "tiny"
