"""Nodes are found by Chinese and Japanese words too."""

import re

import pytest

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.search_words import _ALSO, with_other_languages

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
    "DepthAndNormals": [
        "depth",
        "depth map",
        "normal",
        "normal map",
        "controlnet depth",
        "深度",
        "法线贴图",
        "デプスマップ",
        "ノーマルマップ",
    ],
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


@pytest.mark.parametrize("word", ["depth", "normal", "lidar", "mask by depth"])
def test_a_word_that_means_one_thing_is_no_other_nodes(word):
    nodes = {f"DepthNormal_{name}" for name, words in WORDS.items() if word in words}
    assert {node_id for node_id, node in NODE_CLASS_MAPPINGS.items() if word in node.SEARCH_ALIASES} == nodes


def test_models_of_unclear_licence_do_not_claim_the_plain_word():
    for node_id in ("BAE-NormalMapPreprocessor", "DepthNormal_BAENormalMap", "DepthNormal_LBMNormals"):
        assert "normal map" not in NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES


def test_english_aliases_stay_first_and_others_are_left_alone():
    assert with_other_languages(["moge", "shadow"])[:3] == ["moge", "shadow", "阴影"] and with_other_languages(["moge"]) == ["moge"]
