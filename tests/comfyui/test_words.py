"""What nodes say in ComfyUI's page, in headless Chromium: progress in words, the lists of models, and what to do without weights."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes2"])
def seen(request, slow_server, run_driver):
    """The driver's report. Shots are kept in $WORDS_SHOTS, where that is set."""
    shutil.copy(ROOT / "app" / "coffee.jpg", slow_server.base / "input")
    words = [slow_server.address, "coffee.jpg", str(request.param).lower(), os.environ.get("WORDS_SHOTS", "")]
    return json.loads(run_driver(Path(__file__).with_name("words.mjs"), *words))


def texts(part):
    return [each["text"] for each in part["words"]]


def test_the_page_asks_for_one_script(seen):
    assert seen["scripts"] == ["depth_normal.js"]


def test_a_run_is_told_from_loading_to_the_end(seen):
    said = texts(seen["tiny"])
    assert said[-1].startswith("done in ") and "running tiny" in said and not seen["errors"]
    assert [each["kind"] for each in seen["tiny"]["ended"]] == ["execution_success"]
    assert seen["again"]["row"] == "".join(texts(seen["again"])[-1:]), "of the next run"


def test_what_two_lines_do_not_hold_is_shown_by_a_click(seen):
    assert seen["whole"] == {"shown": True, "cursor": "pointer", "again": 0}


def test_a_download_says_how_much_of_how_much_and_its_licence(seen):
    said = texts(seen["download"])
    assert said[0] == "connecting, for 50 MB (MIT)"
    shares = [int(found[1]) for text in said if (found := re.fullmatch(r"downloading (\d+) % of 50 MB \(MIT\)", text))]
    assert len(shares) > 3 and shares == sorted(shares)
    assert {each["nodeId"] for each in seen["download"]["words"]} == {str(seen["node"])}
    assert [each["kind"] for each in seen["download"]["ended"]] == ["execution_interrupted"]
    times = [each["at"] for each in seen["download"]["words"]]
    assert len(times) <= 4 * (times[-1] - times[0]) / 1000 + 3, "at most four a second"


def test_without_weights_the_page_says_first_what_to_do(seen):
    (end,) = seen["missing"]["ended"]
    assert end["exception_type"] == "depth_normal.NoNetworkError"
    assert end["exception_message"].startswith("Choose 'tiny' in the widget ckpt_name: it comes with the pack and works at once")
    assert seen["missing"]["row"] == end["exception_message"].strip(), "on the node: the page hides it behind a button"
    assert (seen["mended"]["ended"][0]["kind"], seen["mended"]["row"]) == ("execution_success", "")
    assert (seen["other"], seen["elsewhere"]) == ("", ""), "another graph's nodes have the same ids"
    assert seen["back"] == seen["missing"]["row"], "when the page shows the graph again"


def test_the_log_holds_the_advice_once_as_message_and_once_in_the_trace(seen, slow_server):
    errors = slow_server.log.split("!!! Exception during processing !!!")[1:]
    assert errors and all(error.count("Choose 'tiny' in the widget ckpt_name") <= 2 for error in errors)


def test_the_list_shows_place_size_and_licence_and_the_graph_keeps_the_name(seen):
    listed = dict(zip(seen["list"]["values"], seen["list"]["labels"], strict=True))
    assert seen["list"]["value"] == "moge-2-vits-normal" and next(iter(listed)) == "tiny"
    assert listed["tiny"] == "tiny · in the pack, 9 MB · disparity + normals · Apache-2.0" and listed["(from file)"] == "(from file)"
    for words in (listed["moge-2-vitb-normal"], listed["moge-2-vits-normal"]):
        assert words in seen["shown"], "the open list"
    assert seen["chosen"] == "moge-2-vitb-normal"
    assert "50 MB" in seen["refreshed"], "what the key R finds, of a node in a subgraph"


def test_what_the_log_says_of_a_setting_stays_on_the_node(seen):
    said, noted = "tiny runs at size 256, its largest, in place of 768", seen["noted"]
    assert said in noted["run"] and noted["shown"], "after the run"
    assert said in noted["reloaded"], "after the page was loaded again"
    assert said not in noted["right"], "once it is set right"


def test_words_leave_nothing_in_a_saved_graph(seen):
    assert not any(isinstance(value, str) and "done in" in value for value in seen["kept"])
