"""What a node says and does where the weights of its model cannot be had: no network, no file."""

import logging
import pickle

import pytest
import torch

import depth_normal
from depth_normal.annotators.checks import _log_once
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


@pytest.mark.parametrize("node_id", ONE_FAMILY)
def test_an_old_node_of_one_network_names_the_node_that_works(node_id, nowhere):
    assert message(node_id, resolution=64).startswith("Use Depth & Normals with 'tiny' in its widget model, in place of this node: ")


@pytest.mark.parametrize("node_id", DIFFUSION)
def test_a_diffusion_node_names_the_nodes_that_work(node_id, nowhere):
    pytest.importorskip("diffusers", reason="the diffusion models need the extra [diffusion]")
    assert message(node_id).startswith("Use Depth & Normals with 'tiny' in its widget model, in place of this node: ")


def test_the_node_of_all_preprocessors_names_one_that_works(nowhere):
    if "AIO_Preprocessor" not in NODES:
        pytest.skip("another pack serves it")
    said = message("AIO_Preprocessor", preprocessor="Zoe-DepthMapPreprocessor", resolution=64)
    assert said.startswith("Use Depth & Normals with 'tiny'") and "Choose 'tiny'" not in said


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
