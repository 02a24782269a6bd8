"""Writes what ComfyUI shows in other languages: locales/LANGUAGE/*.json, web/languages/LANGUAGE.json and web/docs/NODE/LANGUAGE.md.

python docs/make_locales.py [ja zh]

Translations stand in locales/LANGUAGE.json, found by the English: `texts` by sentence, cell or paragraph, `names` by the name of an input
or output, or by NODE.NAME where one node means something else by it, `choices` by what a list offers, or by NAME.CHOICE where the list of
that name means something else by it, `messages` by the templates of locales/messages.json, which are what Python says in the page while
nodes run and when they fail, `notes` by the lines of the workflows' notes, their titles, and their names. What is said in several places is
translated once. A run puts what is new there, with nothing in its place, and takes out what is no longer said; tests/test_locales.py
names what is left to do. English needs no files: it is what the server says and what web/docs/NODE.md holds.

ComfyUI's page translates names and tooltips by locales/. For the rest the pack's scripts read web/languages/LANGUAGE.json.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from depth_normal import NODE_CLASS_MAPPINGS
from depth_normal.nodes.old_ids import OWN_IDS
from depth_normal.options.outputs import PLY_UP, WRITTEN

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / "workflows"
NOTES = {"Note", "MarkdownNote"}
MARK = r"^(#+ |\d+\. |- )"
"""What stands before a line in Markdown. web/template_texts.mjs leaves it out, too."""
LOCALES, PAGES, SCRIPTS = ROOT / "locales", ROOT / "web" / "docs", ROOT / "web"
QUOTES = {"ja": "「」", "zh": "“”"}
"""The languages, and the quotation marks in which their texts name widgets and nodes."""
LISTS_OF_NAMES = {"model", "ckpt_name", "backbone", "preprocessor", "file"}
"""Inputs whose choices are models, nodes or files: the same in every language."""
NAMES = {
    *("opengl", "directx", "opencv", "scannet", "controlnet-normalbae", "controlnet-1.0-normal", "dxt5nm"),
    *("float32", "float16", "bfloat16", "fp32", "fp16", "torch", "onnx", "openvino"),
    *("midas", "dmap2norm", "turbo", "inferno", "spectral"),
    *(each[1:] for each in WRITTEN),
    *PLY_UP,
}
"""Choices that are names, too."""
TWINS = {own: old for old, own in OWN_IDS.items()}
QUOTED = r"(?<!\*)\*([^\s*](?:[^*]*[^\s*])?)\*(?!\*)"
"""What a translation calls by its English name: a widget, an output or a node in asterisks."""
SECTIONS = ("names", "texts", "choices", "messages", "notes")
Say = Callable[[str, str, str], str]
"""(section, English, place) -> what is shown."""


@functools.cache
def widgets_of(node: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Types and options of the inputs of a node, in order."""
    groups = node.INPUT_TYPES()
    return {**groups.get("required", {}), **groups.get("optional", {})}


def inputs_of(node: Any) -> dict[str, str]:
    """Names and tooltips of the inputs of a node, in order."""
    return {name: options["tooltip"] for name, (_, options) in widgets_of(node).items()}


def choices_of(node: Any) -> dict[str, set[str]]:
    """What can be chosen in the lists of a node, by the input's name: graphs hold these words, and the page shows them."""
    return {name: set(kind) for name, (kind, _) in widgets_of(node).items() if isinstance(kind, list)}


def choices_to_translate(node: Any) -> Iterator[tuple[str, str]]:
    """Yields an input's name and a choice of its list, for each choice that is neither a name nor a number."""
    for name, choices in choices_of(node).items():
        if name not in LISTS_OF_NAMES:
            yield from ((name, choice) for choice in sorted(map(str, choices)) if choice not in NAMES and not choice.isdigit())


def outputs_of(node: Any) -> list[tuple[str, str]]:
    """Names and tooltips of the outputs of a node, in order."""
    return list(zip(getattr(node, "RETURN_NAMES", node.RETURN_TYPES), node.OUTPUT_TOOLTIPS, strict=True))


