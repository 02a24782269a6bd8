"""The public functions of `depth_normal.geometry`, by their dotted names."""

import importlib
import inspect
import pkgutil

from depth_normal import geometry


def function_of(case):
    """The function that a case is of: what follows a comma says how it is called."""
    return pkgutil.resolve_name(f"{geometry.__name__}.{case.partition(',')[0]}")


def public_functions(*packages):
    """The names of all functions that modules of these packages define, as `function_of` takes them."""
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("_kernel"):  # imported only where Triton is
                continue
            module = importlib.import_module(found.name)
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if inspect.unwrap(function).__module__ == module.__name__ and not name.startswith("_"):
                    yield f"{found.name.removeprefix(geometry.__name__ + '.')}.{name}"
