import os
import sys
import time
from dataclasses import replace

import pytest

from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import WeightFile
from depth_normal.model_loader.weights import find
from depth_normal.model_loader.weights.find import download_folder, download_path, find_weights, search_places, user_cache
from depth_normal.model_loader.weights.integrity import verify

HEADER = b'{"weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"\0"
"""The smallest file that is one of weights."""

HYBRID = WeightFile(
    "dpt_hybrid-midas-501f0c75.pt",
    repo_id="lllyasviel/Annotators",
    aliases=("dpt_hybrid_384.pt",),
    size=len(WEIGHTS),
    folders=("geometry_estimation",),
)
HF_OWN = WeightFile("model.safetensors", repo_id="Intel/dpt-hybrid-midas", folders=("diffusers",))
NESTED = WeightFile("checkpoints/depth_anything_vitl14.pth", repo_id="LiheYoung/Depth-Anything", repo_type="space")
OF_THE_WEB = WeightFile("midas_v21_small_256.pt", url="https://example.org/midas_v21_small_256.pt")


def claimed_twice(specs):
    """Ends of paths by which `find_weights` would take one file of a user for two different ones, or for the network of two models."""
    owners, twice = {}, []
    for spec in specs:
        for file in spec.files:
            owner = (file.repo_id, file.url, file.filename, spec.id if file.role == "network" else None)
            twice += [end for end in find._wanted(file) if owners.setdefault((file.role, end), owner) != owner]
    return twice


def test_no_file_of_a_user_is_taken_for_two():
    assert claimed_twice(MODELS.values()) == []
    spec = MODELS["depth-anything-v2-small"]
    other = replace(spec.file, repo_id="depth-anything/Depth-Anything-V2-Small-2", sha256=None)
    second = replace(spec, id="depth-anything-v2-small-2", files=(other,))
    assert "/depth_anything_v2_vits.pth" in claimed_twice([*MODELS.values(), second]), "a second variant needs a name of its own"


def put(path, content=WEIGHTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def hub_cached(caches, file, revision="main", commit="a" * 40):
    root = caches.hub / f"{file.repo_type}s--{file.repo_id.replace('/', '--')}"
    put(root / "refs" / revision, commit.encode())
    return put(root / "snapshots" / commit / file.filename)


@pytest.mark.parametrize("file", [HYBRID, HF_OWN, NESTED, OF_THE_WEB], ids=lambda file: file.name)
def test_looking_finds_nothing_and_creates_nothing(caches, comfyui, tmp_path, file):
    before = sorted(tmp_path.rglob("*"))
    assert find_weights(file) is None
    assert search_places(file)
    assert download_folder() == comfyui.models / "depth_normal"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "place",
    [
        "models/depth_normal/dpt_hybrid-midas-501f0c75.pt",
        "models/depth_normal/lllyasviel/Annotators/dpt_hybrid-midas-501f0c75.pt",
        "models/depth_normal/DPT_Hybrid-MiDaS-501f0c75.PT",
        "models/geometry_estimation/midas/dpt_hybrid_384.pt",
        "models/depth_normal/dpt_hybrid-midas-501f0c75 (1).pt",
        "models/depth_normal/Annotators/DPT_hybrid_384(12).pt",
        "custom_nodes/comfyui_controlnet_aux/ckpts/lllyasviel/Annotators/dpt_hybrid-midas-501f0c75.pt",
        "custom_nodes/ComfyUI-ControlNet-Aux/ckpts/lllyasviel/Annotators/dpt_hybrid-midas-501f0c75.pt",
        "custom_nodes/.disabled/comfyui_controlnet_aux@1_1_0/ckpts/lllyasviel/Annotators/dpt_hybrid-midas-501f0c75.pt",
        "custom_nodes/comfyui_controlnet_aux/ckpts/models--x/snapshots/1/dpt_hybrid-midas-501f0c75.pt",
        "depth-pro: models/depth/ml-depth-pro/depth_pro.fp16.safetensors",
        "depth-pro: models/depth/ml-depth-pro/depth_pro.pt",
        "depth-anything-3-metric-large: models/depthanything3/da3metric_large.safetensors",
        "depth-anything-3-large: models/depthanything3/da3_large.safetensors",
        "distill-any-depth-small: models/distill_any_depth/Distill-Any-Depth-Small.safetensors",
        "marigold-depth: models/diffusers/marigold-depth-v1-1/unet/diffusion_pytorch_model.safetensors",
        "midas-dpt-large: models/depth_normal/Intel/dpt-large/model.safetensors",
        "moge-vitl: models/MoGe/MoGe_ViT_L_fp16.safetensors",
        "lotus-disparity-g: models/diffusion_models/lotus/lotus-depth-g-v2-1-disparity-fp16.safetensors",
    ],
)
def test_every_place_inside_comfyui(comfyui, place):
    """Of a file with all kinds of names, or of a model whose files other packs keep."""
    model_id, _, place = place.rpartition(": ")
    path = put(comfyui.models.parent / place)
    assert find_weights(MODELS[model_id].file if model_id else HYBRID) == path