def node_definitions(say: Say) -> dict[str, Any]:
    """What ComfyUI calls nodeDefs.json."""
    return {node_id: _definition(TWINS.get(node_id, node_id), node, say) for node_id, node in NODE_CLASS_MAPPINGS.items()}


def menu(say: Say) -> dict[str, Any]:
    """What ComfyUI calls main.json: folders of nodes and of settings."""
    folders = sorted({part for node in NODE_CLASS_MAPPINGS.values() for part in node.CATEGORY.split("/")})
    headings = [word for setting in _settings() for word in setting["category"]]
    return {
        "nodeCategories": {folder: say("texts", folder, "menu") for folder in folders},
        "settingsCategories": {heading.replace(".", "_"): say("texts", heading, "settings") for heading in headings},
    }


def settings(say: Say) -> dict[str, Any]:
    """What ComfyUI calls settings.json."""
    return {
        setting["id"].replace(".", "_"): {key: say("texts", setting[key], f"setting {setting['id']}") for key in ("name", "tooltip")}
        for setting in _settings()
    }


def page_table(say: Say) -> dict[str, Any]:
    """What the pack's scripts translate in ComfyUI's page: what lists offer, by CHOICE or NAME.CHOICE, Python's messages, and notes."""
    choices: dict[str, str] = {}
    for node in NODE_CLASS_MAPPINGS.values():
        for name, choice in choices_to_translate(node):
            label, usual = say("choices", choice, name), say("choices", choice, "")
            choices[choice] = usual
            if label != usual:
                choices[f"{name}.{choice}"] = label
    spoken = {words: say("messages", words, "message") for words in messages()}
    return {
        "choices": dict(sorted(choices.items())),
        "messages": spoken,
        "notes": {words: say("notes", words, at) for words, at in notes()},
    }


def messages() -> list[str]:
    """Templates of Python's messages: {0} stands for what differs, and is kept as it is."""
    return json.loads((LOCALES / "messages.json").read_text(encoding="utf-8"))


def notes() -> Iterator[tuple[str, str]]:
    """Yields what the workflows say, and which says it: their names, titles that are no node's name, and lines of notes without marks."""
    for path in sorted(WORKFLOWS.glob("*.json")):
        yield path.stem, path.stem
        whole = json.loads(path.read_text(encoding="utf-8"))
        parts = [whole, *whole.get("definitions", {}).get("subgraphs", [])]
        for part in parts:
            titled = [*part.get("groups", []), *part["nodes"], *([{"title": part["name"]}] if part is not whole else [])]
            yield from ((each["title"], path.stem) for each in titled if re.search("[a-z]", each.get("title") or ""))
            for node in part["nodes"]:
                if node["type"] in NOTES:
                    lines = (re.sub(MARK, "", line) for line in node["widgets_values"][0].splitlines())
                    yield from ((line, path.stem) for line in lines if re.search("[a-z]", line))


def help_page(node_id: str, say: Say) -> str:
    """The help page of a node, block by block as the English one. An input's row says what its tooltip says, unless the page says more."""
    text = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    return "\n\n".join(_block(block, TWINS.get(node_id, node_id), say) for block in re.split(r"\n{2,}", text.strip())) + "\n"


def files(say: Say) -> dict[str, str]:
    """The files of a language by their place below the root, with LANGUAGE for its name."""
    made = {
        f"locales/LANGUAGE/{name}.json": make(say)
        for name, make in (("main", menu), ("nodeDefs", node_definitions), ("settings", settings))
    }
    made["web/languages/LANGUAGE.json"] = page_table(say)
    found = {place: json.dumps(value, ensure_ascii=False, indent=2) + "\n" for place, value in made.items()}
    return found | {f"web/docs/{node_id}/LANGUAGE.md": help_page(node_id, say) for node_id in NODE_CLASS_MAPPINGS}


def english() -> dict[str, dict[str, str]]:
    """What is to be translated, and where it is first said, by section."""
    said: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}

    def note(section: str, words: str, place: str) -> str:
        said[section].setdefault(words, place)
        return words

    files(note)
    return said


def names_in_places() -> set[str]:
    """NODE.NAME of every input and output; a twin's are those of its old id."""
    nodes = {node_id: node for node_id, node in NODE_CLASS_MAPPINGS.items() if node_id not in TWINS}
    return {f"{node_id}.{name}" for node_id, node in nodes.items() for name in (*inputs_of(node), *dict(outputs_of(node)))}


