"""One contract for everything that can be set: defaults, ranges, choices, texts, and the nodes and commands made of them."""

import importlib
import inspect
import math
import pkgutil
from dataclasses import is_dataclass

import numpy as np
import pytest

from depth_normal import NODE_CLASS_MAPPINGS, options
from depth_normal.annotators.diffusion import LbmOptions
from depth_normal.annotators.dsine import DsineOptions
from depth_normal.annotators.marigold import MarigoldOptions
from depth_normal.annotators.moge import MogeOptions
from depth_normal.app.commands.option_table import add_options, chosen_options, option_names
from depth_normal.app.console.option_types import KINDS
from depth_normal.app.console.parser import Parser
from depth_normal.geometry.meshes.mesh import MeshOptions
from depth_normal.model_loader.inference.stages import InferenceOptions
from depth_normal.nodes.option_widgets import Node, option_widgets, takes
from depth_normal.options.checks import InvalidArgumentError
from depth_normal.options.effects import EFFECTS, FogOptions
from depth_normal.options.fields import (
    Box,
    Choice,
    Colour,
    Number,
    Options,
    Point,
    Points,
    Several,
    Switch,
    Typed,
    Whole,
    default_of,
    options_of,
)

FILES = [importlib.import_module(f"{options.__name__}.{each.name}") for each in pkgutil.iter_modules(options.__path__)]
CLASSES = {each: None for file in FILES for each in vars(file).values() if inspect.isclass(each) and issubclass(each, Options)}
SUBJECTS = [each for each in CLASSES if is_dataclass(each)]
TEXTS = {
    **{"tiles": "auto", "device": "cuda:1", "bytes": "3MB", "text": "a:1", "file": "a.png"},
    **{"degrees": "60.5", "seconds": "1.5", "rate": "24"},
}
"""A text that each type of `Typed` reads; "64" is one of the others."""


def wrong_values(option):
    match option:
        case Number(open=False) | Whole():
            return [option.low - 1, option.high + 1, math.nan, "1", True, np.float32("nan"), np.array([option.low] * 2)]
        case Number():
            return [option.low - 1, 10**30, math.inf, math.nan, "1", True]
        case Choice(check_with=None):
            return ["another", 1, []]
        case Choice():
            return ["another", -1, True, []]
        case Switch():
            return ["no", "1", "off", 5, math.nan, [], object()]
        case Several():
            return [("another",), option.choices[0], None, 5]
        case Typed(kind="text"):
            return [5, True, [], math.nan]
        case Typed():
            return ["no", "1", "0.5", True, math.nan, math.inf, [], object(), *([] if option.kind == "real" else [-1])]
        case Colour():
            return ["reddish", "#12", None, 5]
        case Point():
            return [(1.5, 0.5), "ab", (0.5,), (math.nan, 0.5), ("0", "0"), 5]
        case Points():
            return [((0.5, -0.1),), (0.5, 0.5), "ab", None]
        case Box():
            return [(0.5, 0.1, 0.4, 0.9), (0, 0, 1, 1), (0.1, 0.1, 0.9), "abcd", True]
    raise AssertionError(option)


def numpy_values(option, default):
    """Values of numpy's types, and what they are in Python's."""
    match option:
        case Number():
            return {np.float32(option.low + option.step): float(np.float32(option.low + option.step))}
        case Whole():
            return {np.int64(option.high) if option.high < 2**63 else np.uint64(option.high): option.high, float(option.low): option.low}
        case Switch():
            return {np.bool_(not default): not default, 1: True}
        case Typed():
            text = TEXTS.get(option.kind, "64")
            value = KINDS[option.kind](text)
            return {} if isinstance(value, str) else {np.float64(value): value}
    return {}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_defaults_are_accepted_and_can_be_hashed(subject):
    assert hash(subject()) == hash(subject())


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_is_not_accepted_is_refused_by_name(subject):
    for name, value in ((name, value) for name, option in options_of(subject).items() for value in wrong_values(option)):
        with pytest.raises(ValueError) as refused:
            subject(**{name: value})
        if not isinstance(options_of(subject)[name], (Point, Points, Box)):
            assert isinstance(refused.value, InvalidArgumentError) and refused.value.argument == name
            assert "accepted: " in str(refused.value)


def test_numbers_of_numpy_become_pythons():
    """Records are JSON, which knows only Python's own."""
    fields = [(subject, name, option) for subject in SUBJECTS for name, option in options_of(subject).items()]
    for subject, name, option in fields:
        for given, value in numpy_values(option, default_of(subject, name)).items():
            try:
                kept = getattr(subject(**{name: given}), name)
            except ValueError as error:  # it contradicts another option's default
                assert getattr(error, "argument", "") != name
            else:
                assert kept == value and type(kept) is type(value), (subject, name, given)