def test_the_folders_of_extra_model_paths(comfyui, tmp_path):
    comfyui.folders["geometry_estimation"] = [str(tmp_path / "nas" / "geo")]
    comfyui.folders["depth_normal"] = [str(tmp_path / "nas" / "dn"), str(tmp_path / "nas" / "dn2")]
    assert download_folder() == tmp_path / "nas" / "dn"
    in_core = put(tmp_path / "nas" / "geo" / "dpt_hybrid_384.pt")
    assert find_weights(HYBRID) == in_core
    own = put(tmp_path / "nas" / "dn2" / "dpt_hybrid_384.pt")
    assert find_weights(HYBRID) == own


@pytest.mark.parametrize("folder", ["../../elsewhere/ckpts", '"../../elsewhere/ckpts"  # moved', "'../../elsewhere/ckpts'"])
def test_where_controlnet_aux_was_told_to_keep_its_files(comfyui, folder):
    lines = f"# settings\nannotator_ckpts_path: {folder}\ncustom_temp_path:\n"
    put(comfyui.custom_nodes / "comfyui_controlnet_aux" / "config.yaml", lines.encode())
    path = put(comfyui.custom_nodes.parent / "elsewhere" / "ckpts" / "lllyasviel" / "Annotators" / HYBRID.name)
    assert find_weights(HYBRID).resolve() == path


def test_the_environment_variable_of_controlnet_aux(caches, tmp_path, monkeypatch):
    monkeypatch.setenv("AUX_ANNOTATOR_CKPTS_PATH", str(tmp_path / "aux"))
    path = put(tmp_path / "aux" / "LiheYoung" / "Depth-Anything" / "checkpoints" / "depth_anything_vitl14.pth")
    assert find_weights(NESTED) == path


@pytest.mark.parametrize("file", [HYBRID, HF_OWN, NESTED], ids=lambda file: file.name)
def test_the_hugging_face_cache(caches, file):
    path = hub_cached(caches, file)
    assert find_weights(file) == path
    assert path.parents[len(file.filename.split("/")) + 1] in search_places(file)
    if file is HYBRID:
        for place in (caches.torch / "dpt_hybrid_384.pt", caches.home / "dpt_hybrid-midas-501f0c75.pt"):
            assert put(place) == find_weights(HYBRID), "each before those above"


@pytest.mark.parametrize(
    ("model_id", "repo_id"),
    [
        ("depth-anything-large", "LiheYoung/depth-anything-large-hf"),
        ("depth-anything-v2-metric-indoor-small", "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"),
        ("depth-anything-3-small", "depth-anything/DA3-SMALL"),
        ("depth-anything-3-mono-large", "depth-anything/DA3MONO-LARGE"),
        ("depth-pro", "apple/DepthPro-hf"),
        ("midas-dpt-hybrid", "Intel/dpt-hybrid-midas"),
        ("zoedepth-nyu-kitti", "Intel/zoedepth-nyu-kitti"),
    ],
)
def test_the_same_weights_in_the_hugging_face_cache_in_another_form(caches, caplog, model_id, repo_id):
    """Files of the transformers library, which newer comfyui_controlnet_aux takes, and of the authors' package. Nothing is warned of."""
    file = MODELS[model_id].file
    path = hub_cached(caches, WeightFile("model.safetensors", repo_id=repo_id))
    assert find_weights(file) == path and verify(path, file) and not caplog.text


