"""The family of one convolution, whose engines are built in a moment, for what measures them."""

import runpy
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]

_known = runpy.run_path(str(TESTS / "model_loader" / "conftest.py"))
caches = _known["caches"]
_known = runpy.run_path(str(TESTS / "model_loader" / "runtimes" / "conftest.py"))
exported, convolved, told = (_known[name] for name in ("exported", "convolved", "told"))
