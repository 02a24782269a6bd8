"""In ComfyUI's page: graphs of before open, search shows each node once, and the pack's sockets have their colours."""

import json
import os
import re
from pathlib import Path

import pytest

from depth_normal.nodes.old_ids import OWN_IDS, OWN_INPUTS

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
COLOURS = dict(re.findall(r"(\w+): '(#\w+)'", (ROOT / "web" / "colours.mjs").read_text()))
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


def as_before(text: str) -> str:
    """A graph as the pack saved it before it had ids and a type of its own, and inputs the names that they have now."""
    graph = json.loads(text)
    for node in graph["nodes"]:
        earlier = {now: before for before, now in OWN_INPUTS.get(node["type"], {}).items()}
        for each in node.get("inputs", []):
            each["name"] = earlier.get(each["name"], each["name"])
    text = json.dumps(graph)
    for old, own in OWN_IDS.items():
        text = text.replace(f'"{own}"', f'"{old}"')
    return text.replace('"DEPTH_NORMAL_GEOMETRY"', '"GEOMETRY"')


@pytest.fixture(scope="module")
def seen(server, tmp_path_factory, run_driver):
    """What became of the graphs, in whichever renderer: the driver's report. Shots are kept in $OLD_IDS_SHOTS, where that is set."""
    folder, files = tmp_path_factory.mktemp("before"), []
    for path in WORKFLOWS:
        files.append(folder / path.name)
        files[-1].write_text(as_before(path.read_text()))
    words = [server.address, os.environ.get("OLD_IDS_SHOTS", ""), *files]
    return json.loads(run_driver(Path(__file__).with_name("old_ids.mjs"), *words))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_graph_of_before_opens_with_all_its_links_and_nothing_calls_it_old(seen, workflow):
    opened, saved = seen["graphs"][workflow.stem], json.loads(workflow.read_text())
    assert opened["unknown"] == [] and opened["deprecated"] == [] and opened["dialogs"] == []
    assert opened["links"] == len(saved["links"]) and "GEOMETRY" not in opened["types"]
    prompt = opened["prompt"]
    linked = {(str(link[3]), str(link[1]), link[2]) for link in saved["links"] if str(link[3]) in prompt}
    for each in prompt.values():
        assert not {*OWN_INPUTS.get(each["class_type"], {})} & {*each["inputs"]}
    assert linked == {(node, *value) for node, each in prompt.items() for value in each["inputs"].values() if isinstance(value, list)}


def test_search_alone_shows_each_node_once_and_finds_it_by_its_old_id(seen):
    hidden = {*OWN_IDS, *OWN_IDS.values(), "DepthNormal_MarigoldNormals", "DepthNormal_GeometryToMoGe"}
    for menu in (seen["visible"], seen["menu"]):
        assert not hidden & {*menu} and {"AIO_Preprocessor", "DepthNormal_MarigoldDepth"} <= {*menu}
    assert not [words for words, found in seen["search"].items() if {*OWN_IDS, "DepthNormal_MarigoldNormals"} & {*found}]
    assert seen["search"]["MiDaS Depth Map"][0] == "DepthNormal_MiDaSDepthMap"
    assert seen["search"]["BAE-NormalMapPreprocessor"][0] == "DepthNormal_BAENormalMap"


@pytest.mark.parametrize("palette", ["first", "light"])
def test_the_sockets_have_their_colours_in_every_palette(seen, palette):
    assert len(COLOURS) == 3 and seen["colours"][palette] == {kind: [colour] * 3 for kind, colour in COLOURS.items()}


def test_a_graph_of_video_depth_anythings_first_version_is_that_of_todays_nodes(seen):
    prompt = {each["class_type"]: each["inputs"] for each in seen["video"]["prompt"].values()}
    assert seen["video"]["types"].count("VideoDepthAnythingOutput") == 1 and len(prompt) == len(seen["video"]["types"]) == 7
    process, shown = prompt["VideoDepthAnythingProcess"], prompt["VideoDepthAnythingOutput"]
    assert (process["input_size"], process["max_res"], process["precision"]) == (392, 960, "fp16")
    assert process["images"] == ["1", 0] and process["vda_model"] == ["2", 0]
    assert shown["depths"] == ["4", 0] and shown["colormap"] == "inferno"
    assert prompt["CreateVideo"]["fps"] == ["3", 0], "the old node passed the rate on unchanged"
    (made,) = {node for node, each in seen["video"]["prompt"].items() if each["class_type"] == "VideoDepthAnythingOutput"}
    assert prompt["CreateVideo"]["images"] == [made, 0]


def test_the_menu_of_another_packs_node_offers_this_packs(seen):
    for exchanged, resolution in zip(
        seen["exchanged"], (768, 512) * 2, strict=True
    ):  # on the canvas and in Nodes 2.0, each also in a subgraph
        before, after = exchanged["looksOf"]
        assert before == after and "true" in before
        assert exchanged["own"] == 0, "this pack's own node under the old id needs no other"
        nodes = {each["class_type"]: (number, each["inputs"]) for number, each in exchanged["prompt"].items()}
        number, inputs = nodes.pop("DepthNormal_MiDaSNormalMap")
        assert nodes["PreviewImage"][1]["images"] == [number, 0] and inputs["image"] == [nodes["EmptyImage"][0], 0] and len(nodes) == 2
        values = {name: inputs[name] for name in ("a", "bg_threshold", "resolution", "model")}
        assert (
            values == {"a": 3, "bg_threshold": 0.25, "resolution": resolution, "model": "midas-dpt-hybrid"}
            and exchanged["title"] == "My map"
        )
