"""Lists of models, and what a node says and does where the weights cannot be had: no network, no file."""

import logging
import pickle

import pytest
import torch

import depth_normal
from depth_normal.annotators.base import _log_once
from depth_normal.annotators.choices import BEST_FIRST, RECOMMENDED_MODEL
from depth_normal.annotators.registry import MODELS
from depth_normal.nodes import loading

NODES = depth_normal.NODE_CLASS_MAPPINGS
DEPTH_NODES = {
    "MiDaS-DepthMapPreprocessor": "model",
    "Zoe-DepthMapPreprocessor": "model",
    "DepthAnythingPreprocessor": "ckpt_name",
    "Zoe_DepthAnythingPreprocessor": "model",
    "DepthAnythingV2Preprocessor": "ckpt_name",
    "Metric_DepthAnythingV2Preprocessor": "model",
    "LeReS-DepthMapPreprocessor": "model",
    "Metric3D-DepthMapPreprocessor": "backbone",
    "Metric3D-NormalMapPreprocessor": "backbone",
}
ONE_FAMILY = ("BAE-NormalMapPreprocessor", "DSINE-NormalMapPreprocessor")
DIFFUSION = ("DepthNormal_MarigoldDepth", "DepthNormal_LotusNormals", "DepthNormal_LBMDepth")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights on this computer, and no network."""
    for name in ("DEPTH_NORMAL_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.is_offline", lambda: True)
    monkeypatch.setattr("depth_normal.model_loader.weights.hub.cache_folder", lambda file: tmp_path / "hub" / "none")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.delenv(loading.PREVIEW_SETTING, raising=False)
    monkeypatch.setattr(loading, "_previewed", set())


def run(node_id, **widgets):
    node = NODES[node_id]
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    return getattr(node(), node.FUNCTION)(image=image, **widgets)


def message(node_id, **widgets):
    with pytest.raises(depth_normal.DownloadError) as caught:
        run(node_id, **widgets)
    assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, depth_normal.DownloadError), "printed once"
    assert type(caught.value).__module__ == "depth_normal"
    return str(caught.value)


@pytest.mark.parametrize(("node_id", "widget"), DEPTH_NODES.items(), ids=list(DEPTH_NODES))
def test_the_first_sentence_names_the_widget_that_works_at_once(node_id, widget, nowhere):
    said = message(node_id, resolution=64)
    assert said.startswith(f"Choose 'tiny' in the widget {widget}: it comes with the pack and works at once")
    assert said.count("Choose 'tiny'") == 1 and "looked in: " in said


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(("node_id", "widget"), DEPTH_NODES.items(), ids=list(DEPTH_NODES))
def test_tiny_stands_at_the_end_of_the_widgets_choices_and_works(node_id, widget, nowhere):
    choices, options = NODES[node_id].INPUT_TYPES()["optional"][widget]
    assert choices[-1] == "tiny" != options["default"] and "tiny" in options["tooltip"]
    (image,) = run(node_id, resolution=64, **{widget: "tiny"})
    assert image.shape == (1, 64, 96, 3) and torch.isfinite(image).all() and image.std() > 0.01


@pytest.mark.parametrize("node_id", [*ONE_FAMILY, *DIFFUSION, "AIO_Preprocessor"])
def test_a_node_without_tiny_names_the_node_that_has_it(node_id, nowhere):
    if node_id in DIFFUSION:
        pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    said = message(node_id, **({"preprocessor": "Zoe-DepthMapPreprocessor"} if node_id == "AIO_Preprocessor" else {}))
    assert said.startswith("Use Depth & Normals with 'tiny' in its widget model, in place of this node: ") and "Choose 'tiny'" not in said


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("node_id", [*DEPTH_NODES, *ONE_FAMILY, "DepthNormal_MarigoldDepth", "DepthNormal_LotusNormals"])
def test_a_preview_stands_in_where_that_is_allowed_and_says_so(node_id, nowhere, monkeypatch, caplog):
    if node_id.startswith("DepthNormal"):
        pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    monkeypatch.setenv(loading.PREVIEW_SETTING, "1")
    widgets = {"normalisation": "fixed"} if node_id == "DepthNormal_MarigoldDepth" else {"resolution": 64}
    with caplog.at_level(logging.WARNING):
        image = run(node_id, **widgets)[0]
    assert "tiny stands in for " in caplog.text and loading.PREVIEW_SETTING in caplog.text
    assert torch.isfinite(image).all() and image.std() > 0.01
    before = NODES[node_id].IS_CHANGED(image=None, **widgets)
    monkeypatch.setattr(loading, "models_on_disk", lambda: set(MODELS))
    assert NODES[node_id].IS_CHANGED(image=None, **widgets) != before, "ComfyUI would keep the preview after the download"


AT_RESOLUTION = {
    "MiDaS-DepthMapPreprocessor": {"model": "tiny"},
    "LeReS-DepthMapPreprocessor": {"model": "tiny", "boost": "enable"},
    "DSINE-NormalMapPreprocessor": {},
}


@pytest.mark.slow("takes most of a second")
@pytest.mark.parametrize(("node_id", "widgets"), AT_RESOLUTION.items(), ids=list(AT_RESOLUTION))
def test_only_a_resolution_that_was_chosen_is_said_to_be_too_large_for_a_network(node_id, widgets, nowhere, monkeypatch, caplog):
    monkeypatch.setenv(loading.PREVIEW_SETTING, "1")
    _log_once.cache_clear()
    images = [run(node_id, **widgets), run(node_id, **widgets, resolution=512)]
    assert "runs at size" not in caplog.text and all(image[0].shape == (1, 512, 768, 3) for image in images)
    run(node_id, **widgets, resolution=576)
    assert caplog.text.count("tiny runs at size 256, its largest, in place of 576") == 1


def test_a_setting_of_zero_allows_nothing(nowhere, monkeypatch):
    monkeypatch.setenv(loading.PREVIEW_SETTING, "0")
    message("Zoe-DepthMapPreprocessor", resolution=64)


@pytest.mark.parametrize("name", [name for name in depth_normal.__all__ if name.endswith("Error")])
def test_a_public_error_has_a_short_name_and_travels_between_processes(name):
    kind = getattr(depth_normal, name)
    assert kind.__module__ == "depth_normal" and kind.__name__ == name
    sent = pickle.loads(pickle.dumps(kind("what to do")))
    assert type(sent) is kind and str(sent) == "what to do"


def test_advice_takes_the_place_of_advice():
    error = depth_normal.NoNetworkError("the file cannot be fetched").advised("Do this").advised("Do that")
    assert str(error) == "Do that. the file cannot be fetched" and type(error) is depth_normal.NoNetworkError


# --- lists of models ---


LISTS = {
    "DepthNormal_DepthAndNormals": "model",
    "DepthNormal_LoadModel": "model",
    "DepthNormal_MarigoldDepth": "model",
    "DepthNormal_LBMNormals": "model",
    "MiDaS-DepthMapPreprocessor": "model",
    "Zoe-DepthMapPreprocessor": "model",
    "DepthAnythingPreprocessor": "ckpt_name",
    "DepthAnythingV2Preprocessor": "ckpt_name",
    "LoadVideoDepthAnythingModel": "model",
}


def widget(node_id):
    inputs = depth_normal.NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}[LISTS[node_id]]


@pytest.fixture
def there(monkeypatch):
    """What lies on the disk."""

    def have(*models):
        monkeypatch.setattr(loading, "models_on_disk", lambda: frozenset({"tiny", *models}))

    have()
    return have


def test_the_packs_own_first_then_what_is_on_disk_then_the_table(there):
    there("dsine", "midas-dpt-large")
    choices, _ = widget("DepthNormal_LoadModel")
    assert choices[:3] == ["tiny", "midas-dpt-large", "dsine"] and choices[-1] == "(from file)"
    rest = [model for model in MODELS if model not in choices[:3]]
    assert choices[3:-1] == rest, "nothing is left out, and the rest keeps the table's order"


@pytest.mark.parametrize(
    ("on_disk", "expected", "first"),
    [
        ((), (RECOMMENDED_MODEL, "tiny"), [RECOMMENDED_MODEL, BEST_FIRST[0]]),
        (("midas-dpt-hybrid", "dsine"), ("midas-dpt-hybrid",) * 2, ["midas-dpt-hybrid", RECOMMENDED_MODEL]),
        (("midas-dpt-hybrid", "moge-2-vitb-normal"), ("moge-2-vitb-normal",) * 2, ["moge-2-vitb-normal", "midas-dpt-hybrid"]),
        (("depth-anything-v2-large", "bae-normal"), (RECOMMENDED_MODEL, "tiny"), ["depth-anything-v2-large", RECOMMENDED_MODEL]),
    ],
)
def test_a_new_node_begins_with_the_best_that_is_there_and_free(there, on_disk, expected, first):
    """The first node of all has no download as its default."""
    there(*on_disk)
    (choices, options), (_, of_loader) = widget("DepthNormal_DepthAndNormals"), widget("DepthNormal_LoadModel")
    assert (of_loader["default"], options["default"]) == expected and choices[:3] == ["tiny", *first]


def test_what_is_best_may_be_used_commercially_and_is_known():
    assert all(MODELS[model].commercial_use == "yes" and MODELS[model].quantity for model in BEST_FIRST)
    assert RECOMMENDED_MODEL in BEST_FIRST


def test_old_nodes_keep_their_order_and_default_whatever_is_there(there):
    before = [(widget(node)[0], widget(node)[1]["default"]) for node in LISTS if not node.startswith("DepthNormal")]
    there("midas-v2.1-small", "zoedepth-kitti", "depth-anything-small", "depth-anything-v2-small", "video-depth-anything-base")
    assert before == [(widget(node)[0], widget(node)[1]["default"]) for node in LISTS if not node.startswith("DepthNormal")]


@pytest.mark.parametrize("node_id", LISTS)
def test_each_choice_says_place_size_and_licence(there, node_id):
    choices, options = widget(node_id)
    labels = options[loading.LABELS]
    assert list(labels) == [choice for choice in choices if choice != "(from file)"]
    for choice, label in labels.items():
        assert label.startswith(f"{choice} · ") and ("in the pack, 9 MB" in label) == (choice == "tiny")


def test_words_of_a_label(there):
    there("depth-anything-v2-large")
    labels = widget("DepthAnythingV2Preprocessor")[1][loading.LABELS]
    expected = "depth_anything_v2_vitl.pth · on disk, 1.34 GB · disparity · CC-BY-NC-4.0, not for commercial use"
    assert labels["depth_anything_v2_vitl.pth"] == expected
    labels = widget("DepthNormal_LoadModel")[1][loading.LABELS]
    assert labels["moge-2-vits-normal"] == "moge-2-vits-normal · to download, 141 MB · metres + normals · MIT"
    assert labels["depth-anything-v2-giant"].startswith("depth-anything-v2-giant · not published, about 5.0 GB · ")
    assert labels["tiny"] == "tiny · in the pack, 9 MB · disparity + normals · Apache-2.0"
    assert labels["moge-vitl"].split(" · ")[2] == "depth without unit"
