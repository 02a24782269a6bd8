"""`python -m depth_normal`: the command `depth-normal`, for when that is not on the path."""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if not __package__:
        sys.exit("run  python -m depth_normal  after installing this folder (pip install .); ComfyUI needs nothing of this file")
    if find_spec(f"{__package__}.app") is None:
        sys.exit("this folder is the version of ComfyUI's registry: the nodes alone; the README says how to install the command")
    from .app.cli import run

    run()
