"""`python -m depth_normal`: the command `depth-normal`, for when that is not on the path."""

import sys

if __name__ == "__main__":
    if not __package__:
        sys.exit("run  python -m depth_normal  after installing this folder (pip install .); ComfyUI needs nothing of this file")
    from .app.cli import main

    sys.exit(main())
