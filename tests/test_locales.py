"""Translations: everything is said in every language, with the same values, names and links as in English."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCALES = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make_locales.py")))
SAID = LOCALES.english()
LANGUAGES = sorted(LOCALES.QUOTES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_translated(language):
    found = LOCALES.read(language)
    missing = [f"{place}: {words}" for section in SAID for words, place in SAID[section].items() if not found[section].get(words)]
    assert not missing, (
        "\n".join(missing) + f"\nwrite them into locales/{language}.json, where `python docs/make_locales.py` puts their place"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_translated_that_is_no_longer_said(language):
    assert LOCALES.read(language) == LOCALES.updated(language), "run `python docs/make_locales.py`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_files_are_those_of_the_translations(language):
    made = LOCALES.translated(language)
    stale = [str(path.relative_to(ROOT)) for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python docs/make_locales.py`"
    there = {*(ROOT / "web").rglob(f"{language}.md"), *(ROOT / "web").rglob(f"{language}.json"), *(ROOT / "locales" / language).iterdir()}
    assert there == set(made)


@pytest.mark.parametrize("language", LANGUAGES)
def test_code_links_and_addresses_are_kept(language):
    texts = LOCALES.read(language)["texts"]
    kept = {words: re.findall(r"`[^`]+`|\]\([^)]+\)|OLD_ID", words) for words in texts}
    lost = {words: gone for words, own in texts.items() if own and (gone := [each for each in kept[words] if each not in own])}
    assert lost == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_that_texts_quote_are_names(language):
    """`*near_far_ratio*` and `*Fog*` become what the page calls the widget and the node."""
    found = LOCALES.read(language)
    names = {*SAID["names"], *SAID["texts"]}
    quoted = {name: words for words, own in found["texts"].items() for name in re.findall(LOCALES.QUOTED, own)}
    assert {name: words for name, words in quoted.items() if name not in names and f"*{name}*" not in words} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_hold_nothing_that_the_page_takes_for_its_own(language):
    """vue-i18n reads braces, @ and | in names, headings and descriptions."""
    found = LOCALES.read(language)
    shown = [
        *found["names"].values(),
        *(found["texts"].get(words) for node in LOCALES.NODE_CLASS_MAPPINGS.values() for words in (node.DISPLAY_NAME, node.DESCRIPTION)),
    ]
    assert [words for words in shown if words and re.search(r"[{}@|]", words)] == []


def test_what_needs_no_translation_is_still_a_choice():
    lists = [LOCALES.choices_of(node) for node in LOCALES.NODE_CLASS_MAPPINGS.values()]
    choices = {str(choice) for each in lists for found in each.values() for choice in found}
    assert set(LOCALES.NAMES) <= choices and {*LOCALES.LISTS_OF_NAMES} <= {name for each in lists for name in each}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_labels_of_a_list_differ(language):
    say = LOCALES.speaker(language)
    for node_id, node in LOCALES.NODE_CLASS_MAPPINGS.items():
        for name, choices in LOCALES.choices_of(node).items():
            labels = [say("choices", str(choice), name) for choice in choices]
            assert len(set(labels)) == len(labels), (node_id, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_tooltips_call_choices_by_their_labels(language):
    """A list shows labels alone, so an English choice in its tooltip would name nothing that can be seen."""
    shown = LOCALES.node_definitions(LOCALES.speaker(language))
    say = LOCALES.speaker(language)
    for node_id, node in LOCALES.NODE_CLASS_MAPPINGS.items():
        for name, choice in LOCALES.choices_to_translate(node):
            if say("choices", choice, name) != choice:
                tooltip = shown[node_id]["inputs"][name]["tooltip"]
                assert not re.search(rf"(?<![\w`]){re.escape(choice)}[:\uff1a]", tooltip, re.ASCII), (node_id, name)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_stand_once_and_sentences_end(language):
    shown = "\n".join(LOCALES.translated(language).values())
    assert re.findall(r".*(\b\w+) \(\1\b.*", shown) == [], "write the choice alone: its label is put before it"
    assert re.findall(r".*(?:ます|です|ません|ください) \|\n", shown) == []
