"""Graphs and scripts of every kept version open; a script may leave out any widget; nodes are found by words of three languages."""

import copy
import inspect
import re
from pathlib import Path

import pytest

import depth_normal
from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.search_words import _ALSO, with_other_languages
from tests import object_info as INFO
from tests.prompts import inputs_of

ROOT = Path(__file__).resolve().parents[2]

UNCLEAR = {"a", "bg_threshold", "coding", "film", "refine"}
NOW = INFO.described(NODE_CLASS_MAPPINGS)
# What file to load nobody can choose for the user.
NO_DEFAULT = {("DepthNormal_LoadGeometry", "file"), ("DepthNormal_DemoImage", "image"), ("DepthNormal_DemoVideo", "file")}


@pytest.mark.parametrize("version", sorted(path.stem for path in INFO.KEPT.glob("*.json")))
def test_graphs_of_a_kept_version_open(version):
    found = INFO.broken(INFO.read(version), NOW)
    assert not found, "\n".join([*found, INFO.RENEW])


EXAMPLE = {"name": "a", "type": "COMBO", "required": False, "default": "x", "choices": ["x", "y"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda inputs, _: inputs.reverse(), "stored by position"),
        (lambda inputs, _: inputs[0].update(default="y"), "a's default was 'x' and is 'y'"),
        (lambda inputs, _: inputs[0].update(type="INT"), "a's type was 'COMBO' and is 'INT'"),
        (lambda inputs, _: inputs[0]["choices"].remove("y"), "a has the choice 'y' no more"),
        (lambda inputs, _: inputs[0].update(required=True), "the input a became required"),
        (lambda inputs, _: inputs.pop(), "the input b is gone"),
        (lambda inputs, _: inputs.append({**EXAMPLE, "name": "c", "required": True}), "the input c is new and required"),
        (lambda _, outputs: outputs.insert(0, "MASK"), "the outputs were"),
        (lambda inputs, outputs: (inputs.append({**EXAMPLE, "name": "c"}), outputs.append("MASK"), inputs[0]["choices"].append("z")), ""),
    ],
)
def test_what_would_break_graphs_is_found(change, said):
    before = {"Node": {"inputs": [EXAMPLE, {**EXAMPLE, "name": "b"}], "outputs": ["IMAGE"]}}
    now = copy.deepcopy(before)
    change(now["Node"]["inputs"], now["Node"]["outputs"])
    found = INFO.broken(before, now)
    assert any(said in each for each in found) if said else not found


def test_this_version_is_kept():
    assert (INFO.KEPT / f"{depth_normal.__version__}.json").is_file(), INFO.RENEW


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS.values(), ids=NODE_CLASS_MAPPINGS)
def test_every_node_explains_itself(node):
    assert node.DESCRIPTION and node.SEARCH_ALIASES and len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES)
    inputs = inputs_of(node.INPUT_TYPES())
    assert [name for name, (_, options) in inputs.items() if not options.get("tooltip")] == []
    labels = {name: options.get("display_name", name) for name, (_, options) in inputs.items()}
    assert [name for name in UNCLEAR & set(labels) if labels[name] == name] == [], "a name that explains nothing has a label"
    assert len(set(labels.values())) == len(labels), "two widgets with one label"
    sockets = [name for name, (kind, _) in inputs.items() if isinstance(kind, str) and kind not in INFO.WIDGETS]
    assert [name for name in sockets if "display_name" in inputs[name][1]] == [], "the page would prefer it to its translation"


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS.values(), ids=NODE_CLASS_MAPPINGS)
def test_another_pack_changes_only_its_own_copy_of_the_inputs(node):
    for _, options in inputs_of(node.INPUT_TYPES()).values():
        options["changed"] = True
    assert not [name for name, (_, options) in inputs_of(node.INPUT_TYPES()).items() if "changed" in options]


def test_a_subclass_in_another_pack_keeps_its_own_outputs():
    node = NODE_CLASS_MAPPINGS["DepthNormal_RenderNormals"]
    theirs = type("Theirs", (node,), {"RETURN_TYPES": ("IMAGE", "MASK"), "RETURN_NAMES": ("image", "alpha")})
    assert (theirs.RETURN_TYPES, theirs.RETURN_NAMES) == (("IMAGE", "MASK"), ("image", "alpha"))


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_what_a_prompt_leaves_out_is_the_widgets_default(node_id):
    """In `execute`, and wherever else ComfyUI calls the node with the inputs that a prompt has, and with those that it hides."""
    node, names = NODE_CLASS_MAPPINGS[node_id], {each["name"] for each in NOW[node_id]["inputs"]}
    required = {each["name"] for each in NOW[node_id]["inputs"] if each["required"] and each["type"] in INFO.WIDGETS}
    assert {(node_id, name) for name in required} <= NO_DEFAULT
    parameters = inspect.signature(getattr(node, node.FUNCTION)).parameters
    assert set(node.INPUT_TYPES().get("hidden", ())) <= set(parameters)
    for each in NOW[node_id]["inputs"]:
        if each["required"]:
            continue
        assert parameters[each["name"]].default == each.get("default"), each["name"]
    for other in ("VALIDATE_INPUTS", "IS_CHANGED"):
        if hasattr(node, other):
            optional = {each["name"] for each in NOW[node_id]["inputs"] if not each["required"]}
            asked = inspect.signature(getattr(node, other)).parameters.values()
            assert not [each.name for each in asked if each.name in optional and each.default is inspect.Parameter.empty]
            takes = {each.name for each in asked} | (names if any(each.kind is each.VAR_KEYWORD for each in asked) else set())
            assert other == "VALIDATE_INPUTS" or names <= takes, "asked without one, it would run each time"


