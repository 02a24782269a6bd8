"""Writes a result as one HTML file that any browser shows offline, and joins the scripts of `web/` for it."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...utils import resize_map
from ..assumptions import assumed_intrinsics, filled_inverse
from ..checks import check_image_of
from ..effects.shadows import half_thickness
from ..estimate import Estimate
from ..projections import need_perspective
from ..regions.sky import sky_alpha
from .packed_maps import THICKEST, pack_maps, preview_maps, preview_size
from .paths import one_image, write_bytes
from .png import small_png

WEB = Path(__file__).resolve().parents[2] / "web"
"""Folder of the scripts, shared with ComfyUI's page."""

_IMPORT = re.compile(r"^import (?:\{([^}]+)\} from )?'\./(\w+)\.mjs'\n", re.MULTILINE)
_OUTER = re.compile(r"^import \{[^}]+\} from '\.\./[^']+'\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def joined_scripts(file: str, *, outer: bool = False) -> str:
    """Bundles a script of `web/` and the modules there that it imports into one script.

    Each becomes a constant named `$` plus its name, which holds its exports and keeps its private names.
    `outer` allows imports from other folders, i.e. of ComfyUI's page: the bundle is a module beside the scripts.

    Raises:
        OSError: A script is missing: the installation is incomplete.
        ValueError: An unsupported form of import or export.
    """
    joined: dict[str, str] = {}
    imported: dict[str, None] = {}
    _add(file, joined, imported if outer else None)
    return "".join(imported) + "\n".join(joined.values())


def _add(file: str, joined: dict[str, str], imported: dict[str, None] | None) -> None:
    """Adds a script after its imports."""
    if file in joined:
        return
    text = (WEB / file).read_text(encoding="utf-8")
    if imported is not None:
        imported.update(dict.fromkeys(_OUTER.findall(text)))
        text = _OUTER.sub("", text)
    for _, other in _IMPORT.findall(text):
        _add(f"{other}.mjs", joined, imported)
    exports = [exported for _, exported in _EXPORT.findall(text)]
    body = _IMPORT.sub(lambda found: f"const {{{found[1]}}} = ${found[2]}\n" if found[1] else "", text)
    body = _EXPORT.sub(r"\1", body)
    if left := re.search(r"^(?:import|export) .*", body, re.MULTILINE):
        raise ValueError(f"{WEB / file}: {left[0]!r} cannot be joined; import names from './module.mjs', export declarations")
    if "</" in body:
        raise ValueError(f"{WEB / file}: '</' would end the page's script")
    joined[file] = f"const ${Path(file).stem} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }}\n}})()"


LONG_SIDE = 1600
"""Longest side of a page's maps, in pixels: a page takes a few MB, with noise 25."""

_JPEG_QUALITY = 90


def write_html(
    path: str | os.PathLike[str],
    estimate: Estimate,
    image: Tensor | None = None,
    title: str | None = None,
    derive: Callable[[Estimate], Estimate] | None = None,
) -> None:
    """Writes one image with its depth, normals and mask as a standalone page, atomically.

    The page shows the maps side by side and with a slider, values under the pointer, the surface in 3D, and, with depth and normals, the
    image relit. It needs no network. It cannot be read back: depth has 65534 levels (metric depth: of its logarithm), normals have 8 bits,
    and both are scaled down to `LONG_SIDE`. Raises ValueError: more than one image, or an image that does not match the estimate.

    Args:
        estimate: One image, with depth, normals or both.
        image: (1, 3, h, w) sRGB in [0, 1], the source image; None = only the maps.
        title: Of the page; None = the file's stem.
        derive: Adds derived maps at the page's size.
    """
    path = Path(path)
    payload = page_payload(estimate, image, derive)
    write_bytes(path, page("viewer", title or path.stem, payload).encode(errors="replace"))  # a name may be no UTF-8


def page_payload(estimate: Estimate, image: Tensor | None = None, derive: Callable[[Estimate], Estimate] | None = None) -> dict[str, Any]:
    """One image's maps for `showResult` of `web/viewer.mjs`, JSON-serialisable. Arguments and errors as `write_html`."""
    one_image(estimate, "a page")
    need_perspective(estimate, "a page with a 3D view")
    if image is not None:
        check_image_of(image, 1, estimate.height, estimate.width)
    size = preview_size(estimate.height, estimate.width, LONG_SIDE)
    small = preview_maps(estimate.to("cpu").in_float32(), *size)
    small = derive(small) if derive else small
    shown = None if image is None else resize_map(image.detach().cpu().float().clamp(0, 1), *size)
    sky = None if shown is None or small.depth is None else sky_alpha(shown, small) > 0.5  # where no shadow falls
    maps, meaning = pack_maps(small, sky=sky, thickness=_thickness(small))
    return {
        **meaning,
        "full": [estimate.width, estimate.height],
        "maps": _text(small_png(maps)),
        "image": None if shown is None else _text(_jpeg(shown)),
    }


def page(name: str, title: str, payload: Any) -> str:
    """Renders the template `<name>.html` and its script `<name>.mjs` of `web/` with JSON-serialisable data for the script."""
    data = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")  # "</script>" would end it
    return filled_template(name, {"title": html.escape(title), "data": data, "scripts": joined_scripts(f"{name}.mjs")})


def filled_template(name: str, parts: Mapping[str, str]) -> str:
    """Fills `<name>.html` in `web/`: `{{title}}` becomes `parts["title"]`, as HTML, and so on."""
    template = (WEB / f"{name}.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _thickness(estimate: Estimate) -> Tensor | None:
    """Assumed thickness of objects behind their visible surface, for `pack_maps`; None without depth."""
    if estimate.depth is None:
        return None
    focal = assumed_intrinsics(estimate).diagonal(dim1=1, dim2=2)[:, :2].mean(1)
    return half_thickness(filled_inverse(estimate), focal).clamp(max=THICKEST)


def _jpeg(image: Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = (image[0] * 255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
