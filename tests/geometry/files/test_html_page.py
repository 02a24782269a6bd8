"""The page of a result: what it holds, and that it asks for nothing else. tests/app/commands/test_view.py opens one."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, html_page, save_estimate, write_html
from depth_normal.geometry.files.packed_maps import preview_maps


def estimate(height=30, width=40, quantity=Quantity.METRIC_DEPTH):
    """A floor, the upper third of which is masked."""
    depth = 60 / (20 + torch.arange(height).float()).view(1, 1, height, 1).expand(1, 1, height, width)
    normals = F.normalize(torch.tensor([0.0, 3, 1]), dim=0).view(1, 3, 1, 1).expand(1, 3, height, width)
    mask = (torch.arange(height) >= height / 3).view(1, 1, height, 1).expand(1, 1, height, width)
    return Estimate(depth, quantity, normals, mask=mask)


def payload_of(path):
    return json.loads(re.search(r'<script type="application/json" id="result">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def numbers_of(payload):
    """The packed maps (2H, W, 3), as another decoder reads them."""
    with Image.open(io.BytesIO(base64.b64decode(payload["maps"]))) as image:
        return torch.from_numpy(np.asarray(image).astype(float))


def test_a_page_holds_the_numbers(tmp_path):
    known = estimate()
    write_html(tmp_path / "floor.html", known, torch.rand(1, 3, 60, 80))
    payload = payload_of(tmp_path / "floor.html")
    upper, lower = numbers_of(payload).chunk(2)
    code = 256 * lower[..., 0] + lower[..., 1]
    low, high = payload["depth"]["low"], payload["depth"]["high"]
    depth = (low + (code - 1) / 65534 * (high - low)).exp()
    assert torch.equal(code > 0, known.mask[0, 0]) and torch.equal(lower[..., 2].long() % 2 == 1, known.mask[0, 0])
    torch.testing.assert_close(depth[known.mask[0, 0]], known.depth[known.mask].double(), rtol=2e-5, atol=0)
    normals = (upper / 127.5 - 1).movedim(-1, 0)[:, known.mask[0, 0]]
    torch.testing.assert_close(normals, known.normals[0][:, known.mask[0, 0]].double(), atol=0.005, rtol=0)
    assert payload["full"] == [40, 30] and base64.b64decode(payload["image"])[:2] == b"\xff\xd8"


def test_a_page_asks_for_nothing_else(tmp_path):
    write_html(tmp_path / "a.html", estimate(), torch.rand(1, 3, 30, 40))
    page = tmp_path.joinpath("a.html").read_text()
    assert "default-src 'none'" in page and not re.findall(r"https?://|\bsrc=|\bhref=|@import|^import ", page, re.MULTILINE)


def test_a_large_result_is_scaled_down(tmp_path):
    write_html(tmp_path / "a.html", estimate(20, 4000), torch.rand(1, 3, 20, 4000))
    payload = payload_of(tmp_path / "a.html")
    assert numbers_of(payload).shape == (16, 1600, 3) and payload["full"] == [4000, 20]
    small = preview_maps(estimate(20, 4000), 8, 1600).depth[0, 0, :, 0]
    assert torch.equal(small, estimate(20, 4000).depth[0, 0, [1, 3, 6, 8, 11, 13, 16, 18], 0]), "those nearest to the rows' middles"


@pytest.mark.parametrize("left_out", ["image", "depth", "normals", "mask"])
def test_what_is_not_known_is_left_out(tmp_path, left_out):
    image = None if left_out == "image" else torch.rand(1, 3, 30, 40)
    gone = {"depth": {"depth": None, "quantity": None}, "normals": {"normals": None}, "mask": {"mask": None}}.get(left_out, {})
    save_estimate(tmp_path / "a.html", replace(estimate(), **gone), SaveOptions(image=image))
    payload = payload_of(tmp_path / "a.html")
    found = payload["image"] is None, payload["depth"] is None, payload["normals"]
    assert found == (left_out == "image", left_out == "depth", left_out != "normals")


def test_a_name_is_text_and_no_markup(tmp_path):
    write_html(tmp_path / "<b>{{data}} & co.html", estimate())
    page = (tmp_path / "<b>{{data}} & co.html").read_text()
    assert page.count("<title>&lt;b&gt;{{data}} &amp; co</title>") == 1 and page.count("</script>") == 2
    write_html(tmp_path / "page.html", estimate(), title="caf\udce9")  # from a file name that is no UTF-8, on Linux
    assert "<title>caf" in (tmp_path / "page.html").read_text()


def test_what_is_no_single_image_of_its_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a page holds one image, the batch has 2"):
        write_html(tmp_path / "a.html", Estimate.cat([estimate(), estimate()]))
    with pytest.raises(ValueError, match="shape"):
        write_html(tmp_path / "a.html", estimate(), torch.rand(1, 3, 40, 30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
def test_joined_scripts_do_what_they_do_apart(tmp_path):
    script = tmp_path / "joined.mjs"
    script.write_text(
        html_page.joined_scripts("viewer_lamp.mjs")
        + """
        const depth = Float32Array.of(2, NaN, 4, 8), normals = new Uint8Array(16).fill(7), bits = Uint8Array.of(1, 0, 1, 2)
        const lit = $viewer_lamp.litMaps({ width: 4, height: 1, quantity: 'metric_depth', depth, normals, bits }, 'canvas')
        const onePixel = $viewer_lamp.coarseDepth({ width: 1, height: 1, depth: Float32Array.of(2) })(0.3, 0.6)
        console.log(JSON.stringify([[...lit.depth], [...lit.normals.slice(12)], [...lit.bits], lit.image, onePixel]))
        """
    )
    done = subprocess.run(["node", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, 4, 2, 4], [128, 128, 255, 255], [1, 0, 1, 3], "canvas", 2]


def test_what_cannot_be_joined_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(html_page, "WEB", tmp_path)
    (tmp_path / "a.mjs").write_text("import { app } from '../../scripts/app.js'\n")
    with pytest.raises(ValueError, match=r"a.mjs: .* cannot be joined"):
        html_page.joined_scripts("a.mjs")
    assert html_page.joined_scripts("a.mjs", outer=True).startswith("import { app } from '../../scripts/app.js'\n")
    (tmp_path / "a.mjs").write_text("const end = '</script>'\n")
    with pytest.raises(ValueError, match="would end the page's script"):
        html_page.joined_scripts("a.mjs")
