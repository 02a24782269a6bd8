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


@pytest.mark.parametrize(
    ("word", "node_id"),
    [
        ("depth", "DepthNormal_DepthAndNormals"),
        ("depth map", "DepthNormal_DepthAndNormals"),
        ("normal", "DepthNormal_DepthAndNormals"),
        ("normal map", "DepthNormal_DepthAndNormals"),
        ("controlnet depth", "DepthNormal_DepthAndNormals"),
        ("深度", "DepthNormal_DepthAndNormals"),
        ("法线贴图", "DepthNormal_DepthAndNormals"),
        ("デプスマップ", "DepthNormal_DepthAndNormals"),
        ("ノーマルマップ", "DepthNormal_DepthAndNormals"),
        ("lidar", "DepthNormal_DepthImageToGeometry"),
        ("lidar", "DepthNormal_NormalsFromDepth"),
        ("mask by depth", "DepthNormal_DepthMask"),
        ("z depth", "DepthNormal_RenderDepth"),
        ("z depth", "DepthNormal_DepthImageToGeometry"),
        ("霧", "DepthNormal_Fog"),
        ("雾气", "DepthNormal_Fog"),
        ("デプス", "DepthNormal_EstimateGeometry"),
        ("深度图", "DepthNormal_RenderDepth"),
        ("ノーマルマップ", "DepthNormal_RenderNormals"),
        ("法线贴图", "DepthNormal_ConvertNormalMap"),
        ("ボケ", "DepthNormal_DepthOfField"),
        ("虚化", "DepthNormal_DepthOfField"),
        ("背景除去", "DepthNormal_ForegroundCutout"),
        ("3D打印", "DepthNormal_SaveRelief"),
    ],
)
def test_a_word_that_people_type_finds_the_node(word, node_id):
    assert word in NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES


@pytest.mark.parametrize(
    ("words", "nodes"),
    [
        ({"depth", "normal"}, {"DepthNormal_DepthAndNormals"}),
        ({"lidar"}, {"DepthNormal_DepthImageToGeometry", "DepthNormal_NormalsFromDepth"}),
        ({"mask by depth"}, {"DepthNormal_DepthMask"}),
    ],
)
def test_a_word_that_means_one_thing_is_no_other_nodes(words, nodes):
    assert {node_id for node_id, node in NODE_CLASS_MAPPINGS.items() if words & set(node.SEARCH_ALIASES)} == nodes


def test_models_of_unclear_licence_do_not_claim_the_plain_word():
    for node_id in ("BAE-NormalMapPreprocessor", "DepthNormal_BAENormalMap", "DepthNormal_LBMNormals"):
        assert "normal map" not in NODE_CLASS_MAPPINGS[node_id].SEARCH_ALIASES


def test_english_aliases_stay_first_and_others_are_left_alone():
    assert with_other_languages(["moge", "shadow"])[:3] == ["moge", "shadow", "阴影"] and with_other_languages(["moge"]) == ["moge"]
