"""Makes the README's image of the node, docs/images/depth_and_normals.jpg: the first template, run in ComfyUI's own page.

    DEPTH_NORMAL_COMFYUI=FOLDER PW=.../playwright-core/index.mjs python docs/make_screenshot.py

FOLDER is made by `python tests/comfyui/install.py FOLDER`; the page needs Node.js, playwright-core and Chromium, as tests/comfyui does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "depth_and_normals.jpg"
LARGEST, QUALITY = 250_000, 82


def main() -> None:
    """Writes the image.

    Raises:
        SystemExit: DEPTH_NORMAL_COMFYUI or PW is not set, or the image is larger than a README should load.
    """
    sys.path.insert(0, str(ROOT / "tests" / "comfyui"))
    from conftest import HOME_VARIABLE, serving

    if missing := [name for name in (HOME_VARIABLE, "PW") if name not in os.environ]:
        raise SystemExit(f"set {' and '.join(missing)}, as the first lines of {__file__} say")
    python = Path(os.environ[HOME_VARIABLE]) / "venv" / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "comfyui", python) as server:
        page = [server.address, "ComfyUI-Depth-Normal", "Depth and Normals", str(IMAGE), str(QUALITY)]
        subprocess.run(["node", str(ROOT / "docs" / "screenshot.mjs"), *page], check=True)
    if IMAGE.stat().st_size > LARGEST:
        raise SystemExit(f"{IMAGE.name} has {IMAGE.stat().st_size:,} bytes, more than {LARGEST:,}: lower QUALITY")


if __name__ == "__main__":
    main()
