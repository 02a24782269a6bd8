"""Joins modules of `web/` into one script, for pages that have no server to load them from."""

from __future__ import annotations

import re
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "web"
"""The folder of the scripts, which are those of ComfyUI's page too."""

_IMPORT = re.compile(r"^import \{([^}]+)\} from '\./([\w]+)\.js'\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def joined_scripts(name: str) -> str:
    """A module of `web/` with all that it imports, as the text of one script.

    Each module becomes a constant, `$` and its name, that holds its exports, and keeps its private names to itself.

    Args:
        name: Of the module, without `.js`.

    Raises:
        OSError: A script is missing: the package is not whole.
        ValueError: A script imports or exports in a way that is not known here.
    """
    joined: dict[str, str] = {}
    _add(name, joined)
    return "\n".join(joined.values())


def _add(name: str, joined: dict[str, str]) -> None:
    """Adds a module behind those that it imports."""
    if name in joined:
        return
    text = (WEB / f"{name}.js").read_text(encoding="utf-8")
    for _, other in _IMPORT.findall(text):
        _add(other, joined)
    exports = [exported for _, exported in _EXPORT.findall(text)]
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const {\1} = $\2\n", text))
    if left := re.search(r"^(?:import|export) .*", body, re.MULTILINE):
        raise ValueError(f"{WEB / name}.js: {left[0]!r} cannot be joined; import names from './module.js', export declarations")
    if "</" in body:
        raise ValueError(f"{WEB / name}.js: '</' would end the page's script")
    joined[name] = f"const ${name} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }}\n}})()"