def test_a_pinned_revision_falls_back_to_main(caches):
    pinned = WeightFile("a.pt", repo_id="x/y", revision="b" * 40)
    main = hub_cached(caches, pinned)
    assert find_weights(pinned) == main
    exact = hub_cached(caches, pinned, revision="v1", commit="b" * 40)
    assert find_weights(pinned) == exact


def test_a_generic_name_counts_only_in_its_repository(comfyui):
    put(comfyui.models / "diffusers" / "marigold-depth-v1-1" / "model.safetensors")
    put(comfyui.models / "depth_normal" / "model.safetensors")
    assert find_weights(HF_OWN) is None
    path = put(comfyui.models / "diffusers" / "dpt-hybrid-midas" / "model.safetensors")
    assert find_weights(HF_OWN) == path


@pytest.mark.parametrize("name", ["my_dpt_hybrid_384.pt", *(f"{HYBRID.name}.{end}" for end in ("part", "incomplete", "crdownload"))])
def test_what_only_looks_like_the_file_does_not_count(caches, name):
    put(caches.home / name)
    put(caches.home / "dpt_hybrid_384.pt", b"")
    (caches.home / HYBRID.name).mkdir()
    (caches.home / "more").mkdir()
    (caches.home / "more" / HYBRID.name).symlink_to(caches.home / "gone")
    assert find_weights(HYBRID) is None


def test_the_file_of_the_published_size_wins(caches):
    longer = HEADER.ljust(80)
    put(caches.home / HYBRID.name, len(longer).to_bytes(8, "little") + longer + b"\0")
    right = put(caches.home / "old" / "dpt_hybrid_384.pt")
    assert find_weights(HYBRID) == right
    right.unlink()
    assert find_weights(HYBRID) == caches.home / HYBRID.name


def test_a_browsers_second_copy_counts_after_the_first(caches):
    second, first = put(caches.home / "dpt_hybrid_384 (1).pt"), put(caches.home / "dpt_hybrid_384.pt")
    assert find_weights(HYBRID) == first and find.find_file("dpt_hybrid_384 (1).pt") == second
    first.unlink()
    assert find_weights(HYBRID) == second and find.find_all([HYBRID]) == {HYBRID}


def test_folders_that_link_to_each_other_are_read_once(caches, scans):
    folders = [caches.home / f"d{i}" for i in range(16)]
    for folder in folders:
        folder.mkdir(parents=True)
        for i, other in enumerate(folders):
            if other != folder:  # 15**5 ways through them
                (folder / f"l{i}").symlink_to(other, target_is_directory=True)
        (folder / "root").symlink_to(caches.home, target_is_directory=True)
    (caches.home / "itself").symlink_to(caches.home / "itself")
    path = put(folders[7] / HYBRID.name)
    began = time.monotonic()
    assert find_weights(HYBRID) == path
    assert time.monotonic() - began < 10
    assert sorted(scans) == sorted(map(str, [caches.home, *folders]))


@pytest.mark.parametrize(("file", "inside"), [(HF_OWN, "model.safetensors"), (NESTED, "checkpoints/depth_anything_vitl14.pth")])
def test_a_link_of_the_repositorys_name_to_a_folder_that_is_searched_already(caches, file, inside):
    put(caches.home / "a" / inside)
    link = caches.home / "deeper" / file.repo_id.rsplit("/", 1)[-1]
    link.parent.mkdir()
    link.symlink_to(caches.home / "a", target_is_directory=True)
    assert find_weights(file) == link / inside


def test_a_stranger_named_folder_paths_is_left_alone(caches, monkeypatch):
    monkeypatch.setitem(sys.modules, "folder_paths", object())
    assert download_folder() == caches.home


