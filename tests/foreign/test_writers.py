"""What the pack writes, by the field's validators and second readers."""

import json

import numpy as np
import pytest
import torch

from depth_normal.app.cli import main
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.files import SaveOptions, save_surface, write_exr
from depth_normal.geometry.files.exr import read_exr
from depth_normal.geometry.files.html_page import write_html
from depth_normal.geometry.files.pfm import read_pfm
from depth_normal.geometry.files.png import write_depth_values_png, write_image_png
from depth_normal.geometry.meshes.mesh import TO_LOOK_AT

pytestmark = pytest.mark.foreign

HEIGHT, WIDTH = 48, 64

VALIDATE = """
import fs from "node:fs";
import { createRequire } from "node:module";
const { validateBytes } = createRequire(process.cwd() + "/")("gltf-validator");
console.log(JSON.stringify((await validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))).issues));
"""

SECOND_READER = """
import sys, json, trimesh, plyfile
mesh = trimesh.load(sys.argv[1], force="mesh", process=False)
told = {"points": len(mesh.vertices), "triangles": len(mesh.faces), "closed": bool(mesh.is_watertight)}
if sys.argv[1].endswith(".ply"):
    told["elements"] = [(each.name, each.count) for each in plyfile.PlyData.read(sys.argv[1]).elements]
print(json.dumps(told))
"""

SHARD_READER = """
import sys, json, numpy, webdataset
told = []
for sample in webdataset.WebDataset("file:" + sys.argv[1], shardshuffle=False).decode():
    depth = sample["depth.npy"]
    told.append({"path": sample["json"]["path"], "depth": depth.shape, "is_finite": bool(numpy.isfinite(depth).all())})
print(json.dumps(sorted(told, key=lambda each: each["path"])))
"""


@pytest.fixture
def image():
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def estimate():
    """A plate before a wall, with normals."""
    depth = torch.full((1, 1, HEIGHT, WIDTH), 4.0)
    depth[..., 12:36, 24:44] = 2.0
    normals = torch.tensor([0.0, 0.6, 0.8]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH).contiguous()
    return Estimate(depth, Quantity.METRIC_DEPTH, normals=normals, axes=Axes.OPENGL)


@pytest.fixture
def second_reader(validator, tmp_path):
    (tmp_path / "reader.py").write_text(SECOND_READER)
    return lambda path: json.loads(validator("python", tmp_path / "reader.py", path).splitlines()[-1])


def test_glb_has_no_errors_and_no_warnings(validator, second_reader, estimate, image, tmp_path):
    said = save_surface(tmp_path / "x.glb", estimate, SaveOptions(image=image, mesh=TO_LOOK_AT))
    (tmp_path / "validate.mjs").write_text(VALIDATE)
    issues = json.loads(validator("node", tmp_path / "validate.mjs", tmp_path / "x.glb"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues
    told = second_reader(tmp_path / "x.glb")
    assert said.startswith(f"{told['points']:,} points, {told['triangles']:,} triangles")


def test_ply_has_the_points_and_triangles_that_are_said(second_reader, estimate, image, tmp_path):
    said = save_surface(tmp_path / "x.ply", estimate, SaveOptions(image=image))
    told = second_reader(tmp_path / "x.ply")
    assert said.startswith(f"{told['points']:,} points, {told['triangles']:,} triangles")
    assert told["elements"] == [["vertex", told["points"]], ["face", told["triangles"]]]


def test_a_relief_is_closed(validator, second_reader, estimate, image, tmp_path):
    save_surface(tmp_path / "x.stl", estimate, SaveOptions(image=image))
    report = validator("admesh", tmp_path / "x.stl")
    for wrong in ("Total disconnected facets", "Degenerate facets", "Edges fixed", "Facets reversed", "Backwards edges", "Normals fixed"):
        (line,) = (each for each in report.splitlines() if wrong in each)
        assert {*line.split(":")[1].replace("Volume", "").split()[:1]} == {"0"}, line
    trimmed = second_reader(tmp_path / "x.stl")
    assert trimmed["triangles"] > HEIGHT * WIDTH


def test_splats_are_read_by_playcanvas(validator, estimate, image, tmp_path):
    said = save_surface(tmp_path / "x.ply", estimate, SaveOptions(image=image, splats=True))
    validator("splat-transform", tmp_path / "x.ply", "-w", tmp_path / "x.csv")
    header, *rows = (tmp_path / "x.csv").read_text().splitlines()
    assert header.startswith("x,y,z") and said.startswith(f"{len(rows):,} splats")
    assert np.isfinite(np.array([row.split(",") for row in rows], np.float64)).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_valid(validator, estimate, image, tmp_path, bits):
    write_image_png(tmp_path / "colours.png", image, bits)
    write_image_png(tmp_path / "grey.png", image[:, :1], bits)
    write_depth_values_png(tmp_path / "values.png", estimate)
    for name in ("colours", "grey", "values"):
        assert "No errors detected" in validator("pngcheck", "-v", tmp_path / f"{name}.png")
        (told,) = json.loads(validator("exiftool", "-json", "-all", "-validate", tmp_path / f"{name}.png"))
        assert (told["Validate"], told["ImageWidth"], told["ImageHeight"]) == ("OK", WIDTH, HEIGHT)
    assert "metric_depth" in told.values()


def test_exr_is_read_by_openimageio(validator, estimate, tmp_path):
    write_exr(tmp_path / "x.exr", estimate)
    report = validator("oiiotool", "--info", "-v", "--stats", tmp_path / "x.exr")
    assert f"{WIDTH} x   {HEIGHT}" in report and "NanCount: 0" in report
    validator("oiiotool", tmp_path / "x.exr", "--ch", "Z", "-o", tmp_path / "x.pfm")
    assert torch.equal(read_pfm(tmp_path / "x.pfm"), estimate.depth)
    validator("oiiotool", tmp_path / "x.exr", "-o", tmp_path / "again.exr")
    assert torch.equal(read_exr(tmp_path / "again.exr").normals, estimate.normals)


def test_the_page_of_a_surface_is_valid(validator, estimate, image, tmp_path):
    write_html(tmp_path / "x.html", estimate, image)
    (tmp_path / ".htmlvalidate.json").write_text('{"extends": ["html-validate:standard"]}')
    validator("html-validate", "--config", tmp_path / ".htmlvalidate.json", tmp_path / "x.html")


@pytest.mark.slow("estimates depth")
def test_shards_are_read_by_webdataset(validator, estimate, image, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        write_image_png(tmp_path / "photos" / f"{number}.png", image / (1 + number), 8)
    words = ["--write", "webdataset", "--model", "tiny", "--size", "64", "--device", "cpu"]
    assert main(["estimate", str(tmp_path / "photos"), "--recursive", "--out", str(tmp_path / "shards"), *words]) == 0
    (tmp_path / "reader.py").write_text(SHARD_READER)
    (shard,) = (tmp_path / "shards").glob("*.tar")
    told = json.loads(validator("python", tmp_path / "reader.py", shard).splitlines()[-1])
    assert [each["path"].rpartition("/")[2] for each in told] == ["0.png", "1.png", "2.png"]
    assert all(each["depth"] == [HEIGHT, WIDTH] and each["is_finite"] for each in told)