def test_a_socket_of_one_name_is_of_one_type():
    """`depth` is a depth image and `geometry` raw numbers, in every node of the pack's own."""
    types = {}
    for node_id, node in NODE_CLASS_MAPPINGS.items():
        if not node_id.startswith("DepthNormal_"):
            continue
        sockets = [(each["name"], each["type"]) for each in NOW[node_id]["inputs"] if each["type"] not in INFO.WIDGETS]
        names = getattr(node, "RETURN_NAMES", [kind.lower() for kind in node.RETURN_TYPES])
        for name, kind in (*sockets, *zip(names, node.RETURN_TYPES, strict=True)):
            types.setdefault(name, {}).setdefault(kind, []).append(node_id)
    assert not {name: kinds for name, kinds in types.items() if len(kinds) > 1}
    assert set(types["depth"]) == {"IMAGE"} and set(types["geometry"]) == {"DEPTH_NORMAL_GEOMETRY"}


def test_the_numbers_of_what_is_clicked_on_an_image_are_folded_away():
    places = re.compile(r"(point|box)_\w+|(more|not)_points")
    found = {
        node.NODE_ID: [
            bool(options.get("advanced")) for name, (_, options) in node.INPUT_TYPES().get("optional", {}).items() if places.fullmatch(name)
        ]
        for node in NODE_CLASS_MAPPINGS.values()
    }
    assert {name: len(folded) for name, folded in found.items() if folded and all(folded)} == {
        "DepthNormal_DepthMask": 8,
        "DepthNormal_ForegroundCutout": 8,
        "DepthNormal_DepthOfField": 2,
    }


def test_nodes_lie_in_folders_of_the_menu():
    """Nodes that have another pack's id keep its category."""
    folders = {"Estimate", "Estimate/By model", "Convert", "Render", "Effects", "Textures", "Files"}
    for node_id, node in NODE_CLASS_MAPPINGS.items():
        place = node.CATEGORY.removeprefix("Depth & Normals/")
        assert place in folders if node_id.startswith("DepthNormal_") else place == node.CATEGORY, node_id


# --- search words ---


CHINESE_OR_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def test_each_alias_with_other_words_is_one_of_a_node():
    assert set(_ALSO) <= {alias for node in NODE_CLASS_MAPPINGS.values() for alias in node.SEARCH_ALIASES}


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_a_node_has_words_of_other_languages_once_each(node_id):
    aliases = NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES
    where = "`search` in options/effects.py" if hasattr(NODE_CLASS_MAPPINGS[node_id], "SPEC") else "nodes/search_words.py"
    assert any(map(CHINESE_OR_JAPANESE.search, aliases)), f"add Chinese and Japanese words: {where}"
    assert len(aliases) == len(set(aliases)), "a word stands twice"


WORDS = {
    "DepthAndNormals": ["depth", "depth map", "normal", "normal map", "深度", "法线贴图", "デプスマップ", "ノーマルマップ"],
    "DepthImageToGeometry": ["lidar", "z depth"],
    "NormalsFromDepth": ["lidar"],
    "DepthMask": ["mask by depth"],
    "RenderDepth": ["z depth", "深度图"],
    "Fog": ["霧", "雾气"],
    "EstimateGeometry": ["デプス"],
    "RenderNormals": ["ノーマルマップ"],
    "ConvertNormalMap": ["法线贴图"],
    "DepthOfField": ["ボケ", "虚化"],
    "ForegroundCutout": ["背景除去"],
    "SaveRelief": ["3D打印"],
}
"""Words that people type, by the node that they find."""


@pytest.mark.parametrize("name", WORDS)
def test_words_that_people_type_find_the_node(name):
    assert set(WORDS[name]) <= set(NODE_CLASS_MAPPINGS[f"DepthNormal_{name}"].SEARCH_ALIASES)


def test_the_page_finds_the_nodes_that_it_moves_to_the_front():
    """Which the page's search may do by parts of names and search words alone."""
    script = (ROOT / "web" / "search_order.mjs").read_text(encoding="utf-8").partition("WANTED = [\n")[2].partition("\n]\n")[0]
    entries = re.findall(r"\[['`]([^'`]+)['`], '(\w+)', \d\]", script)
    assert len(entries) > 8
    known = {node_id: "\n".join(NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES).lower() for _, node_id in entries}
    assert {(word, node_id) for words, node_id in entries for word in re.split(r",\s+", words) if word not in known[node_id]} == set()


@pytest.mark.parametrize("word", ["depth", "normal", "lidar", "mask by depth"])
def test_a_word_that_means_one_thing_is_no_other_nodes(word):
    nodes = {f"DepthNormal_{name}" for name, words in WORDS.items() if word in words}
    assert {node_id for node_id, node in NODE_CLASS_MAPPINGS.items() if word in node.SEARCH_ALIASES} == nodes


def test_models_of_unclear_licence_do_not_claim_the_plain_word():
    for node_id in ("BAE-NormalMapPreprocessor", "DepthNormal_BAENormalMap", "DepthNormal_LBMNormals"):
        assert "normal map" not in NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES


def test_english_aliases_stay_first_and_others_are_left_alone():
    assert with_other_languages("moge, shadow")[:3] == ["moge", "shadow", "阴影"] and with_other_languages("moge") == ["moge"]
