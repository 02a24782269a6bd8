"""The build backend: setuptools, with its intermediate files in a temporary folder.

By itself it leaves build/ and depth_normal.egg-info in the source tree, and packs what an earlier build left in build/.
"""

import os
import tempfile
from pathlib import Path

from setuptools.build_meta import *  # noqa: F403  the hooks of PEP 517 and PEP 660

# Each hook runs in a process of its own, with which the folder goes.
_folder = tempfile.TemporaryDirectory(prefix="depth_normal-build-")
_settings = Path(_folder.name) / "setup.cfg"
_settings.write_text(f"[build]\nbuild_base = {_folder.name}\n[egg_info]\negg_base = {_folder.name}\n", encoding="utf-8")
os.environ["DIST_EXTRA_CONFIG"] = str(_settings)
