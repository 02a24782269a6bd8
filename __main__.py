"""The program `depth-normal`, also as `python -m depth_normal` where it is not on the PATH."""

import os
import sys
from importlib.util import find_spec


def run() -> None:
    """Runs the command line and exits. Ctrl-C during the imports, too, ends with one line instead of a traceback."""
    try:
        from .app import cli
    except KeyboardInterrupt:
        sys.stderr.write("depth-normal: stopped\n")
        sys.stderr.flush()
        os._exit(130)  # Python might end by the signal instead: see `cli.main`
    cli.run()


if __name__ == "__main__":
    if not __package__:
        sys.exit("run  python -m depth_normal  after installing this folder (pip install .); ComfyUI needs nothing of this file")
    if find_spec(f"{__package__}.app") is None:
        sys.exit("this folder is the version of ComfyUI's registry: the nodes alone; the README says how to install the command")
    run()
