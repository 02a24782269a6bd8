"""Lists of models: what can be used at once first, and what the page shows beside each choice."""

import pytest

import depth_normal
from depth_normal.annotators.choices import BEST_FIRST, RECOMMENDED_MODEL
from depth_normal.annotators.registry import MODELS
from depth_normal.nodes import model_list

LISTS = {
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
        monkeypatch.setattr(model_list, "models_on_disk", lambda: frozenset({"tiny", *models}))

    have()
    return have


def test_the_packs_own_first_then_what_is_on_disk_then_the_table(there):
    there("dsine", "midas-dpt-large")
    choices, _ = widget("DepthNormal_LoadModel")
    assert choices[:3] == ["tiny", "midas-dpt-large", "dsine"] and choices[-1] == "(from file)"
    rest = [model for model in MODELS if model not in choices[:3]]
    assert choices[3:-1] == rest, "nothing is left out, and the rest keeps the table's order"


@pytest.mark.parametrize(
    ("on_disk", "expected"),
    [
        ((), RECOMMENDED_MODEL),
        (("midas-dpt-hybrid", "dsine"), "midas-dpt-hybrid"),
        (("midas-dpt-hybrid", "moge-2-vitb-normal"), "moge-2-vitb-normal"),
        (("depth-anything-v2-large",), RECOMMENDED_MODEL),
    ],
)
def test_a_new_node_begins_with_the_best_that_is_there_and_free(there, on_disk, expected):
    there(*on_disk)
    assert widget("DepthNormal_LoadModel")[1]["default"] == expected


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
    labels = options[model_list.LABELS]
    assert list(labels) == [choice for choice in choices if choice != "(from file)"]
    for choice, label in labels.items():
        assert label.startswith(f"{choice} · ") and ("in the pack, 9 MB" in label) == (choice == "tiny")


def test_words_of_a_label(there):
    there("depth-anything-v2-large")
    labels = widget("DepthAnythingV2Preprocessor")[1][model_list.LABELS]
    expected = "depth_anything_v2_vitl.pth · on disk, 1.34 GB · disparity · CC-BY-NC-4.0, not for commercial use"
    assert labels["depth_anything_v2_vitl.pth"] == expected
    labels = widget("DepthNormal_LoadModel")[1][model_list.LABELS]
    assert labels["moge-2-vits-normal"] == "moge-2-vits-normal · to download, 141 MB · metres + normals · MIT"
    assert labels["depth-anything-v2-giant"].startswith("depth-anything-v2-giant · not published, about 5.0 GB · ")
    assert labels["tiny"] == "tiny · in the pack, 9 MB · disparity + normals · Apache-2.0"
    assert labels["moge-vitl"].split(" · ")[2] == "depth without unit"