OF_NETWORKS = [(MogeOptions, "refine_steps"), (DsineOptions, "iterations"), (MarigoldOptions, "steps"), (MarigoldOptions, "ensemble_size")]
OF_NETWORKS += [(LbmOptions, "steps"), (LbmOptions, "seed"), (LbmOptions, "tiled"), (DsineOptions, "old_camera")]
OF_NETWORKS += [(MeshOptions, "drop_sky"), (MeshOptions, "max_jump"), (InferenceOptions, "refine")]


@pytest.mark.parametrize(("kind", "name"), OF_NETWORKS)
def test_options_that_are_no_users_are_of_their_types_too(kind, name):
    for value in ("no", "1", math.nan, [], -0.5):
        with pytest.raises(InvalidArgumentError, match=f"{name} is .*accepted: "):
            kind(**{name: value})
    assert getattr(kind(**{name: np.int64(1)}), name) == 1


@pytest.mark.parametrize("subject", SUBJECTS)
def test_texts_are_sentences_that_name_what_there_is(subject):
    """On a node and in a command alike; a name in braces that there is not would raise."""
    names, widgets = option_names(subject), option_widgets(subject).values()
    for name, option in options_of(subject).items():
        for text in (option.words(option.on_command, names), *(settings["tooltip"] for _, settings in widgets)):
            assert text[0].isupper() and text.endswith(".") and "  " not in text and "{" not in text, name
        assert isinstance(option, Switch) or not getattr(option, "off", ""), name


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_command_without_words_has_the_defaults(subject):
    parser = Parser(prog="depth-normal x")
    add_options(parser, subject)
    arguments = parser.parse_args([])
    arguments.parser = parser
    assert chosen_options(arguments, subject) == subject()
    assert len({each for action in parser._actions for each in action.option_strings}) == len(parser._option_string_actions)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_typed_value_arrives(subject):
    parser = Parser(prog="depth-normal x")
    add_options(parser, subject)
    for name, option in options_of(subject).items():
        if option.flag is None or name == "more_points":
            continue
        typed, value = _typed(option, default_of(subject, name))
        found = getattr(parser.parse_args([option_names(subject)[name], *typed]), name)
        assert found == ([value] if isinstance(option, (Point, Points)) and isinstance(found, list) else value), name


def _typed(option, default):
    match option:
        case Switch():
            return [], not default
        case Choice():
            typed = option.choices[-1].replace("_", "-")
            return [typed], typed
        case Colour():
            return ["#010203"], "#010203"
        case Point() | Points():
            return ["0.25,0.5"], (0.25, 0.5)
        case Box():
            return ["0.1,0.2,0.3,0.4"], (0.1, 0.2, 0.3, 0.4)
        case Several():
            return [",".join(option.choices[:2])], [*option.choices[:2]]
        case Typed():
            typed = TEXTS.get(option.kind, "64")
            return [typed], KINDS[option.kind](typed)
        case Whole():
            return [str(option.high)], option.high
    value = option.low + option.step
    return [f"{value:g}"], float(f"{value:g}")


def test_widgets_of_nodes_stand_once():
    """A node that shows an option's text has it of the table: the same name has not another text in it."""
    texts = {name: settings["tooltip"] for subject in SUBJECTS for name, (_, settings) in option_widgets(subject).items()}
    effects = (spec.node_id for spec in EFFECTS if options_of(spec.options))
    for node_id in (*effects, "DepthNormal_Relight", "DepthNormal_Light"):
        inputs = NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()["optional"]
        widgets = [name for name, (kind, _) in inputs.items() if kind in ("FLOAT", "INT", "BOOLEAN", "STRING")]
        assert widgets and not set(widgets) - set(texts)


def test_effects_are_made_by_their_name():
    from depth_normal.geometry.effects.makers import MAKERS

    assert MAKERS.keys() == {spec.name for spec in EFFECTS}, "MAKERS in geometry/effects/makers.py has one for each of options/effects.py"
    for spec in EFFECTS:
        assert spec.ending.endswith(spec.result.extensions), f"{spec.name} does not end in one of {spec.result.extensions}"


class Asked(Node):
    """A node whose inputs list models of the disk: they are asked for when it runs."""

    NODE_ID = "DepthNormal_Asked"
    asked = 0

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        Asked.asked += 1
        model = ["tiny", "on the disk"], {"default": "on the disk"}
        return {"required": {"image": ("IMAGE", {})}, "optional": {"model": model, **option_widgets(FogOptions)}}

    def execute(self, fog, image, model="tiny"):
        return fog, image, model


def test_inputs_are_asked_for_at_the_first_call_not_at_import():
    node = takes(FogOptions)(Asked)
    assert not Asked.asked
    fog, image, model = node().execute("an image", "tiny", "#ffffff")
    assert (fog, image, model) == (FogOptions(colour="#ffffff"), "an image", "tiny")
    assert node().execute("an image")[2] == "tiny", "the default of a call is the node's own, not what the disk holds"
    assert Asked.asked == 1
