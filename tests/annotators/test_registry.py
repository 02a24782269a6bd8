"""The table of models is pinned: an id, a hash or a default that changes must be changed here too, on purpose."""

import hashlib
import importlib.util
import re
from pathlib import Path

import pytest

from depth_normal.annotators.base import Annotator
from depth_normal.annotators.choices import RECOMMENDED_MODEL, RECOMMENDED_VIDEO_MODEL
from depth_normal.annotators.registry import BUNDLED_MODEL, FAMILIES, MODELS, find_spec
from depth_normal.annotators.specs.base import ModelSpec
from depth_normal.geometry.estimate import Axes, Quantity
from depth_normal.options.estimate import DTYPE_CHOICES


def test_hashes_begin_with_the_digits_that_the_authors_published():
    published = {"midas-dpt-hybrid": "501f0c75", "midas-dpt-large": "2f21e586", "midas-v2.1-small": "70d6b9c8", "leres": "1d696b2e"}
    assert {name: MODELS[name].file.sha256[:8] for name in published} == published


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.id)
def test_an_entry_is_complete(spec: ModelSpec):
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", spec.id) and MODELS[spec.id] is spec
    assert issubclass(FAMILIES[spec.family], Annotator)
    assert spec.files
    assert len({file.role for file in spec.files}) == len(spec.files)
    assert spec.quantity or spec.axes
    assert spec.gives
    assert "unknown" not in spec.size_in_words
    assert re.fullmatch(r"https://[\w.-]+/[\w./#-]+", spec.licence_page)
    assert spec.default_size >= spec.multiple_of > 0
    assert set(spec.auto_dtypes) | set(FAMILIES[spec.family].auto_dtypes) <= set(DTYPE_CHOICES)
    for file in spec.files:
        assert file.repo_id is None or file.url is None, "a file is on the hub, at an address or in the pack"
        assert file.url is None or file.url.startswith("https://")
        assert file.url is None or file.url.endswith("/" + file.name)
        assert file.repo_type in ("model", "space")
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 0
        assert all(re.fullmatch(r"[0-9a-f]{64}", copy) for copy in file.copies) and (file.aliases or not file.copies)
        assert all("/" not in alias for alias in file.aliases)


def test_who_may_sell_is_stated_twice():
    says = {answer: {spec.id for spec in MODELS.values() if spec.commercial_use == answer} for answer in ("yes", "no", "unclear")}
    v2 = {f"depth-anything-v2{kind}-{size}" for kind in ("", "-metric-indoor", "-metric-outdoor") for size in ("base", "large")}
    video = {f"video-depth-anything{kind}-{size}" for kind in ("", "-metric") for size in ("base", "large")}
    others = {"depth-anything-v2-giant", "depth-anything-3-large", "depth-pro", "leres", "leres-boost", "lbm-depth", "lbm-normals", "dsine"}
    assert says["no"] == v2 | video | others
    metric3d = {f"metric3d-vit-{size}" for size in ("small", "large", "giant2")}
    assert says["unclear"] == {"distill-any-depth-base", "distill-any-depth-large", "bae-normal"} | metric3d


def test_only_the_packs_own_model_comes_with_it():
    assert [spec.id for spec in MODELS.values() if any(file.bundled for file in spec.files)] == [BUNDLED_MODEL]
    file = MODELS[BUNDLED_MODEL].file
    content = (Path(__file__).parents[2] / "annotators" / file.name).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
    assert len(content) <= 8_000_000


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("midas-dpt-hybird", "midas-dpt-hybrid"),
        ("moge2", "moge-2-vits-normal or moge-2-vitb-normal or moge-2-vitl-normal"),
        ("MoGe_2", "moge-2-vits-normal or moge-2-vitb-normal or moge-2-vitl-normal"),
        ("moge2-l", "moge-2-vitl or moge-2-vits-normal or moge-2-vitb-normal"),
        ("zoe", "zoedepth-nyu or zoedepth-kitti or zoedepth-nyu-kitti"),
        ("dav2", "depth-anything-v2-small or depth-anything-v2-base or depth-anything-v2-large"),
        ("vda", "video-depth-anything-small or video-depth-anything-base or video-depth-anything-large"),
        ("depth-anything-v3", "depth-anything-3-small or depth-anything-3-base or depth-anything-3-mono-large"),
        ("hybrid", "midas-dpt-hybrid"),
        ("depth_anything_v2_vitl.pth", "depth-anything-v2-large"),
        ("dpt_hybrid-midas-501f0c75.pt", "midas-dpt-hybrid"),
        ("depth-anything/Depth-Anything-V2-Small-hf", "depth-anything-v2-small"),
    ],
)
def test_an_unknown_model_is_answered_with_those_that_are_meant(typed, meant):
    with pytest.raises(ValueError) as refused:
        find_spec(typed)
    assert str(refused.value) == f"unknown model {typed!r}; did you mean {meant}? `depth-normal models --all` lists all {len(MODELS)}"


@pytest.mark.parametrize("typed", ["xyzzy", "sapiens", "unidepth", "model", "..", ""])
def test_a_model_like_none_is_answered_with_the_usual_ones(typed):
    with pytest.raises(ValueError, match=rf"accepted are ids such as {RECOMMENDED_MODEL} or {BUNDLED_MODEL}; .* all {len(MODELS)}$"):
        find_spec(typed)


def test_the_pages_of_models_are_up_to_date():
    """`python docs/make_models.py` writes them."""
    path = Path(__file__).resolve().parents[2] / "docs" / "make_models.py"
    spec = importlib.util.spec_from_file_location("make_models", path)
    make_models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_models)
    assert make_models.PAGE.read_text(encoding="utf-8") == make_models.page()
    assert make_models.HELP.read_text(encoding="utf-8") == make_models.help_page()


def test_the_entries_say_where_the_numbers_point():
    """The axes in which the networks of each family give normals."""
    assert {axes: {spec.family for spec in MODELS.values() if spec.axes is axes} for axes in Axes} == {
        Axes.OPENGL: {"marigold", "tiny"},
        Axes.DIRECTX: set(),
        Axes.OPENCV: {"moge", "metric3d"},
        Axes.SCANNET: {"lotus", "lbm", "bae", "dsine"},
    }


def test_the_terms_say_what_the_licences_name_does_not():
    assert MODELS["midas-dpt-hybrid"].terms == "MIT"
    assert MODELS["depth-anything-3-large"].terms == "CC-BY-NC-4.0, not for commercial use"
    assert MODELS["metric3d-vit-small"].terms == "BSD-2-Clause, commercial use unclear"


def test_a_licence_link_leads_to_where_the_licence_is_stated():
    """Where the page that a file comes from says nothing, or "other", a link says who states the licence."""
    silent = ("lllyasviel/Annotators", "LiheYoung/Depth-Anything", "Comfy-Org/Depth-Anything-3", "depth-anything/Depth-Anything-V2-Giant")
    for spec in MODELS.values():
        if spec.file.repo_id in silent or (spec.commercial_use == "unclear"):
            assert spec.licence_url and spec.licence_url.startswith("https://github.com/"), spec.id


def test_what_is_recommended_is_small_free_and_gives_everything():
    first, video = MODELS[RECOMMENDED_MODEL], MODELS[RECOMMENDED_VIDEO_MODEL]
    assert first.quantity is Quantity.METRIC_DEPTH and first.axes and first.knows_camera
    for spec in (first, video):
        assert spec.commercial_use == "yes" and spec.file.sha256 and len(spec.file.revision) == 40 and spec.size < 200e6
    assert video.family == "video-depth-anything"