def choices_in_places() -> set[str]:
    """NAME.CHOICE of every list."""
    return {f"{name}.{choice}" for node in NODE_CLASS_MAPPINGS.values() for name, choice in choices_to_translate(node)}


def read(language: str) -> dict[str, dict[str, str]]:
    """The translations, by section and English."""
    path = LOCALES / f"{language}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {section: found.get(section, {}) for section in SECTIONS}


def updated(language: str) -> dict[str, dict[str, str]]:
    """The translations with nothing in the place of what is missing, and without what is no longer said."""
    old = read(language)
    found = {section: {words: old[section].get(words, "") for words in said} for section, said in english().items()}
    for section, places in (("names", names_in_places()), ("choices", choices_in_places())):
        found[section].update({name: words for name, words in old[section].items() if name in places})
    return found


def speaker(language: str) -> Say:
    """Says things in a language: English where there is no translation."""
    translations, (opening, closing) = read(language), QUOTES[language]
    names, texts, choices, spoken, notes = (translations[section] for section in SECTIONS)

    def name_of(word: str, place: str) -> str:
        return names.get(f"{place}.{word}") or names.get(word) or ""

    def say(section: str, words: str, place: str) -> str:
        if section == "names":
            return name_of(words, place) or words
        if section == "choices":
            return choices.get(f"{place}.{words}") or choices.get(words) or words
        own = {"messages": spoken, "notes": notes}.get(section, texts).get(words) or words
        own = re.sub(QUOTED, lambda found: quoted(found, place), own)
        if section != "notes":
            return own
        # Markdown ends no bold words between a bracket and a letter.
        return re.sub(r"(\*\*[^*]+[)\uff09]\*\*)(?=\w)", r"\1 ", re.sub(r"\*\*([^*]+)\*\*", bold, own))

    def bold(found: re.Match[str]) -> str:
        word = found[1]
        return f"**{notes.get(word) or texts.get(word) or choices.get(word) or word}**"

    def quoted(found: re.Match[str], place: str) -> str:
        own = name_of(found[1], place) or texts.get(found[1])
        return f"{opening}{own}{closing}" if own and own != found[1] else found[0]

    return say


def translated(language: str) -> dict[Path, str]:
    """The files of a language and what is in them."""
    return {ROOT / place.replace("LANGUAGE", language): text for place, text in files(speaker(language)).items()}


def _definition(place: str, node: Any, say: Say) -> dict[str, Any]:
    def entry(name: str, tooltip: str) -> dict[str, str]:
        return {"name": say("names", name, place), "tooltip": with_labels(say("texts", tooltip, place), node, name, say)}

    return {
        "display_name": say("texts", node.DISPLAY_NAME, place),
        "description": say("texts", node.DESCRIPTION, place),
        "inputs": {name.replace(".", "_"): entry(name, tooltip) for name, tooltip in inputs_of(node).items()},
        "outputs": {str(i): entry(name, tooltip) for i, (name, tooltip) in enumerate(outputs_of(node))},
    }


def with_labels(words: str, node: Any, name: str, say: Say, *, beside: bool = False) -> str:
    """Calls a node's choices by their labels.

    Args:
        words: A text about an input of the node.
        node: The node.
        name: The input; of a choice of several lists its own is meant.
        say: Says the labels.
        beside: Whether the choice follows its label, as on help pages, which scripts' authors read too.
    """
    inputs = {choice: each for each, choice in choices_to_translate(node)} | {
        choice: each for each, choice in choices_to_translate(node) if each == name
    }
    labels = {choice: say("choices", choice, each) for choice, each in inputs.items()}
    told = {choice: f"{label} ({choice})" if beside else label for choice, label in labels.items() if label != choice}
    if not told:
        return words
    longest_first = "|".join(map(re.escape, sorted(told, key=len, reverse=True)))
    said = re.sub(rf"(?<![A-Za-z0-9_`*.-])({longest_first})(?![A-Za-z0-9_`*.-])", lambda found: told[found[1]], words)
    return re.sub(r"(?<=[\u3041-\u9fff]) (?=[\u3041-\u9fff])", "", said)  # the space that stood beside an English word


