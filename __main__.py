"""The program `depth-normal`, also as `python -m depth_normal`, or as `python FOLDER` of a folder that is not installed."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


def run() -> None:
    """Runs the command line and exits. Ctrl-C during the imports, too, ends with one line instead of a traceback."""
    try:
        from .app import cli
    except KeyboardInterrupt:
        sys.stderr.write("depth-normal: stopped\n")
        sys.stderr.flush()
        os._exit(130)  # Python might end by the signal instead: see `cli.main`
    cli.run()


def _import_folder() -> str:
    """Imports this file's folder, whatever its name, as the package `depth_normal`, and none of its modules by their bare names."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [each for each in sys.path if Path(each).resolve() != folder]
    spec = spec_from_file_location("depth_normal", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return spec.name


if __name__ == "__main__":
    package = __package__ or _import_folder()
    if find_spec(f"{package}.app") is None:
        sys.exit("this folder is the version of ComfyUI's registry: the nodes alone; the README says how to install the command")
    import_module(".__main__", package).run()