def test_a_file_put_where_the_messages_say_is_found(caches):
    for file in (HYBRID, HF_OWN, NESTED, OF_THE_WEB):
        path = put(download_path(file))
        assert find_weights(file) == path


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/depth_normal"),
        ("linux", {"HOME": "/h"}, "/h/.cache/depth_normal"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/depth_normal"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/depth_normal"),
        ("linux", {"HOME": "/h", "DEPTH_NORMAL_HOME": "~/dn"}, "/h/dn"),
    ],
)
def test_the_users_cache(monkeypatch, platform, variables, expected):
    for name in ("DEPTH_NORMAL_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert user_cache().as_posix() == expected


OLD = 10**18  # a folder's time of change long ago, in nanoseconds


@pytest.fixture
def scans(monkeypatch):
    """The folders that are read, in order."""
    read, scandir = [], os.scandir
    monkeypatch.setattr(find.os, "scandir", lambda folder: read.append(str(folder)) or scandir(folder))
    return read


def age(*folders):
    for folder in folders:
        os.utime(folder, ns=(OLD, OLD))


def test_one_walk_serves_all_models(caches, scans):
    files = [file for spec in MODELS.values() for file in spec.files if not file.bundled]
    assert len(files) > 50
    for i in range(20):
        put(caches.home / f"pack{i % 4}" / f"stray{i}" / "model.safetensors")
    wanted = put(caches.home / "pack0" / "dpt_hybrid_384.pt")
    folders = [caches.home, *(path for path in caches.home.rglob("*") if path.is_dir())]
    age(*folders)
    scans.clear()
    for file in files:
        find_weights(file)
    assert sorted(scans) == sorted(map(str, folders))
    assert find_weights(HYBRID) == wanted
    assert len(scans) == len(folders)


def test_a_file_that_comes_or_goes_later_costs_one_folder(caches, scans):
    near, far = (put(caches.home / name / "x.txt").parent for name in ("near", "far"))
    age(caches.home, near, far)
    assert find_weights(HYBRID) is None
    scans.clear()
    path = put(near / HYBRID.name)
    age(near)
    os.utime(near, ns=(OLD, OLD + 1))
    assert find_weights(HYBRID) == path
    assert scans == [str(near)]
    path.unlink()
    assert find_weights(HYBRID) is None


def test_what_comes_and_goes_is_noticed_also_within_the_same_tick_of_the_clock(caches):
    put(caches.home / "x.txt")
    now = caches.home.stat().st_mtime_ns
    assert find_weights(HYBRID) is None
    path = put(caches.home / HYBRID.name)
    os.utime(caches.home, ns=(now, now))
    assert find_weights(HYBRID) == path
    path.unlink()
    path = put(caches.home / "new" / "deeper" / HYBRID.name)
    assert find_weights(HYBRID) == path
    path.unlink()
    path.parent.rmdir()
    assert find_weights(HYBRID) is None
    assert put(path) == find_weights(HYBRID)


def test_folders_deeper_than_five_are_not_searched_but_on_a_shorter_way(caches):
    deep = caches.home.joinpath("1", "2", "3", "4", "5")
    assert find_weights(HYBRID) is None
    put(deep / "6" / HYBRID.name)
    assert find_weights(HYBRID) is None
    path = put(deep / HYBRID.name)
    assert find_weights(HYBRID) == path
    path.unlink()
    for name in ("0", "z"):
        (caches.home / name).symlink_to(deep, target_is_directory=True)
    assert find_weights(HYBRID).parent.parent.parent == caches.home


# --- which models are installed ---


def test_a_file_that_comes_is_told_after_seconds_or_at_once_when_asked_to_forget(caches):
    assert find.models_on_disk() == {"tiny"} and not caches.home.exists()
    put(caches.home / "Ruicheng" / "moge-2-vits-normal" / MODELS["moge-2-vits-normal"].file.name)
    assert find.models_on_disk() == {"tiny"}, "the answer holds for a while"
    find.forget()
    assert find.models_on_disk() == {"tiny", "moge-2-vits-normal"}


def test_a_model_of_two_files_needs_both(caches):
    for file, installed in zip(MODELS["leres-boost"].files, ({"tiny", "leres"}, {"tiny", "leres", "leres-boost"}), strict=True):
        put(caches.home / file.name)
        find.forget()
        assert find.models_on_disk() == installed


def test_slow_folders_are_looked_through_the_less_often(monkeypatch):
    clock, asked = iter([0.0, 2.0, 50.0, 70.0, 70.0]), []
    monkeypatch.setattr(find.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(find, "find_all", lambda *_: asked.append(1) or frozenset())
    for searches in (1, 1, 2):
        find.models_on_disk()
        assert len(asked) == searches, "two seconds hold for a minute"