def _block(block: str, place: str, say: Say) -> str:
    if block.startswith("|"):
        return "\n".join(_table(block.splitlines(), place, say))
    words = " ".join(block.split())
    image = re.fullmatch(r"!\[(.*)\](\(\S+\))", words)
    if image:
        return f"![{say('texts', image[1], place)}]{image[2]}"
    if words.startswith("# "):
        return f"# {say('texts', words[2:], place)}"
    return say("texts", words.replace(f"**{place}**", "**OLD_ID**"), place).replace("**OLD_ID**", f"**{place}**")


def _table(lines: list[str], place: str, say: Say) -> Iterable[str]:
    node = NODE_CLASS_MAPPINGS[place]
    head, *rows = (_cells_of(line) for line in lines if not set(line) <= set("| -"))
    tooltips = {"input": inputs_of(node), "output": dict(outputs_of(node))}.get(head[0], {})
    widgets = {} if tooltips else inputs_of(node)
    yield _row([_label(cell, place, say) if cell in widgets else _cell(cell, place, say) for cell in head])
    yield _row(["---"] * len(head))
    for row in rows:
        names = [name.strip("`") for name in row[0].split(", ")]
        if set(names) <= set(tooltips):
            yield from _name_rows(names, row[1], tooltips, place, say)
        else:
            yield _row([_choice_or_cell(column, cell, node, place, say) for column, cell in zip(head, row, strict=True)])


def _name_rows(names: list[str], meaning: str, tooltips: dict[str, str], place: str, say: Say) -> list[str]:
    labels, node = [_label(name, place, say) for name in names], NODE_CLASS_MAPPINGS[place]
    said = [tooltips[name] for name in names]
    if len(meaning) > len(" ".join(said)) or any("\n" in words for words in said):
        return [_row(["、".join(labels), with_labels(say("texts", meaning, place), node, names[0], say, beside=True)])]
    texts = [with_labels(say("texts", tooltip, place), node, name, say, beside=True) for name, tooltip in zip(names, said, strict=True)]
    return [_row([label, words]) for label, words in zip(labels, texts, strict=True)]


def _choice_or_cell(column: str, cell: str, node: Any, place: str, say: Say) -> str:
    choices = cell.split(", ")
    if set(choices) <= choices_of(node).get(column, set()):
        return ", ".join(with_labels(choice, node, column, say, beside=True) for choice in choices)
    return _cell(cell, place, say)


def _label(name: str, place: str, say: Say) -> str:
    return f"{say('names', name, place)} `{name}`"


def _cell(cell: str, place: str, say: Say) -> str:
    return cell if _says_itself(cell) else say("texts", cell, place)


def _says_itself(cell: str) -> bool:
    """Whether a cell is the same in every language: a number, a list of letters, code, the name of a model or a file."""
    return not re.search("[a-z]{2}", cell) or bool(re.fullmatch(r"`[^`]*`|(?=.*[\d_-])[\w.-]+", cell))


def _cells_of(row: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _settings() -> list[dict[str, Any]]:
    """The pack's settings as its scripts name them."""
    found = []
    for script in sorted(SCRIPTS.glob("*.mjs")):
        for text in re.findall(r"settings: \[\{(.*?)\}\]", script.read_text(encoding="utf-8"), re.DOTALL):
            setting: dict[str, Any] = dict(re.findall(r"\b(id|name|tooltip): '([^']*)'", text))
            (category,) = re.findall(r"category: \[(.*?)\]", text)
            found.append(setting | {"category": re.findall(r"'([^']*)'", category)})
    return found


def main(languages: Iterable[str]) -> None:
    """Brings the translations up to date with what is said, and writes the files of the languages."""
    for language in languages:
        translations, path = updated(language), LOCALES / f"{language}.json"
        path.write_text(json.dumps(translations, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        if missing := [words for section in translations.values() for words, own in section.items() if not own]:
            print(f"{path} has {len(missing)} empty texts; fill them in, and run this again. The first is that of: {missing[0][:80]}")
        for path, text in translated(language).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or QUOTES)
