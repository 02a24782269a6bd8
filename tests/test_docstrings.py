"""Every public method has a docstring: its own, or that of the method it overrides."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

from torch import nn

import depth_normal

ROOT = Path(depth_normal.__file__).resolve().parent
PACKAGES = ("annotators", "app", "geometry", "media", "model_loader", "nodes")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def undocumented(cls: type) -> list[str]:
    """Public methods and properties that neither the class nor a base describes; `forward` and ComfyUI's INPUT_TYPES their class does."""
    bases = [vars(base) for base in cls.__mro__ if base not in (object, nn.Module)]
    described = {name for members in bases for name, member in members.items() if getattr(member, "__doc__", None)}
    known = described | ({"forward"} if issubclass(cls, nn.Module) else {"INPUT_TYPES"})
    return [name for name, member in vars(cls).items() if name[0] != "_" and is_method(name, member, cls) and name not in known]


def is_method(name: str, member: object, cls: type) -> bool:
    """Whether a class's own code defines it; a function that was made elsewhere, or a second name of another, is none."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        return False
    return function.__qualname__ == f"{cls.__qualname__}.{name}"


def imported() -> list[ModuleType]:
    """All modules but those that need Triton."""
    names = [".".join(("depth_normal", *path.with_suffix("").parts)).removesuffix(".__init__") for path in MODULES]
    return [importlib.import_module(name) for name in names if not name.endswith("_kernel")]


def test_public_methods_are_described():
    own = [cls for module in imported() for cls in public_classes(module)]
    missing = [f"{cls.__module__}.{cls.__name__}.{name}" for cls in own for name in undocumented(cls)]
    assert not missing


def public_classes(module):
    return [each for name, each in vars(module).items() if inspect.isclass(each) and each.__module__ == module.__name__ and name[0] != "_"]


def test_a_list_of_parameters_has_its_heading():
    """`Args:` and the like: without it, tools take the list for prose."""
    after_prose = re.compile(r"^\S.*[^:\n]\n\n? {4}\w[\w, ]*: ", re.MULTILINE)
    own = [each for module in imported() for each in vars(module).values() if inspect.isfunction(each) or inspect.isclass(each)]
    assert [f"{each.__module__}.{each.__qualname__}" for each in own if after_prose.search(inspect.getdoc(each) or "")] == []
