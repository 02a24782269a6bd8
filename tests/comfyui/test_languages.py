"""ComfyUI's page in Chinese and Japanese, in headless Chromium: lists, templates and messages, which its locales have no place for."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]
NOTHING = {"choices": {}, "messages": {}, "notes": {}}


@pytest.fixture(scope="module", params=[("zh", False), ("ja", True), ("fr", False)], ids=["zh-canvas", "ja-nodes2", "fr-canvas"])
def seen(request, server, run_driver):
    """The driver's report, and the texts of its language. Shots are kept in $WORDS_SHOTS, where that is set."""
    locale, nodes2 = request.param
    words = [server.address, "ComfyUI-Depth-Normal", locale, str(nodes2).lower(), os.environ.get("WORDS_SHOTS", "")]
    report = run_driver(Path(__file__).with_name("languages.mjs"), *words)
    texts = ROOT / "web" / "languages" / f"{locale}.json"
    return {**json.loads(report), "table": json.loads(texts.read_text(encoding="utf-8")) if texts.is_file() else NOTHING}


def test_every_choice_has_its_label(seen):
    own = seen["table"]["choices"]
    lists = {node: labels for node, labels in seen["labels"].items() if node != "KSampler"}
    for node, widgets in lists.items():
        for name, labels in widgets.items():
            for choice, label in labels.items():
                expected = own.get(f"{name}.{choice}", own.get(choice))
                if expected and name not in ("model", "ckpt_name", "backbone", "control_after_generate"):
                    assert label == expected, (node, name, choice)
    assert len(lists) > 40 and not seen["errors"]


def test_other_nodes_and_what_the_page_adds_to_ours_stay_as_they_are(seen):
    assert seen["labels"]["KSampler"] and not any(label for labels in seen["labels"]["KSampler"].values() for label in labels.values())
    seeds = [widgets["control_after_generate"] for widgets in seen["labels"].values() if "control_after_generate" in widgets]
    assert seeds and not any(label for labels in seeds for label in labels.values())


def test_the_label_is_shown_and_the_graph_keeps_the_choice(seen):
    own = seen["table"]["choices"]
    assert own.get("per_image", "per_image") in seen["closed"]
    assert (seen["before"], seen["prompt"]) == ("per_image", "running") and "running" in seen["saved"]


def test_templates_are_listed_and_found_by_their_names_in_the_language(seen):
    own = seen["table"]["notes"]
    assert {name for name, *_ in seen["templates"]} == {path.stem for path in (ROOT / "workflows").glob("*.json")}
    for name, title, words in seen["templates"]:
        assert title == own.get(name, name) and title in words and name in words


def test_a_template_speaks_the_language_and_a_file_keeps_its_words(seen):
    own = seen["table"]["notes"]
    graph = json.loads((ROOT / "workflows" / "Tiny Preview.json").read_text(encoding="utf-8"))
    (note,) = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    (shown,) = [node["note"] for node in seen["template"] if node["note"]]
    assert f"**{own.get('Depth', 'Depth')}**" in shown and shown.count("\n") == note.count("\n")
    assert (shown == note) == (not own)
    titles = {node["title"] for node in graph["nodes"] if node.get("title")}
    assert {own.get(title, title) for title in titles} <= {node["title"] for node in seen["template"]}
    assert [node["note"] for node in seen["file"] if node["note"]] == [note]


def test_messages_on_nodes_are_translated(seen):
    done = seen["table"]["messages"].get("done in {0} s", "done in {0} s").split("{0}")
    assert seen["run"]["ended"]["kind"] == "execution_success"
    last = seen["run"]["said"][-1]
    assert all(part in last for part in done)


def test_an_error_says_what_to_do_in_the_language_and_then_in_english(seen):
    english = "tiles is {0} and film is on: tiles process each image by itself; choose one of the two"
    end = seen["failed"]["ended"]
    own = seen["table"]["messages"].get(english)
    assert end["exception_message"].startswith((own or english).format("auto"))
    assert english.format("auto") in end["exception_message"]
    assert not own or own.format("auto") in seen["page"]
