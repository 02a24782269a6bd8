import os
import urllib.request

import pytest


@pytest.fixture(scope="session")
def registry() -> None:
    """Skips where pip is absent or the Python registry cannot be reached."""
    pytest.importorskip("pip", reason="asks pip, which this Python does not have")
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    try:
        urllib.request.urlopen(f"{index}/setuptools/", timeout=20).close()
    except OSError as error:
        pytest.skip(f"pip asks the Python registry, and {index} cannot be reached: {error}")
