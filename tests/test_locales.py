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
    assert missing == [], f"write them into locales/{language}.json, where `python docs/make_locales.py` puts their place"


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
