"""Makes the image of docs/ui.md, docs/images/ui.jpg: the page of `depth-normal ui` with the photo in the package.

    PW=.../playwright-core/index.mjs python docs/make_ui_screenshot.py

It needs Node.js, playwright-core and Chromium, as tests/app/ui/test_page.py does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "ui.jpg"
LARGEST = 250_000


def main() -> None:
    """Writes the image.

    Raises:
        SystemExit: PW is not set, or the image is larger than a page should load.
    """
    if "PW" not in os.environ:
        raise SystemExit(f"set PW, as the first lines of {__file__} say")
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "depth_normal", "ui", "--no-browser", "-o", "depth-normal", "--device", "cpu"]
        server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            subprocess.run(["node", str(ROOT / "tests" / "app" / "ui" / "page.mjs"), address, "screenshot", str(IMAGE)], check=True)
        finally:
            server.terminate()
            server.wait(20)
    if IMAGE.stat().st_size > LARGEST:
        raise SystemExit(f"{IMAGE.name} has {IMAGE.stat().st_size:,} bytes, more than {LARGEST:,}: lower its quality")


if __name__ == "__main__":
    main()
